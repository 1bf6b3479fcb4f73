//! Commits plans: one statement for as many plans of one shape as are waiting.
//!
//! Each shape has a queue. The first plan starts a task, which sends the waiting plans as one
//! statement, answers each, and repeats until the queue is empty. An idle backend thus sends at
//! once, and a busy one batches. Further tasks, up to the allowed number, begin where many plans
//! wait, or where one has waited for long: the server may be slow to commit, or a statement may
//! wait for a locked row. The task belongs to no call, so a dropped call aborts no statement.
//! `batch.rs` sends the batches.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ff_codegen::ByShape;
use ff_core::EngineError;
use ff_core::engine::Commit;
use ff_core::plan::{Bindings, Plan, Shape};
use tokio::sync::{Semaphore, oneshot, watch};

use crate::batch::BatchTask;
use crate::connections::Connections;
use crate::error::PostgresError;
use crate::notify::Notifier;
use crate::row_keys::PlanRows;
use crate::session::Protocol;
use crate::statements::PlanStatement;

/// The number of waiting plans that is worth a further statement while others are in flight.
const MANY: usize = 64;

/// The longest wait of a plan before a further statement begins for it. A statement takes less
/// where the disk is fast.
const PATIENCE: Duration = Duration::from_millis(2);

/// The limits on a statement's items and on the statements in flight per shape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) batch: usize,
    pub(crate) in_flight: usize,
    pub(crate) connections: u32,
}

/// Commits plans in batches.
#[derive(Clone)]
pub(crate) struct Committer(Arc<Inner>);

/// The state that all tasks share.
pub(crate) struct Inner {
    pub(crate) connections: Connections,
    pub(crate) protocol: Protocol,
    pub(crate) limits: Limits,
    pub(crate) notifier: Notifier,
    /// Permits of plans that wait for a row alone: half of the connections, at least one.
    pub(crate) aside: Semaphore,
    queues: ByShape<Shape, ShapeQueue>,
    tasks: watch::Sender<usize>,
    closed: watch::Sender<bool>,
}

/// The statement and the waiting plans of one shape.
pub(crate) struct ShapeQueue {
    pub(crate) statement: PlanStatement,
    state: Mutex<QueueState>,
}

/// The reaction of a plan to a row that another transaction holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeldRow {
    /// The plan waits until the row is free.
    Await,
    /// The plan gives up with `Contention(RetryExhausted)`.
    GiveUp,
}

/// How a plan stands in its queue when it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Queued {
    /// A task begins for it.
    First,
    /// Other plans are on their way to the server.
    Behind,
}

// Invariant: a non-empty queue has a task. Adding a plan starts one if there is none, and a task
// ends only when the queue is empty.
#[derive(Default)]
struct QueueState {
    waiting: VecDeque<Waiting>,
    in_flight: usize,
}

impl QueueState {
    /// Ends a task if no plan waits. Returns true if so.
    fn ends_if_empty(&mut self) -> bool {
        let ends = self.waiting.is_empty();
        if ends {
            self.in_flight -= 1;
        }
        ends
    }
}

/// A plan that has not been sent yet.
pub(crate) struct Waiting {
    pub(crate) bindings: Bindings,
    pub(crate) size: usize,
    pub(crate) held_row: HeldRow,
    since: Instant,
    rows: PlanRows,
    answer: oneshot::Sender<Result<Commit, EngineError>>,
}

impl Waiting {
    /// Sends the outcome to the caller, unless it stopped waiting.
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
            queues: ByShape::default(),
            tasks: watch::Sender::new(0),
            closed: watch::Sender::new(false),
        }))
    }

    /// Applies the plan; see [`ff_core::engine::Executor::commit`] and `commit_unless_locked`.
    pub(crate) async fn commit(
        &self,
        plan: Plan,
        held_row: HeldRow,
    ) -> Result<Commit, EngineError> {
        if *self.0.closed.borrow() {
            return Err(self.lost(sqlx::Error::PoolClosed));
        }

        let (shape, bindings) = plan.into_shape();
        let queue = self.queue(shape)?;
        let size = queue.statement.size(&bindings)?;

        if size == 0 {
            return Ok(Commit::Applied(Vec::new()));
        }
        queue.statement.check((&bindings, size))?;

        let (since, (answer, mut answered)) = (Instant::now(), oneshot::channel());
        let rows = queue.statement.row_keys.of_plan(&bindings, size);
        let waiting = Waiting { bindings, size, held_row, since, rows, answer };
        let outcome = match self.submit(&queue, waiting) {
            // A timer costs a change of threads, and no plan is before this one.
            Queued::First => answered.await,
            Queued::Behind => match tokio::time::timeout(PATIENCE, &mut answered).await {
                Ok(outcome) => outcome,
                Err(_) => {
                    self.begin_task(&queue, 1);
                    answered.await
                }
            },
        };
        // A task that is dropped without an answer ended with its runtime.
        outcome.unwrap_or_else(|_| Err(self.lost(sqlx::Error::WorkerCrashed)))
    }

    /// The queue of a shape, with its statement.
    ///
    /// # Errors
    /// `Transport` around the generator's refusal.
    pub(crate) fn queue(&self, shape: Shape) -> Result<Arc<ShapeQueue>, EngineError> {
        self.0.queues.find(shape, |shape| {
            let statement = PlanStatement::render(shape)?;
            Ok::<_, EngineError>(ShapeQueue { statement, state: Mutex::default() })
        })
    }

    /// Takes no more plans, and waits until all tasks have ended.
    pub(crate) async fn drain(&self) {
        self.0.closed.send_replace(true);
        // The sender lives in `self`, so the wait cannot fail.
        let _ = self.0.tasks.subscribe().wait_for(|running| *running == 0).await;
    }

    fn lost(&self, cause: sqlx::Error) -> EngineError {
        PostgresError::write(cause).into_engine(self.0.limits.connections)
    }

    fn submit(&self, queue: &Arc<ShapeQueue>, waiting: Waiting) -> Queued {
        queue.lock().waiting.push_back(waiting);
        self.begin_task(queue, MANY)
    }

    /// Begins a task if none is running, or if that many plans wait and one more is allowed.
    fn begin_task(&self, queue: &Arc<ShapeQueue>, enough: usize) -> Queued {
        let mut state = queue.lock();
        let queued = if state.in_flight == 0 { Queued::First } else { Queued::Behind };
        let wanted = queued == Queued::First || enough <= state.waiting.len();
        if wanted && !state.waiting.is_empty() && state.in_flight < self.0.limits.in_flight {
            state.in_flight += 1;
            // A runtime that is ending drops the task here, and its end takes the lock.
            drop(state);
            tokio::spawn(BatchTask::new(CountedTask::begin(&self.0), Arc::clone(queue)).run());
        }
        queued
    }
}

/// The count of one running task of the committer, for as long as it lives.
pub(crate) struct CountedTask(Arc<Inner>);

impl CountedTask {
    pub(crate) fn begin(inner: &Arc<Inner>) -> Self {
        inner.tasks.send_modify(|running| *running += 1);
        Self(Arc::clone(inner))
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.0
    }
}

impl Drop for CountedTask {
    fn drop(&mut self) {
        self.0.tasks.send_modify(|running| *running -= 1);
    }
}

impl ShapeQueue {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        // No code panics half-way through a change while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the plans that have waited since then.
    pub(crate) fn waiting_since(&self, begun: Instant) -> Vec<Waiting> {
        let mut state = self.lock();
        let waiting = std::mem::take(&mut state.waiting).into_iter();
        let (taken, left): (Vec<_>, Vec<_>) = waiting.partition(|plan| plan.since <= begun);
        state.waiting = left.into();
        taken
    }

    /// Ends the caller's task if the queue is empty. Returns true if so.
    pub(crate) fn ends_if_empty(&self) -> bool {
        self.lock().ends_if_empty()
    }

    /// Takes plans that may share a statement, in locking order. `None` if the queue is empty,
    /// which ends the caller's task.
    pub(crate) fn next_batch(&self, limits: Limits) -> Option<Vec<Waiting>> {
        let mut state = self.lock();
        if state.ends_if_empty() {
            return None;
        }

        let room = limits.batch.max(1);
        let mut batch: Vec<Waiting> = Vec::with_capacity(room.min(state.waiting.len()));
        let mut left = VecDeque::new();
        let mut taken = HashSet::new();
        let mut items = 0;
        // A bound on the search, for a queue full of plans for one row.
        let mut looks = room.saturating_mul(2);
        while items < room && looks > 0 {
            let Some(next) = state.waiting.pop_front() else { break };
            looks -= 1;

            // A plan larger than a batch is sent alone.
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

        // Plans that were passed over keep their place at the head of the queue.
        while let Some(passed_over) = left.pop_back() {
            state.waiting.push_front(passed_over);
        }

        // All batches lock their rows in this order, so that they do not deadlock.
        batch.sort_by(|one, other| one.rows.cmp(&other.rows));
        Some(batch)
    }

    /// Counts out a task that was dropped because the runtime shuts down. The last one clears the
    /// queue, since no task is left to send it. Dropped channels inform the callers.
    pub(crate) fn give_up(&self) {
        let mut state = self.lock();
        state.in_flight -= 1;
        if state.in_flight == 0 {
            state.waiting.clear();
        }
    }
}
