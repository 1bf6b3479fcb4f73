//! One event of any kind.

use ff_core::state::ClosedSet;
use ff_core::stream_events::{
    CompletionEvent, CompletionOutcome, InstanceTagEvent, LeaseHistoryEvent, OperatorEvent,
    SignalDeliveryEffect, SignalDeliveryEvent,
};
use ff_core::stream_subscribe::StreamCursor;
use ff_core::types::TimestampMs;
use serde_json::{Value as Json, json};

use super::kind::Kind;

/// The word for an event of a later version.
const UNKNOWN: &str = "unknown";

/// An event: what all kinds have in common, and the other fields by name.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) kind: Kind,
    /// The place after it, from which a subscription to its kind continues.
    pub(super) cursor: StreamCursor,
    pub(crate) at: TimestampMs,
    /// The execution that it happened to. For a cancelled flow, the flow's UUID and partition.
    pub(crate) execution_id: String,
    /// The event, in one word.
    pub(crate) what: String,
    pub(crate) details: Vec<(&'static str, Json)>,
}

impl From<CompletionEvent> for Event {
    fn from(event: CompletionEvent) -> Self {
        let what = match event.outcome {
            CompletionOutcome::Success => "success".to_owned(),
            CompletionOutcome::Failure => "failed".to_owned(),
            CompletionOutcome::Cancelled => "cancelled".to_owned(),
            CompletionOutcome::Other(word) => word,
            _ => UNKNOWN.to_owned(),
        };

        Self {
            kind: Kind::Completion,
            cursor: event.cursor,
            at: event.at,
            execution_id: event.execution_id.to_string(),
            what,
            details: known([
                ("reason", event.reason.map(Json::String)),
                ("failure_class", event.failure_class.map(|class| json!(class))),
            ]),
        }
    }
}

impl From<LeaseHistoryEvent> for Event {
    fn from(event: LeaseHistoryEvent) -> Self {
        let (what, lease_id, worker, revoked_by) = match &event {
            LeaseHistoryEvent::Acquired { lease_id, worker_instance_id, .. } => {
                ("acquired", lease_id, worker_instance_id, None)
            }
            LeaseHistoryEvent::Renewed { lease_id, worker_instance_id, .. } => {
                ("renewed", lease_id, worker_instance_id, None)
            }
            LeaseHistoryEvent::Expired { lease_id, prev_owner, .. } => {
                ("expired", lease_id, prev_owner, None)
            }
            LeaseHistoryEvent::Reclaimed { new_lease_id, new_owner, .. } => {
                ("reclaimed", new_lease_id, new_owner, None)
            }
            LeaseHistoryEvent::Revoked { lease_id, revoked_by, .. } => {
                ("revoked", lease_id, &None, Some(revoked_by.as_str()))
            }
            _ => (UNKNOWN, &None, &None, None),
        };

        let details = [
            ("lease_id", lease_id.as_ref().map(|lease_id| json!(lease_id))),
            ("worker_instance_id", worker.as_ref().map(|worker| json!(worker))),
            ("cause", revoked_by.map(|cause| json!(cause))),
        ];

        Self {
            kind: Kind::Lease,
            cursor: event.cursor().clone(),
            at: event.at(),
            execution_id: event.execution_id().to_string(),
            what: what.to_owned(),
            details: known(details),
        }
    }
}

impl From<SignalDeliveryEvent> for Event {
    fn from(event: SignalDeliveryEvent) -> Self {
        let what = match event.effect {
            SignalDeliveryEffect::Satisfied => "satisfied".to_owned(),
            SignalDeliveryEffect::Buffered => "buffered".to_owned(),
            SignalDeliveryEffect::Deduped => "deduped".to_owned(),
            SignalDeliveryEffect::Other(word) => word,
            _ => UNKNOWN.to_owned(),
        };

        let details = [
            ("signal_id", Some(json!(event.signal_id))),
            ("waitpoint_id", event.waitpoint_id.map(|waitpoint_id| json!(waitpoint_id))),
            ("source_identity", event.source_identity.map(Json::String)),
        ];

        Self {
            kind: Kind::Signal,
            cursor: event.cursor,
            at: event.at,
            execution_id: event.execution_id.to_string(),
            what,
            details: known(details),
        }
    }
}

impl From<OperatorEvent> for Event {
    fn from(event: OperatorEvent) -> Self {
        Self {
            kind: Kind::Operator,
            cursor: event.cursor,
            at: event.at,
            execution_id: event.execution_id.to_string(),
            what: event.event_type.as_str().to_owned(),
            details: known([("details", event.details)]),
        }
    }
}

impl Event {
    /// The cursor as `--from` takes it.
    pub(crate) fn cursor_text(&self) -> String {
        format!("{}:{}", self.kind.as_str(), hex::encode(self.cursor.as_bytes()))
    }

    /// The event; none for a sort that this program does not know yet.
    pub(super) fn of_tag(event: InstanceTagEvent) -> Option<Self> {
        let (what, cursor, execution_id, tag, at) = match event {
            InstanceTagEvent::Attached { cursor, execution_id, tag, at } => {
                ("attached", cursor, execution_id, tag, at)
            }
            InstanceTagEvent::Cleared { cursor, execution_id, tag, at } => {
                ("cleared", cursor, execution_id, tag, at)
            }
            _ => return None,
        };

        Some(Self {
            kind: Kind::Tag,
            cursor,
            at,
            execution_id: execution_id.to_string(),
            what: what.to_owned(),
            details: vec![("tag", Json::String(tag))],
        })
    }
}

fn known<const N: usize>(details: [(&'static str, Option<Json>); N]) -> Vec<(&'static str, Json)> {
    details.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}
