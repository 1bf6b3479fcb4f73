//! Large random graphs run to the end: every node ends as the brute-force evaluator says.

use std::collections::HashMap;
use std::sync::Arc;

use ff_core::backend::{CapabilitySet, FailureClass, FailureReason};
use ff_core::engine_backend::Scan;
use futures_util::future::join_all;
use tracing::Level;

use super::graph::{Built, End, Node, build, draw, evaluate};
use crate::backends::{self, Bench};
use crate::bench::{lane, payload_of, worker};

/// Nodes of a large graph; `FF_DAG_NODES` says otherwise.
fn nodes() -> usize {
    std::env::var("FF_DAG_NODES").map_or(1_500, |text| text.parse().expect("a number"))
}

/// The seed; `FF_SEED` replays another.
fn seed() -> u64 {
    std::env::var("FF_SEED").map_or(20_261_125, |text| text.parse().expect("a number"))
}

/// Dispatches and cancels until nothing is left to do, each as far as it goes: that is the order
/// which the evaluator assumes. A scan that gave up waiting for locked rows finds nothing either,
/// so only a second one shows that nothing is left.
pub(super) async fn settle(bench: &Bench) {
    let mut quiet = 0;
    while quiet < 2 {
        let mut moved = 0;
        for scan in [Scan::DependencyDispatch, Scan::SiblingCancel] {
            loop {
                let counts = bench.backend.scan(scan, 1_000).await.unwrap();
                assert_eq!(counts.errors, 0, "{scan:?}");
                moved += counts.processed;
                if counts.processed == 0 {
                    break;
                }
            }
        }
        quiet = if moved == 0 { quiet + 1 } else { 0 };
    }
}

/// Runs everything that can be claimed, all at once, and tells those that wait; again and again.
async fn run(bench: &Bench, graph: &[Node], built: &Built) {
    let node_of: HashMap<_, _> = built.ids.iter().zip(graph).collect();
    let none = CapabilitySet::default();
    settle(bench).await;
    loop {
        let mut handles = Vec::new();
        loop {
            let claimed = bench.backend.claim_many(&lane(), &none, worker("w"), 500).await.unwrap();
            if claimed.is_empty() {
                break;
            }
            handles.extend(claimed);
        }
        if handles.is_empty() {
            return;
        }
        for handles in handles.chunks(500) {
            let ends = handles.iter().map(|handle| async {
                if node_of[&payload_of(handle).execution_id].succeeds {
                    bench.backend.complete(handle, None).await.unwrap();
                } else {
                    let reason = FailureReason::new("drawn to fail");
                    bench.backend.fail(handle, reason, FailureClass::Permanent).await.unwrap();
                }
            });
            join_all(ends).await;
        }
        settle(bench).await;
    }
}

async fn ends(bench: &Bench, built: &Built) -> Vec<End> {
    let graph = bench.backend.read_flow_graph(&built.flow).await.unwrap().unwrap();
    let states: HashMap<_, _> = graph
        .members
        .into_iter()
        .map(|member| (member.execution_id, member.public_state.as_str()))
        .collect();
    let end = |id| match states[id] {
        "completed" => End::Completed,
        "failed" => End::Failed,
        "skipped" => End::Skipped,
        "cancelled" => End::Cancelled,
        other => panic!("{id} is {other}"),
    };
    built.ids.iter().map(end).collect()
}

async fn ends_as_evaluated(bench: Bench) {
    // What a scan says of a row that it leaves.
    let log = tracing_subscriber::fmt().with_test_writer().with_max_level(Level::WARN).finish();
    let _log = tracing::subscriber::set_default(log);

    let bench = Arc::new(bench);
    let (seed, nodes) = (seed(), nodes());
    let graph = draw(seed, nodes);
    let expected = evaluate(&graph);
    for end in [End::Completed, End::Failed, End::Skipped, End::Cancelled] {
        let number = expected.iter().filter(|other| **other == end).count();
        assert!(nodes / 50 < number, "seed {seed}: {number} nodes end as {end:?}");
    }
    let started = std::time::Instant::now();
    let built = build(&bench, &graph).await;
    let built_after = started.elapsed();
    run(&bench, &graph, &built).await;
    println!("built in {built_after:?}, run in {:?}", started.elapsed() - built_after);
    let ended = ends(&bench, &built).await;
    for (at, (ended, expected)) in ended.iter().zip(&expected).enumerate() {
        assert_eq!(ended, expected, "seed {seed}, node {at}: {:?}", graph[at]);
    }
    bench.assert_sound().await;
    Arc::into_inner(bench).unwrap().tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_graph_ends_as_evaluated_on_sqlite() {
    ends_as_evaluated(backends::sqlite_file().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_graph_ends_as_evaluated_on_postgres() {
    ends_as_evaluated(backends::postgres().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_graphs_end_as_evaluated_in_memory() {
    for seed in 0..20 {
        let graph = draw(seed, 60);
        let bench = backends::memory().await;
        let built = build(&bench, &graph).await;
        run(&bench, &graph, &built).await;
        let (ended, expected) = (ends(&bench, &built).await, evaluate(&graph));
        for (at, (ended, expected)) in ended.iter().zip(&expected).enumerate() {
            assert_eq!(ended, expected, "seed {seed}, node {at}: {:?}", graph[at]);
        }
        bench.assert_sound().await;
        bench.tear_down().await;
    }
}
