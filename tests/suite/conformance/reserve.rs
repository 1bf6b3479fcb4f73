//! Reserve and settle: a claim reserves an execution's estimate, reports use it, ends give the rest
//! back; and what a budget does about an over-run.

use std::collections::BTreeMap;

use ff_core::backend::{CancelFlowPolicy, CancelFlowWait, CapabilitySet, Handle, UsageDimensions};
use ff_core::contracts::{
    BudgetUsageAndLimits, ClaimResumedExecutionResult, CreateBudgetArgs, DeliverApprovalSignalArgs,
    ListPendingWaitpointsArgs, ReportUsageResult,
};
use ff_core::engine_backend::Scan;
use ff_core::policy::ExecutionPolicy;
use ff_core::types::{BudgetId, ExecutionId, TimestampMs};

use super::budget::{amounts, budget_args, hard, report, reset, spend, status};
use super::budgeted::claim;
use crate::backends::{Bench, conformance};
use crate::bench::{TTL, WAITING, assert_not_active, assert_refused, lane, payload_of};
use crate::conformance::signal::resumed;
use crate::stopping::Stop;
use crate::suspended::cancellation;

/// A budget with a hard limit of cost, and no other limit.
async fn limited(bench: &Bench, limit: u64, on_hard_limit: &str) -> BudgetId {
    let id = BudgetId::new();
    let args = CreateBudgetArgs {
        on_hard_limit: on_hard_limit.into(),
        hard_limits: vec![limit, 0],
        soft_limits: vec![0, 0],
        ..budget_args(bench, &id)
    };
    bench.backend.create_budget(args).await.unwrap();
    id
}

fn estimated(budgets: &[&BudgetId], estimate: &[(&str, u64)]) -> ExecutionPolicy {
    ExecutionPolicy {
        budget_ids: budgets.iter().map(|&budget| budget.clone()).collect(),
        budget_estimate: amounts(estimate),
        ..ExecutionPolicy::default()
    }
}

async fn create(bench: &Bench, policy: ExecutionPolicy) -> ExecutionId {
    let id = bench.create_with(&|args| args.policy = Some(policy.clone())).await;
    bench.clock.advance(1);
    id
}

/// An execution that has reserved that much cost of the budget.
async fn reserving(bench: &Bench, budget: &BudgetId, cost: u64) -> (ExecutionId, Handle) {
    let id = create(bench, estimated(&[budget], &[("cost", cost)])).await;
    let handle = bench.claim().await;
    assert_eq!(payload_of(&handle).execution_id, id);
    (id, handle)
}

async fn has_claimable(bench: &Bench) -> bool {
    bench.backend.has_claimable(&lane(), &CapabilitySet::default()).await.unwrap()
}

async fn of(bench: &Bench, budget: &BudgetId) -> BudgetUsageAndLimits {
    bench.backend.read_budget_usage_and_limits(budget).await.unwrap()
}

async fn used_and_reserved(bench: &Bench, budget: &BudgetId) -> (u64, u64) {
    let of = of(bench, budget).await;
    let cost = |amounts: &BTreeMap<String, u64>| amounts.get("cost").copied().unwrap_or(0);
    (cost(&of.usage), cost(&of.reserved))
}

async fn use_up(bench: &Bench, handle: &Handle, budget: &BudgetId, cost: u64) -> ReportUsageResult {
    let mut used = UsageDimensions::new();
    used.custom.insert("cost".into(), cost);
    bench.backend.report_usage(handle, budget, used).await.unwrap()
}

async fn approve(bench: &Bench, id: &ExecutionId) {
    let open = ListPendingWaitpointsArgs::new(id.clone());
    let open = bench.backend.list_pending_waitpoints(open).await.unwrap().entries.remove(0);
    assert_eq!(open.waitpoint_key, "budget");
    let waitpoint = open.waitpoint_id;
    let args = DeliverApprovalSignalArgs::new(
        id.clone(),
        lane(),
        waitpoint,
        "approved",
        "",
        60_000,
        None,
        None,
    );
    bench.backend.deliver_approval_signal(args).await.unwrap();
}

conformance! {
    async fn a_claim_reserves_the_estimate_where_it_fits(bench) {
        let budget = limited(&bench, 10, "").await;
        let first = create(&bench, estimated(&[&budget], &[("cost", 6)])).await;
        let second = create(&bench, estimated(&[&budget], &[("cost", 5)])).await;
        let third = create(&bench, estimated(&[&budget], &[("cost", 4), ("tokens", 7)])).await;
        let plain = bench.create().await;

        // The third would fit; but it must not come before the second for ever.
        assert_eq!(claim(&bench, &[], 9).await, [first.clone(), plain]);
        assert_eq!(used_and_reserved(&bench, &budget).await, (0, 6));
        assert!(!has_claimable(&bench).await);
        assert_eq!(bench.core(&second).await.states(), WAITING);

        bench.cancel_one(&second).await;
        assert!(has_claimable(&bench).await);
        assert_eq!(claim(&bench, &[], 9).await, std::slice::from_ref(&third));
        let of_budget = of(&bench, &budget).await;
        assert_eq!(of_budget.reserved, amounts(&[("cost", 10), ("tokens", 7)]));
        assert_eq!(of_budget.usage, amounts(&[]));
        bench.cancel_one(&first).await;
        bench.cancel_one(&third).await;
        assert_eq!(of(&bench, &budget).await.reserved, amounts(&[]));
    }

    async fn it_reserves_in_every_budget_or_in_none(bench) {
        let (one, two) = (limited(&bench, 10, "").await, limited(&bench, 3, "").await);
        let unknown = BudgetId::new();
        let both = create(&bench, estimated(&[&one, &two, &unknown], &[("cost", 4)])).await;
        assert_eq!(claim(&bench, &[], 1).await, []);
        assert_eq!(used_and_reserved(&bench, &one).await, (0, 0));

        let other = create(&bench, estimated(&[&two, &unknown], &[("cost", 3)])).await;
        assert_eq!(claim(&bench, &[], 9).await, [], "the best of a budget comes first");
        bench.cancel_one(&both).await;
        assert_eq!(claim(&bench, &[], 9).await, [other]);
        assert_eq!(used_and_reserved(&bench, &two).await, (0, 3));
        assert_eq!(used_and_reserved(&bench, &unknown).await, (0, 3));
    }

    async fn usage_turns_what_is_reserved_into_what_is_used(bench) {
        let budget = limited(&bench, 10, "").await;
        let (id, handle) = reserving(&bench, &budget, 6).await;
        assert_eq!(report(&bench, &budget, &[("cost", 5)]).await, hard("cost", 0, 10));
        assert_eq!(use_up(&bench, &handle, &budget, 4).await, ReportUsageResult::Ok);
        assert_eq!(used_and_reserved(&bench, &budget).await, (4, 2));
        assert_eq!(spend(&bench, &budget, &id, &[("cost", 1)], "a").await, ReportUsageResult::Ok);
        let again = spend(&bench, &budget, &id, &[("cost", 1)], "a").await;
        assert_eq!(again, ReportUsageResult::AlreadyApplied);
        assert_eq!(used_and_reserved(&bench, &budget).await, (5, 1));

        // Beyond the estimate, what is free counts.
        assert_eq!(use_up(&bench, &handle, &budget, 6).await, hard("cost", 5, 10));
        assert_eq!(use_up(&bench, &handle, &budget, 3).await, ReportUsageResult::Ok);
        assert_eq!(used_and_reserved(&bench, &budget).await, (8, 0));
        assert_eq!(report(&bench, &budget, &[("cost", 2)]).await, ReportUsageResult::Ok);
        bench.backend.complete(&handle, None).await.unwrap();
        assert_eq!(used_and_reserved(&bench, &budget).await, (10, 0));
    }

    async fn a_reset_leaves_what_is_reserved(bench) {
        let budget = limited(&bench, 10, "").await;
        let (_, handle) = reserving(&bench, &budget, 6).await;
        use_up(&bench, &handle, &budget, 2).await;
        reset(&bench, &budget).await.unwrap();
        assert_eq!(used_and_reserved(&bench, &budget).await, (0, 4));
        assert_eq!(report(&bench, &budget, &[("cost", 7)]).await, hard("cost", 0, 10));
        assert_eq!(report(&bench, &budget, &[("cost", 6)]).await, ReportUsageResult::Ok);
    }

    async fn whatever_ends_an_attempt_gives_the_rest_back(bench) {
        bench.seed().await;
        let budget = limited(&bench, 10, "").await;
        for stop in Stop::ALL.into_iter().filter(|stop| stop.ends_the_attempt()) {
            let policy = stop.policy(estimated(&[&budget], &[("cost", 7)]));
            let id = create(&bench, policy).await;
            let handle = bench.claim().await;
            assert_eq!(payload_of(&handle).execution_id, id, "{stop:?}");
            use_up(&bench, &handle, &budget, 1).await;
            assert_eq!(used_and_reserved(&bench, &budget).await, (1, 6), "{stop:?}");

            bench.stop(stop, &handle).await;
            assert_eq!(used_and_reserved(&bench, &budget).await, (1, 0), "{stop:?}");
            assert!(bench.of("ff_budget_reservation", &id).await.is_empty(), "{stop:?}");
            assert!(!bench.core(&id).await.flag("has_reservations"), "{stop:?}");
            let _ = bench.backend.cancel_execution(cancellation(&bench, &id)).await;
            reset(&bench, &budget).await.unwrap();
        }
    }

    async fn a_cancelled_flow_gives_back_what_its_members_reserved(bench) {
        let budget = limited(&bench, 10, "").await;
        let mut flow = bench.empty_flow().await;
        for _ in 0..2 {
            let id = crate::flow::member_of(&flow.id);
            let mut args = bench.member_args(&id);
            args.lane_id = lane();
            args.policy = Some(estimated(&[&budget], &[("cost", 3)]));
            bench.backend.create_execution(args).await.unwrap();
            bench.add(&flow, &id).await.unwrap();
            flow.members.push(id);
        }
        assert_eq!(claim(&bench, &[], 9).await.len(), 2);
        assert_eq!(used_and_reserved(&bench, &budget).await, (0, 6));
        let (all, wait) = (CancelFlowPolicy::CancelAll, CancelFlowWait::NoWait);
        bench.backend.cancel_flow(&flow.id, all, wait).await.unwrap();
        assert_eq!(used_and_reserved(&bench, &budget).await, (0, 0));
    }

    async fn an_attempt_that_goes_on_keeps_its_reservation(bench) {
        let budget = limited(&bench, 10, "").await;
        let (id, handle) = reserving(&bench, &budget, 6).await;
        use_up(&bench, &handle, &budget, 2).await;
        let later = TimestampMs(bench.clock.now().0 + 10);
        bench.backend.delay(&handle, later).await.unwrap();
        assert_eq!(used_and_reserved(&bench, &budget).await, (2, 4));

        // The next claim reserves the whole estimate anew.
        bench.clock.advance(11);
        assert_eq!(claim(&bench, &[], 1).await, [id]);
        assert_eq!(used_and_reserved(&bench, &budget).await, (2, 6));
    }

    async fn a_grant_is_redeemed_only_while_the_estimate_fits(bench) {
        let budget = limited(&bench, 10, "").await;
        let id = create(&bench, estimated(&[&budget], &[("cost", 6)])).await;
        bench.backend.issue_claim_grant(bench.grant(&id, "a", &[])).await.unwrap();
        report(&bench, &budget, &[("cost", 5)]).await;
        let redeemed = bench.backend.claim_execution(bench.redemption(&id, "a")).await;
        assert_refused(redeemed, "state: BudgetExceeded");
        reset(&bench, &budget).await.unwrap();
        bench.redeemed(&id, "a").await;
        assert_eq!(used_and_reserved(&bench, &budget).await, (0, 6));
    }

    async fn a_budget_that_warns_counts_what_exceeds_its_limit(bench) {
        let budget = limited(&bench, 10, "warn").await;
        let (_, handle) = reserving(&bench, &budget, 60).await;
        let exceeded = ReportUsageResult::SoftBreach {
            dimension: "cost".into(),
            current_usage: 11,
            soft_limit: 10,
        };
        assert_eq!(use_up(&bench, &handle, &budget, 11).await, exceeded);
        assert_eq!(used_and_reserved(&bench, &budget).await, (11, 49));
        assert_eq!(status(&bench, &budget).await.breach_count, 1);
        bench.backend.complete(&handle, None).await.unwrap();
    }

    async fn an_over_run_ends_the_execution_where_the_budget_says_so(bench) {
        for (word, state) in [("fail", "failed"), ("cancel", "cancelled")] {
            let budget = limited(&bench, 10, word).await;
            let (id, handle) = reserving(&bench, &budget, 6).await;
            assert_eq!(use_up(&bench, &handle, &budget, 11).await, hard("cost", 0, 10));
            let core = bench.core(&id).await;
            assert_eq!(core.text("public_state"), state);
            let reason = format!("budget {budget}: cost would exceed its hard limit 10 by 1");
            let reasons = [core.text("cancellation_reason").to_owned(),
                core.raw("failure_reason").as_str().unwrap_or_default().to_owned()];
            assert!(reasons.contains(&reason), "{reasons:?}");
            assert_eq!(used_and_reserved(&bench, &budget).await, (0, 0));

            // By its id: the execution that runs now ends, and one that waits does not.
            let (id, _) = reserving(&bench, &budget, 6).await;
            assert_eq!(spend(&bench, &budget, &id, &[("cost", 11)], "a").await, hard("cost", 0, 10));
            assert_eq!(bench.core(&id).await.text("public_state"), state);
            let id = create(&bench, estimated(&[&budget], &[("cost", 6)])).await;
            assert_eq!(spend(&bench, &budget, &id, &[("cost", 11)], "b").await, hard("cost", 0, 10));
            assert_eq!(bench.core(&id).await.states(), WAITING);
            bench.cancel_one(&id).await;
        }
    }

    async fn a_worker_without_its_lease_ends_nothing(bench) {
        let budget = limited(&bench, 10, "fail").await;
        let (id, stale) = reserving(&bench, &budget, 6).await;
        bench.clock.advance(TTL + 1);
        bench.backend.scan(Scan::LeaseExpiry, 10).await.unwrap();
        let current = bench.claim().await;
        assert_eq!(use_up(&bench, &stale, &budget, 11).await, hard("cost", 0, 10));
        assert_eq!(bench.core(&id).await.text("public_state"), "active");
        bench.backend.complete(&current, None).await.unwrap();
    }

    async fn an_over_run_waits_for_an_approval_that_raises_the_limit(bench) {
        bench.seed().await;
        let budget = limited(&bench, 10, "suspend").await;
        let (id, handle) = reserving(&bench, &budget, 6).await;
        let args = || {
            let mut used = UsageDimensions::new().with_dedup_key("one");
            used.custom.insert("cost".into(), 13);
            used
        };
        let refused = bench.backend.report_usage(&handle, &budget, args()).await.unwrap();
        assert_eq!(refused, hard("cost", 0, 10));
        let core = bench.core(&id).await;
        assert_eq!(core.text("blocking_reason"), "waiting_for_budget");
        assert_eq!(core.text("public_state"), "suspended");
        assert_not_active(bench.backend.complete(&handle, None).await, "suspended");
        assert_eq!(used_and_reserved(&bench, &budget).await, (0, 6));

        approve(&bench, &id).await;
        assert_eq!(of(&bench, &budget).await.overdraft, amounts(&[("cost", 3)]));
        let claimed = bench.backend.claim_resumed_execution(resumed(&bench, &id)).await.unwrap();
        let ClaimResumedExecutionResult::Claimed(claimed) = claimed;
        let resumed = claimed.handle;
        let counted = bench.backend.report_usage(&resumed, &budget, args()).await.unwrap();
        assert_eq!(counted, ReportUsageResult::Ok, "the refused report has used no key");
        assert_eq!(used_and_reserved(&bench, &budget).await, (13, 0));
        bench.backend.complete(&resumed, None).await.unwrap();
        assert_eq!(report(&bench, &budget, &[("cost", 1)]).await, hard("cost", 13, 13));
    }

    async fn an_operator_who_resumes_the_execution_raises_nothing(bench) {
        bench.seed().await;
        let budget = limited(&bench, 10, "suspend").await;
        let (id, handle) = reserving(&bench, &budget, 6).await;
        use_up(&bench, &handle, &budget, 13).await;
        let args = ff_core::contracts::ResumeExecutionArgs {
            execution_id: id.clone(),
            trigger_type: "operator".into(),
            resume_delay_ms: 0,
        };
        bench.backend.resume_execution(args).await.unwrap();
        assert_eq!(of(&bench, &budget).await.overdraft, amounts(&[]));
        assert_eq!(claim(&bench, &[], 1).await, [id]);
    }

    async fn an_estimate_is_checked(bench) {
        let budget = BudgetId::new();
        let field = "validation: InvalidInput: policy.budget_estimate";
        let huge = i64::MAX.unsigned_abs() + 1;
        for (budgets, estimate, problem) in [
            (vec![], vec![("cost", 1)], " has no effect without policy.budget_ids"),
            (vec![&budget], vec![("", 1)], " \"\" is no name of a dimension"),
            (vec![&budget], vec![("_init", 1)], " \"_init\" is no name of a dimension"),
            (vec![&budget], vec![("a\0", 1)], " must not contain NUL (at byte 1)"),
            (vec![&budget], vec![("cost", 0)],
                ".cost: must be between 1 and 9223372036854775807, got 0"),
            (vec![&budget], vec![("cost", huge)],
                ".cost: must be between 1 and 9223372036854775807, got 9223372036854775808"),
        ] {
            let mut args = bench.args(&crate::bench::id());
            args.policy = Some(estimated(&budgets, &estimate));
            let colon = if problem.starts_with('.') { "" } else { ":" };
            let created = bench.backend.create_execution(args).await;
            assert_refused(created, &format!("{field}{colon}{problem}"));
        }
    }
}
