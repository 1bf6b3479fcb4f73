//! The order of a flow's nodes, or the cycle that rules one out.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{FlowSpecError, NodeName, NodeSpec};

/// A node that has no place in the order yet.
struct Unplaced {
    node: NodeSpec,
    /// The number of its upstreams that have no place either.
    open: usize,
}

/// Puts each node after all that it waits for; of several candidates, the one given first.
/// Names must be unique, and every upstream must exist.
pub(super) fn sort(nodes: Vec<NodeSpec>) -> Result<Vec<NodeSpec>, FlowSpecError> {
    let mut waiting: HashMap<NodeName, Vec<usize>> = HashMap::new();
    let mut ready = BTreeSet::new();
    let mut unplaced = BTreeMap::new();

    for (place, node) in nodes.into_iter().enumerate() {
        for other in &node.after {
            waiting.entry(other.clone()).or_default().push(place);
        }
        if node.after.is_empty() {
            ready.insert(place);
        }
        let open = node.after.len();
        unplaced.insert(place, Unplaced { node, open });
    }

    let mut sorted = Vec::with_capacity(unplaced.len());
    while let Some(Unplaced { node, .. }) = ready.pop_first().and_then(|at| unplaced.remove(&at)) {
        for place in waiting.remove(&node.name).unwrap_or_default() {
            if let Some(next) = unplaced.get_mut(&place) {
                next.open = next.open.saturating_sub(1);
                if next.open == 0 {
                    ready.insert(place);
                }
            }
        }
        sorted.push(node);
    }

    match cycle(unplaced.values().map(|left| &left.node)) {
        // Every node left without a place waits for another such node.
        Some(path) => Err(FlowSpecError::Cycle { path }),
        None => Ok(sorted),
    }
}

/// A cycle among nodes of which each waits for another of them.
fn cycle<'a>(nodes: impl Iterator<Item = &'a NodeSpec> + Clone) -> Option<Vec<NodeName>> {
    let by_name: HashMap<&NodeName, &NodeSpec> =
        nodes.clone().map(|node| (&node.name, node)).collect();
    let (mut path, mut places) = (Vec::new(), HashMap::new());
    let mut next = nodes.into_iter().next();
    while let Some(node) = next {
        if let Some(start) = places.insert(&node.name, path.len()) {
            // The path leads from each node to one that it waits for; reversed, the node that has
            // to end first comes first.
            return Some(path.into_iter().skip(start).rev().collect());
        }
        path.push(node.name.clone());
        next = node.after.iter().find_map(|other| by_name.get(other).copied());
    }
    None
}
