//! Runs that are stopped, and endings that the engine refuses.

use ff_core::contracts::CancelExecutionArgs;
use ff_core::plan::value::Value;
use ff_core::policy::{BackoffStrategy, RetryPolicy, TimeoutPolicy};
use ff_core::types::CancelSource;

use super::*;

/// An engine on tokio's paused clock, which moves by itself.
fn engine_in_time() -> Arc<dyn EngineBackend> {
    Arc::new(memory_in_time())
}

fn memory_in_time() -> MemoryBackend {
    let begun = Instant::now();
    let now = move || i64::try_from(begun.elapsed().as_millis()).unwrap() + 1_000;
    MemoryBackend::new().with_clock(Box::new(move || TimestampMs(now())))
}

async fn submit_with(engine: &Arc<dyn EngineBackend>, policy: ExecutionPolicy) -> ExecutionId {
    let lane = LaneId::new("default");
    let id = ExecutionId::solo(&lane, &PartitionConfig::default());
    let now = i64::try_from(engine.server_time_ms().await.unwrap()).unwrap();

    let args = CreateExecutionArgs {
        execution_id: id.clone(),
        namespace: Namespace::new("default"),
        lane_id: lane,
        execution_kind: "kind".into(),
        input_payload: Vec::new(),
        payload_encoding: None,
        priority: 0,
        creator_identity: "test".into(),
        idempotency_key: None,
        tags: HashMap::new(),
        policy: Some(policy),
        delay_until: None,
        execution_deadline_at: None,
        partition_id: id.partition(),
        now: TimestampMs(now),
    };
    engine.create_execution(args).await.unwrap();
    id
}

fn retries(max_retries: u32) -> ExecutionPolicy {
    let retry = RetryPolicy {
        max_retries,
        backoff: BackoffStrategy::Fixed { delay_ms: 1_000 },
        ..RetryPolicy::default()
    };
    ExecutionPolicy { retry_policy: Some(retry), ..ExecutionPolicy::default() }
}

/// The message of the last failure of the only execution.
fn failure(memory: &MemoryBackend) -> String {
    let rows = memory.rows("ff_exec_core");
    let Value::Json(raw) = &rows[0]["raw_fields"] else { panic!("no JSON") };
    raw["last_failure_message"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failure_whose_message_is_kept() {
    for (policy, counts) in [(retries(0), (1, 0, 1)), (retries(1), (2, 1, 1))] {
        let memory = memory_in_time();
        let engine: Arc<dyn EngineBackend> = Arc::new(memory.clone());
        let id = submit_with(&engine, policy).await;
        let scanners = ScannerSupervisor::spawn(Arc::clone(&engine), ScannerConfig::default());
        let runner = |job: Arc<Run>| async move {
            assert_ne!(job.kind, "kind", "no such luck");
            Ending::Completed(None)
        };
        let worker = Worker::new(Arc::clone(&engine), Arc::new(runner), config());
        let report = worker.run(watch::channel(Stop::Not).1).await.unwrap();
        assert_eq!((report.claimed, report.retried, report.failed), counts);
        assert_eq!(state(&engine, &id).await, PublicState::Failed);

        let message = failure(&memory);
        assert!(message.starts_with("the runner panicked: assertion"), "{message}");
        assert!(message.contains("no such luck"), "{message}");
        drop(scanners);
    }
}

#[tokio::test(start_paused = true)]
async fn an_ending_that_is_refused_becomes_a_failure_with_the_reason() {
    // Without a key no suspension is possible, and no stored text may hold a NUL.
    for (ending, reason) in [
        (Ending::Suspended(until_answered()), "its ending was refused: "),
        (Ending::Failed { message: "a\0b".into(), class: FailureClass::Transient }, "a"),
    ] {
        let memory = memory_in_time();
        let engine: Arc<dyn EngineBackend> = Arc::new(memory.clone());
        let id = submit_with(&engine, retries(0)).await;
        let runner = move |_: Arc<Run>| std::future::ready(ending.clone());
        let worker = Worker::new(Arc::clone(&engine), Arc::new(runner), config());
        let report = worker.run(watch::channel(Stop::Not).1).await.unwrap();
        assert_eq!((report.claimed, report.failed, report.lost), (1, 1, 0));
        assert_eq!(state(&engine, &id).await, PublicState::Failed);

        let message = failure(&memory);
        assert!(message.starts_with(reason), "{message}");
    }
}

/// A runner that runs until it is stopped, and then needs a while until nothing is left of it.
struct Lingering {
    running: Arc<AtomicU32>,
    most: AtomicU32,
    runs: Arc<Mutex<Vec<(Instant, Instant)>>>,
    first: Box<dyn Fn() + Send + Sync>,
}

/// Records the start and the end of a run when it is dropped.
struct Dropped(Instant, Arc<Mutex<Vec<(Instant, Instant)>>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.1.lock().unwrap().push((self.0, Instant::now()));
    }
}

#[async_trait::async_trait]
impl Runner for Lingering {
    async fn run(&self, job: Arc<Run>) -> Ending {
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        let _dropped = Dropped(Instant::now(), Arc::clone(&self.runs));

        if 1 < job.lease_epoch.0 && job.attempt_index.0 == 0 {
            self.running.fetch_sub(1, Ordering::SeqCst);
            return Ending::Completed(None);
        }

        (self.first)();
        std::future::pending().await
    }

    async fn clean_up(&self, _: &Run) {
        tokio::time::sleep(Duration::from_millis(700)).await;
        self.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Lingering {
    fn new(first: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        let (running, most) = (Arc::default(), AtomicU32::new(0));
        Arc::new(Self { running, most, runs: Arc::default(), first: Box::new(first) })
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_is_ended_when_its_time_is_out() {
    let engine = engine_in_time();
    let timeout = TimeoutPolicy {
        attempt_timeout_ms: Some(1_000),
        execution_deadline_ms: None,
        max_reclaim_count: 100,
    };
    let policy = ExecutionPolicy { timeout_policy: Some(timeout), ..retries(2) };
    let id = submit_with(&engine, policy).await;

    let runner = Lingering::new(|| {});
    let mut config = config();
    config.concurrency = 4;
    let scanners = ScannerConfig { attempt_timeout: Duration::ZERO, ..ScannerConfig::default() };
    let scanners = ScannerSupervisor::spawn(Arc::clone(&engine), scanners);
    let worker = Worker::new(Arc::clone(&engine), Arc::clone(&runner) as _, config);
    let report = worker.run(watch::channel(Stop::Not).1).await.unwrap();
    drop(scanners);

    assert_eq!((report.claimed, report.retried, report.failed, report.lost), (3, 2, 1, 0));
    assert_eq!(state(&engine, &id).await, PublicState::Expired);
    let runs = runner.runs.lock().unwrap().clone();
    assert!(runs.iter().all(|(from, to)| (*to - *from).as_millis() <= 1_001), "{runs:?}");
    assert_eq!(runner.most.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn two_attempts_of_one_execution_never_run_at_once() {
    let clock = Arc::new(AtomicI64::new(1_000));
    let time = Arc::clone(&clock);
    let memory =
        MemoryBackend::new().with_clock(Box::new(move || TimestampMs(time.load(Ordering::SeqCst))));
    let engine: Arc<dyn EngineBackend> = Arc::new(memory);
    let id = submit(&engine, None).await;
    // The lease lapses, and the execution is claimed again, long before this worker would renew it.
    let (lapse, handle) = (Arc::clone(&engine), tokio::runtime::Handle::current());
    let runner = Lingering::new(move || {
        clock.fetch_add(60_000, Ordering::SeqCst);
        let lapse = Arc::clone(&lapse);
        handle.spawn(async move { lapse.scan(Scan::LeaseExpiry, 1).await });
    });

    let mut config = config();
    config.concurrency = 2;
    let worker = Worker::new(Arc::clone(&engine), Arc::clone(&runner) as _, config);
    let report = worker.run(watch::channel(Stop::Not).1).await.unwrap();

    assert_eq!((report.claimed, report.completed, report.lost), (2, 1, 1));
    assert_eq!(runner.most.load(Ordering::SeqCst), 1);
    let runs = runner.runs.lock().unwrap().clone();
    assert!(
        700 <= (runs[1].0 - runs[0].1).as_millis(),
        "it waits for what the first left: {runs:?}"
    );
    assert_eq!(state(&engine, &id).await, PublicState::Completed);
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_ends_the_run_at_once_and_counts_apart() {
    let engine = engine_in_time();
    let id = submit(&engine, None).await;

    let cancel = CancelExecutionArgs {
        execution_id: id.clone(),
        reason: "no longer wanted".into(),
        source: CancelSource::OperatorOverride,
        lease_id: None,
        lease_epoch: None,
        attempt_id: None,
        now: TimestampMs(1_000),
    };

    let (own, handle) = (Arc::clone(&engine), tokio::runtime::Handle::current());
    let runner = Lingering::new(move || {
        let (own, cancel) = (Arc::clone(&own), cancel.clone());
        handle.spawn(async move { own.cancel_execution(cancel).await.unwrap() });
    });

    let worker = Worker::new(Arc::clone(&engine), Arc::clone(&runner) as _, config());
    let report = worker.run(watch::channel(Stop::Not).1).await.unwrap();
    assert_eq!((report.claimed, report.cancelled, report.lost), (1, 1, 0));
    let runs = runner.runs.lock().unwrap().clone();
    assert!((runs[0].1 - runs[0].0).as_millis() < 50, "{runs:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_submitted_starts_at_once() {
    let engine = engine_in_time();
    let started = Arc::new(Mutex::new(Vec::new()));
    let (stop, noted) = (watch::Sender::new(Stop::Not), Arc::clone(&started));

    let runner = move |_: Arc<Run>| {
        noted.lock().unwrap().push(Instant::now());
        async { Ending::Completed(None) }
    };

    let mut config = config();
    config.until = Until::Stopped;
    let worker = Worker::new(Arc::clone(&engine), Arc::new(runner), config);
    let working = tokio::spawn(worker.run(stop.subscribe()));
    for round in 1..4 {
        // Long enough for every pause to have grown.
        tokio::time::sleep(Duration::from_millis(10_007)).await;
        let submitted = Instant::now();
        submit(&engine, None).await;
        while started.lock().unwrap().len() < round {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!((started.lock().unwrap()[round - 1] - submitted).as_millis() <= 2);
    }

    stop.send_replace(Stop::Drain);
    assert_eq!(working.await.unwrap().unwrap().completed, 3);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_can_run_nothing_harms_no_execution_and_ends_the_worker() {
    let engine = engine_in_time();
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(submit_with(&engine, retries(0)).await);
    }

    let runner = |_: Arc<Run>| async { Ending::Unable("no memory".to_owned()) };
    let mut config = config();
    config.concurrency = 2;
    let scanners = ScannerSupervisor::spawn(Arc::clone(&engine), ScannerConfig::default());
    let worker = Worker::new(Arc::clone(&engine), Arc::new(runner), config);
    let error = worker.run(watch::channel(Stop::Not).1).await.unwrap_err().to_string();
    assert_eq!(error, "nothing could be run 6 times in a row; the last time: no memory");
    scanners.shutdown(Duration::from_secs(1)).await;

    let runner = |_: Arc<Run>| async { Ending::Completed(None) };
    engine.scan(Scan::DelayedPromotion, 10).await.unwrap();
    let worker = Worker::new(Arc::clone(&engine), Arc::new(runner), self::config());
    let report = worker.run(watch::channel(Stop::Not).1).await.unwrap();
    assert_eq!((report.completed, report.failed), (5, 0));
}
