//! A flow as a graph in Graphviz's language, DOT.

use std::collections::HashMap;

use ff_core::contracts::FlowGraph;

use super::graph::{NodeGraph, needs};
use super::palette::appearance;
use crate::shown::escaped;

/// The graph, with states as colours.
pub(super) fn dot(graph: &FlowGraph) -> String {
    let node_graph = NodeGraph::of(graph);
    let mut lines = vec![
        format!("digraph {} {{", quoted(&escaped(&graph.flow.flow_kind))),
        "  rankdir=LR;".to_owned(),
        "  node [shape=box, style=\"rounded,filled\", fontname=\"sans-serif\"];".to_owned(),
    ];

    let mut names = HashMap::new();
    for (number, node) in (1..).zip(node_graph.nodes()) {
        let appearance = appearance(node.state);
        let mut label = format!("{}\n{}", node.name, node.state.as_str());
        if let Some(group) = &node.group {
            label = format!("{label}\nneeds {}", needs(group));
        }

        lines.push(format!(
            "  n{number} [label={}, fillcolor=\"{}\", color=\"{}\"];",
            quoted(&label),
            appearance.fill,
            appearance.line
        ));
        names.insert(&node.id, format!("n{number}"));
    }

    for (upstream, downstream) in node_graph.edges() {
        if let (Some(from), Some(to)) = (names.get(&upstream.id), names.get(&downstream.id)) {
            lines.push(format!("  {from} -> {to};"));
        }
    }
    lines.push("}".to_owned());
    lines.join("\n")
}

/// A quoted string of the language.
fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{escaped}\"")
}
