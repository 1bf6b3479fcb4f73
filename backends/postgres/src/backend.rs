//! The backend: a pool, and the [`Executor`] on it.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use ff_codegen::opening::Admission;
use ff_core::EngineError;
use ff_core::backend::{BackendConfig, BackendTag, PrepareOutcome};
use ff_core::engine::{
    BackendName, Bell, Commit, DatabaseReport, Executor, Horizon, InstalledScans, ProcessState,
    Random, Traffic,
};
use ff_core::engine_backend::EngineBackend;
use ff_core::engine_error::{StoreClass, StoreError};
use ff_core::partition::PartitionConfig;
use ff_core::plan::facts::Answer;
use ff_core::plan::{Plan, Query};
use ff_core::rules::ctx::Source;
use ff_core::schema::TableRef;
use ff_core::types::TimestampMs;
use sqlx::postgres::PgPool;

use crate::clock::{Clock, Keeper};
use crate::commit::{Committer, HeldRow, Limits};
use crate::connect::PostgresOptions;
use crate::connections::Connections;
use crate::error::PostgresError;
use crate::listen::Listener;
use crate::migrate::{self, MigrateError, MigrateOptions};
use crate::notify::Notifier;
use crate::optimistic::OptimisticCommitter;
use crate::reader::Reader;
use crate::session::Protocol;
use crate::within::Place;
use crate::{inspection, numbers, parameters};

/// The engine on Postgres 15 or later. Clones share the pool and all other state.
#[derive(Clone)]
pub struct PostgresBackend {
    pool: PgPool,
    pub(crate) options: PostgresOptions,
    pub(crate) protocol: Protocol,
    pub(crate) keeper: Arc<Keeper>,
    pub(crate) reader: Arc<Reader>,
    pub(crate) committer: Committer,
    /// Commits instead, where the database is an optimistic one.
    pub(crate) optimistic: Option<OptimisticCommitter>,
    /// The place of its tables, once it is known.
    pub(crate) place: Arc<Mutex<Option<Place>>>,
    process_state: Arc<ProcessState>,
    bell: Arc<Bell>,
    listener: Listener,
    pub(crate) scanners: InstalledScans<Self>,
}

impl PostgresBackend {
    /// Connects with the configuration and otherwise the defaults of [`PostgresOptions`], as a
    /// trait object; [`Self::open`] keeps the type. Applies no migrations.
    ///
    /// # Errors
    /// `Unavailable` when the configuration names another kind of database, `Transport` when the
    /// database cannot be reached.
    pub async fn connect(config: BackendConfig) -> Result<Arc<dyn EngineBackend>, EngineError> {
        let backend = Self::open(PostgresOptions::from_config(config)?).await?;
        Ok(backend)
    }

    /// Connects, measures the database's clock and notes where its tables are. Applies no
    /// migrations.
    ///
    /// # Errors
    /// `Transport` when the URL cannot be read, or the database not be reached, or only on a
    /// standby.
    pub async fn open(mut options: PostgresOptions) -> Result<Arc<Self>, EngineError> {
        let (pool, place) = options.open_pool().await?;
        let backend = Self::over(pool, options);
        backend.note(place);
        backend.started().await
    }

    /// Opens a backend on the pool of another one, with the options of that one. Both share what is
    /// known of the servers, too. For tests, which then need not connect and prepare each time.
    ///
    /// # Errors
    /// `Transport` when the database cannot be reached.
    #[doc(hidden)]
    pub async fn open_over(
        pool: PgPool,
        options: PostgresOptions,
    ) -> Result<Arc<Self>, EngineError> {
        let most = options.max_connections;
        let backend = Self::over(pool, options);
        backend.find_place().await.map_err(|error| error.into_engine(most))?;
        backend.started().await
    }

    async fn started(self) -> Result<Arc<Self>, EngineError> {
        self.measure_clock().await?;
        self.keeper.start();
        Ok(Arc::new(self))
    }

    /// The options that it was opened with; for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn options(&self) -> &PostgresOptions {
        &self.options
    }

    /// Uses the caller's pool, with the defaults of [`PostgresOptions`] otherwise. Must be called
    /// inside a tokio runtime, which measures the database's clock in the background. The process's
    /// clock is used until then, and where that fails, until the next ping.
    ///
    /// Let the pool skip `test_before_acquire`, and its connections keep a few hundred statements;
    /// both save a round trip. Settings that its sessions lack are logged.
    #[must_use]
    pub fn from_pool(pool: PgPool, partitions: PartitionConfig) -> Arc<Self> {
        let options = PostgresOptions::new(String::new())
            .max_connections(pool.options().get_max_connections())
            .partitions(partitions);

        let backend = Arc::new(Self::over(pool, options));
        backend.look_around_soon();
        backend
    }

    /// The pool. The engine keeps up to half of its connections for itself while it is busy, each
    /// for a second at most.
    ///
    /// Do not drop a future that begins a transaction on it: run the transaction in a task of its
    /// own, or the next statement on that connection becomes part of it.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    pub(crate) fn over(pool: PgPool, options: PostgresOptions) -> Self {
        let protocol = options.protocol();
        let limits = Limits {
            batch: options.max_batch,
            in_flight: options.max_in_flight,
            connections: options.max_connections,
        };

        let bell = Arc::<Bell>::default();
        let (trust, servers) = (Arc::clone(&options.trust), Arc::clone(&options.servers));
        let connections = Connections::new(pool.clone(), options.ping_after, trust, servers);
        let window = options.window();
        let notifies = options.notifies && window.is_none();
        let notifier = Notifier::new(connections.clone(), protocol, Arc::clone(&bell), notifies);

        let (given, wall) = (options.clock.clone(), options.wall_clock.clone());
        let clock = Clock::new(given, wall, Arc::clone(&options.connected));
        let own = notifier.sender().to_owned();

        let optimistic = window.map(|window| {
            let (connections, notifier) = (connections.clone(), notifier.clone());
            OptimisticCommitter::new(connections, protocol, window, notifier)
        });

        let (read, most) = (connections.clone(), options.max_connections);
        Self {
            reader: Arc::new(Reader::new(read, protocol, most, window)),
            optimistic,
            committer: Committer::new(connections.clone(), protocol, limits, notifier),
            keeper: Arc::new(Keeper { clock, connections, protocol }),
            process_state: Arc::new(ProcessState::over_kept_entries()),
            place: Arc::default(),
            listener: Listener::new(pool.clone(), Arc::clone(&bell), own),
            scanners: InstalledScans::default(),
            bell,
            protocol,
            options,
            pool,
        }
    }

    /// Measures the database's clock and looks around in the background, if the backend still
    /// exists by then.
    pub(crate) fn look_around_soon(self: &Arc<Self>) {
        let measured: Weak<Self> = Arc::downgrade(self);
        tokio::spawn(async move {
            let Some(backend) = measured.upgrade() else { return };
            backend.keeper.start();
            if let Err(error) = backend.measure_clock().await {
                tracing::warn!(%error, "the database's clock could not be read");
            }
            if let Err(error) = backend.check_parameters().await {
                tracing::debug!(%error, "the session's settings could not be read");
            }
            if let Err(error) = backend.find_place().await {
                tracing::debug!(%error, "the place of the tables could not be read");
            }
        });
    }

    pub(crate) async fn measure_clock(&self) -> Result<(), EngineError> {
        let failed = |error: PostgresError| error.into_engine(self.options.max_connections);
        self.keeper.measure().await.map_err(failed)
    }

    async fn check_parameters(&self) -> Result<(), sqlx::Error> {
        parameters::check(&mut *self.pool.acquire().await?, self.options.design).await
    }

    /// Applies the plan within the request time-out.
    async fn apply(&self, plan: Plan, held_row: HeldRow) -> Result<Commit, EngineError> {
        match &self.optimistic {
            Some(optimistic) => self.in_time("commit", optimistic.commit(plan, held_row)).await,
            None => self.in_time("commit", self.committer.commit(plan, held_row)).await,
        }
    }

    /// Limits the work to the request time-out.
    async fn in_time<T>(
        &self,
        op: &'static str,
        work: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        let Some(limit) = self.options.request_timeout else { return work.await };

        let started = Instant::now();
        match tokio::time::timeout(limit, work).await {
            Ok(done) => done,
            Err(_) => Err(EngineError::Timeout { op, elapsed: started.elapsed() }),
        }
    }

    /// Runs a read; in a task of its own if it must not be dropped midway.
    async fn reading<T: Send + 'static>(
        &self,
        read: impl Future<Output = Result<T, EngineError>> + Send + 'static,
    ) -> Result<T, EngineError> {
        match self.protocol {
            Protocol::Named => read.await,
            // Each statement begins a transaction, and a dropped future would leave it open.
            Protocol::Unnamed => tokio::spawn(read).await.unwrap_or_else(|_| {
                let error = PostgresError::read(sqlx::Error::WorkerCrashed);
                Err(error.into_engine(self.options.max_connections))
            }),
        }
    }
}

impl fmt::Debug for PostgresBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresBackend")
            .field("options", &self.options)
            .field("clock", &self.keeper.clock)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Executor for PostgresBackend {
    fn backend_name(&self) -> BackendName {
        BackendName { tag: BackendTag::Postgres, family: "postgres" }
    }

    fn process_state(&self) -> &ProcessState {
        &self.process_state
    }

    fn partitions(&self) -> PartitionConfig {
        self.options.partitions
    }

    fn now(&self) -> TimestampMs {
        self.keeper.clock.now()
    }

    fn source(&self) -> Box<dyn Source> {
        Box::new(Random)
    }

    async fn read(&self, queries: Vec<Query>) -> Result<Vec<Answer>, EngineError> {
        let reader = Arc::clone(&self.reader);
        let read = async move { reader.read(queries).await };
        self.in_time("read", self.reading(read)).await
    }

    async fn commit(&self, plan: Plan) -> Result<Commit, EngineError> {
        self.apply(plan, HeldRow::Await).await
    }

    async fn commit_unless_locked(&self, plan: Plan) -> Result<Commit, EngineError> {
        self.apply(plan, HeldRow::GiveUp).await
    }

    fn bell(&self) -> &Bell {
        &self.bell
    }

    fn ring_for_other_processes(&self) {
        // Subscribers of other processes poll where nothing can be heard.
        if self.options.listens() {
            self.listener.start();
        }
    }

    fn commands_sent(&self) -> Traffic {
        self.keeper.connections.traffic().so_far()
    }

    async fn inspect_database(&self) -> Result<DatabaseReport, EngineError> {
        let connections = self.keeper.connections.clone();
        let design = self.options.design;
        let read = async move { inspection::inspect(&connections, design).await };
        let max = self.options.max_connections;
        self.in_time("inspect", async { read.await.map_err(|error| error.into_engine(max)) }).await
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    async fn horizon(&self) -> Result<Horizon, EngineError> {
        let reader = Arc::clone(&self.reader);
        let read = async move { reader.horizon().await };
        self.in_time("horizon", self.reading(read)).await
    }

    async fn frontier(&self) -> Result<i64, EngineError> {
        let reader = Arc::clone(&self.reader);
        let read = async move { reader.frontier().await };
        self.in_time("frontier", self.reading(read)).await
    }

    async fn number_above(&self, table: TableRef, number: i64) -> Result<(), EngineError> {
        let connections = self.keeper.connections.clone();
        let done = tokio::spawn(numbers::number_above(connections, table, number)).await;
        let done = done.unwrap_or_else(|_| Err(PostgresError::write(sqlx::Error::WorkerCrashed)));
        done.map_err(|error| error.into_engine(self.options.max_connections))
    }

    fn share(&self) -> Arc<dyn Executor> {
        Arc::new(self.clone())
    }

    async fn ping_database(&self) -> Result<(), EngineError> {
        self.in_time("ping", self.measure_clock()).await
    }

    async fn prepare_database(&self) -> Result<PrepareOutcome, EngineError> {
        let Some(opening) = self.options.opening else { return Ok(PrepareOutcome::NoOp) };

        let mut options = MigrateOptions::new();
        if let Some(schema) = &self.options.schema {
            options = options.schema(schema.clone());
        }
        let failed = |error| match error {
            MigrateError::Database(cause) => {
                PostgresError::write(cause).into_engine(self.options.max_connections)
            }
            refused @ (MigrateError::Ledger(_)
            | MigrateError::Refused(_)
            | MigrateError::Adopt(_)
            | MigrateError::InvalidSchemaName(_)
            | MigrateError::InvalidPartitions(_)
            | MigrateError::PartitionsDiffer { .. }
            | MigrateError::TooOld(_)
            | MigrateError::Render(_)) => {
                StoreError::new(StoreClass::Permanent, refused).in_backend("postgres")
            }
        };

        let admission = migrate::admit(&self.pool, &options, opening).await.map_err(failed)?;
        let applied = match admission {
            Admission::Ready => Vec::new(),
            Admission::Migrate => {
                migrate::migrate(&self.pool, &options).await.map_err(failed)?.applied
            }
        };
        self.find_place().await.map_err(|error| error.into_engine(self.options.max_connections))?;
        if applied.is_empty() {
            return Ok(PrepareOutcome::NoOp);
        }
        Ok(PrepareOutcome::applied(format!("migrations: {}", applied.join(", "))))
    }

    async fn close_within(&self, grace: Duration) -> Result<(), EngineError> {
        let drained = tokio::time::timeout(grace, async {
            self.scanners.shutdown(grace).await;
            self.listener.close().await;
            self.committer.drain().await;
            if let Some(optimistic) = &self.optimistic {
                optimistic.drain().await;
            }
            self.pool.close().await;
        });
        drained.await.map_err(|_| EngineError::Timeout { op: "drain", elapsed: grace })
    }
}
