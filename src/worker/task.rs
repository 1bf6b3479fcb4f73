//! One claimed execution, from the claim to its end.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use ff_core::EngineError;
use ff_core::backend::{FailureClass, Handle};
use ff_core::engine_backend::{EngineBackend, ExpirePhase};
use ff_core::handle_codec::HandlePayload;
use ff_core::partition::{Partition, PartitionFamily};
use ff_core::state::PublicState;
use futures_util::FutureExt as _;
use tokio::time::{Instant, sleep, sleep_until};

use super::running::{RunEntry, StopOrder};
use super::{Ending, Run, Runner, is_database_failure, is_permanent, lease};
use crate::clock::now;
use crate::telemetry;

/// The outcome of a claim, for the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ClaimOutcome {
    Completed,
    /// Tried again, after this time if it is known.
    Retried(Option<Duration>),
    Failed,
    Cancelled,
    Suspended,
    HandedBack,
    /// Handed back, because the machine cannot run it for this reason.
    Unable(String),
    Lost,
    /// The database fails in a way that no repetition mends.
    Broken(String),
}

impl ClaimOutcome {
    /// The outcome as a label.
    const fn as_str(&self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Retried(_) => "retried",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Suspended => "suspended",
            Self::HandedBack | Self::Unable(_) => "handed_back",
            Self::Lost | Self::Broken(_) => "lost",
        }
    }
}

/// One claim with everything needed to run and report it.
pub(super) struct Task {
    pub(super) backend: Arc<dyn EngineBackend>,
    pub(super) runner: Arc<dyn Runner>,
    pub(super) handle: Handle,
    pub(super) held: HandlePayload,
    pub(super) lease_ttl: Duration,
    /// The time of the request: the lease began no earlier.
    pub(super) requested_at: Instant,
    /// The time of the answer: the attempt began no later.
    pub(super) answered_at: Instant,
    pub(super) entry: RunEntry,
}

/// The reason why a run stopped.
enum StopReason {
    Ended(Ending),
    LeaseLost(EngineError),
    Broken(EngineError),
    TimedOut,
    Ordered(StopOrder),
}

/// The run and its deadline, once the execution has been read.
struct LoadedRun {
    run: Arc<Run>,
    times_out_at: Option<Instant>,
}

impl Task {
    pub(super) async fn run(self) -> ClaimOutcome {
        let mut loaded = None;
        let stopped = self.until_stopped(&mut loaded).await;
        let outcome = match stopped {
            StopReason::Ended(ending) => self.report_until_accepted(ending).await,
            StopReason::Ordered(StopOrder::HandBack) => {
                self.report_until_accepted(Ending::HandedBack).await
            }
            StopReason::Broken(error) => {
                // For another worker, whose database may be whole.
                self.report_until_accepted(Ending::HandedBack).await;
                ClaimOutcome::Broken(error.to_string())
            }
            StopReason::TimedOut => self.time_out().await,
            StopReason::LeaseLost(error) => self.lost_lease_outcome(loaded.as_ref(), &error).await,
            StopReason::Ordered(StopOrder::Superseded) => ClaimOutcome::Lost,
        };

        self.log_end(loaded.as_ref(), &outcome);
        let lane = self.held.lane_id.as_str();
        ff_telemetry::run_ended(lane, outcome.as_str(), self.answered_at.elapsed());
        outcome
    }

    /// Runs the work until it ends or must stop. Waits until nothing is left of a stopped run, and
    /// renews the lease meanwhile.
    async fn until_stopped(&self, loaded: &mut Option<LoadedRun>) -> StopReason {
        let id = &self.held.execution_id;
        let backend = self.backend.as_ref();
        let lease =
            lease::renew_until_lost(backend, &self.handle, id, self.lease_ttl, self.requested_at)
                .fuse();
        let mut lease = pin!(lease);

        let read = tokio::select! {
            biased;
            error = &mut lease => return StopReason::LeaseLost(error),
            order = self.entry.wait_for_order() => return StopReason::Ordered(order),
            read = self.load() => read,
        };
        let loaded = match read {
            Ok(read) => loaded.insert(read),
            Err(error) if is_permanent(&error) => return StopReason::Broken(error),
            Err(error) => return StopReason::Ended(unreadable_ending(&error)),
        };

        let stopped = self.until_ended(loaded, lease.as_mut()).await;
        if matches!(stopped, StopReason::Ended(_)) {
            return stopped;
        }

        let mut clean_up = self.runner.clean_up(&loaded.run);
        tokio::select! {
            () = &mut clean_up => stopped,
            error = &mut lease => {
                clean_up.await;
                StopReason::LeaseLost(error)
            }
        }
    }

    /// Waits for an older run of the execution, and reads it.
    async fn load(&self) -> Result<LoadedRun, EngineError> {
        self.entry.wait_for_older_run().await;
        let context = self.backend.read_execution_context(&self.held.execution_id).await?;
        let timeout = context.attempt_timeout_ms.map(Duration::from_millis);
        let times_out_at = timeout.and_then(|timeout| self.answered_at.checked_add(timeout));

        let run = Run {
            handle: self.handle.clone(),
            execution_id: self.held.execution_id.clone(),
            attempt_index: self.held.attempt_index,
            lease_epoch: self.held.lease_epoch,
            lane_id: self.held.lane_id.clone(),
            kind: context.execution_kind,
            payload: context.input_payload,
            tags: context.tags,
        };

        Ok(LoadedRun { run: Arc::new(run), times_out_at })
    }

    async fn until_ended(
        &self,
        loaded: &LoadedRun,
        lease: Pin<&mut (impl Future<Output = EngineError> + Send)>,
    ) -> StopReason {
        let run = &loaded.run;
        let (execution_id, attempt) = (&run.execution_id, run.attempt_index.0);
        tracing::info!(%execution_id, kind = run.kind, attempt, "started");

        let time_out = async {
            match loaded.times_out_at {
                Some(instant) => sleep_until(instant).await,
                None => std::future::pending().await,
            }
        };

        // A run that panicked is never polled again, so that no broken state is seen.
        let work = AssertUnwindSafe(self.runner.run(Arc::clone(run))).catch_unwind();
        let work = telemetry::within_run(run, work);
        tokio::select! {
            // An ending that is there is reported, whatever else happened meanwhile.
            biased;
            ending = work => StopReason::Ended(ending.unwrap_or_else(|panic| panic_ending(&*panic))),
            error = lease => StopReason::LeaseLost(error),
            order = self.entry.wait_for_order() => StopReason::Ordered(order),
            () = time_out => StopReason::TimedOut,
        }
    }

    /// Asks the engine to end the attempt and to decide on a retry by policy.
    async fn time_out(&self) -> ClaimOutcome {
        let id = &self.held.execution_id;
        let index = id.partition();
        for _ in 0..3 {
            let partition = Partition { family: PartitionFamily::Execution, index };
            let expired = async {
                let now = now(self.backend.as_ref()).await?;
                let phase = ExpirePhase::AttemptTimeout;
                self.backend.expire_execution(partition, id, phase, now).await?;
                self.backend.read_execution_state(id).await
            };

            match expired.await {
                // Not yet, by the database's clock.
                Ok(Some(PublicState::Active)) => {}
                Ok(state) => return timed_out_outcome(state),
                Err(error) => {
                    tracing::warn!(execution_id = %id, %error, "an attempt is out of time");
                }
            }
            sleep(Duration::from_millis(50)).await;
        }
        ClaimOutcome::Lost
    }

    /// The outcome after the lease was lost. A cancellation or a time-out explains the loss;
    /// anything else is logged.
    async fn lost_lease_outcome(
        &self,
        loaded: Option<&LoadedRun>,
        error: &EngineError,
    ) -> ClaimOutcome {
        let execution_id = &self.held.execution_id;
        if self.has_completed(error) {
            return ClaimOutcome::Completed;
        }
        let state = self.backend.read_execution_state(execution_id).await.ok().flatten();
        let times_out_at = loaded.and_then(|loaded| loaded.times_out_at);

        match state {
            Some(PublicState::Cancelled) => ClaimOutcome::Cancelled,
            Some(PublicState::Expired) => ClaimOutcome::Failed,
            state if times_out_at.is_some_and(|instant| instant <= Instant::now()) => {
                timed_out_outcome(state)
            }
            _ => {
                tracing::warn!(%execution_id, %error, "a lease is lost");
                ClaimOutcome::Lost
            }
        }
    }

    fn log_end(&self, loaded: Option<&LoadedRun>, outcome: &ClaimOutcome) {
        let execution_id = &self.held.execution_id;
        let kind = loaded.map_or("", |loaded| loaded.run.kind.as_str());
        let attempt = self.held.attempt_index.0;
        let elapsed_ms = u64::try_from(self.answered_at.elapsed().as_millis()).unwrap_or(u64::MAX);

        let ended = match outcome {
            ClaimOutcome::Completed => "completed",
            ClaimOutcome::Retried(_) => "failed, to be tried again",
            ClaimOutcome::Failed => "failed",
            ClaimOutcome::Cancelled => "cancelled",
            ClaimOutcome::Suspended => "suspended",
            ClaimOutcome::HandedBack | ClaimOutcome::Unable(_) => "handed back",
            ClaimOutcome::Lost | ClaimOutcome::Broken(_) => "lost",
        };

        tracing::info!(%execution_id, kind, attempt, elapsed_ms, "{ended}");
    }
}

/// The outcome after the attempt was ended by its time-out.
fn timed_out_outcome(state: Option<PublicState>) -> ClaimOutcome {
    match state {
        Some(PublicState::Cancelled) => ClaimOutcome::Cancelled,
        Some(PublicState::Expired | PublicState::Failed) => ClaimOutcome::Failed,
        Some(_) => ClaimOutcome::Retried(None),
        None => ClaimOutcome::Lost,
    }
}

/// The ending of an execution that cannot be read: handed back if that may pass, failed otherwise.
fn unreadable_ending(error: &EngineError) -> Ending {
    if is_database_failure(error) {
        tracing::warn!(%error, "what was claimed could not be read; handing it back");
        return Ending::HandedBack;
    }

    let message = format!("what was claimed cannot be read: {}", error.sentence());
    Ending::Failed { message, class: FailureClass::Permanent }
}

/// The ending of a run that panicked.
fn panic_ending(panic: &(dyn Any + Send)) -> Ending {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    let message = match text {
        Some(text) => format!("the runner panicked: {text}"),
        None => "the runner panicked".to_owned(),
    };
    Ending::Failed { message, class: FailureClass::Transient }
}
