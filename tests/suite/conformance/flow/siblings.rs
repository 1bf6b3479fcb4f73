//! Upstreams that are no longer needed are cancelled, if the policy says so.

use ff_core::contracts::{EdgeDependencyPolicy, OnSatisfied};
use ff_core::engine_backend::{Scan, SiblingCancelReconcileAction};
use ff_core::plan::value::Value;
use ff_core::types::FlowId;
use serde_json::json;

use crate::backends::{Bench, START, conformance};
use crate::bench::{WAITING, assert_not_active};
use crate::flow::{End, Flow, at, home, member_of};
use crate::plain::int;

fn any() -> EdgeDependencyPolicy {
    EdgeDependencyPolicy::any_of(OnSatisfied::cancel_remaining())
}

async fn pending_cancels(bench: &Bench) -> usize {
    bench.plain.rows("ff_pending_cancel_groups").await.len()
}

/// A child of two whose first upstream has succeeded, and what it owes is not cancelled yet.
async fn flow_with_pending_cancel(bench: &Bench) -> Flow {
    let flow = bench.fan_in(2, any()).await;
    bench.end(&flow.members[0], End::Success).await;
    bench.backend.scan(Scan::DependencyDispatch, 10).await.unwrap();
    flow
}

async fn reconcile(bench: &Bench, flow: &Flow) -> SiblingCancelReconcileAction {
    let (partition, child) = (flow.partition(), flow.members.last().unwrap());
    bench.backend.reconcile_sibling_cancel_group(partition, &flow.id, child).await.unwrap()
}

conformance! {
    async fn the_rest_is_cancelled_whatever_it_does(bench) {
        let flow = bench.fan_in(4, any()).await;
        let handle = bench.take(&flow.members[1]).await;
        bench.end(&flow.members[0], End::Success).await;
        bench.end(&flow.members[3], End::Failed).await;
        bench.backend.scan(Scan::DependencyDispatch, 10).await.unwrap();
        let child = &flow.members[4];
        let group = bench.group(child).await;
        assert!(group.flag("cancel_siblings_pending_flag"));
        let mut pending_cancels: Vec<String> =
            flow.members[1..3].iter().map(|id| id.uuid().to_string()).collect();
        pending_cancels.sort();
        assert_eq!(group.texts("cancel_siblings_pending_members"), pending_cancels);
        let debts = bench.plain.rows("ff_pending_cancel_groups").await;
        assert_eq!(debts.len(), 1);
        assert_eq!(debts[0].int("enqueued_at_ms"), Some(START));
        assert_eq!(bench.public(&flow.members[2]).await, "waiting", "not yet");
        bench.clock.advance(5);
        let counts = bench.backend.scan(Scan::SiblingCancel, 10).await.unwrap();
        assert_eq!((counts.processed, counts.errors), (1, 0));
        for id in &flow.members[1..3] {
            let core = bench.core(id).await;
            assert_eq!(core.states(), "terminal unowned not_applicable cancelled attempt_terminal -");
            assert_eq!(core.text("cancellation_reason"), "sibling_quorum_satisfied");
            assert_eq!(core.text("cancelled_by"), "engine");
            assert_eq!(core.int("terminal_at_ms"), Some(START + 5));
            assert_eq!(bench.completions(id).await, ["cancelled"]);
        }
        assert_not_active(bench.backend.complete(&handle, None).await, "terminal");
        let attempt = bench.attempt(&flow.members[1], 0).await;
        assert_eq!(attempt.text("outcome"), "cancelled");
        assert_eq!(attempt.int("lease_epoch"), Some(2));
        let group = bench.group(child).await;
        assert!(!group.flag("cancel_siblings_pending_flag"));
        assert_eq!(group.texts("cancel_siblings_pending_members"), [""; 0]);
        assert_eq!(self::pending_cancels(&bench).await, 0);
        assert_eq!(bench.public(&flow.members[3]).await, "failed");
        bench.settle().await;
        assert_eq!(bench.core(child).await.states(), WAITING);
        assert_eq!(bench.counts(child).await, [1, 3, 0, 0, 4]);
        assert_eq!(self::pending_cancels(&bench).await, 0, "late ends owe nothing");
    }

    async fn the_end_of_a_cancelled_sibling_is_applied_to_its_other_children(bench) {
        let flow = bench.flow(4).await;
        bench.policy(&flow, 2, any()).await;
        bench.connect(&flow, &[(0, 2), (1, 2), (1, 3)]).await;
        bench.end_and_dispatch(&flow.members[0], End::Success).await;
        assert_eq!(bench.public(&flow.members[1]).await, "cancelled");
        assert_eq!(bench.public(&flow.members[2]).await, "waiting");
        assert_eq!(bench.public(&flow.members[3]).await, "skipped");
    }

    async fn other_policies_let_the_rest_run(bench) {
        for policy in [
            EdgeDependencyPolicy::any_of(OnSatisfied::let_run()),
            EdgeDependencyPolicy::quorum(1, OnSatisfied::let_run()),
            EdgeDependencyPolicy::all_of(),
        ] {
            let flow = bench.fan_in(2, policy).await;
            bench.end_and_dispatch(&flow.members[0], End::Success).await;
            bench.settle().await;
            assert_eq!(bench.public(&flow.members[1]).await, "waiting");
            assert_eq!(pending_cancels(&bench).await, 0);
            bench.end_and_dispatch(&flow.members[1], End::Success).await;
        }
        // A group that cannot be met cancels no sibling.
        let policy = EdgeDependencyPolicy::quorum(3, OnSatisfied::cancel_remaining());
        let flow = bench.fan_in(3, policy).await;
        bench.end_and_dispatch(&flow.members[0], End::Failed).await;
        assert_eq!(bench.public(&flow.members[3]).await, "skipped");
        assert_eq!(bench.public(&flow.members[1]).await, "waiting");
    }

    async fn a_quorum_cancels_the_rest_once(bench) {
        let policy = EdgeDependencyPolicy::quorum(3, OnSatisfied::cancel_remaining());
        let flow = bench.fan_in(10, policy).await;
        for upstream in &flow.members[..2] {
            bench.end_and_dispatch(upstream, End::Success).await;
        }
        assert_eq!(bench.public(&flow.members[5]).await, "waiting");
        bench.end_and_dispatch(&flow.members[2], End::Success).await;
        for upstream in &flow.members[3..10] {
            assert_eq!(bench.public(upstream).await, "cancelled");
            assert_eq!(bench.completions(upstream).await, ["cancelled"]);
        }
        assert_eq!(bench.public(&flow.members[10]).await, "waiting");
        assert_eq!(bench.counts(&flow.members[10]).await, [3, 7, 0, 0, 10]);
    }

    async fn a_group_that_is_met_when_its_edges_are_applied_cancels_the_rest(bench) {
        for ended_first in [true, false] {
            let flow = bench.held_flow(3).await;
            bench.policy(&flow, 2, any()).await;
            for member in &flow.members[..2] {
                let now = bench.clock.now();
                let lane = crate::flow::lane_of(member);
                let partition = crate::bench::partition(member);
                bench.backend.unblock_execution(partition, &lane, member, "", now).await.unwrap();
            }
            let ended = bench.stage(&flow, 0, 2).await;
            let other = bench.stage(&flow, 1, 2).await;
            bench.end_and_dispatch(&flow.members[0], End::Success).await;
            let order = if ended_first { [&ended, &other] } else { [&other, &ended] };
            for edge in order {
                bench.apply(edge).await;
            }
            bench.settle().await;
            assert_eq!(bench.public(&flow.members[1]).await, "cancelled", "{ended_first}");
        }
    }

    async fn a_pending_sibling_cancel_is_scanned_again(bench) {
        let flow = flow_with_pending_cancel(&bench).await;
        let before = bench.everything().await;
        assert_eq!(reconcile(&bench, &flow).await, SiblingCancelReconcileAction::NoOp);
        assert_eq!(bench.everything().await, before, "its siblings go on");
        bench.end(&flow.members[1], End::Failed).await;
        let action = reconcile(&bench, &flow).await;
        assert_eq!(action, SiblingCancelReconcileAction::CompletedDrain);
        assert_eq!(pending_cancels(&bench).await, 0);
        let before = bench.everything().await;
        assert_eq!(reconcile(&bench, &flow).await, SiblingCancelReconcileAction::NoOp);
        assert_eq!(bench.everything().await, before);
    }

    async fn a_pending_sibling_cancel_with_nothing_to_cancel_is_deleted(bench) {
        let flow = FlowId::new();
        let (child, orphan) = (member_of(&flow), member_of(&flow));
        bench.insert_group(&flow, &child, json!({ "kind": "any_of" }), [1, 0, 0, 1]).await;
        for drain in [true, false] {
            for downstream in [&child, &orphan] {
                let row = vec![
                    ("partition_key", int(i64::from(home(&flow).index))),
                    ("flow_id", Value::Uuid(flow.0)),
                    ("downstream_eid", Value::Uuid(downstream.uuid())),
                    ("enqueued_at_ms", int(START)),
                ];
                bench.plain.insert("ff_pending_cancel_groups", row).await;
                let at = at(home(&flow).index);
                if drain {
                    bench.backend.drain_sibling_cancel_group(at, &flow, downstream).await.unwrap();
                } else {
                    let action =
                        bench.backend.reconcile_sibling_cancel_group(at, &flow, downstream).await;
                    assert_eq!(action.unwrap(), SiblingCancelReconcileAction::SremmedStale);
                }
                assert_eq!(pending_cancels(&bench).await, 0);
            }
        }
        let group = bench.group(&child).await;
        assert_eq!(group.int("success_count"), Some(1));
        let before = bench.everything().await;
        let unknown = at(home(&flow).index);
        bench.backend.drain_sibling_cancel_group(unknown, &flow, &child).await.unwrap();
        assert_eq!(bench.everything().await, before);
    }

    async fn one_group_may_be_drained_alone(bench) {
        let (first, second) = (flow_with_pending_cancel(&bench).await, flow_with_pending_cancel(&bench).await);
        let child = first.members.last().unwrap();
        bench.backend.drain_sibling_cancel_group(first.partition(), &first.id, child).await.unwrap();
        assert_eq!(bench.public(&first.members[1]).await, "cancelled");
        assert_eq!(bench.public(&second.members[1]).await, "waiting");
        assert_eq!(pending_cancels(&bench).await, 1);
        bench.settle().await;
        assert_eq!(bench.public(&second.members[1]).await, "cancelled");
    }

    async fn many_drains_cancel_once(bench) {
        let mut flows = Vec::new();
        for _ in 0..4 {
            flows.push(flow_with_pending_cancel(&bench).await);
        }
        let drains: Vec<_> = (0..4)
            .map(|_| {
                let bench = std::sync::Arc::clone(&bench);
                tokio::spawn(async move { bench.backend.scan(Scan::SiblingCancel, 10).await })
            })
            .collect();
        for drain in drains {
            assert_eq!(drain.await.unwrap().unwrap().errors, 0);
        }
        for flow in &flows {
            assert_eq!(bench.completions(&flow.members[1]).await, ["cancelled"]);
        }
    }

    async fn a_sibling_that_ends_meanwhile_has_one_end(bench) {
        for round in 0..20 {
            let flow = bench.fan_in(2, any()).await;
            let handle = bench.take(&flow.members[1]).await;
            bench.end(&flow.members[0], End::Success).await;
            bench.backend.scan(Scan::DependencyDispatch, 10).await.unwrap();
            let completing = {
                let bench = std::sync::Arc::clone(&bench);
                tokio::spawn(async move { bench.backend.complete(&handle, None).await.is_ok() })
            };
            let draining = {
                let bench = std::sync::Arc::clone(&bench);
                tokio::spawn(async move { bench.backend.scan(Scan::SiblingCancel, 10).await })
            };
            let completed = completing.await.unwrap();
            draining.await.unwrap().unwrap();
            bench.settle().await;
            let state = bench.public(&flow.members[1]).await;
            let expected = if completed { "completed" } else { "cancelled" };
            assert_eq!(state, expected, "round {round}");
            assert_eq!(bench.completions(&flow.members[1]).await.len(), 1);
        }
    }

    async fn a_sibling_that_is_claimed_meanwhile_keeps_no_lease(bench) {
        for _ in 0..30 {
            let flow = bench.fan_in(6, any()).await;
            bench.end(&flow.members[0], End::Success).await;
            bench.backend.scan(Scan::DependencyDispatch, 10).await.unwrap();
            let mut going = Vec::new();
            for sibling in &flow.members[1..6] {
                let (bench, sibling) = (std::sync::Arc::clone(&bench), sibling.clone());
                going.push(tokio::spawn(async move { drop(bench.try_take(&sibling).await) }));
            }
            let draining = std::sync::Arc::clone(&bench);
            going.push(tokio::spawn(async move {
                draining.backend.scan(Scan::SiblingCancel, 10).await.unwrap();
            }));
            for task in going {
                task.await.unwrap();
            }
            bench.settle().await;
            for sibling in &flow.members[1..6] {
                assert_eq!(bench.public(sibling).await, "cancelled");
                for attempt in bench.attempts(sibling).await {
                    assert_eq!(attempt.text("worker_instance_id"), "-", "{attempt:?}");
                    assert_eq!(attempt.int("lease_expires_at_ms"), None, "{attempt:?}");
                }
            }
        }
    }
}
