//! Throughput and latency of the life of an execution, per backend, printed as a table.
//!
//! `cargo bench --bench throughput` measures SQLite on a temporary file; with `FF_BENCH_PG_URL`
//! set, Postgres too, in a schema of its own that is dropped afterwards. `FF_BENCH_SECONDS` bounds
//! each measurement, 5 by default. Figures of one run are comparable with each other, not with
//! other runs: quote ratios.

#[path = "common/backends.rs"]
mod backends;
mod common;
#[path = "common/measuring.rs"]
mod measuring;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ff_core::backend::CapabilitySet;
use ff_core::partition::PartitionConfig;
use ff_core::types::{ExecutionId, LaneId};
use futures_util::future::join_all;

use backends::{Backend, each_backend};
use common::{args, worker};
use measuring::{percentiles, setting};

/// An id on a random partition, as executions of many flows would have.
fn spread() -> ExecutionId {
    let uuid = uuid::Uuid::new_v4();
    let partition = u16::from(uuid.as_bytes()[0]) % PartitionConfig::default().num_flow_partitions;
    ExecutionId::from_parts(partition, uuid)
}

async fn submit(backend: &Backend, lane: &LaneId, count: usize) -> Duration {
    let start = Instant::now();
    let batches = count.div_ceil(2000);
    for _ in 0..batches {
        let batch = (0..count.min(2000)).map(|_| args(spread(), lane)).collect();
        for result in backend.create_executions(batch).await {
            result.expect("creates");
        }
    }
    start.elapsed()
}

/// Claims and completes one execution at a time, in this many workers. Returns executions per
/// second.
async fn pairs(backend: &Backend, lane: &LaneId, workers: usize, seconds: u64) -> f64 {
    let done = Arc::new(AtomicU64::new(0));
    let end = Instant::now() + Duration::from_secs(seconds);
    let start = Instant::now();

    let tasks = (0..workers).map(|number| {
        let (backend, lane, done) = (Arc::clone(backend), lane.clone(), Arc::clone(&done));
        tokio::spawn(async move {
            let capabilities = CapabilitySet::new(Vec::<String>::new());
            while Instant::now() < end {
                let claimed = backend.claim(&lane, &capabilities, worker(number)).await;
                let Some(handle) = claimed.expect("claims") else { break };
                backend.complete(&handle, None).await.expect("completes");
                done.fetch_add(1, Ordering::Relaxed);
            }
        })
    });

    for task in join_all(tasks).await {
        task.expect("a worker panicked");
    }
    done.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64()
}

/// Claims a hundred and completes them together, as a busy pool of workers does. Returns executions
/// per second.
async fn batches(backend: &Backend, lane: &LaneId, workers: usize, seconds: u64) -> f64 {
    let done = Arc::new(AtomicU64::new(0));
    let end = Instant::now() + Duration::from_secs(seconds);
    let start = Instant::now();

    let tasks = (0..workers).map(|number| {
        let (backend, lane, done) = (Arc::clone(backend), lane.clone(), Arc::clone(&done));
        tokio::spawn(async move {
            let capabilities = CapabilitySet::new(Vec::<String>::new());
            while Instant::now() < end {
                let claimed = backend.claim_many(&lane, &capabilities, worker(number), 100).await;
                let handles = claimed.expect("claims");
                if handles.is_empty() {
                    break;
                }

                let completes = handles.iter().map(|handle| backend.complete(handle, None));
                for result in join_all(completes).await {
                    result.expect("completes");
                }
                done.fetch_add(handles.len() as u64, Ordering::Relaxed);
            }
        })
    });

    for task in join_all(tasks).await {
        task.expect("a worker panicked");
    }
    done.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64()
}

async fn latency(rounds: u32, mut call: impl AsyncFnMut()) -> (Duration, Duration) {
    let mut taken = Vec::new();
    for _ in 0..rounds {
        let start = Instant::now();
        call().await;
        taken.push(start.elapsed());
    }
    percentiles(taken)
}

async fn measure(name: &str, backend: Backend, seconds: u64) {
    let backlog = if name == "postgres" { 200_000 } else { 50_000 };
    let lane = LaneId::new("bench");

    let taken = submit(&backend, &lane, backlog).await;
    let rate = |count: f64| format!("{count:>10.0} /s");
    println!("{name:<10} submit in batches      {}", rate(backlog as f64 / taken.as_secs_f64()));

    println!(
        "{name:<10} claim+complete, 1 at a time x16 {}",
        rate(pairs(&backend, &lane, 16, seconds).await)
    );
    println!(
        "{name:<10} claim 100 + complete, x4        {}",
        rate(batches(&backend, &lane, 4, seconds).await)
    );

    let nothing = LaneId::new("empty");
    let none = CapabilitySet::new(Vec::<String>::new());
    let (p50, p99) = latency(500, async || {
        let claimed = backend.claim(&nothing, &none, worker(0)).await.expect("claims");
        assert!(claimed.is_none());
    })
    .await;
    println!("{name:<10} empty claim            p50 {p50:?} p99 {p99:?}");

    let quick = LaneId::new("quick");
    let (p50, p99) = latency(200, async || {
        backend.create_execution(args(spread(), &quick)).await.expect("creates");
        let claimed = backend.claim(&quick, &none, worker(0)).await.expect("claims");
        backend.complete(&claimed.expect("there is one"), None).await.expect("completes");
    })
    .await;
    println!("{name:<10} create+claim+complete  p50 {p50:?} p99 {p99:?}");
}

#[tokio::main]
async fn main() {
    let seconds = setting("FF_BENCH_SECONDS", 5);
    each_backend(async |name, backend| measure(name, backend, seconds).await).await;
}
