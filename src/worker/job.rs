//! The work as a worker sees it: what it hands to a runner, and what it gets back.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use ff_core::backend::{FailureClass, Handle};
use ff_core::contracts::SuspendArgs;
use ff_core::types::{AttemptIndex, ExecutionId, LaneId, LeaseEpoch, TimestampMs};

/// One claimed execution, as its runner sees it.
#[derive(Clone, Debug)]
pub struct Job {
    /// What the holder shows to act on it: to append frames, or to see which signals came.
    pub handle: Handle,
    /// The execution.
    pub execution_id: ExecutionId,
    /// Which attempt this is, from zero.
    pub attempt_index: AttemptIndex,
    /// The epoch of the lease.
    pub lease_epoch: LeaseEpoch,
    /// The lane that it was claimed from.
    pub lane_id: LaneId,
    /// What kind of work it is, as the submitter names it.
    pub kind: String,
    /// What to work on.
    pub payload: Vec<u8>,
    /// The submitter's tags.
    pub tags: HashMap<String, String>,
}

/// How a run ended.
///
/// An ending that the engine refuses for its content, such as a result that is too large for the
/// database, becomes a transient failure with that reason: the execution's policy decides on another
/// attempt, and none is lost in silence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Well, with a result if there is one.
    Completed(Option<Vec<u8>>),
    /// Badly; the class and the execution's policy decide whether another attempt follows. A runner
    /// that panics ends in this way, too: transient, with the panic's message.
    Failed {
        /// What went wrong.
        message: String,
        /// What kind of failure it was.
        class: FailureClass,
    },
    /// Not now: to be claimed again at the given time, by the clock of the database.
    Delayed(TimestampMs),
    /// Unfinished: to be claimed again at once. No retry is counted.
    HandedBack,
    /// The machine cannot run it now, for this reason. The execution is handed back; the worker
    /// pauses, and ends with [`WorkerError::Unable`](super::WorkerError::Unable) when nothing can be
    /// run several times in a row.
    Unable(String),
    /// Not before a signal has come: to be claimed again when the condition holds. The next run is of
    /// the same attempt, and `observe_signals` with its handle tells what has come.
    Suspended(SuspendArgs),
}

/// Does the work. Any `Fn(Arc<Job>) -> impl Future<Output = Ending>` is one.
#[async_trait]
pub trait Runner: Send + Sync + 'static {
    /// Runs one execution. The future is dropped when the lease is lost, the attempt is out of time,
    /// or the worker must stop.
    async fn run(&self, job: Arc<Job>) -> Ending;

    /// Returns when nothing of a dropped run is left. A worker calls it after it has dropped the
    /// future of [`Runner::run`], and neither hands the execution back nor runs it again before. By
    /// default dropping is all it takes.
    async fn cleared(&self, job: &Job) {
        let _ = job;
    }
}

#[async_trait]
impl<F, R> Runner for F
where
    F: Fn(Arc<Job>) -> R + Send + Sync + 'static,
    R: Future<Output = Ending> + Send,
{
    async fn run(&self, job: Arc<Job>) -> Ending {
        self(job).await
    }
}
