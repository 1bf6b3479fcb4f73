//! What a backend must do.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Bell, DatabaseReport, ProcessState, Traffic};
use crate::contracts::PrepareOutcome;
use crate::model::error::EngineError;
use crate::model::handle::BackendTag;
use crate::model::ids::TimestampMs;
use crate::model::partition::PartitionConfig;
use crate::plan::facts::Answer;
use crate::plan::value::Value;
use crate::plan::{Plan, Query};
use crate::rules::archive::import::number_above;
use crate::rules::ctx::Source;
use crate::schema::TableRef;

/// The result of committing a plan.
#[derive(Clone, Debug, PartialEq)]
pub enum Commit {
    /// The plan applied, entirely and durably. One list of returned values per item: exactly one
    /// for a plan on named rows, one per picked row for a selection.
    Applied(Vec<Vec<Value>>),
    /// A guard did not hold, or a refusing insert found its row: nothing changed.
    Refused,
    /// A row that prevents the plan was there: nothing changed.
    Prevented,
}

/// The name of a backend, in handles and in answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendName {
    /// The tag in the handles that the backend mints.
    pub tag: BackendTag,
    /// Family name, such as `postgres`.
    pub family: &'static str,
}

/// The transactions that are over, as a bound on their numbers. Numbers grow in the order in which
/// transactions began to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Horizon {
    /// Every transaction with a lower number has committed or rolled back.
    pub oldest_open: i64,
    /// The most transactions that can be open at the same time.
    pub most_open: i64,
}

impl Horizon {
    /// The horizon of a database with one writer at a time: a row that is not visible yet will get
    /// a higher number than every visible one.
    pub const ONE_WRITER: Self = Self { oldest_open: 0, most_open: 0 };
}

/// The abilities of a backend.
#[async_trait]
pub trait Executor: Send + Sync + 'static {
    /// The name of the backend.
    fn backend_name(&self) -> BackendName;

    /// The number of partitions of each family of ids.
    fn partitions(&self) -> PartitionConfig;

    /// The time by its clock.
    fn now(&self) -> TimestampMs;

    /// A source of fresh ids and jitter.
    fn source(&self) -> Box<dyn Source>;

    /// The state that its callers in this process share; one for as long as it lives.
    fn process_state(&self) -> &ProcessState;

    /// Answers the queries, in their order.
    ///
    /// # Errors
    /// `Transport` for a failure of the database, `Validation(Corruption)` for a value of a type
    /// that its column cannot have.
    async fn read(&self, queries: Vec<Query>) -> Result<Vec<Answer>, EngineError>;

    /// Applies the plan entirely and durably, or not at all. Afterwards rings the bell for what it
    /// inserted, also if the caller has stopped waiting.
    ///
    /// # Errors
    /// `Transport` for a failure of the database; its source tells whether the outcome is unknown.
    async fn commit(&self, plan: Plan) -> Result<Commit, EngineError>;

    /// Commits, but gives up if another transaction keeps a row locked. For a scan, which finds the
    /// row again.
    ///
    /// # Errors
    /// As [`Self::commit`]; `Contention(RetryExhausted)` where a row was held, and nothing changed.
    async fn commit_unless_locked(&self, plan: Plan) -> Result<Commit, EngineError> {
        self.commit(plan).await
    }

    /// The bell that its commits ring and that subscribers listen to.
    fn bell(&self) -> &Bell;

    /// Begins to ring the bell for commits of other processes too, for as long as there are
    /// listeners. A subscriber calls it after beginning to listen and before every wait; repeats
    /// cost nothing.
    fn ring_for_other_processes(&self);

    /// The commands that it has sent to the database so far; none where there is nothing to send.
    fn commands_sent(&self) -> Traffic {
        Traffic::default()
    }

    /// A report about the database, for operators; empty where there is nothing to find out.
    ///
    /// # Errors
    /// `Transport` when the database cannot be reached.
    async fn inspect_database(&self) -> Result<DatabaseReport, EngineError> {
        Ok(DatabaseReport::default())
    }

    /// Completes after this time.
    async fn sleep(&self, time: Duration);

    /// The transactions that are over.
    ///
    /// # Errors
    /// `Transport` when the database cannot be reached.
    async fn horizon(&self) -> Result<Horizon, EngineError>;

    /// A number higher than that of every transaction that has begun to write so far; 0 where
    /// writers take turns. It may consume a number, so it is called only where one is needed.
    ///
    /// # Errors
    /// `Transport` when the database cannot be reached.
    async fn frontier(&self) -> Result<i64, EngineError>;

    /// Has the table give its next row a number above this one. A database that counts the numbers
    /// that rows are given needs no more than such a row, which is gone again.
    ///
    /// # Errors
    /// As [`Self::commit`].
    async fn number_above(&self, table: TableRef, number: i64) -> Result<(), EngineError> {
        match number_above(table, number) {
            Some(plan) => self.commit(plan).await.map(drop),
            None => Ok(()),
        }
    }

    /// The same backend as an owned value, for tasks and streams that outlive the caller's borrow.
    fn share(&self) -> Arc<dyn Executor>;

    /// Makes a round trip to the database.
    ///
    /// # Errors
    /// `Transport` when it cannot be reached.
    async fn ping_database(&self) -> Result<(), EngineError>;

    /// Prepares the database for use: applies migrations, where the backend does so itself.
    ///
    /// # Errors
    /// `Transport` when the database refuses.
    async fn prepare_database(&self) -> Result<PrepareOutcome, EngineError>;

    /// Finishes queued work and closes the connections, within `grace`.
    ///
    /// # Errors
    /// `Timeout` when work was still queued after `grace`.
    async fn close_within(&self, grace: Duration) -> Result<(), EngineError>;
}
