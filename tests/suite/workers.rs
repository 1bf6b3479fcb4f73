//! Workers beside other users of their database: rows that other sessions lock, submissions of
//! other processes, and processes whose clocks are wrong.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ff_backend_postgres::migrate::SchemaName;
use ff_backend_postgres::{PgPool, PostgresBackend, PostgresOptions};
use ff_backend_sqlite::{SqliteBackend, SqliteOptions};
use ff_core::backend::{CapabilitySet, FailureClass};
use ff_core::contracts::{
    CreateBudgetArgs, ReportUsageAdminArgs, ResetBudgetArgs, SetLaneStateArgs,
};
use ff_core::engine::Executor as _;
use ff_core::engine_backend::EngineBackend;
use ff_core::policy::{BackoffStrategy, ExecutionPolicy, RetryPolicy};
use ff_core::state::LaneState;
use ff_core::types::{BudgetId, ExecutionId, TimestampMs};
use flowfabric_sql::{Ending, Run, Stop, Until, Worker, WorkerConfig, WorkerReport};
use sqlx::{AssertSqlSafe, Executor as _};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::backends::{self, Bench, postgres_url};
use crate::bench::{COMPLETED, WAITING, id, lane, payload_of, requiring, worker};
use crate::plain::PlainSql;

/// A pause between looks that outlasts every test: a worker that starts work earlier was woken.
const NEVER: Duration = Duration::from_secs(600);

/// The time after which a test gives up.
const BOUND: Duration = Duration::from_secs(20);

/// The longest time in which a woken worker starts. A busy machine may need a few tries.
const PROMPT: Duration = Duration::from_millis(250);

fn config() -> WorkerConfig {
    WorkerConfig::new(lane(), "w".into(), "w-1".into())
}

fn until_empty() -> WorkerConfig {
    WorkerConfig { until: Until::Empty, ..config() }
}

fn pool(bench: &Bench) -> &PgPool {
    let PlainSql::Postgres(pool) = &bench.plain else { panic!("Postgres it is") };
    pool
}

/// A worker that runs until it is stopped.
struct Running {
    stop: watch::Sender<Stop>,
    report: JoinHandle<WorkerReport>,
}

impl Running {
    fn start<F>(backend: &Arc<dyn EngineBackend>, config: WorkerConfig, run: F) -> Self
    where
        F: Fn(&Run) -> Option<Ending> + Send + Sync + 'static,
    {
        let stop = watch::Sender::new(Stop::Not);
        let runner = move |job: Arc<Run>| {
            let ending = run(&job);
            async move {
                match ending {
                    Some(ending) => ending,
                    None => std::future::pending().await,
                }
            }
        };
        let worker = Worker::new(Arc::clone(backend), Arc::new(runner), config);
        let running = worker.run(stop.subscribe());
        let report = tokio::spawn(async move { running.await.unwrap() });
        Self { stop, report }
    }

    async fn ended(self) -> WorkerReport {
        tokio::time::timeout(BOUND, self.report).await.unwrap().unwrap()
    }
}

/// Returns once the condition holds.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < BOUND, "{what} did not happen within {BOUND:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_row_is_waited_for_and_not_reported_as_lacking_capabilities() {
    let bench = backends::postgres().await;
    let ours = [bench.create().await, bench.create().await];
    let theirs = bench.create_with(&|args| args.policy = Some(requiring(&["gpu"]))).await;
    let options = pool(&bench).connect_options().as_ref().clone();
    let other = PgPool::connect_with(options).await.unwrap();
    let mut holder = other.begin().await.unwrap();
    let held = format!(
        "SELECT 1 FROM ff_exec_core WHERE execution_id IN ('{}', '{}') FOR UPDATE",
        ours[0].uuid(),
        theirs.uuid()
    );
    holder.execute(AssertSqlSafe(held)).await.unwrap();

    let working = Running::start(&bench.backend, until_empty(), |_| Some(Ending::Completed(None)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!working.report.is_finished(), "it looks again for as long as a row is locked");
    assert_eq!(bench.core(&ours[1]).await.states(), COMPLETED);
    holder.rollback().await.unwrap();

    let report = working.ended().await;
    assert_eq!((report.completed, report.left_waiting, report.left_locked), (2, true, false));
    assert_eq!(bench.core(&theirs).await.states(), WAITING);
    other.close().await;
    bench.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_reports_missing_capabilities_only_if_they_are_missing() {
    let bench = backends::postgres().await;
    for needs in [&["gpu"][..], &["gpu", "cuda"]] {
        bench.create_with(&|args| args.policy = Some(requiring(needs))).await;
    }
    for (offers, completed, left) in
        [(&["cuda"][..], 0, true), (&["gpu"], 1, true), (&["cuda", "gpu"], 1, false)]
    {
        let capabilities = CapabilitySet::new(offers.iter().map(|&word| word.to_owned()));
        let config = WorkerConfig { capabilities, ..until_empty() };
        let working = Running::start(&bench.backend, config, |_| Some(Ending::Completed(None)));
        let report = working.ended().await;
        let totals = (report.completed, report.left_waiting, report.left_locked);
        assert_eq!(totals, (completed, left, false), "{offers:?}");
    }
    bench.tear_down().await;
}

/// Another process on the same schema, with the time of the database.
async fn process(
    bench: &Bench,
    with: impl FnOnce(PostgresOptions) -> PostgresOptions,
) -> Arc<PostgresBackend> {
    let schema: String =
        sqlx::query_scalar("SELECT current_schema()").fetch_one(pool(bench)).await.unwrap();
    let options = PostgresOptions::new(postgres_url()).schema(SchemaName::new(&schema).unwrap());
    PostgresBackend::open(with(options.max_connections(4))).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_that_is_handed_back_does_not_wait_for_the_wall_clock() {
    let bench = backends::postgres().await;
    let other = process(&bench, |options| options).await;
    for ahead in [600_000, -600_000] {
        let wall = move || TimestampMs(TimestampMs::now().0 + ahead);
        let astray: Arc<dyn EngineBackend> =
            process(&bench, |options| options.wall_clock(wall)).await;
        for (what, ending) in [
            ("stopped", None),
            ("handed back", Some(Ending::HandedBack)),
            ("unable", Some(Ending::Unable("no memory".into()))),
        ] {
            let mut args = bench.args(&id());
            args.now = TimestampMs::now();
            let id = args.execution_id.clone();
            other.create_execution(args).await.unwrap();
            let (started, noted) = (watch::Sender::new(0), Arc::new(Mutex::new(0)));
            let mut runs = started.subscribe();
            let once = move |_: &Run| {
                let mut noted = noted.lock().unwrap();
                *noted += 1;
                started.send_replace(*noted);
                // The second run of this worker goes on until it is stopped.
                if *noted == 1 { ending.clone() } else { None }
            };
            let working = Running::start(&astray, config(), once);
            runs.wait_for(|runs| 0 < *runs).await.unwrap();
            working.stop.send_replace(Stop::Now);
            let report = working.ended().await;
            assert_eq!((report.handed_back, report.lost), (report.claimed, 0), "{what}");

            // Each process estimates the server's clock, and two estimates differ by some ms.
            let (none, since) = (CapabilitySet::default(), Instant::now());
            let handle = loop {
                match other.claim(&lane(), &none, worker("next")).await.unwrap() {
                    Some(handle) => break handle,
                    None if since.elapsed() < BOUND => {}
                    None => panic!("{what}: nothing to claim, {ahead} ms"),
                }
            };
            assert_eq!(payload_of(&handle).execution_id, id);
            other.complete(&handle, None).await.unwrap();
        }
    }
    other.close_within(BOUND).await.unwrap();
    bench.tear_down().await;
}

/// One retry after a millisecond.
fn retried_in_a_moment() -> ExecutionPolicy {
    let retry = RetryPolicy {
        max_retries: 1,
        backoff: BackoffStrategy::Fixed { delay_ms: 1 },
        ..RetryPolicy::default()
    };
    ExecutionPolicy { retry_policy: Some(retry), ..ExecutionPolicy::default() }
}

/// Asserts that an idle worker starts submissions of another process, its own retries, what waits
/// in a lane that is resumed and what waits for a budget, before its next look without a ring.
async fn starts_promptly(
    bench: &Bench,
    submitter: Arc<dyn EngineBackend>,
    working: Arc<dyn EngineBackend>,
) {
    let started: Arc<Mutex<Vec<(ExecutionId, Instant)>>> = Arc::default();
    let noted = Arc::clone(&started);
    let run = move |job: &Run| {
        noted.lock().unwrap().push((job.execution_id.clone(), Instant::now()));
        let message = "again".to_owned();
        let again = Ending::Failed { message, class: FailureClass::Transient };
        Some(if job.attempt_index.0 == 0 { again } else { Ending::Completed(None) })
    };
    let config = WorkerConfig { poll: NEVER, ..config() };
    let worker = Running::start(&working, config, run);
    let mut delays = Vec::new();
    for round in 0..8 {
        let mut args = bench.args(&id());
        args.policy = Some(retried_in_a_moment());
        let id = args.execution_id.clone();
        let submitted = Instant::now();
        submitter.create_execution(args).await.unwrap();
        until("both attempts", || started.lock().unwrap().len() == 2 * (round + 1)).await;

        let seen = started.lock().unwrap();
        let [.., (first, began), (second, again)] = &seen[..] else { panic!("{seen:?}") };
        assert_eq!((first, second), (&id, &id));
        delays.push((*began - submitted).max(*again - *began));
        // During the first tries the worker may not listen yet.
        if 3 <= round && delays[round] < PROMPT {
            break;
        }
    }
    assert!(delays.last().is_some_and(|delay| *delay < PROMPT), "{delays:?}");
    submit_to_paused(bench, submitter.as_ref()).await;
    until("a resumed lane", || started.lock().unwrap().len() == 2 * delays.len() + 2).await;
    let budget = submit_to_full(bench, submitter.as_ref()).await;
    // The worker has then looked again, and found no room for the other one.
    submitter.create_execution(bench.args(&id())).await.unwrap();
    until("a plain one", || started.lock().unwrap().len() == 2 * delays.len() + 3).await;
    let reset = ResetBudgetArgs { budget_id: budget, now: bench.clock.now() };
    submitter.reset_budget(reset).await.unwrap();
    until("room", || started.lock().unwrap().len() == 2 * delays.len() + 5).await;
    worker.stop.send_replace(Stop::Drain);
    assert_eq!(worker.ended().await.completed, u64::try_from(delays.len() + 2).unwrap());
}

/// Submits an execution whose budget has no room.
async fn submit_to_full(bench: &Bench, submitter: &dyn EngineBackend) -> BudgetId {
    let budget = BudgetId::new();
    let args = CreateBudgetArgs {
        budget_id: budget.clone(),
        scope_type: String::new(),
        scope_id: String::new(),
        enforcement_mode: String::new(),
        on_hard_limit: String::new(),
        on_soft_limit: String::new(),
        reset_interval_ms: 0,
        dimensions: vec!["cost".into()],
        hard_limits: vec![1],
        soft_limits: vec![0],
        now: bench.clock.now(),
    };
    submitter.create_budget(args).await.unwrap();
    let spent = ReportUsageAdminArgs::new(vec!["cost".into()], vec![1], bench.clock.now());
    submitter.report_usage_admin(&budget, spent).await.unwrap();

    let mut args = bench.args(&id());
    args.policy =
        Some(ExecutionPolicy { budget_ids: vec![budget.clone()], ..retried_in_a_moment() });
    submitter.create_execution(args).await.unwrap();
    budget
}

/// Submits to a lane that is paused until the submission is there.
async fn submit_to_paused(bench: &Bench, submitter: &dyn EngineBackend) {
    let paused = SetLaneStateArgs::new(lane(), LaneState::Paused, "ada");
    submitter.set_lane_state(paused).await.unwrap();
    let mut args = bench.args(&id());
    args.policy = Some(retried_in_a_moment());
    submitter.create_execution(args).await.unwrap();
    let active = SetLaneStateArgs::new(lane(), LaneState::Active, "ada");
    submitter.set_lane_state(active).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_worker_of_another_process_starts_promptly_on_postgres() {
    let bench = backends::postgres().await;
    let (submitter, working) =
        (process(&bench, |options| options).await, process(&bench, |options| options).await);
    starts_promptly(&bench, submitter, working).await;
    bench.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_worker_of_another_process_starts_promptly_on_sqlite() {
    let bench = backends::sqlite_file().await;
    let PlainSql::Sqlite(pool) = &bench.plain else { panic!("SQLite it is") };
    let path: String =
        sqlx::query_scalar("SELECT file FROM pragma_database_list").fetch_one(pool).await.unwrap();
    let submitter = SqliteBackend::open(SqliteOptions::new(&path)).await.unwrap();
    let working = SqliteBackend::open(SqliteOptions::new(&path)).await.unwrap();
    starts_promptly(&bench, submitter, working).await;
    bench.tear_down().await;
}
