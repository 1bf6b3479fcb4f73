//! A flow's graph, independent of the form in which it is drawn: nodes with names, in one order.

use std::collections::{HashMap, HashSet};

use ff_core::contracts::{EdgeDependencyPolicy, EdgeGroupSnapshot, FlowGraph, OnSatisfied};
use ff_core::state::PublicState;
use ff_core::types::ExecutionId;

use crate::shown::Shown;
use flowfabric_sql::flow::NODE_TAG;

/// One node: an execution of the flow.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: ExecutionId,
    /// The name of its node, or else its kind and the beginning of its id.
    pub(super) name: Shown,
    pub(super) state: PublicState,
    /// The state of its dependencies, if it has any.
    pub(super) group: Option<EdgeGroupSnapshot>,
    /// Its downstream nodes, by name.
    children: Vec<ExecutionId>,
    has_parents: bool,
}

/// The graph of a flow.
#[derive(Debug)]
pub(super) struct NodeGraph {
    nodes: HashMap<ExecutionId, Node>,
    /// All nodes by name.
    by_name: Vec<ExecutionId>,
}

/// One visit to a node during the depth-first walk from the roots.
#[derive(Debug)]
pub(super) struct Visit<'a> {
    pub(super) node: &'a Node,
    /// True if the node was visited before, from another of its upstream nodes.
    pub(super) is_again: bool,
    /// For each level from the first below the roots down to the node: true if nothing follows.
    pub(super) lasts: Vec<bool>,
}

impl NodeGraph {
    pub(super) fn of(graph: &FlowGraph) -> Self {
        let groups = graph.flow.edge_groups.iter();
        let mut groups: HashMap<_, _> =
            groups.map(|group| (&group.downstream_execution_id, group.clone())).collect();

        let members = graph.members.iter().map(|row| {
            let id = row.execution_id.clone();
            // A member that was not submitted from a file has no node name.
            let name = row.tags.get(NODE_TAG).map_or_else(
                || {
                    let uuid = id.uuid().simple().to_string();
                    let short: String = uuid.chars().take(8).collect();
                    format!("{} {short}", row.execution_kind)
                },
                Clone::clone,
            );
            let node = Node {
                name: name.into(),
                state: row.public_state,
                group: groups.remove(&id),
                children: Vec::new(),
                has_parents: false,
                id: id.clone(),
            };
            (id, node)
        });

        let mut nodes: HashMap<ExecutionId, Node> = members.collect();
        let mut by_name: Vec<ExecutionId> = nodes.keys().cloned().collect();
        by_name
            .sort_by_cached_key(|id| (nodes.get(id).map(|node| node.name.to_string()), id.clone()));

        connect(&mut nodes, &by_name, graph);
        Self { nodes, by_name }
    }

    /// The visits of a depth-first walk, those of one level by name. A node with several upstream
    /// nodes is visited from each.
    pub(super) fn visits(&self) -> Vec<Visit<'_>> {
        let all = self.by_name.iter().filter_map(|id| self.nodes.get(id));
        let roots = all.clone().filter(|node| !node.has_parents);
        let (mut visits, mut seen) = (Vec::new(), HashSet::new());
        for root in roots.chain(all) {
            // A node that no root leads to is part of a cycle, which should not exist.
            if !seen.contains(&root.id) {
                self.descend(root, &mut seen, &mut visits);
            }
        }
        visits
    }

    fn descend<'a>(
        &'a self,
        root: &'a Node,
        seen: &mut HashSet<&'a ExecutionId>,
        visits: &mut Vec<Visit<'a>>,
    ) {
        let mut open = vec![(root, Vec::new())];
        while let Some((node, lasts)) = open.pop() {
            let is_again = !seen.insert(&node.id);
            if !is_again {
                let children = node.children.iter().filter_map(|id| self.nodes.get(id));
                for (after, child) in children.rev().enumerate() {
                    let below = lasts.iter().copied().chain([after == 0]).collect();
                    open.push((child, below));
                }
            }
            visits.push(Visit { node, is_again, lasts });
        }
    }

    /// The nodes, each once, in the order of their first visit.
    pub(super) fn nodes(&self) -> Vec<&Node> {
        self.visits().iter().filter(|visit| !visit.is_again).map(|visit| visit.node).collect()
    }

    /// The pairs of a node and its downstream node, in the order of [`Picture::nodes`].
    pub(super) fn edges(&self) -> Vec<(&Node, &Node)> {
        let pairs = self.nodes().into_iter().flat_map(|node| {
            let children = node.children.iter().filter_map(|id| self.nodes.get(id));
            children.map(move |child| (node, child))
        });
        pairs.collect()
    }
}

/// Enters the downstream nodes of each node, by name and each once.
fn connect(nodes: &mut HashMap<ExecutionId, Node>, by_name: &[ExecutionId], graph: &FlowGraph) {
    let mut parents: HashMap<&ExecutionId, HashSet<&ExecutionId>> = HashMap::new();
    for edge in &graph.edges {
        let of = parents.entry(&edge.downstream_execution_id).or_default();
        of.insert(&edge.upstream_execution_id);
    }

    for child in by_name {
        for parent in parents.remove(child).unwrap_or_default() {
            let Some(parent) = nodes.get_mut(parent) else { continue };
            parent.children.push(child.clone());
            if let Some(child) = nodes.get_mut(child) {
                child.has_parents = true;
            }
        }
    }
}

/// The number of dependencies that an execution needs, such as `2 of 3`.
pub(super) fn needs(group: &EdgeGroupSnapshot) -> String {
    let of = group.total_deps;
    match &group.policy {
        EdgeDependencyPolicy::AllOf => format!("all of {of}"),
        EdgeDependencyPolicy::AnyOf { .. } => format!("any of {of}"),
        EdgeDependencyPolicy::Quorum { k, .. } => format!("{k} of {of}"),
        other => other.variant_str().to_owned(),
    }
}

/// True if upstreams that are no longer needed are cancelled.
pub(super) fn cancels_others(group: &EdgeGroupSnapshot) -> bool {
    match &group.policy {
        EdgeDependencyPolicy::AnyOf { on_satisfied }
        | EdgeDependencyPolicy::Quorum { on_satisfied, .. } => {
            *on_satisfied == OnSatisfied::CancelRemaining
        }
        _ => false,
    }
}
