//! A flow's graph as it is drawn, whatever it is drawn with: nodes with names, in one order.

use std::collections::{HashMap, HashSet};

use ff_core::contracts::{EdgeDependencyPolicy, EdgeGroupSnapshot, FlowGraph, OnSatisfied};
use ff_core::state::PublicState;
use ff_core::types::ExecutionId;

use crate::cli::shown::Shown;
use crate::flow::NODE_TAG;

/// One execution.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: ExecutionId,
    /// The name of its node, or else its kind and the beginning of its id.
    pub(super) name: Shown,
    pub(super) state: PublicState,
    /// Where its dependencies stand, if it has any.
    pub(super) group: Option<EdgeGroupSnapshot>,
    /// Those that wait for it, by name.
    children: Vec<ExecutionId>,
    has_parents: bool,
}

/// The graph of a flow.
#[derive(Debug)]
pub(super) struct Picture {
    nodes: HashMap<ExecutionId, Node>,
    /// All nodes by name.
    by_name: Vec<ExecutionId>,
}

/// A node where it is come upon on the way down from those that wait for nothing.
#[derive(Debug)]
pub(super) struct Visit<'a> {
    pub(super) node: &'a Node,
    /// Whether it was come upon before, from another one that it waits for.
    pub(super) is_again: bool,
    /// For each level from the first below the roots down to the node: whether nothing follows.
    pub(super) lasts: Vec<bool>,
}

impl Picture {
    pub(super) fn of(graph: &FlowGraph) -> Self {
        let groups = graph.flow.edge_groups.iter();
        let mut groups: HashMap<_, _> =
            groups.map(|group| (&group.downstream_execution_id, group.clone())).collect();
        let members = graph.members.iter().map(|row| {
            let id = row.execution_id.clone();
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

    /// The nodes on the way down, those of one level by name; whatever waits for several is come
    /// upon as often.
    pub(super) fn visits(&self) -> Vec<Visit<'_>> {
        let all = self.by_name.iter().filter_map(|id| self.nodes.get(id));
        let roots = all.clone().filter(|node| !node.has_parents);
        let (mut visits, mut seen) = (Vec::new(), HashSet::new());
        for root in roots.chain(all) {
            // Whatever no root leads to waits for itself, in a circle that should not be there.
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

    /// The nodes, each once, as they are first come upon.
    pub(super) fn nodes(&self) -> Vec<&Node> {
        self.visits().iter().filter(|visit| !visit.is_again).map(|visit| visit.node).collect()
    }

    /// The pairs of a node and one that waits for it, in the order of [`Picture::nodes`].
    pub(super) fn edges(&self) -> Vec<(&Node, &Node)> {
        let pairs = self.nodes().into_iter().flat_map(|node| {
            let children = node.children.iter().filter_map(|id| self.nodes.get(id));
            children.map(move |child| (node, child))
        });
        pairs.collect()
    }
}

/// Tells each node who waits for it, by name and each once.
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

/// How many of its dependencies an execution needs, such as `2 of 3`.
pub(super) fn needs(group: &EdgeGroupSnapshot) -> String {
    let of = group.total_deps;
    match &group.policy {
        EdgeDependencyPolicy::AllOf => format!("all of {of}"),
        EdgeDependencyPolicy::AnyOf { .. } => format!("any of {of}"),
        EdgeDependencyPolicy::Quorum { k, .. } => format!("{k} of {of}"),
        other => other.variant_str().to_owned(),
    }
}

/// Whether those that are no longer needed are cancelled.
pub(super) fn cancels_others(group: &EdgeGroupSnapshot) -> bool {
    match &group.policy {
        EdgeDependencyPolicy::AnyOf { on_satisfied }
        | EdgeDependencyPolicy::Quorum { on_satisfied, .. } => {
            *on_satisfied == OnSatisfied::CancelRemaining
        }
        _ => false,
    }
}
