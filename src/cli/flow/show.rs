//! `ff flow show`: a flow with all of its executions and what they wait for.

use std::collections::BTreeMap;

use ff_core::contracts::{EdgeGroupSnapshot, EdgeSnapshot, FlowGraph, FlowSnapshot};
use ff_core::types::FlowId;
use serde_json::{Value as Json, json};

use super::dot::dot;
use super::mermaid::mermaid;
use super::tree::{Colours, tree};
use crate::cli::Global;
use crate::cli::failure::Failure;
use crate::cli::ids::flow_id;
use crate::cli::output::{Output, time};
use crate::flow::NODE_TAG;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// The flow.
    #[arg(value_name = "FLOW", value_parser = flow_id)]
    flow_id: FlowId,
    /// As a graph in Graphviz's language.
    #[arg(long, conflicts_with = "mermaid")]
    dot: bool,
    /// As a Mermaid flowchart.
    #[arg(long)]
    mermaid: bool,
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let id = arguments.flow_id;
    let output = global.output();
    if output.is_json() && (arguments.dot || arguments.mermaid) {
        return Err(Failure::usage("--json contradicts --dot and --mermaid"));
    }
    let engine = global.open().await?;
    let graph = engine.read_flow_graph(&id).await;
    let graph = graph.map_err(|error| Failure::engine(&format!("reading flow {id}"), &error))?;
    let graph = graph.ok_or_else(|| Failure::new(format!("there is no flow {id}")))?;
    if output.is_json() {
        output.json(&json(&graph))?;
    } else if arguments.dot {
        output.line(dot(&graph))?;
    } else if arguments.mermaid {
        output.line(mermaid(&graph))?;
    } else {
        print(output, &graph)?;
    }
    Ok(())
}

/// The flow in a line or two, and its tree.
pub(in crate::cli) fn print(output: Output, graph: &FlowGraph) -> Result<(), Failure> {
    let flow = &graph.flow;
    output.line(format!(
        "{} {}: {}; {} dependencies; created {}",
        flow.flow_kind,
        flow.flow_id,
        counts(graph),
        flow.edge_count,
        time(flow.created_at)
    ))?;
    if let Some(at) = flow.cancelled_at {
        let policy = flow.cancellation_policy.as_deref().unwrap_or("unknown policy");
        let reason = flow.cancel_reason.as_deref().unwrap_or("no reason given");
        output.line(format!("cancelled {}: {policy}, {reason}", time(at)))?;
    }
    Ok(output.line(tree(graph, Colours::of_stdout()))?)
}

/// How many executions are in which state. The flow's own state is stored, and says more than this
/// only of one that was cancelled.
fn counts(graph: &FlowGraph) -> String {
    let mut counts = BTreeMap::new();
    for row in &graph.members {
        *counts.entry(row.public_state.as_str()).or_insert(0) += 1;
    }
    let counts: Vec<String> =
        counts.iter().map(|(state, count): (_, &u32)| format!("{count} {state}")).collect();
    if counts.is_empty() { "no executions".to_owned() } else { counts.join(", ") }
}

/// All that is known of a flow.
pub(in crate::cli) fn json(graph: &FlowGraph) -> Json {
    let executions = graph.members.iter().map(|row| {
        let mut execution = json!(row);
        if let (Some(fields), Some(node)) = (execution.as_object_mut(), row.tags.get(NODE_TAG)) {
            fields.insert("node".to_owned(), node.as_str().into());
        }
        execution
    });
    json!({
        "flow": flow_json(&graph.flow),
        "executions": executions.collect::<Json>(),
        "edges": graph.edges.iter().map(edge_json).collect::<Json>(),
        "groups": graph.flow.edge_groups.iter().map(group_json).collect::<Json>(),
    })
}

fn flow_json(flow: &FlowSnapshot) -> Json {
    json!({
        "flow_id": flow.flow_id,
        "flow_kind": flow.flow_kind,
        "namespace": flow.namespace,
        "public_flow_state": flow.public_flow_state,
        "graph_revision": flow.graph_revision,
        "node_count": flow.node_count,
        "edge_count": flow.edge_count,
        "created_at": flow.created_at,
        "last_mutation_at": flow.last_mutation_at,
        "cancelled_at": flow.cancelled_at,
        "cancel_reason": flow.cancel_reason,
        "cancellation_policy": flow.cancellation_policy,
        "tags": flow.tags,
    })
}

fn edge_json(edge: &EdgeSnapshot) -> Json {
    json!({
        "edge_id": edge.edge_id,
        "upstream_execution_id": edge.upstream_execution_id,
        "downstream_execution_id": edge.downstream_execution_id,
        "dependency_kind": edge.dependency_kind,
        "satisfaction_condition": edge.satisfaction_condition,
        "data_passing_ref": edge.data_passing_ref,
        "edge_state": edge.edge_state,
        "created_at": edge.created_at,
        "created_by": edge.created_by,
    })
}

fn group_json(group: &EdgeGroupSnapshot) -> Json {
    json!({
        "downstream_execution_id": group.downstream_execution_id,
        "policy": group.policy,
        "total_deps": group.total_deps,
        "satisfied_count": group.satisfied_count,
        "failed_count": group.failed_count,
        "skipped_count": group.skipped_count,
        "running_count": group.running_count,
        "group_state": group.group_state,
    })
}
