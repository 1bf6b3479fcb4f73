//! The scanner: applies timers that are due (lapsed leases, attempts and executions out of time,
//! delays that end), dispatches completion events, and cancels upstreams that are no longer needed.
//!
//! One loop per kind of timer asks the engine, again and again, to apply what is due. The loops
//! hold no state: any number of processes may run them, and another process finds whatever a killed
//! one leaves undone. The engine decides what is due, and what follows from it.

mod config;
mod jitter;
mod reconcile;
mod retention;

use std::sync::Arc;
use std::time::Duration;

use ff_core::EngineError;
use ff_core::engine_backend::{EngineBackend, Scan};
use ff_core::engine_error::StoreClass;
use ff_core::rules::ctx::{Seeded, Source};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tracing::Instrument as _;
use uuid::Uuid;

pub use self::config::ScannerConfig;
use self::jitter::jittered;
use self::reconcile::Reconcile;
use self::retention::Retention;

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
    /// True if the loop that repairs executions had not ended either.
    pub reconcile_unfinished: bool,
}

impl ScannerReport {
    fn count(&mut self, totals: LoopTotals) {
        self.ticks += totals.ticks;
        self.processed += totals.processed;
        self.errors += totals.errors;
    }
}

/// The running loops. Dropping this value aborts them, in the middle of a scan if need be.
#[derive(Debug)]
pub struct ScannerSupervisor {
    stop: watch::Sender<bool>,
    running: Vec<Scan>,
    loops: JoinSet<(Scan, LoopTotals)>,
    retention: JoinSet<LoopTotals>,
    reconcile: JoinSet<LoopTotals>,
    failures: mpsc::Receiver<EngineError>,
    handles: Vec<(&'static str, AbortHandle)>,
}

/// Tells which loops of a supervisor live. It may outlive the supervisor.
#[derive(Clone, Debug, Default)]
pub struct ScannerLiveness(Vec<(&'static str, AbortHandle)>);

impl ScannerLiveness {
    /// The loops that have ended, by the name of their scan.
    #[must_use]
    pub fn ended(&self) -> Vec<&'static str> {
        let ended = self.0.iter().filter(|(_, handle)| handle.is_finished());
        ended.map(|(name, _)| *name).collect()
    }
}

impl ScannerSupervisor {
    /// Starts a loop for every kind of timer that the configuration does not turn off. The first
    /// scan of each is at once. Must be called inside a tokio runtime.
    #[must_use]
    pub fn spawn(backend: Arc<dyn EngineBackend>, config: ScannerConfig) -> Self {
        let stop = watch::Sender::new(false);
        let (mut running, mut loops) = (Vec::new(), JoinSet::new());
        let mut handles = Vec::new();
        let (failed, failures) = mpsc::channel(1);
        for scan in Scan::ALL {
            if config.interval(scan).is_zero() {
                continue;
            }

            running.push(scan);
            let config = config.clone();
            let failures = Failures(failed.clone());
            let scanner = Scanner { backend: Arc::clone(&backend), scan, config, failures };
            handles.push((scan.as_str(), loops.spawn(scanner.run(stop.subscribe()))));
        }

        let mut reconcile = JoinSet::new();
        if !config.execution_reconcile.is_zero() {
            let looped = Reconcile {
                backend: Arc::clone(&backend),
                filter: config.filter.clone(),
                pause: config.execution_reconcile,
                jitter: config.jitter,
                failures: Failures(failed.clone()),
            };
            handles.push(("reconcile", reconcile.spawn(looped.run(stop.subscribe()))));
        }

        let mut retention = JoinSet::new();
        if !config.retention_rules.is_empty() {
            let ScannerConfig { retention_rules: rules, retention: pause, .. } = config;
            let failures = Failures(failed);
            let looped = Retention { backend, rules, pause, failures };
            handles.push(("retention", retention.spawn(looped.run(stop.subscribe()))));
        }

        Self { stop, running, loops, retention, reconcile, failures, handles }
    }

    /// The state of the loops, for a health check.
    #[must_use]
    pub fn liveness(&self) -> ScannerLiveness {
        ScannerLiveness(self.handles.clone())
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
            reconcile_unfinished: !self.reconcile.is_empty(),
            ..ScannerReport::default()
        };
        let ended = async {
            while let Some(ended) = self.loops.join_next().await {
                match ended {
                    Ok((scan, totals)) => {
                        report.unfinished.retain(|other| *other != scan);
                        report.count(totals);
                    }
                    Err(error) => tracing::error!(%error, "a scanner loop died"),
                }
            }
            if let Some(Ok(totals)) = self.retention.join_next().await {
                report.retention_unfinished = false;
                report.count(totals);
            }
            if let Some(Ok(totals)) = self.reconcile.join_next().await {
                report.reconcile_unfinished = false;
                report.count(totals);
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

/// The place where the loops report what fails.
struct Failures(mpsc::Sender<EngineError>);

impl Failures {
    /// Logs the failure of one tick of a loop, and reports one that will not pass.
    fn report(&self, scan: &'static str, error: EngineError) {
        if error.store_class().is_none_or(StoreClass::may_pass) {
            tracing::warn!(scan, %error, "scan failed");
        } else {
            tracing::error!(scan, %error, "scan fails for good");
            // One is enough; a full channel holds an earlier one.
            let _ = self.0.try_send(error);
        }
    }
}

/// The time of the next scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// At once: there is probably more to do.
    AtOnce,
    /// After the pause: nothing due was left.
    Pause,
    /// After the pause: what is due is not known.
    PauseAfterFailure,
}

struct Scanner {
    backend: Arc<dyn EngineBackend>,
    scan: Scan,
    config: ScannerConfig,
    failures: Failures,
}

impl Scanner {
    async fn run(self, mut stop: watch::Receiver<bool>) -> (Scan, LoopTotals) {
        let mut jitter_source = Seeded::new(Uuid::new_v4().as_u64_pair().1);
        let mut totals = LoopTotals::default();
        let mut caught_up_at = Instant::now();
        while !*stop.borrow_and_update() {
            let span =
                tracing::debug_span!(target: "flowfabric", "scan", scan = self.scan.as_str());
            let next = self.tick(&mut totals).instrument(span).await;
            if next == Next::Pause {
                caught_up_at = Instant::now();
            }
            ff_telemetry::scan_lag(self.scan.as_str(), caught_up_at.elapsed());
            if next == Next::AtOnce {
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

    /// Scans once.
    async fn tick(&self, totals: &mut LoopTotals) -> Next {
        let limit = self.config.batch_limit.max(1);
        totals.ticks += 1;

        let began = Instant::now();
        let scanned = self.backend.scan_filtered(self.scan, limit, &self.config.filter).await;
        let rows = scanned.as_ref().ok().map(|counts| (counts.processed, counts.errors));
        ff_telemetry::scanned(self.scan.as_str(), began.elapsed(), rows);

        match scanned {
            Ok(counts) => {
                totals.processed += u64::from(counts.processed);
                totals.errors += u64::from(counts.errors);
                if counts.processed != 0 {
                    tracing::debug!(scan = self.scan.as_str(), counts.processed, "applied");
                }
                // More may be due after a full batch, or after an event that caused another.
                let feeds_itself = self.scan.feeds_itself() && counts.processed != 0;
                if limit <= counts.processed || feeds_itself { Next::AtOnce } else { Next::Pause }
            }
            Err(error) => {
                totals.errors += 1;
                self.failures.report(self.scan.as_str(), error);
                Next::PauseAfterFailure
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use async_trait::async_trait;
    use ff_core::backend::ScannerFilter;
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
            limit_cell_expiry: Duration::ZERO,
            admission_expiry: Duration::ZERO,
            quota_window_expiry: Duration::ZERO,
            budget_reconcile: Duration::ZERO,
            quota_reconcile: Duration::ZERO,
            schedules: Duration::ZERO,
            count_fold: Duration::ZERO,
            execution_reconcile: Duration::ZERO,
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
