//! `ff flow show`: prints a flow with all of its executions and dependencies.

use std::collections::BTreeMap;

use ff_core::contracts::FlowGraph;
use ff_core::types::TimestampMs;

use super::dot::dot;
use super::flow_name::{FlowName, missing};
use super::mermaid::mermaid;
use super::tree::{Colours, tree};
use crate::Global;
use crate::clock::now;
use crate::failure::Failure;
use crate::output::Output;
use crate::shown::Shown;
use crate::view::FlowView;
use crate::words::count;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The flow: its id, or the first digits of it.
    #[arg(value_name = "FLOW")]
    flow: FlowName,
    /// Print a graph in Graphviz's language.
    #[arg(long, conflicts_with = "mermaid")]
    dot: bool,
    /// Print a Mermaid flowchart.
    #[arg(long)]
    mermaid: bool,
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let output = global.output();
    if output.is_json() && (arguments.dot || arguments.mermaid) {
        return Err(Failure::usage("--json contradicts --dot and --mermaid"));
    }

    let engine = global.open().await?;
    let id = arguments.flow.find(&engine).await?;
    let graph = engine.read_flow_graph(&id).await;
    let graph = graph.map_err(|error| Failure::engine(&format!("reading flow {id}"), &error))?;
    let graph = graph.ok_or_else(|| missing(&id))?;

    if output.is_json() {
        output.json(&FlowView::from(&graph))?;
    } else if arguments.dot {
        output.lines(&dot(&graph))?;
    } else if arguments.mermaid {
        output.lines(&mermaid(&graph))?;
    } else {
        print(output, &graph, now(&engine).await?)?;
    }
    Ok(())
}

/// Prints the flow in a line or two, and its tree.
pub(crate) fn print(output: Output, graph: &FlowGraph, now: TimestampMs) -> Result<(), Failure> {
    let (flow, times) = (&graph.flow, output.times(now));
    print_wrapped(
        output,
        format!(
            "{} {}: {}; {}; created {}",
            flow.flow_kind,
            flow.flow_id,
            counts(graph),
            count(flow.edge_count, "dependency"),
            times.format_in_sentence(flow.created_at)
        ),
    )?;

    if let Some(at) = flow.cancelled_at {
        let policy = flow.cancellation_policy.as_deref().unwrap_or("unknown policy");
        let reason = flow.cancel_reason.as_deref().unwrap_or("no reason given");
        print_wrapped(
            output,
            format!("cancelled {}: {policy}, {reason}", times.format_in_sentence(at)),
        )?;
    }

    for line in tree(graph, Colours::of_stdout()) {
        let line = output.width().map_or_else(|| line.clone(), |width| line.cut(width));
        output.line_as_is(&line)?;
    }
    Ok(())
}

fn print_wrapped(output: Output, text: String) -> Result<(), Failure> {
    let text = Shown::from(text);
    let lines = output.width().map_or_else(|| vec![text.clone()], |width| text.wrapped(width));
    Ok(lines.iter().try_for_each(|line| output.line_as_is(line))?)
}

/// The number of executions in each state. The flow's own state is left out: it says more than this
/// only for a cancelled flow.
fn counts(graph: &FlowGraph) -> String {
    let mut counts = BTreeMap::new();
    for row in &graph.members {
        *counts.entry(row.public_state.as_str()).or_insert(0) += 1;
    }

    let counts: Vec<String> =
        counts.iter().map(|(state, count): (_, &u32)| format!("{count} {state}")).collect();
    if counts.is_empty() { "no executions".to_owned() } else { counts.join(", ") }
}
