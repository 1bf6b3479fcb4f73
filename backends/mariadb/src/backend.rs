//! The [`Executor`] over the writer, a pool of readers and the rendered statements.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use ff_backend_script::{BoundQuery, Statements, bound};
use ff_codegen::adopt::PARTITION_COUNTS;
use ff_codegen::inspection::mariadb::SEQUENCES;
use ff_codegen::migrations::MARIADB;
use ff_codegen::opening::{self, Admission, Opening};
use ff_codegen::{MariaDb, answer};
use ff_core::EngineError;
use ff_core::backend::{BackendTag, PrepareOutcome};
use ff_core::engine::{
    BackendName, Bell, Commit, DatabaseReport, Executor, Horizon, NumberSequence, ProcessState,
    Random, Traffic, TrafficMeter,
};
use ff_core::partition::PartitionConfig;
use ff_core::plan::facts::Answer;
use ff_core::plan::{Plan, Query};
use ff_core::rules::ctx::Source;
use ff_core::types::TimestampMs;
use sqlx::mysql::{MySqlArguments, MySqlConnection, MySqlPool};
use sqlx::{Row as _, query, query_as};

use crate::bind;
use crate::clock::{self, Clock};
use crate::connect::{Connections, MariaDbOptions};
use crate::error::{MariaDbError, shut_down};
use crate::migrate::{self, MigrateError};
use crate::writer::Writer;

/// The engine on MariaDB 10.11 or later. Clones share all state.
#[derive(Clone)]
pub struct MariaDbBackend(Arc<Inner>);

struct Inner {
    statements: Statements<MariaDb>,
    writer: Writer,
    pool: MySqlPool,
    connections: Connections,
    opening: Opening,
    clock: Clock,
    partitions: PartitionConfig,
    process_state: ProcessState,
    bell: Arc<Bell>,
    traffic: Arc<TrafficMeter>,
}

impl fmt::Debug for MariaDbBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MariaDbBackend").finish_non_exhaustive()
    }
}

impl MariaDbBackend {
    /// Connects, migrates the database to the current schema as far as [`MariaDbOptions::opening`]
    /// allows, and measures its clock. Must be called inside a tokio runtime, which runs the
    /// writer.
    ///
    /// # Errors
    /// MariaDB's error, a URL that names no database, or a schema that does not fit this binary.
    pub async fn open(options: MariaDbOptions) -> Result<Arc<Self>, MariaDbError> {
        let connections = options.parse()?;
        let mut connection = connections.connect().await?;
        prepare(&mut connection, options.opening).await?;
        let partitions = match options.partitions {
            Some(partitions) => partitions,
            None => recorded_partitions(&mut connection).await.map_err(MariaDbError::read)?,
        };

        let pool = options.pool(&connections);
        let clock = Clock::new(options.clock.clone());
        clock.measure(&pool).await?;

        let (bell, traffic) = (Arc::<Bell>::default(), Arc::<TrafficMeter>::default());
        let writer = Writer::start(connections.clone(), Arc::clone(&bell), Arc::clone(&traffic));
        let inner = Arc::new(Inner {
            statements: Statements::new(MariaDb),
            writer,
            pool,
            connections,
            opening: options.opening,
            clock,
            partitions,
            process_state: ProcessState::default(),
            bell,
            traffic,
        });
        tokio::spawn(keep_time(Arc::downgrade(&inner)));
        Ok(Arc::new(Self(inner)))
    }

    /// The connections that read.
    #[must_use]
    pub fn pool(&self) -> &MySqlPool {
        &self.0.pool
    }

    async fn answer(&self, reads: &[BoundQuery]) -> Result<Vec<Answer>, EngineError> {
        let mut tries = self.0.pool.options().get_max_connections();
        loop {
            match self.answer_once(reads).await {
                // Every idle connection may be a closed one.
                Err(Unread::Database(error)) if error.may_pass() && tries > 0 => tries -= 1,
                Err(Unread::Database(error)) => return Err(error.into()),
                Err(Unread::Value(error)) => return Err(error),
                Ok(answers) => return Ok(answers),
            }
        }
    }

    async fn answer_once(&self, reads: &[BoundQuery]) -> Result<Vec<Answer>, Unread> {
        let mut connection = self.0.pool.acquire().await.map_err(MariaDbError::read)?;
        let mut answers = Vec::with_capacity(reads.len());
        for (read, bindings) in reads {
            let mut arguments = MySqlArguments::default();
            for one in &read.statement.binds {
                bind::add(&mut arguments, bound(&one.source, bindings), one.ty)?;
            }

            let rows = match bind::rows(&mut connection, &read.statement, arguments).await {
                Ok(rows) => rows,
                Err(error) => {
                    let error = MariaDbError::read(error);
                    if error.may_pass() {
                        connection.close_on_drop();
                    }
                    return Err(Unread::Database(error));
                }
            };
            answers.push(answer(&read.query, &rows, bind::cell).map_err(Unread::Value)?);
        }
        Ok(answers)
    }
}

/// The reason that a query has no answer.
enum Unread {
    Database(MariaDbError),
    Value(EngineError),
}

impl From<MariaDbError> for Unread {
    fn from(error: MariaDbError) -> Self {
        Self::Database(error)
    }
}

/// Refuses a database that does not fit, or migrates it; returns the migrations that were applied.
async fn prepare(
    connection: &mut MySqlConnection,
    opening: Opening,
) -> Result<Vec<&'static str>, MigrateError> {
    migrate::check_version(connection).await?;
    let found = migrate::inventory(connection).await?;
    match opening::admit(MARIADB, &found, opening).map_err(MigrateError::Refused)? {
        Admission::Ready => Ok(Vec::new()),
        Admission::Migrate => migrate::migrate(connection).await,
    }
}

/// The number of partitions of each family, as the database records it.
async fn recorded_partitions(
    connection: &mut MySqlConnection,
) -> Result<PartitionConfig, sqlx::Error> {
    let Some(row) = query(PARTITION_COUNTS).fetch_optional(connection).await? else {
        return Ok(PartitionConfig::default());
    };
    let count = |index: usize| {
        let recorded = row.try_get_unchecked::<i64, _>(index)?;
        u16::try_from(recorded).map_err(|error| sqlx::Error::Decode(error.into()))
    };
    Ok(PartitionConfig {
        num_flow_partitions: count(0)?,
        num_budget_partitions: count(1)?,
        num_quota_partitions: count(2)?,
    })
}

/// Measures the clock while the backend lives.
async fn keep_time(kept: Weak<Inner>) {
    loop {
        tokio::time::sleep(clock::INTERVAL).await;
        let Some(inner) = kept.upgrade() else { return };
        if inner.pool.is_closed() {
            return;
        }
        if let Err(error) = inner.clock.measure(&inner.pool).await {
            tracing::debug!(%error, "the database's clock could not be read");
        }
    }
}

#[async_trait]
impl Executor for MariaDbBackend {
    fn backend_name(&self) -> BackendName {
        BackendName { tag: BackendTag::MariaDb, family: "mariadb" }
    }

    fn process_state(&self) -> &ProcessState {
        &self.0.process_state
    }

    fn partitions(&self) -> PartitionConfig {
        self.0.partitions
    }

    fn now(&self) -> TimestampMs {
        self.0.clock.now()
    }

    fn source(&self) -> Box<dyn Source> {
        Box::new(Random)
    }

    async fn read(&self, queries: Vec<Query>) -> Result<Vec<Answer>, EngineError> {
        if !self.0.writer.is_open() {
            return Err(shut_down());
        }
        let reads = self.0.statements.queries(queries).map_err(MariaDbError::permanent)?;
        self.0.traffic.sent(reads.len() as u64);
        self.answer(&reads).await
    }

    async fn commit(&self, plan: Plan) -> Result<Commit, EngineError> {
        let (plan, bindings) = self.0.statements.plan(plan).map_err(MariaDbError::permanent)?;
        self.0.writer.commit(plan, bindings).await
    }

    fn bell(&self) -> &Bell {
        &self.0.bell
    }

    fn ring_for_other_processes(&self) {
        // The server notifies no connection of another's commits; subscribers also poll.
    }

    fn commands_sent(&self) -> Traffic {
        self.0.traffic.so_far()
    }

    async fn inspect_database(&self) -> Result<DatabaseReport, EngineError> {
        let mut report = DatabaseReport::default();
        let used = query_as(SEQUENCES).fetch_all(&self.0.pool).await;
        let used: Vec<(String, i64)> = used.map_err(MariaDbError::read)?;
        let fact = |(name, used)| NumberSequence::new(name, used, i64::MAX, None);
        report.sequences = used.into_iter().map(fact).collect();
        Ok(report)
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    async fn horizon(&self) -> Result<Horizon, EngineError> {
        Ok(Horizon::ONE_WRITER)
    }

    async fn frontier(&self) -> Result<i64, EngineError> {
        Ok(0)
    }

    fn share(&self) -> Arc<dyn Executor> {
        Arc::new(self.clone())
    }

    async fn ping_database(&self) -> Result<(), EngineError> {
        if !self.0.writer.is_open() {
            return Err(shut_down());
        }
        Ok(self.0.clock.measure(&self.0.pool).await?)
    }

    async fn prepare_database(&self) -> Result<PrepareOutcome, EngineError> {
        let mut connection = self.0.connections.connect().await?;
        let applied = prepare(&mut connection, self.0.opening).await;
        let applied = applied.map_err(MariaDbError::from)?;
        if applied.is_empty() {
            return Ok(PrepareOutcome::NoOp);
        }
        Ok(PrepareOutcome::applied(format!("migrations: {}", applied.join(", "))))
    }

    async fn close_within(&self, grace: Duration) -> Result<(), EngineError> {
        let start = Instant::now();
        let closed = tokio::time::timeout(grace, async {
            self.0.writer.close().await;
            self.0.pool.close().await;
        });
        closed
            .await
            .map_err(|_| EngineError::Timeout { op: "mariadb: drain", elapsed: start.elapsed() })
    }
}
