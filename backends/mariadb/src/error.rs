//! Failures of the database, classified by their meaning for the caller.
//!
//! One table says for every error number whether a call may be retried, has an unknown outcome, or
//! how else it failed. No message shows a bound value: those of refused values are left out.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use ff_core::EngineError;
use ff_core::engine_error::{StoreClass, StoreError, ValidationKind};
use sqlx::mysql::MySqlDatabaseError;

use crate::migrate::MigrateError;

/// The class of each error number, for a statement that changes rows; an unlisted one is permanent.
const TABLE: &[(u16, StoreClass)] = &[
    // Disk full; record file full; the tablespace is full.
    (1021, StoreClass::Full),
    (1114, StoreClass::Full),
    (1020, StoreClass::Retryable),
    // No more memory, connections, prepared statements; the server shuts down.
    (1037, StoreClass::Retryable),
    (1040, StoreClass::Retryable),
    (1203, StoreClass::Retryable),
    (1461, StoreClass::Retryable),
    (1053, StoreClass::OutcomeUnknown),
    // Crashed tables and indexes.
    (1034, StoreClass::Corrupt),
    (1712, StoreClass::Corrupt),
    // Another transaction held the row for too long; the transaction goes on.
    (1205, StoreClass::Retryable),
    // Deadlock, or a conflict that a cluster noticed at the commit: rolled back.
    (1213, StoreClass::Retryable),
    // The savepoint is gone: the node has aborted the transaction.
    (1305, StoreClass::Retryable),
    // A node that is cut off from its cluster, or has not joined yet; perhaps since the commit was
    // sent. The second is said of a commit that the node could not replicate, as far as it knows.
    (1047, StoreClass::OutcomeUnknown),
    (1180, StoreClass::OutcomeUnknown),
    // The server is read-only: a replica, or one that was demoted.
    (1290, StoreClass::Retryable),
    (1836, StoreClass::Retryable),
    // Killed: the connection, the statement.
    (1927, StoreClass::OutcomeUnknown),
    (1317, StoreClass::Retryable),
    // The server has gone away, perhaps during the statement.
    (2006, StoreClass::OutcomeUnknown),
    (2013, StoreClass::OutcomeUnknown),
];

/// The number of a transaction that a node has aborted for one of another node.
const ABORTED: u16 = 1213;

/// The number of a text that cannot be parsed, such as that of a trigger.
const UNPARSED: u16 = 1064;
/// The part of its message that says so of a trigger.
const IN_TRIGGER: &str = " has an error in its body";

/// Error numbers of a key that exists already.
const KEY_EXISTS: [u16; 4] = [1022, 1062, 1169, 1586];

/// Error numbers of a value that the server cannot store: a packet or row that is too large, a
/// number out of range, letters that are none, a text that is cut off.
const CONTENT: [u16; 9] = [1118, 1153, 1264, 1265, 1292, 1366, 1406, 1690, 3854];

/// A failure of the database, classified.
#[derive(Clone)]
pub struct MariaDbError {
    class: StoreClass,
    number: Option<u16>,
    source: Arc<dyn Error + Send + Sync>,
}

impl MariaDbError {
    /// The failure of a statement that makes changes durable.
    pub(crate) fn write(error: sqlx::Error) -> Self {
        let number = number(&error);
        let class = number.map_or_else(|| own_class(&error), class_of);
        Self { class, number, source: Arc::new(error) }
    }

    /// A failure before any change was durable: while connecting, of a read, or in a transaction.
    pub(crate) fn read(error: sqlx::Error) -> Self {
        let error = Self::write(error);
        let class = match error.class {
            StoreClass::OutcomeUnknown => StoreClass::Retryable,
            known @ (StoreClass::Retryable
            | StoreClass::Permanent
            | StoreClass::Full
            | StoreClass::Corrupt) => known,
        };
        Self { class, ..error }
    }

    /// The failure of a transaction that the server has rolled back without saying so.
    pub(crate) fn aborted() -> Self {
        let source = std::io::Error::other("the node has aborted the transaction");
        let (class, number) = (StoreClass::Retryable, Some(ABORTED));
        Self { class, number, source: Arc::new(source) }
    }

    /// True if a trigger cannot be parsed. On a node, the trigger is sound: the transaction was
    /// aborted while the node parsed it.
    pub(crate) fn is_broken_trigger(&self) -> bool {
        self.number == Some(UNPARSED) && self.source.to_string().contains(IN_TRIGGER)
    }

    /// The same failure, where the same may succeed a moment later.
    pub(crate) fn passing(self) -> Self {
        Self { class: StoreClass::Retryable, ..self }
    }

    /// A failure that a retry does not help.
    pub(crate) fn permanent(error: impl Error + Send + Sync + 'static) -> Self {
        Self { class: StoreClass::Permanent, number: None, source: Arc::new(error) }
    }

    /// The meaning of the failure for the caller.
    #[must_use]
    pub fn class(&self) -> StoreClass {
        self.class
    }

    /// True if a row with that key exists already.
    pub(crate) fn is_unique_violation(&self) -> bool {
        self.number.is_some_and(|number| KEY_EXISTS.contains(&number))
    }

    /// True if the same may succeed on another connection or a moment later.
    pub(crate) fn may_pass(&self) -> bool {
        self.class == StoreClass::Retryable
    }

    /// True if another transaction was faster, so that this one was rolled back.
    pub(crate) fn lost_a_race(&self) -> bool {
        matches!(self.number, Some(1020 | ABORTED))
    }

    /// True if the transaction of the failed statement was rolled back, or may have been. A lock
    /// that took too long, and a statement that was killed, leave it open.
    pub(crate) fn breaks_transaction(&self) -> bool {
        self.may_pass() && !matches!(self.number, Some(1205 | 1317))
    }

    fn refuses_content(&self) -> bool {
        match self.number {
            Some(number) => CONTENT.contains(&number),
            None => matches!(self.source.downcast_ref(), Some(sqlx::Error::Encode(_))),
        }
    }
}

impl fmt::Display for MariaDbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            // Their messages may show values.
            Some(number) if self.refuses_content() || self.is_unique_violation() => {
                write!(f, "MariaDB error {number}")
            }
            Some(number) => write!(f, "MariaDB error {number}: {}", self.source),
            None => self.source.fmt(f),
        }
    }
}

impl fmt::Debug for MariaDbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MariaDbError({self})")
    }
}

impl Error for MariaDbError {}

impl From<MariaDbError> for EngineError {
    fn from(error: MariaDbError) -> Self {
        if error.refuses_content() {
            return EngineError::refused_by_database("mariadb", error);
        }
        StoreError::new(error.class, error).in_backend("mariadb")
    }
}

impl From<MigrateError> for MariaDbError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Database(error) => Self::read(error),
            MigrateError::Ledger(_)
            | MigrateError::Refused(_)
            | MigrateError::TooOld(_)
            | MigrateError::Busy => Self::permanent(error),
        }
    }
}

/// The reason that a statement has no usable result.
pub(crate) type Failure = ff_backend_script::Failure<MariaDbError>;

impl From<MariaDbError> for Failure {
    fn from(error: MariaDbError) -> Self {
        Failure::Database(error)
    }
}

/// The error for a value of a type that its column cannot have. `detail` names the place, never the
/// value.
pub(crate) fn corrupt(detail: String) -> EngineError {
    EngineError::Validation { kind: ValidationKind::Corruption, detail }
}

/// The error of a backend that was drained.
pub(crate) fn shut_down() -> EngineError {
    EngineError::Unavailable { op: "mariadb: shut down" }
}

/// The error of a writer that ended between taking the work and answering.
pub(crate) fn unanswered() -> EngineError {
    MariaDbError::write(sqlx::Error::WorkerCrashed).into()
}

fn number(error: &sqlx::Error) -> Option<u16> {
    let database = error.as_database_error()?;
    database.try_downcast_ref::<MySqlDatabaseError>().map(MySqlDatabaseError::number)
}

fn own_class(error: &sqlx::Error) -> StoreClass {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => {
            StoreClass::OutcomeUnknown
        }
        sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut => StoreClass::Retryable,
        // Not exhaustive: configuration, encoding and decoding errors, all found on this side.
        _ => StoreClass::Permanent,
    }
}

fn class_of(number: u16) -> StoreClass {
    let found = TABLE.iter().find(|(listed, _)| *listed == number);
    found.map_or(StoreClass::Permanent, |(_, class)| *class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_number_has_its_class() {
        for (number, class) in [
            (1205, StoreClass::Retryable),
            (1213, StoreClass::Retryable),
            (1020, StoreClass::Retryable),
            (1305, StoreClass::Retryable),
            (1047, StoreClass::OutcomeUnknown),
            (1180, StoreClass::OutcomeUnknown),
            (2006, StoreClass::OutcomeUnknown),
            (2013, StoreClass::OutcomeUnknown),
            (1021, StoreClass::Full),
            (1062, StoreClass::Permanent),
            (1064, StoreClass::Permanent),
        ] {
            assert_eq!(class_of(number), class, "{number}");
        }
    }

    #[test]
    fn a_lost_connection_leaves_a_commit_unknown_and_all_else_repeatable() {
        let lost = || sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
        assert_eq!(MariaDbError::write(lost()).class(), StoreClass::OutcomeUnknown);
        assert_eq!(MariaDbError::read(lost()).class(), StoreClass::Retryable);
    }
}
