//! The runner's interface: the run that it gets, and the ending that it returns.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ff_core::backend::{FailureClass, Handle};
use ff_core::contracts::SuspendArgs;
use ff_core::model::hidden::Hidden;
use ff_core::types::{AttemptIndex, ExecutionId, LaneId, LeaseEpoch, TimestampMs};

use crate::telemetry::Traceparent;

/// One claimed execution, as its runner sees it.
#[derive(Clone, derive_more::Debug)]
pub struct Run {
    /// The handle, with which the runner acts on the execution: appends frames, reads signals.
    pub handle: Handle,
    /// The execution.
    pub execution_id: ExecutionId,
    /// The attempt, counted from zero.
    pub attempt_index: AttemptIndex,
    /// The epoch of the lease.
    pub lease_epoch: LeaseEpoch,
    /// The lane that it was claimed from.
    pub lane_id: LaneId,
    /// The kind of work, as the submitter names it.
    pub kind: String,
    /// The input.
    #[debug("{}", Hidden(payload))]
    pub payload: Vec<u8>,
    /// The submitter's tags.
    pub tags: HashMap<String, String>,
}

impl Run {
    /// The trace of the submitter, which this run continues.
    #[must_use]
    pub fn traceparent(&self) -> Option<Traceparent> {
        Traceparent::of_tags(&self.tags)
    }
}

/// The ending of a run.
///
/// An ending that the engine refuses for its content, such as a result that is too large for the
/// database, becomes a transient failure with that reason: the execution's policy decides on
/// another attempt, and no ending is lost in silence.
#[derive(Clone, derive_more::Debug, PartialEq, Eq)]
pub enum Ending {
    /// Success, with a result if there is one.
    #[debug("Completed({})", Hidden(_0))]
    Completed(Option<Vec<u8>>),
    /// Success, which the runner has recorded itself, in a transaction of its own that has been
    /// committed. The worker reports nothing.
    CompletedByRunner,
    /// Failure; the class and the execution's policy decide whether another attempt follows. A
    /// runner that panics ends in this way, too: transient, with the panic's message.
    Failed {
        /// The message, which the engine records as the reason.
        message: String,
        /// The class of the failure.
        class: FailureClass,
    },
    /// Failure that may pass: another attempt after that pause, if the execution's policy allows
    /// one at all.
    RetriedAfter {
        /// The message, which the engine records as the reason.
        message: String,
        /// The pause.
        pause: Duration,
    },
    /// Delayed: to be claimed again at the given time, by the clock of the database.
    Delayed(TimestampMs),
    /// Unfinished: to be claimed again at once. No retry is counted.
    HandedBack,
    /// This machine cannot run it now, for the given reason. The execution is handed back and the
    /// worker pauses. After several such endings in a row it ends with
    /// [`WorkerError::Unable`](super::WorkerError::Unable).
    Unable(String),
    /// Suspended until signals meet the condition; then it can be claimed again. The next run
    /// belongs to the same attempt, and `observe_signals` with its handle returns the signals.
    Suspended(SuspendArgs),
    /// Waiting until that execution, on the same partition, has ended; then it can be claimed
    /// again. The next run belongs to the same attempt.
    WaitingFor(ExecutionId),
}

/// A program's work. Any `Fn(Arc<Run>) -> impl Future<Output = Ending>` is one.
#[async_trait]
pub trait Runner: Send + Sync + 'static {
    /// Runs one execution. The future is dropped when the lease is lost, the attempt is out of
    /// time, or the worker must stop.
    async fn run(&self, run: Arc<Run>) -> Ending;

    /// Waits until nothing is left of a dropped run, such as a child process. A worker calls it
    /// after it has dropped the future of [`Runner::run`], and waits for it before it hands the
    /// execution back or runs it again. By default dropping the future is enough.
    async fn clean_up(&self, run: &Run) {
        let _ = run;
    }
}

#[async_trait]
impl<F, R> Runner for F
where
    F: Fn(Arc<Run>) -> R + Send + Sync + 'static,
    R: Future<Output = Ending> + Send,
{
    async fn run(&self, run: Arc<Run>) -> Ending {
        self(run).await
    }
}
