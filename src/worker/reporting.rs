//! Reports the ending of a run until the engine has accepted it.

use std::time::Duration;

use ff_core::EngineError;
use ff_core::backend::{FailOutcome, FailureClass, FailureReason};
use ff_core::contracts::{ChildWait, SuspendOutcome};
use ff_core::engine_error::{ContentionKind, StateKind};
use ff_core::state::{ClosedSet as _, PublicState, TerminalOutcome};
use tokio::time::Instant;

use super::task::{ClaimOutcome, Task};
use super::{Ending, is_permanent, may_pass};
use crate::clock::now;

impl Task {
    /// Reports the ending. While the database cannot be reached and the lease may still hold, it
    /// retries. An ending that is refused for its content becomes a failure, so that the execution
    /// is never started again without a trace.
    pub(super) async fn report_until_accepted(&self, mut ending: Ending) -> ClaimOutcome {
        let execution_id = &self.held.execution_id;
        let mut pause = Duration::from_millis(20);
        // The last renewal may be as young as this moment.
        let hopeless = Instant::now() + self.lease_ttl;
        let mut refusals = 0;

        loop {
            let error = match self.report(ending.clone()).await {
                Ok(outcome) => return outcome,
                Err(error) => error,
            };

            if lease_is_over(&error) {
                return self.late_report_outcome(&error).await;
            }
            if may_pass(&error) {
                if hopeless <= Instant::now() {
                    tracing::warn!(%execution_id, %error, "an ending could not be reported");
                    return ClaimOutcome::Lost;
                }
                tracing::warn!(%execution_id, %error, "reporting an ending failed; trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(1));
                continue;
            }

            refusals += 1;
            tracing::warn!(%execution_id, %error, "an ending was refused; it becomes a failure");
            ending = match replacement_failure(ending, &error, refusals) {
                Some(failure) => failure,
                None if is_permanent(&error) => return ClaimOutcome::Broken(error.to_string()),
                None => return ClaimOutcome::Lost,
            };
        }
    }

    /// The outcome after the execution was ended, or claimed by another worker, before the report.
    async fn late_report_outcome(&self, error: &EngineError) -> ClaimOutcome {
        let execution_id = &self.held.execution_id;
        if self.has_completed(error) {
            return ClaimOutcome::Completed;
        }
        match self.backend.read_execution_state(execution_id).await {
            Ok(Some(PublicState::Cancelled)) => ClaimOutcome::Cancelled,
            _ => {
                tracing::warn!(%execution_id, %error, "an ending came too late");
                ClaimOutcome::Lost
            }
        }
    }

    /// True if the refusal says that the execution was completed under this very lease: by the
    /// runner in a transaction of its own, or by a report with a lost answer.
    pub(super) fn has_completed(&self, error: &EngineError) -> bool {
        match error {
            EngineError::Contention(ContentionKind::ExecutionNotActive {
                terminal_outcome,
                lease_epoch,
                attempt_id,
                ..
            }) => {
                let held = &self.held;
                terminal_outcome == TerminalOutcome::Success.as_str()
                    && *lease_epoch == held.lease_epoch.0.to_string()
                    && *attempt_id == held.attempt_id.to_string()
            }
            EngineError::Contextual { source, .. } => self.has_completed(source),
            _ => false,
        }
    }

    async fn report(&self, ending: Ending) -> Result<ClaimOutcome, EngineError> {
        match ending {
            Ending::Completed(result) => {
                self.backend.complete(&self.handle, result).await?;
                Ok(ClaimOutcome::Completed)
            }
            Ending::CompletedByRunner => Ok(ClaimOutcome::Completed),
            Ending::Failed { message, class } => {
                self.fail(FailureReason::new(message), class).await
            }
            Ending::RetriedAfter { message, pause } => {
                let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                let reason = FailureReason::new(message).retried_after(pause_ms);
                self.fail(reason, FailureClass::Transient).await
            }
            Ending::Delayed(until) => {
                self.backend.delay(&self.handle, until).await?;
                Ok(ClaimOutcome::HandedBack)
            }
            Ending::HandedBack => {
                // A delay until now: claimable at once, without a retry being counted.
                self.backend.delay(&self.handle, now(self.backend.as_ref()).await?).await?;
                Ok(ClaimOutcome::HandedBack)
            }
            Ending::Unable(reason) => {
                tracing::warn!(execution_id = %self.held.execution_id, reason, "unable to run");
                self.backend.delay(&self.handle, now(self.backend.as_ref()).await?).await?;
                Ok(ClaimOutcome::Unable(reason))
            }
            Ending::WaitingFor(child) => {
                match self.backend.wait_for_child(&self.handle, &child).await? {
                    ChildWait::Waiting => Ok(ClaimOutcome::Suspended),
                    // It runs again at once.
                    ChildWait::Ended => {
                        let now = now(self.backend.as_ref()).await?;
                        self.backend.delay(&self.handle, now).await?;
                        Ok(ClaimOutcome::HandedBack)
                    }
                }
            }
            Ending::Suspended(mut args) => {
                // The database's clock, not the one of this machine, says when it was suspended.
                args.now = now(self.backend.as_ref()).await?;
                let now = args.now;
                match self.backend.suspend(&self.handle, args).await? {
                    SuspendOutcome::Suspended { .. } => Ok(ClaimOutcome::Suspended),
                    // There is nothing to wait for: it runs again at once.
                    _ => {
                        self.backend.delay(&self.handle, now).await?;
                        Ok(ClaimOutcome::HandedBack)
                    }
                }
            }
        }
    }

    async fn fail(
        &self,
        reason: FailureReason,
        class: FailureClass,
    ) -> Result<ClaimOutcome, EngineError> {
        let (id, attempt) = (&self.held.execution_id, self.held.attempt_index.0);
        tracing::info!(execution_id = %id, attempt, reason = reason.message, "an attempt fails");
        match self.backend.fail(&self.handle, reason, class).await? {
            FailOutcome::RetryScheduled { delay_until } => {
                let now = now(self.backend.as_ref()).await?;
                let wait = u64::try_from(delay_until.0.saturating_sub(now.0)).unwrap_or(0);
                Ok(ClaimOutcome::Retried(Some(Duration::from_millis(wait))))
            }
            FailOutcome::TerminalFailed => Ok(ClaimOutcome::Failed),
        }
    }
}

/// The failure that replaces a refused ending. First the policy decides on a retry; if that is
/// refused, too, the failure is permanent; the last has a message that can always be stored.
fn replacement_failure(ending: Ending, error: &EngineError, refusals: u32) -> Option<Ending> {
    let reason = error.sentence();
    let (class, message) = match (refusals, ending) {
        (1, Ending::Failed { message, .. } | Ending::RetriedAfter { message, .. }) => {
            (FailureClass::Permanent, format!("{message} (reporting it as such: {reason})"))
        }
        (1, _) => (FailureClass::Transient, format!("its ending was refused: {reason}")),
        (2, _) => (FailureClass::Permanent, format!("its ending was refused: {reason}")),
        (3, _) => (FailureClass::Permanent, "its ending was refused".to_owned()),
        _ => return None,
    };
    // No database stores a NUL, and the length may be what was refused.
    let message = message.replace('\0', "\u{fffd}").chars().take(1_000).collect();
    Some(Ending::Failed { message, class })
}

/// True if the lease is lost, so that every report would be refused.
fn lease_is_over(error: &EngineError) -> bool {
    match error {
        EngineError::NotFound { entity } => *entity == "execution",
        EngineError::State(
            StateKind::StaleLease | StateKind::LeaseExpired | StateKind::LeaseRevoked,
        )
        | EngineError::Contention(
            ContentionKind::LeaseConflict | ContentionKind::ExecutionNotActive { .. },
        ) => true,
        EngineError::Contextual { source, .. } => lease_is_over(source),
        _ => false,
    }
}
