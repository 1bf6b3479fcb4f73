//! Executions blocked by something else than dependencies are unblocked.

use ff_core::EngineError;
use ff_core::types::{ExecutionId, TimestampMs};

use crate::backends::{Bench, START, conformance};
use crate::bench::{ACTIVE, COMPLETED, WAITING, assert_refused, id, lane, partition};
use crate::plain::int;

async fn unblock(bench: &Bench, id: &ExecutionId, expected: &str) -> Result<(), EngineError> {
    let now = bench.clock.now();
    bench.backend.unblock_execution(partition(id), &lane(), id, expected, now).await
}

conformance! {
    async fn a_blocked_execution_is_unblocked(bench) {
        for (eligibility, public, reason) in [
            ("blocked_by_budget", "rate_limited", "waiting_for_budget"),
            ("blocked_by_quota", "rate_limited", "waiting_for_quota"),
            ("blocked_by_route", "waiting", "waiting_for_locality_match"),
            ("blocked_by_operator", "waiting", "paused_by_operator"),
        ] {
            for expected in ["", reason] {
                let id = id();
                let states =
                    format!("runnable unowned {eligibility} {public} pending_retry_attempt {reason}");
                bench.insert_core(&id, &states, vec![]).await;
                unblock(&bench, &id, expected).await.unwrap();
                let core = bench.core(&id).await;
                let waiting =
                    "runnable unowned eligible_now waiting pending_retry_attempt waiting_for_worker";
                assert_eq!(core.states(), waiting, "{eligibility}");
                bench.claim().await;
            }
        }
    }

    async fn everything_else_stays_as_it_is(bench) {
        for states in [
            ACTIVE,
            WAITING,
            COMPLETED,
            "runnable unowned blocked_by_dependencies waiting_children pending_first_attempt waiting_for_children",
            "runnable unowned not_eligible_until_time delayed pending_first_attempt waiting_for_delay",
            "suspended unowned blocked_by_operator suspended attempt_interrupted waiting_for_signal",
        ] {
            let id = id();
            bench.insert_core(&id, states, vec![]).await;
            let before = bench.everything().await;
            unblock(&bench, &id, "").await.unwrap();
            assert_eq!(bench.everything().await, before, "{states}");
        }
    }

    async fn another_reason_than_expected_holds(bench) {
        let id = id();
        let states = "runnable unowned blocked_by_budget rate_limited pending_first_attempt waiting_for_budget";
        bench.insert_core(&id, states, vec![]).await;
        let before = bench.everything().await;
        unblock(&bench, &id, "waiting_for_quota").await.unwrap();
        let error = unblock(&bench, &id, "boredom").await.unwrap_err().to_string();
        let begins = "validation: InvalidInput: expected_blocking_reason: \"boredom\" is none of ";
        assert!(error.starts_with(begins), "{error}");
        assert_refused(unblock(&bench, &crate::bench::id(), "").await, "not found: execution");
        let elsewhere = partition(&crate::bench::id_in(8));
        let now = bench.clock.now();
        let error = bench.backend.unblock_execution(elsewhere, &lane(), &id, "", now).await;
        assert!(error.is_err());
        assert_eq!(bench.everything().await, before);
        unblock(&bench, &id, "waiting_for_budget").await.unwrap();
        assert_eq!(bench.public(&id).await, "waiting");
    }

    async fn an_unblocked_execution_still_waits_for_its_delay(bench) {
        let id = id();
        let states = "runnable unowned blocked_by_budget rate_limited pending_first_attempt waiting_for_budget";
        bench.insert_core(&id, states, vec![("eligible_at_ms", int(START + 10))]).await;
        unblock(&bench, &id, "").await.unwrap();
        assert_eq!(bench.public(&id).await, "delayed");
        assert!(bench.try_claim().await.is_none());
        let due = TimestampMs(START + 10);
        bench.backend.promote_delayed(partition(&id), &lane(), &id, due).await.unwrap();
        bench.claim().await;
    }

    async fn one_blocked_member_may_be_unblocked_alone(bench) {
        let flow = bench.held_flow(2).await;
        assert!(bench.try_take(&flow.members[0]).await.is_none());
        unblock(&bench, &flow.members[0], "paused_by_policy").await.unwrap();
        bench.take(&flow.members[0]).await;
        assert!(bench.try_take(&flow.members[1]).await.is_none());
    }
}
