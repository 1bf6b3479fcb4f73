//! Scanners that belong to a backend, as the reference installs them.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ff_core::backend::ScannerFilter;
use ff_core::engine::{StopPatrols, patrol};
use ff_core::engine_backend::Scan;
use tokio::task::JoinSet;

use crate::backend::SqliteBackend;

/// The pauses that the reference lets its callers choose; zero turns a scanner off. The timers of
/// executions, flows and suspensions, which the reference lacks on SQLite, run at their usual
/// pauses ([`Scan::usual_pause`]).
#[derive(Clone, Debug)]
pub struct SqliteScannerConfig {
    /// The pause between budget resets. Budgets are not supported yet, so it has no effect.
    pub budget_reset_interval: Duration,
    /// The pause between sweeps of the worker registry. It is not supported yet, so it has no
    /// effect.
    pub worker_registry_ttl_interval: Duration,
}

/// Running scanners. They stop when this is dropped.
pub struct SqliteScannerHandle {
    stop: StopPatrols,
    loops: JoinSet<()>,
}

impl SqliteScannerHandle {
    fn spawn(backend: &SqliteBackend) -> Self {
        let stop = StopPatrols::default();
        let mut loops = JoinSet::new();

        for scan in Scan::ALL {
            let (backend, pause) = (backend.without_scanners(), scan.usual_pause());
            loops.spawn(patrol(backend, scan, pause, ScannerFilter::NOOP, stop.clone()));
        }

        Self { stop, loops }
    }

    /// Stops the scanners and waits up to `grace` for them to finish. Returns the number of those
    /// still running.
    pub async fn shutdown(mut self, grace: Duration) -> usize {
        self.stop.stop();
        let ended = async { while self.loops.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(grace, ended).await;
        self.loops.len()
    }
}

impl fmt::Debug for SqliteScannerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteScannerHandle").field("loops", &self.loops.len()).finish()
    }
}

/// The scanners that were installed with a backend, if any.
#[derive(Clone, Default)]
pub(crate) struct Installed(Arc<Mutex<Option<SqliteScannerHandle>>>);

impl Installed {
    fn slot(&self) -> MutexGuard<'_, Option<SqliteScannerHandle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops the installed scanners, within `grace`.
    pub(crate) async fn shutdown(&self, grace: Duration) {
        let handle = self.slot().take();
        if let Some(handle) = handle {
            handle.shutdown(grace).await;
        }
    }
}

impl SqliteBackend {
    /// Installs scanners that run until the last clone of the backend is dropped or
    /// `shutdown_prepare` drains it. Returns false, and installs nothing, if there are some
    /// already. Must be called inside a tokio runtime.
    pub fn with_scanners(&self, _: SqliteScannerConfig) -> bool {
        // The configuration has no effect before budgets and the registry are supported.
        let mut slot = self.scanners.slot();
        let free = slot.is_none();
        if free {
            *slot = Some(SqliteScannerHandle::spawn(self));
        }
        free
    }

    /// The same backend for the scanners themselves, which must not keep their own handle alive.
    fn without_scanners(&self) -> Self {
        let mut backend = self.clone();
        backend.scanners = Installed::default();
        backend
    }
}
