//! Executions that are blocked because no worker, budget or quota has room for them.

use ff_core::contracts::{
    BlockExecutionForAdmissionArgs, BlockExecutionForAdmissionOutcome, BlockRouteArgs,
    BlockRouteOutcome, BlockingReason,
};
use ff_core::types::{ExecutionId, LaneId};

use crate::backends::{Bench, conformance};
use crate::bench::{assert_refused, id, lane, partition, payload_of};

const ROUTE: &str = "waiting_for_capable_worker";

fn route(bench: &Bench, id: &ExecutionId) -> BlockRouteArgs {
    let (reason, detail) = (ROUTE.to_owned(), "no worker offers gpu".to_owned());
    BlockRouteArgs::new(id.clone(), lane(), partition(id), reason, detail, bench.clock.now())
}

fn admission(
    bench: &Bench,
    id: &ExecutionId,
    reason: BlockingReason,
) -> BlockExecutionForAdmissionArgs {
    let detail = Some("no room".to_owned());
    let (lane, now) = (lane(), bench.clock.now());
    BlockExecutionForAdmissionArgs::new(id.clone(), lane, partition(id), reason, detail, now)
}

async fn unblocked(bench: &Bench, id: &ExecutionId, reason: &str) {
    let now = bench.clock.now();
    bench.backend.unblock_execution(partition(id), &lane(), id, reason, now).await.unwrap();
}

conformance! {
    async fn a_blocked_route_hides_nothing_behind_it(bench) {
        let (first, second) = (bench.create().await, {
            bench.clock.advance(1);
            bench.create().await
        });
        let blocked = bench.backend.block_route(route(&bench, &first)).await.unwrap();
        assert_eq!(blocked, BlockRouteOutcome::Blocked { execution_id: first.clone() });
        let core = bench.core(&first).await;
        let expected = "runnable unowned blocked_by_route waiting pending_first_attempt \
                        waiting_for_capable_worker";
        assert_eq!(core.states(), expected);
        assert_eq!(core.raw("blocking_detail"), "no worker offers gpu");
        let shown = bench.backend.describe_execution(&first).await.unwrap().unwrap();
        assert_eq!(shown.blocking_detail.as_deref(), Some("no worker offers gpu"));
        assert_eq!(payload_of(&bench.claim().await).execution_id, second);
        assert!(bench.try_claim().await.is_none());

        unblocked(&bench, &first, ROUTE).await;
        assert_eq!(payload_of(&bench.claim().await).execution_id, first);
    }

    async fn each_reason_of_admission_has_its_state(bench) {
        for (reason, states) in [
            (BlockingReason::WaitingForBudget, "blocked_by_budget rate_limited"),
            (BlockingReason::WaitingForQuota, "blocked_by_quota rate_limited"),
            (BlockingReason::WaitingForCapableWorker, "blocked_by_route waiting"),
        ] {
            let id = bench.create().await;
            let args = admission(&bench, &id, reason);
            let outcome = bench.backend.block_execution_for_admission(args).await.unwrap();
            let execution_id = id.clone();
            let expected = BlockExecutionForAdmissionOutcome::Blocked { execution_id, reason };
            assert_eq!(outcome, expected);
            let code = reason.reason_code();
            let expected = format!("runnable unowned {states} pending_first_attempt {code}");
            assert_eq!(bench.core(&id).await.states(), expected);
            assert!(bench.try_claim().await.is_none());
            unblocked(&bench, &id, code).await;
            bench.claim().await;
        }
    }

    async fn only_what_is_claimable_is_blocked(bench) {
        let (id, _) = bench.leased().await;
        let before = bench.everything().await;
        let message = "execution not eligible: lifecycle_phase=active, \
                       eligibility_state=not_applicable";
        let expected = BlockRouteOutcome::LuaRejected { message: message.into() };
        assert_eq!(bench.backend.block_route(route(&bench, &id)).await.unwrap(), expected);
        let args = admission(&bench, &id, BlockingReason::WaitingForQuota);
        let outcome = bench.backend.block_execution_for_admission(args).await.unwrap();
        let expected = BlockExecutionForAdmissionOutcome::LuaRejected { message: message.into() };
        assert_eq!(outcome, expected);
        assert_eq!(bench.everything().await, before);
    }

    async fn bad_input_is_refused_and_names_the_field(bench) {
        let known = bench.create().await;
        let before = bench.everything().await;
        let unknown = bench.backend.block_route(route(&bench, &id())).await;
        assert_refused(unknown, "not found: execution");

        let mut args = route(&bench, &known);
        args.reason_code = "lunch".into();
        assert_refused(
            bench.backend.block_route(args).await,
            "validation: InvalidBlockingReason: reason_code: \"lunch\" is none of \
             waiting_for_capable_worker, waiting_for_locality_match",
        );
        let mut args = route(&bench, &known);
        args.lane_id = LaneId::new("other");
        assert_refused(
            bench.backend.block_route(args).await,
            "validation: InvalidInput: lane_mismatch: args.lane_id=other exec_core.lane_id=work",
        );
        let mut args = route(&bench, &known);
        args.reason_detail = "a\0".into();
        assert_refused(
            bench.backend.block_route(args).await,
            "validation: InvalidInput: reason_detail: must not contain NUL (at byte 1)",
        );
        let mut args = admission(&bench, &known, BlockingReason::WaitingForQuota);
        args.partition.index += 1;
        assert_refused(
            bench.backend.block_execution_for_admission(args).await,
            "validation: InvalidInput: block_execution_for_admission: partition mismatch \
             (arg=8, eid=7)",
        );
        assert_eq!(bench.everything().await, before);
    }
}
