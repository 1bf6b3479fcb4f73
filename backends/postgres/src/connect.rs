//! The options of a backend, and the pool that they open.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ff_codegen::opening::Opening;
use ff_core::EngineError;
use ff_core::backend::{BackendConfig, BackendConnection};
use ff_core::partition::PartitionConfig;
use ff_core::types::TimestampMs;
use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use tokio::sync::Notify;

use crate::clock::Given;
use crate::connections::Trust;
use crate::error::PostgresError;
use crate::migrate::SchemaName;
use crate::parameters::{self, Design};
use crate::servers::{self, Servers};
use crate::session::Protocol;
use crate::url;
use crate::within::Place;

/// The number of prepared statements that a connection keeps: more than there are shapes.
const STATEMENT_CACHE: usize = 512;

/// The number of statements, about, of a plan that is a script.
const STEPS: usize = 6;

/// The default of [`PostgresOptions::lag_window`].
const LAG_WINDOW: Duration = Duration::from_secs(5);

/// The default idle time after which a connection is tested before use.
const IDLE: Duration = Duration::from_secs(5);

/// The options with which a [`crate::PostgresBackend`] is opened.
///
/// TLS follows the URL: `sslmode` (`prefer` by default; `verify-full` checks certificates),
/// `sslrootcert`, `sslcert`, `sslkey`.
///
/// A URL may list servers that replicate each other: `postgres://one:5432,two:5432/name`. The
/// backend works on the first of them that is no standby, and looks for another one when a session
/// has ended. The only server of a URL may be a standby for a while, too: calls wait for its
/// promotion as long as for a connection.
///
/// Behind PgBouncer in transaction mode either let it track named statements
/// (`max_prepared_statements`, 1.21 or later) or use [`Self::unnamed_statements`]. A pooler refuses
/// or drops start-up parameters, so leave out [`Self::schema`] and [`Self::session_parameters`],
/// and give the role those settings instead: `ALTER ROLE … SET …`. No session may listen there:
/// see [`Self::notifies`].
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
    /// Notified by every new connection, since it may lead to another server.
    pub(crate) connected: Arc<Notify>,
    pub(crate) trust: Arc<Trust>,
    /// Those of the URL, once it was read.
    pub(crate) servers: Arc<Servers>,
    /// The extent to which preparing checks and changes the schema; `None` if it ignores the
    /// schema.
    pub(crate) opening: Option<Opening>,
    pub(crate) notifies: bool,
    pub(crate) ping_after: Duration,
    pub(crate) design: Design,
    pub(crate) lag_window: Duration,
}

impl PostgresOptions {
    /// Ten connections at most, the default schema, named statements, the database's clock, no
    /// migrations; other processes are notified of commits.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        let (url, design) = url::design(url.into());
        Self {
            url,
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
            servers: Arc::default(),
            opening: None,
            notifies: true,
            design,
            lag_window: LAG_WINDOW,
            ping_after: IDLE,
        }
    }

    /// The options of a configuration. Its retry settings have no effect: the pool reconnects by
    /// itself until the acquire time-out.
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

    /// The most connections of the pool, at least one.
    #[must_use]
    pub fn max_connections(mut self, max_connections: u32) -> Self {
        self.max_connections = max_connections.max(1);
        self
    }

    /// The time to wait for a connection before `ResourceExhausted`.
    #[must_use]
    pub fn acquire_timeout(mut self, acquire_timeout: Duration) -> Self {
        self.acquire_timeout = acquire_timeout;
        self
    }

    /// The idle time after which a connection is tested before use. Servers and network devices
    /// close idle connections.
    #[must_use]
    pub fn ping_after(mut self, idle: Duration) -> Self {
        self.ping_after = idle;
        self
    }

    /// The time that a read or a commit may take before `Timeout`. A commit continues; only its
    /// caller stops waiting.
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

    /// True to prepare statements without a name, each in its own transaction of four round trips.
    /// For a pooler in transaction mode that does not track named statements; so no connection
    /// listens for notifications, either.
    #[must_use]
    pub fn unnamed_statements(mut self, unnamed_statements: bool) -> Self {
        self.unnamed_statements = unnamed_statements;
        self
    }

    /// True to request the settings that the statements are written for when connecting: generic
    /// plans, no JIT, READ COMMITTED. A pooler may refuse or drop such requests; settings that the
    /// role lacks are logged as warnings.
    #[must_use]
    pub fn session_parameters(mut self, session_parameters: bool) -> Self {
        self.session_parameters = session_parameters;
        self
    }

    /// The number of partitions of each family of ids.
    #[must_use]
    pub fn partitions(mut self, partitions: PartitionConfig) -> Self {
        self.partitions = partitions;
        self
    }

    /// The most plans that share a statement, at least one.
    #[must_use]
    pub fn max_batch(mut self, max_batch: usize) -> Self {
        self.max_batch = max_batch.max(1);
        self
    }

    /// The most statements of one plan shape that are in flight, at least one. A further one begins
    /// only where many plans wait, or one for long.
    #[must_use]
    pub fn max_in_flight(mut self, max_in_flight: usize) -> Self {
        self.max_in_flight = max_in_flight.max(1);
        self
    }

    /// Replaces the database's clock; for tests.
    #[must_use]
    pub fn clock(mut self, clock: impl Fn() -> TimestampMs + Send + Sync + 'static) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Replaces the process's wall clock, which may be set at any time; for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn wall_clock(mut self, wall: impl Fn() -> TimestampMs + Send + Sync + 'static) -> Self {
        self.wall_clock = Some(Arc::new(wall));
        self
    }

    /// True if [`ff_core::engine::Executor::prepare_database`] creates missing tables and applies
    /// missing migrations; otherwise it ignores the schema. [`Self::opening`] has finer choices.
    #[must_use]
    pub fn migrate(mut self, migrate: bool) -> Self {
        self.opening = migrate.then_some(Opening::Create);
        self
    }

    /// Lets [`ff_core::engine::Executor::prepare_database`] check the schema, and change it to this
    /// extent.
    #[must_use]
    pub fn opening(mut self, opening: Opening) -> Self {
        self.opening = Some(opening);
        self
    }

    /// True to notify other processes of commits, with one statement for all commits within 20 ms,
    /// and to listen for theirs. Otherwise subscribers poll twice a second. False for a pooler in
    /// transaction mode: a session of the server would go on listening for whichever client gets it
    /// next, and that client would fail at a notification.
    #[must_use]
    pub fn notifies(mut self, notifies: bool) -> Self {
        self.notifies = notifies;
        self
    }

    /// True for a database that detects conflicts when a transaction commits. The scheme
    /// `postgres-occ` of the URL says the same. Plans then run one by one in serializable
    /// transactions, other processes are not notified, and [`crate::PostgresBackend::within`] is
    /// refused. All processes on a database must choose alike.
    #[must_use]
    pub fn optimistic(mut self, optimistic: bool) -> Self {
        self.design = if optimistic { Design::Optimistic } else { Design::Locking };
        self
    }

    /// The longest time between the insert of an event and the end of its transaction, on an
    /// optimistic database: 5 s by default. A subscriber waits that long at a missing number, so no
    /// clock of a server may be wrong by as much. A plan that writes for longer than half of it is
    /// rolled back, sent again twice, and then refused.
    #[must_use]
    pub fn lag_window(mut self, lag_window: Duration) -> Self {
        self.lag_window = lag_window;
        self
    }

    /// True if a session of the backend may listen for commits of other processes.
    pub(crate) fn listens(&self) -> bool {
        match self.design {
            Design::Locking => self.notifies && !self.unnamed_statements,
            // The database notifies of nothing.
            Design::Optimistic => false,
        }
    }

    /// The lag window, where it has an effect.
    pub(crate) fn window(&self) -> Option<Duration> {
        match self.design {
            Design::Locking => None,
            Design::Optimistic => Some(self.lag_window),
        }
    }

    pub(crate) fn protocol(&self) -> Protocol {
        if self.unnamed_statements { Protocol::Unnamed } else { Protocol::Named }
    }

    /// Opens a pool, after one connection has shown that it reaches the database on a server that
    /// is no standby, and where its names lead there.
    ///
    /// # Errors
    /// `Transport` when the URL cannot be read, the database not be reached, or only on a standby.
    pub(crate) async fn open_pool(&mut self) -> Result<(PgPool, Place), EngineError> {
        let max_connections = self.max_connections;
        let failed = |error| PostgresError::read(error).into_engine(max_connections);
        self.servers = Arc::new(Servers::new(self.parse().map_err(failed)?));

        // A pool retries until its time is up, and then does not report the cause.
        let first = tokio::time::timeout(self.acquire_timeout, self.servers.find()).await;
        let first = first.map_err(|_| failed(sqlx::Error::PoolTimedOut))?;
        let (connect, mut first) = first.map_err(|error| error.into_engine(max_connections))?;
        parameters::check(&mut first, self.design).await.map_err(failed)?;
        let place = Place::of(&mut first).await.map_err(failed)?;

        // The pool makes its own connections, so an error here does not matter.
        let _ = first.close().await;
        Ok((self.pool_options().connect_lazy_with(connect), place))
    }

    fn pool_options(&self) -> PgPoolOptions {
        let (trust, connected) = (Arc::clone(&self.trust), Arc::clone(&self.connected));
        let servers = Arc::clone(&self.servers);
        let ping_after = self.ping_after;
        PgPoolOptions::new()
            .max_connections(self.max_connections)
            .min_connections(self.min_connections)
            .acquire_timeout(self.acquire_timeout)
            // Testing each time would cost a round trip, so only long idle connections are tested.
            .test_before_acquire(false)
            .before_acquire(move |connection, meta| {
                let trusted = trust.includes(meta.age);
                Box::pin(async move {
                    Ok(trusted && (meta.idle_for < ping_after || connection.ping().await.is_ok()))
                })
            })
            .after_connect(move |connection, _| {
                connected.notify_one();
                let servers = Arc::clone(&servers);
                Box::pin(async move {
                    let refused = servers::refuse_standby(connection).await;
                    refused.inspect_err(|_| servers.doubt())
                })
            })
            // A statement on a connection inside a transaction would not be durable, so such a
            // connection is closed. The driver misses a `BEGIN` that was dropped before its answer;
            // no caller of this crate can drop one.
            .after_release(|connection, _| {
                let clean = !connection.is_in_transaction();
                Box::pin(async move { Ok(clean) })
            })
    }

    // The driver leaves TCP_NODELAY off and cannot set it. That costs nothing here: bind, execute
    // and sync leave in one write, and nothing follows before the answer.
    fn parse(&self) -> Result<Vec<PgConnectOptions>, sqlx::Error> {
        Ok(url::parse(&self.url)?.into_iter().map(|server| self.with_settings(server)).collect())
    }

    fn with_settings(&self, mut connect: PgConnectOptions) -> PgConnectOptions {
        if connect.get_application_name().is_none() {
            connect = connect.application_name("flowfabric-sql");
        }

        if self.session_parameters {
            connect = parameters::ask(connect, self.design);
        }

        if let Some(schema) = &self.schema {
            connect = connect.options([("search_path", format!("\"{}\"", schema.as_str()))]);
        }

        match self.protocol() {
            Protocol::Named => connect.statement_cache_capacity(match self.design {
                Design::Locking => STATEMENT_CACHE,
                Design::Optimistic => STATEMENT_CACHE * STEPS,
            }),
            Protocol::Unnamed => connect.statement_cache_capacity(0),
        }
    }
}

/// Prints servers, user and database of the URL; never its password or its parameters.
impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut printed = f.debug_struct("PostgresOptions");
        let parsed = url::parse(&self.url).unwrap_or_default();
        if let Some(first) = parsed.first() {
            printed
                .field("servers", &parsed.iter().map(servers::place).collect::<Vec<_>>())
                .field("user", &first.get_username())
                .field("database", &first.get_database());
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
            .field("design", &self.design)
            .field("lag_window", &self.lag_window)
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
    fn no_session_listens_that_other_clients_may_get() {
        let options = || PostgresOptions::new("postgres://localhost/jobs");
        assert!(options().listens());
        assert!(!options().unnamed_statements(true).listens());
        assert!(!options().notifies(false).listens());
        assert!(!options().optimistic(true).listens());
    }

    #[test]
    fn another_database_is_refused() {
        let refused = PostgresOptions::from_config(BackendConfig::valkey("localhost", 6379));
        assert!(matches!(refused, Err(EngineError::Unavailable { .. })));
    }
}
