//! Operations on schedules: every one on every stored state, as one reviewed page.

use ff_core::contracts::{
    BackfillScheduleArgs, CreateScheduleArgs, PauseScheduleArgs, ScheduleId, ScheduleSpec,
    ScheduledWork, UpdateScheduleArgs,
};
use ff_core::partition::PartitionConfig;
use ff_core::rules::decision::Transition;
use ff_core::rules::key::ExecutionKey;
use ff_core::rules::schedule::backfill::Backfill;
use ff_core::rules::schedule::create::{CreateSchedule, DeleteSchedule, UpdateSchedule};
use ff_core::rules::schedule::fire::Fire;
use ff_core::rules::schedule::key::ScheduleKey;
use ff_core::rules::schedule::pause::{PauseSchedule, ResumeSchedule};
use ff_core::rules::status::Status;
use ff_core::schema::execution::exec_core;
use ff_core::schema::schedule::schedule;
use ff_core::state::{CatchUpPolicy, DoubledHours, Overlap, SkippedHours, TerminalOutcome};
use ff_core::types::{LaneId, TimestampMs};
use serde_json::json;

use crate::page::{self, Situation, Word, pages, written};
use crate::stored::{RowOf, blank, core_row};
use crate::{Decided, NOW, decide, key};

const MINUTE: i64 = 60_000;

fn id() -> ScheduleId {
    ScheduleId::new("tenant", "nightly")
}

fn spec(cron: &str) -> ScheduleSpec {
    ScheduleSpec::new(cron, ScheduledWork::new(LaneId::new("work"), "kind"))
}

fn place() -> ScheduleKey {
    ScheduleKey::of(&id(), &PartitionConfig::default()).unwrap()
}

/// A schedule of every minute, whose next tick is at that time, and due then.
fn stored(cron: &str, overlap: Overlap, next: Option<i64>) -> RowOf {
    let key = place();
    let work = ScheduledWork::new(LaneId::new("work"), "kind");
    blank()
        .with(schedule::partition_key, key.partition)
        .with(schedule::namespace, key.namespace)
        .with(schedule::name, key.name)
        .with(schedule::cron, cron.into())
        .with(schedule::time_zone, "UTC".into())
        .with(schedule::jitter_ms, 0)
        .with(schedule::overlap, overlap)
        .with(schedule::catch_up, CatchUpPolicy::Latest)
        .with(schedule::catch_up_most, 1)
        .with(schedule::skipped_hours, SkippedHours::Shift)
        .with(schedule::doubled_hours, DoubledHours::First)
        .with(schedule::work, serde_json::to_value(work).unwrap())
        .with(schedule::payload, Vec::new())
        .with(schedule::next_tick_at_ms, next)
        .with(schedule::due_at_ms, next)
        .with(schedule::queued, json!([]))
        .with(schedule::last_tick_at_ms, None)
        .with(schedule::last_execution_id, Some(key_of_before().uuid))
        .with(schedule::skipped_tick_at_ms, None)
        .with(schedule::paused_at_ms, None)
        .with(schedule::paused_by, None)
        .with(schedule::paused_reason, None)
        .with(schedule::created_at_ms, 1)
        .with(schedule::updated_at_ms, 1)
        .with(schedule::version, 3)
}

/// The execution of the tick before.
fn key_of_before() -> ExecutionKey {
    ExecutionKey { partition: place().partition, uuid: key().uuid }
}

fn schedules() -> Vec<Situation> {
    // The last full minute, and the next.
    let (due, later) = (NOW - NOW % MINUTE, NOW - NOW % MINUTE + MINUTE);
    let paused = stored("* * * * *", Overlap::Skip, None)
        .with(schedule::paused_at_ms, Some(NOW - 1))
        .with(schedule::paused_by, Some("ada".into()));
    vec![
        ("none", vec![]),
        ("later", vec![stored("* * * * *", Overlap::Skip, Some(later))]),
        ("skips", vec![stored("* * * * *", Overlap::Skip, Some(due))]),
        ("queues", vec![stored("* * * * *", Overlap::Queue, Some(due))]),
        ("cancels", vec![stored("* * * * *", Overlap::CancelRunning, Some(due))]),
        ("paused", vec![paused]),
        ("damaged", vec![stored("never", Overlap::Skip, Some(due))]),
    ]
}

fn before() -> Vec<Situation> {
    let running = core_row().with(exec_core::partition_key, key_of_before().partition);
    let ended = running.clone().in_state(Status::terminal(TerminalOutcome::Success));
    vec![("no-run", vec![]), ("ended", vec![ended]), ("running", vec![running])]
}

/// What an operation decides: the first word of its answer, and what it writes.
fn operation<T: Transition + 'static>(operation: T) -> Word
where
    T::Outcome: std::fmt::Debug,
{
    let first = |answer: &str| answer.split([' ', '{']).next().unwrap_or_default().to_owned();
    Box::new(move |stored| match decide(&operation, stored) {
        Decided::Plan(plan, answer) => {
            format!("{}; {}", first(&answer.unwrap_or_default()), written(&plan))
        }
        Decided::Answer(answer) => format!("answer {}", first(&answer)),
        Decided::Refused(error) => format!("refused {error}"),
    })
}

#[test]
fn every_operation_on_every_schedule() {
    let partitions = PartitionConfig::default();
    let create = CreateScheduleArgs { id: id(), spec: spec("0 5 * * *") };
    let update = |cron| {
        let args = UpdateScheduleArgs { id: id(), spec: spec(cron) };
        operation(UpdateSchedule::new(args, &partitions).unwrap())
    };
    let pause = PauseScheduleArgs { id: id(), actor: "bo".into(), reason: None };
    let (from, until) = (TimestampMs(NOW - 2 * MINUTE), TimestampMs(NOW));
    let backfill = BackfillScheduleArgs { id: id(), from, until };
    let operations = vec![
        ("create_schedule", operation(CreateSchedule::new(create, &partitions).unwrap())),
        ("update_schedule, its payload", update("* * * * *")),
        ("update_schedule, its ticks", update("0 5 * * *")),
        ("pause_schedule", operation(PauseSchedule::new(pause, &partitions).unwrap())),
        ("resume_schedule", operation(ResumeSchedule::new(&id(), &partitions).unwrap())),
        ("backfill_schedule", operation(Backfill::new(backfill, &partitions).unwrap())),
        ("scan of schedules", operation(Fire { key: place(), partitions })),
        ("delete_schedule", operation(DeleteSchedule::new(&id(), &partitions).unwrap())),
    ];
    let situations = [("schedule", schedules()), ("before", before())];
    page::assert_reviewed("schedule_table", &pages(&situations, operations));
}
