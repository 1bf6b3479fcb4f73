//! Suspensions, waitpoints and signals.

use serde::{Deserialize, Serialize};

use crate::model::hidden::Hidden;
use crate::model::ids::{
    AttemptId, AttemptIndex, ExecutionId, LeaseEpoch, LeaseFence, LeaseId, SignalId, SuspensionId,
    TimestampMs, WaitpointId, WaitpointToken,
};

fn default_timeout_behavior() -> String {
    "fail".to_owned()
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
#[derive(Clone, derive_more::Debug, Serialize, Deserialize)]
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
    #[debug("{}", Hidden(payload))]
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
