//! The events that subscriptions deliver.

use serde_json::Value as Json;

use crate::model::cursor::StreamCursor;
use crate::model::hidden::Hidden;
use crate::model::ids::{
    ExecutionId, FlowId, LeaseId, SignalId, TimestampMs, WaitpointId, WorkerInstanceId,
};
use crate::model::state::{FailureClass, OperatorEventType};

/// One thing that happened to a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaseHistoryEvent {
    /// A worker took a lease.
    Acquired {
        /// The cursor that continues a subscription after this event.
        cursor: StreamCursor,
        /// The leased execution.
        execution_id: ExecutionId,
        /// The lease, where recorded.
        lease_id: Option<LeaseId>,
        /// The holder, where recorded.
        worker_instance_id: Option<WorkerInstanceId>,
        /// The time of the event.
        at: TimestampMs,
    },
    /// The holder extended the lease.
    Renewed {
        /// The cursor that continues a subscription after this event.
        cursor: StreamCursor,
        /// The leased execution.
        execution_id: ExecutionId,
        /// The lease, where recorded.
        lease_id: Option<LeaseId>,
        /// The holder, where recorded.
        worker_instance_id: Option<WorkerInstanceId>,
        /// The time of the event.
        at: TimestampMs,
    },
    /// The lease ran out.
    Expired {
        /// The cursor that continues a subscription after this event.
        cursor: StreamCursor,
        /// The execution that was leased.
        execution_id: ExecutionId,
        /// The lease, where recorded.
        lease_id: Option<LeaseId>,
        /// The former holder, where recorded.
        prev_owner: Option<WorkerInstanceId>,
        /// The time of the event.
        at: TimestampMs,
    },
    /// Another worker reclaimed a lost execution.
    Reclaimed {
        /// The cursor that continues a subscription after this event.
        cursor: StreamCursor,
        /// The execution.
        execution_id: ExecutionId,
        /// The new lease, where recorded.
        new_lease_id: Option<LeaseId>,
        /// Its holder, where recorded.
        new_owner: Option<WorkerInstanceId>,
        /// The time of the event.
        at: TimestampMs,
    },
    /// The lease was given up or taken away.
    Revoked {
        /// The cursor that continues a subscription after this event.
        cursor: StreamCursor,
        /// The execution that was leased.
        execution_id: ExecutionId,
        /// The lease, where recorded.
        lease_id: Option<LeaseId>,
        /// The cause, as the word of a [`crate::model::state::LeaseCause`], such as `completed`. It
        /// is `operator` where an operator revoked the lease, and in rows without a cause.
        revoked_by: String,
        /// The time of the event.
        at: TimestampMs,
    },
}

impl LeaseHistoryEvent {
    /// The cursor that continues a subscription after this event.
    #[must_use]
    pub const fn cursor(&self) -> &StreamCursor {
        match self {
            Self::Acquired { cursor, .. }
            | Self::Renewed { cursor, .. }
            | Self::Expired { cursor, .. }
            | Self::Reclaimed { cursor, .. }
            | Self::Revoked { cursor, .. } => cursor,
        }
    }

    /// The execution.
    #[must_use]
    pub const fn execution_id(&self) -> &ExecutionId {
        match self {
            Self::Acquired { execution_id, .. }
            | Self::Renewed { execution_id, .. }
            | Self::Expired { execution_id, .. }
            | Self::Reclaimed { execution_id, .. }
            | Self::Revoked { execution_id, .. } => execution_id,
        }
    }

    /// The time of the event.
    #[must_use]
    pub const fn at(&self) -> TimestampMs {
        match self {
            Self::Acquired { at, .. }
            | Self::Renewed { at, .. }
            | Self::Expired { at, .. }
            | Self::Reclaimed { at, .. }
            | Self::Revoked { at, .. } => *at,
        }
    }
}

/// The outcome of an execution.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CompletionOutcome {
    /// It succeeded: `success`.
    Success,
    /// It failed for good: `failed`, or `failure`.
    Failure,
    /// It was cancelled: `cancelled`.
    Cancelled,
    /// Any other recorded text.
    Other(String),
}

impl CompletionOutcome {
    /// Reads the recorded text; every text is an outcome.
    #[must_use]
    pub fn from_wire(text: &str) -> Self {
        match text {
            "success" => Self::Success,
            "failed" | "failure" => Self::Failure,
            "cancelled" => Self::Cancelled,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// An execution ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CompletionEvent {
    /// The cursor that continues a subscription after this event.
    pub cursor: StreamCursor,
    /// The execution.
    pub execution_id: ExecutionId,
    /// The outcome.
    pub outcome: CompletionOutcome,
    /// The time of the event.
    pub at: TimestampMs,
    /// The reason for a failure, cancellation or skip; `None` for a success.
    pub reason: Option<String>,
    /// The class of the failure, where it failed and the class is known.
    pub failure_class: Option<FailureClass>,
}

impl CompletionEvent {
    /// An end without reason and failure class.
    #[must_use]
    pub const fn new(
        cursor: StreamCursor,
        execution_id: ExecutionId,
        outcome: CompletionOutcome,
        at: TimestampMs,
    ) -> Self {
        Self { cursor, execution_id, outcome, at, reason: None, failure_class: None }
    }

    /// Sets the reason and the failure class.
    #[must_use]
    pub fn with_reason(mut self, reason: Option<String>, class: Option<FailureClass>) -> Self {
        self.reason = reason;
        self.failure_class = class;
        self
    }
}

/// The effect of a delivered signal.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignalDeliveryEffect {
    /// It completed the condition: `satisfied`.
    Satisfied,
    /// It is kept for a condition that still waits: `buffered`.
    Buffered,
    /// It repeated an earlier one: `deduped`.
    Deduped,
    /// Any other recorded text.
    Other(String),
}

impl SignalDeliveryEffect {
    /// Reads the recorded text; every text is an effect.
    #[must_use]
    pub fn from_wire(text: &str) -> Self {
        match text {
            "satisfied" => Self::Satisfied,
            "buffered" => Self::Buffered,
            "deduped" => Self::Deduped,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// A signal was delivered.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SignalDeliveryEvent {
    /// The cursor that continues a subscription after this event.
    pub cursor: StreamCursor,
    /// The execution that it reached.
    pub execution_id: ExecutionId,
    /// The signal.
    pub signal_id: SignalId,
    /// The waitpoint where it arrived, where recorded.
    pub waitpoint_id: Option<WaitpointId>,
    /// The sender, where recorded.
    pub source_identity: Option<String>,
    /// The effect of the signal.
    pub effect: SignalDeliveryEffect,
    /// The time of the event.
    pub at: TimestampMs,
}

impl SignalDeliveryEvent {
    /// One parameter per field, in order.
    #[must_use]
    pub const fn new(
        cursor: StreamCursor,
        execution_id: ExecutionId,
        signal_id: SignalId,
        waitpoint_id: Option<WaitpointId>,
        source_identity: Option<String>,
        effect: SignalDeliveryEffect,
        at: TimestampMs,
    ) -> Self {
        Self { cursor, execution_id, signal_id, waitpoint_id, source_identity, effect, at }
    }
}

/// An execution's instance tag changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InstanceTagEvent {
    /// The tag was set.
    Attached {
        /// The cursor that continues a subscription after this event.
        cursor: StreamCursor,
        /// The execution.
        execution_id: ExecutionId,
        /// The tag.
        tag: String,
        /// The time of the event.
        at: TimestampMs,
    },
    /// The tag was cleared.
    Cleared {
        /// The cursor that continues a subscription after this event.
        cursor: StreamCursor,
        /// The execution.
        execution_id: ExecutionId,
        /// The tag.
        tag: String,
        /// The time of the event.
        at: TimestampMs,
    },
}

/// An operator intervened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OperatorEvent {
    /// The cursor that continues a subscription after this event.
    pub cursor: StreamCursor,
    /// The execution; where a flow was cancelled, the flow's UUID in its partition.
    pub execution_id: ExecutionId,
    /// The type of the intervention.
    pub event_type: OperatorEventType,
    /// Details, in a layout that depends on the event type.
    pub details: Option<Json>,
    /// The time of the event.
    pub at: TimestampMs,
}

impl OperatorEvent {
    /// One parameter per field, in order.
    #[must_use]
    pub const fn new(
        cursor: StreamCursor,
        execution_id: ExecutionId,
        event_type: OperatorEventType,
        details: Option<Json>,
        at: TimestampMs,
    ) -> Self {
        Self { cursor, execution_id, event_type, details, at }
    }
}

/// An execution that finished.
#[derive(Clone, derive_more::Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompletionPayload {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The outcome.
    pub outcome: String,
    /// Its result, where the backend carries it.
    #[debug("{}", Hidden(payload_bytes))]
    pub payload_bytes: Option<Vec<u8>>,
    /// The time at which it ended.
    pub produced_at_ms: TimestampMs,
    /// Its flow, if it has one.
    pub flow_id: Option<FlowId>,
    /// The reason for a failure, cancellation or skip; `None` for a success.
    pub reason: Option<String>,
    /// The class of the failure, where it failed and the class is known.
    pub failure_class: Option<FailureClass>,
}

impl CompletionPayload {
    /// The payload of an execution without a flow.
    #[must_use]
    pub fn new(
        execution_id: ExecutionId,
        outcome: impl Into<String>,
        payload_bytes: Option<Vec<u8>>,
        produced_at_ms: TimestampMs,
    ) -> Self {
        Self {
            execution_id,
            outcome: outcome.into(),
            payload_bytes,
            produced_at_ms,
            flow_id: None,
            reason: None,
            failure_class: None,
        }
    }

    /// Sets the flow that the execution belongs to.
    #[must_use]
    pub fn with_flow_id(mut self, flow_id: FlowId) -> Self {
        self.flow_id = Some(flow_id);
        self
    }

    /// Sets the reason and the failure class.
    #[must_use]
    pub fn with_reason(mut self, reason: Option<String>, class: Option<FailureClass>) -> Self {
        self.reason = reason;
        self.failure_class = class;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recorded_text_is_read() {
        assert_eq!(CompletionOutcome::from_wire("success"), CompletionOutcome::Success);
        assert_eq!(CompletionOutcome::from_wire("failed"), CompletionOutcome::Failure);
        assert_eq!(CompletionOutcome::from_wire("failure"), CompletionOutcome::Failure);
        assert_eq!(CompletionOutcome::from_wire("cancelled"), CompletionOutcome::Cancelled);
        assert_eq!(
            CompletionOutcome::from_wire("expired"),
            CompletionOutcome::Other("expired".to_owned())
        );

        assert_eq!(SignalDeliveryEffect::from_wire("satisfied"), SignalDeliveryEffect::Satisfied);
        assert_eq!(SignalDeliveryEffect::from_wire("buffered"), SignalDeliveryEffect::Buffered);
        assert_eq!(SignalDeliveryEffect::from_wire("deduped"), SignalDeliveryEffect::Deduped);
        assert_eq!(SignalDeliveryEffect::from_wire(""), SignalDeliveryEffect::Other(String::new()));
    }
}
