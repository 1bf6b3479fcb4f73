//! The session of a command: the databases that it has opened, closed at any end of the command.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ff_core::engine_backend::EngineBackend;

use super::output::OnClosed;

/// The time that a database gets to finish.
const GRACE: Duration = Duration::from_secs(5);

/// The databases that the running command has opened, and its reaction to a closed stdout.
#[derive(Clone, Default)]
pub(super) struct Session {
    opened: Arc<Mutex<Vec<Arc<dyn EngineBackend>>>>,
    pub(super) on_closed: OnClosed,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    /// Registers a database, to be closed in the end.
    pub(super) fn register(&self, engine: &Arc<dyn EngineBackend>) {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(engine));
    }

    /// Closes the databases. SQLite then moves its log into the file, so that the file alone is the
    /// database.
    pub(super) async fn close(&self) {
        let opened =
            std::mem::take(&mut *self.opened.lock().unwrap_or_else(PoisonError::into_inner));
        for engine in opened {
            if let Err(error) = engine.shutdown_prepare(GRACE).await {
                // Every result is durable by now, so a failed close is only logged.
                tracing::warn!(%error, "the database was not closed in time");
            }
        }
    }
}
