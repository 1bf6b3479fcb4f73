//! Where the database is and how to reach it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ff_codegen::opening::Opening;
use ff_core::EngineError;
use ff_core::backend::{BackendConfig, BackendConnection};
use ff_core::partition::PartitionConfig;
use ff_core::types::TimestampMs;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::Notify;

use crate::clock::Given;
use crate::connections::Trust;
use crate::error::PostgresError;
use crate::migrate::SchemaName;
use crate::parameters;
use crate::session::Protocol;
use crate::url;

/// How many prepared statements a connection keeps: more than there are shapes.
const STATEMENT_CACHE: usize = 512;

/// After how long a connection is asked whether it still lives, unless said otherwise.
const IDLE: Duration = Duration::from_secs(5);

/// How a [`crate::PostgresBackend`] is opened.
///
/// TLS follows the URL: `sslmode` (`prefer` unless said otherwise, `verify-full` for certificates
/// that are checked), `sslrootcert`, `sslcert`, `sslkey`.
///
/// Behind PgBouncer in transaction mode either let it track named statements
/// (`max_prepared_statements`, 1.21 and later) or use [`Self::unnamed_statements`]; and since a
/// pooler refuses or drops start-up parameters, leave out [`Self::schema`] and
/// [`Self::session_parameters`], and give the role those settings instead: `ALTER ROLE … SET …`.
#[derive(Clone)]
pub struct PostgresOptions {
    url: String,
    pub(crate) max_connections: u32,
    min_connections: u32,
    acquire_timeout: Duration,
    pub(crate) request_timeout: Option<Duration>,
    pub(crate) schema: Option<SchemaName>,
    unnamed_statements: bool,
    session_parameters: bool,
    pub(crate) partitions: PartitionConfig,
    pub(crate) max_batch: usize,
    pub(crate) max_in_flight: usize,
    pub(crate) clock: Option<Given>,
    pub(crate) wall_clock: Option<Given>,
    /// Raised by every connection that is made: it may lead to another server.
    pub(crate) connected: Arc<Notify>,
    pub(crate) trust: Arc<Trust>,
    /// Whether preparing looks at the schema at all, and how much it may change.
    pub(crate) opening: Option<Opening>,
    pub(crate) notifies: bool,
    ping_after: Duration,
}

impl PostgresOptions {
    /// Ten connections at most, the default schema, named statements, the database's clock, no
    /// migrations; other processes are notified of commits.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            max_connections: 10,
            min_connections: 0,
            acquire_timeout: Duration::from_secs(30),
            request_timeout: None,
            schema: None,
            unnamed_statements: false,
            session_parameters: true,
            partitions: PartitionConfig::default(),
            max_batch: 256,
            max_in_flight: 4,
            clock: None,
            wall_clock: None,
            connected: Arc::default(),
            trust: Arc::default(),
            opening: None,
            notifies: true,
            ping_after: IDLE,
        }
    }

    /// As a configuration says. Its retry settings are not for this backend: the pool connects again
    /// by itself until a connection has been waited for long enough.
    ///
    /// # Errors
    /// `Unavailable` when the configuration names another kind of database.
    pub fn from_config(config: BackendConfig) -> Result<Self, EngineError> {
        let BackendConnection::Postgres(connection) = config.connection else {
            return Err(EngineError::Unavailable {
                op: "pg.pool.build (non-Postgres BackendConnection)",
            });
        };
        Ok(Self {
            max_connections: connection.max_connections,
            min_connections: connection.min_connections,
            acquire_timeout: connection.acquire_timeout,
            request_timeout: config.timeouts.request,
            ..Self::new(connection.url)
        })
    }

    /// At most so many connections, at least one.
    #[must_use]
    pub fn max_connections(mut self, max_connections: u32) -> Self {
        self.max_connections = max_connections.max(1);
        self
    }

    /// How long to wait for a connection before `ResourceExhausted`.
    #[must_use]
    pub fn acquire_timeout(mut self, acquire_timeout: Duration) -> Self {
        self.acquire_timeout = acquire_timeout;
        self
    }

    /// After how long idle a connection is asked whether it still lives before it is used: servers,
    /// and what is on the way to them, close what idles.
    #[must_use]
    pub fn ping_after(mut self, idle: Duration) -> Self {
        self.ping_after = idle;
        self
    }

    /// How long a read or a commit may take before `Timeout`. A commit goes on; only its caller stops
    /// waiting.
    #[must_use]
    pub fn request_timeout(mut self, request_timeout: Duration) -> Self {
        self.request_timeout = Some(request_timeout);
        self
    }

    /// The schema that holds the tables, sent as a start-up parameter: nothing is ever `SET`.
    #[must_use]
    pub fn schema(mut self, schema: SchemaName) -> Self {
        self.schema = Some(schema);
        self
    }

    /// Whether statements are prepared without a name, each in its own transaction: four round trips
    /// for one, for a pooler in transaction mode that does not track named statements.
    #[must_use]
    pub fn unnamed_statements(mut self, unnamed_statements: bool) -> Self {
        self.unnamed_statements = unnamed_statements;
        self
    }

    /// Whether each connection asks for the settings that the statements are written for: generic
    /// plans, no JIT, READ COMMITTED. A pooler may refuse or drop what is asked for at start-up; what
    /// a role should have then is logged as a warning when connecting.
    #[must_use]
    pub fn session_parameters(mut self, session_parameters: bool) -> Self {
        self.session_parameters = session_parameters;
        self
    }

    /// How many partitions each family of ids has.
    #[must_use]
    pub fn partitions(mut self, partitions: PartitionConfig) -> Self {
        self.partitions = partitions;
        self
    }

    /// At most so many plans share a statement, at least one.
    #[must_use]
    pub fn max_batch(mut self, max_batch: usize) -> Self {
        self.max_batch = max_batch.max(1);
        self
    }

    /// So many statements of one plan shape may be in flight before further plans wait for company,
    /// at least one.
    #[must_use]
    pub fn max_in_flight(mut self, max_in_flight: usize) -> Self {
        self.max_in_flight = max_in_flight.max(1);
        self
    }

    /// Tells the time instead of the database; for tests.
    #[must_use]
    pub fn clock(mut self, clock: impl Fn() -> TimestampMs + Send + Sync + 'static) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Stands in for the process's wall clock, which may be set at any time; for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn wall_clock(mut self, wall: impl Fn() -> TimestampMs + Send + Sync + 'static) -> Self {
        self.wall_clock = Some(Arc::new(wall));
        self
    }

    /// Whether [`ff_core::engine::Executor::prepare`] creates the tables and applies the migrations
    /// that are missing; otherwise it does not look at the schema. Finer: [`Self::opening`].
    #[must_use]
    pub fn migrate(mut self, migrate: bool) -> Self {
        self.opening = migrate.then_some(Opening::Create);
        self
    }

    /// Has [`ff_core::engine::Executor::prepare`] check the schema, and change so much of it.
    #[must_use]
    pub fn opening(mut self, opening: Opening) -> Self {
        self.opening = Some(opening);
        self
    }

    /// Whether other processes are notified of what is committed here, by one statement for all that
    /// happened in 20 ms. Without it their subscribers look twice a second.
    #[must_use]
    pub fn notifies(mut self, notifies: bool) -> Self {
        self.notifies = notifies;
        self
    }

    pub(crate) fn protocol(&self) -> Protocol {
        if self.unnamed_statements { Protocol::Unnamed } else { Protocol::Named }
    }

    /// Opens a pool, after one connection has shown that it will find the database.
    ///
    /// # Errors
    /// `Transport` when the URL cannot be read or the database not be reached.
    pub(crate) async fn open_pool(&self) -> Result<PgPool, EngineError> {
        let failed = |error| PostgresError::read(error).into_engine(self.max_connections);
        let connect = self.parse().map_err(failed)?;
        // A pool goes on trying until its time is up, and then cannot say what was wrong.
        let first = tokio::time::timeout(self.acquire_timeout, connect.connect()).await;
        let mut first = first.map_err(|_| failed(sqlx::Error::PoolTimedOut))?.map_err(failed)?;
        parameters::check(&mut first).await.map_err(failed)?;
        // The pool makes its own connections, however this one ends.
        let _ = first.close().await;
        Ok(self.pool_options().connect_lazy_with(connect))
    }

    fn pool_options(&self) -> PgPoolOptions {
        let (trust, connected) = (Arc::clone(&self.trust), Arc::clone(&self.connected));
        let ping_after = self.ping_after;
        PgPoolOptions::new()
            .max_connections(self.max_connections)
            .min_connections(self.min_connections)
            .acquire_timeout(self.acquire_timeout)
            // One round trip less per statement: only what has idled for long is looked after.
            .test_before_acquire(false)
            .before_acquire(move |connection, meta| {
                let trusted = trust.includes(meta.age);
                Box::pin(async move {
                    Ok(trusted && (meta.idle_for < ping_after || connection.ping().await.is_ok()))
                })
            })
            .after_connect(move |_, _| {
                connected.notify_one();
                Box::pin(async { Ok(()) })
            })
            // A statement on a connection inside a transaction would not be durable. What the driver
            // knows about is closed here. It does not know of a `BEGIN` whose caller went away before
            // the answer; nothing in this crate begins a transaction that a caller can abandon.
            .after_release(|connection, _| {
                let clean = !connection.is_in_transaction();
                Box::pin(async move { Ok(clean) })
            })
    }

    // The driver leaves TCP_NODELAY off and offers no way to set it. It costs nothing here: bind,
    // execute and sync leave in one write, and nothing follows before the answer.
    fn parse(&self) -> Result<PgConnectOptions, sqlx::Error> {
        let mut connect = url::parse(&self.url)?;
        if connect.get_application_name().is_none() {
            connect = connect.application_name("flowfabric-sql");
        }
        if self.session_parameters {
            connect = parameters::ask(connect);
        }
        if let Some(schema) = &self.schema {
            connect = connect.options([("search_path", format!("\"{}\"", schema.as_str()))]);
        }
        Ok(match self.protocol() {
            Protocol::Named => connect.statement_cache_capacity(STATEMENT_CACHE),
            Protocol::Unnamed => connect.statement_cache_capacity(0),
        })
    }
}

/// Host, port, user and database of the URL; never its password or its parameters.
impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut printed = f.debug_struct("PostgresOptions");
        if let Ok(connect) = PgConnectOptions::from_str(&self.url) {
            printed
                .field("host", &connect.get_host())
                .field("port", &connect.get_port())
                .field("user", &connect.get_username())
                .field("database", &connect.get_database());
        }
        printed
            .field("max_connections", &self.max_connections)
            .field("min_connections", &self.min_connections)
            .field("acquire_timeout", &self.acquire_timeout)
            .field("request_timeout", &self.request_timeout)
            .field("schema", &self.schema)
            .field("unnamed_statements", &self.unnamed_statements)
            .field("session_parameters", &self.session_parameters)
            .field("partitions", &self.partitions)
            .field("max_batch", &self.max_batch)
            .field("max_in_flight", &self.max_in_flight)
            .field("opening", &self.opening)
            .field("notifies", &self.notifies)
            .field("ping_after", &self.ping_after)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_the_password_and_the_parameters() {
        let url = "postgres://worker:hunter2@db.example:6543/jobs?password=hunter2&options=hunter2";
        let printed = format!("{:?}", PostgresOptions::new(url));
        assert!(!printed.contains("hunter2"), "{printed}");
        assert!(printed.contains("db.example") && printed.contains("6543"), "{printed}");
        let printed = format!("{:?}", PostgresOptions::new("not a url: hunter2"));
        assert!(!printed.contains("hunter2"), "{printed}");
    }

    #[test]
    fn another_database_is_refused() {
        let refused = PostgresOptions::from_config(BackendConfig::valkey("localhost", 6379));
        assert!(matches!(refused, Err(EngineError::Unavailable { .. })));
    }
}
