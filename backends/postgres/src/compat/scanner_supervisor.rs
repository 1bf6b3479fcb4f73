//! Scanners that belong to a backend, as the reference installs them.
//!
//! For a separate scanner process, or several backends in one, use the facade's supervisor.

use std::sync::Arc;
use std::time::Duration;

use ff_core::backend::ScannerFilter;
use ff_core::engine::{BackgroundScans, InstalledScans};
use ff_core::engine_backend::Scan;
use ff_core::partition::PartitionConfig;
use sqlx::postgres::PgPool;

use super::options_of;
use crate::backend::PostgresBackend;

/// The age in ms at which the reference's supervisor dispatches a completion event that its first
/// dispatcher missed.
pub const DEFAULT_DEP_STALE_MS: i64 = 15_000;

/// The pauses of the reference's scanners; zero turns a scanner off.
#[derive(Clone, Debug)]
pub struct PostgresScannerConfig {
    /// The pause between scans for attempts out of time, and for executions past their deadline.
    pub attempt_timeout_interval: Duration,
    /// The pause between scans for lapsed leases and grants, and for delays that have ended.
    pub lease_expiry_interval: Duration,
    /// The pause between scans for suspensions and waitpoints out of time.
    pub suspension_timeout_interval: Duration,
    /// The pause between scans for undispatched completion events.
    pub dependency_reconciler_interval: Duration,
    /// The pause between scans for siblings to cancel.
    pub edge_cancel_dispatcher_interval: Duration,
    /// The pause of the reference's second scan for siblings to cancel. One scan does both here, at
    /// the shorter of the two pauses.
    pub edge_cancel_reconciler_interval: Duration,
    /// The pause between scans for budgets to reset.
    pub budget_reset_interval: Duration,
    /// The pause between scans for silent workers.
    pub worker_registry_ttl_interval: Duration,
    /// The age in ms at which the reference dispatches an event again. It has no effect: the first
    /// scanner to find an event dispatches it.
    pub dependency_stale_threshold_ms: i64,
    /// The filter of executions that these scanners apply to.
    pub scanner_filter: ScannerFilter,
    /// The number of partitions of each family of ids.
    pub partition_config: PartitionConfig,
}

impl PostgresScannerConfig {
    fn pause(&self, scan: Scan) -> Duration {
        match scan {
            Scan::AttemptTimeout | Scan::ExecutionDeadline => self.attempt_timeout_interval,
            Scan::LeaseExpiry | Scan::DelayedPromotion | Scan::GrantExpiry => {
                self.lease_expiry_interval
            }
            Scan::SuspensionTimeout | Scan::WaitpointExpiry => self.suspension_timeout_interval,
            Scan::DependencyDispatch => self.dependency_reconciler_interval,
            Scan::SiblingCancel => {
                let dispatcher = self.edge_cancel_dispatcher_interval;
                let pauses = [dispatcher, self.edge_cancel_reconciler_interval];
                pauses.into_iter().filter(|pause| !pause.is_zero()).min().unwrap_or_default()
            }
            Scan::BudgetReset => self.budget_reset_interval,
            Scan::WorkerTtl => self.worker_registry_ttl_interval,
            // The reference lacks these.
            Scan::UsageKeyExpiry
            | Scan::IdempotencyKeyExpiry
            | Scan::LimitCellExpiry
            | Scan::AdmissionExpiry
            | Scan::QuotaWindowExpiry
            | Scan::BudgetReconcile
            | Scan::QuotaReconcile
            | Scan::Schedules
            | Scan::CountFold => scan.usual_pause(),
        }
    }
}

/// Running scanners. They stop when this is dropped.
pub type PostgresScannerHandle = BackgroundScans<PostgresBackend>;

/// Starts the scanners that the configuration turns on.
fn start(backend: &PostgresBackend, config: &PostgresScannerConfig) -> PostgresScannerHandle {
    let pauses = Scan::ALL.into_iter().map(|scan| (scan, config.pause(scan)));
    let pauses = pauses.filter(|(_, pause)| !pause.is_zero());
    BackgroundScans::start(&backend.without_scanners(), pauses, &config.scanner_filter, |scans| {
        drop(tokio::spawn(scans));
    })
}

/// Starts the scanners over the caller's pool. Must be called inside a tokio runtime.
#[must_use]
pub fn spawn_scanners(pool: PgPool, config: PostgresScannerConfig) -> PostgresScannerHandle {
    let options = options_of(&pool).partitions(config.partition_config);
    let backend = Arc::new(PostgresBackend::over(pool, options));
    backend.look_around_soon();
    start(&backend, &config)
}

impl PostgresBackend {
    /// Installs scanners that run until the backend is dropped or drained by `shutdown_prepare`.
    /// Returns false, and installs nothing, if the backend is shared or has scanners already.
    pub fn with_scanners(self: &mut Arc<Self>, config: PostgresScannerConfig) -> bool {
        if Arc::get_mut(self).is_none() {
            return false;
        }

        self.scanners.install(|| start(self, &config))
    }

    /// The same backend for the scanners themselves, which must not keep their own handle alive.
    fn without_scanners(&self) -> Self {
        let mut backend = self.clone();
        backend.scanners = InstalledScans::default();
        backend
    }
}
