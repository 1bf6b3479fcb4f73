//! Lives on SQLite in raw prepared statements, on one connection in the caller's thread, one
//! transaction for each step, every commit flushed.
//!
//! SQL over the schema's tables is otherwise generated; see [`super`] for the reason to write it by
//! hand here. Columns are named, so a column with a default may be added without a change here.

mod dispatch;
mod flow;
mod lease;
mod life;
mod wait;

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::error::BenchError;

/// The settings of the engine's writer.
const SETTINGS: [(&str, &str); 6] = [
    ("journal_mode", "WAL"),
    ("synchronous", "FULL"),
    ("journal_size_limit", "67108864"),
    ("wal_autocheckpoint", "8000"),
    ("cache_size", "-65536"),
    ("temp_store", "MEMORY"),
];

/// More than there are statements.
const PREPARED: usize = 64;

/// The connection, which keeps the statements that it has prepared.
#[derive(Debug)]
pub struct SqliteByHand {
    connection: Connection,
}

impl SqliteByHand {
    /// Opens the file.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn open(file: &Path) -> Result<Self, BenchError> {
        let connection = Connection::open(file)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.set_prepared_statement_cache_capacity(PREPARED);
        for (name, value) in SETTINGS {
            connection.pragma_update(None, name, value)?;
        }
        // Otherwise a claim is planned anew whenever it is bound again, as in the engine.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        Ok(Self { connection })
    }

    /// Runs a step in a transaction of its own.
    fn step<T>(
        &mut self,
        step: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, BenchError> {
        let begun = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let outcome = step(&begun)?;
        begun.commit()?;
        Ok(outcome)
    }
}
