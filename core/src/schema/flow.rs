//! Flows: graphs of executions that depend on each other, and the cancellations running in them.
//!
//! A flow is a header, edges between its executions, and one fan-in group per downstream execution
//! that counts the ends of its upstreams. The cancellation tables are work lists: a row exists
//! exactly as long as a cancellation is outstanding. All rows of a flow carry the flow's partition,
//! which is also that of its executions.

use serde_json::Value as Json;
use uuid::Uuid;

use crate::model::state::{CompletionKind, PublicFlowState};
use crate::plan::Predicate;

table! {
    /// One row per flow: the header of its graph.
    flow_core = "ff_flow_core" key [partition_key, flow_id] partitioned {
        /// The partition of the flow and its executions.
        partition_key: i16,
        /// The flow.
        flow_id: Uuid,
        /// Grows by 1 with every execution and edge added; callers name the one they have seen.
        graph_revision: i64 = Default::Int(0),
        /// The state that callers see: still going on, or the outcome.
        public_flow_state: PublicFlowState,
        /// Creation, Unix ms.
        created_at_ms: i64,
        /// End, Unix ms; the first end counts. NULL again once the flow goes on.
        terminal_at_ms: Option<i64>,
        /// Open bag: kind, namespace, cancellation details, tags.
        raw_fields: Json = Default::Json("{}"),
        /// Executions added through this engine.
        node_count: i32 = Default::Int(0),
        /// Edges staged through this engine.
        edge_count: i32 = Default::Int(0),
        /// Grows with every change that bears on whether the flow is over, so that a decision can
        /// be pinned to what it read.
        version: i64 = Default::Int(0),
        /// The time at which retention began to remove its executions, Unix ms: from then on it
        /// never goes on.
        sealed_at_ms: Option<i64>,
    }
    indexes ["ff_flow_core_created_idx" (created_at_ms Descending, flow_id Ascending)]
}

table! {
    /// One row per dependency: the downstream execution waits for the upstream one.
    edge = "ff_edge" key [partition_key, flow_id, edge_id] partitioned {
        /// The partition of the flow.
        partition_key: i16,
        /// The flow both ends belong to.
        flow_id: Uuid,
        /// The edge.
        edge_id: Uuid,
        /// The execution waited for.
        upstream_eid: Uuid,
        /// The execution that waits.
        downstream_eid: Uuid,
        /// The edge's own record: dependency kind, data reference, `pending` or `applied`, times.
        policy: Json,
        /// Version of that record's layout; always 0.
        policy_version: i32 = Default::Int(0),
        /// The outcome of the upstream, once it was applied to this edge; NULL until then.
        upstream_outcome: Option<CompletionKind>,
        /// The completion event that this outcome comes from; older events are ignored.
        upstream_event_id: Option<i64>,
        /// Grows with every change to this row, so that a decision can be pinned to what it read.
        version: i64 = Default::Int(0),
    }
    indexes [
        "ff_edge_downstream_idx" (partition_key Ascending, flow_id Ascending, downstream_eid Ascending)
            only leads_somewhere,
        "ff_edge_upstream_idx" (partition_key Ascending, flow_id Ascending, upstream_eid Ascending)
            only comes_from_somewhere,
    ]
}

table! {
    /// One row per downstream execution: when its dependencies count as met, and the tally so far.
    edge_group = "ff_edge_group" key [partition_key, flow_id, downstream_eid] partitioned {
        /// The partition of the flow.
        partition_key: i16,
        /// The flow.
        flow_id: Uuid,
        /// The execution that waits.
        downstream_eid: Uuid,
        /// All of, any of, or a quorum of the upstreams, and what then happens to the others.
        policy: Json,
        /// The number of successes that satisfies the group; 0 until an edge is applied.
        k_target: i32 = Default::Int(0),
        /// Upstreams that succeeded.
        success_count: i32 = Default::Int(0),
        /// Upstreams that ended without success, skipped ones excepted.
        fail_count: i32 = Default::Int(0),
        /// Upstreams that were skipped.
        skip_count: i32 = Default::Int(0),
        /// Upstreams with an applied edge that have not ended.
        running_count: i32 = Default::Int(0),
        /// True if siblings are still to be cancelled.
        cancel_siblings_pending_flag: bool = Default::Bool(false),
        /// The siblings still to be cancelled, as bare UUID texts.
        cancel_siblings_pending_members: Vec<String> = Default::EmptyList,
        /// Edges that are applied, whether or not their upstreams have ended; 0 in rows of older
        /// databases, where the sum of the counters stands in for it.
        dependency_count: i32 = Default::Int(0),
        /// Grows with every change to this row, so that a decision can be pinned to what it read.
        version: i64 = Default::Int(0),
    }
    indexes []
}

table! {
    /// One row per edge group with upstreams that are still to be cancelled.
    pending_cancel_groups = "ff_pending_cancel_groups"
        key [partition_key, flow_id, downstream_eid] partitioned
    {
        /// The partition of the flow.
        partition_key: i16,
        /// The flow.
        flow_id: Uuid,
        /// The downstream execution that names the group.
        downstream_eid: Uuid,
        /// The time at which the cancellations became due, Unix ms.
        enqueued_at_ms: i64,
    }
    indexes [
        "ff_pending_cancel_groups_enqueued_idx"
            (enqueued_at_ms Ascending, flow_id Ascending, downstream_eid Ascending),
    ]
}

table! {
    /// One row per single sibling to cancel; kept for existing databases, never written.
    cancel_dispatch_outbox = "ff_cancel_dispatch_outbox"
        key [partition_key, flow_id, downstream_eid, target_exec_id] partitioned
    {
        /// The partition of the flow.
        partition_key: i16,
        /// The flow.
        flow_id: Uuid,
        /// The downstream execution that names the group.
        downstream_eid: Uuid,
        /// The execution to cancel.
        target_exec_id: Uuid,
        /// The reason.
        reason: String,
        /// The time at which it was queued, Unix ms.
        enqueued_at_ms: i64,
    }
    indexes []
}

table! {
    /// One row per cancelled flow of which some executions have not acknowledged it yet.
    cancel_backlog = "ff_cancel_backlog" key [partition_key, flow_id] partitioned {
        /// The partition of the flow.
        partition_key: i16,
        /// The flow.
        flow_id: Uuid,
        /// The time of the cancellation request, Unix ms.
        requested_at_ms: i64,
        /// The requester; empty where unknown.
        requester: String = Default::Text(""),
        /// The reason, in the caller's words.
        reason: String = Default::Text(""),
        /// End of the grace period for members, Unix ms; never written.
        grace_until_ms: Option<i64>,
        /// The policy that selects the members to cancel, in the caller's words.
        cancellation_policy: String,
        /// Always `pending`: the row goes away when it is done.
        status: String = Default::Text("pending"),
    }
    indexes []
}

table! {
    /// One row per execution of a cancelled flow that has not acknowledged the cancellation.
    cancel_backlog_member = "ff_cancel_backlog_member"
        key [partition_key, flow_id, execution_id] partitioned
    {
        /// The partition of the flow.
        partition_key: i16,
        /// The flow.
        flow_id: Uuid,
        /// The execution's full id, `{fp:N}:<uuid>`.
        execution_id: String,
    }
    indexes []
}

table! {
    /// One row per flow: how many of its executions are in which public state, as last counted.
    flow_summary = "ff_flow_summary" key [partition_key, flow_id] partitioned {
        /// The partition of the flow.
        partition_key: i16,
        /// The flow.
        flow_id: Uuid,
        /// Executions in the flow.
        total_members: i64 = Default::Int(0),
        /// Executions that were counted; fewer than all only where counting samples.
        sampled_members: i32 = Default::Int(0),
        /// Counted executions that are `completed`.
        members_completed: i32 = Default::Int(0),
        /// Counted executions that are `failed`.
        members_failed: i32 = Default::Int(0),
        /// Counted executions that are `cancelled`.
        members_cancelled: i32 = Default::Int(0),
        /// Counted executions that are `expired`.
        members_expired: i32 = Default::Int(0),
        /// Counted executions that are `skipped`.
        members_skipped: i32 = Default::Int(0),
        /// Counted executions that are `active`.
        members_active: i32 = Default::Int(0),
        /// Counted executions that are `suspended`.
        members_suspended: i32 = Default::Int(0),
        /// Counted executions that are `waiting`.
        members_waiting: i32 = Default::Int(0),
        /// Counted executions that are `delayed`.
        members_delayed: i32 = Default::Int(0),
        /// Counted executions that are `rate_limited`.
        members_rate_limited: i32 = Default::Int(0),
        /// Counted executions that are `waiting_children`.
        members_waiting_children: i32 = Default::Int(0),
        /// The flow's state as it follows from the counts.
        public_flow_state: PublicFlowState,
        /// The time at which the counts were taken, Unix ms.
        last_summary_update_at: i64,
    }
    indexes []
}

/// True for every edge, but stated only by a search by downstream. A database uses a partial index
/// only where the query implies its condition, so a look-up by primary key never uses this index
/// instead.
fn leads_somewhere() -> Predicate {
    Predicate::NotNull(edge::downstream_eid.column())
}

/// As [`leads_somewhere`], for a search by upstream.
fn comes_from_somewhere() -> Predicate {
    Predicate::NotNull(edge::upstream_eid.column())
}

/// Flows that have not ended: executions and edges may be added.
#[must_use]
pub fn unfinished_flow() -> Predicate {
    flow_core::public_flow_state.is_none_of(&PublicFlowState::OVER)
}
