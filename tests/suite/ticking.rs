//! Eight scanners race for the ticks of many schedules, and some of them are stopped in the middle:
//! each tick becomes one execution.

use std::collections::HashSet;
use std::env;
use std::sync::Arc;

use ff_core::contracts::{
    CatchUp, CreateScheduleArgs, ListSchedulesArgs, SCHEDULE_NAME_TAG, SCHEDULE_TICK_TAG,
    ScheduleId, ScheduleSpec, ScheduledWork,
};
use ff_core::engine_backend::{EngineBackend, Scan};
use ff_core::state::Overlap;
use futures_util::future::join_all;
use tokio::task::yield_now;

use crate::backends::{self, Bench};
use crate::bench::lane;

const SCANNERS: usize = 8;
const ROUNDS: usize = 3;
const MINUTE: i64 = 60_000;

fn schedules() -> usize {
    env::var("FF_SCHEDULES").map_or(50, |count| count.parse().expect("FF_SCHEDULES is a number"))
}

/// Schedules with a tick each minute, one tick per round; nothing runs, so nothing overlaps: the
/// execution before is cancelled.
async fn create(bench: &Bench, number: usize) {
    let mut spec = ScheduleSpec::new("* * * * *", ScheduledWork::new(lane(), "kind"));
    spec.catch_up = CatchUp::All { at_most: 10 };
    spec.overlap = if number.is_multiple_of(2) { Overlap::CancelRunning } else { Overlap::Queue };
    let id = ScheduleId::new("race", format!("schedule-{number}"));
    bench.backend.create_schedule(CreateScheduleArgs { id, spec }).await.unwrap();
}

/// Scans until nothing is due. A scanner with a lifetime is stopped after so many turns.
async fn scan(engine: Arc<dyn EngineBackend>, lifetime: Option<usize>) {
    let work = async { while engine.scan(Scan::Schedules, 1_000).await.unwrap().processed != 0 {} };
    match lifetime {
        None => work.await,
        Some(turns) => tokio::select! {
            biased;
            () = work => {}
            () = async { for _ in 0..turns { yield_now().await } } => {}
        },
    }
}

async fn race(bench: Bench) {
    join_all((0..schedules()).map(|number| create(&bench, number))).await;
    let engines = join_all((0..SCANNERS).map(|_| bench.another_process())).await;

    for round in 0..ROUNDS {
        bench.clock.advance(MINUTE);
        let scanners = engines.iter().enumerate().map(|(number, engine)| {
            // Every other one dies, each time at another moment.
            let lifetime = (number % 2 == 0).then_some(20 * (number + round + 1));
            tokio::spawn(scan(Arc::clone(engine), lifetime))
        });
        for scanner in join_all(scanners).await {
            scanner.unwrap();
        }
    }

    let mut ticks = HashSet::new();
    for row in bench.plain.rows("ff_exec_core").await {
        let tags = row.json("raw_fields")["tags"].clone();
        let tick = (tags[SCHEDULE_NAME_TAG].to_string(), tags[SCHEDULE_TICK_TAG].to_string());
        assert!(ticks.insert(tick), "one tick has two executions: {tags}");
    }
    let all = ListSchedulesArgs { limit: 1_000, ..ListSchedulesArgs::default() };
    let page = bench.backend.list_schedules(all).await.unwrap();
    let waiting: usize = page.schedules.iter().map(|info| info.queued.len()).sum();
    assert_eq!(ticks.len() + waiting, schedules() * ROUNDS);
    for info in &page.schedules {
        assert!(info.next_tick_at > Some(bench.clock.now()), "{info:?}");
    }
    drop(engines);
    bench.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_tick_happens_once_on_postgres() {
    race(backends::postgres().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_tick_happens_once_on_sqlite() {
    race(backends::sqlite_file().await).await;
}
