//! The ticks to come, without a database.

use crate::contracts::{PlannedTick, ScheduleId, ScheduleSpec};
use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::model::partition::PartitionConfig;
use crate::rules::schedule::calendar::Calendar;
use crate::rules::schedule::key::ScheduleKey;
use crate::rules::schedule::row::submitted_at;

/// The next ticks of a schedule after a moment, at most so many.
///
/// # Errors
/// As [`Calendar::of`], and for a name that is none.
pub fn planned_ticks(
    id: &ScheduleId,
    spec: &ScheduleSpec,
    after: TimestampMs,
    most: usize,
) -> Result<Vec<PlannedTick>, EngineError> {
    // The jitter does not depend on the partition.
    let key = ScheduleKey::of(id, &PartitionConfig::default())?;
    let calendar = Calendar::of(spec)?;

    let ticks =
        std::iter::successors(calendar.next_after(after.0), |tick| calendar.next_after(*tick));
    let planned = ticks.take(most).map(|tick| PlannedTick {
        tick_at: TimestampMs(tick),
        due_at: TimestampMs(submitted_at(&key, spec, tick)),
    });
    Ok(planned.collect())
}
