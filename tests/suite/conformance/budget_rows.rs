//! Budgets in rows that were inserted with plain SQL, or changed by hand.

use ff_core::contracts::ReportUsageResult;
use ff_core::engine_backend::Scan;
use ff_core::partition::{PartitionConfig, budget_partition};
use ff_core::plan::value::Value;
use ff_core::types::{BudgetId, ExecutionId};
use serde_json::json;

use super::budget::{
    DAY_MS, amounts, budget, hard, release, report, report_with, reset, spend, status, used,
};
use crate::backends::{Bench, START, conformance};
use crate::bench::assert_refused;
use crate::plain::{int, text};

/// A budget as older databases hold it, on that partition.
async fn insert_budget(
    bench: &Bench,
    budget: &BudgetId,
    partition: i64,
    policy: serde_json::Value,
) {
    let row = vec![
        ("partition_key", int(partition)),
        ("budget_id", text(&budget.to_string())),
        ("policy_json", Value::Json(policy)),
        ("created_at_ms", int(START)),
        ("updated_at_ms", int(START)),
    ];
    bench.plain.insert("ff_budget_policy", row).await;
}

async fn insert_total(
    bench: &Bench,
    budget: &BudgetId,
    partition: i64,
    dimension: &str,
    total: i64,
) {
    let row = vec![
        ("partition_key", int(partition)),
        ("budget_id", text(&budget.to_string())),
        ("dimensions_key", text(dimension)),
        ("current_value", int(total)),
        ("updated_at_ms", int(START)),
    ];
    bench.plain.insert("ff_budget_usage", row).await;
}

fn home(budget: &BudgetId) -> i64 {
    i64::from(budget_partition(budget, &PartitionConfig::default()).index)
}

fn id_of_none() -> ExecutionId {
    ExecutionId::from_parts(3, uuid::Uuid::from_u128(0xABC))
}

conformance! {
    async fn a_stored_answer_that_is_none_is_reported(bench) {
        let id = budget(&bench).await;
        for (key, stored, expected) in [
            ("empty", json!({}), Ok(ReportUsageResult::AlreadyApplied)),
            ("odd", json!({ "kind": "Odd" }), Err("unknown kind: Odd")),
            ("none", json!({ "x": 1 }), Err("missing `kind`")),
        ] {
            let row = vec![
                ("partition_key", int(home(&id))),
                ("dedup_key", text(&format!("{id}:{key}"))),
                ("outcome_json", Value::Json(stored)),
                ("applied_at_ms", int(START)),
                ("expires_at_ms", int(START + DAY_MS)),
            ];
            bench.plain.insert("ff_budget_usage_dedup", row).await;
            let result = report_with(&bench, &id, &[("cost", 1)], Some(key)).await;
            match expected {
                Ok(answer) => assert_eq!(result.unwrap(), answer),
                Err(problem) => {
                    let refusal = format!("validation: Corruption: budget dedup outcome_json {problem}");
                    assert_refused(result, &refusal);
                }
            }
        }
        assert!(used(&bench, &id).await.is_empty());
    }

    async fn budgets_of_older_engines_are_found_where_they_are(bench) {
        let policy = json!({ "hard_limits": { "cost": 10 }, "soft_limits": {}, "reset_interval_ms": 0 });
        let (here, there) = (BudgetId::new(), BudgetId::new());
        insert_budget(&bench, &here, home(&here), policy.clone()).await;
        insert_budget(&bench, &there, 0, policy).await;
        insert_total(&bench, &here, home(&here), "cost", 7).await;
        insert_total(&bench, &there, 0, "cost", 7).await;
        insert_total(&bench, &there, 0, "_init", 99).await;
        for id in [&here, &there] {
            assert_eq!(report(&bench, id, &[("cost", 4)]).await, hard("cost", 7, 10));
            assert_eq!(spend(&bench, id, &id_of_none(), &[("cost", 3)], "k").await, ReportUsageResult::Ok);
            assert_eq!(status(&bench, id).await.usage, [("cost".into(), 10)].into());
            release(&bench, id, &id_of_none()).await;
            assert_eq!(used(&bench, id).await, amounts(&[("cost", 7)]));
            reset(&bench, id).await.unwrap();
            assert_eq!(used(&bench, id).await, amounts(&[("cost", 0)]));
        }
    }

    async fn a_total_that_has_drifted_is_raised(bench) {
        let id = budget(&bench).await;
        let execution = id_of_none();
        spend(&bench, &id, &execution, &[("cost", 4), ("tokens", 3)], "").await;
        let key = |dimension: &str| {
            vec![
                ("partition_key", int(home(&id))),
                ("budget_id", text(&id.to_string())),
                ("dimensions_key", text(dimension)),
            ]
        };
        bench.plain.set("ff_budget_usage", key("cost"), vec![("current_value", int(1))]).await;
        let partition = budget_partition(&id, &PartitionConfig::default());
        let reconcile = async || {
            let now = bench.clock.now();
            let counts = bench.backend.reconcile_budget_counters(partition, now).await.unwrap();
            (counts.processed, counts.errors)
        };
        assert_eq!((reconcile().await, reconcile().await), ((1, 0), (0, 0)));
        assert_eq!(used(&bench, &id).await, amounts(&[("cost", 4), ("tokens", 3)]));

        bench.plain.set("ff_budget_usage", key("tokens"), vec![("current_value", int(-2))]).await;
        assert_eq!(bench.backend.scan(Scan::BudgetReconcile, 10).await.unwrap().processed, 1);
        assert_eq!(used(&bench, &id).await, amounts(&[("cost", 4), ("tokens", 3)]));
    }
}
