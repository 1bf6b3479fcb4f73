//! Schedules: definitions, pauses, and what a scan makes of the ticks that are due.

use ff_core::contracts::{
    BackfillScheduleArgs, CatchUp, CreateScheduleArgs, CreateScheduleResult, ListSchedulesArgs,
    PauseScheduleArgs, SCHEDULE_NAME_TAG, SCHEDULE_TICK_TAG, ScheduleId, ScheduleInfo,
    ScheduleSpec, ScheduledWork, SetLaneStateArgs, UpdateScheduleArgs,
};
use ff_core::engine_backend::Scan;
use ff_core::state::{LaneState, Overlap, PublicState};
use ff_core::types::{ExecutionId, TimestampMs};

use crate::backends::{Bench, START, conformance};
use crate::bench::{NAMESPACE, assert_refused, lane, worker};
use crate::plain::Cells;

const MINUTE: i64 = 60_000;

/// The first whole minute after the start.
const FIRST: i64 = (START / MINUTE + 1) * MINUTE;

fn id() -> ScheduleId {
    ScheduleId::new(NAMESPACE, "nightly")
}

/// A tick each minute.
fn spec() -> ScheduleSpec {
    let mut work = ScheduledWork::new(lane(), "kind");
    work.input_payload = br#"{"at":"{{tick}}","ms":{{tick_ms}}}"#.to_vec();
    work.tags.insert("team".into(), "billing".into());
    ScheduleSpec::new("* * * * *", work).in_zone("Europe/Berlin")
}

fn with(change: impl FnOnce(&mut ScheduleSpec)) -> ScheduleSpec {
    let mut spec = spec();
    change(&mut spec);
    spec
}

/// A schedule with ticks that never wait, and that policy for missed ones.
fn caught_up(catch_up: CatchUp) -> ScheduleSpec {
    with(|spec| (spec.catch_up, spec.overlap) = (catch_up, Overlap::CancelRunning))
}

async fn create(bench: &Bench, spec: ScheduleSpec) -> ScheduleInfo {
    let args = CreateScheduleArgs { id: id(), spec };
    match bench.backend.create_schedule(args).await.unwrap() {
        CreateScheduleResult::Created(info) => info,
        CreateScheduleResult::AlreadyExists(info) => panic!("{info:?}"),
    }
}

async fn stored(bench: &Bench) -> ScheduleInfo {
    bench.backend.get_schedule(&id()).await.unwrap().unwrap()
}

async fn scan(bench: &Bench) -> u32 {
    let counts = bench.backend.scan(Scan::Schedules, 100).await.unwrap();
    assert_eq!(counts.errors, 0);
    counts.processed
}

/// The ticks that have an execution, in minutes since the first.
async fn ticks(bench: &Bench) -> Vec<i64> {
    let rows = bench.plain.rows("ff_exec_core").await;
    let tick = |row: &Cells| {
        let tags = row.json("raw_fields")["tags"].clone();
        assert_eq!(tags[SCHEDULE_NAME_TAG], "nightly");
        let tick: i64 = tags[SCHEDULE_TICK_TAG].as_str().unwrap().parse().unwrap();
        (tick - FIRST) / MINUTE
    };
    let mut ticks: Vec<i64> = rows.iter().map(tick).collect();
    ticks.sort_unstable();
    ticks
}

async fn state_of(bench: &Bench, execution: Option<ExecutionId>) -> Option<PublicState> {
    bench.backend.read_execution_state(&execution.unwrap()).await.unwrap()
}

async fn claim_and_complete(bench: &Bench) {
    let none = ff_core::backend::CapabilitySet::default();
    let handle = bench.backend.claim(&lane(), &none, worker("w")).await.unwrap().unwrap();
    bench.backend.complete(&handle, None).await.unwrap();
}

/// Turns the clock to that many minutes after the first tick.
fn go_to(bench: &Bench, minutes: i64) {
    bench.clock.advance(FIRST + minutes * MINUTE - bench.clock.now().0);
}

conformance! {
    async fn a_schedule_is_defined_once_changed_and_deleted(bench) {
        let created = create(&bench, spec()).await;
        assert_eq!(created.next_tick_at, Some(TimestampMs(FIRST)));
        assert_eq!(stored(&bench).await, created);

        let other = CreateScheduleArgs { id: id(), spec: with(|spec| spec.cron = "@daily".into()) };
        let again = bench.backend.create_schedule(other.clone()).await.unwrap();
        assert_eq!(again, CreateScheduleResult::AlreadyExists(created));

        let update = UpdateScheduleArgs { id: id(), spec: other.spec };
        let updated = bench.backend.update_schedule(update.clone()).await.unwrap();
        assert_eq!((updated.version, updated.spec.cron.as_str()), (1, "@daily"));
        assert!(Some(TimestampMs(FIRST)) < updated.next_tick_at);
        assert_eq!(stored(&bench).await, updated);

        assert!(bench.backend.delete_schedule(&id()).await.unwrap());
        assert!(!bench.backend.delete_schedule(&id()).await.unwrap());
        assert_eq!(bench.backend.get_schedule(&id()).await.unwrap(), None);
        assert_refused(bench.backend.update_schedule(update).await, "not found: schedule");
        assert_refused(bench.backend.resume_schedule(&id()).await, "not found: schedule");
    }

    async fn what_defines_no_schedule_is_refused_and_changes_nothing(bench) {
        let refused = async |spec: ScheduleSpec, expected: &str| {
            let args = CreateScheduleArgs { id: id(), spec };
            assert_refused(bench.backend.create_schedule(args).await, expected);
        };
        refused(
            with(|spec| spec.time_zone = "Europe/Atlantis".into()),
            "validation: InvalidInput: time_zone: \"Europe/Atlantis\" is not in the tz database",
        ).await;
        refused(
            with(|spec| spec.cron = "0 0 30 2 *".into()),
            "validation: InvalidInput: cron: \"0 0 30 2 *\" matches no time to come",
        ).await;
        refused(
            with(|spec| spec.jitter_ms = -1),
            "validation: InvalidInput: jitter_ms: must be between 0 and 86400000, got -1",
        ).await;
        assert!(bench.plain.rows("ff_schedule").await.is_empty());

        let before = create(&bench, spec()).await;
        let update = UpdateScheduleArgs { id: id(), spec: with(|spec| spec.cron = "61 * * * *".into()) };
        bench.backend.update_schedule(update).await.unwrap_err();
        let id = ScheduleId::new(NAMESPACE, "\0");
        assert_refused(
            bench.backend.get_schedule(&id).await,
            "validation: InvalidInput: name: must not contain NUL (at byte 0)",
        );
        assert_eq!(stored(&bench).await, before);
    }

    async fn a_tick_becomes_one_execution_when_it_is_due(bench) {
        create(&bench, spec()).await;
        assert_eq!(scan(&bench).await, 0);

        go_to(&bench, 0);
        assert_eq!(scan(&bench).await, 1);
        assert_eq!(scan(&bench).await, 0);
        assert_eq!(ticks(&bench).await, [0]);

        let info = stored(&bench).await;
        assert_eq!(info.last_tick_at, Some(TimestampMs(FIRST)));
        assert_eq!(info.next_tick_at, Some(TimestampMs(FIRST + MINUTE)));
        assert_eq!(state_of(&bench, info.last_execution.clone()).await, Some(PublicState::Waiting));

        let row = bench.plain.rows("ff_exec_core").await.remove(0);
        let payload = format!(r#"{{"at":"2023-11-14T23:14:00+01:00","ms":{FIRST}}}"#);
        assert_eq!(row.bytes("payload"), Some(payload.as_bytes()));
        assert_eq!(row.json("raw_fields")["tags"]["team"], "billing");
        assert_eq!(row.json("raw_fields")["namespace"], NAMESPACE);
    }

    async fn a_tick_waits_for_its_jitter(bench) {
        let created = create(&bench, with(|spec| spec.jitter_ms = 30_000)).await;
        let jitter = created.due_at.unwrap().0 - FIRST;
        assert!((1..=30_000).contains(&jitter), "{jitter}");

        go_to(&bench, 0);
        bench.clock.advance(jitter - 1);
        assert_eq!(scan(&bench).await, 0);
        bench.clock.advance(1);
        assert_eq!(scan(&bench).await, 1);
    }

    async fn a_tick_is_skipped_while_the_one_before_runs(bench) {
        create(&bench, spec()).await;
        go_to(&bench, 0);
        scan(&bench).await;
        go_to(&bench, 1);
        assert_eq!(scan(&bench).await, 1);
        assert_eq!(ticks(&bench).await, [0]);
        assert_eq!(stored(&bench).await.skipped_tick_at, Some(TimestampMs(FIRST + MINUTE)));

        claim_and_complete(&bench).await;
        go_to(&bench, 2);
        scan(&bench).await;
        assert_eq!(ticks(&bench).await, [0, 2]);
    }

    async fn a_tick_waits_until_the_one_before_has_ended(bench) {
        create(&bench, with(|spec| spec.overlap = Overlap::Queue)).await;
        for minute in 0..3 {
            go_to(&bench, minute);
            scan(&bench).await;
        }
        assert_eq!(scan(&bench).await, 0);
        assert_eq!(ticks(&bench).await, [0]);
        let waiting = [FIRST + MINUTE, FIRST + 2 * MINUTE].map(TimestampMs);
        assert_eq!(stored(&bench).await.queued, waiting);

        for ended in [[0, 1].as_slice(), &[0, 1, 2]] {
            claim_and_complete(&bench).await;
            scan(&bench).await;
            assert_eq!(ticks(&bench).await, ended);
        }
        assert!(stored(&bench).await.queued.is_empty());
    }

    async fn a_tick_cancels_the_one_before(bench) {
        create(&bench, with(|spec| spec.overlap = Overlap::CancelRunning)).await;
        go_to(&bench, 0);
        scan(&bench).await;
        let first = stored(&bench).await.last_execution;
        let none = ff_core::backend::CapabilitySet::default();
        bench.backend.claim(&lane(), &none, worker("w")).await.unwrap().unwrap();

        go_to(&bench, 1);
        scan(&bench).await;
        assert_eq!(ticks(&bench).await, [0, 1]);
        assert_eq!(state_of(&bench, first).await, Some(PublicState::Cancelled));
        let second = stored(&bench).await.last_execution;
        assert_eq!(state_of(&bench, second).await, Some(PublicState::Waiting));
    }

    async fn a_stopped_fleet_skips_what_it_missed(bench) {
        create(&bench, caught_up(CatchUp::SkipMissed)).await;
        go_to(&bench, 60);
        scan(&bench).await;
        assert_eq!(ticks(&bench).await, [59, 60]);
        assert_eq!(stored(&bench).await.skipped_tick_at, Some(TimestampMs(FIRST + 58 * MINUTE)));
    }

    async fn a_stopped_fleet_makes_up_for_the_latest_tick(bench) {
        create(&bench, caught_up(CatchUp::Latest)).await;
        go_to(&bench, 60);
        scan(&bench).await;
        assert_eq!(ticks(&bench).await, [59, 60]);
    }

    async fn a_stopped_fleet_makes_up_for_the_last_ticks(bench) {
        create(&bench, caught_up(CatchUp::All { at_most: 3 })).await;
        go_to(&bench, 60);
        scan(&bench).await;
        assert_eq!(ticks(&bench).await, [56, 57, 58, 59, 60]);
    }

    async fn a_paused_schedule_makes_nothing_and_goes_on_with_the_next_tick(bench) {
        create(&bench, spec()).await;
        let pause = |actor: &str| PauseScheduleArgs {
            id: id(),
            actor: actor.into(),
            reason: Some("a release".into()),
        };
        let paused = bench.backend.pause_schedule(pause("ops")).await.unwrap();
        assert_eq!(paused.due_at, None);
        assert_eq!(bench.backend.pause_schedule(pause("other")).await.unwrap(), paused);
        assert_eq!(stored(&bench).await.pause.unwrap().actor, "ops");

        go_to(&bench, 10);
        assert_eq!(scan(&bench).await, 0);
        let resumed = bench.backend.resume_schedule(&id()).await.unwrap();
        assert_eq!(resumed.next_tick_at, Some(TimestampMs(FIRST + 11 * MINUTE)));
        assert_eq!(bench.backend.resume_schedule(&id()).await.unwrap(), resumed);
        go_to(&bench, 11);
        scan(&bench).await;
        assert_eq!(ticks(&bench).await, [11]);
    }

    async fn a_closed_lane_keeps_the_tick_due(bench) {
        create(&bench, spec()).await;
        let set = async |state| {
            let args = SetLaneStateArgs::new(lane(), state, "ops");
            bench.backend.set_lane_state(args).await.unwrap();
        };
        set(LaneState::Draining).await;
        go_to(&bench, 0);
        let before = stored(&bench).await;
        assert_eq!(scan(&bench).await, 0);
        assert_eq!(stored(&bench).await, before);

        set(LaneState::Active).await;
        assert_eq!(scan(&bench).await, 1);
        assert_eq!(ticks(&bench).await, [0]);
    }

    async fn a_backfill_submits_each_tick_once(bench) {
        create(&bench, with(|spec| spec.overlap = Overlap::Queue)).await;
        go_to(&bench, 0);
        scan(&bench).await;
        go_to(&bench, 3);
        let (from, until) = (TimestampMs(FIRST - 2 * MINUTE), TimestampMs(FIRST));
        let span = BackfillScheduleArgs { id: id(), from, until };
        let report = bench.backend.backfill_schedule(span.clone()).await.unwrap();
        assert_eq!((report.created.len(), report.existing.len()), (2, 1));
        let again = bench.backend.backfill_schedule(span.clone()).await.unwrap();
        assert_eq!((again.created.len(), again.existing.len()), (0, 3));
        assert_eq!(ticks(&bench).await, [-2, -1, 0]);

        let later = TimestampMs(bench.clock.now().0 + 1);
        let future = BackfillScheduleArgs { until: later, ..span.clone() };
        let refused = bench.backend.backfill_schedule(future).await;
        assert_refused(refused, "validation: InvalidInput: until: must not lie in the future");
        let long = BackfillScheduleArgs { from: TimestampMs(0), ..span };
        let refused = bench.backend.backfill_schedule(long).await;
        assert_refused(refused, "validation: InvalidInput: until: more than 1000 ticks since `from`");
    }

    async fn a_backfilled_tick_is_not_made_again(bench) {
        create(&bench, spec()).await;
        go_to(&bench, 0);
        let (from, until) = (TimestampMs(FIRST), TimestampMs(FIRST));
        let span = BackfillScheduleArgs { id: id(), from, until };
        bench.backend.backfill_schedule(span).await.unwrap();
        assert_eq!(scan(&bench).await, 1);
        assert_eq!(ticks(&bench).await, [0]);
        assert_eq!(stored(&bench).await.last_tick_at, Some(TimestampMs(FIRST)));
    }

    async fn schedules_are_listed_by_name(bench) {
        for (namespace, name) in [("b", "1"), ("a", "2"), ("a", "1"), ("c", "1")] {
            let id = ScheduleId::new(namespace, name);
            let args = CreateScheduleArgs { id, spec: spec() };
            bench.backend.create_schedule(args).await.unwrap();
        }

        let mut args = ListSchedulesArgs { limit: 3, ..ListSchedulesArgs::default() };
        let page = bench.backend.list_schedules(args.clone()).await.unwrap();
        let names: Vec<_> = page.schedules.iter().map(|info| info.id.clone()).collect();
        assert_eq!(names, [("a", "1"), ("a", "2"), ("b", "1")].map(|(a, b)| ScheduleId::new(a, b)));
        args.after = page.next_cursor;
        let rest = bench.backend.list_schedules(args).await.unwrap();
        assert_eq!((rest.schedules.len(), rest.next_cursor), (1, None));

        let only = Some("a".into());
        let args = ListSchedulesArgs { namespace: only, after: None, limit: 10 };
        assert_eq!(bench.backend.list_schedules(args).await.unwrap().schedules.len(), 2);
    }
}
