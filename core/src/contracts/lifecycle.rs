//! Operations on an existing execution: on its lease, its end, and by operators.

use serde::{Deserialize, Serialize};

use crate::model::hidden::Hidden;
use crate::model::ids::{
    AttemptId, AttemptIndex, CancelSource, ExecutionId, LaneId, LeaseEpoch, LeaseFence, LeaseId,
    TimestampMs, WorkerInstanceId,
};
use crate::model::state::PublicState;

const fn default_lease_history_grace_ms() -> u64 {
    60_000
}

fn default_trigger_type() -> String {
    "signal".to_owned()
}

/// Completes an execution: its attempt succeeded.
#[derive(Clone, derive_more::Debug, Serialize, Deserialize)]
pub struct CompleteExecutionArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The lease that the caller claims to hold.
    #[serde(default)]
    pub fence: Option<LeaseFence>,
    /// The attempt's number, from zero.
    pub attempt_index: AttemptIndex,
    /// The result, opaque.
    #[serde(default)]
    #[debug("{}", Hidden(result_payload))]
    pub result_payload: Option<Vec<u8>>,
    /// The encoding of the result. It is not stored, so any is refused.
    #[serde(default)]
    pub result_encoding: Option<String>,
    /// The source of the request.
    #[serde(default)]
    pub source: CancelSource,
    /// The caller's clock.
    pub now: TimestampMs,
}

/// The outcome of a completion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CompleteExecutionResult {
    /// The execution has ended.
    Completed {
        /// The execution.
        execution_id: ExecutionId,
        /// The state that users see.
        public_state: PublicState,
    },
}

/// Renews a lease.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RenewLeaseArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The attempt's number, from zero.
    pub attempt_index: AttemptIndex,
    /// The lease that the caller claims to hold.
    pub fence: Option<LeaseFence>,
    /// The lease's duration without renewal, in milliseconds.
    pub lease_ttl_ms: u64,
    /// The time for which the lease's record outlives the lease, in milliseconds. Has no effect in
    /// this version.
    #[serde(default = "default_lease_history_grace_ms")]
    pub lease_history_grace_ms: u64,
}

/// The outcome of a renewal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RenewLeaseResult {
    /// The lease is renewed.
    Renewed {
        /// The lease's expiry without another renewal.
        expires_at: TimestampMs,
    },
}

/// Cancels an execution.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CancelExecutionArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The reason.
    pub reason: String,
    /// The source of the request.
    #[serde(default)]
    pub source: CancelSource,
    /// The lease.
    #[serde(default)]
    pub lease_id: Option<LeaseId>,
    /// The lease's epoch.
    #[serde(default)]
    pub lease_epoch: Option<LeaseEpoch>,
    /// The attempt's id.
    #[serde(default)]
    pub attempt_id: Option<AttemptId>,
    /// The caller's clock.
    pub now: TimestampMs,
}

/// The outcome of a cancellation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CancelExecutionResult {
    /// The execution has ended.
    Cancelled {
        /// The execution.
        execution_id: ExecutionId,
        /// The state that users see.
        public_state: PublicState,
    },
}

/// Revokes a lease.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RevokeLeaseArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The lease to revoke; the current one, whichever it is, when absent.
    #[serde(default)]
    pub expected_lease_id: Option<String>,
    /// The worker instance that must hold the lease; any when empty.
    pub worker_instance_id: WorkerInstanceId,
    /// The reason.
    pub reason: String,
}

/// The outcome of a revocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RevokeLeaseResult {
    /// The lease is revoked.
    Revoked {
        /// The lease.
        lease_id: String,
        /// The lease's epoch.
        lease_epoch: String,
    },
    /// There is no such lease to revoke.
    AlreadySatisfied {
        /// The reason.
        reason: String,
    },
}

/// Changes the priority of an execution.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChangePriorityArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The priority from now on.
    pub new_priority: i32,
    /// The lane.
    pub lane_id: LaneId,
    /// The caller's clock.
    pub now: TimestampMs,
}

/// The outcome of changing a priority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChangePriorityResult {
    /// The new priority applies from now on.
    Changed {
        /// The execution.
        execution_id: ExecutionId,
    },
}

/// Reports the failure of an attempt.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FailExecutionArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The lease that the caller claims to hold.
    #[serde(default)]
    pub fence: Option<LeaseFence>,
    /// The attempt's number, from zero.
    pub attempt_index: AttemptIndex,
    /// The failure, in words.
    pub failure_reason: String,
    /// The category of the failure.
    pub failure_category: String,
    /// The retry policy for this failure, as JSON; no retry when empty.
    #[serde(default)]
    pub retry_policy_json: String,
    /// The policy of the next attempt, as JSON. Has no effect in this version: any but an empty one
    /// is refused.
    #[serde(default)]
    pub next_attempt_policy_json: String,
    /// The source of the request.
    #[serde(default)]
    pub source: CancelSource,
}

/// The consequence of a failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailExecutionResult {
    /// Another attempt follows.
    RetryScheduled {
        /// The time before which it cannot be claimed.
        delay_until: TimestampMs,
        /// The number of the next attempt.
        next_attempt_index: AttemptIndex,
    },
    /// No attempt follows: the execution has ended.
    TerminalFailed,
}

/// Replays a finished execution.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReplayExecutionArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The caller's clock.
    pub now: TimestampMs,
}

/// The outcome of a replay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReplayExecutionResult {
    /// The execution starts over.
    Replayed {
        /// The state that users see.
        public_state: PublicState,
    },
}

/// Resumes a suspended execution.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ResumeExecutionArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The trigger of the resume.
    #[serde(default = "default_trigger_type")]
    pub trigger_type: String,
    /// The delay before it is claimable, in milliseconds.
    #[serde(default)]
    pub resume_delay_ms: u64,
}

/// The outcome of resuming an execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResumeExecutionResult {
    /// The execution is runnable, or delayed if a delay was asked for.
    Resumed {
        /// The state that users see.
        public_state: PublicState,
    },
}

/// The reason for an attempt's failure.
#[derive(Clone, derive_more::Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailureReason {
    /// The reason, in words.
    pub message: String,
    /// Details in the worker's own format; stored as text behind the message.
    #[debug("{}", Hidden(detail))]
    pub detail: Option<Vec<u8>>,
    /// The pause before another attempt, in milliseconds, in place of the one of the policy. The
    /// policy still decides if there is another attempt.
    pub retry_after_ms: Option<u64>,
}

impl FailureReason {
    /// A reason in words.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), detail: None, retry_after_ms: None }
    }

    /// A reason in words, with more to it.
    #[must_use]
    pub fn with_detail(message: impl Into<String>, detail: Vec<u8>) -> Self {
        Self { detail: Some(detail), ..Self::new(message) }
    }

    /// The same; another attempt begins after so many milliseconds.
    #[must_use]
    pub fn retried_after(self, pause_ms: u64) -> Self {
        Self { retry_after_ms: Some(pause_ms), ..self }
    }
}

/// The consequence of a failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailOutcome {
    /// Another attempt.
    RetryScheduled {
        /// Not before this instant.
        delay_until: TimestampMs,
    },
    /// Nothing: the execution is over.
    TerminalFailed,
}

/// A renewed lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct LeaseRenewal {
    /// The expiry without another renewal, in Unix milliseconds.
    pub expires_at_ms: u64,
    /// Its epoch.
    pub lease_epoch: u64,
}

impl LeaseRenewal {
    /// One parameter per field, in order.
    #[must_use]
    pub const fn new(expires_at_ms: u64, lease_epoch: u64) -> Self {
        Self { expires_at_ms, lease_epoch }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "{fp:7}:550e8400-e29b-41d4-a716-446655440000";

    #[test]
    fn arguments_that_are_left_out_have_their_defaults() {
        let renew: RenewLeaseArgs = serde_json::from_value(json!({
            "execution_id": ID, "attempt_index": 0, "fence": null, "lease_ttl_ms": 1,
        }))
        .unwrap();
        assert_eq!(renew.lease_history_grace_ms, 60_000);

        let resume: ResumeExecutionArgs =
            serde_json::from_value(json!({ "execution_id": ID })).unwrap();
        assert_eq!((resume.trigger_type.as_str(), resume.resume_delay_ms), ("signal", 0));

        let complete: CompleteExecutionArgs = serde_json::from_value(json!({
            "execution_id": ID, "attempt_index": 0, "now": 1,
        }))
        .unwrap();
        assert_eq!(complete.fence, None);
        assert_eq!(complete.source, CancelSource::OperatorOverride);

        let fail: FailExecutionArgs = serde_json::from_value(json!({
            "execution_id": ID, "attempt_index": 0, "failure_reason": "r", "failure_category": "c",
        }))
        .unwrap();
        assert_eq!(
            (fail.retry_policy_json.as_str(), fail.next_attempt_policy_json.as_str()),
            ("", "")
        );
    }

    #[test]
    fn results_name_their_variant() {
        assert_eq!(
            serde_json::to_value(FailExecutionResult::TerminalFailed).unwrap(),
            json!("TerminalFailed")
        );
    }
}
