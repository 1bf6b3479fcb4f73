//! One action on many executions: it finds those it applies to, and tells what became of each.

use ff_core::backend::{FailureClass, FailureReason};
use ff_core::contracts::{BulkAction, BulkArgs, BulkReport, ExecutionQuery};
use ff_core::plan::value::Value;
use ff_core::state::PublicState;
use ff_core::types::{ExecutionId, FlowId, LaneId, Namespace, TimestampMs};
use serde_json::json;

use crate::backends::{Bench, START, conformance};
use crate::bench::{COMPLETED, NAMESPACE, assert_refused, id, id_in};
use crate::flow::End;
use crate::plain::{int, text};

fn cancelling() -> BulkAction {
    BulkAction::Cancel { reason: "cleaning up".into() }
}

async fn run(bench: &Bench, action: BulkAction, query: ExecutionQuery) -> BulkReport {
    bench.backend.run_bulk(BulkArgs::new(action, query, bench.clock.now())).await.unwrap()
}

/// Which of these a cancellation finds, without its changing anything.
async fn found(bench: &Bench, ids: &[ExecutionId], query: ExecutionQuery) -> Vec<usize> {
    let before = bench.everything().await;
    let args = BulkArgs::new(cancelling(), query, bench.clock.now());
    let preview = bench.backend.preview_bulk(args).await.unwrap();
    assert_eq!(bench.everything().await, before, "a preview changes nothing");
    let named: Vec<String> = preview.plans.iter().map(ToString::to_string).collect();
    let is_named =
        |id: &ExecutionId| named.iter().any(|plan| plan.contains(&id.uuid().to_string()));
    let found: Vec<usize> = (0..ids.len()).filter(|at| is_named(&ids[*at])).collect();
    assert_eq!(preview.matched, u64::try_from(found.len()).unwrap());
    found
}

fn all() -> ExecutionQuery {
    ExecutionQuery::new(100)
}

conformance! {
    async fn each_cancellation_leaves_what_a_single_one_would(bench) {
        let waiting = bench.create().await;
        let (running, _) = bench.leased_with(&|args| args.priority = 5).await;
        let (done, handle) = bench.leased_with(&|args| args.priority = 5).await;
        bench.backend.complete(&handle, None).await.unwrap();
        let report = run(&bench, cancelling(), all()).await;
        assert_eq!((report.matched, report.applied), (2, 2));
        assert_eq!((report.refused.len(), report.next_cursor), (0, None));
        for id in [&waiting, &running] {
            let core = bench.core(id).await;
            assert_eq!(core.text("public_state"), "cancelled");
            assert_eq!(core.text("cancellation_reason"), "cleaning up");
            assert_eq!(core.text("cancelled_by"), "operator_override");
            assert_eq!(bench.completions(id).await, ["cancelled"]);
        }
        assert_eq!(bench.lease_events(&running).await, ["acquired", "revoked"]);
        assert_eq!(bench.lease_events(&waiting).await, [""; 0]);
        assert_eq!(bench.public(&done).await, "completed");
        let before = bench.everything().await;
        let report = run(&bench, cancelling(), all()).await;
        assert_eq!((report.matched, report.applied), (0, 0), "nothing is left");
        assert_eq!(bench.everything().await, before);
    }

    async fn each_replay_leaves_its_own_event(bench) {
        let mut ended = Vec::new();
        for _ in 0..3 {
            let (id, handle) = bench.leased().await;
            bench.fail(&handle).await;
            ended.push(id);
        }
        let waiting = bench.create().await;
        let report = run(&bench, BulkAction::Replay, all()).await;
        assert_eq!((report.matched, report.applied), (3, 3));
        for id in &ended {
            assert_eq!(bench.public(id).await, "waiting");
            assert_eq!(bench.of("ff_operator_event", id).await.len(), 1);
            assert_eq!(bench.core(id).await.raw("replay_count"), 1);
        }
        assert_eq!(bench.core(&waiting).await.raw("replay_count"), json!(null));
    }

    async fn each_new_priority_leaves_its_own_event(bench) {
        let waiting = bench.create().await;
        let (running, _) = bench.leased_with(&|args| args.priority = 5).await;
        let later = Some(TimestampMs(START + 10));
        let delayed = bench.create_with(&|args| args.delay_until = later).await;
        let report = run(&bench, BulkAction::Reprioritise { priority: 9_999 }, all()).await;
        assert_eq!((report.matched, report.applied), (1, 1));
        assert_eq!(bench.core(&waiting).await.int("priority"), Some(9_000));
        let details = json!({ "old_priority": 0, "new_priority": 9_000 });
        assert_eq!(*bench.of("ff_operator_event", &waiting).await[0].json("details"), details);
        assert_eq!(bench.core(&running).await.int("priority"), Some(5));
        assert_eq!(bench.core(&delayed).await.int("priority"), Some(0));
    }

    async fn filters_say_which(bench) {
        let mut ids = Vec::new();
        for (partition, lane, tag, namespace) in
            [(1, "x", "a", "n1"), (9, "y", "a", "n1"), (3, "x", "b", "n1"), (200, "x", "a", "n2")]
        {
            let id = id_in(partition);
            let mut args = bench.args(&id);
            args.lane_id = LaneId::new(lane);
            args.namespace = Namespace::new(namespace);
            args.tags.insert("team.name".into(), tag.into());
            bench.backend.create_execution(args).await.unwrap();
            bench.clock.advance(10);
            ids.push(id);
        }
        let (lane, none) = (LaneId::new("y"), ff_core::backend::CapabilitySet::default());
        bench.backend.claim(&lane, &none, crate::bench::worker("w")).await.unwrap().unwrap();
        assert_eq!(found(&bench, &ids, all()).await, [0, 1, 2, 3]);
        let query = all().with_lane_id(LaneId::new("x"));
        assert_eq!(found(&bench, &ids, query).await, [0, 2, 3]);
        let query = all().with_tag("team.name", "a");
        assert_eq!(found(&bench, &ids, query).await, [0, 1, 3]);
        let query = all().with_namespace(Namespace::new("n2"));
        assert_eq!(found(&bench, &ids, query).await, [3]);
        let query = all().with_public_state(PublicState::Active);
        assert_eq!(found(&bench, &ids, query).await, [1]);
        let query = all().with_public_state(PublicState::Completed);
        assert_eq!(found(&bench, &ids, query).await, [0; 0]);
        let query = all().with_created_by(TimestampMs(START + 10));
        assert_eq!(found(&bench, &ids, query).await, [0, 1]);
        let query = all()
            .with_lane_id(LaneId::new("x"))
            .with_tag("team.name", "a")
            .with_namespace(Namespace::new("n1"));
        assert_eq!(found(&bench, &ids, query).await, [0]);
        let query = all().with_flow_id(FlowId::new());
        assert_eq!(found(&bench, &ids, query).await, [0; 0]);
    }

    async fn kind_key_age_and_failure_class_say_which(bench) {
        let mut ids = Vec::new();
        for (kind, key) in [("a", None), ("b", Some("k")), ("a", Some("k"))] {
            let id = id_in(9);
            let mut args = bench.args(&id);
            args.execution_kind = kind.into();
            args.idempotency_key = key.map(str::to_owned);
            bench.backend.create_execution(args).await.unwrap();
            bench.clock.advance(10);
            ids.push(id);
        }
        for (query, expected) in [
            (all().with_execution_kind("a"), &[0, 2][..]),
            (all().with_execution_kind("A"), &[]),
            (all().with_idempotency_key("k"), &[1, 2]),
            (all().with_idempotency_key("k").with_execution_kind("b"), &[1]),
            (all().with_created_since(TimestampMs(START + 10)), &[1, 2]),
            (all().with_created_since(TimestampMs(START + 11)), &[2]),
            (all().with_created_by(TimestampMs(START + 19)).with_created_since(TimestampMs(1)), &[0, 1]),
            (all().with_failure_class(FailureClass::Permanent), &[]),
        ] {
            assert_eq!(found(&bench, &ids, query.clone()).await, expected, "{query:?}");
            let listed = bench.backend.list_executions_by(query).await.unwrap().executions;
            assert_eq!(listed.len(), expected.len());
        }

        let handle = bench.claim().await;
        for (worker, expected) in [("w", &[0][..]), ("w-1", &[0]), ("w-2", &[])] {
            assert_eq!(found(&bench, &ids, all().with_worker(worker)).await, expected, "{worker}");
        }
        let reason = FailureReason::new("no paper");
        bench.backend.fail(&handle, reason, FailureClass::Permanent).await.unwrap();
        let of_worker = all().with_worker("w").with_public_state(PublicState::Failed);
        let listed = bench.backend.list_executions_by(of_worker).await.unwrap().executions;
        assert_eq!(listed.len(), 1, "its last worker is known after the end");
        let failed = all()
            .with_public_state(PublicState::Failed)
            .with_failure_class(FailureClass::Permanent);
        let report = run(&bench, BulkAction::Replay, failed).await;
        assert_eq!((report.matched, report.applied), (1, 1));
        let query = all().with_execution_kind("a\0");
        let args = BulkArgs::new(cancelling(), query, bench.clock.now());
        assert_refused(
            bench.backend.run_bulk(args).await,
            "validation: InvalidInput: execution_kind: must not contain NUL (at byte 1)",
        );
    }

    async fn a_flow_on_any_partition_is_a_filter(bench) {
        let flow = bench.flow(3).await;
        let outside = bench.create().await;
        let query = all().with_flow_id(flow.id.clone());
        assert_eq!(found(&bench, &flow.members, query.clone()).await, [0, 1, 2]);
        let report = run(&bench, cancelling(), query).await;
        assert_eq!((report.matched, report.applied), (3, 3));
        assert_eq!(bench.public(&outside).await, "waiting");
        // Databases of older engines keep every flow on partition 0.
        let older = crate::flow::elsewhere();
        let member = id_in(0);
        let more = vec![("flow_id", Value::Uuid(older.0))];
        bench.insert_core(&member, crate::bench::WAITING, more).await;
        let query = all().with_flow_id(older);
        assert_eq!(run(&bench, cancelling(), query).await.applied, 1);
        assert_eq!(bench.public(&member).await, "cancelled");
    }

    async fn batches_go_on_where_the_last_ended(bench) {
        let mut ids: Vec<ExecutionId> = Vec::new();
        for partition in [7, 3, 200, 3, 0, 9, 7] {
            let id = id_in(partition);
            bench.create_with(&|args| *args = bench.args(&id)).await;
            ids.push(id);
        }
        ids.sort_by_key(|id| (id.partition(), id.uuid()));
        let action = BulkAction::Reprioritise { priority: 7 };
        let mut query = ExecutionQuery::new(3);
        for (first, last) in [(0, 3), (3, 6), (6, 7)] {
            let report = run(&bench, action.clone(), query.clone()).await;
            assert_eq!(usize::try_from(report.applied), Ok(last - first));
            for (at, id) in ids.iter().enumerate() {
                let changed = bench.core(id).await.int("priority") == Some(7);
                assert_eq!(changed, at < last, "{at} of {first}..{last}");
            }
            let more = last < ids.len();
            assert_eq!(report.next_cursor, more.then(|| ids[last - 1].clone()));
            query.after = report.next_cursor;
        }
        let preview = BulkArgs::new(action, ExecutionQuery::new(3), bench.clock.now());
        let preview = bench.backend.preview_bulk(preview).await.unwrap();
        assert_eq!((preview.matched, preview.plans.len()), (7, 3), "the first batch is planned");
    }

    async fn what_is_refused_is_reported_and_stops_no_other(bench) {
        let mut sound = Vec::new();
        for partition in [1, 3] {
            let id = id_in(partition);
            bench.insert_core(&id, COMPLETED, vec![("terminal_at_ms", int(START))]).await;
            sound.push(id);
        }
        let poisoned = id_in(2);
        let more = vec![("flow_id", Value::Uuid(id().uuid()))];
        bench.insert_core(&poisoned, COMPLETED, more).await;
        bench.insert_attempt(&poisoned, 0, 1, vec![("outcome", text("odd"))]).await;
        let before = bench.of("ff_exec_core", &poisoned).await;
        let expected = "what is stored cannot be understood \
                        (ff_attempt.outcome: \"odd\" is not a known value)";
        let args = BulkArgs::new(BulkAction::Replay, all(), bench.clock.now());
        let preview = bench.backend.preview_bulk(args).await.unwrap();
        assert_eq!((preview.matched, preview.plans.len()), (3, 2));
        assert_eq!(preview.refused.len(), 1);
        assert_eq!(preview.refused[0].error, expected);
        let report = run(&bench, BulkAction::Replay, all()).await;
        assert_eq!((report.matched, report.applied, report.refused.len()), (3, 2, 1));
        assert_eq!(report.refused[0].execution_id, poisoned);
        assert_eq!(report.refused[0].error, expected);
        assert_eq!(bench.of("ff_exec_core", &poisoned).await, before);
        for id in &sound {
            assert_eq!(bench.public(id).await, "waiting");
        }
    }

    async fn filters_are_checked_first(bench) {
        bench.create().await;
        let before = bench.everything().await;
        for (action, query, expected) in [
            (cancelling(), ExecutionQuery::new(0), "limit: must be positive"),
            (
                BulkAction::Cancel { reason: "a\0".into() },
                all(),
                "reason: must not contain NUL (at byte 1)",
            ),
            (
                BulkAction::Replay,
                all().with_namespace(Namespace::new("\0")),
                "namespace: must not contain NUL (at byte 0)",
            ),
            (
                BulkAction::Replay,
                all().with_tag("team", "x"),
                "invalid tag key: \"team\" is not of the form <namespace>.<name>",
            ),
            (
                BulkAction::Replay,
                all().with_tag("a.b", "\0"),
                "tag: must not contain NUL (at byte 0)",
            ),
        ] {
            let expected = format!("validation: InvalidInput: {expected}");
            let args = BulkArgs::new(action, query, bench.clock.now());
            assert_refused(bench.backend.run_bulk(args.clone()).await, &expected);
            assert_refused(bench.backend.preview_bulk(args).await, &expected);
        }
        assert_eq!(bench.everything().await, before);
    }

    async fn a_replayed_flow_runs_again_in_order(bench) {
        let flow = bench.flow(3).await;
        bench.connect(&flow, &[(0, 1), (1, 2)]).await;
        let [first, second, third] = &flow.members[..] else { panic!() };
        bench.end_and_dispatch(first, End::Failed).await;
        assert_eq!(bench.public(third).await, "skipped");
        let query = all().with_flow_id(flow.id.clone());
        let report = run(&bench, BulkAction::Replay, query).await;
        assert_eq!((report.matched, report.applied), (3, 3));
        assert_eq!(bench.public(first).await, "waiting");
        assert_eq!(bench.public(second).await, "waiting_children");
        assert_eq!(bench.public(third).await, "waiting_children");
        for member in [first, second, third] {
            bench.end_and_dispatch(member, End::Success).await;
        }
        let graph = bench.backend.read_flow_graph(&flow.id).await.unwrap().unwrap();
        assert!(graph.members.iter().all(|row| row.public_state == PublicState::Completed));
    }

    async fn a_thousand_fit_a_batch(bench) {
        let batch = (0..1_001).map(|_| bench.args(&id_in(6))).collect();
        for result in bench.backend.create_executions(batch).await {
            result.unwrap();
        }
        let query = ExecutionQuery::new(5_000).with_namespace(Namespace::new(NAMESPACE));
        let report = run(&bench, cancelling(), query.clone()).await;
        assert_eq!((report.matched, report.applied, report.refused.len()), (1_000, 1_000, 0));
        assert!(report.next_cursor.is_some());
        let report = run(&bench, cancelling(), query).await;
        assert_eq!((report.matched, report.applied, report.next_cursor), (1, 1, None));
    }
}
