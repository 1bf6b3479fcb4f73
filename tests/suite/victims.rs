//! Processes that tests start and kill. Each is an ignored test of this binary, which finds its
//! database in its environment.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use ff_backend_postgres::migrate::SchemaName;
use ff_backend_postgres::{PostgresBackend, PostgresOptions};
use ff_backend_sqlite::SqliteBackend;
use ff_core::engine_backend::EngineBackend;
use sqlx::{Connection as _, PgConnection};

use crate::backends::{self, Bench, postgres_url};
use crate::plain::PlainSql;

/// The variable that names the database: `sqlite:PATH` or `postgres:SCHEMA`.
const PLACE: &str = "FF_VICTIM_PLACE";

/// The time between two looks at the sessions of a killed process.
const PAUSE: Duration = Duration::from_millis(10);

/// The database of such a process.
pub(crate) enum Place {
    Sqlite(PathBuf),
    Postgres(SchemaName),
}

/// The engine of such a database, by the clock of this machine, and a pool beside it.
pub(crate) struct Database {
    pub(crate) engine: Arc<dyn EngineBackend>,
    pub(crate) plain: PlainSql,
}

impl Place {
    /// That of this process, which another test has started.
    pub(crate) fn of_this_process() -> Self {
        let place = env::var(PLACE).expect("another test starts this one");
        match place.split_once(':').unwrap() {
            ("sqlite", path) => Self::Sqlite(path.into()),
            (_, schema) => Self::Postgres(SchemaName::new(schema).unwrap()),
        }
    }

    /// That of a bench on Postgres.
    pub(crate) fn of(bench: &Bench) -> Self {
        Self::Postgres(bench.schema())
    }

    /// Its URL, as a program would get it.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sqlite(path) => format!("sqlite:{}", path.display()),
            Self::Postgres(schema) => {
                format!("{}?options[search_path]={}", postgres_url(), schema.as_str())
            }
        }
    }

    /// The command that runs the ignored test of that name on this database.
    pub(crate) fn command(&self, test: &str) -> Command {
        let place = match self {
            Self::Sqlite(path) => format!("sqlite:{}", path.display()),
            Self::Postgres(schema) => format!("postgres:{}", schema.as_str()),
        };
        let mut command = Command::new(env::current_exe().unwrap());
        command.args([test, "--exact", "--ignored", "--nocapture", "--test-threads", "1"]);
        command.env(PLACE, place);
        if let Some(name) = self.session_name() {
            command.env("PGAPPNAME", name);
        }
        command
    }

    /// The name of the sessions of the process, on Postgres.
    fn session_name(&self) -> Option<String> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(schema) => Some(format!("victim-{}", schema.as_str())),
        }
    }

    /// Waits until nothing that a killed process has sent can be applied any more: a server may
    /// still run its last statements.
    pub(crate) async fn until_its_sessions_end(&self) {
        let Some(name) = self.session_name() else { return };
        let mut connection = PgConnection::connect(&postgres_url()).await.unwrap();
        let open = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1";
        while 0 < sqlx::query_scalar::<_, i64>(open)
            .bind(&name)
            .fetch_one(&mut connection)
            .await
            .unwrap()
        {
            tokio::time::sleep(PAUSE).await;
        }
        connection.close().await.unwrap();
    }

    /// The engine, on a clock that stands still.
    pub(crate) async fn bench(&self) -> Bench {
        match self {
            Self::Sqlite(path) => backends::sqlite_at(path).await,
            Self::Postgres(schema) => backends::postgres_at(schema).await,
        }
    }

    /// The engine, by the clock of this machine.
    pub(crate) async fn engine(&self) -> Arc<dyn EngineBackend> {
        self.database().await.engine
    }

    /// The engine, by the clock of this machine, and a pool beside it.
    pub(crate) async fn database(&self) -> Database {
        match self {
            Self::Sqlite(path) => {
                let engine = SqliteBackend::new(path.to_str().unwrap()).await.unwrap();
                let plain = PlainSql::Sqlite(engine.pool_for_test().clone());
                Database { engine, plain }
            }
            Self::Postgres(schema) => {
                let options = PostgresOptions::new(postgres_url()).schema(schema.clone());
                let engine = PostgresBackend::open(options).await.unwrap();
                let plain = PlainSql::Postgres(engine.pool().clone());
                Database { engine, plain }
            }
        }
    }
}

/// Runs a test of processes on a SQLite file.
pub(crate) async fn on_sqlite(test: impl AsyncFnOnce(&Place)) {
    let directory = tempfile::tempdir().unwrap();
    test(&Place::Sqlite(directory.path().join("flow.db"))).await;
}

/// Runs a test of processes on Postgres. What they leave is sound.
pub(crate) async fn on_postgres(test: impl AsyncFnOnce(&Place)) {
    let bench = backends::postgres().await;
    test(&Place::of(&bench)).await;
    bench.assert_sound().await;
    bench.tear_down().await;
}
