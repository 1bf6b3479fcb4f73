//! Flows: the time to cancel a large one, and the rate at which ends are dispatched, per backend.
//!
//! `cargo bench --bench flows` measures SQLite on a temporary file; with `FF_BENCH_PG_URL` set,
//! Postgres too, in a schema of its own that is dropped afterwards. `FF_BENCH_ROUNDS` (default 100)
//! is the number of flows that are cancelled, after a few that do not count. Figures of one run are
//! comparable with each other.

#[path = "common/backends.rs"]
mod backends;
#[path = "common/setting.rs"]
mod setting;

use std::time::{Duration, Instant};

use ff_bench::{PAYLOAD, Percentiles, submission_of, terms};
use ff_core::backend::{CancelFlowPolicy, CancelFlowWait, CapabilitySet};
use ff_core::contracts::{
    ApplyDependencyToChildArgs, CancelFlowResult, CreateFlowArgs, StageDependencyEdgeArgs,
};
use ff_core::engine_backend::Scan;
use ff_core::partition::PartitionConfig;
use ff_core::types::{EdgeId, ExecutionId, FlowId, LaneId, Namespace, TimestampMs};
use futures_util::future::join_all;

use backends::{Backend, each_backend};
use setting::setting;

const MEMBERS: usize = 1_000;

/// The number of flows that are cancelled before it counts, so that connections have their
/// statements.
const WARM_UP: u64 = 20;

/// Creates a flow of that many members without dependencies.
async fn flow(backend: &Backend, lane: &LaneId, members: usize) -> (FlowId, Vec<ExecutionId>) {
    let flow = FlowId::new();
    let (flow_kind, namespace) = ("bench".into(), Namespace::new("bench"));
    let now = TimestampMs::now();
    let args_of_flow = CreateFlowArgs { flow_id: flow.clone(), flow_kind, namespace, now };
    backend.create_flow(args_of_flow).await.expect("creates a flow");

    let partitions = PartitionConfig::default();
    let ids: Vec<_> = (0..members).map(|_| ExecutionId::for_flow(&flow, &partitions)).collect();
    let batch = ids.iter().map(|id| submission_of(id.clone(), lane, PAYLOAD)).collect();
    for result in backend.create_flow_members(&flow, batch).await {
        result.expect("creates a member");
    }
    (flow, ids)
}

async fn release(backend: &Backend, flow: &FlowId) {
    backend.release_flow(flow, TimestampMs::now()).await.expect("lets the members go");
}

/// Cancels flows; a third of the members each waits, runs and has ended.
async fn cancellation(name: &str, backend: &Backend, rounds: u64) {
    let mut taken = Vec::new();
    let none = CapabilitySet::default();
    for round in 0..WARM_UP + rounds {
        let lane = LaneId::new(format!("cancel-{round}"));
        let (flow, _) = flow(backend, &lane, MEMBERS).await;
        release(backend, &flow).await;

        let third = u32::try_from(MEMBERS / 3).expect("fits");
        let ended = backend.claim_many(&lane, &none, terms(1), third).await.expect("claims");
        join_all(ended.iter().map(|handle| backend.complete(handle, None))).await;
        backend.claim_many(&lane, &none, terms(1), third).await.expect("claims");

        let start = Instant::now();
        let (policy, wait) = (CancelFlowPolicy::CancelAll, CancelFlowWait::NoWait);
        let result = backend.cancel_flow(&flow, policy, wait).await.expect("cancels");

        if round >= WARM_UP {
            taken.push(start.elapsed());
        }
        let CancelFlowResult::Cancelled { member_execution_ids, .. } = result else {
            panic!("{result:?}");
        };
        assert_eq!(member_execution_ids.len(), MEMBERS - MEMBERS / 3);
    }
    let Percentiles { p50_ms, p99_ms, .. } = Percentiles::of(taken);
    println!("{name:<10} cancel {MEMBERS} members   p50 {p50_ms:.3} ms p99 {p99_ms:.3} ms");
}

async fn depend(backend: &Backend, flow: &FlowId, edges: &[(ExecutionId, ExecutionId)]) {
    let described = backend.describe_flow(flow).await.expect("reads").expect("is there");
    for (revision, (upstream, downstream)) in (described.graph_revision..).zip(edges) {
        let staged = StageDependencyEdgeArgs {
            flow_id: flow.clone(),
            edge_id: EdgeId::new(),
            upstream_execution_id: upstream.clone(),
            downstream_execution_id: downstream.clone(),
            dependency_kind: "success_only".into(),
            data_passing_ref: None,
            expected_graph_revision: revision,
            now: TimestampMs::now(),
        };

        let applied = ApplyDependencyToChildArgs {
            flow_id: flow.clone(),
            edge_id: staged.edge_id.clone(),
            downstream_execution_id: downstream.clone(),
            upstream_execution_id: upstream.clone(),
            graph_revision: revision + 1,
            dependency_kind: "success_only".into(),
            data_passing_ref: None,
            now: staged.now,
        };

        backend.stage_dependency_edge(staged).await.expect("stages");
        backend.apply_dependency_to_child(applied).await.expect("applies");
    }
}

/// Completes what can be claimed and dispatches the ends, until nothing is left. Returns the ends
/// dispatched per second.
async fn drain(backend: &Backend, lane: &LaneId, edges: usize) -> f64 {
    let none = CapabilitySet::default();
    let mut telling = Duration::ZERO;
    loop {
        let handles = backend.claim_many(lane, &none, terms(1), 500).await.expect("claims");
        for done in join_all(handles.iter().map(|handle| backend.complete(handle, None))).await {
            done.expect("completes");
        }

        let start = Instant::now();
        let counts = backend.scan(Scan::DependencyDispatch, 1_000).await.expect("scans");
        telling += start.elapsed();
        assert_eq!(counts.errors, 0);

        if handles.is_empty() && counts.processed == 0 {
            return edges as f64 / telling.as_secs_f64();
        }
    }
}

async fn cascades(name: &str, backend: &Backend) {
    let lane = LaneId::new("fan-out");
    let (fan_out, ids) = flow(backend, &lane, 501).await;
    let (root, leaves) = ids.split_first().expect("has members");
    let edges: Vec<_> = leaves.iter().map(|leaf| (root.clone(), leaf.clone())).collect();
    depend(backend, &fan_out, &edges).await;
    release(backend, &fan_out).await;
    println!("{name:<10} one to 500            {:>8.0} /s", drain(backend, &lane, 500).await);

    let lane = LaneId::new("fan-in");
    let (fan_in, ids) = flow(backend, &lane, 501).await;
    let (last, parents) = ids.split_first().expect("has members");
    let edges: Vec<_> = parents.iter().map(|parent| (parent.clone(), last.clone())).collect();
    depend(backend, &fan_in, &edges).await;
    release(backend, &fan_in).await;
    println!("{name:<10} 500 to one            {:>8.0} /s", drain(backend, &lane, 500).await);

    let lane = LaneId::new("chains");
    let mut edges_in_all = 0;
    for _ in 0..50 {
        let (chain, ids) = flow(backend, &lane, 11).await;
        let edges: Vec<_> = ids.iter().cloned().zip(ids.iter().skip(1).cloned()).collect();
        edges_in_all += edges.len();
        depend(backend, &chain, &edges).await;
        release(backend, &chain).await;
    }
    let rate = drain(backend, &lane, edges_in_all).await;
    println!("{name:<10} 50 chains of 11       {rate:>8.0} /s");
}

#[tokio::main]
async fn main() {
    let rounds = setting("FF_BENCH_ROUNDS", 100);
    each_backend(async |name, backend| {
        cascades(name, &backend).await;
        cancellation(name, &backend, rounds).await;
    })
    .await;
}
