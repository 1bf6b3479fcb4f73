//! Plans in, one statement for as many as are waiting out.
//!
//! Plans of one shape wait in one lane. While fewer than the allowed number of the lane's statements
//! are in flight, a plan starts a task that sends whatever waits as one statement, answers each plan,
//! and goes on until nothing waits: an idle backend sends at once, a busy one batches, and no timer
//! decides. The task belongs to no call, so a caller who goes away aborts no statement. What happens
//! to a batch on its way is told in `flight.rs`.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ff_core::EngineError;
use ff_core::engine::Commit;
use ff_core::plan::{Bindings, Plan, Shape};
use tokio::sync::{Semaphore, oneshot, watch};

use crate::connections::Connections;
use crate::error::PostgresError;
use crate::flight::Flight;
use crate::identity::Rows;
use crate::notify::Notifier;
use crate::session::Protocol;
use crate::statements::{ByShape, PlanStatement};

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

/// What all tasks share.
pub(crate) struct Inner {
    pub(crate) connections: Connections,
    pub(crate) protocol: Protocol,
    pub(crate) limits: Limits,
    pub(crate) notifier: Notifier,
    /// Turns of plans that wait for a row by themselves: they never take every connection.
    pub(crate) aside: Semaphore,
    lanes: ByShape<Shape, Lane>,
    tasks: watch::Sender<usize>,
    closed: watch::Sender<bool>,
}

/// The plans of one shape.
pub(crate) struct Lane {
    pub(crate) statement: PlanStatement,
    queue: Mutex<Queue>,
}

/// How a plan takes it that someone else holds one of its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// It waits until the row is free.
    Waits,
    /// It lets it be: `Contention(RetryExhausted)`.
    Passes,
}

// Invariant: whoever adds a waiting plan starts a task unless as many as allowed are in flight, and a
// task ends only where nothing waits; so what waits has a task.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    in_flight: usize,
}

/// A plan that has not been sent yet.
pub(crate) struct Waiting {
    pub(crate) bindings: Bindings,
    pub(crate) size: usize,
    pub(crate) patience: Patience,
    rows: Rows,
    answer: oneshot::Sender<Result<Commit, EngineError>>,
}

impl Waiting {
    /// Tells the caller, unless it went away.
    pub(crate) fn answer(self, outcome: Result<Commit, EngineError>) {
        let _ = self.answer.send(outcome);
    }
}

impl Committer {
    pub(crate) fn new(
        connections: Connections,
        protocol: Protocol,
        limits: Limits,
        notifier: Notifier,
    ) -> Self {
        Self(Arc::new(Inner {
            connections,
            protocol,
            limits,
            notifier,
            aside: Semaphore::new((limits.connections as usize / 2).max(1)),
            lanes: ByShape::new(),
            tasks: watch::Sender::new(0),
            closed: watch::Sender::new(false),
        }))
    }

    /// Applies the plan; see [`ff_core::engine::Executor::commit`] and `commit_in_passing`.
    pub(crate) async fn commit(
        &self,
        plan: Plan,
        patience: Patience,
    ) -> Result<Commit, EngineError> {
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
        self.submit(&lane, Waiting { bindings, size, patience, rows, answer });
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
            tokio::spawn(Flight::new(Task::begin(&self.0), Arc::clone(lane)).run());
        }
    }
}

/// A task of the committer, counted for as long as it lives.
pub(crate) struct Task(Arc<Inner>);

impl Task {
    pub(crate) fn begin(inner: &Arc<Inner>) -> Self {
        inner.tasks.send_modify(|running| *running += 1);
        Self(Arc::clone(inner))
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.0
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.tasks.send_modify(|running| *running -= 1);
    }
}

impl Lane {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics while it holds the lock half-way through a change.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes plans that may share a statement, in locking order. `None`: nothing waits any more, and
    /// the caller's flight has ended.
    pub(crate) fn board(&self, limits: Limits) -> Option<Vec<Waiting>> {
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

    /// Counts a flight out that broke off: the runtime is going down. Where it was the last, nothing is
    /// left to send what waits; its callers hear of it through the dropped channels.
    pub(crate) fn give_up(&self) {
        let mut queue = self.lock();
        queue.in_flight -= 1;
        if queue.in_flight == 0 {
            queue.waiting.clear();
        }
    }
}
