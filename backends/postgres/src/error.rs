//! Failures of the database, classified by their meaning for the caller.
//!
//! One table says for every SQLSTATE whether a call may be retried, has an unknown outcome, or
//! fails for good. Neither `Display` nor `Debug` shows a bound value, a stored value or a password.
//! A server puts stored values into its detail field, which is never printed, and into the message
//! of data exceptions (class 22), which is left out.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use ff_codegen::RenderError;
use ff_core::EngineError;
use ff_core::engine_error::{StoreClass, StoreError, ValidationKind};
use sqlx::postgres::{PgDatabaseError, PgSeverity};

/// The class of each SQLSTATE (five characters) or of its class (two), for a statement that was
/// sent. The longest match decides; an unlisted code is permanent.
const TABLE: &[(&str, StoreClass)] = &[
    // Connection exceptions: lost during a statement, except where no connection was made.
    ("08", StoreClass::OutcomeUnknown),
    ("08001", StoreClass::Retryable),
    ("08004", StoreClass::Retryable),
    // A unique violation refuses a plan; outside a plan it is final.
    ("23505", StoreClass::Permanent),
    // In a read-only transaction: a standby was promoted or demoted. Refused before it ran.
    ("25006", StoreClass::Retryable),
    // The transaction idled for too long and was rolled back.
    ("25P03", StoreClass::Retryable),
    // The transaction took too long; perhaps it was being committed.
    ("25P04", StoreClass::OutcomeUnknown),
    // Serialization failure, deadlock; 40003 is "statement completion unknown".
    ("40001", StoreClass::Retryable),
    ("40P01", StoreClass::Retryable),
    ("40003", StoreClass::OutcomeUnknown),
    // Insufficient resources: memory, connections; of the disk.
    ("53", StoreClass::Retryable),
    ("53100", StoreClass::Full),
    // Lock not available (`lock_timeout`, NOWAIT).
    ("55P03", StoreClass::Retryable),
    // Cancelled (`statement_timeout`): rolled back.
    ("57014", StoreClass::Retryable),
    // Shut down or crashed, perhaps between the commit and its acknowledgement.
    ("57P01", StoreClass::OutcomeUnknown),
    ("57P02", StoreClass::OutcomeUnknown),
    // Starting up or shutting down: no connection was made.
    ("57P03", StoreClass::Retryable),
    // The session idled for too long, so nothing was running; noticed at the next statement.
    ("57P05", StoreClass::Retryable),
    // Damaged data, damaged index.
    ("XX001", StoreClass::Corrupt),
    ("XX002", StoreClass::Corrupt),
];

/// SQLSTATEs, or their prefixes, after which a session is useless: a broken or closed connection, a
/// server that turned read-only, a transaction left open, missing prepared statements.
const ENDS_SESSION: &[&str] = &["08", "57P", "25006", "25P", "26000", "42P05"];

const UNIQUE_VIOLATION: &str = "23505";

/// SQLSTATEs of a value that the server cannot store, whichever statement sends it: truncated text,
/// a number out of range, characters that the encoding lacks, malformed text, and (class 54) a
/// value that is too large or too deeply nested.
const CONTENT: &[&str] = &["22001", "22003", "22021", "22P02", "22P05", "54"];

/// A failure of the database, classified.
#[derive(Clone)]
pub struct PostgresError {
    class: StoreClass,
    cause: Arc<sqlx::Error>,
}

impl PostgresError {
    /// The failure of a statement that changes rows.
    pub(crate) fn write(cause: sqlx::Error) -> Self {
        Self { class: classify(&cause), cause: Arc::new(cause) }
    }

    /// A failure before any change was possible: while connecting, or of a read.
    pub(crate) fn read(cause: sqlx::Error) -> Self {
        let class = match classify(&cause) {
            StoreClass::OutcomeUnknown => StoreClass::Retryable,
            known @ (StoreClass::Retryable
            | StoreClass::Permanent
            | StoreClass::Full
            | StoreClass::Corrupt) => known,
        };
        Self { class, cause: Arc::new(cause) }
    }

    /// The meaning of the failure for the caller.
    #[must_use]
    pub fn class(&self) -> StoreClass {
        self.class
    }

    /// The driver's error. Its `Debug` may contain stored values.
    #[must_use]
    pub fn cause(&self) -> &sqlx::Error {
        &self.cause
    }

    /// The SQLSTATE, if the server answered at all.
    #[must_use]
    pub fn sqlstate(&self) -> Option<String> {
        sqlstate(&self.cause)
    }

    /// True if an insert found its row.
    pub(crate) fn is_unique_violation(&self) -> bool {
        self.sqlstate().as_deref() == Some(UNIQUE_VIOLATION)
    }

    /// True if the server, or the driver while encoding, refuses a value.
    fn refuses_content(&self) -> bool {
        match self.sqlstate() {
            Some(code) => CONTENT.iter().any(|listed| code.starts_with(listed)),
            None => matches!(*self.cause, sqlx::Error::Encode(_)),
        }
    }

    /// True if the statement lost a conflict with another transaction and changed nothing.
    pub(crate) fn lost_a_race(&self) -> bool {
        matches!(self.sqlstate().as_deref(), Some("40001" | "40P01"))
    }

    /// True if another transaction held a row or table for longer than the statement may wait.
    pub(crate) fn waited_for_a_lock(&self) -> bool {
        self.sqlstate().as_deref() == Some("55P03")
    }

    /// True if the connection failed before any change was possible.
    pub(crate) fn lost_connection_unchanged(&self) -> bool {
        self.lost_connection() && self.class == StoreClass::Retryable
    }

    /// True if the connection failed, rather than the statement.
    pub(crate) fn lost_connection(&self) -> bool {
        self.class.may_pass() && self.ends_session() && !self.refuses_another()
    }

    /// True if the server refused the statement in a session that is still good, so that parts of
    /// it may succeed on their own.
    pub(crate) fn refused_by_server(&self) -> bool {
        self.cause.as_database_error().is_some() && !self.ends_session()
    }

    /// True if the error concerns the session, which has ended or is unusable.
    pub(crate) fn ends_session(&self) -> bool {
        match &*self.cause {
            sqlx::Error::Database(error) => {
                let code = error.code().unwrap_or_default();
                let server = error.try_downcast_ref::<PgDatabaseError>();
                let fatal = |error: &PgDatabaseError| {
                    matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic)
                };
                ENDS_SESSION.iter().any(|prefix| code.starts_with(prefix))
                    || server.is_some_and(fatal)
            }
            // An answer that arrived in full but cannot be read does not concern the session.
            sqlx::Error::RowNotFound | sqlx::Error::Decode(_) => false,
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) => false,
            // There was no session.
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => false,
            // The driver's enum is not exhaustive; an unknown error is taken to end the session.
            _ => true,
        }
    }

    /// True if the session had ended, or turned read-only, before the statement could run, so that
    /// it may be sent again.
    pub(crate) fn never_ran(&self) -> bool {
        matches!(self.sqlstate().as_deref(), Some("25006" | "25P03" | "57P05"))
    }

    /// True if the server grants no more connections.
    pub(crate) fn refuses_another(&self) -> bool {
        self.sqlstate().as_deref() == Some("53300")
    }

    /// The engine's error; `max` is the size of the pool.
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

        StoreError::new(self.class, self).in_backend("postgres")
    }
}

impl fmt::Display for PostgresError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(error) = self.cause.as_database_error() else {
            write!(f, "{}", self.cause)?;
            let advice = certificate_of(&self.cause).and_then(certificate_advice);
            return advice.map_or(Ok(()), |advice| write!(f, "; {advice}"));
        };

        let code = error.code().unwrap_or_default();
        write!(f, "SQLSTATE {code}")?;
        if let Some(constraint) = error.constraint() {
            write!(f, " ({constraint})")?;
        }
        if !code.starts_with("22") {
            write!(f, ": {}", error.message())?;
        }
        advice(&code, error.message()).map_or(Ok(()), |advice| write!(f, "; {advice}"))
    }
}

impl fmt::Debug for PostgresError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresError({self})")
    }
}

impl std::error::Error for PostgresError {}

/// The engine's error for a driver error of a statement that may have changed rows. A pool time-out
/// becomes `ResourceExhausted` (with `max` 0, since the pool's size is unknown here), and a value
/// that the server cannot store `Validation(PayloadTooLarge)`. Everything else becomes `Transport`
/// around a [`PostgresError`].
#[must_use]
pub fn map_sqlx_error(error: sqlx::Error) -> EngineError {
    PostgresError::write(error).into_engine(0)
}

/// The error for a shape that the generator refuses: a defect of the plan, found before it was
/// sent.
pub(crate) fn unrenderable(error: RenderError) -> EngineError {
    StoreError::new(StoreClass::Permanent, error).in_backend("postgres")
}

/// The error for a value of a type that its column cannot have. `detail` names the place, never the
/// value.
pub(crate) fn corrupt(detail: String) -> EngineError {
    EngineError::Validation { kind: ValidationKind::Corruption, detail }
}

fn classify(error: &sqlx::Error) -> StoreClass {
    if let Some(code) = sqlstate(error) {
        return class_of(&code);
    }

    // One side refuses the certificate of the other, and will refuse it again.
    if certificate_of(error).is_some() {
        return StoreClass::Permanent;
    }
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => {
            StoreClass::OutcomeUnknown
        }
        sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut => StoreClass::Retryable,
        // Not exhaustive: configuration, encoding and decoding errors, all found on this side.
        _ => StoreClass::Permanent,
    }
}

/// What the TLS library says of a certificate, where the error is about one.
fn certificate_of(error: &sqlx::Error) -> Option<String> {
    // The driver hands on the text of its TLS library, not its type.
    let text = match error {
        sqlx::Error::Io(error) => error.to_string(),
        sqlx::Error::Tls(error) => error.to_string(),
        _ => return None,
    };
    text.to_ascii_lowercase().contains("certificate").then_some(text)
}

/// What TLS libraries call it, and what an operator can do about it.
const CERTIFICATES: &[(&str, &str)] = &[
    (
        "UnknownIssuer",
        "no authority that this process knows has signed the server's certificate: name the file of \
         the one that has with sslrootcert in the URL",
    ),
    (
        "BadSignature",
        "another authority of the same name has signed the server's certificate: name the file of \
         the one that has with sslrootcert in the URL",
    ),
    (
        "CaUsedAsEndEntity",
        "the server's certificate is marked as an authority (CA:TRUE), and no authority is accepted \
         as a server: make it with basicConstraints=CA:FALSE, or sign another one with it",
    ),
    (
        "NotValidForName",
        "the certificate holds other names than the host of the URL: connect by one of those",
    ),
    (
        "not valid for name",
        "the certificate holds other names than the host of the URL: connect by one of those",
    ),
    ("Expired", "its time is over: renew it, or set this machine's clock"),
    ("NotValidYet", "its time is still to come: set this machine's clock"),
    (
        "CertificateRequired",
        "the server wants a certificate of this process: name its files with sslcert and sslkey in \
         the URL",
    ),
];

fn certificate_advice(text: String) -> Option<&'static str> {
    let known = CERTIFICATES.iter().find(|(word, _)| text.contains(word));
    known.map(|(_, advice)| *advice)
}

fn class_of(code: &str) -> StoreClass {
    let entry = |wanted: &str| TABLE.iter().find(|(prefix, _)| *prefix == wanted);
    let found = entry(code).or_else(|| entry(code.get(..2).unwrap_or_default()));
    found.map_or(StoreClass::Permanent, |(_, class)| *class)
}

fn sqlstate(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(Cow::into_owned)
}

/// Advice for an operator, for errors that have a known cause.
fn advice(code: &str, message: &str) -> Option<&'static str> {
    match code {
        "26000" | "42P05" => Some(
            "a pooler switches between servers that know other prepared statements: let it track them \
             (PgBouncer 1.21 and later, max_prepared_statements), or use unnamed statements",
        ),
        "08P01" if message.contains("startup parameter") => Some(
            "a pooler refuses what is asked for at start-up: leave out the session settings and the \
             schema, and give them to the role (ALTER ROLE .. SET ..)",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_state_has_its_class() {
        for (code, class) in [
            ("40001", StoreClass::Retryable),
            ("40P01", StoreClass::Retryable),
            ("40003", StoreClass::OutcomeUnknown),
            ("55P03", StoreClass::Retryable),
            ("53300", StoreClass::Retryable),
            ("53100", StoreClass::Full),
            ("XX001", StoreClass::Corrupt),
            ("57P01", StoreClass::OutcomeUnknown),
            ("57P02", StoreClass::OutcomeUnknown),
            ("57P03", StoreClass::Retryable),
            ("57P05", StoreClass::Retryable),
            ("25006", StoreClass::Retryable),
            ("25P03", StoreClass::Retryable),
            ("25P04", StoreClass::OutcomeUnknown),
            ("08006", StoreClass::OutcomeUnknown),
            ("08001", StoreClass::Retryable),
            ("23505", StoreClass::Permanent),
            ("42P01", StoreClass::Permanent),
            ("", StoreClass::Permanent),
        ] {
            assert_eq!(class_of(code), class, "{code}");
        }
    }

    #[test]
    fn a_lost_connection_leaves_a_write_unknown_and_a_read_repeatable() {
        let lost = || sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
        assert_eq!(PostgresError::write(lost()).class(), StoreClass::OutcomeUnknown);
        assert_eq!(PostgresError::read(lost()).class(), StoreClass::Retryable);
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
    fn a_certificate_that_is_refused_is_refused_again() {
        let refused = |text: &str| {
            let error = std::io::Error::new(std::io::ErrorKind::InvalidData, text.to_owned());
            PostgresError::read(sqlx::Error::Io(error)).class()
        };
        let unknown = "invalid peer certificate: UnknownIssuer";
        let own_root = "invalid peer certificate: CaUsedAsEndEntity";
        let alert = "received fatal alert: CertificateRequired";
        for text in [unknown, own_root, alert] {
            assert_eq!(refused(text), StoreClass::Permanent, "{text}");
        }
        assert_eq!(refused("received corrupt message"), StoreClass::Retryable);
        let tls = sqlx::Error::Tls("the certificate has expired".into());
        assert_eq!(PostgresError::read(tls).class(), StoreClass::Permanent);
    }

    #[test]
    fn an_error_behind_a_pooler_names_the_remedy() {
        for (code, message, wanted) in [
            ("26000", "prepared statement \"sqlx_s_1\" does not exist", "unnamed statements"),
            ("42P05", "prepared statement \"sqlx_s_1\" already exists", "unnamed statements"),
            ("08P01", "unsupported startup parameter: options", "session settings"),
        ] {
            assert!(advice(code, message).unwrap().contains(wanted), "{code}");
        }
        assert_eq!(advice("08P01", "invalid message"), None);
        assert_eq!(advice("23505", "duplicate key"), None);
    }

    #[test]
    fn an_exhausted_pool_is_no_transport_error() {
        let error = PostgresError::read(sqlx::Error::PoolTimedOut).into_engine(7);
        assert!(matches!(error, EngineError::ResourceExhausted { pool: "postgres", max: 7, .. }));
    }
}
