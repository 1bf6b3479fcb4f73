//! The differences between a stored flow and the one to be submitted under the same id.
//!
//! A missing node or dependency is no difference: an interrupted submission has not got so far.

use std::collections::{BTreeMap, HashMap, HashSet};

use ff_core::contracts::{EdgeDependencyPolicy, FlowGraph, OnSatisfied};
use ff_core::types::{EdgeId, ExecutionId, FlowId};

use super::{FlowSpec, NODE_TAG, NodeSpec, edge_id, execution_id};

/// The differences in words, in the order of the nodes; empty if the submission may go on.
pub(super) fn differences(flow_id: &FlowId, spec: &FlowSpec, stored: &FlowGraph) -> Vec<String> {
    let nodes: HashMap<ExecutionId, &NodeSpec> =
        spec.nodes().iter().map(|node| (execution_id(flow_id, &node.name), node)).collect();
    let names: BTreeMap<&ExecutionId, String> = stored
        .members
        .iter()
        .map(|member| {
            let name = member.tags.get(NODE_TAG).cloned();
            (&member.execution_id, name.unwrap_or_else(|| member.execution_id.to_string()))
        })
        .collect();
    let name = |id: &ExecutionId| names.get(id).cloned().unwrap_or_else(|| id.to_string());

    let mut found = Vec::new();
    for member in &stored.members {
        let of = name(&member.execution_id);
        let Some(node) = nodes.get(&member.execution_id) else {
            found.push(format!("node {of} is there, and not in this graph"));
            continue;
        };
        if node.kind != member.execution_kind {
            found.push(format!("node {of} is of kind {} there", member.execution_kind));
        }
        if node.lane != member.lane_id {
            found.push(format!("node {of} is on lane {} there", member.lane_id.as_str()));
        }
    }

    let edges: HashSet<EdgeId> = spec
        .nodes()
        .iter()
        .flat_map(|node| node.after.iter().map(|upstream| edge_id(flow_id, upstream, &node.name)))
        .collect();
    for edge in stored.edges.iter().filter(|edge| !edges.contains(&edge.edge_id)) {
        let (up, down) = (&edge.upstream_execution_id, &edge.downstream_execution_id);
        found.push(format!(
            "node {} waits for {} there, and not in this graph",
            name(down),
            name(up)
        ));
    }

    for node in spec.nodes() {
        let id = execution_id(flow_id, &node.name);
        // Until a node has an edge, its policy can still be changed.
        if !stored.edges.iter().any(|edge| edge.downstream_execution_id == id) {
            continue;
        }
        let groups = &stored.flow.edge_groups;
        let group = groups.iter().find(|group| group.downstream_execution_id == id);
        let needs = group.map_or(&EdgeDependencyPolicy::AllOf, |group| &group.policy);
        if *needs != node.needs {
            let (there, here) = (needs_in_words(needs), needs_in_words(&node.needs));
            found.push(format!("node {} needs {there} there, and {here} in this graph", node.name));
        }
    }

    found
}

fn needs_in_words(policy: &EdgeDependencyPolicy) -> String {
    let (many, on_satisfied) = match policy {
        EdgeDependencyPolicy::AllOf => return "all".to_owned(),
        EdgeDependencyPolicy::AnyOf { on_satisfied } => ("any".to_owned(), on_satisfied),
        EdgeDependencyPolicy::Quorum { k, on_satisfied } => (format!("{k} of them"), on_satisfied),
        // A policy of a later version.
        _ => return "what this version does not know".to_owned(),
    };

    match on_satisfied {
        OnSatisfied::CancelRemaining => format!("{many} (then cancel_remaining)"),
        _ => many,
    }
}
