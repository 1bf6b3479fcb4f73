//! A flow is cancelled and keeps a list of its members, which are ticked off one by one.

use ff_core::EngineError;
use ff_core::contracts::{CancelFlowArgs, CancelFlowHeader};
use ff_core::plan::value::Value;
use ff_core::types::{ExecutionId, FlowId};
use serde_json::json;

use crate::backends::{Bench, START, conformance};
use crate::bench::{NAMESPACE, WAITING, assert_refused, id_in};
use crate::flow::{End, elsewhere, member_of};

async fn cancel(bench: &Bench, flow: &FlowId) -> Result<CancelFlowHeader, EngineError> {
    let args = CancelFlowArgs {
        flow_id: flow.clone(),
        reason: "too late".into(),
        cancellation_policy: "cancel_all".into(),
        now: bench.clock.now(),
    };
    bench.backend.cancel_flow_header(args).await
}

async fn listed(bench: &Bench) -> (usize, usize) {
    let backlog = bench.plain.rows("ff_cancel_backlog").await;
    (backlog.len(), bench.plain.rows("ff_cancel_backlog_member").await.len())
}

fn sorted(ids: &[ExecutionId]) -> Vec<String> {
    let mut ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    ids.sort();
    ids
}

conformance! {
    async fn a_flow_keeps_a_list_of_its_members(bench) {
        let flow = bench.flow(4).await;
        bench.connect(&flow, &[(0, 1)]).await;
        bench.end_and_dispatch(&flow.members[3], End::Success).await;
        bench.take(&flow.members[2]).await;
        bench.clock.advance(4);
        let header = cancel(&bench, &flow.id).await.unwrap();
        let CancelFlowHeader::Cancelled { cancellation_policy, mut member_execution_ids } = header
        else {
            panic!("{header:?}")
        };
        member_execution_ids.sort();
        assert_eq!(cancellation_policy, "cancel_all");
        assert_eq!(member_execution_ids, sorted(&flow.members[..3]));
        let row = bench.flow_row(&flow.id).await;
        assert_eq!(row.text("public_flow_state"), "cancelled");
        assert_eq!(row.int("terminal_at_ms"), Some(START + 4));
        assert_eq!(row.raw("cancellation_policy"), "cancel_all");
        assert_eq!(row.raw("cancel_reason"), "too late");
        let backlog = bench.plain.rows("ff_cancel_backlog").await;
        assert_eq!(backlog.len(), 1);
        assert_eq!(backlog[0].int("requested_at_ms"), Some(START + 4));
        assert_eq!((backlog[0].text("requester"), backlog[0].text("status")), ("", "pending"));
        assert_eq!(backlog[0].text("reason"), "too late");
        assert_eq!(backlog[0].text("cancellation_policy"), "cancel_all");
        assert_eq!(backlog[0].int("grace_until_ms"), None);
        let mut members: Vec<String> = bench
            .plain
            .rows("ff_cancel_backlog_member")
            .await
            .iter()
            .map(|row| row.text("execution_id").to_owned())
            .collect();
        members.sort();
        assert_eq!(members, sorted(&flow.members[..3]));
        for id in &flow.members[..3] {
            let core = bench.core(id).await;
            let cancelled = "cancelled unowned not_applicable cancelled attempt_terminal -";
            assert_eq!(core.states(), cancelled);
            assert_eq!(core.text("cancellation_reason"), "too late");
            assert_eq!(core.text("cancelled_by"), "cancel_flow_header");
            assert_eq!(bench.completions(id).await, ["cancelled"]);
        }
        assert_eq!(bench.public(&flow.members[3]).await, "completed");
        let events = bench.plain.rows("ff_operator_event").await;
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].text("event_type"), "flow_cancel_requested");
        assert_eq!(events[0].uuid("execution_id"), Some(flow.id.0));
        assert_eq!(events[0].text("namespace"), NAMESPACE);
        assert_eq!(events[0].int("occurred_at_ms"), Some(START + 4));
        let details = json!({
            "flow_id": flow.id.to_string(),
            "cancellation_policy": "cancel_all",
            "reason": "too late",
            "member_count": 3,
        });
        assert_eq!(*events[0].json("details"), details);
        bench.settle().await;
    }

    async fn a_word_for_going_on_that_is_not_known_stops_no_cancellation(bench) {
        for (round, word) in ["active", "running", "blocked", "odd"].into_iter().enumerate() {
            let flow = bench.flow(2).await;
            let key = vec![
                ("partition_key", crate::plain::int(i64::from(flow.partition().index))),
                ("flow_id", Value::Uuid(flow.id.0)),
            ];
            let cells = vec![("public_flow_state", crate::plain::text(word))];
            bench.plain.set("ff_flow_core", key, cells).await;

            let header = cancel(&bench, &flow.id).await.unwrap();
            let CancelFlowHeader::Cancelled { mut member_execution_ids, .. } = header else {
                panic!("{word}: {header:?}")
            };
            member_execution_ids.sort();
            assert_eq!(member_execution_ids, sorted(&flow.members), "{word}");
            assert_eq!(bench.flow_row(&flow.id).await.text("public_flow_state"), "cancelled");
            assert_eq!(listed(&bench).await, (round + 1, 2 * (round + 1)));
            assert_eq!(bench.plain.rows("ff_operator_event").await.len(), round + 1);
            bench.settle().await;
        }
    }

    async fn a_cancelled_flow_shows_its_reason(bench) {
        let flow = bench.flow(2).await;
        cancel(&bench, &flow.id).await.unwrap();
        bench.settle().await;
        bench.backend.ack_cancel_member(&flow.id, &flow.members[0]).await.unwrap();
        let before = bench.everything().await;
        let over = |members: &[ExecutionId]| CancelFlowHeader::AlreadyTerminal {
            stored_cancellation_policy: Some("cancel_all".into()),
            stored_cancel_reason: Some("too late".into()),
            member_execution_ids: sorted(members),
        };
        assert_eq!(cancel(&bench, &flow.id).await.unwrap(), over(&flow.members[1..]));
        assert_eq!(bench.everything().await, before);
        bench.backend.ack_cancel_member(&flow.id, &flow.members[1]).await.unwrap();
        let CancelFlowHeader::AlreadyTerminal { mut member_execution_ids, .. } =
            cancel(&bench, &flow.id).await.unwrap()
        else {
            panic!("it is over")
        };
        member_execution_ids.sort();
        assert_eq!(member_execution_ids, sorted(&flow.members), "without a list, all of them");
    }

    async fn a_cancelled_flow_without_members_has_no_list(bench) {
        let flow = bench.empty_flow().await;
        let header = cancel(&bench, &flow.id).await.unwrap();
        let CancelFlowHeader::Cancelled { member_execution_ids, .. } = header else {
            panic!("{header:?}")
        };
        assert_eq!(member_execution_ids, [""; 0]);
        assert_eq!(listed(&bench).await, (1, 0));
        let events = bench.plain.rows("ff_operator_event").await;
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].json("details")["member_count"], 0);
        bench.backend.ack_cancel_member(&flow.id, &member_of(&flow.id)).await.unwrap();
        assert_eq!(listed(&bench).await, (0, 0));
    }

    async fn an_unknown_flow_is_not_found(bench) {
        let before = bench.everything().await;
        assert_refused(cancel(&bench, &FlowId::new()).await, "not found: flow");
        let args = |reason: &str, policy: &str| CancelFlowArgs {
            flow_id: FlowId::new(),
            reason: reason.into(),
            cancellation_policy: policy.into(),
            now: bench.clock.now(),
        };
        assert_refused(
            bench.backend.cancel_flow_header(args("\0", "x")).await,
            "validation: InvalidInput: reason: must not contain NUL (at byte 0)",
        );
        assert_refused(
            bench.backend.cancel_flow_header(args("x", "\0")).await,
            "validation: InvalidInput: cancellation_policy: must not contain NUL (at byte 0)",
        );
        assert_eq!(bench.everything().await, before);
    }

    async fn the_last_acknowledgement_deletes_the_list(bench) {
        let (flow, other) = (bench.flow(3).await, bench.flow(1).await);
        cancel(&bench, &flow.id).await.unwrap();
        cancel(&bench, &other.id).await.unwrap();
        bench.settle().await;
        let ack = |flow: FlowId, id: ExecutionId| {
            let bench = std::sync::Arc::clone(&bench);
            async move { bench.backend.ack_cancel_member(&flow, &id).await.unwrap() }
        };
        let events = bench.plain.rows("ff_operator_event").await;
        assert_eq!(listed(&bench).await, (2, 4));
        ack(flow.id.clone(), flow.members[1].clone()).await;
        assert_eq!(listed(&bench).await, (2, 3));
        let before = bench.everything().await;
        ack(flow.id.clone(), flow.members[1].clone()).await;
        ack(flow.id.clone(), member_of(&flow.id)).await;
        ack(FlowId::new(), flow.members[0].clone()).await;
        ack(other.id.clone(), flow.members[0].clone()).await;
        assert_eq!(bench.everything().await, before, "who is on no list");
        ack(flow.id.clone(), flow.members[0].clone()).await;
        assert_eq!(listed(&bench).await, (2, 2));
        ack(flow.id.clone(), flow.members[2].clone()).await;
        assert_eq!(listed(&bench).await, (1, 1));
        ack(other.id.clone(), other.members[0].clone()).await;
        assert_eq!(listed(&bench).await, (0, 0));
        assert_eq!(bench.plain.rows("ff_operator_event").await, events, "nothing is announced");
    }

    async fn concurrent_acknowledgements_delete_the_list(bench) {
        for _ in 0..10 {
            let flow = bench.flow(6).await;
            cancel(&bench, &flow.id).await.unwrap();
            bench.settle().await;
            let acks = flow.members.iter().chain(&flow.members).map(|id| {
                let (bench, flow, id) = (std::sync::Arc::clone(&bench), flow.id.clone(), id.clone());
                tokio::spawn(async move { bench.backend.ack_cancel_member(&flow, &id).await.unwrap() })
            });
            for ack in acks.collect::<Vec<_>>() {
                ack.await.unwrap();
            }
            assert_eq!(listed(&bench).await, (0, 0));
        }
    }

    async fn a_flow_on_partition_0_is_found_there(bench) {
        let flow = elsewhere();
        bench.insert_flow(&flow, 0, "open", json!({})).await;
        let ids: Vec<ExecutionId> = (0..2).map(|_| id_in(0)).collect();
        for id in &ids {
            bench.insert_core(id, WAITING, vec![("flow_id", Value::Uuid(flow.0))]).await;
        }
        let header = cancel(&bench, &flow).await.unwrap();
        let CancelFlowHeader::Cancelled { mut member_execution_ids, .. } = header else {
            panic!("{header:?}")
        };
        member_execution_ids.sort();
        assert_eq!(member_execution_ids, sorted(&ids));
        let over = cancel(&bench, &flow).await.unwrap();
        assert!(matches!(over, CancelFlowHeader::AlreadyTerminal { .. }), "{over:?}");
        for (id, left) in [(&ids[0], (1, 1)), (&ids[1], (0, 0))] {
            bench.backend.ack_cancel_member(&flow, id).await.unwrap();
            assert_eq!(listed(&bench).await, left);
        }
        bench.backend.scan(ff_core::engine_backend::Scan::DependencyDispatch, 10).await.unwrap();
        assert_eq!(bench.undispatched().await, 0);
    }

    async fn two_cancellations_at_once_make_one(bench) {
        for _ in 0..10 {
            let flow = bench.flow(5).await;
            let cancellations: Vec<_> = (0..4)
                .map(|_| {
                    let (bench, id) = (std::sync::Arc::clone(&bench), flow.id.clone());
                    tokio::spawn(async move { cancel(&bench, &id).await.unwrap() })
                })
                .collect();
            let mut cancelled = 0;
            for cancellation in cancellations {
                let header = cancellation.await.unwrap();
                cancelled += usize::from(matches!(header, CancelFlowHeader::Cancelled { .. }));
            }
            assert_eq!(cancelled, 1);
            for id in &flow.members {
                assert_eq!(bench.completions(id).await, ["cancelled"]);
            }
        }
    }
}
