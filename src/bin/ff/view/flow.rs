//! Flows: a row of the list, the whole graph, and the results of submitting and cancelling one.

use std::collections::BTreeMap;

use ff_core::contracts::{
    EdgeDependencyPolicy, EdgeGroupSnapshot, EdgeGroupState, EdgeSnapshot, FlowGraph, FlowRow,
    FlowSnapshot,
};
use ff_core::types::{EdgeId, ExecutionId, FlowId, Namespace, TimestampMs};
use serde::Serialize;

use super::RowView;

/// A row of `flow ls`.
#[derive(Debug, Serialize)]
pub(crate) struct FlowRowView<'a> {
    flow_id: &'a FlowId,
    flow_kind: &'a str,
    namespace: &'a Namespace,
    public_flow_state: &'a str,
    node_count: u32,
    edge_count: u32,
    created_at_ms: TimestampMs,
}

impl<'a> From<&'a FlowRow> for FlowRowView<'a> {
    fn from(row: &'a FlowRow) -> Self {
        Self {
            flow_id: &row.flow_id,
            flow_kind: &row.flow_kind,
            namespace: &row.namespace,
            public_flow_state: &row.public_flow_state,
            node_count: row.node_count,
            edge_count: row.edge_count,
            created_at_ms: row.created_at,
        }
    }
}

/// `flow show`.
#[derive(Debug, Serialize)]
pub(crate) struct FlowView<'a> {
    flow: FlowFactsView<'a>,
    executions: Vec<RowView<'a>>,
    edges: Vec<EdgeView<'a>>,
    groups: Vec<GroupView<'a>>,
}

impl<'a> From<&'a FlowGraph> for FlowView<'a> {
    fn from(graph: &'a FlowGraph) -> Self {
        Self {
            flow: (&graph.flow).into(),
            executions: graph.members.iter().map(RowView::from).collect(),
            edges: graph.edges.iter().map(EdgeView::from).collect(),
            groups: graph.flow.edge_groups.iter().map(GroupView::from).collect(),
        }
    }
}

#[derive(Debug, Serialize)]
struct FlowFactsView<'a> {
    flow_id: &'a FlowId,
    flow_kind: &'a str,
    namespace: &'a Namespace,
    public_flow_state: &'a str,
    graph_revision: u64,
    node_count: u32,
    edge_count: u32,
    created_at_ms: TimestampMs,
    changed_at_ms: TimestampMs,
    cancelled_at_ms: Option<TimestampMs>,
    cancel_reason: Option<&'a str>,
    cancellation_policy: Option<&'a str>,
    tags: &'a BTreeMap<String, String>,
}

impl<'a> From<&'a FlowSnapshot> for FlowFactsView<'a> {
    fn from(flow: &'a FlowSnapshot) -> Self {
        Self {
            flow_id: &flow.flow_id,
            flow_kind: &flow.flow_kind,
            namespace: &flow.namespace,
            public_flow_state: &flow.public_flow_state,
            graph_revision: flow.graph_revision,
            node_count: flow.node_count,
            edge_count: flow.edge_count,
            created_at_ms: flow.created_at,
            changed_at_ms: flow.last_mutation_at,
            cancelled_at_ms: flow.cancelled_at,
            cancel_reason: flow.cancel_reason.as_deref(),
            cancellation_policy: flow.cancellation_policy.as_deref(),
            tags: &flow.tags,
        }
    }
}

#[derive(Debug, Serialize)]
struct EdgeView<'a> {
    edge_id: &'a EdgeId,
    upstream_execution_id: &'a ExecutionId,
    downstream_execution_id: &'a ExecutionId,
    dependency_kind: &'a str,
    satisfaction_condition: &'a str,
    data_passing_ref: Option<&'a str>,
    edge_state: &'a str,
    created_at_ms: TimestampMs,
    created_by: &'a str,
}

impl<'a> From<&'a EdgeSnapshot> for EdgeView<'a> {
    fn from(edge: &'a EdgeSnapshot) -> Self {
        Self {
            edge_id: &edge.edge_id,
            upstream_execution_id: &edge.upstream_execution_id,
            downstream_execution_id: &edge.downstream_execution_id,
            dependency_kind: &edge.dependency_kind,
            satisfaction_condition: &edge.satisfaction_condition,
            data_passing_ref: edge.data_passing_ref.as_deref(),
            edge_state: &edge.edge_state,
            created_at_ms: edge.created_at,
            created_by: &edge.created_by,
        }
    }
}

#[derive(Debug, Serialize)]
struct GroupView<'a> {
    downstream_execution_id: &'a ExecutionId,
    policy: &'a EdgeDependencyPolicy,
    total_deps: u32,
    satisfied_count: u32,
    failed_count: u32,
    skipped_count: u32,
    running_count: u32,
    group_state: EdgeGroupState,
}

impl<'a> From<&'a EdgeGroupSnapshot> for GroupView<'a> {
    fn from(group: &'a EdgeGroupSnapshot) -> Self {
        Self {
            downstream_execution_id: &group.downstream_execution_id,
            policy: &group.policy,
            total_deps: group.total_deps,
            satisfied_count: group.satisfied_count,
            failed_count: group.failed_count,
            skipped_count: group.skipped_count,
            running_count: group.running_count,
            group_state: group.group_state,
        }
    }
}

/// `flow submit`.
#[derive(Debug, Serialize)]
pub(crate) struct FlowSubmittedView<'a> {
    pub(crate) flow_id: &'a FlowId,
    /// The executions by the names of their nodes.
    pub(crate) executions: BTreeMap<&'a str, &'a ExecutionId>,
    pub(crate) created: usize,
    pub(crate) found: usize,
    pub(crate) released: u32,
}

/// `flow cancel`.
#[derive(Debug, Serialize)]
pub(crate) struct FlowCancelledView<'a> {
    pub(crate) flow_id: &'a FlowId,
    pub(crate) executions: &'a [String],
    pub(crate) failed: &'a [String],
    pub(crate) scheduled: bool,
}
