//! Whole flows: listed, read with everything in them, and built from many executions at once. Additions
//! to the common contract.

use serde::Serialize;

use super::{EdgeSnapshot, ExecutionRow, FlowSnapshot};
use crate::state::PublicFlowState;
use crate::types::{FlowId, Namespace, TimestampMs};

/// Which flows a listing shows, newest first; an absent filter lets every flow through.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlowQuery {
    /// Only those in this state.
    pub state: Option<PublicFlowState>,
    /// Only those of this tenant.
    pub namespace: Option<Namespace>,
    /// Only those after this one: the cursor of the page before.
    pub after: Option<FlowCursor>,
    /// How many at most; more than 1000 counts as 1000.
    pub limit: u32,
}

/// A place in a listing of flows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FlowCursor {
    /// When the flow at that place was created.
    pub created_at: TimestampMs,
    /// Which one it is.
    pub flow_id: FlowId,
}

impl FlowQuery {
    /// The newest `limit` flows of any kind.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self { state: None, namespace: None, after: None, limit }
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
    /// What kind of flow it is, as the submitter names it.
    pub flow_kind: String,
    /// The tenant that it belongs to.
    pub namespace: Namespace,
    /// Its state, as stored.
    pub public_flow_state: String,
    /// How many members it has.
    pub node_count: u32,
    /// How many edges it has.
    pub edge_count: u32,
    /// When it was created.
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

/// A flow with all of its executions and edges. Read in pages, not in one snapshot: what changes
/// meanwhile may be seen before or after its change.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlowGraph {
    /// The flow and where its dependencies stand.
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
