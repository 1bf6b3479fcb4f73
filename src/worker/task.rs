//! One claimed execution, from the claim to its end.

use std::sync::Arc;
use std::time::Duration;

use ff_core::EngineError;
use ff_core::backend::{FailOutcome, FailureReason, Handle};
use ff_core::contracts::SuspendOutcome;
use ff_core::engine_backend::EngineBackend;
use ff_core::handle_codec;
use ff_core::types::TimestampMs;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Ending, Job, Runner, lease, may_pass};

/// What became of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Completed,
    Retried,
    Failed,
    Suspended,
    HandedBack,
    Lost,
}

/// Everything that one claim needs.
pub(super) struct Task {
    pub(super) backend: Arc<dyn EngineBackend>,
    pub(super) runner: Arc<dyn Runner>,
    pub(super) handle: Handle,
    pub(super) lease_ttl: Duration,
    pub(super) leased_since: Instant,
}

/// Why a run stopped.
enum Stopped {
    Ended(Ending),
    LeaseLost,
    Dropped,
}

impl Task {
    pub(super) async fn run(self, mut drop_work: watch::Receiver<bool>) -> Fate {
        // The work is gone before anything is reported: its future lives in this block only.
        let stopped = {
            let work = std::pin::pin!(self.work());
            let lease =
                lease::keep(self.backend.as_ref(), &self.handle, self.lease_ttl, self.leased_since);
            tokio::select! {
                biased;
                ending = work => Stopped::Ended(ending),
                () = lease => Stopped::LeaseLost,
                _ = drop_work.wait_for(|drop| *drop) => Stopped::Dropped,
            }
        };
        match stopped {
            Stopped::Ended(ending) => self.settle(ending).await,
            Stopped::LeaseLost => Fate::Lost,
            Stopped::Dropped => self.settle(Ending::Delayed(TimestampMs::now())).await,
        }
    }

    async fn work(&self) -> Ending {
        match self.job().await {
            Ok(job) => self.runner.run(Arc::new(job)).await,
            Err(error) => {
                tracing::warn!(%error, "what was claimed could not be read; handing it back");
                Ending::Delayed(TimestampMs::now())
            }
        }
    }

    async fn job(&self) -> Result<Job, EngineError> {
        let held = handle_codec::decode(&self.handle.opaque)?.payload;
        let context = self.backend.read_execution_context(&held.execution_id).await?;
        Ok(Job {
            handle: self.handle.clone(),
            execution_id: held.execution_id,
            attempt_index: held.attempt_index,
            lease_epoch: held.lease_epoch,
            lane_id: held.lane_id,
            kind: context.execution_kind,
            payload: context.input_payload,
            tags: context.tags,
        })
    }

    /// Reports the ending; again and again while the database cannot be reached and the lease may
    /// still hold.
    async fn settle(&self, ending: Ending) -> Fate {
        let mut pause = Duration::from_millis(20);
        // The last renewal may be as young as this moment.
        let hopeless = Instant::now() + self.lease_ttl;
        loop {
            match self.report(ending.clone()).await {
                Ok(fate) => return fate,
                Err(error) if may_pass(&error) && Instant::now() < hopeless => {
                    tracing::warn!(%error, "an ending could not be reported; trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(1));
                }
                Err(error) => {
                    tracing::warn!(%error, "an ending was not accepted");
                    return Fate::Lost;
                }
            }
        }
    }

    async fn report(&self, ending: Ending) -> Result<Fate, EngineError> {
        match ending {
            Ending::Completed(result) => {
                self.backend.complete(&self.handle, result).await?;
                Ok(Fate::Completed)
            }
            Ending::Failed { message, class } => {
                let reason = FailureReason::new(message);
                match self.backend.fail(&self.handle, reason, class).await? {
                    FailOutcome::RetryScheduled { .. } => Ok(Fate::Retried),
                    FailOutcome::TerminalFailed => Ok(Fate::Failed),
                }
            }
            Ending::Delayed(until) => {
                self.backend.delay(&self.handle, until).await?;
                Ok(Fate::HandedBack)
            }
            Ending::Suspended(args) => {
                let now = args.now;
                match self.backend.suspend(&self.handle, args).await? {
                    SuspendOutcome::Suspended { .. } => Ok(Fate::Suspended),
                    // There is nothing to wait for: it runs again at once.
                    _ => {
                        self.backend.delay(&self.handle, now).await?;
                        Ok(Fate::HandedBack)
                    }
                }
            }
        }
    }
}
