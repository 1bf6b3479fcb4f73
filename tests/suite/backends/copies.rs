//! Copies of one migrated Postgres database: to copy it takes a tenth of the time to migrate one,
//! and to empty a copy for the next test a tenth of that. A copy keeps its connections for the next
//! test: to connect, and to prepare each statement, costs the server more than most tests do.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use ff_backend_postgres::migrate::{MigrateOptions, SchemaName, migrate};
use ff_backend_postgres::{PostgresBackend, PostgresOptions};
use ff_core::schema::Table;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgConnection, PgPool,
};
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::{emptied, postgres_url};

/// The lock that only one process at a time makes the original under.
const LOCK: i64 = 0x6666_7465_7374;

/// The name of the original.
static ORIGINAL: OnceCell<String> = OnceCell::const_new();

/// Copies that no test uses, with empty tables.
static FREE: Mutex<Vec<Copy>> = Mutex::new(Vec::new());

/// Undoes what a test may have set in a session.
const FORGET: &str = "RESET ALL; UNLISTEN *; SELECT pg_advisory_unlock_all()";

/// How often, and with which pause, a connection is looked for that the engine still uses.
const PATIENCE: (u32, Duration) = (100, Duration::from_millis(5));

/// The time that is waited for connections to close.
const CLOSING: Duration = Duration::from_secs(2);

/// What a copy consists of. A test that has changed it leaves it to no other.
const STRUCTURE: &str = "SELECT md5(string_agg(part, ' ' ORDER BY part)) FROM ( \
    SELECT oid || relname || coalesce(reloptions::text, '') FROM pg_class \
        WHERE relnamespace = 'ff_test'::regnamespace \
    UNION ALL SELECT attrelid || attname || atttypid || attnotnull FROM pg_attribute \
        WHERE attrelid IN (SELECT oid FROM pg_class \
            WHERE relnamespace = 'ff_test'::regnamespace) \
    UNION ALL SELECT oid || tgname || tgenabled::text FROM pg_trigger \
    UNION ALL SELECT oid || conname FROM pg_constraint \
    UNION ALL SELECT oid || proname FROM pg_proc WHERE pronamespace = 'ff_test'::regnamespace \
    UNION ALL SELECT setrole || setconfig::text FROM pg_db_role_setting \
        WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database()) \
    ) AS parts (part)";

/// The schema in the copies.
pub(super) fn schema() -> SchemaName {
    SchemaName::new("ff_test").unwrap()
}

/// A database that is given back with [`Copy::free`].
pub(super) struct Copy {
    name: String,
    /// What it consisted of when it was made.
    structure: String,
    /// True if the engine is to take it for an optimistic database.
    is_optimistic: bool,
    /// What the last test has left connected.
    connected: Option<Connected>,
}

/// An engine's connections, and how it was opened.
struct Connected {
    pool: PgPool,
    options: PostgresOptions,
}

impl Copy {
    /// A migrated database without rows.
    pub(super) async fn take() -> Self {
        Self::take_for(false).await
    }

    /// The same, for the engine of optimistic databases.
    pub(super) async fn take_optimistic() -> Self {
        Self::take_for(true).await
    }

    async fn take_for(is_optimistic: bool) -> Self {
        if let Some(copy) = Self::take_free(is_optimistic) {
            return copy;
        }

        let mut connection = connect(postgres_url()).await;
        let original = ORIGINAL.get_or_init(|| original(&mut connection));
        let original = original.await.clone();
        let name = format!("ff_test_{}", Uuid::new_v4().simple());
        run(&mut connection, format!("CREATE DATABASE {name} TEMPLATE {original}")).await;
        // No session may depend on the default.
        let isolation = "SET default_transaction_isolation = 'serializable'";
        run(&mut connection, format!("ALTER DATABASE {name} {isolation}")).await;
        connection.close().await.unwrap();

        let mut connection = connect(url_of(&name)).await;
        let structure = structure(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        Self { name, structure, is_optimistic, connected: None }
    }

    fn take_free(is_optimistic: bool) -> Option<Self> {
        let mut free = FREE.lock().unwrap();
        let at = free.iter().position(|copy| copy.is_optimistic == is_optimistic)?;
        Some(free.swap_remove(at))
    }

    /// The options of an engine on it: through the pooler, where there is one.
    pub(super) fn options(&self) -> PostgresOptions {
        let options = match pooler_url() {
            // Its roles have the schema and the settings that a pooler drops.
            Some(pooler) => {
                let url = url_with(&pooler, |place| {
                    let place = place.database(&self.name);
                    if self.is_optimistic { place.username("pooled_occ") } else { place }
                });
                PostgresOptions::new(url).session_parameters(false).unnamed_statements(true)
            }
            None => PostgresOptions::new(url_of(&self.name)).schema(schema()),
        };
        options.optimistic(self.is_optimistic)
    }

    /// Opens an engine on it, over the connections of the last test where there are some.
    pub(super) async fn open(
        &mut self,
        with: impl FnOnce(PostgresOptions) -> PostgresOptions,
    ) -> Arc<PostgresBackend> {
        let opened = match self.connected.take() {
            Some(Connected { pool, options }) => {
                PostgresBackend::open_over(pool, with(options)).await
            }
            None => PostgresBackend::open(with(self.options())).await,
        };
        let backend = opened.unwrap();
        let (pool, options) = (backend.pool().clone(), backend.options().clone());
        self.connected = Some(Connected { pool, options });
        backend
    }

    /// Connections to it for plain SQL, where the engine's lead through a pooler.
    pub(super) fn beside_pooler(&self) -> Option<PgPool> {
        pooler_url()?;
        let options: PgConnectOptions = url_of(&self.name).parse().unwrap();
        let options = options.options([("search_path", schema().as_str())]);
        Some(PgPoolOptions::new().max_connections(10).connect_lazy_with(options))
    }

    /// The same without connections, but for those that a test never returns.
    pub(super) async fn disconnected(mut self) -> Self {
        if let Some(Connected { pool, .. }) = self.connected.take() {
            let _ = tokio::time::timeout(CLOSING, pool.close()).await;
        }
        self
    }

    /// Empties the tables for the next test, which gets the connections, too: nothing of the engine
    /// is left but them, and their runtime goes on.
    pub(super) fn free_connected(self) {
        tokio::spawn(async move {
            match self.empty_connected().await {
                Ok(true) => FREE.lock().unwrap().push(self),
                Ok(false) | Err(_) => self.free().await,
            }
        });
    }

    /// False where a connection is in use, or a test has changed more than rows.
    async fn empty_connected(&self) -> Result<bool, sqlx::Error> {
        let Some(Connected { pool, .. }) = &self.connected else { return Ok(false) };
        let (tries, pause) = PATIENCE;
        for _ in 0..tries {
            if pool.num_idle() == pool.size() as usize {
                break;
            }
            tokio::time::sleep(pause).await;
        }

        let mut idle: Vec<_> = std::iter::from_fn(|| pool.try_acquire()).collect();
        if idle.len() != pool.size() as usize {
            return Ok(false);
        }
        for connection in &mut idle {
            connection.execute(FORGET).await?;
        }
        match idle.first_mut() {
            Some(connection) => self.empty(connection).await,
            None => Ok(false),
        }
    }

    /// Empties the tables for the next test, or removes it where that cannot be. Ends what a test
    /// leaves running: it may write yet.
    pub(super) async fn free(self) {
        let this = self.disconnected().await;
        let mut connection = connect(url_of(&this.name)).await;
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
            WHERE datname = current_database() AND pid <> pg_backend_pid()";
        let is_empty = match connection.execute(end).await {
            Ok(_) => this.empty(&mut connection).await,
            Err(error) => Err(error),
        };
        connection.close().await.unwrap();
        if is_empty.unwrap_or(false) {
            FREE.lock().unwrap().push(this);
        } else {
            remove(&this.name).await;
        }
    }

    /// False where a test has changed more than rows.
    async fn empty(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        if structure(connection).await? != self.structure {
            return Ok(false);
        }

        let filled = sqlx::query_scalar(AssertSqlSafe(FILLED.as_str()));
        let filled: Vec<String> = filled.fetch_all(&mut *connection).await?;
        // No table is counted while rows go.
        let mut sql = "SET LOCAL lock_timeout = '5s'; SET LOCAL enable_seqscan = on; \
            SET LOCAL session_replication_role = replica;"
            .to_owned();
        sql.extend(filled.iter().map(|table| format!("DELETE FROM ff_test.{table};")));
        sql.push_str(&RESTART);
        connection.execute(AssertSqlSafe(sql)).await?;
        Ok(true)
    }
}

/// Names the tables with rows.
static FILLED: LazyLock<String> = LazyLock::new(|| {
    let one = |table: &Table| {
        let name = table.name;
        format!("SELECT '{name}' WHERE EXISTS (SELECT FROM ff_test.{name})")
    };
    emptied().map(one).collect::<Vec<_>>().join(" UNION ALL ")
});

/// Lets the numbers of each table begin again. It changes no table, so statements stay prepared.
static RESTART: LazyLock<String> = LazyLock::new(|| {
    let one = |table: &Table| {
        let (name, column) = (table.name, table.identity()?.name);
        let sequence = format!("pg_get_serial_sequence('ff_test.{name}', '{column}')");
        Some(format!("SELECT setval({sequence}, 1, false);"))
    };
    emptied().filter_map(one).collect()
});

async fn structure(connection: &mut PgConnection) -> Result<String, sqlx::Error> {
    sqlx::query_scalar(STRUCTURE).fetch_one(connection).await
}

async fn remove(name: &str) {
    let mut connection = connect(postgres_url()).await;
    run(&mut connection, format!("DROP DATABASE {name} WITH (FORCE)")).await;
    connection.close().await.unwrap();
}

/// Makes the original where there is none of these migrations yet. It stays for the next run.
async fn original(connection: &mut PgConnection) -> String {
    run(connection, format!("SELECT pg_advisory_lock({LOCK})")).await;
    let name = name_of_original().await;
    let sql = "SELECT count(*) FROM pg_database WHERE datname = $1";
    let found: i64 = sqlx::query_scalar(sql).bind(&name).fetch_one(&mut *connection).await.unwrap();

    if found == 0 {
        // Its name says that it is complete, so it gets the name last.
        let new = format!("ff_test_{}", Uuid::new_v4().simple());
        run(connection, format!("CREATE DATABASE {new}")).await;
        let pool = PgPool::connect(&url_of(&new)).await.unwrap();
        migrate(&pool, &MigrateOptions::default().schema(schema())).await.unwrap();
        pool.close().await;
        run(connection, format!("ALTER DATABASE {new} RENAME TO {name}")).await;
    }
    run(connection, format!("SELECT pg_advisory_unlock({LOCK})")).await;
    name
}

/// A name that other migrations do not have.
async fn name_of_original() -> String {
    let pool = PgPool::connect(&postgres_url()).await.unwrap();
    let report = migrate(&pool, &MigrateOptions::default().schema(schema()).dry_run()).await;
    pool.close().await;

    let mut digest = DefaultHasher::new();
    report.unwrap().sql.hash(&mut digest);
    format!("ff_test_original_{:016x}", digest.finish())
}

async fn connect(url: String) -> PgConnection {
    PgConnection::connect(&url)
        .await
        .unwrap_or_else(|error| panic!("the Postgres of FF_PG_TEST_URL cannot be reached: {error}"))
}

async fn run(connection: &mut PgConnection, sql: String) {
    if let Err(error) = connection.execute(AssertSqlSafe(sql.clone())).await {
        panic!("{sql}: {error}; the role of FF_PG_TEST_URL must be allowed to create databases");
    }
}

/// The address of a pooler in transaction mode before the server of FF_PG_TEST_URL: that of
/// `scripts/test --pgbouncer`.
fn pooler_url() -> Option<String> {
    std::env::var("FF_PG_POOLER_TEST_URL").ok()
}

/// True if engines reach the copies through a pooler in transaction mode.
pub(super) fn are_pooled() -> bool {
    pooler_url().is_some()
}

fn url_of(database: &str) -> String {
    url_with(&postgres_url(), |place| place.database(database))
}

/// The same address, but for what `with` changes.
fn url_with(base: &str, with: impl FnOnce(PgConnectOptions) -> PgConnectOptions) -> String {
    let mut url = with(base.parse().unwrap()).to_url_lossy();
    // Without the parameters that stand for defaults.
    url.set_query(base.split_once('?').map(|(_, query)| query));
    url.to_string()
}
