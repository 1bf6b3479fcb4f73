//! The [`Executor`] over the writer, the readers and the rendered statements.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use ff_backend_script::Statements;
use ff_codegen::Sqlite;
use ff_codegen::opening::{Admission, Opening};
use ff_core::backend::{BackendTag, PrepareOutcome};
use ff_core::engine::{
    BackendName, Bell, Commit, DatabaseReport, Executor, Horizon, InstalledScans, ProcessState,
    Random, Traffic,
};
use ff_core::engine_error::StoreClass;
use ff_core::partition::PartitionConfig;
use ff_core::plan::facts::Answer;
use ff_core::plan::{Plan, Query};
use ff_core::rules::ctx::Source;
use ff_core::types::TimestampMs;
use ff_core::{BackendError, BackendErrorKind, EngineError};
use sqlx::Connection;
use sqlx::sqlite::SqlitePool;

use crate::clock;
use crate::connect::{self, Clock, Connections, SqliteOptions};
use crate::error::{SqliteError, shut_down};
use crate::inspect;
use crate::inspection;
use crate::migrate::{MigrateOptions, migrate};
use crate::presence::Presence;
use crate::reader::Reader;
use crate::watch::Watch;
use crate::writer::Writer;

/// A SQLite database. Clones share it.
#[derive(Clone)]
pub struct SqliteBackend {
    pub(crate) statements: Arc<Statements<Sqlite>>,
    writer: Writer,
    /// Absent for a memory database, which is read through the writer.
    reader: Option<Reader>,
    pub(crate) connections: Arc<Connections>,
    clock: Clock,
    partitions: PartitionConfig,
    process_state: Arc<ProcessState>,
    bell: Arc<Bell>,
    /// Absent for a memory database, which no other process can reach.
    watch: Option<Watch>,
    /// Absent for a memory database, which has no files.
    presence: Option<Arc<Presence>>,
    beside: OnceLock<SqlitePool>,
    pub(crate) scanners: InstalledScans<Self>,
}

impl std::fmt::Debug for SqliteBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteBackend").finish_non_exhaustive()
    }
}

impl SqliteBackend {
    /// Opens the database, with the error type that all backends share.
    pub(crate) async fn open_shared(options: SqliteOptions) -> Result<Arc<Self>, BackendError> {
        let opened = Self::open(options).await;
        opened.map_err(|error| {
            let kind = match error.class() {
                StoreClass::Retryable | StoreClass::OutcomeUnknown => BackendErrorKind::Transport,
                StoreClass::Permanent | StoreClass::Full | StoreClass::Corrupt => {
                    BackendErrorKind::Protocol
                }
            };
            BackendError::Database { kind, message: error.to_string() }
        })
    }

    /// Opens the database: creates its file (mode 0600) and migrates it to the current schema, as
    /// far as [`SqliteOptions::opening`] allows. The writer is a thread that runs for as long as
    /// the backend lives.
    ///
    /// # Errors
    /// SQLite's error, a location that names no database, a missing directory, or a schema that
    /// does not fit this binary.
    pub async fn open(options: SqliteOptions) -> Result<Arc<Self>, SqliteError> {
        let connections = Arc::new(options.resolve()?);
        let admission = inspect::admit(&connections, connections.opening()).await?;
        if connections.opening() == Opening::Create {
            connections.create_file()?;
        }

        let mut connection = connections.writer().await?;
        connect::check_version(&mut connection).await?;
        if admission == Admission::Migrate {
            migrate(&mut connection, &MigrateOptions::new()).await?;
        }
        connect::forget_statistics(&mut connection).await?;

        let partitions = match options.partitions {
            Some(partitions) => partitions,
            None => inspect::partitions(&mut connection).await.map_err(SqliteError::read)?,
        };

        let presence = connections.file().map(|file| Arc::new(Presence::of(file)));
        let notes = connections.opening() != Opening::Current;
        let clock = options.clock.unwrap_or_else(|| clock::of(connections.file(), notes));
        let busy_timeout = options.busy_timeout;
        let reader = |size| Reader::new(Arc::clone(&connections), size, busy_timeout);
        let reader = connections.readers().map(reader);

        let bell = Arc::<Bell>::default();
        let watched = reader.as_ref().map(|_| (Arc::clone(&connections), Arc::clone(&bell)));
        let watch = watched.map(|(connections, bell)| Watch::new(connections, bell));
        let writer = Writer::start(
            connections.writing()?,
            Arc::clone(&connections),
            busy_timeout,
            Arc::clone(&bell),
            presence.clone(),
        );
        let writer = writer.map_err(SqliteError::permanent)?;
        connection.close().await.map_err(SqliteError::read)?;

        Ok(Arc::new(Self {
            statements: Arc::new(Statements::new(Sqlite)),
            writer,
            reader,
            connections,
            clock,
            partitions,
            process_state: Arc::default(),
            bell,
            watch,
            presence,
            beside: OnceLock::new(),
            scanners: InstalledScans::default(),
        }))
    }

    /// Connections beside the writer, for tests that insert or read rows in plain SQL.
    #[doc(hidden)]
    pub fn pool_for_test(&self) -> &SqlitePool {
        self.beside.get_or_init(|| self.connections.beside())
    }

    /// Refuses once the database's files were removed.
    pub(crate) fn present(&self) -> Result<(), EngineError> {
        // Closing removes the log, so a closed writer is reported first.
        if !self.writer.is_open() {
            return Err(shut_down());
        }
        self.presence.as_ref().map_or(Ok(()), |presence| presence.check())
    }

    /// The error, or its cause, if that is that the database's files were removed.
    fn explained(&self, error: EngineError) -> EngineError {
        self.presence.as_ref().and_then(|presence| presence.look().err()).unwrap_or(error)
    }

    async fn shut(&self) {
        if let Some(watch) = &self.watch {
            watch.close().await;
        }

        self.writer.close().await;
        if let Some(reader) = &self.reader {
            reader.close().await;
        }
    }
}

#[async_trait]
impl Executor for SqliteBackend {
    fn backend_name(&self) -> BackendName {
        BackendName { tag: BackendTag::Sqlite, family: "sqlite" }
    }

    fn process_state(&self) -> &ProcessState {
        &self.process_state
    }

    fn partitions(&self) -> PartitionConfig {
        self.partitions
    }

    fn now(&self) -> TimestampMs {
        (self.clock)()
    }

    fn source(&self) -> Box<dyn Source> {
        Box::new(Random)
    }

    async fn read(&self, queries: Vec<Query>) -> Result<Vec<Answer>, EngineError> {
        self.present()?;
        let bound = self.statements.queries(queries).map_err(SqliteError::permanent)?;
        self.connections.traffic.sent(bound.len() as u64);
        let read = match &self.reader {
            Some(_) if !self.writer.is_open() => Err(shut_down()),
            Some(reader) => reader.answer(bound).await,
            None => self.writer.read(bound).await,
        };
        read.map_err(|error| self.explained(error))
    }

    async fn commit(&self, plan: Plan) -> Result<Commit, EngineError> {
        self.present()?;
        let (plan, bindings) = self.statements.plan(plan).map_err(SqliteError::permanent)?;
        let committed = self.writer.commit(plan, bindings).await;
        committed.map_err(|error| self.explained(error))
    }

    fn bell(&self) -> &Bell {
        &self.bell
    }

    fn ring_for_other_processes(&self) {
        if let Some(watch) = &self.watch {
            watch.start();
        }
    }

    fn commands_sent(&self) -> Traffic {
        self.connections.traffic.so_far()
    }

    async fn inspect_database(&self) -> Result<DatabaseReport, EngineError> {
        self.present()?;
        inspection::inspect(&self.connections).await.map_err(|error| self.explained(error.into()))
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
        self.present()?;
        match &self.reader {
            Some(_) if !self.writer.is_open() => Err(shut_down()),
            Some(reader) => reader.ping().await,
            None => self.writer.ping().await,
        }
    }

    async fn prepare_database(&self) -> Result<PrepareOutcome, EngineError> {
        let opening = self.connections.opening();
        if inspect::admit(&self.connections, opening).await? == Admission::Ready {
            return Ok(PrepareOutcome::NoOp);
        }

        let mut connection = self.connections.writer().await?;
        let report = migrate(&mut connection, &MigrateOptions::new()).await;
        let closed = connection.close().await.map_err(SqliteError::read);
        let report = report.map_err(SqliteError::from)?;
        closed?;

        if report.applied.is_empty() {
            return Ok(PrepareOutcome::NoOp);
        }
        Ok(PrepareOutcome::Applied { description: report.applied.join(", ") })
    }

    async fn close_within(&self, grace: Duration) -> Result<(), EngineError> {
        let start = Instant::now();
        self.scanners.shutdown(grace).await;

        let shut = tokio::time::timeout(grace, self.shut()).await;
        shut.map_err(|_| EngineError::Timeout { op: "sqlite: drain", elapsed: start.elapsed() })
    }
}
