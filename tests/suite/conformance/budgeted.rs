//! Claiming executions with budgets: only while each of their budgets has room.

use std::collections::BTreeSet;

use ff_core::backend::CapabilitySet;
use ff_core::contracts::{
    ClaimForWorkerArgs, ClaimForWorkerOutcome, ReleaseBudgetArgs, ResetBudgetArgs,
};
use ff_core::plan::value::Value;
use ff_core::policy::ExecutionPolicy;
use ff_core::types::{BudgetId, ExecutionId, WorkerId, WorkerInstanceId};
use serde_json::json;

use super::budget::{budget, report};
use crate::backends::{Bench, conformance};
use crate::bench::{WAITING, assert_refused, id, lane, partition, payload_of, requiring, worker};

/// A policy with these budgets, that requires these capabilities.
fn spending(budgets: &[&BudgetId], tokens: &[&str]) -> ExecutionPolicy {
    let budget_ids = budgets.iter().map(|&budget| budget.clone()).collect();
    ExecutionPolicy { budget_ids, ..requiring(tokens) }
}

async fn create(bench: &Bench, budgets: &[&BudgetId], tokens: &[&str]) -> ExecutionId {
    let policy = spending(budgets, tokens);
    let id = bench.create_with(&|args| args.policy = Some(policy.clone())).await;
    bench.clock.advance(1);
    id
}

pub(crate) async fn claim(bench: &Bench, tokens: &[&str], limit: u32) -> Vec<ExecutionId> {
    let offered = CapabilitySet::new(tokens.iter().copied());
    let claimed = bench.backend.claim_many(&lane(), &offered, worker("w"), limit).await.unwrap();
    claimed.iter().map(|handle| payload_of(handle).execution_id).collect()
}

async fn exhaust(bench: &Bench, budget: &BudgetId) {
    report(bench, budget, &[("cost", 10)]).await;
}

async fn reset(bench: &Bench, budget: &BudgetId) {
    let args = ResetBudgetArgs { budget_id: budget.clone(), now: bench.clock.now() };
    bench.backend.reset_budget(args).await.unwrap();
}

conformance! {
    async fn an_execution_waits_for_room_in_its_budget(bench) {
        let budget = budget(&bench).await;
        let first = create(&bench, &[&budget], &[]).await;
        let second = create(&bench, &[&budget], &[]).await;
        let plain = bench.create().await;
        report(&bench, &budget, &[("cost", 9)]).await;
        assert_eq!(claim(&bench, &[], 1).await, [first], "there is room for one more");

        report(&bench, &budget, &[("cost", 1)]).await;
        assert_eq!(claim(&bench, &[], 9).await, [plain], "it hides nothing behind it");
        assert_eq!(claim(&bench, &["gpu"], 9).await, []);
        assert!(!bench.backend.has_claimable(&lane(), &CapabilitySet::default()).await.unwrap());
        assert_eq!(bench.core(&second).await.text("eligibility_state"), "eligible_now");

        reset(&bench, &budget).await;
        assert!(bench.backend.has_claimable(&lane(), &CapabilitySet::default()).await.unwrap());
        assert_eq!(claim(&bench, &[], 9).await, [second]);
    }

    async fn budgets_and_capabilities_are_required_together(bench) {
        let (one, two) = (budget(&bench).await, budget(&bench).await);
        let both = create(&bench, &[&one, &two], &["gpu"]).await;
        let first = create(&bench, &[&one], &["gpu", "avx"]).await;
        let second = create(&bench, &[&two, &two], &[]).await;
        exhaust(&bench, &one).await;
        assert_eq!(claim(&bench, &["avx", "gpu"], 9).await, [second]);
        reset(&bench, &one).await;
        assert_eq!(claim(&bench, &["avx"], 9).await, []);
        assert_eq!(claim(&bench, &["gpu"], 9).await, [both]);
        assert_eq!(claim(&bench, &["avx", "gpu"], 9).await, [first]);
    }

    async fn the_order_is_that_of_all_claims(bench) {
        let (one, two) = (budget(&bench).await, budget(&bench).await);
        let mut expected = Vec::new();
        for round in 0..3 {
            for budgets in [&[][..], &[&one], &[&two], &[&one, &two]] {
                let mut policy = spending(budgets, if round == 1 { &["gpu"] } else { &[] });
                policy.priority = 3 - round;
                expected.push(bench.create_with(&|args| args.policy = Some(policy.clone())).await);
                bench.clock.advance(1);
            }
        }
        assert_eq!(claim(&bench, &["gpu"], 7).await, expected[..7]);
        assert_eq!(claim(&bench, &["gpu"], 7).await, expected[7..]);
    }

    async fn a_budget_that_is_not_defined_has_room(bench) {
        let unknown = BudgetId::new();
        let execution = create(&bench, &[&unknown], &[]).await;
        report(&bench, &unknown, &[("cost", 1_000)]).await;
        assert_eq!(claim(&bench, &[], 1).await, [execution]);
    }

    async fn room_is_given_back_with_what_an_execution_spent(bench) {
        let budget = budget(&bench).await;
        let spender = id();
        let args = ff_core::contracts::RecordSpendArgs::new(
            budget.clone(),
            spender.clone(),
            [("cost".to_owned(), 10)].into(),
            "",
        );
        bench.backend.record_spend(args).await.unwrap();
        let waiting = create(&bench, &[&budget], &[]).await;
        assert_eq!(claim(&bench, &[], 1).await, []);
        let args = ReleaseBudgetArgs::new(budget.clone(), spender);
        bench.backend.release_budget(args).await.unwrap();
        assert_eq!(claim(&bench, &[], 1).await, [waiting]);
    }

    async fn what_is_due_waits_for_room_as_well(bench) {
        let budget = budget(&bench).await;
        exhaust(&bench, &budget).await;
        let policy = spending(&[&budget], &[]);
        let soon = ff_core::types::TimestampMs(bench.clock.now().0 + 10);
        let execution = bench
            .create_with(&|args| {
                args.policy = Some(policy.clone());
                args.delay_until = Some(soon);
            })
            .await;
        bench.clock.advance(11);
        assert_eq!(claim(&bench, &[], 1).await, []);
        reset(&bench, &budget).await;
        assert_eq!(claim(&bench, &[], 1).await, [execution]);
    }

    async fn no_capability_stands_for_a_budget(bench) {
        let budget = budget(&bench).await;
        exhaust(&bench, &budget).await;
        let execution = create(&bench, &[&budget], &["gpu"]).await;
        let token = format!("\u{1}budget:{budget}");
        let offered = CapabilitySet::new(["gpu", &token]);
        assert!(bench.backend.claim(&lane(), &offered, worker("w")).await.unwrap().is_none());
        assert!(!bench.backend.has_claimable(&lane(), &offered).await.unwrap());

        // It is a capability like others, for an execution that requires it.
        let odd = create(&bench, &[], &[&token]).await;
        assert_eq!(claim(&bench, &["gpu"], 9).await, []);
        assert_eq!(claim(&bench, &["gpu", &token], 9).await, [odd]);

        let fields = ["required_capabilities", "budget_ids"];
        let read = bench.backend.read_exec_core_fields(partition(&execution), &execution, &fields);
        let read = read.await.unwrap();
        assert_eq!(read["required_capabilities"].as_deref(), Some("gpu"));
        assert_eq!(read["budget_ids"], Some(budget.to_string()));
    }

    async fn a_scheduler_grants_nothing_that_has_no_room(bench) {
        let budget = budget(&bench).await;
        let execution = create(&bench, &[&budget], &["gpu"]).await;
        let schedule = async || {
            let (pool, instance) = (WorkerId::new("w"), WorkerInstanceId::new("w-1"));
            let tokens = BTreeSet::from(["gpu".to_owned()]);
            let args = ClaimForWorkerArgs::new(lane(), pool, instance, tokens, 1_000);
            bench.backend.claim_for_worker(args).await.unwrap()
        };
        exhaust(&bench, &budget).await;
        assert_eq!(schedule().await, ClaimForWorkerOutcome::NoWork);
        assert_eq!(bench.core(&execution).await.text("eligibility_state"), "eligible_now");

        reset(&bench, &budget).await;
        let ClaimForWorkerOutcome::Granted(grant) = schedule().await else { panic!("no room") };
        assert_eq!(grant.execution_id, execution);
    }

    async fn a_scheduler_honours_the_budgets_that_a_plain_row_names(bench) {
        let budgets = [budget(&bench).await, budget(&bench).await];
        let named = format!("{}, {}", budgets[0], budgets[1]);
        let raw = json!({ "namespace": "default", "budget_ids": named });
        let (full, open) = (id(), id());
        bench.insert_core(&full, WAITING, vec![("raw_fields", Value::Json(raw))]).await;
        exhaust(&bench, &budgets[1]).await;
        let schedule = async || {
            let (pool, instance) = (WorkerId::new("w"), WorkerInstanceId::new("w-1"));
            let args = ClaimForWorkerArgs::new(lane(), pool, instance, BTreeSet::new(), 1_000);
            bench.backend.claim_for_worker(args).await.unwrap()
        };
        assert_eq!(schedule().await, ClaimForWorkerOutcome::NoWork);
        assert_eq!(bench.core(&full).await.text("eligibility_state"), "eligible_now");

        // It hides nothing behind it.
        bench.insert_core(&open, WAITING, vec![]).await;
        let ClaimForWorkerOutcome::Granted(grant) = schedule().await else { panic!("no work") };
        assert_eq!(grant.execution_id, open);
        reset(&bench, &budgets[1]).await;
        let ClaimForWorkerOutcome::Granted(grant) = schedule().await else { panic!("no room") };
        assert_eq!(grant.execution_id, full);
    }

    async fn another_process_sees_them_within_a_moment(bench) {
        let other = bench.another_process().await;
        let none = CapabilitySet::default();
        assert!(other.claim(&lane(), &none, worker("o")).await.unwrap().is_none());
        let budget = budget(&bench).await;
        let execution = create(&bench, &[&budget], &[]).await;
        bench.clock.advance(250);
        let claimed = other.claim(&lane(), &none, worker("o")).await.unwrap().unwrap();
        assert_eq!(payload_of(&claimed).execution_id, execution);
    }

    async fn an_execution_has_few_budgets(bench) {
        let many: Vec<_> = (0..17).map(|_| BudgetId::new()).collect();
        let mut args = bench.args(&id());
        args.policy = Some(spending(&many.iter().collect::<Vec<_>>(), &[]));
        assert_refused(
            bench.backend.create_execution(args).await,
            "validation: InvalidInput: policy.budget_ids: must be between 0 and 16, got 17",
        );
    }
}
