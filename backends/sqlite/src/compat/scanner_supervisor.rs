//! Scanners that belong to a backend, as the reference installs them.

use std::time::Duration;

use ff_core::backend::ScannerFilter;
use ff_core::engine::{BackgroundScans, InstalledScans};
use ff_core::engine_backend::Scan;

use crate::backend::SqliteBackend;

/// The pauses that the reference lets its callers choose; zero turns a scanner off. The timers of
/// executions, flows and suspensions, which the reference lacks on SQLite, run at their usual
/// pauses ([`Scan::usual_pause`]).
#[derive(Clone, Debug)]
pub struct SqliteScannerConfig {
    /// The pause between scans for budgets to reset.
    pub budget_reset_interval: Duration,
    /// The pause between scans for silent workers.
    pub worker_registry_ttl_interval: Duration,
}

/// Running scanners. They stop when this is dropped.
pub type SqliteScannerHandle = BackgroundScans<SqliteBackend>;

impl SqliteBackend {
    /// Installs scanners that run until the last clone of the backend is dropped or
    /// `shutdown_prepare` drains it. Returns false, and installs nothing, if there are some
    /// already. Must be called inside a tokio runtime.
    pub fn with_scanners(&self, config: SqliteScannerConfig) -> bool {
        let pause = |scan: Scan| match scan {
            Scan::BudgetReset => config.budget_reset_interval,
            Scan::WorkerTtl => config.worker_registry_ttl_interval,
            Scan::LeaseExpiry
            | Scan::AttemptTimeout
            | Scan::ExecutionDeadline
            | Scan::DelayedPromotion
            | Scan::DependencyDispatch
            | Scan::SiblingCancel
            | Scan::SuspensionTimeout
            | Scan::WaitpointExpiry
            | Scan::GrantExpiry
            | Scan::UsageKeyExpiry
            | Scan::IdempotencyKeyExpiry
            | Scan::LimitCellExpiry
            | Scan::AdmissionExpiry
            | Scan::QuotaWindowExpiry
            | Scan::BudgetReconcile
            | Scan::QuotaReconcile
            | Scan::Schedules
            | Scan::CountFold => scan.usual_pause(),
        };

        self.scanners.install(|| {
            let pauses = Scan::ALL.into_iter().map(|scan| (scan, pause(scan)));
            let pauses = pauses.filter(|(_, pause)| !pause.is_zero());
            let executor = self.without_scanners();
            BackgroundScans::start(&executor, pauses, &ScannerFilter::NOOP, |scans| {
                drop(tokio::spawn(scans));
            })
        })
    }

    /// The same backend for the scanners themselves, which must not keep their own handle alive.
    fn without_scanners(&self) -> Self {
        let mut backend = self.clone();
        backend.scanners = InstalledScans::default();
        backend
    }
}
