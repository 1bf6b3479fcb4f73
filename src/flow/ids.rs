//! The ids of a flow's executions and dependencies. They are derived from the flow's id and the
//! nodes' names, so that a repeated submission means the same rows.

use ff_core::partition::PartitionConfig;
use ff_core::types::{EdgeId, ExecutionId, FlowId};
use uuid::Uuid;

use super::NodeName;

/// The execution of a node; it lives on the flow's partition.
#[must_use]
pub fn execution_id(flow: &FlowId, node: &NodeName) -> ExecutionId {
    let uuid = derived(flow, &["node", node.as_str()]);
    ExecutionId::deterministic_for_flow(flow, &PartitionConfig::default(), uuid)
}

/// The dependency of one node on another.
#[must_use]
pub fn edge_id(flow: &FlowId, upstream: &NodeName, downstream: &NodeName) -> EdgeId {
    EdgeId::from_uuid(derived(flow, &["edge", upstream.as_str(), downstream.as_str()]))
}

/// A UUID derived from the words. Names have no blanks, so no two lists of words read alike.
fn derived(flow: &FlowId, words: &[&str]) -> Uuid {
    Uuid::new_v5(&flow.0, words.join(" ").as_bytes())
}
