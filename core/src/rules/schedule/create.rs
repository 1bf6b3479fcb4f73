//! Creating, changing and deleting schedules.

use crate::contracts::{
    CreateScheduleArgs, CreateScheduleResult, ScheduleId, ScheduleInfo, UpdateScheduleArgs,
};
use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::model::partition::PartitionConfig;
use crate::model::state::Overlap;
use crate::plan::facts::Facts;
use crate::plan::{Mutation, OnConflict};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Verdict};
use crate::rules::premise::{Premise, answer};
use crate::rules::schedule::key::{SCHEDULE, ScheduleKey};
use crate::rules::schedule::row;
use crate::rules::schedule::spec::Checked;
use crate::schema::schedule::schedule;

/// Creates a schedule; its first tick lies in the future. The first definition of a name wins.
#[derive(Clone, Debug)]
pub struct CreateSchedule(Checked);

impl CreateSchedule {
    /// Checks the arguments.
    ///
    /// # Errors
    /// As [`Checked::new`].
    pub fn new(
        args: CreateScheduleArgs,
        partitions: &PartitionConfig,
    ) -> Result<Self, EngineError> {
        Ok(Self(Checked::new(&args.id, args.spec, partitions)?))
    }
}

impl Decision for CreateSchedule {
    type Outcome = CreateScheduleResult;

    const NAME: &'static str = "create_schedule";

    fn premises(&self, _: TimestampMs) -> Vec<Premise<Self::Outcome>> {
        vec![Premise::read(SCHEDULE, self.0.key().lookup())]
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<Self::Outcome> {
        if let Some(stored) = facts.row(SCHEDULE) {
            let stored = row::read(stored)?;
            return Ok(Verdict::Answer(CreateScheduleResult::AlreadyExists(stored)));
        }

        let (key, spec) = (self.0.key(), self.0.spec());
        let mut info = ScheduleInfo::new(key.id(), spec.clone(), at);
        info.next_tick_at = Some(TimestampMs(self.0.first_tick(at.0)?));
        info.due_at = row::due_at(key, &info).map(TimestampMs);

        let mut cells = key.columns();
        cells.extend(row::of_spec(spec)?);
        cells.extend(row::of_progress(key, &info));
        cells.push(schedule::created_at_ms.with(at.0));
        cells.push(schedule::updated_at_ms.with(at.0));
        let insert = Mutation::insert(schedule::REF, cells, OnConflict::Refuse);
        Verdict::change([insert], CreateScheduleResult::Created(info))
    }
}

/// Replaces what a schedule does.
#[derive(Clone, Debug)]
pub struct UpdateSchedule(Checked);

impl UpdateSchedule {
    /// Checks the arguments.
    ///
    /// # Errors
    /// As [`Checked::new`].
    pub fn new(
        args: UpdateScheduleArgs,
        partitions: &PartitionConfig,
    ) -> Result<Self, EngineError> {
        Ok(Self(Checked::new(&args.id, args.spec, partitions)?))
    }

    /// The next tick: the one that the schedule waits for, unless other ticks follow from now on.
    fn next_tick(&self, stored: &ScheduleInfo, at: TimestampMs) -> Result<i64, EngineError> {
        let (old, new) = (&stored.spec, self.0.spec());
        let same = old.cron == new.cron
            && old.time_zone == new.time_zone
            && old.skipped_hours == new.skipped_hours
            && old.doubled_hours == new.doubled_hours;

        match stored.next_tick_at.filter(|_| same) {
            Some(next) => Ok(next.0),
            None => self.0.first_tick(at.0),
        }
    }
}

impl Decision for UpdateSchedule {
    type Outcome = ScheduleInfo;

    const NAME: &'static str = "update_schedule";

    fn premises(&self, _: TimestampMs) -> Vec<Premise<Self::Outcome>> {
        vec![self.0.key().existing()]
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<Self::Outcome> {
        let (key, spec) = (self.0.key(), self.0.spec());
        let stored = stored(facts)?;

        let mut info = stored.clone();
        info.next_tick_at = Some(TimestampMs(self.next_tick(&stored, at)?));
        info.spec = spec.clone();
        if spec.overlap != Overlap::Queue {
            info.queued.clear();
        }

        let mut cells = row::of_spec(spec)?;
        cells.extend(row::of_progress(key, &info));
        let update = row::update(key, cells, at);
        Verdict::change([update], changed(key, info, at))
    }
}

/// Deletes a schedule. Its executions stay.
#[derive(Clone, Debug)]
pub struct DeleteSchedule(ScheduleKey);

impl DeleteSchedule {
    /// Checks the argument.
    ///
    /// # Errors
    /// As [`ScheduleKey::of`].
    pub fn new(id: &ScheduleId, partitions: &PartitionConfig) -> Result<Self, EngineError> {
        Ok(Self(ScheduleKey::of(id, partitions)?))
    }
}

impl Decision for DeleteSchedule {
    /// True if there was one.
    type Outcome = bool;

    const NAME: &'static str = "delete_schedule";

    fn premises(&self, _: TimestampMs) -> Vec<Premise<bool>> {
        vec![self.0.existing().or_if_absent(answer(false))]
    }

    fn decide(&self, _: &Facts, _: TimestampMs, _: &mut Ctx<'_>) -> Decided<bool> {
        Verdict::change([Mutation::delete(schedule::REF, self.0.columns())], true)
    }
}

/// The schedule that was read.
///
/// # Errors
/// `NotFound` if there is none, `Validation(Corruption)` if it cannot be read.
pub fn stored(facts: &Facts) -> Result<ScheduleInfo, EngineError> {
    let row = facts.row(SCHEDULE).ok_or(EngineError::NotFound { entity: "schedule" })?;
    row::read(row)
}

/// The schedule after a change of its row at that time.
#[must_use]
pub fn changed(key: &ScheduleKey, info: ScheduleInfo, at: TimestampMs) -> ScheduleInfo {
    let due_at = row::due_at(key, &info).map(TimestampMs);
    ScheduleInfo { due_at, updated_at: at, version: info.version.saturating_add(1), ..info }
}
