//! Pausing a schedule, and going on with it.

use crate::contracts::{PauseScheduleArgs, ScheduleId, ScheduleInfo, SchedulePause};
use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::model::partition::PartitionConfig;
use crate::plan::facts::Facts;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Verdict};
use crate::rules::input;
use crate::rules::premise::Premise;
use crate::rules::schedule::calendar::Calendar;
use crate::rules::schedule::create::{changed, stored};
use crate::rules::schedule::key::ScheduleKey;
use crate::rules::schedule::row;

/// Pauses a schedule: it makes no executions until an operator resumes it. A paused one keeps its
/// first actor and reason.
#[derive(Clone, Debug)]
pub struct PauseSchedule {
    key: ScheduleKey,
    args: PauseScheduleArgs,
}

impl PauseSchedule {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field: text with NUL, or a name that is too long.
    pub fn new(args: PauseScheduleArgs, partitions: &PartitionConfig) -> Result<Self, EngineError> {
        input::name("actor", &args.actor)?;
        input::name("reason", args.reason.as_deref().unwrap_or_default())?;
        Ok(Self { key: ScheduleKey::of(&args.id, partitions)?, args })
    }
}

impl Decision for PauseSchedule {
    type Outcome = ScheduleInfo;

    const NAME: &'static str = "pause_schedule";

    fn premises(&self, _: TimestampMs) -> Vec<Premise<Self::Outcome>> {
        vec![self.key.existing()]
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<Self::Outcome> {
        let mut info = stored(facts)?;
        if info.pause.is_some() {
            return Ok(Verdict::Answer(info));
        }

        let PauseScheduleArgs { actor, reason, .. } = self.args.clone();
        info.pause = Some(SchedulePause { since: at, actor, reason });
        change(&self.key, info, at)
    }
}

/// Goes on with a paused schedule, from the first tick after now: the ticks of the pause are not
/// made up for.
#[derive(Clone, Debug)]
pub struct ResumeSchedule(ScheduleKey);

impl ResumeSchedule {
    /// Checks the argument.
    ///
    /// # Errors
    /// As [`ScheduleKey::of`].
    pub fn new(id: &ScheduleId, partitions: &PartitionConfig) -> Result<Self, EngineError> {
        Ok(Self(ScheduleKey::of(id, partitions)?))
    }
}

impl Decision for ResumeSchedule {
    type Outcome = ScheduleInfo;

    const NAME: &'static str = "resume_schedule";

    fn premises(&self, _: TimestampMs) -> Vec<Premise<Self::Outcome>> {
        vec![self.0.existing()]
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<Self::Outcome> {
        let mut info = stored(facts)?;
        if info.pause.take().is_none() {
            return Ok(Verdict::Answer(info));
        }

        if info.next_tick_at.is_some_and(|next| next <= at) {
            info.next_tick_at = Calendar::of(&info.spec)?.next_after(at.0).map(TimestampMs);
        }
        change(&self.0, info, at)
    }
}

fn change(key: &ScheduleKey, info: ScheduleInfo, at: TimestampMs) -> Decided<ScheduleInfo> {
    let mut cells = row::of_progress(key, &info);
    cells.extend(row::of_pause(info.pause.as_ref()));
    Verdict::change([row::update(key, cells, at)], changed(key, info, at))
}
