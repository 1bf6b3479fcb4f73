//! flowfabric-sql in memory: the executable specification.
//!
//! Interprets [`Plan`]s and queries over maps, literally as their documentation says: no SQL, no
//! shapes, no concurrency beyond one lock. Where another backend differs, this one defines the
//! intended behaviour. It knows the schema and the plan vocabulary, and no rule.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod answer;
mod apply;
mod error;
mod faults;
mod tables;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ff_core::EngineError;
use ff_core::backend::{BackendTag, PrepareOutcome};
use ff_core::engine::{BackendName, Bell, Commit, Executor, Horizon, ProcessState, Rings, Topics};
use ff_core::engine_error::StoreClass;
use ff_core::partition::PartitionConfig;
use ff_core::plan::facts::{Answer, Row};
use ff_core::plan::value::Value;
use ff_core::plan::{Plan, Query};
use ff_core::rules::ctx::{Seeded, Source};
use ff_core::schema::TableRef;
use ff_core::types::TimestampMs;
use futures_timer::Delay;
use uuid::Uuid;

pub use error::MemoryError;
pub use faults::Fault;
use faults::{Faults, failure};
use tables::Tables;

/// A function that returns the time, in Unix milliseconds.
pub type Clock = Box<dyn Fn() -> TimestampMs + Send + Sync>;

/// A database in this process's memory; dropped with the last clone.
#[derive(Clone)]
pub struct MemoryBackend {
    tables: Arc<Mutex<Tables>>,
    source: Arc<Mutex<Seeded>>,
    clock: Arc<dyn Fn() -> TimestampMs + Send + Sync>,
    process_state: Arc<ProcessState>,
    bell: Arc<Bell>,
    faults: Arc<Faults>,
}

/// The contents of a database at one moment.
pub struct Snapshot(Tables);

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").finish_non_exhaustive()
    }
}

impl Default for MemoryBackend {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for MemoryBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryBackend").finish_non_exhaustive()
    }
}

impl MemoryBackend {
    /// An empty database on the wall clock, with random ids and the default partitions.
    #[must_use]
    pub fn new() -> Self {
        Self {
            tables: Arc::default(),
            source: Arc::new(Mutex::new(Seeded::new(Uuid::new_v4().as_u64_pair().1))),
            clock: Arc::new(TimestampMs::now),
            process_state: Arc::default(),
            bell: Arc::default(),
            faults: Arc::default(),
        }
    }

    /// Replaces the clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = Arc::from(clock);
        self
    }

    /// Draws ids and jitter from `seed`: the same operations in the same order get the same ids.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.source = Arc::new(Mutex::new(Seeded::new(seed)));
        self
    }

    /// Orders a fault of the next commit of the plan of that name, such as `complete`. For tests.
    pub fn fail_next(&self, plan: &str, fault: Fault) {
        self.faults.order(plan, fault);
    }

    /// Every row of `table` by column name, in primary key order; empty if the schema has no such
    /// table. For tests.
    #[must_use]
    pub fn rows(&self, table: &str) -> Vec<BTreeMap<String, Value>> {
        let Some(table) = ff_core::schema::table(table) else {
            return Vec::new();
        };

        let tables = self.lock();
        let named = |row: &Row| {
            let cell = |column: &ff_core::schema::ColumnRef| {
                let value = row.value(*column).cloned().unwrap_or(Value::Null);
                (column.name.to_owned(), value)
            };
            table.columns.iter().map(cell).collect()
        };
        tables.rows(table.name).map(|(_, row)| named(row)).collect()
    }

    /// Every row of `table`, whole, in primary key order. For tests.
    #[must_use]
    pub fn stored(&self, table: TableRef) -> Vec<Row> {
        self.lock().rows(table.name).map(|(_, row)| row.clone()).collect()
    }

    /// Inserts a row as plain SQL would: columns by name, defaults for the rest. For tests.
    ///
    /// # Errors
    /// `Transport` with a [`MemoryError`] if the table, a column or a value does not fit, or if the
    /// primary key is taken.
    pub fn insert_row<'a>(
        &self,
        table: &str,
        cells: impl IntoIterator<Item = (&'a str, Value)>,
    ) -> Result<(), EngineError> {
        let table = ff_core::schema::table(table)
            .ok_or_else(|| MemoryError::NoSuchTable { table: table.to_owned() })?;
        let named = cells.into_iter().map(|(name, value)| {
            let column = table.column(name).ok_or_else(|| MemoryError::NoSuchColumn {
                table: table.name,
                column: name.to_owned(),
            })?;
            Ok((column, value))
        });
        let given = named.collect::<Result<Vec<_>, MemoryError>>()?;

        let now = (self.clock)();
        let mut tables = self.lock();
        let (key, row) = tables.complete_row(table, given, now);
        if tables.row(table.name, &key).is_some() {
            return Err(MemoryError::DuplicateKey { table: table.name }.into());
        }

        tables.store(table, key, Some(row))?;
        tables.commit();
        drop(tables);

        self.bell.ring_each(Topics::of_table(table.name));
        Ok(())
    }

    /// A copy of everything that is stored now, for [`Self::restore`]. For tests.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.lock().copy())
    }

    /// Replaces everything that is stored by the snapshot. For tests.
    pub fn restore(&self, snapshot: &Snapshot) {
        *self.lock() = snapshot.0.copy();
    }

    // A panic while the lock was held is a bug that was reported; the undo log of the interrupted
    // plan still exists and is applied here.
    fn lock(&self) -> MutexGuard<'_, Tables> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.roll_back();
        tables
    }
}

#[async_trait]
impl Executor for MemoryBackend {
    fn backend_name(&self) -> BackendName {
        BackendName { tag: BackendTag::Memory, family: "memory" }
    }

    fn process_state(&self) -> &ProcessState {
        &self.process_state
    }

    fn partitions(&self) -> PartitionConfig {
        PartitionConfig::default()
    }

    fn now(&self) -> TimestampMs {
        (self.clock)()
    }

    fn source(&self) -> Box<dyn Source> {
        let mut shared = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        Box::new(Seeded::new(shared.uuid().as_u64_pair().1))
    }

    async fn read(&self, queries: Vec<Query>) -> Result<Vec<Answer>, EngineError> {
        let tables = self.lock();
        Ok(queries.iter().map(|query| answer::answer(&tables, query)).collect())
    }

    async fn commit(&self, plan: Plan) -> Result<Commit, EngineError> {
        let fault = self.faults.take(&plan.name);
        if fault == Some(Fault::BeforeCommit) {
            return Err(failure(StoreClass::Retryable));
        }

        let now = (self.clock)();
        let commit = apply::apply(&mut self.lock(), &plan, now)?;
        self.bell.ring_each(Rings::of(&plan).after(&commit));
        match fault {
            Some(Fault::AfterCommit) => return Err(failure(StoreClass::OutcomeUnknown)),
            Some(Fault::LateAnswer(time)) => Delay::new(time).await,
            Some(Fault::BeforeCommit) | None => {}
        }
        Ok(commit)
    }

    fn bell(&self) -> &Bell {
        &self.bell
    }

    fn ring_for_other_processes(&self) {
        // No other process can reach these rows.
    }

    async fn sleep(&self, time: Duration) {
        Delay::new(time).await;
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
        Ok(())
    }

    async fn prepare_database(&self) -> Result<PrepareOutcome, EngineError> {
        Ok(PrepareOutcome::NoOp)
    }

    async fn close_within(&self, _grace: Duration) -> Result<(), EngineError> {
        Ok(())
    }
}
