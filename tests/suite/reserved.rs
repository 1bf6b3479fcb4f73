//! What holds of every budget after every case: what is used and reserved is within its limits, and
//! only work that is under way has reserved anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use ff_core::backend::{CapabilitySet, FailureClass, FailureReason, UsageDimensions};
use ff_core::contracts::{CreateBudgetArgs, ReportUsageResult, ResetBudgetArgs};
use ff_core::policy::ExecutionPolicy;
use ff_core::rules::ctx::{Seeded, Source as _};
use ff_core::types::BudgetId;

use crate::backends::{self, Bench};
use crate::bench::{lane, worker};
use crate::conformance::budget::budget_args;
use crate::plain::Cells;

impl Bench {
    pub(crate) async fn assert_budgets_sound(&self, cores: &[Cells]) {
        let mut reserved: BTreeMap<(String, String), i64> = BTreeMap::new();
        for row in self.plain.rows("ff_budget_reservation").await {
            let own = |core: &&Cells| core.uuid("execution_id") == row.uuid("execution_id");
            let core = cores.iter().find(own).unwrap_or_else(|| panic!("{row:?} is of nothing"));
            let over = matches!(core.text("lifecycle_phase"), "terminal" | "cancelled");
            assert!(!over && core.flag("has_reservations"), "{core:?} keeps {row:?}");
            let amount = row.int("amount").unwrap();
            assert!(0 <= amount, "{row:?}");
            *reserved.entry(dimension_of(&row)).or_default() += amount;
        }

        let mut totals = BTreeMap::new();
        for row in self.plain.rows("ff_budget_usage").await {
            let (used, overdraft) = (row.int("current_value"), row.int("overdraft"));
            totals.insert(dimension_of(&row), (used.unwrap(), overdraft.unwrap()));
        }
        for head in self.plain.rows("ff_budget_policy").await {
            // Rows by hand may say anything, and a limit that warns limits nothing.
            let policy = head.json("policy_json");
            let engine = head.int("version").unwrap() != 0 || head.text("scope_type") == "tenant";
            if !engine || policy["on_hard_limit"] == "warn" {
                continue;
            }
            for (dimension, limit) in policy["hard_limits"].as_object().into_iter().flatten() {
                let key = (head.text("budget_id").to_owned(), dimension.clone());
                let limit = limit.as_i64().filter(|limit| 0 < *limit).unwrap_or(i64::MAX);
                let (used, overdraft) = totals.get(&key).copied().unwrap_or_default();
                let (raised, reserved) = (limit.saturating_add(overdraft), reserved.get(&key));
                // A budget may be defined below what was used of it before.
                let taken = reserved.map_or(used.min(raised), |reserved| used + reserved);
                assert!(taken <= raised, "{key:?}: {taken} of {raised} are used or reserved");
            }
        }
    }
}

fn dimension_of(row: &Cells) -> (String, String) {
    (row.text("budget_id").to_owned(), row.text("dimensions_key").to_owned())
}

/// The hard limit of the budget that many workers share.
const SHARED: u64 = 12;

/// Works on executions with estimates until there are none: reports more or less than was
/// estimated, and ends each in one of three ways.
async fn work(bench: Arc<Bench>, budget: BudgetId, seed: u64) -> u64 {
    let (mut source, mut used) = (Seeded::new(seed), 0);
    let mut below = |bound: f64| (source.fraction() * bound) as u64;
    let backend = &bench.backend;
    let capabilities = CapabilitySet::default();
    while backend.has_claimable(&lane(), &capabilities).await.unwrap() {
        let claimed = backend.claim(&lane(), &capabilities, worker("w")).await.unwrap();
        let Some(handle) = claimed else { continue };
        for _ in 0..2 {
            let amount = below(4.0);
            let mut report = UsageDimensions::new();
            report.custom.insert("cost".into(), amount);
            let reported = backend.report_usage(&handle, &budget, report).await.unwrap();
            used += if reported == ReportUsageResult::Ok { amount } else { 0 };
        }

        let of = backend.read_budget_usage_and_limits(&budget).await.unwrap();
        // The two are read one after the other, so a reset may lie between them.
        let within = |of: &BTreeMap<String, u64>| of.get("cost").is_none_or(|cost| *cost <= SHARED);
        assert!(within(&of.usage) && within(&of.reserved), "{of:?}");
        match below(3.0) {
            0 => backend.complete(&handle, None).await.unwrap(),
            1 => backend.cancel(&handle, "enough").await.unwrap(),
            _ => {
                let (reason, class) = (FailureReason::new("x"), FailureClass::Permanent);
                backend.fail(&handle, reason, class).await.unwrap();
            }
        }
        // What was used is paid, so that the next ones fit.
        let args = ResetBudgetArgs { budget_id: budget.clone(), now: bench.clock.now() };
        backend.reset_budget(args).await.unwrap();
    }
    used
}

async fn many_workers_share_one_budget(bench: Bench) {
    let bench = Arc::new(bench);
    let budget = BudgetId::new();
    let args = CreateBudgetArgs {
        on_hard_limit: String::new(),
        soft_limits: vec![0, 0],
        hard_limits: vec![SHARED, 0],
        ..budget_args(&bench, &budget)
    };
    bench.backend.create_budget(args).await.unwrap();
    for execution in 0..48_u64 {
        let policy = ExecutionPolicy {
            budget_ids: vec![budget.clone()],
            budget_estimate: [("cost".to_owned(), 1 + execution % 6)].into(),
            ..ExecutionPolicy::default()
        };
        bench.create_with(&|args| args.policy = Some(policy.clone())).await;
    }

    let workers = (0..8).map(|seed| tokio::spawn(work(Arc::clone(&bench), budget.clone(), seed)));
    let used = futures_util::future::join_all(workers).await;
    assert_ne!(used.into_iter().map(Result::unwrap).sum::<u64>(), 0);
    assert!(bench.plain.rows("ff_budget_reservation").await.is_empty());
    for core in bench.plain.rows("ff_exec_core").await {
        assert!(core.int("terminal_at_ms").is_some(), "{core:?} was never served");
    }
    bench.assert_sound().await;
    Arc::into_inner(bench).unwrap().tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_workers_share_one_budget_on_sqlite() {
    many_workers_share_one_budget(backends::sqlite_file().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_workers_share_one_budget_on_postgres() {
    many_workers_share_one_budget(backends::postgres().await).await;
}
