//! Failures of the database, classified by their meaning for the caller.
//!
//! One table says for every result code of SQLite whether a call may be retried, has an unknown
//! outcome, or how else it failed.

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

/// The class of each result code, for a statement that changes rows. The extended code decides if
/// it is listed, else the primary code in its low byte; an unlisted code is permanent.
const TABLE: &[(i32, StoreClass)] = &[
    // BUSY: another connection or process holds the lock.
    (5, StoreClass::Retryable),
    // LOCKED: another connection to the same shared cache holds it.
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

/// TOOBIG: a value, or the row with it, is larger than SQLite can store.
const TOO_BIG: i32 = 18;

/// A failure of the database, classified.
#[derive(Clone, Debug)]
pub struct SqliteError {
    class: StoreClass,
    source: Arc<dyn Error + Send + Sync>,
}

impl SqliteError {
    /// The failure of a statement that changes rows.
    pub(crate) fn write(error: sqlx::Error) -> Self {
        Self { class: classify(&error), source: Arc::new(error) }
    }

    /// A failure before any change was possible: while opening, or of a read.
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

    /// A failure that a retry does not help.
    pub(crate) fn permanent(error: impl Error + Send + Sync + 'static) -> Self {
        Self { class: StoreClass::Permanent, source: Arc::new(error) }
    }

    /// The failure of a writer that ended between taking the work and answering.
    pub(crate) fn unanswered() -> Self {
        Self { class: StoreClass::OutcomeUnknown, source: Arc::new(sqlx::Error::WorkerCrashed) }
    }

    /// True if a row with that key exists already.
    pub(crate) fn is_unique_violation(&self) -> bool {
        self.database().is_some_and(DatabaseError::is_unique_violation)
    }

    /// SQLite's own error.
    pub(crate) fn database(&self) -> Option<&dyn DatabaseError> {
        self.source.downcast_ref::<sqlx::Error>().and_then(sqlx::Error::as_database_error)
    }

    /// True if the database, or the driver while binding, refuses a value.
    fn refuses_content(&self) -> bool {
        let Some(source) = self.source.downcast_ref::<sqlx::Error>() else { return false };
        match result_code(source) {
            Some(code) => code & 0xff == TOO_BIG,
            None => matches!(source, sqlx::Error::Encode(_)),
        }
    }

    /// The meaning of the failure for the caller.
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

/// The reason that a database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The location cannot be parsed.
    #[error("{location:?} names no database: {reason}")]
    Location {
        /// The given location.
        location: String,
        /// The reason.
        reason: String,
    },
    /// The directory that should hold the file is missing or unreadable.
    #[error("the directory {} of the database: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file can be neither found nor created.
    #[error("the database file {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// There is no such file, and the opening creates none.
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
        /// The reason.
        refusal: Refusal,
    },
    /// The SQLite library is too old for the statements of this crate.
    #[error("SQLite {found} is too old, 3.42 is needed")]
    TooOld {
        /// The library's version.
        found: String,
    },
}

/// The reason that a statement has no usable result.
pub(crate) type Failure = ff_backend_script::Failure<SqliteError>;

impl From<SqliteError> for Failure {
    fn from(error: SqliteError) -> Self {
        Failure::Database(error)
    }
}

/// The retries of statements that met another connection's lock, up to a deadline.
pub(crate) struct BusyRetry {
    until: Instant,
}

impl BusyRetry {
    /// The pause between two tries. SQLite itself waits inside most of them.
    const PAUSE: Duration = Duration::from_millis(2);

    pub(crate) fn new(busy_timeout: Duration) -> Self {
        Self { until: Instant::now() + busy_timeout }
    }

    /// Pauses and returns true if a retry may help and the deadline has not passed.
    pub(crate) async fn again(&self, error: &SqliteError) -> bool {
        let worth_it = error.class == StoreClass::Retryable && Instant::now() < self.until;
        if worth_it {
            tokio::time::sleep(Self::PAUSE).await;
        }

        worth_it
    }
}

/// The error for a value of a type that its column cannot have. `detail` names the place, never the
/// value.
pub(crate) fn corrupt(detail: String) -> EngineError {
    EngineError::Validation { kind: ValidationKind::Corruption, detail }
}

/// The error of a backend that was drained, or after its writer's runtime has ended.
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
