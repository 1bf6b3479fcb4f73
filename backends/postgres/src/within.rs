//! Operations within a transaction of the caller.
//!
//! A plan is one statement, as always, but sent alone and on the caller's connection. The
//! savepoint's texts are sent by hand: the driver rolls the whole transaction back where its own
//! savepoint cannot be opened, and what the caller sends then would commit by itself.

use std::sync::PoisonError;
use std::time::Duration;

use async_trait::async_trait;
use ff_core::EngineError;
use ff_core::engine::{
    CallersTransaction, Commit, Executor as _, Operation, Request, Topics, Within,
    transaction_conflict,
};
use ff_core::engine_error::ValidationKind;
use ff_core::plan::facts::Answer;
use ff_core::plan::{Plan, Query};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{PgConnection, Postgres, Row as _, SqlStr, Transaction};

use crate::backend::PostgresBackend;
use crate::bind;
use crate::error::PostgresError;
use crate::reader::decode;
use crate::session::{Protocol, Session};
use crate::statements::around;

/// How long an operation waits for a connection that tells where the engine's tables are, while
/// the caller's transaction holds locks.
const PATIENCE: Duration = Duration::from_millis(250);

/// The place that a session's names lead to: the database and the first table, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    database: i64,
    table: Option<i64>,
}

impl Place {
    /// The place of that session.
    pub(crate) async fn of(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        Self::read(&sqlx::raw_sql(around::place()).fetch_one(connection).await?)
    }

    fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self { database: row.try_get(0)?, table: row.try_get(1)? })
    }
}

impl PostgresBackend {
    /// The operations within a transaction of the caller. Its connection may come from any pool on
    /// the same database whose `search_path` leads to the backend's tables.
    ///
    /// An operation waits for locked rows as long as the session's `lock_timeout` lets it: 250 ms
    /// on connections of [`Self::pool`], for ever by default. If its future is dropped, roll back:
    /// its changes may have been made or not.
    #[must_use]
    pub fn within<'t>(&self, transaction: &'t mut Transaction<'_, Postgres>) -> Within<'t> {
        let session = CallersSession {
            connection: &mut *transaction,
            backend: self.clone(),
            is_placed: false,
            notified: Topics::NONE,
        };
        Within::new(session, self.share())
    }

    /// Reads and notes the place of the tables. Best done early: a transaction of the caller may
    /// hold the pool's last connection when the place is asked for.
    pub(crate) async fn find_place(&self) -> Result<Place, PostgresError> {
        let mut session = Session::new(self.keeper.connections.clone());
        let read = Place::of(session.connection().await?).await.map_err(PostgresError::read);
        let place = read.inspect_err(|error| session.judge(error))?;
        self.note(place);
        Ok(place)
    }

    /// Notes the place of the tables, if there are tables yet.
    pub(crate) fn note(&self, place: Place) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) =
            place.table.is_some().then_some(place);
    }

    /// True if that is the place of the tables. It is looked for where none is noted or another is,
    /// since tables may be new. Fails if the pool has no connection for that, since the transaction
    /// may hold the last: a place that is not known is no reason to accept another.
    async fn is_own_place(&self, place: Place) -> Result<bool, PostgresError> {
        let noted = *self.place.lock().unwrap_or_else(PoisonError::into_inner);
        if noted == Some(place) {
            return Ok(true);
        }

        let found = tokio::time::timeout(PATIENCE, self.find_place()).await;
        let own = found.unwrap_or(Err(PostgresError::read(sqlx::Error::PoolTimedOut)))?;
        Ok(own == place)
    }

    /// The engine's error for a failure of a statement in the caller's transaction. Nothing there
    /// is durable yet, so no outcome is unknown.
    fn failure(&self, error: PostgresError) -> EngineError {
        if error.lost_a_race() || error.waited_for_a_lock() {
            return transaction_conflict();
        }
        error.into_engine(self.options.max_connections)
    }
}

/// The session of a transaction of the caller.
struct CallersSession<'t> {
    connection: &'t mut PgConnection,
    backend: PostgresBackend,
    /// True once its names are known to lead to the backend's tables.
    is_placed: bool,
    /// The topics that its commit will notify of.
    notified: Topics,
}

impl CallersSession<'_> {
    /// Opens the savepoint; the first time it also refuses a transaction elsewhere.
    async fn enter(&mut self) -> Result<(), EngineError> {
        if self.is_placed {
            return self.control(around::open()).await;
        }

        self.count();
        let told = sqlx::raw_sql(around::open_and_place()).fetch_all(&mut *self.connection).await;
        let failed = |error| self.backend.failure(error);
        let place = told
            .and_then(|rows| Place::read(rows.first().ok_or(sqlx::Error::RowNotFound)?))
            .map_err(|error| failed(PostgresError::read(error)))?;
        let refusal = match self.backend.is_own_place(place).await {
            Ok(true) => {
                self.is_placed = true;
                return Ok(());
            }
            Ok(false) => elsewhere(),
            Err(error) => failed(error),
        };
        self.control(around::release(Topics::NONE)).await?;
        Err(refusal)
    }

    /// Undoes what was done since the savepoint, and releases it. A transaction that cannot do so
    /// is lost, and says so itself at the next statement.
    async fn undo_all(&mut self) {
        if self.control(around::undo()).await.is_ok() {
            let _ = self.control(around::release(Topics::NONE)).await;
        }
    }

    async fn control(&mut self, text: SqlStr) -> Result<(), EngineError> {
        self.count();
        let done = sqlx::raw_sql(text).execute(&mut *self.connection).await;
        done.map(drop).map_err(|error| self.backend.failure(PostgresError::read(error)))
    }

    async fn read(&mut self, queries: Vec<Query>) -> Result<Vec<Answer>, EngineError> {
        let mut answers = Vec::with_capacity(queries.len());
        for query in queries {
            let (statement, bindings) = self.backend.reader.statement(query)?;
            let arguments = bind::read(&statement.binds, &bindings)?;
            let rows = self.fetch(&statement.sql, arguments).await;
            let rows = rows.map_err(|error| self.backend.failure(error))?;
            answers.push(decode(&statement, &rows)?);
        }
        Ok(answers)
    }

    /// Applies the plan, or leaves the transaction as it was. Behind a savepoint of its own if
    /// others have applied before it: a statement that fails takes all since the last with it.
    async fn apply(&mut self, plan: Plan, is_first: bool) -> Result<(Commit, Topics), EngineError> {
        let (shape, bindings) = plan.into_shape();
        let queue = self.backend.committer.queue(shape)?;
        let statement = &queue.statement;
        let size = statement.size(&bindings)?;
        if size == 0 {
            return Ok((Commit::Applied(Vec::new()), Topics::NONE));
        }
        let plans = [(&bindings, size)];
        statement.check((&bindings, size))?;
        let arguments = statement.arguments(&plans)?;

        if !is_first {
            self.control(around::open()).await?;
        }
        let applied = self.fetch(&statement.sql, arguments).await;
        if applied.is_err() {
            self.control(around::undo()).await?;
        }
        if !is_first {
            self.control(around::release(Topics::NONE)).await?;
        }

        let rows = match applied {
            Ok(rows) => rows,
            Err(error) if error.is_unique_violation() => {
                return Ok((Commit::Refused, Topics::NONE));
            }
            Err(error) => return Err(self.backend.failure(error)),
        };
        let outcome = statement.outcomes(&plans, &rows).into_iter().next();
        let commit = outcome.unwrap_or(Ok(Commit::Refused))?;
        let topics = statement.rings.after(&commit);
        Ok((commit, topics))
    }

    async fn fetch(
        &mut self,
        sql: &SqlStr,
        arguments: PgArguments,
    ) -> Result<Vec<PgRow>, PostgresError> {
        self.count();
        let query = sqlx::query_with(sql.clone(), arguments);
        let is_named = self.backend.protocol == Protocol::Named;
        let rows = query.persistent(is_named).fetch_all(&mut *self.connection).await;
        rows.map_err(PostgresError::read)
    }

    fn count(&self) {
        self.backend.keeper.connections.traffic().sent(1);
    }
}

#[async_trait]
impl CallersTransaction for CallersSession<'_> {
    async fn serve(&mut self, operation: &mut Operation<'_>) -> Result<(), EngineError> {
        if self.backend.optimistic.is_some() {
            return Err(EngineError::Unavailable {
                op: "operations within a transaction of the caller, on an optimistic database",
            });
        }
        self.enter().await?;

        let (mut is_first, mut topics) = (true, Topics::NONE);
        while let Some(request) = operation.next_request().await {
            // An answer that is not sent was given up by the operation.
            match request {
                Request::Read { queries, answer } => {
                    let _ = answer.send(self.read(queries).await);
                }
                Request::Commit { plan, answer } => {
                    let applied = self.apply(plan, is_first).await;
                    let commit = applied.map(|(commit, rung)| {
                        topics = topics.and(rung);
                        is_first &= !matches!(commit, Commit::Applied(_));
                        commit
                    });
                    let _ = answer.send(commit);
                }
            }
        }

        if !operation.has_succeeded() {
            self.undo_all().await;
            return Ok(());
        }
        let wakes = self.backend.options.notifies;
        let new = if wakes { topics.without(self.notified) } else { Topics::NONE };
        if let Err(error) = self.control(around::release(new)).await {
            self.undo_all().await;
            return Err(error);
        }
        self.notified = self.notified.and(new);
        Ok(())
    }
}

/// The refusal of a transaction that does not lead to the backend's tables.
fn elsewhere() -> EngineError {
    EngineError::Validation {
        kind: ValidationKind::InvalidInput,
        detail: "transaction: its database or search_path does not lead to the engine's tables"
            .to_owned(),
    }
}
