//! Setting, removing and listing the weights of fairness keys.

use crate::contracts::{
    FAIRNESS_WEIGHT_MAX, FAIRNESS_WEIGHTS_MAX, FairnessWeight, ListFairnessWeightsPage,
    SetFairnessWeightArgs,
};
use crate::model::error::{EngineError, ValidationKind};
use crate::model::ids::{LaneId, TimestampMs};
use crate::plan::facts::{Facts, Row};
use crate::plan::{Expr, List, Mutation, OnConflict, OnTaken, Plan, Predicate, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Step, Then, Transition, Verdict};
use crate::rules::execution::listing::{limit as one_more, split};
use crate::rules::input::{self, PAGE_MAX};
use crate::rules::premise::{Premise, answer, lookup};
use crate::schema::ColumnRef;
use crate::schema::Direction::Ascending;
use crate::schema::fairness::fair_weight;

/// The name that every plan gives the row of a weight.
const WEIGHT: &str = "weight";

/// A fairness key in a lane, as rows name it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct KeyInLane {
    lane: LaneId,
    key: String,
}

impl KeyInLane {
    fn new(lane: &LaneId, key: &str) -> Result<Self, EngineError> {
        input::lane(lane)?;
        input::name("fairness_key", key)?;
        Ok(Self { lane: lane.clone(), key: key.to_owned() })
    }

    fn columns(&self) -> Vec<(ColumnRef, Expr)> {
        vec![
            fair_weight::lane_id.with(self.lane.as_str().to_owned()),
            fair_weight::fairness_key.with(self.key.clone()),
        ]
    }
}

/// Gives a fairness key a weight in a lane, in place of the one that it has.
#[derive(Clone, Debug)]
pub struct SetFairnessWeight {
    key: KeyInLane,
    args: SetFairnessWeightArgs,
}

impl SetFairnessWeight {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field: a lane that is no lane name, a key that is too
    /// long, a weight out of its bounds, text with NUL.
    pub fn new(args: SetFairnessWeightArgs) -> Result<Self, EngineError> {
        let key = KeyInLane::new(&args.lane_id, &args.fairness_key)?;
        input::name("actor", &args.actor)?;
        let (weight, most) = (args.weight, FAIRNESS_WEIGHT_MAX);
        if weight == 0 || most < weight {
            return Err(input::invalid(format!("weight: {weight} is not in 1..={most}")));
        }
        Ok(Self { key, args })
    }
}

impl Transition for SetFairnessWeight {
    type Outcome = ();

    fn step(&self, _: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<()>, EngineError> {
        let weight = i32::try_from(self.args.weight).unwrap_or(i32::MAX);
        let cells = vec![
            fair_weight::weight.with(weight),
            fair_weight::set_by.with(self.args.actor.clone()),
            fair_weight::set_at_ms.with(ctx.now.0),
        ];
        let anew = cells.iter().map(|(column, _)| (*column, OnTaken::Overwrite)).collect();
        let row = self.key.columns().into_iter().chain(cells).collect();
        let set = Mutation::insert(fair_weight::REF, row, OnConflict::Update(anew));
        Ok(Step::Commit(Plan::new("set_fairness_weight").and([set]), Then::Answer(())))
    }
}

/// Removes the weight of a fairness key, which then counts as 1.
#[derive(Clone, Debug)]
pub struct RemoveFairnessWeight(KeyInLane);

impl RemoveFairnessWeight {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field: a lane that is no lane name, a key that is too
    /// long or holds NUL.
    pub fn new(lane: &LaneId, key: &str) -> Result<Self, EngineError> {
        KeyInLane::new(lane, key).map(Self)
    }
}

impl Decision for RemoveFairnessWeight {
    /// True if there was one.
    type Outcome = bool;

    const NAME: &'static str = "remove_fairness_weight";

    fn premises(&self, _: TimestampMs) -> Vec<Premise<bool>> {
        let row = Premise::read(WEIGHT, lookup(WEIGHT, fair_weight::REF, self.0.columns()));
        vec![row.or_if_absent(answer(false)).guarded_by(Vec::new())]
    }

    fn expects(&self) -> bool {
        true
    }

    fn decide(&self, _: &Facts, _: TimestampMs, _: &mut Ctx<'_>) -> Decided<bool> {
        Verdict::change([Mutation::delete(fair_weight::REF, self.0.columns())], true)
    }
}

/// Lists the weights of the keys of a lane, by key. A limit of 0 is an empty page.
#[derive(Clone, Debug)]
pub struct ListFairnessWeights {
    list: List,
    page: usize,
}

impl ListFairnessWeights {
    /// The weights after the cursor.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for a lane that is no lane name, or a cursor with NUL.
    pub fn new(lane: &LaneId, cursor: Option<&str>, page: usize) -> Result<Self, EngineError> {
        input::lane(lane)?;
        input::text("cursor", cursor.unwrap_or_default())?;
        let after = cursor.map(|cursor| fair_weight::fairness_key.above(cursor.to_owned()));
        let page = page.min(PAGE_MAX);
        let list = List { limit: one_more(page), ..weights_of(lane) };
        let predicate = list.predicate.clone().and(after.unwrap_or(Predicate::Always));
        Ok(Self { list: List { predicate, ..list }, page })
    }
}

impl Transition for ListFairnessWeights {
    type Outcome = ListFairnessWeightsPage;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        if self.page == 0 {
            return Ok(Step::Answer(ListFairnessWeightsPage::default()));
        }
        let Some(rows) = facts.list(&self.list) else {
            return Ok(Step::Read(vec![Query::List(self.list.clone())]));
        };

        let weights = rows.iter().map(info).collect::<Result<Vec<_>, _>>()?;
        let (weights, more) = split(weights, self.page);
        let last = weights.last().map(|last: &FairnessWeight| last.fairness_key.clone());
        let next_cursor = last.filter(|_| more);
        Ok(Step::Answer(ListFairnessWeightsPage { weights, next_cursor }))
    }
}

/// The list of the weights of a lane, by key.
#[must_use]
pub fn weights_of(lane: &LaneId) -> List {
    let key = fair_weight::fairness_key.column();
    List {
        name: "fairness weights".into(),
        table: fair_weight::REF,
        join: None,
        of_each: None,
        columns: fair_weight::REF.columns.to_vec(),
        predicate: fair_weight::lane_id.equals(lane.as_str().to_owned()),
        order: vec![(key, Ascending)],
        limit: Expr::int(i64::from(FAIRNESS_WEIGHTS_MAX)),
    }
}

/// The weight in a row.
///
/// # Errors
/// `Validation(Corruption)` for a number out of its range.
pub fn weight_in(row: &Row) -> Result<u32, EngineError> {
    let stored = row.read(fair_weight::weight)?;
    let weight = u32::try_from(stored).ok().filter(|weight| 0 < *weight);
    weight.ok_or_else(|| EngineError::Validation {
        kind: ValidationKind::Corruption,
        detail: format!("ff_fair_weight.weight: {stored} is out of range"),
    })
}

fn info(row: &Row) -> Result<FairnessWeight, EngineError> {
    Ok(FairnessWeight {
        lane_id: LaneId::new(row.read(fair_weight::lane_id)?),
        fairness_key: row.read(fair_weight::fairness_key)?,
        weight: weight_in(row)?,
        set_by: row.read(fair_weight::set_by)?,
        set_at: TimestampMs(row.read(fair_weight::set_at_ms)?),
    })
}
