//! The end of a member travels to those that wait for it, hop by hop, each hop once.

use ff_core::backend::CompletionPayload;
use ff_core::contracts::{CascadeOutcome, EdgeDependencyPolicy, OnSatisfied};
use ff_core::engine_backend::{ExpirePhase, Scan};
use ff_core::types::{ExecutionId, TimestampMs};

use crate::backends::{Bench, START, conformance};
use crate::bench::{ACTIVE, WAITING, id, partition};
use crate::flow::{End, member_of, settle_together};
use crate::plain::text;

async fn scan(bench: &Bench) -> (u32, u32) {
    let counts = bench.backend.scan(Scan::DependencyDispatch, 100).await.unwrap();
    (counts.processed, counts.errors)
}

async fn dispatch(bench: &Bench, id: &ExecutionId, at: i64) -> CascadeOutcome {
    let payload = CompletionPayload::new(id.clone(), "success", None, TimestampMs(at));
    bench.backend.cascade_completion(&payload).await.unwrap()
}

conformance! {
    async fn a_success_unblocks_its_child(bench) {
        let flow = bench.flow(2).await;
        bench.connect(&flow, &[(0, 1)]).await;
        let [parent, child] = &flow.members[..] else { panic!() };
        bench.end(parent, End::Success).await;
        assert_eq!(bench.public(child).await, "waiting_children", "it has not been told");
        bench.clock.advance(3);
        assert_eq!(scan(&bench).await, (1, 0));
        assert_eq!(bench.core(child).await.states(), WAITING);
        assert_eq!(bench.counts(child).await, [1, 0, 0, 0, 1]);
        let event = &bench.of("ff_completion_event", parent).await[0];
        assert_eq!(event.int("dispatched_at_ms"), Some(START + 3));
        assert_eq!(event.uuid("flow_id"), Some(flow.id.0));
        assert_eq!(scan(&bench).await, (0, 0));
        bench.end_and_dispatch(child, End::Success).await;
        assert_eq!(bench.undispatched().await, 0, "an end that concerns nobody is told, too");
    }

    async fn other_ends_skip_those_that_need_all(bench) {
        for end in [End::Failed, End::Cancelled] {
            let flow = bench.flow(3).await;
            bench.connect(&flow, &[(0, 2), (1, 2)]).await;
            bench.end_and_dispatch(&flow.members[0], end).await;
            let child = &flow.members[2];
            let core = bench.core(child).await;
            assert_eq!(core.states(), "terminal unowned not_applicable skipped attempt_terminal -");
            assert_eq!(core.int("terminal_at_ms"), Some(START));
            assert_eq!(bench.attempt(child, 0).await.text("outcome"), "skipped");
            assert_eq!(bench.completions(child).await, ["skipped"]);
            assert_eq!(bench.lease_events(child).await, [""; 0]);
            let event = &bench.of("ff_completion_event", child).await[0];
            assert_eq!(event.uuid("flow_id"), Some(flow.id.0));
            // What comes later only counts.
            bench.end_and_dispatch(&flow.members[1], End::Success).await;
            assert_eq!(bench.counts(child).await, [1, 1, 0, 0, 2]);
            assert_eq!(bench.public(child).await, "skipped");
        }
    }

    async fn an_expiry_skips_its_dependents(bench) {
        let mut flow = bench.empty_flow().await;
        for deadline in [Some(TimestampMs(START + 10)), None] {
            let id = member_of(&flow.id);
            let mut args = bench.member_args(&id);
            args.execution_deadline_at = deadline;
            bench.backend.create_execution(args).await.unwrap();
            bench.add(&flow, &id).await.unwrap();
            flow.members.push(id);
        }
        bench.connect(&flow, &[(0, 1)]).await;
        let [parent, child] = &flow.members[..] else { panic!() };
        bench.clock.advance(10);
        let (at, now) = (partition(parent), bench.clock.now());
        let phase = ExpirePhase::ExecutionDeadline;
        bench.backend.expire_execution(at, parent, phase, now).await.unwrap();
        bench.settle().await;
        assert_eq!(bench.public(child).await, "skipped");
        assert_eq!(bench.counts(child).await, [0, 1, 0, 0, 1]);
    }

    async fn a_deadline_ends_an_execution_that_waits_for_others(bench) {
        let mut flow = bench.flow(1).await;
        let id = member_of(&flow.id);
        let mut args = bench.member_args(&id);
        args.execution_deadline_at = Some(TimestampMs(START + 10));
        bench.backend.create_execution(args).await.unwrap();
        bench.add(&flow, &id).await.unwrap();
        flow.members.push(id.clone());
        bench.join(&mut flow).await;
        bench.connect(&flow, &[(0, 1), (1, 2)]).await;
        bench.clock.advance(10);
        assert_eq!(bench.backend.scan(Scan::ExecutionDeadline, 10).await.unwrap().processed, 1);
        bench.settle().await;
        assert_eq!(bench.public(&id).await, "expired");
        assert_eq!(bench.public(&flow.members[2]).await, "skipped");
        bench.end_and_dispatch(&flow.members[0], End::Success).await;
        assert_eq!(bench.public(&id).await, "expired");
    }

    async fn skips_travel_on(bench) {
        let flow = bench.flow(6).await;
        bench.connect(&flow, &[(0, 1), (1, 2), (2, 3), (3, 4), (0, 5)]).await;
        bench.end(&flow.members[0], End::Failed).await;
        for hop in 1..5 {
            assert_eq!(bench.public(&flow.members[hop]).await, "waiting_children");
            assert_eq!(scan(&bench).await.1, 0);
            assert_eq!(bench.public(&flow.members[hop]).await, "skipped", "hop {hop}");
        }
        bench.settle().await;
        assert_eq!(bench.public(&flow.members[5]).await, "skipped");
        for id in &flow.members[1..] {
            assert_eq!(bench.completions(id).await, ["skipped"]);
        }
        assert_eq!(bench.counts(&flow.members[1]).await, [0, 1, 0, 0, 1]);
        assert_eq!(bench.counts(&flow.members[2]).await, [0, 0, 1, 0, 1]);
    }

    async fn a_retry_is_no_end(bench) {
        use ff_core::backend::{FailOutcome, FailureClass, FailureReason};
        let flow = bench.flow(2).await;
        bench.connect(&flow, &[(0, 1)]).await;
        let [parent, child] = &flow.members[..] else { panic!() };
        let handle = bench.take(parent).await;
        let reason = FailureReason::new("once");
        let outcome = bench.backend.fail(&handle, reason, FailureClass::Transient).await.unwrap();
        assert!(matches!(outcome, FailOutcome::RetryScheduled { .. }), "{outcome:?}");
        bench.settle().await;
        assert_eq!(bench.public(child).await, "waiting_children");
        assert_eq!(bench.counts(child).await, [0, 0, 0, 1, 1]);
    }

    async fn a_diamond_waits_for_both_sides(bench) {
        let flow = bench.flow(4).await;
        bench.connect(&flow, &[(0, 1), (0, 2), (1, 3), (2, 3)]).await;
        bench.end_and_dispatch(&flow.members[0], End::Success).await;
        bench.end_and_dispatch(&flow.members[1], End::Success).await;
        assert_eq!(bench.public(&flow.members[3]).await, "waiting_children");
        bench.end_and_dispatch(&flow.members[2], End::Success).await;
        assert_eq!(bench.public(&flow.members[3]).await, "waiting");
    }

    async fn one_completion_is_applied_once(bench) {
        let flow = bench.flow(3).await;
        bench.connect(&flow, &[(0, 1), (0, 2)]).await;
        let parent = &flow.members[0];
        bench.clock.advance(7);
        bench.end(parent, End::Success).await;
        assert_eq!(dispatch(&bench, parent, START).await.resolved, 0, "another time, no event");
        assert_eq!(dispatch(&bench, &id(), START + 7).await.resolved, 0);
        let outcome = dispatch(&bench, parent, START + 7).await;
        assert_eq!(outcome, CascadeOutcome::async_dispatched(2));
        let before = bench.everything().await;
        assert_eq!(dispatch(&bench, parent, START + 7).await, CascadeOutcome::async_dispatched(0));
        assert_eq!(scan(&bench).await, (0, 0));
        assert_eq!(bench.everything().await, before);
    }

    async fn an_end_outside_any_flow_has_no_dependents(bench) {
        let (id, handle) = bench.leased().await;
        bench.backend.complete(&handle, None).await.unwrap();
        assert_eq!(scan(&bench).await, (0, 0));
        assert_eq!(dispatch(&bench, &id, START).await, CascadeOutcome::async_dispatched(0));
        assert_eq!(dispatch(&bench, &id, START).await, CascadeOutcome::async_dispatched(0));
    }

    async fn of_many_dispatches_at_once_one_counts(bench) {
        for round in 0..10 {
            let flow = bench.flow(6).await;
            bench.connect(&flow, &[(0, 1), (0, 2), (0, 3), (0, 4), (0, 5)]).await;
            bench.end(&flow.members[0], End::Success).await;
            let versions = {
                let mut versions = Vec::new();
                for child in &flow.members[1..] {
                    versions.push(bench.core(child).await.int("version").unwrap());
                }
                versions
            };
            let at = bench.clock.now().0;
            let dispatchers = (0..6).map(|number| {
                let (bench, parent) = (std::sync::Arc::clone(&bench), flow.members[0].clone());
                tokio::spawn(async move {
                    if number % 2 == 0 {
                        dispatch(&bench, &parent, at).await;
                    } else {
                        assert_eq!(scan(&bench).await.1, 0);
                    }
                })
            });
            for dispatcher in dispatchers.collect::<Vec<_>>() {
                dispatcher.await.unwrap();
            }
            for (child, version) in flow.members[1..].iter().zip(versions) {
                let core = bench.core(child).await;
                assert_eq!(core.states(), WAITING, "round {round}");
                assert_eq!(core.int("version"), Some(version + 1), "changed once");
                assert_eq!(bench.counts(child).await, [1, 0, 0, 0, 1]);
            }
            assert_eq!(bench.undispatched().await, 0);
            bench.clock.advance(1);
        }
    }

    async fn a_late_event_changes_nothing(bench) {
        let any = EdgeDependencyPolicy::any_of(OnSatisfied::let_run());
        let flow = bench.fan_in(3, any).await;
        let child = &flow.members[3];
        bench.end_and_dispatch(&flow.members[0], End::Success).await;
        let handle = bench.take(child).await;
        let running = bench.core(child).await;
        bench.end_and_dispatch(&flow.members[1], End::Success).await;
        bench.end_and_dispatch(&flow.members[2], End::Failed).await;
        assert_eq!(bench.core(child).await, running);
        assert_eq!(running.states(), ACTIVE);
        assert_eq!(bench.counts(child).await, [2, 1, 0, 0, 3]);
        let until = TimestampMs(START + 1_000);
        bench.backend.delay(&handle, until).await.unwrap();
        let delayed = bench.core(child).await;
        bench.settle().await;
        assert_eq!(bench.core(child).await, delayed);
    }

    async fn a_poisoned_row_leaves_its_event_for_later_and_stops_no_other(bench) {
        // The child that cannot be read may be the first, in the middle, or the last of the hops.
        for poisoned in 0..3 {
            let flow = bench.flow(6).await;
            let edges = bench.connect(&flow, &[(0, 1), (0, 2), (0, 3), (4, 5)]).await;
            let mut by_edge: Vec<_> = edges[..3].iter().zip(&flow.members[1..4]).collect();
            by_edge.sort_by_key(|(edge, _)| edge.0);
            let (_, poisoned_child) = by_edge[poisoned];
            bench.set_core(poisoned_child, vec![("lifecycle_phase", text("odd"))]).await;
            bench.end(&flow.members[0], End::Success).await;
            bench.end(&flow.members[4], End::Success).await;
            let counts = scan(&bench).await;
            assert_eq!(counts, (1, 1), "the other event is told");
            assert_eq!(bench.public(&flow.members[5]).await, "waiting");
            assert_eq!(bench.undispatched().await, 1);
            for (at, (_, child)) in by_edge.iter().enumerate() {
                let expected = if at == poisoned { "waiting_children" } else { "waiting" };
                assert_eq!(bench.public(child).await, expected, "child {at}, poisoned {poisoned}");
            }
            assert_eq!(scan(&bench).await, (0, 1), "it is tried again");
            bench.set_core(poisoned_child, vec![("lifecycle_phase", text("runnable"))]).await;
            assert_eq!(scan(&bench).await, (1, 0));
            for (_, child) in &by_edge {
                assert_eq!(bench.core(child).await.states(), WAITING);
                assert_eq!(bench.counts(child).await, [1, 0, 0, 0, 1]);
            }
            assert_eq!(bench.undispatched().await, 0);
        }
    }

    async fn an_event_that_cannot_be_read_stops_no_other(bench) {
        let flow = bench.flow(2).await;
        bench.connect(&flow, &[(0, 1)]).await;
        let stranger = id();
        let event = vec![
            ("partition_key", crate::plain::int(i64::from(stranger.partition()))),
            ("execution_id", ff_core::plan::value::Value::Uuid(stranger.uuid())),
            ("flow_id", ff_core::plan::value::Value::Uuid(flow.id.0)),
            ("outcome", text("odd")),
            ("occurred_at_ms", crate::plain::int(START)),
        ];
        bench.plain.insert("ff_completion_event", event).await;
        bench.end(&flow.members[0], End::Success).await;
        let counts = bench.backend.scan(Scan::DependencyDispatch, 100).await;
        assert_eq!(bench.public(&flow.members[1]).await, "waiting", "{counts:?}");
    }

    async fn a_page_of_poisoned_rows_hides_nothing(bench) {
        let flow = bench.flow(8).await;
        bench.connect(&flow, &[(0, 4), (1, 5), (2, 6), (3, 7)]).await;
        for child in &flow.members[4..7] {
            bench.set_core(child, vec![("lifecycle_phase", text("odd"))]).await;
        }
        for parent in &flow.members[..4] {
            bench.end(parent, End::Success).await;
        }
        let counts = bench.backend.scan(Scan::DependencyDispatch, 2).await.unwrap();
        assert_eq!((counts.processed, counts.errors), (1, 3));
        assert_eq!(bench.public(&flow.members[7]).await, "waiting");
        for child in &flow.members[4..7] {
            bench.set_core(child, vec![("lifecycle_phase", text("runnable"))]).await;
        }
    }

    async fn an_unknown_word_of_a_parent_stops_no_child(bench) {
        // A hop does not read the upstream: its event says how it ended.
        let flow = bench.flow(2).await;
        bench.connect(&flow, &[(0, 1)]).await;
        let [parent, child] = &flow.members[..] else { panic!() };
        bench.end(parent, End::Success).await;
        bench.set_core(parent, vec![("blocking_reason", text("odd"))]).await;
        assert_eq!(scan(&bench).await, (1, 0));
        assert_eq!(bench.public(child).await, "waiting");
        bench.set_core(parent, vec![("blocking_reason", ff_core::plan::value::Value::Null)]).await;
    }

    async fn more_edges_than_a_page_are_applied(bench) {
        let flow = bench.flow(2).await;
        let ids: Vec<ExecutionId> = (0..1_000).map(|_| member_of(&flow.id)).collect();
        let batch = ids.iter().map(|id| bench.member_args(id)).collect();
        for result in bench.backend.create_flow_members(&flow.id, batch).await {
            result.unwrap();
        }
        let parent = &flow.members[0];
        let mut revision = bench.revision(&flow.id).await;
        for child in &ids {
            let mut args = flow.edge(0, 1);
            args.downstream_execution_id = child.clone();
            args.expected_graph_revision = revision;
            bench.backend.stage_dependency_edge(args.clone()).await.unwrap();
            bench.apply(&args).await;
            revision += 1;
        }
        bench.end(parent, End::Success).await;
        assert_eq!(dispatch(&bench, parent, START).await.resolved, 1_000);
        let graph = bench.backend.read_flow_graph(&flow.id).await.unwrap().unwrap();
        assert_eq!((graph.members.len(), graph.edges.len()), (1_002, 1_000));
        let waiting = |row: &&ff_core::contracts::ExecutionRow| {
            row.public_state == ff_core::state::PublicState::Waiting
        };
        assert_eq!(graph.members.iter().filter(waiting).count(), 1_001);
        assert_eq!(bench.undispatched().await, 0);
    }

    async fn many_scanners_dispatch_a_long_chain(bench) {
        let flow = bench.flow(12).await;
        let edges: Vec<_> = (0..11).map(|up| (up, up + 1)).collect();
        bench.connect(&flow, &edges).await;
        bench.end(&flow.members[0], End::Failed).await;
        for _ in 0..6 {
            settle_together(&bench, 3).await;
        }
        for id in &flow.members[1..] {
            assert_eq!(bench.completions(id).await, ["skipped"]);
        }
    }
}
