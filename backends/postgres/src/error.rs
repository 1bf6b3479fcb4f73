//! What went wrong in the database, and what that means for the caller.
//!
//! One table says for every SQLSTATE whether the call may be repeated, whether its outcome is
//! unknown, or whether repeating it is pointless. Neither `Display` nor `Debug` shows a bound value,
//! a stored value or a password: a server puts stored values into its detail field, which is never
//! printed, and into the message of data exceptions (class 22), which is left out.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use ff_codegen::RenderError;
use ff_core::EngineError;
use ff_core::engine_error::ValidationKind;

/// What a failure means for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// Nothing was changed, and the same call may succeed later.
    Retryable,
    /// The connection was lost while a change was on its way: it may or may not be durable.
    OutcomeUnknown,
    /// Nothing was changed, and the same call fails again.
    Permanent,
}

/// SQLSTATE (five characters) or its class (two) to what it means for a statement that was sent.
/// The longest match decides; what is not listed is permanent.
const TABLE: &[(&str, ErrorClass)] = &[
    // Connection exceptions: lost on the way, except where none was made.
    ("08", ErrorClass::OutcomeUnknown),
    ("08001", ErrorClass::Retryable),
    ("08004", ErrorClass::Retryable),
    // A unique violation refuses a plan; outside a plan it is final.
    ("23505", ErrorClass::Permanent),
    // In a read-only transaction: a standby was promoted or demoted.
    ("25006", ErrorClass::Retryable),
    // Serialization failure, deadlock; 40003 is "statement completion unknown".
    ("40001", ErrorClass::Retryable),
    ("40P01", ErrorClass::Retryable),
    ("40003", ErrorClass::OutcomeUnknown),
    // Insufficient resources: disk, memory, connections.
    ("53", ErrorClass::Retryable),
    // Lock not available (`lock_timeout`, NOWAIT).
    ("55P03", ErrorClass::Retryable),
    // Cancelled (`statement_timeout`): rolled back.
    ("57014", ErrorClass::Retryable),
    // Shut down or crashed, perhaps between the commit and its acknowledgement.
    ("57P01", ErrorClass::OutcomeUnknown),
    ("57P02", ErrorClass::OutcomeUnknown),
    // Starting up or shutting down: no connection was made.
    ("57P03", ErrorClass::Retryable),
    // The session idled for too long; noticed at the next statement.
    ("57P05", ErrorClass::OutcomeUnknown),
];

const UNIQUE_VIOLATION: &str = "23505";

/// What the server says of a value that it cannot store, whichever statement brings it: truncated
/// text, a number out of range, characters that its encoding lacks, no text of the wanted kind, and
/// (class 54) whatever is too large or too deeply nested.
const CONTENT: &[&str] = &["22001", "22003", "22021", "22P02", "22P05", "54"];

/// A failure of the database, classified.
#[derive(Clone)]
pub struct PostgresError {
    class: ErrorClass,
    cause: Arc<sqlx::Error>,
}

impl PostgresError {
    /// A failure of a statement that changes rows.
    pub(crate) fn write(cause: sqlx::Error) -> Self {
        Self { class: classify(&cause), cause: Arc::new(cause) }
    }

    /// A failure before anything could change: while connecting, or of a read.
    pub(crate) fn read(cause: sqlx::Error) -> Self {
        let class = match classify(&cause) {
            ErrorClass::OutcomeUnknown | ErrorClass::Retryable => ErrorClass::Retryable,
            ErrorClass::Permanent => ErrorClass::Permanent,
        };
        Self { class, cause: Arc::new(cause) }
    }

    /// What it means for the caller.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        self.class
    }

    /// What the driver said. Its `Debug` may contain stored values.
    #[must_use]
    pub fn cause(&self) -> &sqlx::Error {
        &self.cause
    }

    /// The SQLSTATE, where the server answered at all.
    #[must_use]
    pub fn sqlstate(&self) -> Option<String> {
        sqlstate(&self.cause)
    }

    /// Whether an insert found its row.
    pub(crate) fn is_unique_violation(&self) -> bool {
        self.sqlstate().as_deref() == Some(UNIQUE_VIOLATION)
    }

    /// Whether a value is what the server, or the driver while writing it down, refuses.
    fn refuses_content(&self) -> bool {
        match self.sqlstate() {
            Some(code) => CONTENT.iter().any(|listed| code.starts_with(listed)),
            None => matches!(*self.cause, sqlx::Error::Encode(_)),
        }
    }

    /// Whether the statement lost to another transaction and left nothing behind.
    pub(crate) fn lost_a_race(&self) -> bool {
        matches!(self.sqlstate().as_deref(), Some("40001" | "40P01" | "55P03"))
    }

    /// Whether the connection failed, rather than what was asked on it.
    pub(crate) fn lost_connection(&self) -> bool {
        self.class != ErrorClass::Permanent && !self.refused_by_server()
    }

    /// Whether the server refused the statement as such, on a connection that is still good: parts of
    /// it may succeed on their own.
    pub(crate) fn refused_by_server(&self) -> bool {
        matches!(self.sqlstate(), Some(code) if !ends_connection(&code))
    }

    /// As the engine reports it; `max` is the size of the pool.
    pub(crate) fn into_engine(self, max: u32) -> EngineError {
        if matches!(*self.cause, sqlx::Error::PoolTimedOut) {
            return EngineError::ResourceExhausted { pool: "postgres", max, retry_after_ms: None };
        }
        if matches!(*self.cause, sqlx::Error::PoolClosed) {
            return EngineError::Unavailable { op: "postgres backend is drained" };
        }
        if self.refuses_content() {
            return EngineError::refused_by_database("postgres", self);
        }
        EngineError::Transport { backend: "postgres", source: Box::new(self) }
    }
}

impl fmt::Display for PostgresError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = match self.class {
            ErrorClass::Retryable => "retryable",
            ErrorClass::OutcomeUnknown => "outcome unknown",
            ErrorClass::Permanent => "permanent",
        };
        let Some(error) = self.cause.as_database_error() else {
            return write!(f, "{class}: {}", self.cause);
        };
        let code = error.code().unwrap_or_default();
        write!(f, "{class}: SQLSTATE {code}")?;
        if let Some(constraint) = error.constraint() {
            write!(f, " ({constraint})")?;
        }
        if code.starts_with("22") { Ok(()) } else { write!(f, ": {}", error.message()) }
    }
}

impl fmt::Debug for PostgresError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresError({self})")
    }
}

impl std::error::Error for PostgresError {}

/// The engine's error for a driver error of a statement that may have changed rows. A pool time-out
/// becomes `ResourceExhausted` (with `max` 0: the size is the pool's to know), a value that the server
/// cannot store `Validation(PayloadTooLarge)`, everything else `Transport` around a [`PostgresError`].
#[must_use]
pub fn map_sqlx_error(error: sqlx::Error) -> EngineError {
    PostgresError::write(error).into_engine(0)
}

/// A shape that the generator refuses: a defect of the plan, found before any statement was sent.
pub(crate) fn unrenderable(error: RenderError) -> EngineError {
    EngineError::Transport { backend: "postgres", source: Box::new(error) }
}

/// A value of a type that its column cannot have. Names the place, never the value.
pub(crate) fn corrupt(detail: String) -> EngineError {
    EngineError::Validation { kind: ValidationKind::Corruption, detail }
}

fn classify(error: &sqlx::Error) -> ErrorClass {
    if let Some(code) = sqlstate(error) {
        return class_of(&code);
    }
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => {
            ErrorClass::OutcomeUnknown
        }
        sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut => ErrorClass::Retryable,
        // Not exhaustive: configuration, encoding and decoding errors, all found on this side.
        _ => ErrorClass::Permanent,
    }
}

fn class_of(code: &str) -> ErrorClass {
    let entry = |wanted: &str| TABLE.iter().find(|(prefix, _)| *prefix == wanted);
    let found = entry(code).or_else(|| entry(code.get(..2).unwrap_or_default()));
    found.map_or(ErrorClass::Permanent, |(_, class)| *class)
}

fn sqlstate(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(Cow::into_owned)
}

fn ends_connection(code: &str) -> bool {
    code.starts_with("08") || code.starts_with("57P")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_state_has_its_class() {
        for (code, class) in [
            ("40001", ErrorClass::Retryable),
            ("40P01", ErrorClass::Retryable),
            ("40003", ErrorClass::OutcomeUnknown),
            ("55P03", ErrorClass::Retryable),
            ("53300", ErrorClass::Retryable),
            ("57P01", ErrorClass::OutcomeUnknown),
            ("57P02", ErrorClass::OutcomeUnknown),
            ("57P03", ErrorClass::Retryable),
            ("08006", ErrorClass::OutcomeUnknown),
            ("08001", ErrorClass::Retryable),
            ("23505", ErrorClass::Permanent),
            ("42P01", ErrorClass::Permanent),
            ("", ErrorClass::Permanent),
        ] {
            assert_eq!(class_of(code), class, "{code}");
        }
    }

    #[test]
    fn a_lost_connection_leaves_a_write_unknown_and_a_read_repeatable() {
        let lost = || sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
        assert_eq!(PostgresError::write(lost()).class(), ErrorClass::OutcomeUnknown);
        assert_eq!(PostgresError::read(lost()).class(), ErrorClass::Retryable);
        assert!(!PostgresError::write(lost()).refused_by_server());
    }

    #[test]
    fn a_value_that_cannot_be_written_down_is_refused_for_what_it_is() {
        let encode = || sqlx::Error::Encode("value size 2147483648 is too large".into());
        assert!(PostgresError::write(encode()).into_engine(1).is_refused_for_content());
        let lost = sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
        assert!(!PostgresError::write(lost).into_engine(1).is_refused_for_content());
    }

    #[test]
    fn an_exhausted_pool_is_no_transport_error() {
        let error = PostgresError::read(sqlx::Error::PoolTimedOut).into_engine(7);
        assert!(matches!(error, EngineError::ResourceExhausted { pool: "postgres", max: 7, .. }));
    }
}
