//! Fairness: every operation on every stored state of a lane, as one reviewed page.

use std::collections::BTreeMap;

use ff_core::contracts::SetFairnessWeightArgs;
use ff_core::engine_error::EngineError;
use ff_core::plan::facts::Facts;
use ff_core::rules::ctx::Ctx;
use ff_core::rules::decision::{Step, Transition};
use ff_core::rules::fairness::lane::{FairLane, ReadFairLane, SaveTurns};
use ff_core::rules::fairness::turns::{Round, Waiting};
use ff_core::rules::fairness::weight::{
    ListFairnessWeights, RemoveFairnessWeight, SetFairnessWeight,
};
use ff_core::schema::fairness::{fair_lane, fair_weight};
use ff_core::types::LaneId;
use serde_json::{Value as Json, json};

use crate::page::{self, Situation, operation, pages};
use crate::stored::blank;

const LANE: &str = "mail";

fn lane() -> LaneId {
    LaneId::new(LANE)
}

fn turns() -> Vec<Situation> {
    let stored = |turns: Json| {
        let row = blank()
            .with(fair_lane::lane_id, LANE.into())
            .with(fair_lane::turns, turns)
            .with(fair_lane::version, 7);
        vec![row]
    };
    vec![
        ("none", vec![]),
        ("nothing", stored(json!({}))),
        ("a-ahead", stored(json!({"a": [1_i64 << 40, 1], "b": [-1, 1]}))),
        ("another-ahead", stored(json!({"c": [1_i64 << 40, 1]}))),
        ("damaged", stored(json!({"a": "far"}))),
    ]
}

fn weights() -> Vec<Situation> {
    let stored = |weight: i32| {
        let row = blank()
            .with(fair_weight::lane_id, LANE.into())
            .with(fair_weight::fairness_key, "a".into())
            .with(fair_weight::weight, weight)
            .with(fair_weight::set_by, "ada".into())
            .with(fair_weight::set_at_ms, 1);
        vec![row]
    };
    vec![("none", vec![]), ("three", stored(3)), ("damaged", stored(0))]
}

/// Two keys that wait.
fn waiting(lane: &FairLane) -> BTreeMap<String, Waiting> {
    let waits = |key: &str| Waiting { listed: 9, has_more: false, weight: lane.weight(key) };
    ["a", "b"].map(|key| (key.to_owned(), waits(key))).into()
}

fn read(facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<FairLane>, EngineError> {
    ReadFairLane(lane()).step(facts, ctx)
}

/// The keys of the first claims.
struct Next;

impl Transition for Next {
    type Outcome = String;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<String>, EngineError> {
        Ok(match read(facts, ctx)? {
            Step::Answer(lane) => {
                let round = Round::new(&lane.turns, &waiting(&lane));
                let keys: Vec<String> = round.take(8).collect();
                Step::Answer(keys.join(" "))
            }
            Step::Read(queries) => Step::Read(queries),
            Step::Commit(plan, _) => panic!("it changes something: {plan}"),
        })
    }
}

/// Stores the turns after the first claim.
struct Save;

impl Transition for Save {
    type Outcome = bool;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<bool>, EngineError> {
        match read(facts, ctx)? {
            Step::Answer(read) => {
                let mut round = Round::new(&read.turns, &waiting(&read));
                round.next();
                SaveTurns::new(lane(), &read, round.end()).step(facts, ctx)
            }
            Step::Read(queries) => Ok(Step::Read(queries)),
            Step::Commit(plan, _) => panic!("it changes something: {plan}"),
        }
    }
}

#[test]
fn every_operation_on_every_lane() {
    let set = SetFairnessWeightArgs::new(lane(), "a", 5, "bo");
    let operations = vec![
        ("the keys of the first claims", operation(Next)),
        ("save_turns, after the first claim", operation(Save)),
        ("set_fairness_weight", operation(SetFairnessWeight::new(set).unwrap())),
        ("remove_fairness_weight", operation(RemoveFairnessWeight::new(&lane(), "a").unwrap())),
        ("list_fairness_weights", operation(ListFairnessWeights::new(&lane(), None, 9).unwrap())),
    ];
    let situations = [("turns", turns()), ("weight", weights())];
    page::assert_reviewed("fairness_table", &pages(&situations, operations));
}
