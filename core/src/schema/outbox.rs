//! Outboxes: what happened, appended in the transaction that made it happen.
//!
//! Subscribers tail each table by `event_id`, which grows over all partitions; a number is taken
//! before its transaction commits, so a lower one may appear after a higher one. A reader that waits
//! for a missing number relies on every transaction having its own number before it takes one here.
//! That is what `transaction_id` is for: it is the first column, so its default is evaluated before
//! that of `event_id`, also for a row that somebody inserts by hand. The rows copy the
//! namespace and instance tag of the execution, so that a subscriber filters without reading it.
//! Every state change writes here, which is why the tables have no index beyond tailing, lookup by
//! execution and, for completions, dispatch to dependent executions.

use serde_json::Value as Json;
use uuid::Uuid;

use crate::plan::Predicate;
use crate::state::{
    CompletionKind, FailureClass, InstanceTagEventType, LeaseCause, LeaseEventType,
    OperatorEventType, SignalEffect,
};

table! {
    /// One row per execution that ended or became resumable; dependent executions follow from it.
    completion_event = "ff_completion_event" key [partition_key, event_id] partitioned {
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
        /// How it ended, or that it may resume.
        outcome: CompletionKind,
        /// The execution's namespace.
        namespace: Option<String>,
        /// The execution's instance tag: the bare value.
        instance_tag: Option<String>,
        /// When it happened by the operation's clock, Unix ms.
        occurred_at_ms: i64,
        /// When the row was inserted by the database's clock, Unix ms.
        committed_at_ms: i64 = Default::NowMs,
        /// When its effects on dependent executions were applied, Unix ms; NULL until then.
        dispatched_at_ms: Option<i64>,
        /// Why it ended: what went wrong, or why it was cancelled or skipped.
        reason: Option<String>,
        /// The class of the failure, where it failed.
        failure_class: Option<FailureClass>,
    }
    indexes [
        "ff_completion_event_event_id_idx" (event_id Ascending),
        "ff_completion_event_lookup_idx"
            (partition_key Ascending, execution_id Ascending, occurred_at_ms Ascending),
        "ff_completion_event_pending_dispatch_idx" (event_id Ascending) only undispatched,
    ]
}

table! {
    /// One row per change of a lease: taken, renewed, taken over, lapsed or given up.
    lease_event = "ff_lease_event" key [partition_key, event_id] {
        /// The transaction that inserted the row. Must stay the first column.
        transaction_id: i64 = Default::Transaction,
        /// Cursor of subscribers; grows over all partitions.
        event_id: i64 = Default::Identity,
        /// The execution, as bare UUID text.
        execution_id: String,
        /// The lease, as UUID text, where known.
        lease_id: Option<String>,
        /// What happened to the lease.
        event_type: LeaseEventType,
        /// When, Unix ms.
        occurred_at_ms: i64,
        /// The partition of the execution.
        partition_key: i16,
        /// The execution's namespace.
        namespace: Option<String>,
        /// The execution's instance tag: the bare value.
        instance_tag: Option<String>,
        /// Why the lease ended, where it did.
        cause: Option<LeaseCause>,
        /// The worker pool that holds or held the lease, where known.
        worker_id: Option<String>,
        /// The worker instance that holds or held the lease, where known.
        worker_instance_id: Option<String>,
    }
    indexes [
        "ff_lease_event_event_id_idx" (event_id Ascending),
        "ff_lease_event_execution_idx" (partition_key Ascending, execution_id Ascending),
    ]
}

table! {
    /// One row per signal that was accepted.
    signal_event = "ff_signal_event" key [partition_key, event_id] {
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
        /// Who sent it; empty for an operator's approval.
        source_identity: Option<String>,
        /// What it brought about.
        effect: SignalEffect = Default::Text("satisfied"),
        /// When it was accepted, Unix ms.
        delivered_at_ms: i64,
        /// The partition of the execution.
        partition_key: i16,
        /// The execution's namespace.
        namespace: Option<String>,
        /// The execution's instance tag: the bare value.
        instance_tag: Option<String>,
    }
    indexes [
        "ff_signal_event_event_id_idx" (event_id Ascending),
        "ff_signal_event_execution_idx" (partition_key Ascending, execution_id Ascending),
    ]
}

table! {
    /// One row per intervention of an operator.
    operator_event = "ff_operator_event" key [partition_key, event_id] check [event_type] {
        /// The transaction that inserted the row. Must stay the first column.
        transaction_id: i64 = Default::Transaction,
        /// Cursor of subscribers; grows over all partitions.
        event_id: i64 = Default::Identity,
        /// The execution, as bare UUID text; the flow where a flow was cancelled.
        execution_id: String,
        /// What the operator did.
        event_type: OperatorEventType,
        /// Particulars, in a layout of the event type's own.
        details: Option<Json>,
        /// When, Unix ms.
        occurred_at_ms: i64,
        /// The partition of the execution or flow.
        partition_key: i16,
        /// The namespace of the execution or flow.
        namespace: Option<String>,
        /// The execution's instance tag: the bare value; NULL for a flow.
        instance_tag: Option<String>,
    }
    indexes [
        "ff_operator_event_event_id_idx" (event_id Ascending),
        "ff_operator_event_execution_idx" (partition_key Ascending, execution_id Ascending),
    ]
}

table! {
    /// One row per instance tag that was attached to an execution or cleared.
    instance_tag_event = "ff_instance_tag_event" key [partition_key, event_id] {
        /// The transaction that inserted the row. Must stay the first column.
        transaction_id: i64 = Default::Transaction,
        /// Cursor of subscribers; grows over all partitions.
        event_id: i64 = Default::Identity,
        /// The execution, as bare UUID text.
        execution_id: String,
        /// What happened to the tag.
        event_type: InstanceTagEventType,
        /// When, Unix ms.
        occurred_at_ms: i64,
        /// The partition of the execution.
        partition_key: i16,
        /// The execution's namespace.
        namespace: Option<String>,
        /// The tag that was attached or cleared: the bare value.
        instance_tag: Option<String>,
    }
    indexes [
        "ff_instance_tag_event_event_id_idx" (event_id Ascending),
        "ff_instance_tag_event_execution_idx" (partition_key Ascending, execution_id Ascending),
    ]
}

/// Belongs to a flow whose other executions have not been told yet.
#[must_use]
pub fn undispatched() -> Predicate {
    completion_event::dispatched_at_ms.is_null().and(completion_event::flow_id.is_present())
}
