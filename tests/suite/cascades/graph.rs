//! Random graphs, how they end by brute force, and how they are built through the engine.

use ff_core::contracts::{
    ApplyDependencyToChildArgs, CreateFlowArgs, EdgeDependencyPolicy, OnSatisfied,
    StageDependencyEdgeArgs,
};
use ff_core::partition::PartitionConfig;
use ff_core::rules::ctx::{Seeded, Source as _};
use ff_core::types::{EdgeId, ExecutionId, FlowId, Namespace};
use futures_util::StreamExt as _;
use uuid::Uuid;

use crate::backends::Bench;
use crate::bench::NAMESPACE;

/// A node: whom it waits for, how many of them must succeed, and how it ends if it runs.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) parents: Vec<usize>,
    pub(crate) policy: EdgeDependencyPolicy,
    pub(crate) succeeds: bool,
}

/// How a node ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Completed,
    Failed,
    Skipped,
    Cancelled,
}

/// Draws a graph: parents come before their children, most of them close by. Failures die out as
/// fast as they spread, so that a large graph ends as mixed at its far end as at its roots.
pub(crate) fn draw(seed: u64, nodes: usize) -> Vec<Node> {
    let mut chance = Seeded::new(seed);
    let mut below = |bound: usize| {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let drawn = (chance.fraction() * bound as f64) as usize;
        drawn.min(bound.saturating_sub(1))
    };
    let mut graph = Vec::with_capacity(nodes);
    for node in 0..nodes {
        let mut parents: Vec<usize> = Vec::new();
        if node != 0 && below(8) != 0 {
            for _ in 0..=below(4) {
                let reach = if below(10) == 0 { node } else { node.min(60) };
                parents.push(node - 1 - below(reach));
            }
            parents.sort_unstable();
            parents.dedup();
        }
        let on_satisfied =
            if below(2) == 0 { OnSatisfied::let_run() } else { OnSatisfied::cancel_remaining() };
        let k = 1 + u32::try_from(below(parents.len().max(1))).unwrap();
        let policy = match below(8) {
            0 | 1 => EdgeDependencyPolicy::any_of(on_satisfied),
            2..=4 => EdgeDependencyPolicy::quorum(k, on_satisfied),
            _ => EdgeDependencyPolicy::all_of(),
        };
        graph.push(Node { parents, policy, succeeds: below(8) != 0 });
    }
    graph
}

/// The end of every node, from the graph alone: every node is evaluated from its parents until
/// nothing changes, and nodes that are not needed are cancelled. Then the nodes that can run do so.
pub(crate) fn evaluate(graph: &[Node]) -> Vec<End> {
    let (mut ends, mut ready) = (vec![None; graph.len()], vec![false; graph.len()]);
    loop {
        let mut satisfied = Vec::new();
        while evaluate_once(graph, &mut ends, &mut ready, &mut satisfied) {}
        let cancelling = satisfied.into_iter().filter(|at| needs(&graph[*at]).1);
        let unneeded: Vec<usize> = cancelling
            .flat_map(|at| graph[at].parents.iter().copied())
            .filter(|parent| ends[*parent].is_none())
            .collect();
        for at in &unneeded {
            ends[*at] = Some(End::Cancelled);
        }
        if !unneeded.is_empty() {
            continue;
        }
        let running: Vec<usize> =
            (0..graph.len()).filter(|at| ready[*at] && ends[*at].is_none()).collect();
        for at in &running {
            ends[*at] = Some(if graph[*at].succeeds { End::Completed } else { End::Failed });
        }
        if running.is_empty() {
            return ends.into_iter().map(|end| end.expect("every node ends")).collect();
        }
    }
}

/// Every node that still waits looks at its parents; whether that changed anything.
fn evaluate_once(
    graph: &[Node],
    ends: &mut [Option<End>],
    ready: &mut [bool],
    satisfied: &mut Vec<usize>,
) -> bool {
    let mut changed = false;
    for (at, node) in graph.iter().enumerate() {
        if ends[at].is_some() || ready[at] {
            continue;
        }
        let ended: Vec<End> = node.parents.iter().filter_map(|parent| ends[*parent]).collect();
        let well = ended.iter().filter(|end| **end == End::Completed).count();
        let needed = needs(node).0;
        if needed <= well {
            ready[at] = true;
            satisfied.push(at);
            changed = true;
        } else if node.parents.len() - (ended.len() - well) < needed {
            ends[at] = Some(End::Skipped);
            changed = true;
        }
    }
    changed
}

/// How many parents must complete, and whether the others are cancelled then.
fn needs(node: &Node) -> (usize, bool) {
    let cancels = |on: &OnSatisfied| *on == OnSatisfied::CancelRemaining;
    match &node.policy {
        _ if node.parents.is_empty() => (0, false),
        EdgeDependencyPolicy::AnyOf { on_satisfied } => (1, cancels(on_satisfied)),
        EdgeDependencyPolicy::Quorum { k, on_satisfied } => {
            (usize::try_from(*k).unwrap(), cancels(on_satisfied))
        }
        _ => (node.parents.len(), false),
    }
}

/// A graph in a database: its flow, and the execution of each node.
pub(crate) struct Built {
    pub(crate) flow: FlowId,
    pub(crate) ids: Vec<ExecutionId>,
}

/// Builds the graph through the engine, and lets it go.
pub(crate) async fn build(bench: &Bench, graph: &[Node]) -> Built {
    let flow = FlowId::new();
    let now = bench.clock.now();
    let (flow_kind, namespace) = ("graph".into(), Namespace::new(NAMESPACE));
    let args = CreateFlowArgs { flow_id: flow.clone(), flow_kind, namespace, now };
    bench.backend.create_flow(args).await.unwrap();
    let partitions = PartitionConfig::default();
    let ids: Vec<ExecutionId> =
        graph.iter().map(|_| ExecutionId::for_flow(&flow, &partitions)).collect();
    for chunk in ids.chunks(500) {
        let batch = chunk.iter().map(|id| bench.args(id)).collect();
        for result in bench.backend.create_flow_members(&flow, batch).await {
            result.unwrap();
        }
    }
    let built = Built { flow, ids };
    for (node, id) in graph.iter().zip(&built.ids) {
        if node.policy != EdgeDependencyPolicy::AllOf && !node.parents.is_empty() {
            let policy = node.policy.clone();
            bench.backend.set_edge_group_policy(&built.flow, id, policy).await.unwrap();
        }
    }
    connect(bench, graph, &built).await;
    bench.backend.release_flow(&built.flow, now).await.unwrap();
    built
}

/// Stages every edge, one revision after the other, and applies them, many children at a time.
async fn connect(bench: &Bench, graph: &[Node], built: &Built) {
    let described = bench.backend.describe_flow(&built.flow).await.unwrap().unwrap();
    let mut revision = described.graph_revision;
    let mut by_child = Vec::new();
    for (child, node) in graph.iter().enumerate() {
        let mut staged = Vec::new();
        for parent in &node.parents {
            let args = StageDependencyEdgeArgs {
                flow_id: built.flow.clone(),
                edge_id: EdgeId::from_uuid(Uuid::new_v4()),
                upstream_execution_id: built.ids[*parent].clone(),
                downstream_execution_id: built.ids[child].clone(),
                dependency_kind: "success_only".into(),
                data_passing_ref: None,
                expected_graph_revision: revision,
                now: bench.clock.now(),
            };
            bench.backend.stage_dependency_edge(args.clone()).await.unwrap();
            revision += 1;
            staged.push(args);
        }
        by_child.push(staged);
    }
    let children = futures_util::stream::iter(by_child).map(|staged| async {
        for edge in staged {
            let args = ApplyDependencyToChildArgs {
                flow_id: edge.flow_id,
                edge_id: edge.edge_id,
                downstream_execution_id: edge.downstream_execution_id,
                upstream_execution_id: edge.upstream_execution_id,
                graph_revision: edge.expected_graph_revision + 1,
                dependency_kind: edge.dependency_kind,
                data_passing_ref: None,
                now: edge.now,
            };
            bench.backend.apply_dependency_to_child(args).await.unwrap();
        }
    });
    children.buffer_unordered(32).collect::<Vec<()>>().await;
}
