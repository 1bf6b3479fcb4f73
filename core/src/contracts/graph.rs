//! Listings of flows, and whole flows with their members and edges. Additions to the common
//! contract.

use serde::Serialize;

use super::{EdgeSnapshot, ExecutionRow, FlowSnapshot};
use crate::model::ids::{FlowId, Namespace, TimestampMs};
use crate::model::state::PublicFlowState;

/// A query for flows, newest first; an absent filter lets every flow through.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlowQuery {
    /// Only those in this state.
    pub state: Option<PublicFlowState>,
    /// Only those of this tenant.
    pub namespace: Option<Namespace>,
    /// Only those of this kind.
    pub flow_kind: Option<String>,
    /// Only those created at or before this time.
    pub created_by: Option<TimestampMs>,
    /// Only those created at or after this time.
    pub created_since: Option<TimestampMs>,
    /// Only those after this one: the cursor of the page before.
    pub after: Option<FlowCursor>,
    /// The most flows to return; more than 1000 counts as 1000.
    pub limit: u32,
}

/// A place in a listing of flows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FlowCursor {
    /// The creation time of the flow at that place.
    pub created_at: TimestampMs,
    /// The flow at that place.
    pub flow_id: FlowId,
}

impl FlowQuery {
    /// The newest `limit` flows of any kind.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self {
            state: None,
            namespace: None,
            flow_kind: None,
            created_by: None,
            created_since: None,
            after: None,
            limit,
        }
    }
}

/// A page of the flows that match a query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FlowQueryPage {
    /// The flows.
    pub flows: Vec<FlowRow>,
    /// The last flow of this page; `None` when no more follow.
    pub next_cursor: Option<FlowCursor>,
}

impl FlowQueryPage {
    /// Puts the parts together.
    #[must_use]
    pub fn new(flows: Vec<FlowRow>, next_cursor: Option<FlowCursor>) -> Self {
        Self { flows, next_cursor }
    }
}

/// One flow that matches a query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FlowRow {
    /// The flow.
    pub flow_id: FlowId,
    /// The kind of flow, as the submitter names it.
    pub flow_kind: String,
    /// The tenant that it belongs to.
    pub namespace: Namespace,
    /// Its state, as stored.
    pub public_flow_state: String,
    /// The number of members.
    pub node_count: u32,
    /// The number of edges.
    pub edge_count: u32,
    /// The creation time.
    pub created_at: TimestampMs,
}

impl FlowRow {
    /// Puts the parts together.
    #[must_use]
    pub fn new(
        flow_id: FlowId,
        flow_kind: String,
        namespace: Namespace,
        public_flow_state: String,
        node_count: u32,
        edge_count: u32,
        created_at: TimestampMs,
    ) -> Self {
        Self {
            flow_id,
            flow_kind,
            namespace,
            public_flow_state,
            node_count,
            edge_count,
            created_at,
        }
    }
}

/// A flow with all of its executions and edges. It is read in pages, not in one snapshot: a row
/// that changes meanwhile appears as before or as after the change.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlowGraph {
    /// The flow and the state of its dependencies.
    pub flow: FlowSnapshot,
    /// Its executions, by id.
    pub members: Vec<ExecutionRow>,
    /// Its edges, by id.
    pub edges: Vec<EdgeSnapshot>,
}

impl FlowGraph {
    /// Puts the parts together.
    #[must_use]
    pub fn new(flow: FlowSnapshot, members: Vec<ExecutionRow>, edges: Vec<EdgeSnapshot>) -> Self {
        Self { flow, members, edges }
    }
}
