//! A flow as a Mermaid flowchart, which many viewers of Markdown draw.

use std::collections::{BTreeMap, HashMap};

use ff_core::contracts::FlowGraph;

use super::graph::{NodeGraph, needs};
use super::palette::appearance;

/// The flowchart, with states as colours.
pub(super) fn mermaid(graph: &FlowGraph) -> String {
    let node_graph = NodeGraph::of(graph);
    let mut lines = vec!["flowchart LR".to_owned()];

    let (mut names, mut classes) = (HashMap::new(), BTreeMap::new());
    for (number, node) in (1..).zip(node_graph.nodes()) {
        let state = node.state.as_str();
        let mut label = format!("{}<br/>{state}", escaped(node.name.as_str()));
        if let Some(group) = &node.group {
            label = format!("{label}<br/>needs {}", needs(group));
        }
        lines.push(format!("  n{number}[\"{label}\"]:::{state}"));
        names.insert(&node.id, format!("n{number}"));
        classes.insert(state, appearance(node.state));
    }

    for (upstream, downstream) in node_graph.edges() {
        if let (Some(from), Some(to)) = (names.get(&upstream.id), names.get(&downstream.id)) {
            lines.push(format!("  {from} --> {to}"));
        }
    }

    for (state, appearance) in classes {
        let (fill, line) = (appearance.fill, appearance.line);
        lines.push(format!("  classDef {state} fill:{fill},stroke:{line},color:#18181b"));
    }
    lines.join("\n")
}

/// The text, with escapes for characters that Mermaid or the page around it would interpret.
fn escaped(text: &str) -> String {
    let escaped = text.chars().map(|c| match c {
        '"' | '#' | '&' | '<' | '>' | '`' | '\\' => format!("#{};", u32::from(c)),
        other => other.to_string(),
    });
    escaped.collect()
}
