//! A whole flow is cancelled: which members that covers, and what it leaves of each.

use std::time::Duration;

use ff_core::backend::{CancelFlowPolicy, CancelFlowWait};
use ff_core::contracts::{CancelFlowResult, EdgeGroupState};
use ff_core::plan::value::Value;
use ff_core::types::FlowId;
use serde_json::json;

use crate::backends::{Bench, START, conformance};
use crate::bench::{COMPLETED, FAILED, WAITING, assert_not_active, id_in};
use crate::flow::{End, Flow, elsewhere, home, member_of};

const CANCELLED: &str = "cancelled unowned not_applicable cancelled attempt_terminal -";

async fn cancel(bench: &Bench, flow: &FlowId, policy: CancelFlowPolicy) -> (String, Vec<String>) {
    let result = bench.backend.cancel_flow(flow, policy, CancelFlowWait::NoWait).await.unwrap();
    let CancelFlowResult::Cancelled { cancellation_policy, mut member_execution_ids } = result
    else {
        panic!("{result:?}")
    };
    member_execution_ids.sort();
    (cancellation_policy, member_execution_ids)
}

fn named(flow: &Flow, members: &[usize]) -> Vec<String> {
    let mut named: Vec<String> = members.iter().map(|at| flow.members[*at].to_string()).collect();
    named.sort();
    named
}

/// Members that wait, run, have ended, are delayed, wait for others, and are held back.
async fn mixed(bench: &Bench) -> Flow {
    let mut flow = bench.flow(5).await;
    bench.connect(&flow, &[(0, 4)]).await;
    bench.take(&flow.members[1]).await;
    bench.end(&flow.members[2], End::Success).await;
    bench.end(&flow.members[3], End::Failed).await;
    let held = member_of(&flow.id);
    let batch = vec![bench.member_args(&held)];
    bench.backend.create_flow_members(&flow.id, batch).await.remove(0).unwrap();
    flow.members.push(held);
    bench.settle().await;
    flow
}

conformance! {
    async fn everything_that_is_not_over_is_cancelled(bench) {
        let flow = mixed(&bench).await;
        let ended = [bench.core(&flow.members[2]).await, bench.core(&flow.members[3]).await];
        bench.clock.advance(9);
        let (policy, members) = cancel(&bench, &flow.id, CancelFlowPolicy::CancelAll).await;
        assert_eq!(policy, "cancel_all");
        assert_eq!(members, named(&flow, &[0, 1, 4, 5]));
        let row = bench.flow_row(&flow.id).await;
        assert_eq!(row.text("public_flow_state"), "cancelled");
        assert_eq!(row.int("terminal_at_ms"), Some(START + 9));
        assert_eq!(row.raw("cancellation_policy"), "cancel_all");
        assert_eq!(row.raw("cancel_reason"), json!(null));
        for at in [0, 1, 4, 5] {
            let id = &flow.members[at];
            let core = bench.core(id).await;
            assert_eq!(core.states(), CANCELLED, "{at}");
            assert_eq!(core.text("cancellation_reason"), "flow_cancelled");
            assert_eq!(core.text("cancelled_by"), "cancel_flow");
            assert_eq!(core.int("terminal_at_ms"), Some(START + 9));
            assert_eq!(bench.completions(id).await, ["cancelled"]);
            assert_eq!(bench.lease_events(id).await.last().unwrap(), "revoked");
        }
        let attempt = bench.attempt(&flow.members[1], 0).await;
        assert_eq!((attempt.text("outcome"), attempt.int("lease_epoch")), ("cancelled", Some(2)));
        assert_eq!(attempt.int("lease_expires_at_ms"), None);
        assert_eq!(bench.core(&flow.members[2]).await, ended[0]);
        assert_eq!(bench.core(&flow.members[3]).await, ended[1]);
        bench.settle().await;
        for id in &flow.members {
            assert!(bench.try_take(id).await.is_none());
        }
        bench.clock.advance(1);
        let (_, members) = cancel(&bench, &flow.id, CancelFlowPolicy::CancelAll).await;
        assert_eq!(members, [""; 0]);
        let row = bench.flow_row(&flow.id).await;
        assert_eq!(row.int("terminal_at_ms"), Some(START + 9), "the first end counts");
        let snapshot = bench.backend.describe_flow(&flow.id).await.unwrap().unwrap();
        assert_eq!(snapshot.public_flow_state, "cancelled");
        assert_eq!(snapshot.cancellation_policy.as_deref(), Some("cancel_all"));
        assert_eq!(snapshot.cancelled_at.map(|at| at.0), Some(START + 9));
        assert_eq!(snapshot.edge_groups[0].group_state, EdgeGroupState::Impossible);
    }

    async fn a_worker_of_a_cancelled_flow_can_do_nothing(bench) {
        let flow = bench.flow(1).await;
        let handle = bench.take(&flow.members[0]).await;
        cancel(&bench, &flow.id, CancelFlowPolicy::CancelAll).await;
        let before = bench.everything().await;
        assert_not_active(bench.backend.complete(&handle, None).await, "cancelled");
        assert_not_active(bench.backend.renew(&handle).await, "cancelled");
        assert_not_active(bench.backend.wait_children(&handle).await, "cancelled");
        bench.backend.cancel(&handle, "too").await.unwrap();
        assert_eq!(bench.everything().await, before);
    }

    async fn running_members_may_finish(bench) {
        let flow = mixed(&bench).await;
        let running = bench.core(&flow.members[1]).await;
        let suspended = member_of(&flow.id);
        let states = "suspended unowned not_applicable suspended attempt_interrupted waiting_for_signal";
        let more = vec![("flow_id", Value::Uuid(flow.id.0))];
        bench.insert_core(&suspended, states, more).await;
        let (policy, members) = cancel(&bench, &flow.id, CancelFlowPolicy::CancelPending).await;
        assert_eq!(policy, "cancel_pending");
        assert_eq!(members, named(&flow, &[0, 4, 5]));
        assert_eq!(bench.core(&flow.members[1]).await, running);
        assert_eq!(bench.core(&suspended).await.states(), states);
        assert_eq!(bench.plain.rows("ff_pending_cancel_groups").await, []);
        bench.settle().await;
        // Not a member that the engine counted.
        bench.plain.set(
            "ff_exec_core",
            vec![
                ("partition_key", crate::plain::int(i64::from(suspended.partition()))),
                ("execution_id", Value::Uuid(suspended.uuid())),
            ],
            vec![("flow_id", Value::Null)],
        ).await;
    }

    async fn the_flow_alone_may_be_cancelled(bench) {
        let flow = bench.flow(2).await;
        let edge = bench.stage(&flow, 0, 1).await;
        let (policy, members) = cancel(&bench, &flow.id, CancelFlowPolicy::FlowOnly).await;
        assert_eq!((policy.as_str(), members.len()), ("cancel_flow_only", 0));
        assert_eq!(bench.public(&flow.members[0]).await, "waiting");
        assert_eq!(bench.flow_row(&flow.id).await.text("public_flow_state"), "cancelled");
        bench.apply(&edge).await;
        let snapshot = bench.backend.describe_flow(&flow.id).await.unwrap().unwrap();
        assert_eq!(snapshot.edge_groups[0].group_state, EdgeGroupState::Cancelled);
        bench.end_and_dispatch(&flow.members[0], End::Success).await;
        assert_eq!(bench.public(&flow.members[1]).await, "waiting");
        // The rest may follow.
        let (_, members) = cancel(&bench, &flow.id, CancelFlowPolicy::CancelAll).await;
        assert_eq!(members, named(&flow, &[1]));
        let stored = bench.flow_row(&flow.id).await.raw("cancellation_policy");
        assert_eq!(stored, "cancel_all");
    }

    async fn an_unknown_flow_has_no_members(bench) {
        let before = bench.everything().await;
        for policy in
            [CancelFlowPolicy::FlowOnly, CancelFlowPolicy::CancelAll, CancelFlowPolicy::CancelPending]
        {
            let (_, members) = cancel(&bench, &FlowId::new(), policy).await;
            assert_eq!(members, [""; 0]);
        }
        assert_eq!(bench.everything().await, before);
    }

    async fn waiting_is_over_at_once(bench) {
        for wait in
            [CancelFlowWait::WaitTimeout(Duration::from_nanos(1)), CancelFlowWait::WaitIndefinite]
        {
            let flow = bench.flow(2).await;
            let policy = CancelFlowPolicy::CancelAll;
            let result = bench.backend.cancel_flow(&flow.id, policy, wait).await.unwrap();
            assert!(matches!(result, CancelFlowResult::Cancelled { .. }), "{result:?}");
        }
    }

    async fn the_ends_of_cancelled_members_are_applied_to_every_edge(bench) {
        // A hop needs no open flow.
        let flow = bench.flow(3).await;
        bench.connect(&flow, &[(0, 1), (1, 2)]).await;
        cancel(&bench, &flow.id, CancelFlowPolicy::CancelAll).await;
        bench.settle().await;
        assert_eq!(bench.undispatched().await, 0);
        assert_eq!(bench.counts(&flow.members[1]).await, [0, 1, 0, 0, 1]);
        assert_eq!(bench.counts(&flow.members[2]).await, [0, 1, 0, 0, 1]);
        for id in &flow.members {
            assert_eq!(bench.completions(id).await, ["cancelled"]);
        }
    }

    async fn rows_by_hand_are_cancelled_and_keep_their_reasons(bench) {
        for (flow, partition) in [(FlowId::new(), None), (elsewhere(), Some(0))] {
            let partition = partition.unwrap_or(home(&flow).index);
            bench.insert_flow(&flow, partition, "running", json!({ "x.y": "z" })).await;
            let mut members = Vec::new();
            for states in [
                WAITING,
                COMPLETED,
                FAILED,
                CANCELLED,
                "blocked unowned blocked_by_dependencies waiting_children pending -",
                "submitted unowned eligible_now pending pending -",
            ] {
                let id = id_in(partition);
                let more = vec![
                    ("flow_id", Value::Uuid(flow.0)),
                    ("cancellation_reason", crate::plain::text("earlier")),
                ];
                bench.insert_core(&id, states, more).await;
                members.push(id);
            }
            let (_, cancelled) = cancel(&bench, &flow, CancelFlowPolicy::CancelAll).await;
            let flow_of = Flow { id: flow.clone(), members: members.clone() };
            assert_eq!(cancelled, named(&flow_of, &[0, 4, 5]));
            for at in [0, 4, 5] {
                let core = bench.core(&members[at]).await;
                assert_eq!(core.states(), CANCELLED);
                assert_eq!(core.text("cancellation_reason"), "earlier");
            }
            assert_eq!(bench.core(&members[1]).await.states(), COMPLETED);
            assert_eq!(bench.completions(&members[1]).await, [""; 0]);
            assert_eq!(bench.flow_row(&flow).await.raw("x.y"), "z");
        }
    }

    async fn a_thousand_members_are_cancelled_together(bench) {
        let flow = bench.empty_flow().await;
        for _ in 0..2 {
            let batch = (0..500).map(|_| bench.member_args(&member_of(&flow.id))).collect();
            for result in bench.backend.create_flow_members(&flow.id, batch).await {
                result.unwrap();
            }
        }
        let (_, members) = cancel(&bench, &flow.id, CancelFlowPolicy::CancelAll).await;
        assert_eq!(members.len(), 1_000);
        assert_eq!(bench.plain.rows("ff_completion_event").await.len(), 1_000);
    }
}
