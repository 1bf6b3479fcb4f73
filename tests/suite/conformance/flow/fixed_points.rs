//! What must happen to rows that were inserted with plain SQL, naming only what older databases
//! have.

use ff_core::EngineError;
use ff_core::contracts::{
    CancelFlowArgs, CancelFlowHeader, ChangePriorityArgs, ReplayExecutionArgs,
    ReplayExecutionResult,
};
use ff_core::engine_backend::Scan;
use ff_core::plan::value::Value;
use ff_core::state::PublicState;
use ff_core::types::{ExecutionId, FlowId};
use serde_json::json;

use crate::backends::{Bench, START, conformance};
use crate::bench::{COMPLETED, WAITING, assert_refused, id, id_in, lane};
use crate::flow::{elsewhere, home};
use crate::plain::{int, text};

/// A flow where it hashes to, and one that an older database keeps on partition 0.
fn flows() -> [(FlowId, u16); 2] {
    let (here, there) = (FlowId::new(), elsewhere());
    let partition = home(&here).index;
    [(here, partition), (there, 0)]
}

async fn replay(bench: &Bench, id: &ExecutionId) -> Result<ReplayExecutionResult, EngineError> {
    let args = ReplayExecutionArgs { execution_id: id.clone(), now: bench.clock.now() };
    bench.backend.replay_execution(args).await
}

async fn prioritise(bench: &Bench, id: &ExecutionId, new_priority: i32) -> Result<(), EngineError> {
    let (execution_id, now) = (id.clone(), bench.clock.now());
    let args = ChangePriorityArgs { execution_id, new_priority, lane_id: lane(), now };
    bench.backend.change_priority(args).await.map(drop)
}

async fn cancel(bench: &Bench, flow: &FlowId) -> Result<CancelFlowHeader, EngineError> {
    let args = CancelFlowArgs {
        flow_id: flow.clone(),
        reason: "operator".into(),
        cancellation_policy: "cancel_all".into(),
        now: bench.clock.now(),
    };
    bench.backend.cancel_flow_header(args).await
}

async fn operator_events(bench: &Bench, event: &str) -> usize {
    let events = bench.plain.rows("ff_operator_event").await;
    events.iter().filter(|row| row.text("event_type") == event).count()
}

/// A member that its flow skipped, with its group's counters: success, fail, skip, running.
async fn skipped(bench: &Bench, flow: &FlowId, partition: u16, counts: [i64; 4]) -> ExecutionId {
    let (id, upstream) = (id_in(partition), id_in(partition));
    let states = "terminal unowned not_applicable skipped attempt_terminal -";
    let more = vec![("flow_id", Value::Uuid(flow.0)), ("terminal_at_ms", int(START))];
    bench.insert_core(&id, states, more).await;
    let ended = vec![("outcome", text("skipped")), ("terminal_at_ms", int(START))];
    bench.insert_attempt(&id, 0, 1, ended).await;
    bench.insert_edge(flow, &upstream, &id).await;
    bench.insert_group(flow, &id, json!({ "kind": "all_of" }), counts).await;
    id
}

conformance! {
    async fn a_new_priority_of_what_waits(bench) {
        for phase in ["runnable", "submitted", "pending", "eligible"] {
            let id = id();
            let states = format!("{phase} unowned eligible_now waiting pending_first_attempt -");
            bench.insert_core(&id, &states, vec![]).await;
            prioritise(&bench, &id, 500).await.unwrap();
            assert_eq!(bench.core(&id).await.int("priority"), Some(500));
            let events = bench.of("ff_operator_event", &id).await;
            assert_eq!(events.len(), 1, "{phase}");
            assert_eq!(events[0].text("event_type"), "priority_changed");
        }
    }

    async fn no_priority_of_anything_else(bench) {
        for states in [
            COMPLETED,
            "cancelled unowned not_applicable cancelled attempt_terminal -",
            "active leased not_applicable active running_attempt -",
            "runnable unowned not_eligible_until_time delayed pending_first_attempt -",
            "runnable unowned blocked_by_dependencies waiting_children pending_first_attempt -",
            "runnable unowned blocked_by_budget rate_limited pending_first_attempt -",
        ] {
            let id = id();
            bench.insert_core(&id, states, vec![]).await;
            let before = bench.everything().await;
            assert_refused(prioritise(&bench, &id, 1).await, "contention: ExecutionNotEligible");
            assert_eq!(bench.everything().await, before, "{states}");
        }
    }

    async fn a_replay_reuses_the_attempt(bench) {
        for flow in [None, Some(FlowId::new())] {
            let id = id();
            let mut more = vec![
                ("attempt_index", int(1)),
                ("terminal_at_ms", int(START)),
                ("result", Value::Bytes(b"r".to_vec())),
            ];
            if let Some(flow) = &flow {
                more.push(("flow_id", Value::Uuid(flow.0)));
            }
            let failed = "terminal unowned not_applicable failed attempt_terminal -";
            bench.insert_core(&id, failed, more).await;
            let ended = vec![("outcome", text("failed")), ("terminal_at_ms", int(START))];
            bench.insert_attempt(&id, 1, 4, ended).await;
            let public_state = PublicState::Waiting;
            let result = replay(&bench, &id).await.unwrap();
            assert_eq!(result, ReplayExecutionResult::Replayed { public_state });
            let core = bench.core(&id).await;
            assert_eq!(core.text("lifecycle_phase"), "runnable");
            assert_eq!(core.text("eligibility_state"), "eligible_now");
            assert_eq!(core.text("public_state"), "waiting");
            assert_eq!(core.int("attempt_index"), Some(1));
            assert_eq!(core.raw("replay_count"), json!(1));
            assert_eq!((core.int("terminal_at_ms"), core.bytes("result")), (None, None));
            let attempts = bench.attempts(&id).await;
            assert_eq!(attempts.len(), 1);
            assert_eq!(attempts[0].text("outcome"), "-");
            assert_eq!(attempts[0].int("lease_epoch"), Some(5));
            let events = bench.of("ff_operator_event", &id).await;
            assert_eq!(events.len(), 1);
            assert_eq!(events[0].text("event_type"), "replayed");
            assert_eq!(*events[0].json("details"), json!({ "branch": "normal" }));
            assert_refused(replay(&bench, &id).await, "state: ExecutionNotTerminal");
        }
    }

    async fn a_replay_of_a_skipped_member_resets_its_group(bench) {
        for (flow, partition) in flows() {
            for counts in [[2, 1, 1, 0], [0, 3, 2, 1], [1, 0, 1, 5]] {
                let id = skipped(&bench, &flow, partition, counts).await;
                let public_state = PublicState::WaitingChildren;
                let result = replay(&bench, &id).await.unwrap();
                assert_eq!(result, ReplayExecutionResult::Replayed { public_state });
                let core = bench.core(&id).await;
                assert_eq!(core.text("lifecycle_phase"), "runnable");
                assert_eq!(core.text("eligibility_state"), "blocked_by_dependencies");
                assert_eq!(core.text("public_state"), "waiting_children");
                assert_eq!(core.raw("replay_count"), json!(1));
                let group = bench.group(&id).await;
                assert_eq!(group.int("success_count"), Some(counts[0]));
                for column in ["fail_count", "skip_count", "running_count"] {
                    assert_eq!(group.int(column), Some(0), "{column}");
                }
                let events = bench.of("ff_operator_event", &id).await;
                assert_eq!(events.len(), 1);
                let details = json!({ "branch": "skipped_flow_member", "groups_reset": 1 });
                assert_eq!(*events[0].json("details"), details);
                assert_eq!(bench.attempt(&id, 0).await.int("lease_epoch"), Some(2));
                assert_eq!(bench.attempt(&id, 0).await.text("outcome"), "-");
            }
        }
    }

    async fn a_skipped_member_without_a_group_waits_too(bench) {
        let (id, flow) = (id(), FlowId::new());
        let states = "terminal unowned not_applicable skipped attempt_terminal -";
        bench.insert_core(&id, states, vec![("flow_id", Value::Uuid(flow.0))]).await;
        bench.insert_attempt(&id, 0, 1, vec![("outcome", text("skipped"))]).await;
        let public_state = PublicState::WaitingChildren;
        let result = replay(&bench, &id).await.unwrap();
        assert_eq!(result, ReplayExecutionResult::Replayed { public_state });
        let details = json!({ "branch": "skipped_flow_member", "groups_reset": 0 });
        assert_eq!(*bench.of("ff_operator_event", &id).await[0].json("details"), details);
    }

    async fn a_fresh_flow_is_cancelled_with_its_members(bench) {
        for (flow, partition) in flows() {
            bench.insert_flow(&flow, partition, "open", json!({ "namespace": "n" })).await;
            let ids = [id_in(partition), id_in(partition)];
            for (id, states) in ids.iter().zip([
                "submitted unowned eligible_now waiting pending -",
                "active leased not_applicable running running -",
            ]) {
                bench.insert_core(id, states, vec![("flow_id", Value::Uuid(flow.0))]).await;
                let leased = vec![("worker_instance_id", text("w-1")), ("lease_expires_at_ms", int(START))];
                bench.insert_attempt(id, 0, 1, leased).await;
            }
            let ended = id_in(partition);
            bench.insert_core(&ended, COMPLETED, vec![("flow_id", Value::Uuid(flow.0))]).await;
            let before = operator_events(&bench, "flow_cancel_requested").await;
            let CancelFlowHeader::Cancelled { cancellation_policy, member_execution_ids } =
                cancel(&bench, &flow).await.unwrap()
            else {
                panic!("it goes on")
            };
            assert_eq!(cancellation_policy, "cancel_all");
            assert_eq!(member_execution_ids.len(), 2);
            assert!(ids.iter().all(|id| member_execution_ids.contains(&id.to_string())));
            assert_eq!(bench.flow_row(&flow).await.text("public_flow_state"), "cancelled");
            for id in &ids {
                let core = bench.core(id).await;
                assert_eq!(core.text("lifecycle_phase"), "cancelled");
                assert_eq!(core.text("public_state"), "cancelled");
                assert_eq!(core.text("cancellation_reason"), "operator");
            }
            assert_eq!(bench.core(&ended).await.states(), COMPLETED);
            let backlog = bench.plain.rows("ff_cancel_backlog").await;
            assert_eq!(backlog.len(), 1);
            let members = async || bench.plain.rows("ff_cancel_backlog_member").await.len();
            assert_eq!(members().await, 2);
            assert_eq!(operator_events(&bench, "flow_cancel_requested").await, before + 1);
            let events = bench.plain.rows("ff_operator_event").await;
            let event = events.iter().find(|row| row.text("execution_id") == flow.to_string());
            assert_eq!(event.unwrap().text("namespace"), "n");
            // Ticked off one by one.
            let unknown = FlowId::new();
            bench.backend.ack_cancel_member(&unknown, &ids[0]).await.unwrap();
            bench.backend.ack_cancel_member(&flow, &id_in(partition)).await.unwrap();
            assert_eq!(members().await, 2);
            bench.backend.ack_cancel_member(&flow, &ids[0]).await.unwrap();
            assert_eq!(members().await, 1);
            assert_eq!(bench.plain.rows("ff_cancel_backlog").await.len(), 1);
            bench.backend.ack_cancel_member(&flow, &ids[1]).await.unwrap();
            assert_eq!(members().await, 0);
            assert_eq!(bench.plain.rows("ff_cancel_backlog").await, []);
            bench.backend.ack_cancel_member(&flow, &ids[1]).await.unwrap();
            assert_eq!(bench.plain.rows("ff_operator_event").await, events);
        }
    }

    async fn a_flow_that_is_over_answers_with_what_is_stored(bench) {
        for state in ["cancelled", "completed", "failed", "terminal"] {
            for (flow, partition) in flows() {
                let raw = json!({ "cancellation_policy": "flow_only", "cancel_reason": "earlier" });
                bench.insert_flow(&flow, partition, state, raw).await;
                let before = bench.everything().await;
                let over = CancelFlowHeader::AlreadyTerminal {
                    stored_cancellation_policy: Some("flow_only".into()),
                    stored_cancel_reason: Some("earlier".into()),
                    member_execution_ids: vec![],
                };
                assert_eq!(cancel(&bench, &flow).await.unwrap(), over);
                assert_eq!(bench.everything().await, before);
            }
        }
        assert_refused(cancel(&bench, &FlowId::new()).await, "not found: flow");
    }

    async fn an_end_reaches_children_of_older_databases(bench) {
        for (flow, partition) in flows() {
            for (outcome, state) in
                [("success", "waiting"), ("failure", "skipped"), ("skipped", "skipped"), ("expired", "skipped")]
            {
                let (up, down) = (id_in(partition), id_in(partition));
                let more = || vec![("flow_id", Value::Uuid(flow.0))];
                bench.insert_core(&up, COMPLETED, more()).await;
                let blocked = "blocked unowned blocked_by_dependencies waiting_children pending -";
                bench.insert_core(&down, blocked, more()).await;
                bench.insert_edge(&flow, &up, &down).await;
                bench.insert_group(&flow, &down, json!({ "kind": "all_of" }), [0, 0, 0, 1]).await;
                let event = vec![
                    ("partition_key", int(i64::from(partition))),
                    ("execution_id", Value::Uuid(up.uuid())),
                    ("flow_id", Value::Uuid(flow.0)),
                    ("outcome", text(outcome)),
                    ("occurred_at_ms", int(START)),
                ];
                bench.plain.insert("ff_completion_event", event).await;
                let counts = bench.backend.scan(Scan::DependencyDispatch, 10).await.unwrap();
                assert_eq!((counts.processed, counts.errors), (1, 0));
                assert_eq!(bench.public(&down).await, state, "{outcome}");
                bench.settle().await;
                if state == "waiting" {
                    assert_eq!(bench.core(&down).await.text("lifecycle_phase"), "runnable");
                }
            }
        }
    }

    async fn the_flow_of_an_execution_is_found(bench) {
        for (flow, partition) in flows() {
            let id = id_in(partition);
            bench.insert_core(&id, WAITING, vec![("flow_id", Value::Uuid(flow.0))]).await;
            let of = bench.backend.resolve_execution_flow_id(&id).await.unwrap();
            assert_eq!(of, Some(flow));
        }
    }
}
