//! Plans in, one statement for as many as are waiting out.
//!
//! Plans of one shape wait in one lane. While fewer than the allowed number of the lane's statements
//! are in flight, a plan starts a task that sends whatever waits as one statement, answers each plan,
//! and goes on until nothing waits: an idle backend sends at once, a busy one batches, and no timer
//! decides. The task belongs to nobody's call, so a caller who goes away aborts no statement.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ff_core::EngineError;
use ff_core::ctx::Source;
use ff_core::engine::{Commit, Topics};
use ff_core::engine_error::ContentionKind;
use ff_core::plan::{Bindings, Plan, Shape};
use sqlx::postgres::PgPool;
use tokio::sync::{oneshot, watch};

use crate::error::PostgresError;
use crate::identity::Rows;
use crate::notify::Notifier;
use crate::random::Random;
use crate::session::{Protocol, Session, fetch};
use crate::statements::{ByShape, PlanStatement, SizedPlan};

/// How often a statement that lost to another transaction is sent again.
const MAX_RETRIES: u32 = 5;

/// How many statements a task sends before it lets other lanes have its connection.
const TURNS_PER_CONNECTION: u32 = 32;

/// How much a statement takes and how many of a lane are in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) batch: usize,
    pub(crate) in_flight: usize,
    pub(crate) connections: u32,
}

/// Applies plans.
#[derive(Clone)]
pub(crate) struct Committer(Arc<Inner>);

struct Inner {
    pool: PgPool,
    protocol: Protocol,
    limits: Limits,
    notifier: Notifier,
    lanes: ByShape<Shape, Lane>,
    tasks: watch::Sender<usize>,
    closed: watch::Sender<bool>,
}

/// The plans of one shape.
struct Lane {
    statement: PlanStatement,
    queue: Mutex<Queue>,
}

// Invariant: whoever adds a waiting plan starts a task unless as many as allowed are in flight, and a
// task ends only where nothing waits; so what waits has a task.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    in_flight: usize,
}

struct Waiting {
    bindings: Bindings,
    size: usize,
    rows: Rows,
    answer: oneshot::Sender<Result<Commit, EngineError>>,
}

impl Committer {
    pub(crate) fn new(
        pool: PgPool,
        protocol: Protocol,
        limits: Limits,
        notifier: Notifier,
    ) -> Self {
        Self(Arc::new(Inner {
            pool,
            protocol,
            limits,
            notifier,
            lanes: ByShape::new(),
            tasks: watch::Sender::new(0),
            closed: watch::Sender::new(false),
        }))
    }

    /// Applies the plan; see [`ff_core::engine::Executor::commit`].
    pub(crate) async fn commit(&self, plan: Plan) -> Result<Commit, EngineError> {
        if *self.0.closed.borrow() {
            return Err(self.lost(sqlx::Error::PoolClosed));
        }
        let (shape, bindings) = plan.into_shape();
        let make = |shape: &Shape| {
            let statement = PlanStatement::render(shape)?;
            Ok(Lane { statement, queue: Mutex::default() })
        };
        let lane = self.0.lanes.find(shape, make)?;
        let size = lane.statement.size(&bindings)?;
        if size == 0 {
            return Ok(Commit::Applied(Vec::new()));
        }
        lane.statement.check((&bindings, size))?;
        let (answer, answered) = oneshot::channel();
        let rows = lane.statement.identities.rows(&bindings);
        self.submit(&lane, Waiting { bindings, size, rows, answer });
        // A task that is gone without an answer went down with its runtime.
        answered.await.unwrap_or_else(|_| Err(self.lost(sqlx::Error::WorkerCrashed)))
    }

    /// Takes no more plans, and waits until none is under way.
    pub(crate) async fn drain(&self) {
        self.0.closed.send_replace(true);
        // The sender lives in `self`: the wait cannot fail.
        let _ = self.0.tasks.subscribe().wait_for(|running| *running == 0).await;
    }

    fn lost(&self, cause: sqlx::Error) -> EngineError {
        PostgresError::write(cause).into_engine(self.0.limits.connections)
    }

    fn submit(&self, lane: &Arc<Lane>, waiting: Waiting) {
        let mut queue = lane.lock();
        queue.waiting.push_back(waiting);
        if queue.in_flight < self.0.limits.in_flight {
            queue.in_flight += 1;
            self.0.tasks.send_modify(|running| *running += 1);
            let flight =
                Flight { inner: Arc::clone(&self.0), lane: Arc::clone(lane), landed: false };
            tokio::spawn(flight.run());
        }
    }
}

impl Lane {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics while it holds the lock half-way through a change.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes plans that may share a statement, in locking order. `None`: nothing waits any more, and
    /// the caller's flight has ended.
    fn board(&self, limits: Limits) -> Option<Vec<Waiting>> {
        let mut queue = self.lock();
        if queue.waiting.is_empty() {
            queue.in_flight -= 1;
            return None;
        }
        let room = limits.batch.max(1);
        let mut batch: Vec<Waiting> = Vec::with_capacity(room.min(queue.waiting.len()));
        let mut left = VecDeque::new();
        let mut taken = HashSet::new();
        let mut items = 0;
        // A bound on the search, for a lane full of plans about one row.
        let mut looks = room.saturating_mul(2);
        while items < room && looks > 0 {
            let Some(next) = queue.waiting.pop_front() else { break };
            looks -= 1;
            // A plan that is larger than a batch still goes, alone.
            let fits = batch.first().is_none_or(|first| {
                items + next.size <= room
                    && self.statement.selects_alike(&first.bindings, &next.bindings)
            });
            if fits && next.rows.claim(&mut taken) {
                items += next.size;
                batch.push(next);
            } else {
                left.push_back(next);
            }
        }
        while let Some(passed_over) = left.pop_back() {
            queue.waiting.push_front(passed_over);
        }
        batch.sort_by(|one, other| one.rows.cmp(&other.rows));
        Some(batch)
    }
}

/// One task of a lane, from its start until nothing waits.
struct Flight {
    inner: Arc<Inner>,
    lane: Arc<Lane>,
    landed: bool,
}

impl Drop for Flight {
    fn drop(&mut self) {
        if !self.landed {
            // The runtime is going down. Where this was the last task, nobody is left to send what
            // waits: the callers hear of it through the dropped channels.
            let mut queue = self.lane.lock();
            queue.in_flight -= 1;
            if queue.in_flight == 0 {
                queue.waiting.clear();
            }
        }
        self.inner.tasks.send_modify(|running| *running -= 1);
    }
}

/// Why a statement has no outcomes.
enum Failure {
    /// It was not sent: a plan cannot be bound.
    Unsent(EngineError),
    /// The database or the way to it.
    Database(PostgresError),
}

impl Flight {
    async fn run(mut self) {
        let mut session = Session::new(self.inner.pool.clone());
        let mut turns = 0;
        loop {
            // Before boarding: whatever arrives while the pool is busy comes along.
            let connected = session.connection().await.map(|_| ());
            let Some(batch) = self.lane.board(self.inner.limits) else {
                self.landed = true;
                return;
            };
            match connected {
                Ok(()) => self.apply(&mut session, batch).await,
                Err(error) => self.fail(batch, &PostgresError::read(error)),
            }
            turns += 1;
            if turns % TURNS_PER_CONNECTION == 0 {
                session.release();
            }
        }
    }

    /// One statement for the batch; if the server refuses it for whatever reason, one for each plan,
    /// so that a plan answers only for itself.
    async fn apply(&self, session: &mut Session, batch: Vec<Waiting>) {
        if batch.len() > 1 {
            let plans: Vec<SizedPlan<'_>> =
                batch.iter().map(|plan| (&plan.bindings, plan.size)).collect();
            match self.send(session, &plans).await {
                Ok(outcomes) => {
                    for (plan, outcome) in batch.into_iter().zip(outcomes) {
                        // A caller who went away needs no answer.
                        let _ = plan.answer.send(outcome);
                    }
                    return;
                }
                Err(Failure::Database(error)) if !error.refused_by_server() => {
                    self.fail(batch, &error);
                    return;
                }
                Err(Failure::Database(error)) => {
                    let plan = &self.lane.statement.name;
                    tracing::debug!(plan, plans = batch.len(), %error, "splitting a refused batch");
                }
                Err(Failure::Unsent(_)) => {}
            }
        }
        for plan in batch {
            let outcome = self.apply_alone(session, (&plan.bindings, plan.size)).await;
            let _ = plan.answer.send(outcome);
        }
    }

    async fn apply_alone(
        &self,
        session: &mut Session,
        plan: SizedPlan<'_>,
    ) -> Result<Commit, EngineError> {
        for retry in 0..=MAX_RETRIES {
            match self.send(session, &[plan]).await {
                Ok(outcomes) => {
                    return outcomes.into_iter().next().unwrap_or(Ok(Commit::Refused));
                }
                Err(Failure::Unsent(error)) => return Err(error),
                Err(Failure::Database(error)) if error.is_unique_violation() => {
                    return Ok(Commit::Refused);
                }
                Err(Failure::Database(error)) if error.lost_a_race() => {
                    let name = &self.lane.statement.name;
                    tracing::debug!(plan = name, retry, %error, "sending again");
                    let pause_ms = f64::from(1_u32 << retry) * (0.5 + Random.fraction());
                    tokio::time::sleep(Duration::from_secs_f64(pause_ms / 1000.0)).await;
                }
                Err(Failure::Database(error)) => {
                    return Err(error.into_engine(self.inner.limits.connections));
                }
            }
        }
        Err(EngineError::Contention(ContentionKind::RetryExhausted))
    }

    /// Sends one statement for these plans and reads one outcome for each.
    async fn send(
        &self,
        session: &mut Session,
        plans: &[SizedPlan<'_>],
    ) -> Result<Vec<Result<Commit, EngineError>>, Failure> {
        let statement = &self.lane.statement;
        let arguments = statement.arguments(plans).map_err(Failure::Unsent)?;
        let connection = session.connection().await;
        let connection =
            connection.map_err(|error| Failure::Database(PostgresError::read(error)))?;
        match fetch(connection, self.inner.protocol, &statement.sql, arguments).await {
            Ok(rows) => {
                let outcomes = statement.outcomes(plans, &rows);
                let applied = outcomes.iter().flatten().map(|commit| statement.rings.after(commit));
                self.inner.notifier.announce(applied.fold(Topics::NONE, Topics::and));
                Ok(outcomes)
            }
            Err(error) => {
                let error = PostgresError::write(error);
                if !error.refused_by_server() {
                    session.discard();
                }
                Err(Failure::Database(error))
            }
        }
    }

    fn fail(&self, batch: Vec<Waiting>, error: &PostgresError) {
        for plan in batch {
            let error = error.clone().into_engine(self.inner.limits.connections);
            let _ = plan.answer.send(Err(error));
        }
    }
}
