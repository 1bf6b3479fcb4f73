//! Budgets: limits, breaches, repeated reports, contributions of executions, resets.

use std::collections::BTreeMap;

use ff_core::EngineError;
use ff_core::backend::UsageDimensions;
use ff_core::contracts::{
    BudgetStatus, CreateBudgetArgs, CreateBudgetResult, RecordSpendArgs, ReleaseBudgetArgs,
    ReportUsageAdminArgs, ReportUsageResult, ResetBudgetArgs, ResetBudgetResult,
};
use ff_core::engine_backend::Scan;
use ff_core::types::{BudgetId, ExecutionId, TimestampMs};

use crate::backends::{Bench, conformance};
use crate::bench::{assert_refused, id};
use crate::plain::Cells;

pub(crate) const DAY_MS: i64 = 86_400_000;

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

pub(crate) fn amounts(of: &[(&str, u64)]) -> BTreeMap<String, u64> {
    of.iter().map(|(name, amount)| ((*name).to_owned(), *amount)).collect()
}

pub(crate) async fn report_with(
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

pub(crate) async fn spend(
    bench: &Bench,
    budget: &BudgetId,
    execution: &ExecutionId,
    of: &[(&str, u64)],
    key: &str,
) -> ReportUsageResult {
    let args = RecordSpendArgs::new(budget.clone(), execution.clone(), amounts(of), key);
    bench.backend.record_spend(args).await.unwrap()
}

pub(crate) async fn release(bench: &Bench, budget: &BudgetId, execution: &ExecutionId) {
    let args = ReleaseBudgetArgs::new(budget.clone(), execution.clone());
    bench.backend.release_budget(args).await.unwrap();
}

pub(crate) async fn reset(bench: &Bench, budget: &BudgetId) -> Result<TimestampMs, EngineError> {
    let args = ResetBudgetArgs { budget_id: budget.clone(), now: bench.clock.now() };
    let ResetBudgetResult::Reset { next_reset_at } = bench.backend.reset_budget(args).await?;
    Ok(next_reset_at)
}

pub(crate) async fn status(bench: &Bench, budget: &BudgetId) -> BudgetStatus {
    bench.backend.get_budget_status(budget).await.unwrap()
}

/// The totals as a scheduler reads them.
pub(crate) async fn used(bench: &Bench, budget: &BudgetId) -> BTreeMap<String, u64> {
    bench.backend.read_budget_usage_and_limits(budget).await.unwrap().usage
}

pub(crate) async fn rows(bench: &Bench, table: &str, budget: &BudgetId) -> Vec<Cells> {
    let rows = bench.plain.rows(table).await;
    rows.into_iter().filter(|row| row.text("budget_id") == budget.to_string()).collect()
}

pub(crate) fn hard(dimension: &str, current_usage: u64, hard_limit: u64) -> ReportUsageResult {
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

    async fn budgets_are_listed_by_id(bench) {
        let mut ids = Vec::new();
        for _ in 0..5 {
            ids.push(budget(&bench).await);
        }
        report(&bench, &BudgetId::new(), &[("cost", 1)]).await;
        report(&bench, &ids[0], &[("cost", 99)]).await;
        let breached = ids[0].clone();
        ids.sort_by_key(ToString::to_string);

        let (mut listed, mut after) = (Vec::new(), None);
        loop {
            let page = bench.backend.list_budgets(after, 2).await.unwrap();
            assert!(page.budgets.len() <= 2);
            listed.extend(page.budgets);
            after = page.next_cursor;
            if after.is_none() {
                break;
            }
        }
        let names: Vec<_> = listed.iter().map(|budget| budget.budget_id.clone()).collect();
        assert_eq!(names, ids, "only those that are defined");
        for budget in listed {
            assert_eq!(budget.breach_count, u64::from(budget.budget_id == breached));
            assert_eq!(budget.scope_id, "tenant-a");
        }
        assert!(bench.backend.list_budgets(None, 0).await.unwrap().budgets.is_empty());
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
}
