//! The scanner: applies timers that are due (lapsed leases, attempts and executions out of time,
//! delays that end), dispatches completion events, and cancels upstreams that are no longer needed.
//!
//! One loop per kind of timer asks the engine, again and again, to apply what is due. The loops
//! hold no state: any number of processes may run them, and another process finds whatever a killed
//! one leaves undone. The engine decides what is due, and what follows from it.

mod jitter;
mod retention;

use std::sync::Arc;
use std::time::Duration;

use ff_core::EngineError;
use ff_core::backend::ScannerFilter;
use ff_core::contracts::RetentionRule;
use ff_core::engine_backend::{EngineBackend, Scan};
use ff_core::engine_error::StoreClass;
use ff_core::rules::ctx::{Seeded, Source};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use uuid::Uuid;

use self::jitter::jittered;
use self::retention::Retention;

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
    /// The pause between scans for admissions that are over; zero turns them off.
    pub admission_expiry: Duration,
    /// The pause between scans for admissions that have left their window; zero turns them off.
    pub quota_window_expiry: Duration,
    /// The pause between scans for totals of budgets that have drifted; zero turns them off.
    pub budget_reconcile: Duration,
    /// The pause between scans for slots of quotas that have drifted; zero turns them off.
    pub quota_reconcile: Duration,
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
            admission_expiry: Scan::AdmissionExpiry.usual_pause(),
            quota_window_expiry: Scan::QuotaWindowExpiry.usual_pause(),
            budget_reconcile: Scan::BudgetReconcile.usual_pause(),
            quota_reconcile: Scan::QuotaReconcile.usual_pause(),
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
            Scan::AdmissionExpiry => self.admission_expiry,
            Scan::QuotaWindowExpiry => self.quota_window_expiry,
            Scan::BudgetReconcile => self.budget_reconcile,
            Scan::QuotaReconcile => self.quota_reconcile,
        }
    }
}

/// Totals of the loops' work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScannerReport {
    /// Scans made.
    pub ticks: u64,
    /// Rows handled, and executions removed.
    pub processed: u64,
    /// Failed scans, and rows that failed within the other scans.
    pub errors: u64,
    /// The loops that had not ended when the grace was over, or that panicked. Their work is not in
    /// the totals.
    pub unfinished: Vec<Scan>,
    /// True if the loop of retention had not ended either.
    pub retention_unfinished: bool,
}

/// The running loops. Dropping this value aborts them, in the middle of a scan if need be.
#[derive(Debug)]
pub struct ScannerSupervisor {
    stop: watch::Sender<bool>,
    running: Vec<Scan>,
    loops: JoinSet<(Scan, LoopTotals)>,
    retention: JoinSet<LoopTotals>,
    failures: mpsc::Receiver<EngineError>,
}

impl ScannerSupervisor {
    /// Starts a loop for every kind of timer that the configuration does not turn off. The first
    /// scan of each is at once. Must be called inside a tokio runtime.
    #[must_use]
    pub fn spawn(backend: Arc<dyn EngineBackend>, config: ScannerConfig) -> Self {
        let stop = watch::Sender::new(false);
        let (mut running, mut loops) = (Vec::new(), JoinSet::new());
        let (failed, failures) = mpsc::channel(1);
        for scan in Scan::ALL {
            if config.interval(scan).is_zero() {
                continue;
            }

            running.push(scan);
            let config = config.clone();
            let failed = failed.clone();
            let scanner = Scanner { backend: Arc::clone(&backend), scan, config, failed };
            loops.spawn(scanner.run(stop.subscribe()));
        }

        let mut retention = JoinSet::new();
        if !config.retention_rules.is_empty() {
            let ScannerConfig { retention_rules: rules, retention: pause, .. } = config;
            retention.spawn(Retention { backend, rules, pause, failed }.run(stop.subscribe()));
        }

        Self { stop, running, loops, retention, failures }
    }

    /// Waits for a scan that fails permanently: for a missing table or right, or damaged data. The
    /// loops go on nevertheless, so a caller may ignore the failure; a process that only scans
    /// should end with it.
    pub async fn permanent_failure(&mut self) -> EngineError {
        match self.failures.recv().await {
            Some(error) => error,
            // There is no loop, so none fails.
            None => std::future::pending().await,
        }
    }

    /// Lets each loop finish its scan, for `grace` at most.
    pub async fn shutdown(mut self, grace: Duration) -> ScannerReport {
        self.stop.send_replace(true);
        // A loop counts as unfinished until it reports.
        let mut report = ScannerReport {
            unfinished: self.running,
            retention_unfinished: !self.retention.is_empty(),
            ..ScannerReport::default()
        };
        let ended = async {
            while let Some(ended) = self.loops.join_next().await {
                match ended {
                    Ok((scan, totals)) => {
                        report.unfinished.retain(|other| *other != scan);
                        report.ticks += totals.ticks;
                        report.processed += totals.processed;
                        report.errors += totals.errors;
                    }
                    Err(error) => tracing::error!(%error, "a scanner loop died"),
                }
            }
            if let Some(Ok(totals)) = self.retention.join_next().await {
                report.retention_unfinished = false;
                report.ticks += totals.ticks;
                report.processed += totals.processed;
                report.errors += totals.errors;
            }
        };

        if tokio::time::timeout(grace, ended).await.is_err() {
            tracing::warn!(unfinished = ?report.unfinished, "scanner loops were cut short");
        }

        report
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct LoopTotals {
    ticks: u64,
    processed: u64,
    errors: u64,
}

struct Scanner {
    backend: Arc<dyn EngineBackend>,
    scan: Scan,
    config: ScannerConfig,
    failed: mpsc::Sender<EngineError>,
}

impl Scanner {
    async fn run(self, mut stop: watch::Receiver<bool>) -> (Scan, LoopTotals) {
        let mut jitter_source = Seeded::new(Uuid::new_v4().as_u64_pair().1);
        let mut totals = LoopTotals::default();
        while !*stop.borrow_and_update() {
            if self.tick(&mut totals).await {
                // Even a backend that never waits must not keep others from running.
                tokio::task::yield_now().await;
                continue;
            }
            // The pause begins when the scan is over: a slow database is asked less often.
            let pause = jittered(
                self.config.interval(self.scan),
                self.config.jitter,
                jitter_source.fraction(),
            );
            // An error means that the supervisor is gone, and this loop is aborted with it.
            let _ = tokio::time::timeout(pause, stop.changed()).await;
        }
        (self.scan, totals)
    }

    /// Scans once. Returns true if there is probably more to do.
    async fn tick(&self, totals: &mut LoopTotals) -> bool {
        let limit = self.config.batch_limit.max(1);
        totals.ticks += 1;

        match self.backend.scan_filtered(self.scan, limit, &self.config.filter).await {
            Ok(counts) => {
                totals.processed += u64::from(counts.processed);
                totals.errors += u64::from(counts.errors);
                if counts.processed != 0 {
                    tracing::debug!(scan = self.scan.as_str(), counts.processed, "applied");
                }
                // More may be due after a full batch, or after an event that caused another.
                limit <= counts.processed || (self.scan.feeds_itself() && counts.processed != 0)
            }
            Err(error) => {
                totals.errors += 1;
                if error.store_class().is_none_or(StoreClass::may_pass) {
                    tracing::warn!(scan = self.scan.as_str(), %error, "scan failed");
                } else {
                    tracing::error!(scan = self.scan.as_str(), %error, "scan fails for good");
                    // One is enough; a full channel holds an earlier one.
                    let _ = self.failed.try_send(error);
                }
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use async_trait::async_trait;
    use ff_core::engine_backend::ReconcileCounts;
    use ff_core::engine_error::StoreError;
    use tokio::time::Instant;

    use super::*;

    /// A backend that answers lease scans by script, then with nothing, and records the time of
    /// each.
    struct Fake {
        start: Instant,
        script: Mutex<VecDeque<Result<u32, &'static str>>>,
        /// True if its errors are permanent failures of the store.
        broken: bool,
        scans: Mutex<Vec<(Scan, u64)>>,
        takes: Duration,
    }

    impl Fake {
        fn new(
            takes: Duration,
            script: impl IntoIterator<Item = Result<u32, &'static str>>,
        ) -> Arc<Self> {
            Arc::new(Self {
                start: Instant::now(),
                script: Mutex::new(script.into_iter().collect()),
                broken: false,
                scans: Mutex::default(),
                takes,
            })
        }

        fn scans_of(&self, scan: Scan) -> Vec<u64> {
            let scans = self.scans.lock().unwrap();
            scans.iter().filter(|(kind, _)| *kind == scan).map(|(_, at)| *at).collect()
        }
    }

    #[async_trait]
    impl EngineBackend for Fake {
        async fn scan_filtered(
            &self,
            scan: Scan,
            limit: u32,
            filter: &ScannerFilter,
        ) -> Result<ReconcileCounts, EngineError> {
            assert_eq!((limit, filter), (10, &ScannerFilter::new().with_namespace("ours")));
            let at = u64::try_from(self.start.elapsed().as_millis()).unwrap();
            self.scans.lock().unwrap().push((scan, at));
            tokio::time::sleep(self.takes).await;
            let next = self.script.lock().unwrap().pop_front();
            match next.unwrap_or(Ok(0)) {
                Ok(processed) => Ok(ReconcileCounts { processed, errors: 0 }),
                Err(text) if self.broken => {
                    Err(StoreError::new(StoreClass::Permanent, text).in_backend("fake"))
                }
                Err(op) => Err(EngineError::Unavailable { op }),
            }
        }
    }

    fn only_leases() -> ScannerConfig {
        ScannerConfig {
            lease_expiry: Duration::from_millis(100),
            attempt_timeout: Duration::ZERO,
            execution_deadline: Duration::ZERO,
            delayed_promotion: Duration::ZERO,
            dependency_dispatch: Duration::ZERO,
            sibling_cancel: Duration::ZERO,
            suspension_timeout: Duration::ZERO,
            waitpoint_expiry: Duration::ZERO,
            grant_expiry: Duration::ZERO,
            worker_ttl: Duration::ZERO,
            budget_reset: Duration::ZERO,
            usage_key_expiry: Duration::ZERO,
            idempotency_key_expiry: Duration::ZERO,
            admission_expiry: Duration::ZERO,
            quota_window_expiry: Duration::ZERO,
            budget_reconcile: Duration::ZERO,
            quota_reconcile: Duration::ZERO,
            retention_rules: Vec::new(),
            retention: Duration::ZERO,
            jitter: 0.0,
            batch_limit: 10,
            filter: ScannerFilter::new().with_namespace("ours"),
        }
    }

    const GRACE: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn the_first_scan_is_at_once_and_the_others_follow_in_time() {
        let fake = Fake::new(Duration::ZERO, []);
        let supervisor = ScannerSupervisor::spawn(fake.clone(), only_leases());
        tokio::time::sleep(Duration::from_millis(250)).await;
        let report = supervisor.shutdown(GRACE).await;
        assert_eq!(fake.scans_of(Scan::LeaseExpiry), [0, 100, 200]);
        let expected = ScannerReport { ticks: 3, ..ScannerReport::default() };
        assert_eq!(report, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_kind_without_an_interval_is_never_scanned() {
        let fake = Fake::new(Duration::ZERO, []);
        let supervisor = ScannerSupervisor::spawn(fake.clone(), only_leases());
        tokio::time::sleep(Duration::from_secs(10)).await;
        drop(supervisor);
        assert!(fake.scans.lock().unwrap().iter().all(|(scan, _)| *scan == Scan::LeaseExpiry));
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_batch_is_followed_by_another_at_once() {
        let fake = Fake::new(Duration::ZERO, [Ok(10), Ok(10), Ok(9), Ok(10), Ok(0)]);
        let supervisor = ScannerSupervisor::spawn(fake.clone(), only_leases());
        tokio::time::sleep(Duration::from_millis(150)).await;
        let report = supervisor.shutdown(GRACE).await;
        assert_eq!(fake.scans_of(Scan::LeaseExpiry), [0, 0, 0, 100, 100]);
        assert_eq!((report.ticks, report.processed), (5, 39));
    }

    #[tokio::test(start_paused = true)]
    async fn a_scan_that_feeds_itself_is_repeated_until_nothing_is_left() {
        let fake = Fake::new(Duration::ZERO, [Ok(1), Ok(3), Ok(0), Ok(1), Ok(0)]);
        let cascade = ScannerConfig {
            lease_expiry: Duration::ZERO,
            dependency_dispatch: Duration::from_millis(100),
            ..only_leases()
        };
        let supervisor = ScannerSupervisor::spawn(fake.clone(), cascade);
        tokio::time::sleep(Duration::from_millis(150)).await;
        supervisor.shutdown(GRACE).await;
        assert_eq!(fake.scans_of(Scan::DependencyDispatch), [0, 0, 0, 100, 100]);
    }

    #[tokio::test(start_paused = true)]
    async fn errors_are_counted_and_end_nothing() {
        let fake = Fake::new(Duration::ZERO, [Err("down"), Err("down"), Ok(3)]);
        let supervisor = ScannerSupervisor::spawn(fake.clone(), only_leases());
        tokio::time::sleep(Duration::from_millis(250)).await;
        let report = supervisor.shutdown(GRACE).await;
        assert_eq!((report.ticks, report.processed, report.errors), (3, 3, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn slow_scans_do_not_pile_up() {
        let fake = Fake::new(Duration::from_millis(350), []);
        let supervisor = ScannerSupervisor::spawn(fake.clone(), only_leases());
        tokio::time::sleep(Duration::from_millis(1_000)).await;
        let report = supervisor.shutdown(GRACE).await;
        assert_eq!(fake.scans_of(Scan::LeaseExpiry), [0, 450, 900]);
        assert_eq!((report.ticks, report.unfinished), (3, vec![]));
    }

    #[tokio::test(start_paused = true)]
    async fn shutdown_waits_for_its_grace_and_no_longer() {
        let fake = Fake::new(Duration::from_secs(60), []);
        let supervisor = ScannerSupervisor::spawn(fake, only_leases());
        tokio::time::sleep(Duration::from_millis(1)).await;
        let before = Instant::now();
        let report = supervisor.shutdown(GRACE).await;
        assert_eq!(report.unfinished, [Scan::LeaseExpiry]);
        assert_eq!(before.elapsed(), GRACE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_permanent_failure_is_reported_at_once_and_the_loops_go_on() {
        let mut fake = Fake::new(Duration::ZERO, [Ok(1), Err("no table"), Ok(1)]);
        Arc::get_mut(&mut fake).unwrap().broken = true;
        let mut supervisor = ScannerSupervisor::spawn(fake.clone(), only_leases());
        let error = supervisor.permanent_failure().await;
        assert!(error.to_string().contains("no table"), "{error}");
        tokio::time::sleep(Duration::from_millis(250)).await;
        let report = supervisor.shutdown(GRACE).await;
        assert_eq!((report.processed, report.errors), (2, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_that_may_pass_ends_nothing() {
        let fake = Fake::new(Duration::ZERO, [Err("for now")]);
        let mut supervisor = ScannerSupervisor::spawn(fake.clone(), only_leases());
        let waited =
            tokio::time::timeout(Duration::from_secs(60), supervisor.permanent_failure()).await;
        assert!(waited.is_err());
    }
}
