//! Types of the reference that no operation here takes or answers.
//!
//! Callers of the reference may name them, so they stay, with the reference's fields and wire
//! forms. Nothing else in this repository uses them; `core/tests/paths/unserved.rs` reads and
//! writes each.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{EdgeDependencyPolicy, ResolveDependencyOutcome, StreamFrames};
use crate::model::ids::{
    AttemptId, AttemptIndex, CancelSource, ExecutionId, FlowId, LeaseEpoch, LeaseFence, LeaseId,
    SignalId, SuspensionId, TimestampMs, WaitpointId, WaitpointToken,
};
use crate::model::state::{PublicState, StateVector};

fn default_timeout_behavior() -> String {
    "fail".to_owned()
}

/// The outcome of resolving one edge, in its wire form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResolveDependencyResult {
    /// The dependency holds.
    Satisfied,
    /// The dependency can no longer hold.
    Impossible,
    /// The edge was resolved before; nothing changed.
    AlreadyResolved,
}

impl From<ResolveDependencyResult> for ResolveDependencyOutcome {
    fn from(result: ResolveDependencyResult) -> Self {
        match result {
            ResolveDependencyResult::Satisfied => Self::Satisfied,
            ResolveDependencyResult::Impossible => Self::Impossible,
            ResolveDependencyResult::AlreadyResolved => Self::AlreadyResolved,
        }
    }
}

/// Asks for a blocked execution to become claimable, once its dependencies hold.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PromoteBlockedToEligibleArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The time of the call.
    pub now: TimestampMs,
}

/// The outcome of making an execution claimable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PromoteBlockedToEligibleResult {
    /// The execution is claimable.
    Promoted,
}

/// Asks for the policy of an execution's dependencies to be fixed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SetEdgeGroupPolicyArgs {
    /// The flow.
    pub flow_id: FlowId,
    /// The execution that waits.
    pub downstream_execution_id: ExecutionId,
    /// The policy: how many of the dependencies must hold.
    pub policy: EdgeDependencyPolicy,
    /// The time of the call.
    pub now: TimestampMs,
}

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

/// Asks for tags of a flow to be written.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SetFlowTagsArgs {
    /// The flow.
    pub flow_id: FlowId,
    /// The tags to write.
    pub tags: BTreeMap<String, String>,
}

/// The outcome of writing a flow's tags.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SetFlowTagsResult {
    /// The tags are written.
    Ok {
        /// The number of tags that the flow has now.
        count: u32,
    },
}

/// Appends a frame to the stream of an attempt.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AppendFrameArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The attempt.
    pub attempt_index: AttemptIndex,
    /// The lease that the writer holds.
    pub lease_id: LeaseId,
    /// The epoch that the writer holds.
    pub lease_epoch: LeaseEpoch,
    /// The id of the attempt.
    pub attempt_id: AttemptId,
    /// The type of the frame.
    pub frame_type: String,
    /// The time at which the frame was made.
    pub timestamp: TimestampMs,
    /// The content.
    pub payload: Vec<u8>,
    /// The encoding of the content.
    #[serde(default)]
    pub encoding: Option<String>,
    /// The writer's metadata, as JSON.
    #[serde(default)]
    pub metadata_json: Option<String>,
    /// Ties the frame to other records.
    #[serde(default)]
    pub correlation_id: Option<String>,
    /// The writer of the frame.
    #[serde(default)]
    pub source: Option<String>,
    /// The most frames that the stream keeps.
    #[serde(default)]
    pub retention_maxlen: Option<u32>,
    /// The longest content, in bytes.
    #[serde(default)]
    pub max_payload_bytes: Option<u32>,
}

/// The outcome of an append.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AppendFrameResult {
    /// The frame is in the stream.
    Appended {
        /// The id of the frame.
        entry_id: String,
        /// The number of frames that the stream holds now.
        frame_count: u64,
    },
}

/// Reads a range of frames.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReadFramesArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The attempt.
    pub attempt_index: AttemptIndex,
    /// The first id, inclusive.
    pub from_id: String,
    /// The last id, inclusive.
    pub to_id: String,
    /// The most frames to return.
    pub count_limit: u64,
}

/// The outcome of a read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReadFramesResult {
    /// The frames of the range.
    Frames(StreamFrames),
}

/// Suspends an execution, with condition and policy as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SuspendExecutionArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The fence that the worker presents to prove its lease.
    pub fence: Option<LeaseFence>,
    /// The attempt.
    pub attempt_index: AttemptIndex,
    /// The id of the new suspension.
    pub suspension_id: SuspensionId,
    /// The waitpoint.
    pub waitpoint_id: WaitpointId,
    /// The key of the waitpoint.
    pub waitpoint_key: String,
    /// The reason for the suspension.
    pub reason_code: String,
    /// The party that asked for the suspension.
    pub requested_by: String,
    /// The condition that ends the suspension, as JSON.
    pub resume_condition_json: String,
    /// The policy once the condition holds, as JSON.
    pub resume_policy_json: String,
    /// A pointer to the state that the worker needs in order to continue.
    #[serde(default)]
    pub continuation_metadata_pointer: Option<String>,
    /// The time at which the suspension times out.
    #[serde(default)]
    pub timeout_at: Option<TimestampMs>,
    /// True if the waitpoint was created earlier.
    #[serde(default)]
    pub use_pending_waitpoint: bool,
    /// The action on timeout.
    #[serde(default = "default_timeout_behavior")]
    pub timeout_behavior: String,
}

/// The outcome of a suspension.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SuspendExecutionResult {
    /// The execution is suspended.
    Suspended {
        /// The suspension.
        suspension_id: SuspensionId,
        /// The waitpoint.
        waitpoint_id: WaitpointId,
        /// The key of the waitpoint.
        waitpoint_key: String,
        /// The token that lets its bearer signal the waitpoint.
        waitpoint_token: WaitpointToken,
    },
    /// The condition already holds: the worker continues.
    AlreadySatisfied {
        /// The suspension.
        suspension_id: SuspensionId,
        /// The waitpoint.
        waitpoint_id: WaitpointId,
        /// The key of the waitpoint.
        waitpoint_key: String,
        /// The token that lets its bearer signal the waitpoint.
        waitpoint_token: WaitpointToken,
    },
}

/// Creates a waitpoint before the suspension that will use it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CreatePendingWaitpointArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The lease that the worker holds.
    pub lease_id: LeaseId,
    /// The epoch that the worker holds.
    pub lease_epoch: LeaseEpoch,
    /// The attempt.
    pub attempt_index: AttemptIndex,
    /// The id of the attempt.
    pub attempt_id: AttemptId,
    /// The id of the new waitpoint.
    pub waitpoint_id: WaitpointId,
    /// The key of the new waitpoint.
    pub waitpoint_key: String,
    /// The time for which the waitpoint stays pending, in milliseconds.
    pub expires_in_ms: u64,
}

/// The outcome of creating a waitpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CreatePendingWaitpointResult {
    /// The waitpoint exists.
    Created {
        /// The waitpoint.
        waitpoint_id: WaitpointId,
        /// The key of the waitpoint.
        waitpoint_key: String,
        /// The token that lets its bearer signal the waitpoint.
        waitpoint_token: WaitpointToken,
    },
}

/// Closes a waitpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CloseWaitpointArgs {
    /// The waitpoint.
    pub waitpoint_id: WaitpointId,
    /// The reason for closing it.
    pub reason: String,
}

/// The outcome of closing a waitpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CloseWaitpointResult {
    /// The waitpoint is closed.
    Closed,
}

/// Times out a suspension.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExpireSuspensionArgs {
    /// The execution.
    pub execution_id: ExecutionId,
}

/// The outcome of a timeout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExpireSuspensionResult {
    /// The suspension timed out.
    Expired {
        /// The timeout behaviour that was applied.
        behavior_applied: String,
    },
    /// There was nothing to time out.
    AlreadySatisfied {
        /// The reason nothing was done.
        reason: String,
    },
}

/// Keeps a signal for a waitpoint that no suspension uses yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BufferSignalArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The waitpoint.
    pub waitpoint_id: WaitpointId,
    /// The id of the signal.
    pub signal_id: SignalId,
    /// The name that matchers compare.
    pub signal_name: String,
    /// The category of the signal.
    pub signal_category: String,
    /// The kind of sender.
    pub source_type: String,
    /// The sender.
    pub source_identity: String,
    /// The content.
    #[serde(default)]
    pub payload: Option<Vec<u8>>,
    /// The encoding of the content.
    #[serde(default)]
    pub payload_encoding: Option<String>,
    /// Makes the delivery repeatable.
    #[serde(default)]
    pub idempotency_key: Option<String>,
    /// The scope that the signal is meant for.
    pub target_scope: String,
    /// The token that authorises the delivery.
    pub waitpoint_token: WaitpointToken,
    /// The time of the call.
    pub now: TimestampMs,
}

/// The outcome of buffering a signal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BufferSignalResult {
    /// The signal is kept.
    Buffered {
        /// The signal.
        signal_id: SignalId,
    },
    /// The same signal was buffered before.
    Duplicate {
        /// The signal of that call.
        existing_signal_id: SignalId,
    },
}
