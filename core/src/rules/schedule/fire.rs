//! A scanner deals with a schedule that is due: one tick at a time.

use crate::contracts::ScheduleInfo;
use crate::model::ids::{ExecutionId, TimestampMs};
use crate::model::partition::PartitionConfig;
use crate::plan::facts::{Facts, Row};
use crate::plan::{Held, Lookup, Query};
use crate::rules::changes::Changes;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Verdict};
use crate::rules::execution::create::Create;
use crate::rules::key::ExecutionKey;
use crate::rules::premise::{Condition, Premise, answer};
use crate::rules::schedule::calendar::Calendar;
use crate::rules::schedule::create::stored;
use crate::rules::schedule::key::ScheduleKey;
use crate::rules::schedule::row;
use crate::rules::schedule::submission::submission;
use crate::rules::schedule::turn::{Tick, Turn, turn};
use crate::schema::execution::{exec_core, unfinished};
use crate::schema::schedule::schedule;

/// The name of the execution of the tick before.
const BEFORE: &str = "before";
/// The name of an execution that the tick has already.
const OWN: &str = "own";

/// Deals with the next tick of a schedule, if one is due.
#[derive(Clone, Debug)]
pub struct Fire {
    /// The schedule.
    pub key: ScheduleKey,
    /// The partitions of the database.
    pub partitions: PartitionConfig,
}

/// What came of a schedule that was due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fired {
    /// A tick became an execution, waits or was skipped; more may be due.
    Moved,
    /// Nothing changed: nothing is due, or everything due waits.
    Nothing,
    /// A tick is due, once this execution of the one before is cancelled.
    CancelFirst(ExecutionId),
}

impl Decision for Fire {
    type Outcome = Fired;

    const NAME: &'static str = "fire_schedule";

    fn premises(&self, at: TimestampMs) -> Vec<Premise<Fired>> {
        let due = schedule::due_at_ms.at_most(Some(at.0));
        let existing = self.key.existing().or_if_absent(answer(Fired::Nothing));
        let conditions = vec![Condition::new(due, answer(Fired::Nothing))];
        vec![existing.guarded_by(conditions).pinned_to(schedule::version)]
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<Fired> {
        let info = stored(facts)?;
        let calendar = Calendar::of(&info.spec)?;
        if !facts.asked(BEFORE)
            && let Some(before) = self.before(&info)
        {
            return Ok(Verdict::AlsoRead(vec![Query::Lookup(vec![before])]));
        }

        let running = facts.row(BEFORE).is_some_and(is_unfinished);
        match turn(&self.key, &info, &calendar, running, at) {
            Turn::Wait => Ok(Verdict::Answer(Fired::Nothing)),
            Turn::CancelFirst => {
                let before = info.last_execution.map_or(Fired::Nothing, Fired::CancelFirst);
                Ok(Verdict::Answer(before))
            }
            Turn::Skip(tick) => Verdict::change(self.skips(info, tick, at), Fired::Moved),
            Turn::Queue(tick) => Verdict::change(self.queues(info, tick, at), Fired::Moved),
            Turn::Fire(tick) => self.fires(facts, info, &calendar, tick, at),
        }
    }
}

impl Fire {
    /// The look-up of the execution of the tick before.
    fn before(&self, info: &ScheduleInfo) -> Option<Lookup> {
        let uuid = info.last_execution.as_ref()?.uuid();
        let key = ExecutionKey { partition: self.key.partition, uuid };
        Some(named(BEFORE, &key))
    }

    fn skips(&self, info: ScheduleInfo, tick: Tick, at: TimestampMs) -> Changes {
        self.moves(moved_on(info, tick), at).named("skip_tick")
    }

    fn queues(&self, info: ScheduleInfo, tick: Tick, at: TimestampMs) -> Changes {
        let mut info = moved_on(info, tick);
        info.queued.push(TimestampMs(tick.at_ms));
        self.moves(info, at).named("queue_tick")
    }

    /// Submits the execution of a tick, as `create_execution` does, unless it has one.
    fn fires(
        &self,
        facts: &Facts,
        info: ScheduleInfo,
        calendar: &Calendar,
        tick: Tick,
        at: TimestampMs,
    ) -> Decided<Fired> {
        let submitted = submission(&self.key, &info.spec.work, calendar, tick.at_ms);
        let create = Create::new(submitted, &self.partitions)?;
        if !facts.asked(OWN) {
            let rows = vec![named(OWN, &create.key()), create.lane_row()];
            return Ok(Verdict::AlsoRead(vec![Query::Lookup(rows)]));
        }

        let mut info = moved_on(info, tick);
        info.queued.retain(|queued| queued.0 != tick.at_ms);
        info.last_tick_at = Some(TimestampMs(tick.at_ms));
        info.last_execution = Some(create.key().id());
        let moves = self.moves(info, at);
        if facts.row(OWN).is_some() {
            return Verdict::change(moves.named("pass_tick"), Fired::Moved);
        }
        // A closed lane is like a stopped fleet: the tick stays due.
        if create.lane_refusal(facts, at)?.is_some() {
            return Ok(Verdict::Answer(Fired::Nothing));
        }

        let (until, status) = create.begins(at);
        let inserts = create.inserts(until, status, None, at)?;
        let changes = moves.and(inserts).unless([create.closed_lane(at)]);
        Verdict::change(changes, Fired::Moved)
    }

    fn moves(&self, info: ScheduleInfo, at: TimestampMs) -> Changes {
        Changes::of([row::update(&self.key, row::of_progress(&self.key, &info), at)])
    }
}

/// The schedule after a tick.
fn moved_on(info: ScheduleInfo, tick: Tick) -> ScheduleInfo {
    let skipped = tick.skipped_ms.map(TimestampMs).or(info.skipped_tick_at);
    let next = tick.next_ms.map(TimestampMs);
    ScheduleInfo { next_tick_at: next, skipped_tick_at: skipped, ..info }
}

fn is_unfinished(execution: &Row) -> bool {
    unfinished().accepts(execution, &Held::default())
}

/// The look-up of an execution of the schedule, under that name.
fn named(row: &'static str, key: &ExecutionKey) -> Lookup {
    let columns = vec![exec_core::execution_id.column(), exec_core::lifecycle_phase.column()];
    Lookup { row: row.into(), table: exec_core::REF, key: key.core(), columns }
}
