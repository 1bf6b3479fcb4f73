//! The states of lanes: what an operator sets, and how submissions and claims respect it.
//!
//! The row of a closed lane prevents their plans. So neither locks the lane or costs a statement
//! more, and a state prevents nothing once its time is over, without a scanner. Claims of an
//! execution that the caller names, and work that runs, go on in every state.

use crate::contracts::{LANE_REASON_MAX_BYTES, LaneInfo, ListLanesPage, SetLaneStateArgs};
use crate::model::error::{EngineError, StateKind, ValidationKind};
use crate::model::ids::{LaneId, TimestampMs};
use crate::model::state::LaneState;
use crate::plan::facts::{Facts, Row};
use crate::plan::{
    Expr, Guard, Held, List, Lookup, Mutation, OnConflict, OnTaken, Plan, Predicate, Query,
};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Then, Transition};
use crate::rules::execution::listing::{limit, split};
use crate::rules::input::{self, PAGE_MAX};
use crate::rules::premise::lookup;
use crate::schema::ColumnRef;
use crate::schema::Direction::Ascending;
use crate::schema::admin::lane_registry;

/// The name that every plan gives the row of a lane.
pub const LANE: &str = "lane";

/// The row that prevents claims from this lane, at that time.
#[must_use]
pub fn closed_to_claims(lane: &LaneId, at_ms: i64) -> Guard {
    closed(lane, &[LaneState::Paused, LaneState::Disabled], at_ms)
}

/// The row that prevents submissions to this lane, at that time.
#[must_use]
pub fn closed_to_submissions(lane: &LaneId, at: TimestampMs) -> Guard {
    closed(lane, &[LaneState::Draining, LaneState::Disabled], at.0)
}

/// The refusal of a submission to a lane that was read; `None` while it takes them.
///
/// # Errors
/// `Validation(Corruption)` for a state outside its set.
pub fn refusal(
    lane: &LaneId,
    facts: &Facts,
    at: TimestampMs,
) -> Result<Option<EngineError>, EngineError> {
    let holds = closed_to_submissions(lane, at).holds;
    let Some(row) = facts.row(LANE).filter(|row| holds.accepts(row, &Held::default())) else {
        return Ok(None);
    };

    let state = row.read(lane_registry::state)?;
    let reason = row.read(lane_registry::state_reason)?;
    let lane_id = lane.as_str().to_owned();
    Ok(Some(EngineError::State(StateKind::LaneClosed { lane_id, state, reason })))
}

/// The look-up of a lane's row.
#[must_use]
pub fn lane_row(lane: &LaneId) -> Lookup {
    lookup(LANE, lane_registry::REF, key(lane))
}

fn key(lane: &LaneId) -> Vec<(ColumnRef, Expr)> {
    vec![lane_registry::lane_id.with(lane.as_str().to_owned())]
}

/// The row of a lane that this operation registers.
#[must_use]
pub fn registration(
    lane: &LaneId,
    operation: &'static str,
    at: TimestampMs,
) -> Vec<(ColumnRef, Expr)> {
    let mut row = key(lane);
    row.push(lane_registry::registered_at_ms.with(at.0));
    row.push(lane_registry::registered_by.with(operation.into()));
    row
}

fn closed(lane: &LaneId, states: &[LaneState], at_ms: i64) -> Guard {
    let lasts = lane_registry::state_until_ms
        .is_null()
        .or(lane_registry::state_until_ms.above(Some(at_ms)));
    let holds = lane_registry::state.is_one_of(states).and(lasts);
    Guard::new(LANE, lane_registry::REF, key(lane), holds)
}

/// Sets the state of a lane, which is registered if no operation has named it before.
#[derive(Clone, Debug)]
pub struct SetLaneState(SetLaneStateArgs);

impl SetLaneState {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field: a lane that is no lane name, a reason that is
    /// too long, text with NUL, an active lane with a reason or an end.
    pub fn new(args: SetLaneStateArgs) -> Result<Self, EngineError> {
        input::lane(&args.lane_id)?;
        input::name("actor", &args.actor)?;

        if let Some(reason) = &args.reason {
            let bytes = reason.len();
            if LANE_REASON_MAX_BYTES < bytes {
                let most = LANE_REASON_MAX_BYTES;
                return Err(input::invalid(format!("reason: {bytes} bytes exceed {most}")));
            }
            input::text("reason", reason)?;
        }
        if args.state == LaneState::Active && args.until.is_some() {
            return Err(input::invalid("until: an active lane has no end"));
        }
        Ok(Self(args))
    }

    fn changes(&self, at: TimestampMs) -> Mutation {
        let args = &self.0;
        let set = vec![
            lane_registry::state.with(args.state),
            lane_registry::state_reason.with(args.reason.clone()),
            lane_registry::state_by.with(Some(args.actor.clone())),
            lane_registry::state_since_ms.with(Some(at.0)),
            lane_registry::state_until_ms.with(args.until.map(|until| until.0)),
        ];
        let taken = set.iter().map(|(column, _)| (*column, OnTaken::Overwrite)).collect();

        let mut row = registration(&args.lane_id, "set_lane_state", at);
        row.extend(set);
        Mutation::insert(lane_registry::REF, row, OnConflict::Update(taken))
    }
}

impl Transition for SetLaneState {
    type Outcome = ();

    fn step(&self, _: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<()>, EngineError> {
        if self.0.until.is_some_and(|until| until <= ctx.now) {
            return Err(input::invalid("until: must lie in the future"));
        }
        let plan = Plan::new("set_lane_state").and([self.changes(ctx.now)]);
        Ok(Step::Commit(plan, Then::Answer(())))
    }
}

/// Registers a lane that executions name, if no operation has registered it.
#[derive(Clone, Debug)]
pub struct RegisterLane(pub LaneId);

impl Transition for RegisterLane {
    /// True if it was registered.
    type Outcome = bool;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<bool>, EngineError> {
        if !facts.have_rows() {
            return Ok(Step::Read(vec![Query::Lookup(vec![lane_row(&self.0)])]));
        }
        if facts.row(LANE).is_some() {
            return Ok(Step::Answer(false));
        }

        let row = registration(&self.0, "reconcile_execution_index", ctx.now);
        let register = Mutation::insert(lane_registry::REF, row, OnConflict::Ignore);
        let plan = Plan::new("register_lane").and([register]);
        Ok(Step::Commit(plan, Then::Answer(true)))
    }
}

/// Reads a lane and its state; `None` for one that no operation has named.
#[derive(Clone, Debug)]
pub struct ReadLane(LaneId);

impl ReadLane {
    /// Checks the argument.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for a lane that is no lane name.
    pub fn new(lane: &LaneId) -> Result<Self, EngineError> {
        input::lane(lane)?;
        Ok(Self(lane.clone()))
    }
}

impl Transition for ReadLane {
    type Outcome = Option<LaneInfo>;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        if !facts.have_rows() {
            return Ok(Step::Read(vec![Query::Lookup(vec![lane_row(&self.0)])]));
        }
        facts.row(LANE).map(|row| info(row, ctx.now)).transpose().map(Step::Answer)
    }
}

/// A lane as it is at that time.
///
/// # Errors
/// `Validation(Corruption)` for a name that is no lane name, or a state outside its set.
pub fn info(row: &Row, at: TimestampMs) -> Result<LaneInfo, EngineError> {
    let name = row.read(lane_registry::lane_id)?;
    let lane = LaneId::try_new(name.as_str()).map_err(|error| EngineError::Validation {
        kind: ValidationKind::Corruption,
        detail: format!("ff_lane_registry.lane_id: {name:?}: {error}"),
    })?;
    let fresh = LaneInfo::new(lane, TimestampMs(row.read(lane_registry::registered_at_ms)?));

    let is_over: Predicate = lane_registry::state_until_ms.at_most(Some(at.0));
    if is_over.accepts(row, &Held::default()) {
        return Ok(fresh);
    }
    Ok(LaneInfo {
        state: row.read(lane_registry::state)?,
        reason: row.read(lane_registry::state_reason)?,
        actor: row.read(lane_registry::state_by)?,
        since: row.read(lane_registry::state_since_ms)?.map(TimestampMs),
        until: row.read(lane_registry::state_until_ms)?.map(TimestampMs),
        ..fresh
    })
}

/// Lists the lanes by name, each with its state. A limit of 0 is an empty page.
#[derive(Clone, Debug)]
pub struct ListLanes {
    list: List,
    page: usize,
}

impl ListLanes {
    /// The lanes after the cursor.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for a cursor with NUL.
    pub fn new(cursor: Option<&LaneId>, limit_given: usize) -> Result<Self, EngineError> {
        let page = limit_given.min(PAGE_MAX);
        let predicate = match cursor {
            None => Predicate::Always,
            Some(cursor) => {
                input::text("cursor", cursor.as_str())?;
                lane_registry::lane_id.above(cursor.as_str().to_owned())
            }
        };

        let list = List {
            name: "lanes".into(),
            table: lane_registry::REF,
            join: None,
            of_each: None,
            columns: lane_registry::REF.columns.to_vec(),
            predicate,
            order: vec![(lane_registry::lane_id.column(), Ascending)],
            limit: limit(page),
        };
        Ok(Self { list, page })
    }
}

impl Transition for ListLanes {
    type Outcome = ListLanesPage;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<ListLanesPage>, EngineError> {
        if self.page == 0 {
            return Ok(Step::Answer(ListLanesPage::of(Vec::new(), None)));
        }
        let Some(rows) = facts.list(&self.list) else {
            return Ok(Step::Read(vec![Query::List(self.list.clone())]));
        };

        let lanes = rows.iter().map(|row| info(row, ctx.now)).collect::<Result<Vec<_>, _>>()?;
        let (lanes, more) = split(lanes, self.page);
        let cursor = more.then(|| lanes.last().map(|lane| lane.lane_id.clone())).flatten();
        Ok(Step::Answer(ListLanesPage::of(lanes, cursor)))
    }
}
