//! What the benchmarks share: the backends they measure, and the executions they measure with.

use std::sync::Arc;
use std::time::Duration;

use ff_backend_postgres::migrate::SchemaName;
use ff_backend_postgres::{PostgresBackend, PostgresOptions};
use ff_backend_sqlite::SqliteBackend;
use ff_core::backend::ClaimPolicy;
use ff_core::contracts::CreateExecutionArgs;
use ff_core::engine::Executor;
use ff_core::engine_backend::EngineBackend;
use ff_core::types::{ExecutionId, LaneId, Namespace, TimestampMs, WorkerId, WorkerInstanceId};

pub(crate) type Backend = Arc<dyn EngineBackend>;

pub(crate) fn args(id: ExecutionId, lane: &LaneId) -> CreateExecutionArgs {
    CreateExecutionArgs {
        partition_id: id.partition(),
        execution_id: id,
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
        now: TimestampMs::now(),
    }
}

pub(crate) fn worker(number: usize) -> ClaimPolicy {
    let instance = WorkerInstanceId::new(format!("bench-{number}"));
    ClaimPolicy::new(WorkerId::new("bench"), instance, 600_000, None)
}

/// The number that the environment gives, or else the default.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The median and the 99th percentile.
pub(crate) fn percentiles(mut taken: Vec<Duration>) -> (Duration, Duration) {
    taken.sort_unstable();
    let at = |percent: usize| taken.get(taken.len() * percent / 100).copied().unwrap_or_default();
    (at(50), at(99))
}

/// Measures SQLite on a temporary file, then the Postgres that `FF_BENCH_PG_URL` names, if it does.
pub(crate) async fn each_backend(measure: impl AsyncFn(&str, Backend)) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("bench.db");
    let file = file.to_str().expect("a UTF-8 path");
    measure("sqlite", SqliteBackend::new(file).await.expect("opens")).await;
    let Ok(url) = std::env::var("FF_BENCH_PG_URL") else { return };
    let schema = format!("ff_bench_{}", uuid::Uuid::new_v4().simple());
    let options = PostgresOptions::new(&url)
        .schema(SchemaName::new(&schema).expect("a schema name"))
        .max_connections(16)
        .migrate(true);
    let backend = PostgresBackend::open(options).await.expect("opens");
    Executor::prepare(backend.as_ref()).await.expect("migrates");
    measure("postgres", backend.clone()).await;
    let drop_schema = sqlx::AssertSqlSafe(format!("DROP SCHEMA {schema} CASCADE"));
    sqlx::query(drop_schema).execute(backend.pool()).await.expect("drops its schema");
}
