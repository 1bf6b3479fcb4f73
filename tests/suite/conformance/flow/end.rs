//! A flow ends with its last member, and goes on with the next one.

use std::sync::Arc;

use ff_core::contracts::{CancelFlowArgs, CancelFlowHeader, FlowQuery};
use ff_core::plan::value::Value;
use ff_core::state::{ClosedSet as _, PublicFlowState};
use ff_core::types::FlowId;
use futures_util::future::join_all;
use serde_json::json;

use crate::backends::{Bench, START, conformance};
use crate::bench::{COMPLETED, WAITING, assert_refused, id_in};
use crate::flow::{End, Flow, applying, elsewhere, member_of, settle_together};
use crate::plain::int;

async fn state(bench: &Bench, flow: &FlowId) -> String {
    bench.flow_row(flow).await.text("public_flow_state").to_owned()
}

/// How often the end of a flow was announced.
async fn ends(bench: &Bench, flow: &FlowId) -> Vec<String> {
    let mut events = bench.plain.rows("ff_operator_event").await;
    events.retain(|event| {
        event.uuid("execution_id") == Some(flow.0) && event.text("event_type") == "flow_ended"
    });
    let state =
        |details: &serde_json::Value| details["public_flow_state"].as_str().unwrap().to_owned();
    events.iter().map(|event| state(event.json("details"))).collect()
}

/// The flows that a list of one state shows.
async fn listed(bench: &Bench, state: &str) -> Vec<FlowId> {
    let mut query = FlowQuery::new(100);
    query.state = PublicFlowState::parse(state);
    let page = bench.backend.list_flows_by(query).await.unwrap();
    page.flows.into_iter().map(|flow| flow.flow_id).collect()
}

async fn cancelled(bench: &Bench, flow: &FlowId) -> CancelFlowHeader {
    let args = CancelFlowArgs {
        flow_id: flow.clone(),
        reason: "too late".into(),
        cancellation_policy: "cancel_all".into(),
        now: bench.clock.now(),
    };
    bench.backend.cancel_flow_header(args).await.unwrap()
}

fn invalid(detail: &str) -> String {
    format!("validation: InvalidInput: {detail}")
}

conformance! {
    async fn a_flow_ends_as_its_members_did(bench) {
        use End::{Cancelled, Failed, Success};
        for (members, word) in [
            (vec![Success], "completed"),
            (vec![Success, Success, Success], "completed"),
            (vec![Success, Failed], "failed"),
            (vec![Cancelled, Success], "failed"),
        ] {
            let flow = bench.flow(members.len()).await;
            for (id, end) in flow.members.iter().zip(&members) {
                assert_eq!(state(&bench, &flow.id).await, "open", "{members:?}");
                bench.clock.advance(3);
                bench.end_and_dispatch(id, *end).await;
            }

            let row = bench.flow_row(&flow.id).await;
            assert_eq!(row.text("public_flow_state"), word, "{members:?}");
            assert_eq!(row.int("terminal_at_ms"), Some(bench.clock.now().0));
            assert_eq!(ends(&bench, &flow.id).await, [word]);
            assert!(listed(&bench, word).await.contains(&flow.id));
            assert!(!listed(&bench, "open").await.contains(&flow.id));
            let described = bench.backend.describe_flow(&flow.id).await.unwrap().unwrap();
            assert_eq!((described.public_flow_state.as_str(), described.cancelled_at), (word, None));
            let (partition, now) = (flow.partition(), bench.clock.now());
            bench.backend.project_flow_summary(partition, &flow.id, now).await.unwrap();
            let mut summaries = bench.plain.rows("ff_flow_summary").await;
            summaries.retain(|row| row.uuid("flow_id") == Some(flow.id.0));
            assert_eq!(summaries[0].text("public_flow_state"), word);
            let over = cancelled(&bench, &flow.id).await;
            assert!(matches!(over, CancelFlowHeader::AlreadyTerminal { .. }), "{over:?}");
        }
    }

    async fn a_failure_that_skips_the_rest_ends_the_flow(bench) {
        let flow = bench.flow(4).await;
        bench.connect(&flow, &[(0, 1), (1, 2), (2, 3)]).await;
        bench.end(&flow.members[0], End::Failed).await;
        assert_eq!(state(&bench, &flow.id).await, "open");
        bench.settle().await;
        assert_eq!(bench.public(&flow.members[3]).await, "skipped");
        assert_eq!(state(&bench, &flow.id).await, "failed");
        assert_eq!(ends(&bench, &flow.id).await, ["failed"]);
    }

    async fn what_is_not_over_keeps_a_flow_open(bench) {
        // Without members, with one that is held back, and with one that waits for others.
        let empty = bench.empty_flow().await;
        let held = bench.held_flow(2).await;
        bench.cancel_one(&held.members[0]).await;
        let waits = bench.flow(2).await;
        bench.connect(&waits, &[(0, 1)]).await;
        bench.end(&waits.members[0], End::Success).await;
        bench.settle().await;
        for flow in [&empty, &held, &waits] {
            assert_eq!(state(&bench, &flow.id).await, "open");
        }
        bench.cancel_one(&held.members[1]).await;
        bench.settle().await;
        assert_eq!(state(&bench, &held.id).await, "failed");
    }

    async fn a_flow_goes_on_with_another_member(bench) {
        let mut flow = bench.flow(1).await;
        bench.end_and_dispatch(&flow.members[0].clone(), End::Success).await;
        assert_eq!(state(&bench, &flow.id).await, "completed");
        bench.join(&mut flow).await;
        let row = bench.flow_row(&flow.id).await;
        assert_eq!((row.text("public_flow_state"), row.int("terminal_at_ms")), ("open", None));
        bench.connect(&flow, &[(0, 1)]).await;
        bench.end_and_dispatch(&flow.members[1].clone(), End::Failed).await;
        assert_eq!(state(&bench, &flow.id).await, "failed");

        // Also with one that is created in it and held back.
        let held = member_of(&flow.id);
        let batch = vec![bench.member_args(&held)];
        bench.backend.create_flow_members(&flow.id, batch).await.remove(0).unwrap();
        assert_eq!(state(&bench, &flow.id).await, "open");
        bench.backend.release_flow(&flow.id, bench.clock.now()).await.unwrap();
        bench.end_and_dispatch(&held, End::Success).await;
        assert_eq!(ends(&bench, &flow.id).await, ["completed", "failed", "failed"]);
    }

    async fn a_member_that_ended_before_leaves_no_flow_open(bench) {
        for (end, word) in
            [(End::Success, "completed"), (End::Failed, "failed"), (End::Cancelled, "failed")]
        {
            let mut flow = bench.empty_flow().await;
            bench.join_ended(&mut flow, end).await;
            assert_eq!(state(&bench, &flow.id).await, word);
            let row = bench.flow_row(&flow.id).await;
            assert_eq!(row.int("terminal_at_ms"), Some(bench.clock.now().0));
            assert_eq!(ends(&bench, &flow.id).await, [word]);

            // With another member the flow goes on, and ends as all of them have.
            bench.join(&mut flow).await;
            bench.join_ended(&mut flow, End::Success).await;
            assert_eq!(state(&bench, &flow.id).await, "open");
            bench.end_and_dispatch(&flow.members[1].clone(), End::Success).await;
            assert_eq!(state(&bench, &flow.id).await, word);
        }
    }

    async fn the_end_of_a_flow_follows_a_member_that_is_added_afterwards(bench) {
        let mut flow = bench.flow(1).await;
        bench.end_and_dispatch(&flow.members[0].clone(), End::Success).await;
        for (end, word) in [
            (End::Success, "completed"),
            (End::Failed, "failed"),
            (End::Success, "failed"),
        ] {
            bench.join_ended(&mut flow, end).await;
            assert_eq!(state(&bench, &flow.id).await, word);
        }
        assert_eq!(ends(&bench, &flow.id).await, ["completed", "failed"]);
        let row = bench.flow_row(&flow.id).await;
        assert_eq!((row.int("node_count"), row.int("graph_revision")), (Some(4), Some(4)));
    }

    async fn a_member_that_ends_while_it_is_added_leaves_no_flow_open(bench) {
        for _ in 0..10 {
            let flow = bench.empty_flow().await;
            let id = member_of(&flow.id);
            bench.backend.create_execution(bench.member_args(&id)).await.unwrap();
            let handle = bench.take(&id).await;
            let ended = {
                let bench = Arc::clone(&bench);
                tokio::spawn(async move { bench.backend.complete(&handle, None).await.unwrap() })
            };
            bench.add(&flow, &id).await.unwrap();
            ended.await.unwrap();
            bench.settle().await;
            assert_eq!(state(&bench, &flow.id).await, "completed");
            assert_eq!(ends(&bench, &flow.id).await, ["completed"]);
        }
    }

    async fn a_flow_goes_on_with_a_replayed_member(bench) {
        let flow = bench.flow(2).await;
        bench.end_and_dispatch(&flow.members[0], End::Failed).await;
        bench.replay(&flow.members[0]).await;
        bench.end_and_dispatch(&flow.members[1], End::Success).await;
        assert_eq!(state(&bench, &flow.id).await, "open", "the replayed one goes on");
        bench.end_and_dispatch(&flow.members[0], End::Failed).await;
        assert_eq!(state(&bench, &flow.id).await, "failed");
        bench.replay(&flow.members[0]).await;
        let row = bench.flow_row(&flow.id).await;
        assert_eq!((row.text("public_flow_state"), row.int("terminal_at_ms")), ("open", None));
        bench.end_and_dispatch(&flow.members[0], End::Success).await;
        assert_eq!(state(&bench, &flow.id).await, "completed");
        assert_eq!(ends(&bench, &flow.id).await, ["failed", "completed"]);

        // What was cancelled stays cancelled.
        let flow = bench.flow(1).await;
        cancelled(&bench, &flow.id).await;
        bench.replay(&flow.members[0]).await;
        assert_eq!(state(&bench, &flow.id).await, "cancelled");
        bench.end_and_dispatch(&flow.members[0], End::Success).await;
        assert_eq!(state(&bench, &flow.id).await, "cancelled");
        assert!(ends(&bench, &flow.id).await.is_empty());
    }

    async fn many_last_members_end_a_flow_once(bench) {
        for _ in 0..3 {
            let flow = bench.flow(12).await;
            let ends_at_once: Vec<_> = flow.members.iter().map(|id| {
                let (bench, id) = (Arc::clone(&bench), id.clone());
                tokio::spawn(async move { bench.end(&id, End::Success).await })
            }).collect();
            settle_together(&bench, 3).await;
            for end in join_all(ends_at_once).await {
                end.unwrap();
            }
            settle_together(&bench, 3).await;
            assert_eq!(state(&bench, &flow.id).await, "completed");
            assert_eq!(ends(&bench, &flow.id).await, ["completed"]);
        }
    }

    async fn a_replay_beside_the_end_of_its_flow_leaves_it_open(bench) {
        for _ in 0..10 {
            let flow = bench.flow(2).await;
            bench.end_and_dispatch(&flow.members[0], End::Failed).await;
            bench.end(&flow.members[1], End::Success).await;
            let replayed = {
                let (bench, id) = (Arc::clone(&bench), flow.members[0].clone());
                tokio::spawn(async move { bench.replay(&id).await })
            };
            settle_together(&bench, 2).await;
            replayed.await.unwrap();
            bench.settle().await;
            assert_eq!(state(&bench, &flow.id).await, "open");
            bench.end_and_dispatch(&flow.members[0], End::Success).await;
            assert_eq!(state(&bench, &flow.id).await, "completed");
        }
    }

    async fn a_member_is_on_the_partition_of_its_flow(bench) {
        // As older SQLite databases keep them: on partition 0, whatever their ids say.
        let flow = elsewhere();
        bench.insert_flow(&flow, 0, "open", json!({})).await;
        let (ours, theirs) = (id_in(0), id_in(9));
        let of_flow = vec![("flow_id", Value::Uuid(flow.0))];
        bench.insert_core(&ours, WAITING, of_flow).await;
        bench.insert_core(&theirs, WAITING, vec![]).await;
        let mismatch = invalid("partition_mismatch: flow is on {fp:0}");
        let flow = Flow { id: flow, members: vec![ours, theirs] };
        assert_refused(bench.add(&flow, &flow.members[1]).await, &mismatch);
        for (up, down) in [(0, 1), (1, 0)] {
            let edge = flow.edge(up, down);
            let applied = bench.backend.apply_dependency_to_child(applying(&edge)).await;
            let expected = if down == 1 { mismatch.clone() } else { invalid("edge_not_found") };
            assert_refused(applied, &expected);
            assert_refused(bench.backend.stage_dependency_edge(edge).await, &mismatch);
        }
        let created = vec![bench.member_args(&id_in(9))];
        let created = bench.backend.create_flow_members(&flow.id, created).await.remove(0);
        assert_refused(created, &mismatch);

        // And at home, with members from elsewhere.
        let home = bench.flow(1).await;
        let at = home.partition().index;
        let stranger = id_in((at + 1) % 256);
        let more = vec![("terminal_at_ms", int(START))];
        bench.insert_core(&stranger, COMPLETED, more).await;
        let mismatch = invalid(&format!("partition_mismatch: flow is on {{fp:{at}}}"));
        assert_refused(bench.add(&home, &stranger).await, &mismatch);
        let flow = Flow { id: home.id.clone(), members: vec![home.members[0].clone(), stranger] };
        for (up, down) in [(0, 1), (1, 0)] {
            let mut edge = flow.edge(up, down);
            edge.expected_graph_revision = 1;
            assert_refused(bench.backend.stage_dependency_edge(edge).await, &mismatch);
        }
    }
}
