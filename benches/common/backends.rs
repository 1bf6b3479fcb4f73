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

    let Some(schema) = Schema::create().await else { return };
    measure("postgres", schema.backend.clone()).await;
    schema.remove().await;
}

/// A schema of its own in the Postgres that `FF_BENCH_PG_URL` names.
pub(crate) struct Schema {
    name: String,
    pub(crate) backend: Arc<PostgresBackend>,
}

impl Schema {
    /// `None` where the variable is unset.
    pub(crate) async fn create() -> Option<Self> {
        let url = std::env::var("FF_BENCH_PG_URL").ok()?;
        let name = format!("ff_bench_{}", uuid::Uuid::new_v4().simple());
        let options = PostgresOptions::new(&url)
            .schema(SchemaName::new(&name).expect("a schema name"))
            .max_connections(16)
            .migrate(true);

        let backend = PostgresBackend::open(options).await.expect("opens");
        backend.prepare_database().await.expect("migrates");
        Some(Self { name, backend })
    }

    pub(crate) async fn remove(self) {
        // The server may be analysing a table for longer than an operation waits for a lock.
        let sql = format!("SET lock_timeout = '1min'; DROP SCHEMA {} CASCADE", self.name);
        let drop_schema = sqlx::raw_sql(sqlx::AssertSqlSafe(sql));
        drop_schema.execute(self.backend.pool()).await.expect("drops its schema");
    }
}
