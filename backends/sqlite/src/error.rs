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

/// CONSTRAINT_PRIMARYKEY, CONSTRAINT_UNIQUE and CONSTRAINT_ROWID.
const KEY_EXISTS: [i32; 3] = [1555, 2067, 2579];

/// BUSY and LOCKED: primary result codes, in the low byte of an extended one.
pub(crate) const BUSY: [i32; 2] = [5, 6];

/// A failure of the database, classified.
#[derive(Clone, Debug)]
pub struct SqliteError {
    class: StoreClass,
    /// The extended result code, if SQLite itself failed.
    code: Option<i32>,
    source: Arc<dyn Error + Send + Sync>,
}

/// An error of a driver.
pub(crate) trait DriverError: Error + Send + Sync + 'static {
    /// SQLite's extended result code; `None` for a failure of the driver.
    fn result_code(&self) -> Option<i32>;

    /// The class of a failure of the driver.
    fn own_class(&self) -> StoreClass;
}

impl SqliteError {
    /// The failure of a statement that changes rows.
    pub(crate) fn write(error: impl DriverError) -> Self {
        let code = error.result_code();
        let class = code.map_or_else(|| error.own_class(), class_of);
        Self { class, code, source: Arc::new(error) }
    }

    /// A failure before any change was possible: while opening, or of a read.
    pub(crate) fn read(error: impl DriverError) -> Self {
        let error = Self::write(error);
        let class = match error.class {
            StoreClass::OutcomeUnknown => StoreClass::Permanent,
            known @ (StoreClass::Retryable
            | StoreClass::Permanent
            | StoreClass::Full
            | StoreClass::Corrupt) => known,
        };
        Self { class, ..error }
    }

    /// A failure that a retry does not help.
    pub(crate) fn permanent(error: impl Error + Send + Sync + 'static) -> Self {
        Self { class: StoreClass::Permanent, code: None, source: Arc::new(error) }
    }

    /// The failure of a writer that ended between taking the work and answering.
    pub(crate) fn unanswered() -> Self {
        Self { class: StoreClass::OutcomeUnknown, code: None, source: Arc::new(Unanswered) }
    }

    /// True if a row with that key exists already.
    pub(crate) fn is_unique_violation(&self) -> bool {
        self.code.is_some_and(|code| KEY_EXISTS.contains(&code))
    }

    /// True if another connection held the lock.
    pub(crate) fn is_busy(&self) -> bool {
        self.code.is_some_and(|code| BUSY.contains(&(code & 0xff)))
    }

    /// True if SQLite answered with one of these extended result codes.
    pub(crate) fn has_code(&self, codes: &[i32]) -> bool {
        self.code.is_some_and(|code| codes.contains(&code))
    }

    /// True if the database refuses a value.
    fn refuses_content(&self) -> bool {
        self.code.is_some_and(|code| code & 0xff == TOO_BIG)
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

/// The reason of an unknown outcome: the writer has ended.
#[derive(Debug, thiserror::Error)]
#[error("the writer ended before it answered")]
struct Unanswered;

impl DriverError for rusqlite::Error {
    fn result_code(&self) -> Option<i32> {
        self.sqlite_error().map(|error| error.extended_code)
    }

    fn own_class(&self) -> StoreClass {
        // Wrong types, counts and names, all found on this side.
        StoreClass::Permanent
    }
}

impl DriverError for sqlx::Error {
    fn result_code(&self) -> Option<i32> {
        self.as_database_error()?.code()?.parse().ok()
    }

    fn own_class(&self) -> StoreClass {
        match self {
            sqlx::Error::PoolTimedOut => StoreClass::Retryable,
            sqlx::Error::WorkerCrashed | sqlx::Error::Io(_) => StoreClass::OutcomeUnknown,
            // Not exhaustive: configuration, encoding and decoding errors, all found on this side.
            _ => StoreClass::Permanent,
        }
    }
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
        let too_big = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(TOO_BIG), None);
        assert!(EngineError::from(SqliteError::write(too_big)).is_refused_for_content());
        let unanswered = EngineError::from(SqliteError::unanswered());
        assert!(!unanswered.is_refused_for_content());
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
