//! What a schedule is asked to do, checked.

use crate::contracts::{
    CATCH_UP_MAX, CatchUp, SCHEDULE_JITTER_MAX_MS, SCHEDULE_NAME_TAG, SCHEDULE_TICK_TAG,
    ScheduleId, ScheduleSpec,
};
use crate::model::error::EngineError;
use crate::model::partition::PartitionConfig;
use crate::rules::execution::create::Create;
use crate::rules::input;
use crate::rules::schedule::calendar::Calendar;
use crate::rules::schedule::key::ScheduleKey;
use crate::rules::schedule::submission::submission;

/// A schedule that can be stored, with ticks that can be submitted.
#[derive(Clone, Debug)]
pub struct Checked {
    // Invariant: everything here has passed `Checked::new`.
    key: ScheduleKey,
    spec: ScheduleSpec,
    calendar: Calendar,
}

impl Checked {
    /// Checks a schedule.
    ///
    /// # Errors
    /// `Validation` naming the field: a name that is empty, too long or has NUL; an expression or a
    /// time zone that cannot be read; a jitter or a number of ticks outside its bounds; a tag that
    /// ticks set themselves; work that cannot be submitted.
    pub fn new(
        id: &ScheduleId,
        spec: ScheduleSpec,
        partitions: &PartitionConfig,
    ) -> Result<Self, EngineError> {
        let key = ScheduleKey::of(id, partitions)?;
        let calendar = Calendar::of(&spec)?;

        let (jitter, most) = (spec.jitter_ms, SCHEDULE_JITTER_MAX_MS);
        if !(0..=most).contains(&jitter) {
            let problem = format!("jitter_ms: must be between 0 and {most}, got {jitter}");
            return Err(input::invalid(problem));
        }
        if let CatchUp::All { at_most } = spec.catch_up
            && !(1..=CATCH_UP_MAX).contains(&at_most)
        {
            let most = CATCH_UP_MAX;
            let problem = format!("catch_up: must be between 1 and {most} ticks, got {at_most}");
            return Err(input::invalid(problem));
        }
        for tag in [SCHEDULE_NAME_TAG, SCHEDULE_TICK_TAG] {
            if spec.work.tags.contains_key(tag) {
                return Err(input::invalid(format!("tags: {tag} is set by each tick")));
            }
        }

        // What a tick submits is checked as any submission is.
        Create::new(submission(&key, &spec.work, &calendar, 0), partitions)?;
        Ok(Self { key, spec, calendar })
    }

    /// The key of the schedule.
    #[must_use]
    pub fn key(&self) -> &ScheduleKey {
        &self.key
    }

    /// When it ticks, and what a tick submits.
    #[must_use]
    pub fn spec(&self) -> &ScheduleSpec {
        &self.spec
    }

    /// The first tick after a moment.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for an expression that matches no later time.
    pub fn first_tick(&self, after_ms: i64) -> Result<i64, EngineError> {
        self.calendar.next_after(after_ms).ok_or_else(|| {
            input::invalid(format!("cron: {:?} matches no time to come", self.spec.cron))
        })
    }
}
