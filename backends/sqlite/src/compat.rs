//! The public names that callers of the reference's SQLite backend know, as thin wrappers.
//!
//! Nothing is decided here. New code uses [`SqliteBackend::open`] and the facade's supervisor.

pub mod pubsub;
pub mod retry;
pub(crate) mod scanner_supervisor;

use std::sync::Arc;

use ff_core::BackendError;

use crate::backend::SqliteBackend;
use crate::connect::SqliteOptions;

impl SqliteBackend {
    /// Opens the database at `location` with the default options; see [`SqliteOptions::new`].
    ///
    /// # Errors
    /// As [`Self::open`], in the error type that all backends share.
    pub async fn new(location: &str) -> Result<Arc<Self>, BackendError> {
        Self::open_shared(SqliteOptions::new(location)).await
    }

    /// Opens the database at `location` with this number of reading connections, and with or
    /// without a write-ahead log. Without it, readers and the writer wait for each other.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub async fn new_with_tuning(
        location: &str,
        pool_size: u32,
        wal_mode: bool,
    ) -> Result<Arc<Self>, BackendError> {
        let options = SqliteOptions::new(location).readers(pool_size).write_ahead_log(wal_mode);
        Self::open_shared(options).await
    }
}
