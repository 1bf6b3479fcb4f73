//! A staged edge takes effect.

use ff_core::contracts::{ApplyDependencyToChildResult, EdgeDependencyPolicy, OnSatisfied};
use ff_core::types::{EdgeId, FlowId, TimestampMs};
use serde_json::json;

use crate::backends::{START, conformance};
use crate::bench::{ACTIVE, assert_refused};
use crate::flow::{End, applying, member_of};

const BLOCKED: &str = "runnable unowned blocked_by_dependencies waiting_children \
                       pending_first_attempt waiting_for_children";

fn invalid(detail: &str) -> String {
    format!("validation: InvalidInput: {detail}")
}

conformance! {
    async fn an_applied_edge_blocks_its_downstream(bench) {
        let flow = bench.flow(3).await;
        let (first, second) = (bench.stage(&flow, 0, 2).await, bench.stage(&flow, 1, 2).await);
        let child = &flow.members[2];
        bench.clock.advance(5);
        let mut args = applying(&first);
        args.now = bench.clock.now();
        let applied = bench.backend.apply_dependency_to_child(args.clone()).await.unwrap();
        assert_eq!(applied, ApplyDependencyToChildResult::Applied { unsatisfied_count: 1 });
        assert_eq!(bench.core(child).await.states(), BLOCKED);
        let group = bench.group(child).await;
        assert_eq!(*group.json("policy"), json!({ "kind": "all_of" }));
        assert_eq!(bench.counts(child).await, [0, 0, 0, 1, 1]);
        let edge = bench.backend.describe_edge(&flow.id, &first.edge_id).await.unwrap().unwrap();
        assert_eq!(edge.edge_state, "applied");
        let edges = bench.plain.rows("ff_edge").await;
        let stored = edges.iter().find(|row| row.uuid("edge_id") == Some(first.edge_id.0)).unwrap();
        assert_eq!(stored.json("policy")["applied_at_ms"], START + 5);
        assert_eq!(stored.json("policy")["staged_at_ms"], START);
        assert_eq!(bench.apply(&second).await, 2);
        assert_eq!(bench.group(child).await.int("k_target"), Some(2));
        assert_eq!(bench.revision(&flow.id).await, 5, "applying changes no graph");
        let before = bench.everything().await;
        let again = bench.backend.apply_dependency_to_child(args).await.unwrap();
        assert_eq!(again, ApplyDependencyToChildResult::AlreadyApplied);
        assert_eq!(bench.everything().await, before);
        assert!(bench.try_take(child).await.is_none());
    }

    async fn only_the_edge_that_is_named_takes_effect(bench) {
        let flow = bench.flow(3).await;
        let edge = bench.stage(&flow, 0, 1).await;
        let before = bench.everything().await;
        let backend = &bench.backend;
        let mut args = applying(&edge);
        args.edge_id = EdgeId::from_uuid(uuid::Uuid::new_v4());
        assert_refused(backend.apply_dependency_to_child(args).await, &invalid("edge_not_found"));
        let mut args = applying(&edge);
        args.flow_id = FlowId::new();
        assert_refused(backend.apply_dependency_to_child(args).await, &invalid("edge_not_found"));
        for (end, stored) in [("downstream", 1), ("upstream", 0)] {
            let mut args = applying(&edge);
            let other = flow.members[2].clone();
            let expected = format!(
                "edge_mismatch: the {end} of edge {} is {}, not {}",
                edge.edge_id,
                flow.members[stored].uuid(),
                other.uuid()
            );
            match end {
                "downstream" => args.downstream_execution_id = other,
                _ => args.upstream_execution_id = other,
            }
            assert_refused(backend.apply_dependency_to_child(args).await, &invalid(&expected));
        }
        assert_eq!(bench.everything().await, before);
        bench.apply(&edge).await;
    }

    async fn a_running_execution_is_not_blocked_by_an_edge(bench) {
        let flow = bench.flow(2).await;
        let edge = bench.stage(&flow, 0, 1).await;
        let [parent, child] = &flow.members[..] else { panic!() };
        let handle = bench.take(child).await;
        bench.apply(&edge).await;
        assert_eq!(bench.core(child).await.states(), ACTIVE);
        bench.end_and_dispatch(parent, End::Failed).await;
        assert_eq!(bench.core(child).await.states(), ACTIVE);
        assert_eq!(bench.counts(child).await, [0, 1, 0, 0, 1]);
        bench.backend.complete(&handle, None).await.unwrap();
    }

    async fn an_upstream_that_ended_already_counts(bench) {
        for (end, state) in
            [(End::Success, "waiting"), (End::Failed, "skipped"), (End::Cancelled, "skipped")]
        {
            for (told_before, staged_before) in [(true, true), (true, false), (false, true), (false, false)] {
                let flow = bench.flow(3).await;
                let child = &flow.members[2];
                let mut staged = None;
                if staged_before {
                    staged = Some(bench.stage(&flow, 0, 2).await);
                }
                bench.end(&flow.members[0], end).await;
                if told_before {
                    bench.settle().await;
                }
                let edge = match staged {
                    Some(edge) => edge,
                    None => bench.stage(&flow, 0, 2).await,
                };
                assert_eq!(bench.public(child).await, "waiting");
                assert_eq!(bench.apply(&edge).await, 0);
                let case = format!("{end:?} {told_before} {staged_before}");
                assert_eq!(bench.public(child).await, state, "{case}");
                let before = bench.counts(child).await;
                bench.settle().await;
                assert_eq!(bench.counts(child).await, before, "heard once: {case}");
                assert_eq!(bench.public(child).await, state, "{case}");
                assert_eq!(bench.completions(child).await.len(), usize::from(state == "skipped"));
            }
        }
    }

    async fn an_upstream_whose_siblings_were_enough_counts(bench) {
        // Cancelled without ever having been claimed.
        let flow = bench.flow(4).await;
        let cancel = EdgeDependencyPolicy::any_of(OnSatisfied::cancel_remaining());
        bench.policy(&flow, 2, cancel).await;
        bench.connect(&flow, &[(0, 2), (1, 2)]).await;
        bench.end_and_dispatch(&flow.members[0], End::Success).await;
        assert_eq!(bench.public(&flow.members[1]).await, "cancelled");
        let edge = bench.stage(&flow, 1, 3).await;
        assert_eq!(bench.apply(&edge).await, 0);
        assert_eq!(bench.public(&flow.members[3]).await, "skipped");
    }

    async fn an_upstream_of_a_cancelled_flow_counts(bench) {
        let flow = bench.flow(2).await;
        let edge = bench.stage(&flow, 0, 1).await;
        bench.take(&flow.members[1]).await;
        let policy = ff_core::backend::CancelFlowPolicy::CancelPending;
        let wait = ff_core::backend::CancelFlowWait::NoWait;
        bench.backend.cancel_flow(&flow.id, policy, wait).await.unwrap();
        assert_eq!(bench.apply(&edge).await, 0);
        assert_eq!(bench.core(&flow.members[1]).await.states(), ACTIVE);
        assert_eq!(bench.counts(&flow.members[1]).await, [0, 1, 0, 0, 1]);
    }

    async fn a_quorum_waits_for_the_edges_that_are_to_come(bench) {
        let flow = bench.flow(4).await;
        bench.policy(&flow, 3, EdgeDependencyPolicy::quorum(2, OnSatisfied::let_run())).await;
        bench.connect(&flow, &[(0, 3), (1, 3), (2, 3)]).await;
        let child = &flow.members[3];
        assert_eq!(bench.core(child).await.states(), BLOCKED);
        assert_eq!(bench.group(child).await.int("k_target"), Some(2));
        bench.end_and_dispatch(&flow.members[0], End::Success).await;
        assert_eq!(bench.public(child).await, "waiting_children");
        bench.end_and_dispatch(&flow.members[1], End::Success).await;
        assert_eq!(bench.public(child).await, "waiting");
    }

    async fn a_delayed_execution_waits_for_its_delay_and_its_upstreams(bench) {
        for parent_first in [true, false] {
            let mut flow = bench.flow(1).await;
            let id = member_of(&flow.id);
            let until = bench.clock.now().0 + 50;
            let mut args = bench.member_args(&id);
            args.delay_until = Some(TimestampMs(until));
            bench.backend.create_execution(args).await.unwrap();
            bench.add(&flow, &id).await.unwrap();
            flow.members.push(id.clone());
            assert_eq!(bench.public(&id).await, "delayed");
            bench.connect(&flow, &[(0, 1)]).await;
            assert_eq!(bench.public(&id).await, "waiting_children");
            if parent_first {
                bench.end_and_dispatch(&flow.members[0], End::Success).await;
                assert_eq!(bench.public(&id).await, "delayed");
                assert!(bench.try_take(&id).await.is_none());
                bench.clock.advance(50);
                let scan = ff_core::engine_backend::Scan::DelayedPromotion;
                assert_eq!(bench.backend.scan(scan, 10).await.unwrap().processed, 1);
            } else {
                bench.clock.advance(50);
                let scan = ff_core::engine_backend::Scan::DelayedPromotion;
                assert_eq!(bench.backend.scan(scan, 10).await.unwrap().processed, 0);
                assert!(bench.try_take(&id).await.is_none());
                bench.end_and_dispatch(&flow.members[0], End::Success).await;
            }
            bench.take(&id).await;
        }
    }

    async fn parallel_edges_count_one_by_one(bench) {
        let flow = bench.flow(2).await;
        bench.connect(&flow, &[(0, 1), (0, 1), (0, 1)]).await;
        let [parent, child] = &flow.members[..] else { panic!() };
        assert_eq!(bench.counts(child).await, [0, 0, 0, 3, 3]);
        bench.end_and_dispatch(parent, End::Success).await;
        assert_eq!(bench.counts(child).await, [3, 0, 0, 0, 3]);
        assert_eq!(bench.public(child).await, "waiting");
    }

    async fn of_many_applications_one_counts(bench) {
        for _ in 0..10 {
            let flow = bench.flow(2).await;
            let edge = bench.stage(&flow, 0, 1).await;
            let applications: Vec<_> = (0..6)
                .map(|_| {
                    let (bench, args) = (std::sync::Arc::clone(&bench), applying(&edge));
                    tokio::spawn(
                        async move { bench.backend.apply_dependency_to_child(args).await.unwrap() },
                    )
                })
                .collect();
            let mut applied = 0;
            for application in applications {
                let result = application.await.unwrap();
                applied += usize::from(result != ApplyDependencyToChildResult::AlreadyApplied);
            }
            assert_eq!(applied, 1);
            assert_eq!(bench.counts(&flow.members[1]).await, [0, 0, 0, 1, 1]);
        }
    }

    async fn many_edges_into_one_may_be_applied_at_once(bench) {
        let flow = bench.flow(13).await;
        let mut edges = Vec::new();
        for up in 0..12 {
            edges.push(bench.stage(&flow, up, 12).await);
        }
        let applications: Vec<_> = edges
            .into_iter()
            .map(|edge| {
                let bench = std::sync::Arc::clone(&bench);
                tokio::spawn(async move { bench.apply(&edge).await })
            })
            .collect();
        for application in applications {
            application.await.unwrap();
        }
        assert_eq!(bench.counts(&flow.members[12]).await, [0, 0, 0, 12, 12]);
        assert_eq!(bench.core(&flow.members[12]).await.states(), BLOCKED);
    }
}
