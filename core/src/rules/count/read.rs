//! Reading the counts: sums over a table that stays small, however many executions there are.

use std::collections::BTreeMap;

use super::waiting;
use crate::contracts::{FailureCount, OldestWaiting, StateCount, Stats, StatsArgs};
use crate::model::error::{EngineError, ValidationKind};
use crate::model::ids::{LaneId, TimestampMs};
use crate::model::state::{ClosedSet as _, FailureClass, PublicState};
use crate::plan::facts::{Facts, Row};
use crate::plan::{Predicate, Query, Sums};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Transition};
use crate::rules::input;
use crate::schema::count::{MINUTE_MS, exec_count};

/// The minutes of the window in which failures are counted by class.
pub const WINDOW_MINUTES: i64 = 60;

/// Reads the counts, and how long the executions of each lane have waited.
#[derive(Clone, Debug)]
pub struct ReadStats(StatsArgs);

impl ReadStats {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field: text with NUL.
    pub fn new(args: StatsArgs) -> Result<Self, EngineError> {
        if let Some(lane) = &args.lane_id {
            input::text("lane_id", lane.as_str())?;
        }
        if let Some(kind) = &args.execution_kind {
            input::text("execution_kind", kind)?;
        }
        Ok(Self(args))
    }

    fn sums(&self) -> Sums {
        let mut predicate = Predicate::Always;
        if let Some(lane) = &self.0.lane_id {
            predicate = predicate.and(exec_count::lane_id.equals(lane.as_str().to_owned()));
        }
        if let Some(kind) = &self.0.execution_kind {
            predicate = predicate.and(exec_count::execution_kind.equals(kind.clone()));
        }

        Sums {
            name: "counts of executions".into(),
            table: exec_count::REF,
            by: vec![
                exec_count::lane_id.column(),
                exec_count::execution_kind.column(),
                exec_count::public_state.column(),
                exec_count::failure_class.column(),
                exec_count::ended_minute.column(),
            ],
            of: exec_count::n.column(),
            predicate,
        }
    }
}

impl Transition for ReadStats {
    type Outcome = Stats;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<Stats>, EngineError> {
        let sums = self.sums();
        let Some(rows) = facts.list_named(&sums.name) else {
            return Ok(Step::Read(vec![Query::Sums(sums)]));
        };

        let (counts, failures) = counted(rows, ctx.now)?;
        let oldest = match oldest(&self.0, &counts, facts)? {
            Ok(oldest) => oldest,
            Err(queries) => return Ok(Step::Read(queries)),
        };
        Ok(Step::Answer(Stats::new(ctx.now, counts, failures, oldest)))
    }
}

/// The counts by state, and those of failures within the window.
fn counted(
    rows: &[Row],
    now: TimestampMs,
) -> Result<(Vec<StateCount>, Vec<FailureCount>), EngineError> {
    let begin = now.0 / MINUTE_MS - WINDOW_MINUTES;
    let mut states: BTreeMap<(LaneId, String, &str), (PublicState, i64)> = BTreeMap::new();
    let mut failures: BTreeMap<(LaneId, String, String), i64> = BTreeMap::new();

    for row in rows {
        let lane = lane(row)?;
        let kind = row.read(exec_count::execution_kind)?;
        let (state, n) = (state(row)?, row.read(exec_count::n)?);
        let minute = row.read(exec_count::ended_minute)?;
        if state == PublicState::Failed && minute != 0 && begin < minute {
            let class = row.read(exec_count::failure_class)?;
            *failures.entry((lane.clone(), kind.clone(), class)).or_default() += n;
        }
        states.entry((lane, kind, state.as_str())).or_insert((state, 0)).1 += n;
    }

    let states = states.into_iter().filter_map(|((lane_id, kind, _), (state, n))| {
        let count = u64::try_from(n).ok().filter(|count| *count != 0)?;
        Some(StateCount { lane_id, execution_kind: kind, state, count })
    });
    let failures = failures.into_iter().filter_map(|((lane_id, kind, class), n)| {
        let count = u64::try_from(n).ok().filter(|count| *count != 0)?;
        let failure_class = FailureClass::parse(&class);
        Some(FailureCount { lane_id, execution_kind: kind, failure_class, count })
    });
    Ok((states.collect(), failures.collect()))
}

fn lane(row: &Row) -> Result<LaneId, EngineError> {
    let stored = row.read(exec_count::lane_id)?;
    LaneId::try_new(stored.as_str())
        .map_err(|error| corrupt(format!("ff_exec_core.lane_id: {stored:?}: {error}")))
}

fn state(row: &Row) -> Result<PublicState, EngineError> {
    let stored = row.read(exec_count::public_state)?;
    PublicState::parse(&stored).ok_or_else(|| {
        corrupt(format!("ff_exec_core.public_state: {stored:?} is not a known value"))
    })
}

fn corrupt(detail: String) -> EngineError {
    EngineError::Validation { kind: ValidationKind::Corruption, detail }
}

/// The longest waiting execution of each lane, or what has to be read before. No index keeps the
/// executions of one kind together, so there is no answer by kind.
fn oldest(
    args: &StatsArgs,
    counts: &[StateCount],
    facts: &Facts,
) -> Result<Result<Vec<OldestWaiting>, Vec<Query>>, EngineError> {
    if args.execution_kind.is_some() {
        return Ok(Ok(Vec::new()));
    }
    let mut lanes: Vec<LaneId> = Vec::new();
    for count in counts {
        let waits = matches!(count.state, PublicState::Waiting | PublicState::Resumable);
        if waits && lanes.last() != Some(&count.lane_id) {
            lanes.push(count.lane_id.clone());
        }
    }
    waiting::longest(lanes, facts)
}
