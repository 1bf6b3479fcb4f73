//! The databases under test, each fresh, on a clock that the test turns.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ff_backend_mariadb::MariaDbBackend;
use ff_backend_memory::MemoryBackend;
use ff_backend_postgres::migrate::{MigrateOptions, SchemaName, migrate};
use ff_backend_postgres::{PgPool, PostgresBackend, PostgresOptions};
use ff_backend_sqlite::{SqliteBackend, SqliteOptions, Synchronous};
use ff_catalogue::Recorder;
use ff_core::backend::BackendTag;
use ff_core::engine::Executor;
use ff_core::engine_backend::EngineBackend;
use ff_core::schema::{TABLES, Table};
use ff_core::types::TimestampMs;
use futures_util::future::BoxFuture;
use sqlx::mysql::MySqlPool;
use sqlx::{AssertSqlSafe, Executor as _};
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::plain::PlainSql;
use crate::shapes;

mod copies;
mod mariadb;

/// When every test begins.
pub(crate) const START: i64 = 1_700_000_000_000;

/// Stands still until it is turned.
#[derive(Clone)]
pub(crate) struct TestClock(Arc<AtomicI64>);

impl TestClock {
    fn new() -> Self {
        Self(Arc::new(AtomicI64::new(START)))
    }

    pub(crate) fn now(&self) -> TimestampMs {
        TimestampMs(self.0.load(Ordering::SeqCst))
    }

    pub(crate) fn advance(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }

    fn reader(&self) -> impl Fn() -> TimestampMs + Send + Sync + 'static {
        let clock = self.clone();
        move || clock.now()
    }
}

/// A database under test.
pub(crate) struct Bench {
    pub(crate) backend: Arc<dyn EngineBackend>,
    pub(crate) plain: PlainSql,
    pub(crate) clock: TestClock,
    pub(crate) tag: BackendTag,
    /// What the engine asked, where the backend is the interpreter.
    asked: Option<Recorder<MemoryBackend>>,
    leftover: Leftover,
}

/// What has to be removed afterwards.
enum Leftover {
    Nothing,
    Directory(tempfile::TempDir),
    Schema(PgPool, SchemaName),
    Database(copies::Copy),
    MariaDb(mariadb::Database, MySqlPool),
}

/// A case, as a value: one copy of what runs it is compiled, not one per test.
pub(crate) type Case = fn(Arc<Bench>) -> BoxFuture<'static, ()>;

/// The runtime of connections that outlive a test.
static SHARED: LazyLock<Runtime> = LazyLock::new(|| new_runtime(4));

fn new_runtime(threads: usize) -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(threads).enable_all().build().unwrap()
}

/// Runs a case on a fresh database and removes what it leaves, also when the case fails.
pub(crate) fn run(fresh: impl Future<Output = Bench> + Send + 'static, case: Case) {
    run_boxed(&new_runtime(2), Box::pin(fresh), case, |bench| Box::pin(bench.tear_down()));
}

/// The same, on the runtime of the connections that the database brings along.
pub(crate) fn run_connected(fresh: impl Future<Output = Bench> + Send + 'static, case: Case) {
    run_boxed(&SHARED, Box::pin(fresh), case, |bench| Box::pin(bench.give_back()));
}

fn run_boxed(
    runtime: &Runtime,
    fresh: BoxFuture<'static, Bench>,
    case: Case,
    end: fn(Bench) -> BoxFuture<'static, ()>,
) {
    let outcome = runtime.block_on(async {
        let bench = Arc::new(fresh.await);
        let checked = Arc::clone(&bench);
        let work = case(Arc::clone(&bench));
        let outcome = tokio::spawn(async move {
            work.await;
            checked.assert_sound().await;
        });
        let outcome = outcome.await.map_err(tokio::task::JoinError::into_panic);
        if let Some(bench) = Arc::into_inner(bench) {
            end(bench).await;
        }
        outcome
    });
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}

impl Bench {
    /// Fails where the engine asked for what no snapshot shows.
    pub(crate) fn assert_reviewed(&self) {
        if let Some(asked) = &self.asked {
            shapes::assert_reviewed(asked.take());
        }
    }

    /// An engine over the same database that shares no memory with the bench's, as in another
    /// process; the bench's own where the database is its process.
    pub(crate) async fn another_process(&self) -> Arc<dyn EngineBackend> {
        match &self.leftover {
            Leftover::Nothing => Arc::clone(&self.backend),
            Leftover::Directory(directory) => self.another_sqlite(directory).await,
            Leftover::Schema(..) | Leftover::Database(_) => self.another_postgres().await,
            Leftover::MariaDb(database, _) => self.another_mariadb(database).await,
        }
    }

    /// An executor of the same database, for plans by hand.
    pub(crate) async fn executor(&self) -> Arc<dyn Executor> {
        match (&self.leftover, &self.plain) {
            (Leftover::Nothing, PlainSql::Memory(memory)) => Arc::clone(memory) as _,
            (Leftover::Nothing, _) => panic!("the database is within its backend"),
            (Leftover::Directory(directory), _) => self.another_sqlite(directory).await,
            (Leftover::Schema(..) | Leftover::Database(_), _) => self.another_postgres().await,
            (Leftover::MariaDb(database, _), _) => self.another_mariadb(database).await,
        }
    }

    async fn another_sqlite(&self, directory: &tempfile::TempDir) -> Arc<SqliteBackend> {
        let location = directory.path().join("flow.db").to_str().unwrap().to_owned();
        let options = SqliteOptions::new(location)
            .synchronous(Synchronous::Normal)
            .clock(Arc::new(self.clock.reader()));
        SqliteBackend::open(options).await.unwrap()
    }

    async fn another_postgres(&self) -> Arc<PostgresBackend> {
        let options = match &self.leftover {
            Leftover::Database(copy) => copy.options(),
            Leftover::Schema(..)
            | Leftover::Nothing
            | Leftover::Directory(_)
            | Leftover::MariaDb(..) => PostgresOptions::new(postgres_url()).schema(self.schema()),
        };
        PostgresBackend::open(options.clock(self.clock.reader())).await.unwrap()
    }

    /// False behind a pooler in transaction mode: no session can listen there, so nothing tells the
    /// engine of a commit that is not its own. It looks now and then.
    pub(crate) fn hears_notifications(&self) -> bool {
        self.tag != BackendTag::Postgres || !copies::are_pooled()
    }

    /// The schema of the tables on Postgres.
    pub(crate) fn schema(&self) -> SchemaName {
        match &self.leftover {
            Leftover::Schema(_, schema) => schema.clone(),
            Leftover::Database(_) => copies::schema(),
            Leftover::Nothing | Leftover::Directory(_) | Leftover::MariaDb(..) => {
                panic!("the database is no Postgres of its own")
            }
        }
    }

    async fn another_mariadb(&self, database: &mariadb::Database) -> Arc<MariaDbBackend> {
        database.open(database.options().clock(self.clock.reader())).await
    }

    pub(crate) async fn tear_down(self) {
        self.assert_reviewed();
        let Self { backend, plain, leftover, .. } = self;
        drop((backend, plain));
        match leftover {
            Leftover::Nothing => {}
            Leftover::Directory(directory) => directory.close().unwrap(),
            Leftover::Schema(pool, schema) => drop_schema(&pool, &schema).await,
            Leftover::Database(copy) => copy.free().await,
            Leftover::MariaDb(database, pool) => database.free(&pool).await,
        }
    }

    /// Removes what the test leaves but for connections, which the next test gets.
    async fn give_back(self) {
        // Whoever else has the engine may use its connections.
        if Arc::strong_count(&self.backend) != 1 {
            return self.tear_down().await;
        }
        match self.leftover {
            Leftover::Database(copy) => {
                drop((self.backend, self.plain));
                copy.free_connected();
            }
            leftover => Self { leftover, ..self }.tear_down().await,
        }
    }
}

pub(crate) async fn memory() -> Bench {
    let clock = TestClock::new();
    let backend = Arc::new(MemoryBackend::new().with_clock(Box::new(clock.reader())));
    let recorder = Recorder::new(Arc::clone(&backend));
    Bench {
        plain: PlainSql::Memory(backend),
        backend: Arc::new(recorder.clone()),
        clock,
        tag: BackendTag::Memory,
        asked: Some(recorder),
        leftover: Leftover::Nothing,
    }
}

pub(crate) async fn sqlite_memory() -> Bench {
    sqlite(":memory:".into(), Leftover::Nothing).await
}

/// A file of its own: a copy of a migrated one, which costs less than to migrate.
pub(crate) async fn sqlite_file() -> Bench {
    static MIGRATED: OnceCell<Vec<u8>> = OnceCell::const_new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flow.db");
    std::fs::write(&path, MIGRATED.get_or_init(migrated_file).await).unwrap();
    let location = path.to_str().unwrap().to_owned();
    sqlite(location, Leftover::Directory(directory)).await
}

/// The content of a migrated file.
async fn migrated_file() -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("migrated.db");
    let bench = sqlite(":memory:".into(), Leftover::Nothing).await;
    bench.plain.execute(&format!("VACUUM INTO '{}'", path.display())).await;
    std::fs::read(path).unwrap()
}

/// The database in that file, which stays there.
pub(crate) async fn sqlite_at(path: &std::path::Path) -> Bench {
    sqlite(path.to_str().unwrap().to_owned(), Leftover::Nothing).await
}

async fn sqlite(location: String, leftover: Leftover) -> Bench {
    let clock = TestClock::new();
    // Nothing here pulls the plug; power loss has tests of its own.
    let options = SqliteOptions::new(location)
        .synchronous(Synchronous::Normal)
        .clock(Arc::new(clock.reader()));
    let backend = SqliteBackend::open(options).await.unwrap();
    let plain = PlainSql::Sqlite(backend.pool_for_test().clone());
    Bench { backend, plain, clock, tag: BackendTag::Sqlite, asked: None, leftover }
}

pub(crate) async fn postgres() -> Bench {
    postgres_with(postgres_url(), |options| options).await
}

/// A database of its own: a copy of a migrated one, which costs less than to migrate.
pub(crate) async fn postgres_copy() -> Bench {
    copied(copies::Copy::take().await, |options| options).await
}

async fn copied(
    mut copy: copies::Copy,
    with: impl FnOnce(PostgresOptions) -> PostgresOptions,
) -> Bench {
    let clock = TestClock::new();
    let backend = copy.open(|options| with(options.clock(clock.reader()))).await;
    let pool = copy.beside_pooler().unwrap_or_else(|| backend.pool().clone());
    let (plain, leftover) = (PlainSql::Postgres(pool), Leftover::Database(copy));
    Bench { backend, plain, clock, tag: BackendTag::Postgres, asked: None, leftover }
}

/// The lag window of most tests. One case cancels a thousand executions at once, which takes a
/// debug build several seconds.
pub(crate) const LAG_WINDOW: Duration = Duration::from_secs(10);

/// The same, for the engine of optimistic databases: each plan is a serializable transaction.
pub(crate) async fn postgres_occ() -> Bench {
    postgres_occ_within(LAG_WINDOW).await
}

/// The same, with a lag window of this span.
pub(crate) async fn postgres_occ_within(window: Duration) -> Bench {
    copied(copies::Copy::take_optimistic().await, |options| options.lag_window(window)).await
}

/// The same, with further options.
pub(crate) async fn postgres_occ_with(
    with: impl FnOnce(PostgresOptions) -> PostgresOptions,
) -> Bench {
    copied(copies::Copy::take_optimistic().await.disconnected().await, with).await
}

/// A fresh, migrated schema, reached through `url` with further options.
pub(crate) async fn postgres_with(
    url: String,
    with: impl FnOnce(PostgresOptions) -> PostgresOptions,
) -> Bench {
    postgres_migrated(MigrateOptions::default(), url, with).await
}

/// The same over so many partitions, reached through one connection.
pub(crate) async fn postgres_partitioned(partitions: u16) -> Bench {
    let migrated = MigrateOptions::default().partitions(partitions).unwrap();
    postgres_migrated(migrated, postgres_url(), |options| options.max_connections(1)).await
}

async fn postgres_migrated(
    migrated: MigrateOptions,
    url: String,
    with: impl FnOnce(PostgresOptions) -> PostgresOptions,
) -> Bench {
    let schema = SchemaName::new(&format!("ff_test_{}", Uuid::new_v4().simple())).unwrap();
    let pool = sqlx::postgres::PgPoolOptions::new()
        .max_connections(1)
        .connect(&postgres_url())
        .await
        .unwrap_or_else(|error| {
            panic!("the Postgres of FF_PG_TEST_URL cannot be reached: {error}")
        });
    migrate(&pool, &migrated.schema(schema.clone())).await.unwrap();
    let options = PostgresOptions::new(url).schema(schema.clone());
    postgres_opened(with(options), Leftover::Schema(pool, schema)).await
}

async fn postgres_opened(options: PostgresOptions, leftover: Leftover) -> Bench {
    let clock = TestClock::new();
    let backend = PostgresBackend::open(options.clock(clock.reader())).await.unwrap();
    let plain = PlainSql::Postgres(backend.pool().clone());
    Bench { backend, plain, clock, tag: BackendTag::Postgres, asked: None, leftover }
}

/// The server of FF_MARIADB_TEST_URL.
pub(crate) fn mariadb_url() -> String {
    mariadb::url()
}

pub(crate) async fn mariadb() -> Bench {
    let clock = TestClock::new();
    let database = mariadb::Database::take().await;
    let backend = database.open(database.options().clock(clock.reader())).await;
    let pool = backend.pool().clone();
    let plain = PlainSql::MariaDb(pool.clone());
    let leftover = Leftover::MariaDb(database, pool);
    Bench { backend, plain, clock, tag: BackendTag::MariaDb, asked: None, leftover }
}

/// A database that no engine has opened yet, for rows by hand.
pub(crate) fn by_hand(plain: PlainSql, tag: BackendTag) -> Bench {
    let backend = Arc::new(MemoryBackend::new());
    let (clock, leftover) = (TestClock::new(), Leftover::Nothing);
    Bench { plain, backend, clock, tag, asked: None, leftover }
}

/// The engine on a schema that is there.
pub(crate) async fn postgres_at(schema: &SchemaName) -> Bench {
    let options = PostgresOptions::new(postgres_url()).schema(schema.clone());
    postgres_opened(options, Leftover::Nothing).await
}

/// Drops a schema with its tables, and closes the pool.
pub(crate) async fn drop_schema(pool: &PgPool, schema: &SchemaName) {
    let sql = format!("DROP SCHEMA \"{}\" CASCADE", schema.as_str());
    pool.execute(AssertSqlSafe(sql)).await.unwrap();
    pool.close().await;
}

/// The tables that a test leaves empty for the next one: all but those of which a new database has
/// rows.
fn emptied() -> impl Iterator<Item = &'static Table> {
    let seeded = ["ff_partition_config", "ff_migration_annotation"];
    TABLES.iter().copied().filter(move |table| !seeded.contains(&table.name))
}

/// The address of a Postgres, for the engine of optimistic databases.
pub(crate) fn optimistic(url: &str) -> String {
    let (_, rest) = url.split_once(':').expect("the address has a scheme");
    format!("postgres-occ:{rest}")
}

/// The database of a role that may create databases, in which the suite may create schemas.
pub(crate) fn postgres_url() -> String {
    std::env::var("FF_PG_TEST_URL").unwrap_or_else(|_| {
        panic!(
            "FF_PG_TEST_URL is unset: run scripts/test, which starts a Postgres for the suite, or \
             point the variable at a database where the suite may create schemas and databases, for \
             example postgres://postgres@127.0.0.1:5432/postgres"
        )
    })
}

/// Expands each case into one test per database. Cases that wait for the lag window of an
/// optimistic database name a shorter one.
macro_rules! conformance {
    (
        lag_window: $window:expr;
        $($(#[$meta:meta])* async fn $case:ident($bench:ident) $body:block)+
    ) => {$(
        $(#[$meta])*
        mod $case {
            #[allow(unused_imports)]
            use super::*;

            fn case(
                $bench: std::sync::Arc<crate::backends::Bench>,
            ) -> futures_util::future::BoxFuture<'static, ()> {
                Box::pin(async move { $body })
            }

            #[test]
            fn memory() {
                crate::backends::run(crate::backends::memory(), case);
            }

            #[test]
            fn sqlite_memory() {
                crate::backends::run(crate::backends::sqlite_memory(), case);
            }

            #[test]
            fn sqlite_file() {
                crate::backends::run(crate::backends::sqlite_file(), case);
            }

            #[test]
            fn postgres() {
                crate::backends::run_connected(crate::backends::postgres_copy(), case);
            }

            #[test]
            fn postgres_occ() {
                let bench = crate::backends::postgres_occ_within($window);
                crate::backends::run_connected(bench, case);
            }

            #[test]
            fn mariadb() {
                crate::backends::run(crate::backends::mariadb(), case);
            }
        }
    )+};
    ($($cases:tt)+) => {
        crate::backends::conformance! { lag_window: crate::backends::LAG_WINDOW; $($cases)+ }
    };
}
pub(crate) use conformance;
