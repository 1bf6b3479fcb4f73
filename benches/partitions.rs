//! The time of a `claim` and a `complete` on Postgres with 256 partitions, and the number of times
//! that the server plans them, as a table. Needs `FF_BENCH_PG_URL`. The server keeps its defaults,
//! with JIT on. If it has `pg_stat_statements` and the role may use it, that counts the plans.

#[path = "common/setting.rs"]
mod setting;

use std::time::{Duration, Instant};

use ff_backend_postgres::migrate::{MigrateOptions, SchemaName, migrate};
use ff_backend_postgres::{PostgresBackend, PostgresOptions};
use ff_bench::{PAYLOAD, Percentiles, submission_of, terms};
use ff_core::backend::CapabilitySet;
use ff_core::engine_backend::EngineBackend;
use ff_core::types::{ExecutionId, LaneId};
use sqlx::PgPool;

use setting::setting;

const COUNTS: &str = "SELECT sum(plans)::bigint, sum(calls)::bigint FROM pg_stat_statements \
                      WHERE query LIKE $1 AND userid = (SELECT usesysid FROM pg_user \
                      WHERE usename = current_user)";

/// Plans and calls of the statements that contain `text`, if the server counts them.
async fn counted(pool: &PgPool, text: &str) -> Option<(i64, i64)> {
    let counted: Result<(Option<i64>, Option<i64>), _> =
        sqlx::query_as(COUNTS).bind(format!("%{text}%")).fetch_one(pool).await;

    match counted {
        Ok((Some(plans), Some(calls))) => Some((plans, calls)),
        Ok(_) | Err(_) => None,
    }
}

#[tokio::main]
async fn main() {
    let url = std::env::var("FF_BENCH_PG_URL").expect("FF_BENCH_PG_URL names a Postgres");
    let partitions = u16::try_from(setting("FF_BENCH_PARTITIONS", 256)).expect("a number");
    let rounds = setting("FF_BENCH_ROUNDS", 100);

    let name = format!("ff_bench_{}", uuid::Uuid::new_v4().simple());
    let schema = SchemaName::new(&name).expect("a schema name");
    let admin = PgPool::connect(&url).await.expect("connects");

    let tracked = sqlx::query("CREATE EXTENSION IF NOT EXISTS pg_stat_statements");
    let tracked = tracked.execute(&admin).await.is_ok()
        && sqlx::query("SELECT pg_stat_statements_reset()").execute(&admin).await.is_ok();

    let migration = MigrateOptions::new().schema(schema.clone()).partitions(partitions);
    migrate(&admin, &migration.expect("a number of partitions")).await.expect("migrates");

    let separator = if url.contains('?') { '&' } else { '?' };
    let tracking = format!("{url}{separator}options=-c%20pg_stat_statements.track_planning%3Don");
    let url = if tracked { tracking } else { url };

    let options = PostgresOptions::new(url).schema(schema).max_connections(1);
    let backend = PostgresBackend::open(options).await.expect("opens");

    let (lane, none) = (LaneId::new("bench"), CapabilitySet::default());
    let (mut claims, mut completes) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let id = ExecutionId::from_parts((round % 256) as u16, uuid::Uuid::new_v4());
        backend.create_execution(submission_of(id, &lane, PAYLOAD)).await.expect("creates");

        let start = Instant::now();
        let claimed = backend.claim(&lane, &none, terms(0)).await.expect("claims");
        claims.push(start.elapsed());

        let start = Instant::now();
        backend.complete(&claimed.expect("there is one"), None).await.expect("completes");
        completes.push(start.elapsed());
    }

    print("claim", claims, counted(&admin, "ff_exec_core%SKIP LOCKED").await);
    print("complete", completes, counted(&admin, "g_core%ff_completion_event").await);

    let mut statements = Vec::new();
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = $1 AND tablename LIKE 'ff\\_%'",
    )
    .bind(&name)
    .fetch_all(&admin)
    .await
    .expect("lists tables");
    // A few at a time, since each table is a lock.
    for some in tables.chunks(50) {
        let some = some.iter().map(|table| format!("{name}.{table}"));
        let some = some.collect::<Vec<_>>().join(", ");
        statements.push(format!("DROP TABLE IF EXISTS {some} CASCADE"));
    }
    statements.push(format!("DROP SCHEMA {name} CASCADE"));

    for statement in statements {
        let dropped = sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&admin).await;
        dropped.expect("drops its schema");
    }
}

fn print(name: &str, taken: Vec<Duration>, counted: Option<(i64, i64)>) {
    let Percentiles { p50_ms, p99_ms, .. } = Percentiles::of(taken);
    let counted = match counted {
        Some((plans, calls)) => format!("planned {plans} times in {calls} calls"),
        None => "plans are not counted by this server".to_owned(),
    };
    println!("{name:<10} p50 {p50_ms:.3} ms p99 {p99_ms:.3} ms {counted}");
}
