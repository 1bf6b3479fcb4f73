//! What went wrong in the database, and what that means for the caller.
//!
//! One table says for every result code of SQLite whether the call may be repeated, whether its
//! outcome is unknown, or what else to make of it.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ff_codegen::opening::Refusal;
use ff_core::EngineError;
use ff_core::engine_error::{StoreClass, StoreError, ValidationKind};
use sqlx::error::DatabaseError;
use tokio::time::Instant;

use crate::migrate::MigrateError;

/// Result code to what it means for a statement that changes rows: the extended code where it is
/// listed, else the primary code in its low byte, else permanent.
const TABLE: &[(i32, StoreClass)] = &[
    // BUSY: another connection or process holds the lock.
    (5, StoreClass::Retryable),
    // LOCKED: another connection to the same shared cache does.
    (6, StoreClass::Retryable),
    // INTERRUPT: rolled back.
    (9, StoreClass::Retryable),
    // IOERR: the write-ahead log may or may not hold the commit.
    (10, StoreClass::OutcomeUnknown),
    // CORRUPT.
    (11, StoreClass::Corrupt),
    // FULL.
    (13, StoreClass::Full),
    // PROTOCOL: the locking of the write-ahead log kept failing.
    (15, StoreClass::Retryable),
    // NOTADB.
    (26, StoreClass::Corrupt),
];

/// TOOBIG: a value, or the row with it, is larger than SQLite stores.
const TOO_BIG: i32 = 18;

/// A failure of the database, classified.
#[derive(Clone, Debug)]
pub struct SqliteError {
    class: StoreClass,
    source: Arc<dyn Error + Send + Sync>,
}

impl SqliteError {
    /// A failure of a statement that changes rows.
    pub(crate) fn write(error: sqlx::Error) -> Self {
        Self { class: classify(&error), source: Arc::new(error) }
    }

    /// A failure before anything could change: while opening, or of a read.
    pub(crate) fn read(error: sqlx::Error) -> Self {
        let class = match classify(&error) {
            StoreClass::OutcomeUnknown => StoreClass::Permanent,
            known @ (StoreClass::Retryable
            | StoreClass::Permanent
            | StoreClass::Full
            | StoreClass::Corrupt) => known,
        };
        Self { class, source: Arc::new(error) }
    }

    /// A failure that repeating does not help.
    pub(crate) fn permanent(error: impl Error + Send + Sync + 'static) -> Self {
        Self { class: StoreClass::Permanent, source: Arc::new(error) }
    }

    /// The writer ended between taking the work and answering.
    pub(crate) fn unanswered() -> Self {
        Self { class: StoreClass::OutcomeUnknown, source: Arc::new(sqlx::Error::WorkerCrashed) }
    }

    /// Whether a row with that key is there already.
    pub(crate) fn is_unique_violation(&self) -> bool {
        self.database().is_some_and(DatabaseError::is_unique_violation)
    }

    /// What SQLite itself said.
    pub(crate) fn database(&self) -> Option<&dyn DatabaseError> {
        self.source.downcast_ref::<sqlx::Error>().and_then(sqlx::Error::as_database_error)
    }

    /// Whether a value is what the database, or the driver while binding it, refuses.
    fn refuses_content(&self) -> bool {
        let Some(source) = self.source.downcast_ref::<sqlx::Error>() else { return false };
        match result_code(source) {
            Some(code) => code & 0xff == TOO_BIG,
            None => matches!(source, sqlx::Error::Encode(_)),
        }
    }

    /// What it means for the caller.
    #[must_use]
    pub fn class(&self) -> StoreClass {
        self.class
    }
}

impl fmt::Display for SqliteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl Error for SqliteError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.source.as_ref())
    }
}

impl From<SqliteError> for EngineError {
    fn from(error: SqliteError) -> Self {
        if error.refuses_content() {
            return EngineError::refused_by_database("sqlite", error);
        }
        StoreError::new(error.class, error).in_backend("sqlite")
    }
}

impl From<OpenError> for SqliteError {
    fn from(error: OpenError) -> Self {
        Self::permanent(error)
    }
}

impl From<MigrateError> for SqliteError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Database(error) => Self::read(error),
            MigrateError::Refused(_) | MigrateError::Adopt(_) | MigrateError::Ledger(_) => {
                Self::permanent(error)
            }
        }
    }
}

/// Why a database could not even be tried.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The location cannot be understood.
    #[error("{location:?} names no database: {reason}")]
    Location {
        /// What was given.
        location: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The directory that should hold the file is missing or unreadable.
    #[error("the directory {} of the database: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file can be neither found nor created.
    #[error("the database file {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// There is no such file, and the opening makes none.
    #[error("there is no file {}; `ff migrate` makes a database there", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The contents do not fit this binary, or the opening.
    #[error("{}: {refusal}", place.display())]
    Refused {
        /// The file.
        place: PathBuf,
        /// What does not fit.
        refusal: Refusal,
    },
    /// The SQLite library is too old for the statements of this crate.
    #[error("SQLite {found} is too old, 3.42 is needed")]
    TooOld {
        /// The library's version.
        found: String,
    },
}

/// Why a statement or its result is of no use.
pub(crate) enum Failure {
    /// The database failed.
    Database(SqliteError),
    /// A value cannot be bound, or is not of its column's type.
    Value(EngineError),
}

impl From<SqliteError> for Failure {
    fn from(error: SqliteError) -> Self {
        Failure::Database(error)
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        Failure::Value(error)
    }
}

impl From<Failure> for EngineError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Database(error) => error.into(),
            Failure::Value(error) => error,
        }
    }
}

/// Tries again what another connection's lock made fail, up to a deadline.
pub(crate) struct Patience {
    until: Instant,
}

impl Patience {
    /// How long between two tries. SQLite itself waits inside most of them.
    const PAUSE: Duration = Duration::from_millis(2);

    pub(crate) fn new(patience: Duration) -> Self {
        Self { until: Instant::now() + patience }
    }

    /// Pauses and says yes if another try may help and there is time for it.
    pub(crate) async fn again(&self, error: &SqliteError) -> bool {
        let worth_it = error.class == StoreClass::Retryable && Instant::now() < self.until;
        if worth_it {
            tokio::time::sleep(Self::PAUSE).await;
        }
        worth_it
    }
}

/// A value of a type that its column cannot have. Names the place, never the value.
pub(crate) fn corrupt(detail: String) -> EngineError {
    EngineError::Validation { kind: ValidationKind::Corruption, detail }
}

/// The backend was drained, or the runtime that its writer ran on is gone.
pub(crate) fn shut_down() -> EngineError {
    EngineError::Unavailable { op: "sqlite: shut down" }
}

fn classify(error: &sqlx::Error) -> StoreClass {
    if let Some(code) = result_code(error) {
        return class_of(code);
    }
    match error {
        sqlx::Error::PoolTimedOut => StoreClass::Retryable,
        sqlx::Error::WorkerCrashed | sqlx::Error::Io(_) => StoreClass::OutcomeUnknown,
        // Not exhaustive: configuration, encoding and decoding errors, all found on this side.
        _ => StoreClass::Permanent,
    }
}

fn result_code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.code()?.parse().ok()
}

fn class_of(code: i32) -> StoreClass {
    let entry = |wanted: i32| TABLE.iter().find(|(listed, _)| *listed == wanted);
    let found = entry(code).or_else(|| entry(code & 0xff));
    found.map_or(StoreClass::Permanent, |(_, class)| *class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_cannot_be_bound_is_refused_for_what_it_is() {
        let encode = sqlx::Error::Encode("blob too large".into());
        assert!(EngineError::from(SqliteError::write(encode)).is_refused_for_content());
        let crashed = SqliteError::write(sqlx::Error::WorkerCrashed);
        assert!(!EngineError::from(crashed).is_refused_for_content());
    }

    #[test]
    fn extended_codes_follow_their_primary_code() {
        for (code, class) in [
            (5, StoreClass::Retryable),
            (517, StoreClass::Retryable),
            (262, StoreClass::Retryable),
            (1034, StoreClass::OutcomeUnknown),
            (13, StoreClass::Full),
            (267, StoreClass::Corrupt),
            (26, StoreClass::Corrupt),
            (1299, StoreClass::Permanent),
            (1, StoreClass::Permanent),
        ] {
            assert_eq!(class_of(code), class, "{code}");
        }
    }
}
