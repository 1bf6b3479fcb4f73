//! Schedules: what ticks when, and what a tick submits.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::hidden::Hidden;
use crate::model::ids::{ExecutionId, LaneId, Namespace, TimestampMs};
use crate::model::policy::ExecutionPolicy;
use crate::model::state::{DoubledHours, Overlap, SkippedHours};

/// The most schedules on a page.
pub const LIST_SCHEDULES_MAX: u32 = 1_000;

/// The most ticks that one call backfills.
pub const BACKFILL_MAX: usize = 1_000;

/// The most missed ticks that a schedule makes up for.
pub const CATCH_UP_MAX: u32 = 1_000;

/// The longest jitter of a schedule, ms: a day.
pub const SCHEDULE_JITTER_MAX_MS: i64 = 86_400_000;

/// The most ticks of one schedule that wait for the execution before them. Further ones are
/// skipped.
pub const SCHEDULE_QUEUE_MAX: usize = 100;

/// The time by which a tick must be late to count as missed, ms: scanners that run handle a tick
/// within seconds.
pub const MISSED_AFTER_MS: i64 = 60_000;

/// The tag with the name of its schedule, which each execution of one carries.
pub const SCHEDULE_NAME_TAG: &str = "schedule.name";

/// The tag with the time of its tick, Unix ms, which each execution of a schedule carries.
pub const SCHEDULE_TICK_TAG: &str = "schedule.tick_ms";

/// Names a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ScheduleId {
    /// The namespace, which its executions share.
    pub namespace: Namespace,
    /// The name within the namespace.
    pub name: String,
}

impl ScheduleId {
    /// The schedule of that name in that namespace.
    #[must_use]
    pub fn new(namespace: impl Into<Namespace>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

/// When a schedule ticks, and what a tick submits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ScheduleSpec {
    /// The cron expression: minute, hour, day of month, month and day of week, with the second
    /// before them where there are six fields; or a nickname such as `@daily`.
    pub cron: String,
    /// The name of the time zone in the tz database, such as `Europe/Berlin`.
    pub time_zone: String,
    /// The longest time by which an execution is submitted after its tick, ms. The actual time
    /// follows from schedule and tick.
    pub jitter_ms: i64,
    /// The course at a tick while the execution of the tick before has not ended.
    pub overlap: Overlap,
    /// The missed ticks that are made up for.
    pub catch_up: CatchUp,
    /// The ticks at local times that do not exist.
    pub skipped_hours: SkippedHours,
    /// The ticks at local times that exist twice.
    pub doubled_hours: DoubledHours,
    /// What a tick submits.
    pub work: ScheduledWork,
}

impl ScheduleSpec {
    /// Ticks of a cron expression in UTC, without jitter. A tick is skipped while the execution
    /// before it has not ended, and the latest missed tick is made up for.
    #[must_use]
    pub fn new(cron: impl Into<String>, work: ScheduledWork) -> Self {
        Self {
            cron: cron.into(),
            time_zone: "UTC".into(),
            jitter_ms: 0,
            overlap: Overlap::Skip,
            catch_up: CatchUp::Latest,
            skipped_hours: SkippedHours::Shift,
            doubled_hours: DoubledHours::First,
            work,
        }
    }

    /// The same in that time zone.
    #[must_use]
    pub fn in_zone(self, time_zone: impl Into<String>) -> Self {
        Self { time_zone: time_zone.into(), ..self }
    }
}

/// The missed ticks that a schedule makes up for. A tick is missed once it is late by more than
/// [`MISSED_AFTER_MS`]: no scanner ran, or its lane was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// None.
    SkipMissed,
    /// The last one, unless a tick is due by now.
    Latest,
    /// The last ones, one execution each.
    All {
        /// The most of them, from 1 to [`CATCH_UP_MAX`].
        at_most: u32,
    },
}

/// What a tick submits.
#[derive(Clone, derive_more::Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ScheduledWork {
    /// The lane.
    pub lane_id: LaneId,
    /// The kind of work.
    pub execution_kind: String,
    /// The input. In UTF-8 text, `{{tick}}` stands for the time of the tick in the time zone of the
    /// schedule (RFC 3339), and `{{tick_ms}}` for the same in Unix milliseconds.
    #[serde(skip)]
    #[debug("{}", Hidden(input_payload))]
    pub input_payload: Vec<u8>,
    /// The encoding of the input.
    #[serde(default)]
    pub payload_encoding: Option<String>,
    /// Higher goes first.
    #[serde(default)]
    pub priority: i32,
    /// The identity of the submitter.
    pub creator_identity: String,
    /// Free labels, to which the name of the schedule and the tick are added.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Retries, timeouts, routing and limits.
    #[serde(default)]
    pub policy: Option<ExecutionPolicy>,
}

impl ScheduledWork {
    /// Work of that kind without input, for a lane.
    #[must_use]
    pub fn new(lane_id: LaneId, execution_kind: impl Into<String>) -> Self {
        Self {
            lane_id,
            execution_kind: execution_kind.into(),
            input_payload: Vec::new(),
            payload_encoding: None,
            priority: 0,
            creator_identity: "schedule".into(),
            tags: BTreeMap::new(),
            policy: None,
        }
    }
}

/// Creates a schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateScheduleArgs {
    /// Its name.
    pub id: ScheduleId,
    /// When it ticks, and what a tick submits.
    pub spec: ScheduleSpec,
}

/// The outcome of creating a schedule.
#[derive(Clone, Debug, PartialEq)]
pub enum CreateScheduleResult {
    /// The schedule is new.
    Created(ScheduleInfo),
    /// There was one of that name, as it is here; nothing changed.
    AlreadyExists(ScheduleInfo),
}

/// Replaces what a schedule does. It keeps its history; ticks follow the new expression from now
/// on.
#[derive(Clone, Debug, PartialEq)]
pub struct UpdateScheduleArgs {
    /// The schedule.
    pub id: ScheduleId,
    /// When it ticks from now on, and what a tick submits.
    pub spec: ScheduleSpec,
}

/// Pauses a schedule. One that is paused stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PauseScheduleArgs {
    /// The schedule.
    pub id: ScheduleId,
    /// The operator that pauses it.
    pub actor: String,
    /// The reason.
    pub reason: Option<String>,
}

/// A schedule as it is stored.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ScheduleInfo {
    /// Its name.
    pub id: ScheduleId,
    /// When it ticks, and what a tick submits.
    pub spec: ScheduleSpec,
    /// The pause, while it is paused.
    pub pause: Option<SchedulePause>,
    /// The next tick; `None` after the last.
    pub next_tick_at: Option<TimestampMs>,
    /// The time from which a scanner handles that tick or a waiting one; `None` while paused.
    pub due_at: Option<TimestampMs>,
    /// The ticks that wait until the execution before has ended.
    pub queued: Vec<TimestampMs>,
    /// The last tick that became an execution.
    pub last_tick_at: Option<TimestampMs>,
    /// The execution of that tick.
    pub last_execution: Option<ExecutionId>,
    /// The last tick that was skipped.
    pub skipped_tick_at: Option<TimestampMs>,
    /// Creation.
    pub created_at: TimestampMs,
    /// Last change.
    pub updated_at: TimestampMs,
    /// Grows with every change.
    pub version: i64,
}

impl ScheduleInfo {
    /// A schedule without a past.
    #[must_use]
    pub fn new(id: ScheduleId, spec: ScheduleSpec, created_at: TimestampMs) -> Self {
        Self {
            id,
            spec,
            pause: None,
            next_tick_at: None,
            due_at: None,
            queued: Vec::new(),
            last_tick_at: None,
            last_execution: None,
            skipped_tick_at: None,
            created_at,
            updated_at: created_at,
            version: 0,
        }
    }
}

/// The pause of a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchedulePause {
    /// The time when it began.
    pub since: TimestampMs,
    /// The operator that paused the schedule.
    pub actor: String,
    /// The reason.
    pub reason: Option<String>,
}

/// Lists schedules by namespace and name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListSchedulesArgs {
    /// The namespace; all of them when absent.
    pub namespace: Option<Namespace>,
    /// The schedule after which the page begins.
    pub after: Option<ScheduleId>,
    /// The most schedules; at most [`LIST_SCHEDULES_MAX`].
    pub limit: u32,
}

/// A page of schedules.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SchedulesPage {
    /// The schedules.
    pub schedules: Vec<ScheduleInfo>,
    /// The schedule that the next page begins after; `None` on the last page.
    pub next_cursor: Option<ScheduleId>,
}

/// Submits the executions of past ticks, with the overlap policy left aside. A tick that has an
/// execution keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackfillScheduleArgs {
    /// The schedule.
    pub id: ScheduleId,
    /// The first moment.
    pub from: TimestampMs,
    /// The last moment, which must not lie in the future.
    pub until: TimestampMs,
}

/// The executions of a backfill.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackfillReport {
    /// Those that were submitted.
    pub created: Vec<ExecutionId>,
    /// Those that existed before.
    pub existing: Vec<ExecutionId>,
}

/// A tick to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedTick {
    /// The time that the cron expression gives.
    pub tick_at: TimestampMs,
    /// The time at which its execution is submitted: the tick and its jitter.
    pub due_at: TimestampMs,
}
