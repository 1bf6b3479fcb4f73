//! The transaction of a caller, whichever database it is on.

use std::future::Future;

use ff_core::EngineError;
use ff_core::engine_backend::EngineBackend;
use ff_core::engine_error::ValidationKind;

use crate::Failure;

pub use ff_core::engine::Within;

// Runs the example of the document.
#[cfg(all(doctest, feature = "sqlite"))]
#[doc = include_str!("../docs/transactions.md")]
struct Document;

/// A transaction of the caller, in which operations of the engine run together with the caller's
/// own statements: `sqlx::Transaction` on Postgres or SQLite.
pub trait InTransaction: Send {
    /// The operations of the engine within this transaction.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for an engine on another kind of database. A transaction on
    /// another database of the kind is refused by the first operation, as is one on an optimistic
    /// database. `Unavailable` on MariaDB.
    fn within<'t>(&'t mut self, engine: &dyn EngineBackend) -> Result<Within<'t>, EngineError>;

    /// Commits it, as the method of the same name of `sqlx::Transaction` does.
    ///
    /// # Errors
    /// The failure of the database, as the reason of a failed attempt.
    fn commit(self) -> impl Future<Output = Result<(), Failure>> + Send
    where
        Self: Sized;
}

#[cfg(feature = "postgres")]
impl InTransaction
    for ff_backend_postgres::sqlx::Transaction<'_, ff_backend_postgres::sqlx::Postgres>
{
    fn within<'t>(&'t mut self, engine: &dyn EngineBackend) -> Result<Within<'t>, EngineError> {
        let backend = engine.as_any().downcast_ref::<ff_backend_postgres::PostgresBackend>();
        backend.map(|backend| backend.within(self)).ok_or_else(|| not_on("Postgres"))
    }

    async fn commit(self) -> Result<(), Failure> {
        Ok(Self::commit(self).await?)
    }
}

#[cfg(feature = "sqlite")]
impl InTransaction for ff_backend_sqlite::sqlx::Transaction<'_, ff_backend_sqlite::sqlx::Sqlite> {
    fn within<'t>(&'t mut self, engine: &dyn EngineBackend) -> Result<Within<'t>, EngineError> {
        let backend = engine.as_any().downcast_ref::<ff_backend_sqlite::SqliteBackend>();
        backend.map(|backend| backend.within(self)).ok_or_else(|| not_on("SQLite"))
    }

    async fn commit(self) -> Result<(), Failure> {
        Ok(Self::commit(self).await?)
    }
}

#[cfg(feature = "mariadb")]
impl InTransaction for ff_backend_mariadb::sqlx::Transaction<'_, ff_backend_mariadb::sqlx::MySql> {
    fn within<'t>(&'t mut self, _: &dyn EngineBackend) -> Result<Within<'t>, EngineError> {
        // The engine's statements need settings of the session that would change the meaning of
        // the caller's own.
        Err(EngineError::Unavailable { op: "mariadb: operations in a transaction of the caller" })
    }

    async fn commit(self) -> Result<(), Failure> {
        Ok(Self::commit(self).await?)
    }
}

/// The refusal of an engine on another kind of database than the transaction.
fn not_on(database: &str) -> EngineError {
    EngineError::Validation {
        kind: ValidationKind::InvalidInput,
        detail: format!("transaction: it is on {database}, and the engine is not"),
    }
}
