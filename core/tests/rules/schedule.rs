//! Schedules: the ticks of an expression around every change of a clock, and what a schedule does
//! about ticks that it missed.

use std::collections::BTreeMap;
use std::env;

use ff_core::contracts::{
    CatchUp, CreateScheduleArgs, ScheduleId, ScheduleInfo, SchedulePause, ScheduleSpec,
    ScheduledWork,
};
use ff_core::partition::PartitionConfig;
use ff_core::rules::schedule::calendar::Calendar;
use ff_core::rules::schedule::create::CreateSchedule;
use ff_core::rules::schedule::key::ScheduleKey;
use ff_core::rules::schedule::preview::planned_ticks;
use ff_core::rules::schedule::turn::{Tick, Turn, turn};
use ff_core::state::{ClosedSet as _, DoubledHours, Overlap, SkippedHours};
use ff_core::types::{LaneId, TimestampMs};
use insta::assert_snapshot;
use jiff::civil::{DateTime, date};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};

const MINUTE: i64 = 60_000;

/// One zone in so many is tried; every one with `FF_ZONES=all`.
const ZONE_STEP: usize = 29;

/// Zones that are always tried: the last changes that are listed of them are other ones than those
/// of the rule for all times after it.
const BESIDE_THEIR_RULES: [&str; 2] = ["America/Ciudad_Juarez", "America/Godthab"];

fn spec(cron: &str, zone: &str) -> ScheduleSpec {
    ScheduleSpec::new(cron, ScheduledWork::new(LaneId::new("work"), "kind")).in_zone(zone)
}

fn id() -> ScheduleId {
    ScheduleId::new("tenant", "nightly")
}

fn calendar(cron: &str, zone: &str, skipped: SkippedHours, doubled: DoubledHours) -> Calendar {
    let mut spec = spec(cron, zone);
    (spec.skipped_hours, spec.doubled_hours) = (skipped, doubled);
    Calendar::of(&spec).unwrap()
}

fn ms(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_millisecond()
}

/// The ticks after a moment, in local time.
fn ticks(calendar: &Calendar, after: &str, count: usize) -> String {
    let first = calendar.next_after(ms(after));
    let ticks = std::iter::successors(first, |tick| calendar.next_after(*tick)).take(count);
    let texts: Vec<String> = ticks.map(|tick| calendar.local_text(tick).unwrap()).collect();
    texts.join(" ")
}

#[test]
fn five_or_six_fields_and_nicknames_are_read() {
    let utc = |cron: &str| {
        let calendar = Calendar::of(&spec(cron, "UTC")).unwrap();
        ticks(&calendar, "2027-01-30T23:59:58.5Z", 3)
    };
    assert_snapshot!(utc("*/20 * * * *"), @r"2027-01-31T00:00:00+00:00 2027-01-31T00:20:00+00:00 2027-01-31T00:40:00+00:00");
    assert_snapshot!(utc("59,0 59,0 * * * *"), @r"2027-01-30T23:59:59+00:00 2027-01-31T00:00:00+00:00 2027-01-31T00:00:59+00:00");
    assert_snapshot!(utc("@monthly"), @r"2027-02-01T00:00:00+00:00 2027-03-01T00:00:00+00:00 2027-04-01T00:00:00+00:00");
    assert_snapshot!(utc("0 12 L * *"), @r"2027-01-31T12:00:00+00:00 2027-02-28T12:00:00+00:00 2027-03-31T12:00:00+00:00");
    assert_snapshot!(utc("30 9 * * MON#2"), @r"2027-02-08T09:30:00+00:00 2027-03-08T09:30:00+00:00 2027-04-12T09:30:00+00:00");
    assert_snapshot!(utc("0 0 29 2 *"), @r"2028-02-29T00:00:00+00:00 2032-02-29T00:00:00+00:00 2036-02-29T00:00:00+00:00");
}

#[test]
fn an_hour_that_is_skipped_or_doubled_follows_its_policy() {
    let berlin = |cron: &str, skipped, doubled, after: &str| {
        ticks(&calendar(cron, "Europe/Berlin", skipped, doubled), after, 3)
    };
    let spring = "2027-03-28T00:00:00Z";
    assert_snapshot!(berlin("30 2 * * *", SkippedHours::Skip, DoubledHours::First, spring), @r"2027-03-29T02:30:00+02:00 2027-03-30T02:30:00+02:00 2027-03-31T02:30:00+02:00");
    assert_snapshot!(berlin("30 2 * * *", SkippedHours::Shift, DoubledHours::First, spring), @r"2027-03-28T03:00:00+02:00 2027-03-29T02:30:00+02:00 2027-03-30T02:30:00+02:00");
    assert_snapshot!(berlin("*/20 2,3 * * *", SkippedHours::Shift, DoubledHours::First, spring), @r"2027-03-28T03:00:00+02:00 2027-03-28T03:20:00+02:00 2027-03-28T03:40:00+02:00");

    let autumn = "2027-10-31T00:00:00Z";
    assert_snapshot!(berlin("30 2 * * *", SkippedHours::Skip, DoubledHours::First, autumn), @r"2027-10-31T02:30:00+02:00 2027-11-01T02:30:00+01:00 2027-11-02T02:30:00+01:00");
    assert_snapshot!(berlin("30 2 * * *", SkippedHours::Skip, DoubledHours::Second, autumn), @r"2027-10-31T02:30:00+01:00 2027-11-01T02:30:00+01:00 2027-11-02T02:30:00+01:00");
    assert_snapshot!(berlin("30 2 * * *", SkippedHours::Skip, DoubledHours::Both, autumn), @r"2027-10-31T02:30:00+02:00 2027-10-31T02:30:00+01:00 2027-11-01T02:30:00+01:00");
    assert_snapshot!(berlin("0 * * * *", SkippedHours::Skip, DoubledHours::Both, autumn), @r"2027-10-31T02:00:00+01:00 2027-10-31T03:00:00+01:00 2027-10-31T04:00:00+01:00");
}

/// Local times by minute that an expression matches.
type Matches = fn(&DateTime) -> bool;

const EXPRESSIONS: [(&str, Matches); 4] = [
    ("*/10 * * * *", |at| at.minute() % 10 == 0),
    ("30 2 * * *", |at| (at.hour(), at.minute()) == (2, 30)),
    ("0 0 * * *", |at| (at.hour(), at.minute()) == (0, 0)),
    ("15 0-3 * * *", |at| at.hour() <= 3 && at.minute() == 15),
];

/// The moments around a change, minute by minute, with their local times, and whether that is the
/// first or the second of two moments with it.
struct Around {
    moments: Vec<(Timestamp, DateTime, Option<bool>)>,
    change: Timestamp,
    skipped: Vec<DateTime>,
}

impl Around {
    fn of(zone: &TimeZone, change: Timestamp) -> Self {
        let second = SignedDuration::from_secs(1);
        let before = zone.to_offset(change - second).to_datetime(change);
        let after = zone.to_datetime(change);
        let minutes = |from: i64, to: i64| (from..to).map(SignedDuration::from_mins);

        // From a whole minute of local time on, whatever second the change is at.
        let shown = minutes(-180, 180).map(|past| change + past);
        let shown: Vec<_> = shown.map(|at| (at, zone.to_datetime(at))).collect();
        let mut by_local: BTreeMap<DateTime, Vec<Timestamp>> = BTreeMap::new();
        for (at, local) in &shown {
            by_local.entry(*local).or_default().push(*at);
        }
        // The library is not asked for doubled times: it answers by the rule of the zone even where
        // the clock did not follow it, as in America/Godthab in October 2023.
        let moments = shown.iter().map(|(at, local)| {
            let of_two = match by_local[local].as_slice() {
                [first, _] => Some(first == at),
                _ => None,
            };
            (*at, *local, of_two)
        });
        let length = after.duration_since(before).as_mins();
        let skipped = minutes(0, length).map(|past| before + past).collect();
        Self { moments: moments.collect(), change, skipped }
    }

    /// The ticks by their definition: every moment is judged by itself.
    fn expected(&self, matches: Matches, skip: SkippedHours, double: DoubledHours) -> Vec<i64> {
        let shifts = skip == SkippedHours::Shift && self.skipped.iter().any(matches);
        let ticks = self.moments.iter().filter(|(at, local, of_two)| {
            let wanted = match (double, of_two) {
                (DoubledHours::First, Some(first)) => *first,
                (DoubledHours::Second, Some(first)) => !first,
                (DoubledHours::Both, Some(_)) | (_, None) => true,
            };
            (wanted && matches(local)) || (shifts && *at == self.change)
        });
        ticks.map(|(at, ..)| at.as_millisecond()).collect()
    }

    fn computed(&self, calendar: &Calendar) -> Vec<i64> {
        let first = self.moments[0].0.as_millisecond();
        let last = self.moments[self.moments.len() - 1].0.as_millisecond();
        let ticks = std::iter::successors(calendar.next_after(first - 1), |tick| {
            calendar.next_after(*tick)
        });
        ticks.take_while(|tick| *tick <= last).collect()
    }
}

/// Every change of every clock between 2000 and 2050.
#[test]
fn ticks_around_every_change_of_a_clock_follow_the_policies() {
    let step = if env::var("FF_ZONES").is_ok_and(|zones| zones == "all") { 1 } else { ZONE_STEP };
    let database = TimeZoneDatabase::bundled();
    let begin = date(2000, 1, 1).to_zoned(TimeZone::UTC).unwrap().timestamp();
    let end = date(2050, 1, 1).to_zoned(TimeZone::UTC).unwrap().timestamp();
    let (mut zones, mut changes) = (0, 0);

    let some = database.available().step_by(step).map(|name| name.as_str().to_owned());
    for name in some.chain(BESIDE_THEIR_RULES.map(str::to_owned)) {
        let zone = database.get(&name).unwrap();
        let calendars: Vec<_> = EXPRESSIONS
            .into_iter()
            .flat_map(|expression| {
                SkippedHours::all().into_iter().map(move |skip| (expression, skip))
            })
            .flat_map(|(of, skip)| {
                DoubledHours::all().into_iter().map(move |both| (of, skip, both))
            })
            .map(|((cron, matches), skip, double)| {
                (calendar(cron, &name, skip, double), matches, skip, double)
            })
            .collect();

        zones += 1;
        for change in zone.following(begin).take_while(|change| change.timestamp() < end) {
            changes += 1;
            let around = Around::of(&zone, change.timestamp());
            for (calendar, matches, skip, double) in &calendars {
                let expected = around.expected(*matches, *skip, *double);
                let at = change.timestamp();
                assert_eq!(around.computed(calendar), expected, "{name} {at} {skip:?} {double:?}");
            }
        }
    }
    assert!(15 < zones && 300 < changes, "{zones} zones with {changes} changes");
}

#[test]
fn an_expression_that_cannot_be_read_names_what_is_wrong() {
    let refusal = |change: fn(&mut ScheduleSpec)| {
        let mut spec = spec("0 3 * * *", "Europe/Berlin");
        change(&mut spec);
        let args = CreateScheduleArgs { id: id(), spec };
        CreateSchedule::new(args, &PartitionConfig::default()).err().unwrap().to_string()
    };
    assert_snapshot!(refusal(|spec| spec.cron = "60 3 * * *".into()), @r#"validation: InvalidInput: cron: minute "60" (of 0-59): Number out of bounds"#);
    assert_snapshot!(refusal(|spec| spec.cron = "0 0 3 * 13 *".into()), @r#"validation: InvalidInput: cron: month "13" (of 1-12): Number out of bounds"#);
    assert_snapshot!(refusal(|spec| spec.cron = "0 3 * * MOO".into()), @r#"validation: InvalidInput: cron: day of week "MOO" (of 0-7): CronPattern contains illegal character 'M' in part 'MOO'"#);
    assert_snapshot!(refusal(|spec| spec.cron = "0 3 * *".into()), @r"validation: InvalidInput: cron: 4 fields, where five or six are needed");
    assert_snapshot!(refusal(|spec| spec.cron = "".into()), @r"validation: InvalidInput: cron: 0 fields, where five or six are needed");
    assert_snapshot!(refusal(|spec| spec.cron = "@never".into()), @r"validation: InvalidInput: cron: 1 fields, where five or six are needed");
    assert_snapshot!(refusal(|spec| spec.cron = "0 3 * * *\0".into()), @r"validation: InvalidInput: cron: must not contain NUL (at byte 9)");
    assert_snapshot!(refusal(|spec| spec.time_zone = "Europe/Atlantis".into()), @r#"validation: InvalidInput: time_zone: "Europe/Atlantis" is not in the tz database"#);
    assert_snapshot!(refusal(|spec| spec.jitter_ms = -1), @r"validation: InvalidInput: jitter_ms: must be between 0 and 86400000, got -1");
    assert_snapshot!(refusal(|spec| spec.catch_up = CatchUp::All { at_most: 0 }), @r"validation: InvalidInput: catch_up: must be between 1 and 1000 ticks, got 0");
    assert_snapshot!(refusal(|spec| spec.work.lane_id = LaneId::new("")), @r"validation: InvalidInput: lane_id: lane id is empty");
    assert_snapshot!(refusal(|spec| spec.work.execution_kind = "\0".into()), @r"validation: InvalidInput: execution_kind: must not contain NUL (at byte 0)");
    assert_snapshot!(refusal(|spec| drop(spec.work.tags.insert("schedule.name".into(), "x".into()))), @r"validation: InvalidInput: tags: schedule.name is set by each tick");

    let unnamed = CreateScheduleArgs { id: ScheduleId::new("a", ""), spec: spec("@daily", "UTC") };
    let error = CreateSchedule::new(unnamed, &PartitionConfig::default()).err().unwrap();
    assert_snapshot!(error, @r"validation: InvalidInput: name: must not be empty");
}

#[test]
fn an_expression_that_never_matches_has_no_tick() {
    let calendar = Calendar::of(&spec("0 0 30 2 *", "Europe/Berlin")).unwrap();
    assert_eq!(calendar.next_after(ms("2027-01-01T00:00:00Z")), None);
}

#[test]
fn ids_and_jitter_follow_from_schedule_and_tick() {
    let key = ScheduleKey::of(&id(), &PartitionConfig::default()).unwrap();
    assert_eq!(key.execution(5), key.execution(5));
    assert_ne!(key.execution(5), key.execution(6));
    assert_snapshot!(key.execution(0).id(), @r"{fp:83}:067d5476-1ef8-8253-8b51-7fa5d3c6a5da");

    let jitters: Vec<i64> = (0..1_000).map(|tick| key.jitter_ms(tick, 99)).collect();
    assert!(jitters.iter().all(|jitter| (0..=99).contains(jitter)));
    assert!(jitters.contains(&0) && jitters.contains(&99));
    assert_eq!(key.jitter_ms(7, 0), 0);

    let mut jittered = spec("@hourly", "UTC");
    jittered.jitter_ms = MINUTE;
    for planned in planned_ticks(&id(), &jittered, TimestampMs(0), 20).unwrap() {
        let jitter = planned.due_at.0 - planned.tick_at.0;
        assert!((0..=MINUTE).contains(&jitter));
    }
}

/// What a schedule with a tick each minute does, in minutes.
fn turns(change: impl FnOnce(&mut ScheduleInfo), running: bool, now_minutes: i64) -> String {
    let key = ScheduleKey::of(&id(), &PartitionConfig::default()).unwrap();
    let mut info = ScheduleInfo::new(id(), spec("* * * * *", "UTC"), TimestampMs(0));
    info.next_tick_at = Some(TimestampMs(10 * MINUTE));
    change(&mut info);

    let calendar = Calendar::of(&info.spec).unwrap();
    let minutes = |at: Option<i64>| at.map_or("-".into(), |at| (at / MINUTE).to_string());
    let tick = |Tick { at_ms, next_ms, skipped_ms }: Tick| {
        let (at, next, skipped) = (Some(at_ms), next_ms, skipped_ms);
        format!("{}, next {}, skipped {}", minutes(at), minutes(next), minutes(skipped))
    };
    match turn(&key, &info, &calendar, running, TimestampMs(now_minutes * MINUTE)) {
        Turn::Fire(fired) => format!("fire {}", tick(fired)),
        Turn::CancelFirst => "cancel first".into(),
        Turn::Queue(queued) => format!("queue {}", tick(queued)),
        Turn::Skip(skipped) => format!("skip {}", tick(skipped)),
        Turn::Wait => "wait".into(),
    }
}

fn overlap(overlap: Overlap) -> impl FnOnce(&mut ScheduleInfo) {
    move |info| info.spec.overlap = overlap
}

fn catch_up(catch_up: CatchUp) -> impl FnOnce(&mut ScheduleInfo) {
    move |info| info.spec.catch_up = catch_up
}

#[test]
fn a_tick_that_is_due_follows_the_overlap_policy() {
    assert_snapshot!(turns(|_| {}, false, 9), @r"wait");
    assert_snapshot!(turns(|_| {}, false, 10), @r"fire 10, next 11, skipped -");
    assert_snapshot!(turns(overlap(Overlap::Skip), true, 10), @r"skip 10, next 11, skipped 10");
    assert_snapshot!(turns(overlap(Overlap::Queue), true, 10), @r"queue 10, next 11, skipped -");
    assert_snapshot!(turns(overlap(Overlap::CancelRunning), true, 10), @r"cancel first");

    let paused = |info: &mut ScheduleInfo| {
        let (actor, since) = ("ops".into(), TimestampMs(0));
        info.pause = Some(SchedulePause { since, actor, reason: None });
    };
    assert_snapshot!(turns(paused, false, 10), @r"wait");
    let queued = |count: i64| {
        move |info: &mut ScheduleInfo| {
            info.spec.overlap = Overlap::Queue;
            info.queued = (0..count).map(|tick| TimestampMs(tick * MINUTE)).collect();
        }
    };
    assert_snapshot!(turns(queued(2), false, 10), @r"fire 0, next 10, skipped -");
    assert_snapshot!(turns(queued(2), true, 9), @r"wait");
    assert_snapshot!(turns(queued(100), true, 10), @r"skip 10, next 11, skipped 10");
}

#[test]
fn missed_ticks_follow_the_catch_up_policy() {
    // At minute 30, the ticks of 10 to 28 are missed, and those of 29 and 30 are due.
    assert_snapshot!(turns(catch_up(CatchUp::SkipMissed), false, 30), @r"fire 29, next 30, skipped 28");
    assert_snapshot!(turns(catch_up(CatchUp::Latest), false, 30), @r"fire 29, next 30, skipped 28");
    assert_snapshot!(turns(catch_up(CatchUp::All { at_most: 3 }), false, 30), @r"fire 26, next 27, skipped 25");
    assert_snapshot!(turns(catch_up(CatchUp::All { at_most: 100 }), false, 30), @r"fire 10, next 11, skipped -");

    let hourly = |catch_up: CatchUp| {
        move |info: &mut ScheduleInfo| {
            info.spec.cron = "0 * * * *".into();
            info.spec.catch_up = catch_up;
            info.next_tick_at = Some(TimestampMs(60 * MINUTE));
        }
    };
    assert_snapshot!(turns(hourly(CatchUp::SkipMissed), false, 190), @r"skip 180, next 240, skipped 180");
    assert_snapshot!(turns(hourly(CatchUp::Latest), false, 190), @r"fire 180, next 240, skipped 120");
    assert_snapshot!(turns(hourly(CatchUp::All { at_most: 2 }), false, 190), @r"fire 120, next 180, skipped 60");
    // A year of missed seconds takes no longer than a minute of them.
    let each_second = |info: &mut ScheduleInfo| {
        info.spec.cron = "* * * * * *".into();
        info.spec.catch_up = CatchUp::All { at_most: 1_000 };
    };
    assert_snapshot!(turns(each_second, false, 365 * 24 * 60), @r"fire 525582, next 525582, skipped 525582");
}
