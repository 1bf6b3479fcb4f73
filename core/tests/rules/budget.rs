//! Room in budgets.

use ff_core::plan::facts::{Answer, Facts, Questions, Row};
use ff_core::plan::value::Value;
use ff_core::rules::budget::room::SomeBudgets;
use ff_core::schema::budget::{budget_policy, budget_usage};
use serde_json::{Value as Json, json};

const BUDGET: &str = "b";

fn head(policy: Json) -> Row {
    Row::new(vec![
        (budget_policy::budget_id.column(), Value::Text(BUDGET.into())),
        (budget_policy::policy_json.column(), Value::Json(policy)),
    ])
}

fn total(dimension: &str, total: i64) -> Row {
    Row::new(vec![
        (budget_usage::budget_id.column(), Value::Text(BUDGET.into())),
        (budget_usage::dimensions_key.column(), Value::Text(dimension.into())),
        (budget_usage::current_value.column(), Value::Int(total)),
        (budget_usage::overdraft.column(), Value::Int(1)),
    ])
}

#[test]
fn a_budget_has_room_below_every_hard_limit() {
    let some = SomeBudgets { budgets: vec![BUDGET.into(), "unknown".into()] };
    let full = |heads: Vec<Row>, totals: Vec<Row>| {
        let mut facts = Facts::default();
        assert_eq!(some.full(&facts).unwrap(), None, "nothing is read yet");
        let answers = vec![Answer::List(heads), Answer::List(totals)];
        facts.learn(&Questions::of(&some.queries()), answers);
        some.full(&facts).unwrap().unwrap()
    };
    let limited = json!({ "hard_limits": { "cost": 10, "free": 0 }, "soft_limits": { "cost": 1 } });
    let warns = json!({ "hard_limits": { "cost": 10 }, "on_hard_limit": "warn" });
    let older = json!({ "hard_limit": 10, "dimension": "cost" });
    for (policy, totals, expected) in [
        (&limited, vec![], true),
        // An approval has raised each limit by one; no limit stays none.
        (&limited, vec![total("cost", 10), total("free", i64::MAX)], true),
        (&limited, vec![total("cost", 11)], false),
        (&older, vec![total("cost", 11)], false),
        (&older, vec![total("tokens", 99)], true),
        (&warns, vec![total("cost", 99)], true),
    ] {
        let heads = vec![head(policy.clone())];
        assert_eq!(full(heads, totals.clone()).is_empty(), expected, "{totals:?}");
    }
    assert!(full(vec![], vec![total("cost", 99)]).is_empty(), "it is not defined");
    let none = SomeBudgets { budgets: vec![] };
    assert_eq!(none.full(&Facts::default()).unwrap().map(|full| full.len()), Some(0));
}
