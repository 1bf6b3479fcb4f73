//! One edge of a flow, as it is stored.

use crate::model::ids::{EdgeId, ExecutionId, FlowId, TimestampMs};

/// One dependency edge as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EdgeSnapshot {
    /// The edge.
    pub edge_id: EdgeId,
    /// The flow that it belongs to.
    pub flow_id: FlowId,
    /// The member that must end first.
    pub upstream_execution_id: ExecutionId,
    /// The member that waits for it.
    pub downstream_execution_id: ExecutionId,
    /// The way in which the upstream member must end.
    pub dependency_kind: String,
    /// The condition under which the dependency holds.
    pub satisfaction_condition: String,
    /// The part of the upstream's result that the downstream receives.
    pub data_passing_ref: Option<String>,
    /// The state of the edge.
    pub edge_state: String,
    /// The creation time.
    pub created_at: TimestampMs,
    /// The creator of the edge.
    pub created_by: String,
}

impl EdgeSnapshot {
    /// Puts the parts together.
    #[must_use]
    #[allow(clippy::too_many_arguments)] // one per field
    pub fn new(
        edge_id: EdgeId,
        flow_id: FlowId,
        upstream_execution_id: ExecutionId,
        downstream_execution_id: ExecutionId,
        dependency_kind: String,
        satisfaction_condition: String,
        data_passing_ref: Option<String>,
        edge_state: String,
        created_at: TimestampMs,
        created_by: String,
    ) -> Self {
        Self {
            edge_id,
            flow_id,
            upstream_execution_id,
            downstream_execution_id,
            dependency_kind,
            satisfaction_condition,
            data_passing_ref,
            edge_state,
            created_at,
            created_by,
        }
    }
}
