//! Budgets: limits, breaches, repeated reports, contributions of executions, resets.

use std::collections::BTreeMap;

use ff_core::EngineError;
use ff_core::backend::UsageDimensions;
use ff_core::contracts::{
    BudgetStatus, CreateBudgetArgs, CreateBudgetResult, RecordSpendArgs, ReleaseBudgetArgs,
    ReportUsageAdminArgs, ReportUsageResult, ResetBudgetArgs, ResetBudgetResult,
};
use ff_core::engine_backend::Scan;
use ff_core::partition::{PartitionConfig, budget_partition};
use ff_core::plan::value::Value;
use ff_core::types::{BudgetId, ExecutionId, TimestampMs};
use serde_json::json;

use crate::backends::{Bench, START, conformance};
use crate::bench::{assert_refused, id};
use crate::plain::{Cells, int, text};

const DAY_MS: i64 = 86_400_000;

/// Limits of cost, and of tokens.
pub(crate) fn budget_args(bench: &Bench, id: &BudgetId) -> CreateBudgetArgs {
    CreateBudgetArgs {
        budget_id: id.clone(),
        scope_type: "tenant".into(),
        scope_id: "tenant-a".into(),
        enforcement_mode: "strict".into(),
        on_hard_limit: "fail".into(),
        on_soft_limit: "warn".into(),
        reset_interval_ms: 0,
        dimensions: vec!["cost".into(), "tokens".into()],
        hard_limits: vec![10, 100],
        soft_limits: vec![5, 0],
        now: bench.clock.now(),
    }
}

/// A budget with these limits.
pub(crate) async fn budget(bench: &Bench) -> BudgetId {
    let id = BudgetId::new();
    let created = bench.backend.create_budget(budget_args(bench, &id)).await.unwrap();
    assert_eq!(created, CreateBudgetResult::Created { budget_id: id.clone() });
    id
}

fn amounts(of: &[(&str, u64)]) -> BTreeMap<String, u64> {
    of.iter().map(|(name, amount)| ((*name).to_owned(), *amount)).collect()
}

async fn report_with(
    bench: &Bench,
    budget: &BudgetId,
    of: &[(&str, u64)],
    key: Option<&str>,
) -> Result<ReportUsageResult, EngineError> {
    let (names, deltas) = of.iter().map(|(name, amount)| ((*name).to_owned(), *amount)).unzip();
    let mut args = ReportUsageAdminArgs::new(names, deltas, bench.clock.now());
    args.dedup_key = key.map(str::to_owned);
    bench.backend.report_usage_admin(budget, args).await
}

pub(crate) async fn report(
    bench: &Bench,
    budget: &BudgetId,
    of: &[(&str, u64)],
) -> ReportUsageResult {
    report_with(bench, budget, of, None).await.unwrap()
}

async fn spend(
    bench: &Bench,
    budget: &BudgetId,
    execution: &ExecutionId,
    of: &[(&str, u64)],
    key: &str,
) -> ReportUsageResult {
    let args = RecordSpendArgs::new(budget.clone(), execution.clone(), amounts(of), key);
    bench.backend.record_spend(args).await.unwrap()
}

async fn release(bench: &Bench, budget: &BudgetId, execution: &ExecutionId) {
    let args = ReleaseBudgetArgs::new(budget.clone(), execution.clone());
    bench.backend.release_budget(args).await.unwrap();
}

async fn reset(bench: &Bench, budget: &BudgetId) -> Result<TimestampMs, EngineError> {
    let args = ResetBudgetArgs { budget_id: budget.clone(), now: bench.clock.now() };
    let ResetBudgetResult::Reset { next_reset_at } = bench.backend.reset_budget(args).await?;
    Ok(next_reset_at)
}

async fn status(bench: &Bench, budget: &BudgetId) -> BudgetStatus {
    bench.backend.get_budget_status(budget).await.unwrap()
}

/// The totals as a scheduler reads them.
async fn used(bench: &Bench, budget: &BudgetId) -> BTreeMap<String, u64> {
    bench.backend.read_budget_usage_and_limits(budget).await.unwrap().usage
}

async fn rows(bench: &Bench, table: &str, budget: &BudgetId) -> Vec<Cells> {
    let rows = bench.plain.rows(table).await;
    rows.into_iter().filter(|row| row.text("budget_id") == budget.to_string()).collect()
}

fn home(budget: &BudgetId) -> i64 {
    i64::from(budget_partition(budget, &PartitionConfig::default()).index)
}

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

fn hard(dimension: &str, current_usage: u64, hard_limit: u64) -> ReportUsageResult {
    ReportUsageResult::HardBreach { dimension: dimension.into(), current_usage, hard_limit }
}

fn soft(dimension: &str, current_usage: u64, soft_limit: u64) -> ReportUsageResult {
    ReportUsageResult::SoftBreach { dimension: dimension.into(), current_usage, soft_limit }
}

conformance! {
    async fn a_budget_is_defined_once(bench) {
        let id = BudgetId::new();
        let args = || CreateBudgetArgs { reset_interval_ms: 60_000, ..budget_args(&bench, &id) };
        let created = bench.backend.create_budget(args()).await.unwrap();
        assert_eq!(created, CreateBudgetResult::Created { budget_id: id.clone() });
        let before = rows(&bench, "ff_budget_policy", &id).await;

        let other = CreateBudgetArgs { hard_limits: vec![1, 1], ..args() };
        let again = bench.backend.create_budget(other).await.unwrap();
        assert_eq!(again, CreateBudgetResult::AlreadySatisfied { budget_id: id.clone() });
        assert_eq!(rows(&bench, "ff_budget_policy", &id).await, before);
        assert!(rows(&bench, "ff_budget_usage", &id).await.is_empty());

        let status = status(&bench, &id).await;
        let now = bench.clock.now().0;
        assert_eq!(status.scope_type, "tenant");
        assert_eq!(status.hard_limits, [("cost".into(), 10), ("tokens".into(), 100)].into());
        assert_eq!(status.soft_limits, [("cost".into(), 5), ("tokens".into(), 0)].into());
        assert_eq!(status.next_reset_at, Some((now + 60_000).to_string()));
        assert_eq!(status.created_at, Some(now.to_string()));
        assert_eq!((status.usage.len(), status.breach_count), (0, 0));
    }

    async fn what_defines_no_budget_is_refused(bench) {
        let id = BudgetId::new();
        let args = || budget_args(&bench, &id);
        let beyond = u64::MAX / 2 + 1;
        for (args, refusal) in [
            (
                CreateBudgetArgs { hard_limits: vec![1], ..args() },
                "create_budget: dimensions / hard_limits / soft_limits length mismatch".to_owned(),
            ),
            (
                CreateBudgetArgs { dimensions: vec!["cost".into(), String::new()], ..args() },
                "dimensions: \"\" is no name of a dimension".into(),
            ),
            (
                CreateBudgetArgs { dimensions: vec!["a\0b".into(), "c".into()], ..args() },
                "dimensions: must not contain NUL (at byte 1)".into(),
            ),
            (
                CreateBudgetArgs { hard_limits: vec![beyond, 1], ..args() },
                format!("hard_limits: cost: {beyond} exceeds {}", i64::MAX),
            ),
            (
                CreateBudgetArgs { soft_limits: vec![1, beyond], ..args() },
                format!("soft_limits: tokens: {beyond} exceeds {}", i64::MAX),
            ),
            (
                CreateBudgetArgs { reset_interval_ms: u64::MAX, ..args() },
                format!("reset_interval_ms: {} exceeds {}", u64::MAX, i64::MAX),
            ),
            (
                CreateBudgetArgs { reset_interval_ms: beyond - 1, ..args() },
                format!("reset_interval_ms: {} is too far ahead", beyond - 1),
            ),
            (
                CreateBudgetArgs { scope_id: "\0".into(), ..args() },
                "scope_id: must not contain NUL (at byte 0)".into(),
            ),
        ] {
            let refusal = format!("validation: InvalidInput: {refusal}");
            assert_refused(bench.backend.create_budget(args).await, &refusal);
        }
        assert!(rows(&bench, "ff_budget_policy", &id).await.is_empty());
    }

    async fn a_soft_breach_counts_and_a_hard_breach_does_not(bench) {
        let id = budget(&bench).await;
        assert_eq!(report(&bench, &id, &[("cost", 5)]).await, ReportUsageResult::Ok);
        assert_eq!(report(&bench, &id, &[("cost", 1)]).await, soft("cost", 6, 5));
        let before = used(&bench, &id).await;
        bench.clock.advance(7);
        let refused = report(&bench, &id, &[("cost", 5), ("tokens", 1)]).await;
        assert_eq!(refused, hard("cost", 6, 10));
        assert_eq!(used(&bench, &id).await, before, "all of a report counts, or nothing");

        let now = bench.clock.now().0.to_string();
        let after = status(&bench, &id).await;
        assert_eq!((after.breach_count, after.soft_breach_count), (1, 1));
        assert_eq!(after.last_breach_at, Some(now));
        assert_eq!(after.last_breach_dim.as_deref(), Some("cost"));

        // The limit itself may be reached, and the first dimension in the order of names counts.
        assert_eq!(report(&bench, &id, &[("cost", 4)]).await, soft("cost", 10, 5));
        let both = report(&bench, &id, &[("tokens", 101), ("cost", 1)]).await;
        assert_eq!(both, hard("cost", 10, 10));
        let none = report(&bench, &id, &[]).await;
        assert_eq!(none, ReportUsageResult::Ok);
    }

    async fn a_report_that_cannot_be_counted_is_refused(bench) {
        let id = budget(&bench).await;
        report(&bench, &id, &[("free", 3)]).await;
        let before = (rows(&bench, "ff_budget_policy", &id).await, used(&bench, &id).await);
        let beyond = u64::MAX / 2 + 1;
        for (dimension, amount, refusal) in [
            ("free", beyond, format!("deltas: free: {beyond} exceeds {}", i64::MAX)),
            ("free", beyond - 1, format!("deltas: free: the total would exceed {}", i64::MAX)),
            ("", 1, "dimensions: \"\" is no name of a dimension".into()),
            ("_init", 1, "dimensions: \"_init\" is no name of a dimension".into()),
            ("a\0", 1, "dimensions: must not contain NUL (at byte 1)".into()),
        ] {
            let result = report_with(&bench, &id, &[(dimension, amount)], None).await;
            assert_refused(result, &format!("validation: InvalidInput: {refusal}"));
        }
        let result = report_with(&bench, &id, &[("free", 1)], Some("\0")).await;
        assert_refused(result, "validation: InvalidInput: dedup_key: must not contain NUL (at byte 0)");

        let mut uneven = ReportUsageAdminArgs::new(vec!["a".into()], vec![], bench.clock.now());
        uneven.dedup_key = None;
        assert_refused(
            bench.backend.report_usage_admin(&id, uneven).await,
            "validation: InvalidInput: report_usage_admin: dimensions and deltas length mismatch",
        );
        assert_eq!((rows(&bench, "ff_budget_policy", &id).await, used(&bench, &id).await), before);
    }

    async fn an_unknown_budget_is_counted_and_has_no_status(bench) {
        let id = BudgetId::new();
        let handle = bench.leased().await.1;
        let mut used_by = UsageDimensions::new().with_input_tokens(3).with_wall_ms(9);
        used_by.custom.insert("cost".into(), 1_000_000);
        let result = bench.backend.report_usage(&handle, &id, used_by).await.unwrap();
        assert_eq!(result, ReportUsageResult::Ok);
        let expected = amounts(&[("cost", 1_000_000), ("input_tokens", 3), ("wall_ms", 9)]);
        assert_eq!(used(&bench, &id).await, expected);
        assert_refused(bench.backend.get_budget_status(&id).await, "not found: budget");
        assert_refused(reset(&bench, &id).await, "not found: budget");

        // What was reported before counts once the budget is defined.
        let created = bench.backend.create_budget(budget_args(&bench, &id)).await.unwrap();
        assert_eq!(created, CreateBudgetResult::Created { budget_id: id.clone() });
        assert_eq!(report(&bench, &id, &[("cost", 1)]).await, hard("cost", 1_000_000, 10));
    }

    async fn a_repeated_key_counts_once_for_a_day(bench) {
        let (id, other) = (budget(&bench).await, budget(&bench).await);
        let keyed = async |id: &BudgetId, amount, key| {
            report_with(&bench, id, &[("cost", amount)], Some(key)).await.unwrap()
        };
        assert_eq!(keyed(&id, 6, "a").await, soft("cost", 6, 5));
        assert_eq!(keyed(&id, 1, "a").await, soft("cost", 6, 5), "the first answer");
        assert_eq!(keyed(&other, 1, "a").await, ReportUsageResult::Ok, "another budget");
        assert_eq!(keyed(&id, 5, "b").await, hard("cost", 6, 10));
        reset(&bench, &id).await.unwrap();
        assert_eq!(keyed(&id, 5, "b").await, hard("cost", 6, 10), "also of a breach");
        assert_eq!(keyed(&id, 1, "").await, ReportUsageResult::Ok, "no key");
        assert_eq!(keyed(&id, 1, "").await, ReportUsageResult::Ok, "no key");

        bench.clock.advance(DAY_MS - 1);
        assert_eq!(keyed(&id, 1, "a").await, soft("cost", 6, 5));
        bench.clock.advance(1);
        assert_eq!(keyed(&id, 1, "a").await, ReportUsageResult::Ok, "counts anew");
        assert_eq!(used(&bench, &id).await["cost"], 3);

        // The scanner removes what has expired, and nothing else.
        assert_eq!(bench.backend.scan(Scan::UsageKeyExpiry, 1).await.unwrap().processed, 1);
        assert_eq!(bench.backend.scan(Scan::UsageKeyExpiry, 9).await.unwrap().processed, 1);
        let left = bench.plain.rows("ff_budget_usage_dedup").await;
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].text("dedup_key"), format!("{id}:a"));
    }

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

    async fn what_an_execution_spent_is_given_back(bench) {
        let budget = budget(&bench).await;
        let (one, two) = (id(), id());
        let ok = ReportUsageResult::Ok;
        assert_eq!(spend(&bench, &budget, &one, &[("cost", 1), ("tokens", 7)], "1").await, ok);
        assert_eq!(spend(&bench, &budget, &one, &[("cost", 1)], "2").await, ok);
        let again = spend(&bench, &budget, &one, &[("cost", 1)], "2").await;
        assert_eq!(again, ReportUsageResult::AlreadyApplied);
        assert_eq!(spend(&bench, &budget, &two, &[("cost", 2)], "3").await, ok);
        report(&bench, &budget, &[("tokens", 1)]).await;
        assert_eq!(used(&bench, &budget).await, amounts(&[("cost", 4), ("tokens", 8)]));

        release(&bench, &budget, &one).await;
        assert_eq!(used(&bench, &budget).await, amounts(&[("cost", 2), ("tokens", 1)]));
        let before = rows(&bench, "ff_budget_policy", &budget).await;
        release(&bench, &budget, &one).await;
        release(&bench, &budget, &id()).await;
        assert_eq!(rows(&bench, "ff_budget_policy", &budget).await, before, "nothing to give back");

        // The keys stay consumed, and a breach contributes nothing.
        let again = spend(&bench, &budget, &one, &[("cost", 1)], "1").await;
        assert_eq!(again, ReportUsageResult::AlreadyApplied);
        assert_eq!(spend(&bench, &budget, &one, &[("cost", 9)], "4").await, hard("cost", 2, 10));
        let left = rows(&bench, "ff_budget_usage_by_exec", &budget).await;
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].uuid("execution_id"), Some(two.uuid()));
    }

    async fn a_release_takes_back_nothing_of_what_a_reset_removed(bench) {
        let budget = budget(&bench).await;
        let (one, two) = (id(), id());
        spend(&bench, &budget, &one, &[("cost", 5)], "").await;
        reset(&bench, &budget).await.unwrap();
        spend(&bench, &budget, &two, &[("cost", 4)], "").await;
        spend(&bench, &budget, &one, &[("cost", 1)], "").await;
        release(&bench, &budget, &one).await;
        assert_eq!(used(&bench, &budget).await, amounts(&[("cost", 4)]));
        release(&bench, &budget, &two).await;
        assert_eq!(used(&bench, &budget).await, amounts(&[("cost", 0)]));
    }

    async fn a_reset_zeroes_the_totals_and_keeps_the_counts(bench) {
        let id = BudgetId::new();
        let args = CreateBudgetArgs { reset_interval_ms: 1_000, ..budget_args(&bench, &id) };
        bench.backend.create_budget(args).await.unwrap();
        report(&bench, &id, &[("cost", 6), ("tokens", 1)]).await;
        report(&bench, &id, &[("cost", 6)]).await;

        bench.clock.advance(300);
        let now = bench.clock.now().0;
        assert_eq!(reset(&bench, &id).await.unwrap().0, now + 1_000);
        let after = status(&bench, &id).await;
        assert_eq!(after.usage, [("cost".into(), 0), ("tokens".into(), 0)].into());
        assert_eq!((after.breach_count, after.soft_breach_count), (1, 1));
        assert_eq!((after.last_breach_at, after.last_breach_dim), (None, None));
        assert_eq!(after.next_reset_at, Some((now + 1_000).to_string()));
        for row in rows(&bench, "ff_budget_usage", &id).await {
            assert_eq!(row.int("last_reset_at_ms"), Some(now));
        }

        let never = budget(&bench).await;
        assert_eq!(reset(&bench, &never).await.unwrap().0, 0);
        assert_refused(reset(&bench, &BudgetId::new()).await, "not found: budget");
    }

    async fn the_scanner_resets_what_is_due(bench) {
        let (hourly, never) = (BudgetId::new(), budget(&bench).await);
        let args = CreateBudgetArgs { reset_interval_ms: 1_000, ..budget_args(&bench, &hourly) };
        bench.backend.create_budget(args).await.unwrap();
        for id in [&hourly, &never] {
            report(&bench, id, &[("cost", 3)]).await;
        }

        let scan = async || bench.backend.scan(Scan::BudgetReset, 10).await.unwrap().processed;
        bench.clock.advance(999);
        assert_eq!(scan().await, 0);
        bench.clock.advance(1);
        assert_eq!((scan().await, scan().await), (1, 0));
        assert_eq!(used(&bench, &hourly).await["cost"], 0);
        assert_eq!(used(&bench, &never).await["cost"], 3);
        let next = bench.clock.now().0 + 1_000;
        assert_eq!(status(&bench, &hourly).await.next_reset_at, Some(next.to_string()));
        bench.clock.advance(5_000);
        assert_eq!((scan().await, scan().await), (1, 0), "a late reset is made once");
    }

    async fn limits_and_usage_are_read_as_they_are_stored(bench) {
        let id = budget(&bench).await;
        report(&bench, &id, &[("cost", 4), ("other", 1)]).await;
        let read = bench.backend.read_budget_usage_and_limits(&id).await.unwrap();
        let limits: Vec<_> = read.limits.iter().map(|(name, limit)| format!("{name}={limit}")).collect();
        assert_eq!(limits, ["hard:cost=10", "hard:tokens=100", "soft:cost=5", "soft:tokens=0"]);
        let listed: Vec<_> = read.hard_limits_with_usage().collect();
        assert_eq!(listed, [("cost", 4, 10), ("tokens", 0, 100)]);

        let none = bench.backend.read_budget_usage_and_limits(&BudgetId::new()).await.unwrap();
        assert!(none.limits.is_empty() && none.usage.is_empty());
    }

    async fn sixteen_reporters_never_exceed_a_limit(bench) {
        let id = budget(&bench).await;
        let reports = (0..16).map(|number| {
            let (bench, id) = (std::sync::Arc::clone(&bench), id.clone());
            tokio::spawn(async move {
                let mut counted = 0;
                for round in 0..3 {
                    let key = format!("{number}-{round}");
                    for _ in 0..2 {
                        let result =
                            report_with(&bench, &id, &[("tokens", 7)], Some(&key)).await.unwrap();
                        counted += u64::from(result == ReportUsageResult::Ok);
                    }
                }
                counted
            })
        });
        let counted: Vec<_> = futures_util::future::join_all(reports).await;
        let counted: u64 = counted.into_iter().map(Result::unwrap).sum();
        // Each report that counts is answered twice.
        assert_eq!(counted, 2 * (100 / 7));
        assert_eq!(used(&bench, &id).await["tokens"], 98);
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

fn id_of_none() -> ExecutionId {
    ExecutionId::from_parts(3, uuid::Uuid::from_u128(0xABC))
}
