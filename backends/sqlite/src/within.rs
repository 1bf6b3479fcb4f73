//! Operations within a transaction of the caller.
//!
//! A plan is a script, as always, but runs on the caller's connection. The driver's own savepoint
//! encloses the operation: if the caller drops it midway, the driver undoes what it has done, and
//! where it is dropped as it begins, perhaps more. A caller rolls back then.

use std::path::Path;

use async_trait::async_trait;
use ff_backend_script::{Failure as Stopped, apply_behind_savepoint};
use ff_core::EngineError;
use ff_core::engine::{
    CallersTransaction, Commit, Executor as _, Operation, Request, Within, transaction_conflict,
};
use ff_core::engine_error::ValidationKind;
use ff_core::plan::facts::Answer;
use ff_core::plan::{Plan, Query};
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection as _, Sqlite, Transaction};

use crate::backend::SqliteBackend;
use crate::callers::CallersConnection;
use crate::error::{Failure, SqliteError};

/// The file of the connection; empty for a memory database.
const FILE: &str = "SELECT file FROM pragma_database_list WHERE name = 'main'";

impl SqliteBackend {
    /// The operations within a transaction of the caller, on a connection to the backend's file.
    /// Begin it with `BEGIN IMMEDIATE`: one that has read before it first writes fails with
    /// `Contention(TransactionConflict)` where another connection has written meanwhile.
    ///
    /// The file has one writer at a time. While the transaction is open, all other writes wait,
    /// those of this backend too.
    #[must_use]
    pub fn within<'t>(&self, transaction: &'t mut Transaction<'_, Sqlite>) -> Within<'t> {
        let session = CallersSession {
            connection: &mut *transaction,
            backend: self.clone(),
            is_placed: false,
        };
        Within::new(session, self.share())
    }
}

/// The session of a transaction of the caller.
struct CallersSession<'t> {
    connection: &'t mut SqliteConnection,
    backend: SqliteBackend,
    /// True once it is known to be on the backend's file.
    is_placed: bool,
}

impl CallersSession<'_> {
    /// Refuses a connection to another file.
    async fn check_place(&mut self) -> Result<(), EngineError> {
        let Some(own) = self.backend.connections.file() else {
            return Err(EngineError::Unavailable { op: "a transaction on a database in memory" });
        };

        let file = sqlx::query_scalar(FILE).fetch_one(&mut *self.connection).await;
        let file: String = file.map_err(|error| failure(SqliteError::read(error)))?;
        let is_own = match (own.canonicalize(), Path::new(&file).canonicalize()) {
            (Ok(own), Ok(file)) => own == file,
            (Err(_), _) | (_, Err(_)) => false,
        };
        if !is_own {
            return Err(elsewhere());
        }
        self.is_placed = true;
        Ok(())
    }
}

#[async_trait]
impl CallersTransaction for CallersSession<'_> {
    async fn serve(&mut self, operation: &mut Operation<'_>) -> Result<(), EngineError> {
        self.backend.present()?;
        if !self.is_placed {
            self.check_place().await?;
        }

        let savepoint = self.connection.begin().await;
        let mut savepoint = savepoint.map_err(|error| failure(SqliteError::read(error)))?;
        let mut session = CallersConnection { connection: &mut savepoint, statements: 2 };
        while let Some(request) = operation.next_request().await {
            // An answer that is not sent was given up by the operation.
            match request {
                Request::Read { queries, answer } => {
                    let _ = answer.send(read(&self.backend, &mut session, queries).await);
                }
                Request::Commit { plan, answer } => {
                    let _ = answer.send(apply(&self.backend, &mut session, plan).await);
                }
            }
        }

        self.backend.connections.traffic.sent(session.statements);
        if operation.has_succeeded() {
            let kept = savepoint.commit().await;
            kept.map_err(|error| failure(SqliteError::read(error)))
        } else {
            // SQLite has rolled the transaction back by itself if this fails, and the caller's
            // commit fails, too.
            let undone = savepoint.rollback().await;
            undone.map_err(|error| failure(SqliteError::read(error)))
        }
    }
}

async fn read(
    backend: &SqliteBackend,
    session: &mut CallersConnection<'_>,
    queries: Vec<Query>,
) -> Result<Vec<Answer>, EngineError> {
    let bound = backend.statements.queries(queries).map_err(SqliteError::permanent)?;
    session.answer_all(&bound).await.map_err(stopped)
}

async fn apply(
    backend: &SqliteBackend,
    session: &mut CallersConnection<'_>,
    plan: Plan,
) -> Result<Commit, EngineError> {
    let (plan, bindings) = backend.statements.plan(plan).map_err(SqliteError::permanent)?;
    let applied = apply_behind_savepoint(session, (&plan.script, &bindings)).await;
    applied.map_err(failure)?.map_err(stopped)
}

fn stopped(reason: Failure) -> EngineError {
    match reason {
        Stopped::Database(error) => failure(error),
        Stopped::Value(error) => error,
    }
}

/// The engine's error for a failure in the caller's transaction.
fn failure(error: SqliteError) -> EngineError {
    if error.is_busy() { transaction_conflict() } else { error.into() }
}

/// The refusal of a transaction on another database.
fn elsewhere() -> EngineError {
    EngineError::Validation {
        kind: ValidationKind::InvalidInput,
        detail: "transaction: it is not on the engine's file".to_owned(),
    }
}
