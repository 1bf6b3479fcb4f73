//! Throughput and latency of the life of an execution, per backend, printed as a table.
//!
//! `cargo bench --bench throughput` measures SQLite on a temporary file; with `FF_BENCH_PG_URL` set,
//! Postgres too, in a schema of its own that is dropped afterwards. `FF_BENCH_SECONDS` (default 5)
//! bounds each measurement. Figures of one run are comparable with each other, not with other runs:
//! quote ratios.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ff_core::backend::{CapabilitySet, ClaimPolicy};
use ff_core::contracts::CreateExecutionArgs;
use ff_core::engine_backend::EngineBackend;
use ff_core::partition::PartitionConfig;
use ff_core::types::{ExecutionId, LaneId, Namespace, TimestampMs, WorkerId, WorkerInstanceId};
use futures_util::future::join_all;

type Backend = Arc<dyn EngineBackend>;

fn args(lane: &LaneId) -> CreateExecutionArgs {
    // Spread over partitions, as executions of many flows would be.
    let uuid = uuid::Uuid::new_v4();
    let partition = u16::from(uuid.as_bytes()[0]) % PartitionConfig::default().num_flow_partitions;
    CreateExecutionArgs {
        execution_id: ExecutionId::from_parts(partition, uuid),
        namespace: Namespace::new("bench"),
        lane_id: lane.clone(),
        execution_kind: "noop".into(),
        input_payload: b"{\"n\":1}".to_vec(),
        payload_encoding: None,
        priority: 0,
        creator_identity: "bench".into(),
        idempotency_key: None,
        tags: [("cairn.instance_id".to_owned(), "bench".to_owned())].into(),
        policy: None,
        delay_until: None,
        execution_deadline_at: None,
        partition_id: partition,
        now: TimestampMs::now(),
    }
}

fn policy(worker: usize) -> ClaimPolicy {
    let instance = WorkerInstanceId::new(format!("bench-{worker}"));
    ClaimPolicy::new(WorkerId::new("bench"), instance, 60_000, None)
}

async fn submit(backend: &Backend, lane: &LaneId, count: usize) -> Duration {
    let start = Instant::now();
    let batches = count.div_ceil(2000);
    for _ in 0..batches {
        let batch = (0..count.min(2000)).map(|_| args(lane)).collect();
        for result in backend.create_executions(batch).await {
            result.expect("creates");
        }
    }
    start.elapsed()
}

/// Claim and complete, one execution at a time, by this many workers.
async fn pairs(backend: &Backend, lane: &LaneId, workers: usize, seconds: u64) -> f64 {
    let done = Arc::new(AtomicU64::new(0));
    let end = Instant::now() + Duration::from_secs(seconds);
    let start = Instant::now();
    let tasks = (0..workers).map(|worker| {
        let (backend, lane, done) = (Arc::clone(backend), lane.clone(), Arc::clone(&done));
        tokio::spawn(async move {
            let capabilities = CapabilitySet::new(Vec::<String>::new());
            while Instant::now() < end {
                let claimed = backend.claim(&lane, &capabilities, policy(worker)).await;
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

/// Claim a hundred, complete them together: what a busy worker pool does.
async fn batches(backend: &Backend, lane: &LaneId, workers: usize, seconds: u64) -> f64 {
    let done = Arc::new(AtomicU64::new(0));
    let end = Instant::now() + Duration::from_secs(seconds);
    let start = Instant::now();
    let tasks = (0..workers).map(|worker| {
        let (backend, lane, done) = (Arc::clone(backend), lane.clone(), Arc::clone(&done));
        tokio::spawn(async move {
            let capabilities = CapabilitySet::new(Vec::<String>::new());
            while Instant::now() < end {
                let claimed = backend.claim_many(&lane, &capabilities, policy(worker), 100).await;
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
    taken.sort_unstable();
    (taken[taken.len() / 2], taken[taken.len() * 99 / 100])
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
        let claimed = backend.claim(&nothing, &none, policy(0)).await.expect("claims");
        assert!(claimed.is_none());
    })
    .await;
    println!("{name:<10} empty claim            p50 {p50:?} p99 {p99:?}");
    let quick = LaneId::new("quick");
    let (p50, p99) = latency(200, async || {
        backend.create_execution(args(&quick)).await.expect("creates");
        let claimed = backend.claim(&quick, &none, policy(0)).await.expect("claims");
        backend.complete(&claimed.expect("there is one"), None).await.expect("completes");
    })
    .await;
    println!("{name:<10} create+claim+complete  p50 {p50:?} p99 {p99:?}");
}

#[tokio::main]
async fn main() {
    let seconds = std::env::var("FF_BENCH_SECONDS").ok().and_then(|text| text.parse().ok());
    let seconds = seconds.unwrap_or(5);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("bench.db");
    let sqlite = ff_backend_sqlite::SqliteBackend::new(file.to_str().expect("a UTF-8 path"))
        .await
        .expect("opens");
    measure("sqlite", sqlite, seconds).await;
    if let Ok(url) = std::env::var("FF_BENCH_PG_URL") {
        postgres(&url, seconds).await;
    }
}

async fn postgres(url: &str, seconds: u64) {
    use ff_backend_postgres::{PostgresBackend, PostgresOptions};
    let schema = format!("ff_bench_{}", uuid::Uuid::new_v4().simple());
    let options = PostgresOptions::new(url)
        .schema(ff_backend_postgres::migrate::SchemaName::new(&schema).expect("a schema name"))
        .max_connections(16)
        .migrate(true);
    let backend = PostgresBackend::open(options).await.expect("opens");
    ff_core::engine::Executor::prepare(backend.as_ref()).await.expect("migrates");
    measure("postgres", backend.clone(), seconds).await;
    let drop_schema = sqlx::AssertSqlSafe(format!("DROP SCHEMA {schema} CASCADE"));
    sqlx::query(drop_schema).execute(backend.pool()).await.expect("drops its schema");
}
