//! The configuration of the scanner's loops.

use std::time::Duration;

use ff_core::backend::ScannerFilter;
use ff_core::contracts::RetentionRule;
use ff_core::engine_backend::Scan;

/// Intervals and limits of the scanner's loops.
#[derive(Clone, Debug, PartialEq)]
pub struct ScannerConfig {
    /// The pause between scans for lapsed leases; zero turns them off.
    pub lease_expiry: Duration,
    /// The pause between scans for attempts out of time; zero turns them off.
    pub attempt_timeout: Duration,
    /// The pause between scans for executions past their deadline; zero turns them off.
    pub execution_deadline: Duration,
    /// The pause between scans for delays that have ended; zero turns them off.
    pub delayed_promotion: Duration,
    /// The pause between scans for completion events not yet dispatched; zero turns them off.
    pub dependency_dispatch: Duration,
    /// The pause between scans for upstreams that are no longer needed; zero turns them off.
    pub sibling_cancel: Duration,
    /// The pause between scans for suspensions out of time; zero turns them off.
    pub suspension_timeout: Duration,
    /// The pause between scans for waitpoints out of time; zero turns them off.
    pub waitpoint_expiry: Duration,
    /// The pause between scans for grants that have lapsed; zero turns them off.
    pub grant_expiry: Duration,
    /// The pause between scans for silent workers; zero turns them off.
    pub worker_ttl: Duration,
    /// The pause between scans for budgets to reset; zero turns them off.
    pub budget_reset: Duration,
    /// The pause between scans for expired keys of usage reports; zero turns them off.
    pub usage_key_expiry: Duration,
    /// The pause between scans for idempotency keys that have expired; zero turns them off.
    pub idempotency_key_expiry: Duration,
    /// Cells of rates that count no more.
    pub limit_cell_expiry: Duration,
    /// The pause between scans for admissions that are over; zero turns them off.
    pub admission_expiry: Duration,
    /// The pause between scans for admissions that have left their window; zero turns them off.
    pub quota_window_expiry: Duration,
    /// The pause between scans for totals of budgets that have drifted; zero turns them off.
    pub budget_reconcile: Duration,
    /// The pause between scans for slots of quotas that have drifted; zero turns them off.
    pub quota_reconcile: Duration,
    /// The pause between scans for ticks of schedules; zero turns them off.
    pub schedules: Duration,
    /// The pause between scans for rows of the counts; zero turns them off.
    pub count_fold: Duration,
    /// The pause between repairs of executions that have drifted, of one partition each; zero turns
    /// them off.
    pub execution_reconcile: Duration,
    /// The rules by which ended executions are removed; the first that selects one decides.
    pub retention_rules: Vec<RetentionRule>,
    /// The pause between two passes over the ended executions.
    pub retention: Duration,
    /// The fraction by which each pause is shortened or lengthened at random, so that processes
    /// started together do not scan together.
    pub jitter: f64,
    /// The most rows that one scan handles. A scan that handles as many is followed by another at
    /// once.
    pub batch_limit: u32,
    /// A choice of executions; only their timers are applied by this process. Every execution must
    /// pass the filter of some process, or its timers never fire.
    pub filter: ScannerFilter,
}

impl Default for ScannerConfig {
    fn default() -> Self {
        Self {
            lease_expiry: Scan::LeaseExpiry.usual_pause(),
            attempt_timeout: Scan::AttemptTimeout.usual_pause(),
            execution_deadline: Scan::ExecutionDeadline.usual_pause(),
            delayed_promotion: Scan::DelayedPromotion.usual_pause(),
            dependency_dispatch: Scan::DependencyDispatch.usual_pause(),
            sibling_cancel: Scan::SiblingCancel.usual_pause(),
            suspension_timeout: Scan::SuspensionTimeout.usual_pause(),
            waitpoint_expiry: Scan::WaitpointExpiry.usual_pause(),
            grant_expiry: Scan::GrantExpiry.usual_pause(),
            worker_ttl: Scan::WorkerTtl.usual_pause(),
            budget_reset: Scan::BudgetReset.usual_pause(),
            usage_key_expiry: Scan::UsageKeyExpiry.usual_pause(),
            idempotency_key_expiry: Scan::IdempotencyKeyExpiry.usual_pause(),
            limit_cell_expiry: Scan::LimitCellExpiry.usual_pause(),
            admission_expiry: Scan::AdmissionExpiry.usual_pause(),
            quota_window_expiry: Scan::QuotaWindowExpiry.usual_pause(),
            budget_reconcile: Scan::BudgetReconcile.usual_pause(),
            quota_reconcile: Scan::QuotaReconcile.usual_pause(),
            schedules: Scan::Schedules.usual_pause(),
            count_fold: Scan::CountFold.usual_pause(),
            execution_reconcile: Duration::from_secs(60),
            retention_rules: Vec::new(),
            retention: Duration::from_secs(60),
            jitter: 0.1,
            batch_limit: 1_000,
            filter: ScannerFilter::NOOP,
        }
    }
}

impl ScannerConfig {
    /// The pause between two scans of one kind; zero turns them off.
    #[must_use]
    pub const fn interval(&self, scan: Scan) -> Duration {
        match scan {
            Scan::LeaseExpiry => self.lease_expiry,
            Scan::AttemptTimeout => self.attempt_timeout,
            Scan::ExecutionDeadline => self.execution_deadline,
            Scan::DelayedPromotion => self.delayed_promotion,
            Scan::DependencyDispatch => self.dependency_dispatch,
            Scan::SiblingCancel => self.sibling_cancel,
            Scan::SuspensionTimeout => self.suspension_timeout,
            Scan::WaitpointExpiry => self.waitpoint_expiry,
            Scan::GrantExpiry => self.grant_expiry,
            Scan::WorkerTtl => self.worker_ttl,
            Scan::BudgetReset => self.budget_reset,
            Scan::UsageKeyExpiry => self.usage_key_expiry,
            Scan::IdempotencyKeyExpiry => self.idempotency_key_expiry,
            Scan::LimitCellExpiry => self.limit_cell_expiry,
            Scan::AdmissionExpiry => self.admission_expiry,
            Scan::QuotaWindowExpiry => self.quota_window_expiry,
            Scan::BudgetReconcile => self.budget_reconcile,
            Scan::QuotaReconcile => self.quota_reconcile,
            Scan::Schedules => self.schedules,
            Scan::CountFold => self.count_fold,
        }
    }
}
