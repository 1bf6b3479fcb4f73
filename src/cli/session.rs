//! What every command leaves behind: closed databases, whatever ends it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ff_core::engine_backend::EngineBackend;

use super::output::OnClosed;

/// How long a database may take to end what it is doing.
const GRACE: Duration = Duration::from_secs(5);

/// The databases that the running command has opened, and what it does.
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
    /// Keeps the database, to be closed in the end.
    pub(super) fn keep(&self, engine: &Arc<dyn EngineBackend>) {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(engine));
    }

    /// Closes what was opened. SQLite thereby moves its log into the file, so that the file alone is
    /// the database.
    pub(super) async fn close(&self) {
        let opened =
            std::mem::take(&mut *self.opened.lock().unwrap_or_else(PoisonError::into_inner));
        for engine in opened {
            if let Err(error) = engine.shutdown_prepare(GRACE).await {
                // What is durable is durable, however the farewell goes.
                tracing::warn!(%error, "the database was not closed in time");
            }
        }
    }
}
