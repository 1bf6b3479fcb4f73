//! Retries of statements that met a lock. The engine retries by itself; this is for a caller's own
//! statements.

use std::error::Error;
use std::time::Duration;

use ff_core::EngineError;

use crate::error::{BUSY, SqliteError};

/// The number of tries of [`retry_serializable`].
pub const MAX_ATTEMPTS: u32 = 3;

/// The pause after the first try; doubled after each.
const FIRST_PAUSE: Duration = Duration::from_millis(5);

/// True if another connection held the lock, so that a retry may succeed.
#[must_use]
pub fn is_retryable_sqlite_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    let code = code.and_then(|code| code.parse::<i32>().ok());
    code.is_some_and(|code| BUSY.contains(&(code & 0xff)))
}

/// An error that may stand for a lock that another connection held.
pub trait IsRetryableBusy {
    /// True if another connection held the lock.
    fn is_retryable_busy(&self) -> bool;
}

impl IsRetryableBusy for sqlx::Error {
    fn is_retryable_busy(&self) -> bool {
        is_retryable_sqlite_busy(self)
    }
}

impl IsRetryableBusy for EngineError {
    fn is_retryable_busy(&self) -> bool {
        let EngineError::Transport { backend: "sqlite", source } = self else { return false };
        let mut cause: Option<&(dyn Error + 'static)> = Some(source.as_ref());
        while let Some(error) = cause {
            if error.downcast_ref::<SqliteError>().is_some_and(SqliteError::is_busy) {
                return true;
            }
            cause = error.source();
        }
        false
    }
}

/// Calls `work` until it succeeds, fails for another reason than a lock, or has been called
/// [`MAX_ATTEMPTS`] times; pauses for 5 and 10 ms in between.
///
/// # Errors
/// The last error of `work`.
pub async fn retry_serializable<F, Fut, T, E>(mut work: F) -> Result<T, E>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
    E: IsRetryableBusy,
{
    let mut pause = FIRST_PAUSE;
    for _ in 1..MAX_ATTEMPTS {
        match work().await {
            Err(error) if error.is_retryable_busy() => tokio::time::sleep(pause).await,
            done => return done,
        }
        pause *= 2;
    }
    work().await
}
