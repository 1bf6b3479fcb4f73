//! What happens to an execution once it is there: its lease, its end, and what operators do to it.

use serde::{Deserialize, Serialize};

use crate::state::PublicState;
use crate::types::{
    AttemptId, AttemptIndex, CancelSource, ExecutionId, LaneId, LeaseEpoch, LeaseFence, LeaseId,
    TimestampMs, WorkerInstanceId,
};

const fn default_lease_history_grace_ms() -> u64 {
    60_000
}

fn default_trigger_type() -> String {
    "signal".to_owned()
}

/// An attempt that succeeded.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
    pub result_payload: Option<Vec<u8>>,
    /// How the result is encoded.
    #[serde(default)]
    pub result_encoding: Option<String>,
    /// Who asks.
    #[serde(default)]
    pub source: CancelSource,
    /// The caller's clock.
    pub now: TimestampMs,
}

/// What became of a completion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CompleteExecutionResult {
    /// The execution is over.
    Completed {
        /// The execution.
        execution_id: ExecutionId,
        /// The state that users see.
        public_state: PublicState,
    },
}

/// A lease to keep.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RenewLeaseArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The attempt's number, from zero.
    pub attempt_index: AttemptIndex,
    /// The lease that the caller claims to hold.
    pub fence: Option<LeaseFence>,
    /// How long the lease lasts without renewal, in milliseconds.
    pub lease_ttl_ms: u64,
    /// How long the lease's record outlives the lease, in milliseconds.
    #[serde(default = "default_lease_history_grace_ms")]
    pub lease_history_grace_ms: u64,
}

/// What became of a renewal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RenewLeaseResult {
    /// The lease goes on.
    Renewed {
        /// When the lease ends without another renewal.
        expires_at: TimestampMs,
    },
}

/// A lease that may have run out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MarkLeaseExpiredArgs {
    /// The execution.
    pub execution_id: ExecutionId,
}

/// Whether the lease had run out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MarkLeaseExpiredResult {
    /// It had, and is marked so.
    MarkedExpired,
    /// There is nothing to mark.
    AlreadySatisfied {
        /// Why.
        reason: String,
    },
}

/// An execution to cancel.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CancelExecutionArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// Why.
    pub reason: String,
    /// Who asks.
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

/// What became of a cancellation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CancelExecutionResult {
    /// The execution is over.
    Cancelled {
        /// The execution.
        execution_id: ExecutionId,
        /// The state that users see.
        public_state: PublicState,
    },
}

/// A lease to take away.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RevokeLeaseArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The lease to revoke, where only that one will do.
    #[serde(default)]
    pub expected_lease_id: Option<String>,
    /// The running instance of the worker.
    pub worker_instance_id: WorkerInstanceId,
    /// Why.
    pub reason: String,
}

/// What became of a revocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RevokeLeaseResult {
    /// The lease is gone.
    Revoked {
        /// The lease.
        lease_id: String,
        /// The lease's epoch.
        lease_epoch: String,
    },
    /// There is no such lease to take away.
    AlreadySatisfied {
        /// Why.
        reason: String,
    },
}

/// A leased execution to park until an instant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DelayExecutionArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The lease that the caller claims to hold.
    #[serde(default)]
    pub fence: Option<LeaseFence>,
    /// The attempt's number, from zero.
    pub attempt_index: AttemptIndex,
    /// Not before this instant.
    pub delay_until: TimestampMs,
    /// Who asks.
    #[serde(default)]
    pub source: CancelSource,
    /// The caller's clock.
    pub now: TimestampMs,
}

/// What became of a delay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DelayExecutionResult {
    /// The lease is released; the execution waits.
    Delayed {
        /// The execution.
        execution_id: ExecutionId,
        /// The state that users see.
        public_state: PublicState,
    },
}

/// A leased execution to park until its dependencies resolve.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MoveToWaitingChildrenArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The lease that the caller claims to hold.
    #[serde(default)]
    pub fence: Option<LeaseFence>,
    /// The attempt's number, from zero.
    pub attempt_index: AttemptIndex,
    /// Who asks.
    #[serde(default)]
    pub source: CancelSource,
    /// The caller's clock.
    pub now: TimestampMs,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MoveToWaitingChildrenResult {
    /// The lease is released; the execution waits.
    Moved {
        /// The execution.
        execution_id: ExecutionId,
        /// The state that users see.
        public_state: PublicState,
    },
}

/// A new priority.
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

/// What became of a new priority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChangePriorityResult {
    /// It holds from now on.
    Changed {
        /// The execution.
        execution_id: ExecutionId,
    },
}

/// How far a leased execution is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UpdateProgressArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The lease.
    pub lease_id: LeaseId,
    /// The lease's epoch.
    pub lease_epoch: LeaseEpoch,
    /// The attempt's id.
    pub attempt_id: AttemptId,
    /// How far it is, in percent.
    #[serde(default)]
    pub progress_pct: Option<u8>,
    /// How far it is, in words.
    #[serde(default)]
    pub progress_message: Option<String>,
    /// The caller's clock.
    pub now: TimestampMs,
}

/// What became of a progress report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpdateProgressResult {
    /// It is stored.
    Updated,
}

/// An attempt that failed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FailExecutionArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The lease that the caller claims to hold.
    #[serde(default)]
    pub fence: Option<LeaseFence>,
    /// The attempt's number, from zero.
    pub attempt_index: AttemptIndex,
    /// What went wrong.
    pub failure_reason: String,
    /// What kind of failure it was.
    pub failure_category: String,
    /// The policy that decides about another attempt, as JSON.
    #[serde(default)]
    pub retry_policy_json: String,
    /// The policy of that attempt, as JSON. It has no effect in this version: any but an empty one is
    /// refused.
    #[serde(default)]
    pub next_attempt_policy_json: String,
    /// Who asks.
    #[serde(default)]
    pub source: CancelSource,
}

/// What follows a failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailExecutionResult {
    /// Another attempt.
    RetryScheduled {
        /// Not before this instant.
        delay_until: TimestampMs,
        /// The number of the next attempt.
        next_attempt_index: AttemptIndex,
    },
    /// Nothing: the execution is over.
    TerminalFailed,
}

/// An execution whose time is up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExpireExecutionArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// What ran out.
    pub expire_reason: String,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExpireExecutionResult {
    /// It is over.
    Expired {
        /// The execution.
        execution_id: ExecutionId,
    },
    /// It was over already.
    AlreadyTerminal,
}

/// A finished execution to run again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReplayExecutionArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The caller's clock.
    pub now: TimestampMs,
}

/// What became of a replay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReplayExecutionResult {
    /// The execution starts over.
    Replayed {
        /// The state that users see.
        public_state: PublicState,
    },
}

/// A suspended execution to continue.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ResumeExecutionArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// What made it resume.
    #[serde(default = "default_trigger_type")]
    pub trigger_type: String,
    /// How long it still waits, in milliseconds.
    #[serde(default)]
    pub resume_delay_ms: u64,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResumeExecutionResult {
    /// It is runnable, or delayed when it still has to wait.
    Resumed {
        /// The state that users see.
        public_state: PublicState,
    },
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
