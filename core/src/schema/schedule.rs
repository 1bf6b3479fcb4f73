//! Schedules: cron expressions with ticks that become executions.
//!
//! Rows carry the partition of the schedule, which its executions share.

use serde_json::Value as Json;
use uuid::Uuid;

use crate::model::state::{CatchUpPolicy, DoubledHours, Overlap, SkippedHours};
use crate::plan::Predicate;

table! {
    /// One row per schedule: when it ticks, what a tick submits, and which tick is next.
    schedule = "ff_schedule" key [partition_key, namespace, name] partitioned {
        /// The partition of the schedule.
        partition_key: i16,
        /// The namespace of the schedule and of its executions.
        namespace: String,
        /// The name of the schedule, within its namespace.
        name: String,
        /// The cron expression, of five or six fields.
        cron: String,
        /// The name of the time zone in the tz database.
        time_zone: String,
        /// The longest time by which an execution is submitted after its tick, ms.
        jitter_ms: i64 = Default::Int(0),
        /// The course at a tick while the execution of the tick before has not ended.
        overlap: Overlap = Default::Text("skip"),
        /// The missed ticks that are made up for.
        catch_up: CatchUpPolicy = Default::Text("latest"),
        /// The most missed ticks that are made up for, where all are.
        catch_up_most: i32 = Default::Int(1),
        /// The ticks at local times that do not exist.
        skipped_hours: SkippedHours = Default::Text("shift"),
        /// The ticks at local times that exist twice.
        doubled_hours: DoubledHours = Default::Text("first"),
        /// What a tick submits, but for its payload: lane, kind, priority, policy, tags.
        work: Json,
        /// The payload of each submission.
        payload: Vec<u8>,
        /// The next tick, Unix ms; NULL after the last.
        next_tick_at_ms: Option<i64>,
        /// The time from which a scanner looks at the schedule, Unix ms; NULL while it need not.
        due_at_ms: Option<i64>,
        /// Ticks that wait until the execution before has ended: their times, Unix ms.
        queued: Json = Default::Json("[]"),
        /// The last tick that became an execution, Unix ms.
        last_tick_at_ms: Option<i64>,
        /// The execution of that tick.
        last_execution_id: Option<Uuid>,
        /// The last tick that was skipped, by overlap or because it was missed, Unix ms.
        skipped_tick_at_ms: Option<i64>,
        /// The time when the schedule was paused, Unix ms; NULL while it is not.
        paused_at_ms: Option<i64>,
        /// The operator that paused it.
        paused_by: Option<String>,
        /// The reason of that operator.
        paused_reason: Option<String>,
        /// Creation, Unix ms.
        created_at_ms: i64,
        /// Last change, Unix ms.
        updated_at_ms: i64,
        /// Grows with every change.
        version: i64 = Default::Int(0),
    }
    indexes [
        "ff_schedule_due_idx" (due_at_ms Ascending, namespace Ascending, name Ascending)
            only awaits_tick,
        "ff_schedule_name_idx" (namespace Ascending, name Ascending),
    ]
}

/// Schedules that a scanner will have to look at.
#[must_use]
pub fn awaits_tick() -> Predicate {
    schedule::due_at_ms.is_present()
}
