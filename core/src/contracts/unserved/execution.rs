//! Executions: leases, delays, progress, ends, listings and tags.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::ids::{
    AttemptId, AttemptIndex, CancelSource, ExecutionId, LeaseEpoch, LeaseFence, LeaseId,
    TimestampMs,
};
use crate::model::state::{PublicState, StateVector};

/// Marks a lease as expired, if it has run out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MarkLeaseExpiredArgs {
    /// The execution.
    pub execution_id: ExecutionId,
}

/// The outcome of marking a lease as expired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MarkLeaseExpiredResult {
    /// The lease had run out and is marked as expired.
    MarkedExpired,
    /// There is nothing to mark.
    AlreadySatisfied {
        /// The reason.
        reason: String,
    },
}

/// Releases a leased execution and delays it until a time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DelayExecutionArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The lease that the caller claims to hold.
    #[serde(default)]
    pub fence: Option<LeaseFence>,
    /// The attempt's number, from zero.
    pub attempt_index: AttemptIndex,
    /// The time before which it cannot be claimed.
    pub delay_until: TimestampMs,
    /// The source of the request.
    #[serde(default)]
    pub source: CancelSource,
    /// The caller's clock.
    pub now: TimestampMs,
}

/// The outcome of a delay.
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

/// Releases a leased execution until its dependencies are resolved.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MoveToWaitingChildrenArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The lease that the caller claims to hold.
    #[serde(default)]
    pub fence: Option<LeaseFence>,
    /// The attempt's number, from zero.
    pub attempt_index: AttemptIndex,
    /// The source of the request.
    #[serde(default)]
    pub source: CancelSource,
    /// The caller's clock.
    pub now: TimestampMs,
}

/// The outcome of moving an execution to waiting for its dependencies.
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

/// Reports the progress of a leased execution.
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
    /// The progress, in percent.
    #[serde(default)]
    pub progress_pct: Option<u8>,
    /// The progress, in words.
    #[serde(default)]
    pub progress_message: Option<String>,
    /// The caller's clock.
    pub now: TimestampMs,
}

/// The outcome of a progress report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpdateProgressResult {
    /// The progress is stored.
    Updated,
}

/// Expires an execution after its attempt timeout or deadline has passed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExpireExecutionArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The limit that was exceeded.
    pub expire_reason: String,
}

/// The outcome of expiring an execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExpireExecutionResult {
    /// The execution expired.
    Expired {
        /// The execution.
        execution_id: ExecutionId,
    },
    /// The execution had ended before.
    AlreadyTerminal,
}

/// An execution's state and its current attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateSummary {
    /// Its state in every dimension.
    pub state_vector: StateVector,
    /// Its current attempt.
    pub current_attempt_index: AttemptIndex,
}

/// One execution in a listing for people.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExecutionSummary {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The tenant that it belongs to.
    pub namespace: String,
    /// The lane that it is claimed from.
    pub lane_id: String,
    /// The kind of work, as the submitter names it.
    pub execution_kind: String,
    /// The state that users see.
    pub public_state: String,
    /// Higher goes first.
    pub priority: i32,
    /// The creation time.
    pub created_at: String,
}

/// A listing of executions for people.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ListExecutionsResult {
    /// The executions.
    pub executions: Vec<ExecutionSummary>,
    /// The number of executions listed.
    pub total_returned: usize,
}

/// Asks for tags of an execution to be written.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SetExecutionTagsArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The tags to write.
    pub tags: BTreeMap<String, String>,
}

/// The outcome of writing an execution's tags.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SetExecutionTagsResult {
    /// The tags are written.
    Ok {
        /// The number of tags that the execution has now.
        count: u32,
    },
}
