//! Outboxes: events, appended in the transaction that made the change.
//!
//! Subscribers tail each table by `event_id`, which grows over all partitions. A number is taken
//! before its transaction commits, so a lower one may appear after a higher one. A reader that
//! waits for a missing number relies on every transaction having its own number before it takes one
//! here. `transaction_id` ensures this: it is the first column, so its default is evaluated before
//! that of `event_id`, also for a row that an operator inserts by hand. The rows copy the namespace
//! and instance tag of the execution, so that a subscriber filters without reading it. Every state
//! change writes here, so the tables have no index beyond the key, which is also the order of
//! tailing, the look-up by execution and, for completions, the dispatch to dependent executions.

use serde_json::Value as Json;
use uuid::Uuid;

use crate::model::state::{
    CompletionKind, FailureClass, InstanceTagEventType, LeaseCause, LeaseEventType,
    OperatorEventType, SignalEffect,
};
use crate::plan::Predicate;

table! {
    /// One row per execution that ended or became resumable; dependent executions follow from it.
    completion_event = "ff_completion_event" key [event_id, partition_key] partitioned {
        /// The transaction that inserted the row. Must stay the first column.
        transaction_id: i64 = Default::Transaction,
        /// The partition of the execution.
        partition_key: i16,
        /// Cursor of subscribers; grows over all partitions.
        event_id: i64 = Default::Identity,
        /// The execution.
        execution_id: Uuid,
        /// The flow it belongs to.
        flow_id: Option<Uuid>,
        /// The outcome, or that the execution may resume.
        outcome: CompletionKind,
        /// The execution's namespace.
        namespace: Option<String>,
        /// The execution's instance tag: the bare value.
        instance_tag: Option<String>,
        /// The time of the event by the operation's clock, Unix ms.
        occurred_at_ms: i64,
        /// The time of the insert by the database's clock, Unix ms.
        committed_at_ms: i64 = Default::NowMs,
        /// The time at which it was dispatched to dependent executions, Unix ms; NULL until then.
        dispatched_at_ms: Option<i64>,
        /// The reason for the failure, cancellation or skip.
        reason: Option<String>,
        /// The class of the failure, where it failed.
        failure_class: Option<FailureClass>,
    }
    indexes [
        "ff_completion_event_lookup_idx"
            (partition_key Ascending, execution_id Ascending, occurred_at_ms Ascending),
        "ff_completion_event_pending_dispatch_idx" (event_id Ascending) only undispatched,
    ]
}

table! {
    /// One row per change of a lease: taken, renewed, taken over, lapsed or given up.
    lease_event = "ff_lease_event" key [event_id, partition_key] {
        /// The transaction that inserted the row. Must stay the first column.
        transaction_id: i64 = Default::Transaction,
        /// Cursor of subscribers; grows over all partitions.
        event_id: i64 = Default::Identity,
        /// The execution, as bare UUID text.
        execution_id: String,
        /// The lease, as UUID text, where known.
        lease_id: Option<String>,
        /// The change of the lease.
        event_type: LeaseEventType,
        /// The time of the event, Unix ms.
        occurred_at_ms: i64,
        /// The partition of the execution.
        partition_key: i16,
        /// The execution's namespace.
        namespace: Option<String>,
        /// The execution's instance tag: the bare value.
        instance_tag: Option<String>,
        /// The cause of the lease's end, where it ended.
        cause: Option<LeaseCause>,
        /// The worker pool that holds or held the lease, where known.
        worker_id: Option<String>,
        /// The worker instance that holds or held the lease, where known.
        worker_instance_id: Option<String>,
    }
    indexes [
        "ff_lease_event_execution_idx" (partition_key Ascending, execution_id Ascending),
    ]
}

table! {
    /// One row per signal that was accepted.
    signal_event = "ff_signal_event" key [event_id, partition_key] {
        /// The transaction that inserted the row. Must stay the first column.
        transaction_id: i64 = Default::Transaction,
        /// Cursor of subscribers; grows over all partitions.
        event_id: i64 = Default::Identity,
        /// The execution, as bare UUID text.
        execution_id: String,
        /// The signal, as UUID text.
        signal_id: String,
        /// The waitpoint it came in through, as UUID text.
        waitpoint_id: Option<String>,
        /// The sender; empty for an operator's approval.
        source_identity: Option<String>,
        /// The effect of the signal.
        effect: SignalEffect = Default::Text("satisfied"),
        /// The time at which it was accepted, Unix ms.
        delivered_at_ms: i64,
        /// The partition of the execution.
        partition_key: i16,
        /// The execution's namespace.
        namespace: Option<String>,
        /// The execution's instance tag: the bare value.
        instance_tag: Option<String>,
    }
    indexes [
        "ff_signal_event_execution_idx" (partition_key Ascending, execution_id Ascending),
    ]
}

table! {
    /// One row per intervention of an operator.
    operator_event = "ff_operator_event" key [event_id, partition_key] check [event_type] {
        /// The transaction that inserted the row. Must stay the first column.
        transaction_id: i64 = Default::Transaction,
        /// Cursor of subscribers; grows over all partitions.
        event_id: i64 = Default::Identity,
        /// The execution, as bare UUID text; the flow where a flow was cancelled.
        execution_id: String,
        /// The operator's intervention.
        event_type: OperatorEventType,
        /// Details, in a layout that depends on the event type.
        details: Option<Json>,
        /// The time of the event, Unix ms.
        occurred_at_ms: i64,
        /// The partition of the execution or flow.
        partition_key: i16,
        /// The namespace of the execution or flow.
        namespace: Option<String>,
        /// The execution's instance tag: the bare value; NULL for a flow.
        instance_tag: Option<String>,
    }
    indexes [
        "ff_operator_event_execution_idx" (partition_key Ascending, execution_id Ascending),
    ]
}

table! {
    /// One row per instance tag that was attached to an execution or cleared.
    instance_tag_event = "ff_instance_tag_event" key [event_id, partition_key] {
        /// The transaction that inserted the row. Must stay the first column.
        transaction_id: i64 = Default::Transaction,
        /// Cursor of subscribers; grows over all partitions.
        event_id: i64 = Default::Identity,
        /// The execution, as bare UUID text.
        execution_id: String,
        /// The change of the tag.
        event_type: InstanceTagEventType,
        /// The time of the event, Unix ms.
        occurred_at_ms: i64,
        /// The partition of the execution.
        partition_key: i16,
        /// The execution's namespace.
        namespace: Option<String>,
        /// The tag that was attached or cleared: the bare value.
        instance_tag: Option<String>,
    }
    indexes [
        "ff_instance_tag_event_execution_idx" (partition_key Ascending, execution_id Ascending),
    ]
}

/// Events of a flow that are not dispatched to its other executions yet.
#[must_use]
pub fn undispatched() -> Predicate {
    completion_event::dispatched_at_ms.is_null().and(completion_event::flow_id.is_present())
}
