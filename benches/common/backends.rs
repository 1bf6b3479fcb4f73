//! The backends that a benchmark measures one after the other.

use std::sync::Arc;

use ff_backend_postgres::migrate::SchemaName;
use ff_backend_postgres::{PostgresBackend, PostgresOptions};
use ff_backend_sqlite::SqliteBackend;
use ff_core::engine::Executor;
use ff_core::engine_backend::EngineBackend;

pub(crate) type Backend = Arc<dyn EngineBackend>;

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
    backend.prepare_database().await.expect("migrates");
    measure("postgres", backend.clone()).await;

    let drop_schema = sqlx::AssertSqlSafe(format!("DROP SCHEMA {schema} CASCADE"));
    sqlx::query(drop_schema).execute(backend.pool()).await.expect("drops its schema");
}
