//! A worker lets go until those it waits for have ended.

use ff_core::contracts::{EdgeDependencyPolicy, OnSatisfied};
use ff_core::types::LeaseEpoch;

use crate::backends::conformance;
use crate::bench::{assert_refused, payload_of};
use crate::flow::{End, applying};

const PARKED: &str = "runnable unowned blocked_by_dependencies waiting_children attempt_interrupted \
                      waiting_for_children";
const RELEASED: &str =
    "runnable unowned eligible_now waiting attempt_interrupted waiting_for_worker";

conformance! {
    async fn the_last_end_unblocks_the_waiting_execution(bench) {
        let flow = bench.flow(3).await;
        let edges = [bench.stage(&flow, 0, 2).await, bench.stage(&flow, 1, 2).await];
        let parent = &flow.members[2];
        let handle = bench.take(parent).await;
        for edge in &edges {
            bench.apply(edge).await;
        }
        bench.backend.wait_children(&handle).await.unwrap();
        assert_eq!(bench.core(parent).await.states(), PARKED);
        let attempt = bench.attempt(parent, 0).await;
        assert_eq!(attempt.text("outcome"), "waiting_children");
        assert_eq!(attempt.int("lease_expires_at_ms"), None);
        assert_eq!(attempt.int("terminal_at_ms"), None);
        assert_eq!(bench.lease_events(parent).await, ["acquired", "revoked"]);
        assert_eq!(bench.completions(parent).await, [""; 0]);
        assert!(bench.backend.complete(&handle, None).await.is_err());
        assert!(bench.backend.wait_children(&handle).await.is_err());
        bench.end_and_dispatch(&flow.members[0], End::Success).await;
        assert_eq!(bench.core(parent).await.states(), PARKED);
        bench.end_and_dispatch(&flow.members[1], End::Success).await;
        assert_eq!(bench.core(parent).await.states(), RELEASED);
        let again = bench.take(parent).await;
        assert_eq!((payload_of(&again).attempt_index.0, payload_of(&again).lease_epoch.0), (0, 2));
        bench.backend.complete(&again, None).await.unwrap();
        bench.settle().await;
    }

    async fn an_execution_without_children_may_be_claimed_at_once(bench) {
        let flow = bench.flow(2).await;
        let [child, parent] = &flow.members[..] else { panic!() };
        let handle = bench.take(parent).await;
        bench.backend.wait_children(&handle).await.unwrap();
        assert_eq!(bench.core(parent).await.states(), RELEASED, "no edges");
        let handle = bench.take(parent).await;
        let edge = bench.stage(&flow, 0, 1).await;
        bench.apply(&edge).await;
        bench.end_and_dispatch(child, End::Success).await;
        bench.backend.wait_children(&handle).await.unwrap();
        assert_eq!(bench.core(parent).await.states(), RELEASED, "it has ended");
        assert_eq!(payload_of(&bench.take(parent).await).lease_epoch.0, 3);
        let (solo, handle) = bench.leased().await;
        bench.backend.wait_children(&handle).await.unwrap();
        assert_eq!(bench.core(&solo).await.states(), RELEASED, "of no flow");
    }

    async fn an_execution_whose_children_fail_is_skipped(bench) {
        for told_before in [true, false] {
            let flow = bench.flow(3).await;
            let [child, parent, next] = &flow.members[..] else { panic!() };
            let edge = bench.stage(&flow, 0, 1).await;
            bench.connect(&flow, &[(1, 2)]).await;
            let handle = bench.take(parent).await;
            bench.apply(&edge).await;
            bench.end(child, End::Failed).await;
            if told_before {
                bench.settle().await;
            }
            bench.backend.wait_children(&handle).await.unwrap();
            bench.settle().await;
            let core = bench.core(parent).await;
            assert_eq!(core.states(), "terminal unowned not_applicable skipped attempt_terminal -");
            assert_eq!(bench.attempt(parent, 0).await.text("outcome"), "skipped");
            assert_eq!(bench.completions(parent).await, ["skipped"]);
            assert_eq!(bench.lease_events(parent).await, ["acquired", "revoked"]);
            assert_eq!(bench.public(next).await, "skipped");
        }
    }

    async fn only_the_holder_of_the_lease_waits_for_children(bench) {
        let flow = bench.flow(2).await;
        let parent = &flow.members[1];
        let edge = bench.stage(&flow, 0, 1).await;
        let handle = bench.take(parent).await;
        bench.apply(&edge).await;
        let before = bench.everything().await;
        let stale = bench.altered(&handle, |held| held.lease_epoch = LeaseEpoch(0));
        assert_refused(bench.backend.wait_children(&stale).await, "contention: LeaseConflict");
        assert_eq!(bench.everything().await, before);
        bench.clock.advance(crate::bench::TTL);
        assert_refused(bench.backend.wait_children(&handle).await, "state: LeaseExpired");
        assert_eq!(bench.everything().await, before);
        bench.backend.scan(ff_core::engine_backend::Scan::LeaseExpiry, 10).await.unwrap();
        assert!(bench.backend.wait_children(&handle).await.is_err());
        let handle = bench.take(parent).await;
        bench.backend.wait_children(&handle).await.unwrap();
    }

    async fn a_quorum_of_children_is_enough(bench) {
        let flow = bench.flow(4).await;
        let policy = EdgeDependencyPolicy::quorum(2, OnSatisfied::cancel_remaining());
        bench.policy(&flow, 3, policy).await;
        let parent = &flow.members[3];
        let mut edges = Vec::new();
        for child in 0..3 {
            edges.push(bench.stage(&flow, child, 3).await);
        }
        let handle = bench.take(parent).await;
        for edge in &edges {
            bench.apply(edge).await;
        }
        bench.end_and_dispatch(&flow.members[0], End::Success).await;
        bench.backend.wait_children(&handle).await.unwrap();
        assert_eq!(bench.core(parent).await.states(), PARKED);
        bench.end_and_dispatch(&flow.members[1], End::Success).await;
        assert_eq!(bench.core(parent).await.states(), RELEASED);
        assert_eq!(bench.public(&flow.members[2]).await, "cancelled");
    }

    async fn a_quorum_met_before_the_wait_cancels_the_rest(bench) {
        let flow = bench.flow(3).await;
        let policy = EdgeDependencyPolicy::any_of(OnSatisfied::cancel_remaining());
        bench.policy(&flow, 2, policy).await;
        let edges = [bench.stage(&flow, 0, 2).await, bench.stage(&flow, 1, 2).await];
        let handle = bench.take(&flow.members[2]).await;
        for edge in &edges {
            bench.apply(edge).await;
        }
        bench.end_and_dispatch(&flow.members[0], End::Success).await;
        bench.backend.wait_children(&handle).await.unwrap();
        bench.settle().await;
        assert_eq!(bench.core(&flow.members[2]).await.states(), RELEASED);
        assert_eq!(bench.public(&flow.members[1]).await, "cancelled");
    }

    async fn an_end_during_the_wait_call_unblocks_at_once(bench) {
        for round in 0..30 {
            let flow = bench.flow(2).await;
            let [child, parent] = &flow.members[..] else { panic!() };
            let edge = bench.stage(&flow, 0, 1).await;
            let (handle, ending) = (bench.take(parent).await, bench.take(child).await);
            bench.apply(&edge).await;
            let waiting = {
                let bench = std::sync::Arc::clone(&bench);
                tokio::spawn(async move { bench.backend.wait_children(&handle).await.unwrap() })
            };
            let telling = {
                let bench = std::sync::Arc::clone(&bench);
                tokio::spawn(async move {
                    bench.backend.complete(&ending, None).await.unwrap();
                    bench.settle().await;
                })
            };
            waiting.await.unwrap();
            telling.await.unwrap();
            bench.settle().await;
            assert_eq!(bench.core(parent).await.states(), RELEASED, "round {round}");
            bench.end_and_dispatch(parent, End::Success).await;
        }
    }

    async fn an_edge_that_is_applied_meanwhile_is_waited_for(bench) {
        for round in 0..50 {
            let flow = bench.flow(2).await;
            let parent = &flow.members[1];
            let edge = bench.stage(&flow, 0, 1).await;
            let handle = bench.take(parent).await;
            let waiting = {
                let bench = std::sync::Arc::clone(&bench);
                tokio::spawn(async move { bench.backend.wait_children(&handle).await.unwrap() })
            };
            let applying = {
                let (bench, args) = (std::sync::Arc::clone(&bench), applying(&edge));
                tokio::spawn(
                    async move { bench.backend.apply_dependency_to_child(args).await.unwrap() },
                )
            };
            waiting.await.unwrap();
            applying.await.unwrap();
            assert_eq!(bench.core(parent).await.states(), PARKED, "round {round}");
            bench.end_and_dispatch(&flow.members[0], End::Success).await;
            assert_eq!(bench.core(parent).await.states(), RELEASED, "round {round}");
        }
    }
}
