//! The turns of a lane, as a row stores them.

use std::collections::BTreeMap;

use crate::model::error::EngineError;
use crate::model::ids::LaneId;
use crate::plan::facts::Facts;
use crate::plan::{Assign, Expr, Mutation, OnConflict, Plan, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Answered, Step, Then, Transition};
use crate::rules::execution::candidates::{Candidates, Found};
use crate::rules::fairness::turns::Turns;
use crate::rules::fairness::weight::{weight_in, weights_of};
use crate::rules::premise::lookup;
use crate::schema::ColumnRef;
use crate::schema::fairness::{fair_lane, fair_weight};

/// The name that plans give the row of a lane's turns.
const TURNS: &str = "turns";

/// The turns of a lane, and the weights of its keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FairLane {
    /// The turns.
    pub turns: Turns,
    /// The weights that operators gave keys.
    pub weights: BTreeMap<String, u32>,
    /// The version of the turns; `None` while the lane has no row.
    version: Option<i64>,
}

impl FairLane {
    /// The weight of a key; 1 unless an operator gave it one.
    #[must_use]
    pub fn weight(&self, key: &str) -> u32 {
        self.weights.get(key).copied().unwrap_or(1)
    }

    /// The lane once these turns are stored in place of its own.
    #[must_use]
    pub fn after(self, turns: Turns) -> Self {
        Self { turns, version: Some(self.version.unwrap_or(0) + 1), ..self }
    }
}

fn key(lane: &LaneId) -> Vec<(ColumnRef, Expr)> {
    vec![fair_lane::lane_id.with(lane.as_str().to_owned())]
}

/// Reads the turns of a lane and the weights of its keys.
#[derive(Clone, Debug)]
pub struct ReadFairLane(pub LaneId);

impl ReadFairLane {
    fn read(&self, facts: &Facts) -> Result<Answered<FairLane>, EngineError> {
        let list = weights_of(&self.0);
        let Some(rows) = facts.list(&list) else {
            let row = lookup(TURNS, fair_lane::REF, key(&self.0));
            return Ok(Answered::NotYet(vec![Query::Lookup(vec![row]), Query::List(list)]));
        };

        let mut lane = FairLane::default();
        for row in rows {
            lane.weights.insert(row.read(fair_weight::fairness_key)?, weight_in(row)?);
        }
        if let Some(row) = facts.row(TURNS) {
            lane.turns = Turns::read(&row.read(fair_lane::turns)?)?;
            lane.version = Some(row.read(fair_lane::version)?);
        }
        Ok(Answered::Yes(lane))
    }
}

impl Transition for ReadFairLane {
    type Outcome = FairLane;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<FairLane>, EngineError> {
        Ok(self.read(facts)?.step())
    }
}

/// Lists executions of a lane that a claim may take, together with its turns.
#[derive(Clone, Debug)]
pub struct ListByTurns {
    /// The executions.
    pub candidates: Candidates,
    /// The lane.
    pub lane: LaneId,
}

impl Transition for ListByTurns {
    type Outcome = (Found, FairLane);

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        let candidates = self.candidates.listed(facts, ctx.now)?;
        let lane = ReadFairLane(self.lane.clone()).read(facts)?;
        Ok(candidates.and(lane).step())
    }
}

/// Stores the turns of a lane in place of those that were read.
#[derive(Clone, Debug)]
pub struct SaveTurns {
    lane: LaneId,
    /// The version that was read.
    version: Option<i64>,
    turns: Turns,
}

impl SaveTurns {
    /// These turns, in place of what was read of that lane.
    #[must_use]
    pub fn new(lane: LaneId, read: &FairLane, turns: Turns) -> Self {
        Self { lane, version: read.version, turns }
    }
}

impl Transition for SaveTurns {
    /// False where another claim has changed the turns meanwhile.
    type Outcome = bool;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<bool>, EngineError> {
        if facts.refusals() != 0 {
            return Ok(Step::Answer(false));
        }

        let plan = Plan::new("save_turns");
        let turns = self.turns.stored();
        let plan =
            match self.version {
                None => {
                    let mut row = key(&self.lane);
                    row.extend([fair_lane::turns.with(turns), fair_lane::version.with(1)]);
                    plan.and([Mutation::insert(fair_lane::REF, row, OnConflict::Refuse)])
                }
                Some(version) => {
                    let set = vec![
                        (fair_lane::turns.column(), Assign::Set(fair_lane::turns.with(turns).1)),
                        (fair_lane::version.column(), Assign::Add(Expr::int(1))),
                    ];
                    let same = fair_lane::version.equals(version);
                    plan.guard(TURNS, fair_lane::REF, key(&self.lane), same)
                        .and([Mutation::update(fair_lane::REF, key(&self.lane), set)])
                }
            };
        Ok(Step::Commit(plan, Then::Answer(true)))
    }
}
