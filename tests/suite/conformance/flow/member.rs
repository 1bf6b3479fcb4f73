//! Executions become members of a flow: added, or created inside it and held back.

use ff_core::contracts::{AddExecutionToFlowResult, CreateExecutionResult};
use ff_core::plan::value::Value;
use ff_core::state::PublicState;
use ff_core::types::{ExecutionId, FlowId, TimestampMs};
use serde_json::json;

use crate::backends::{START, conformance};
use crate::bench::{COMPLETED, WAITING, assert_refused, id_in};
use crate::flow::{End, Flow, elsewhere, home, member_of};
use crate::plain::int;

const HELD: &str =
    "runnable unowned blocked_by_operator waiting pending_first_attempt paused_by_policy";

fn invalid(detail: &str) -> String {
    format!("validation: InvalidInput: {detail}")
}

conformance! {
    async fn an_added_execution_keeps_its_state(bench) {
        let flow = bench.empty_flow().await;
        let (first, second) = (member_of(&flow.id), member_of(&flow.id));
        bench.backend.create_execution(bench.member_args(&first)).await.unwrap();
        bench.backend.create_execution(bench.member_args(&second)).await.unwrap();
        bench.take(&second).await;
        bench.clock.advance(10);
        for (id, count) in [(&first, 1), (&second, 2)] {
            let before = bench.core(id).await;
            let added = bench.add(&flow, id).await.unwrap();
            let execution_id = id.clone();
            assert_eq!(added, AddExecutionToFlowResult::Added { execution_id, new_node_count: count });
            let core = bench.core(id).await;
            assert_eq!(core.states(), before.states());
            assert_eq!(core.uuid("flow_id"), Some(flow.id.0));
            let of = bench.backend.resolve_execution_flow_id(id).await.unwrap();
            assert_eq!(of, Some(flow.id.clone()));
        }
        let row = bench.flow_row(&flow.id).await;
        assert_eq!((row.int("graph_revision"), row.int("node_count")), (Some(2), Some(2)));
        assert_eq!(row.raw("last_mutation_at_ms"), START + 10);
        let before = bench.everything().await;
        let again = bench.add(&flow, &first).await.unwrap();
        let member = AddExecutionToFlowResult::AlreadyMember { execution_id: first, node_count: 2 };
        assert_eq!(again, member);
        assert_eq!(bench.everything().await, before);
    }

    async fn refusals_keep_their_order(bench) {
        let unknown = Flow { id: FlowId::new(), members: Vec::new() };
        let flow = bench.flow(1).await;
        let member = &flow.members[0];
        assert_refused(
            bench.add(&unknown, &member_of(&unknown.id)).await,
            &invalid("flow_not_found"),
        );
        assert_refused(
            bench.add(&flow, &member_of(&flow.id)).await,
            &invalid("execution_not_found"),
        );
        let other = Flow { id: flow_beside(&flow.id), members: Vec::new() };
        bench.backend.create_flow(bench.flow_args(&other.id)).await.unwrap();
        let taken = format!("already_member_of_different_flow:{}", flow.id);
        let before = bench.everything().await;
        assert_refused(bench.add(&other, member).await, &invalid(&taken));
        // An execution elsewhere is none that this flow could have.
        let elsewhere = id_in((flow.partition().index + 1) % 256);
        bench.insert_core(&elsewhere, WAITING, vec![]).await;
        let mismatch = format!("partition_mismatch: flow is on {{fp:{}}}", flow.partition().index);
        assert_refused(bench.add(&flow, &elsewhere).await, &invalid(&mismatch));
        assert_ne!(bench.everything().await, before);
        for state in ["cancelled", "completed", "failed", "terminal"] {
            let over = Flow { id: FlowId::new(), members: Vec::new() };
            let partition = home(&over.id).index;
            bench.insert_flow(&over.id, partition, state, json!({})).await;
            let member = member_of(&over.id);
            let more = vec![("flow_id", Value::Uuid(over.id.0))];
            bench.insert_core(&member, WAITING, more).await;
            let before = bench.everything().await;
            for id in [&member, &member_of(&over.id)] {
                assert_refused(bench.add(&over, id).await, &invalid("flow_already_terminal"));
            }
            assert_eq!(bench.everything().await, before);
        }
    }

    async fn counts_of_older_engines_go_on(bench) {
        for raw in [json!({ "node_count": 3, "edge_count": 2 }), json!({ "node_count": "3", "edge_count": "2" })] {
            let flow = Flow { id: FlowId::new(), members: Vec::new() };
            bench.insert_flow(&flow.id, flow.partition().index, "running", raw).await;
            let id = member_of(&flow.id);
            bench.insert_core(&id, COMPLETED, vec![]).await;
            let added = bench.add(&flow, &id).await.unwrap();
            let execution_id = id.clone();
            assert_eq!(added, AddExecutionToFlowResult::Added { execution_id, new_node_count: 4 });
            let described = bench.backend.describe_flow(&flow.id).await.unwrap().unwrap();
            assert_eq!((described.node_count, described.edge_count), (4, 2));
            let execution_id = id.clone();
            let again = AddExecutionToFlowResult::AlreadyMember { execution_id, node_count: 4 };
            assert_eq!(bench.add(&flow, &id).await.unwrap(), again);
        }
    }

    async fn of_many_additions_one_counts(bench) {
        let flow = bench.empty_flow().await;
        let id = member_of(&flow.id);
        bench.backend.create_execution(bench.member_args(&id)).await.unwrap();
        let additions: Vec<_> = (0..8)
            .map(|_| {
                let (bench, flow, id) = (std::sync::Arc::clone(&bench), flow.clone(), id.clone());
                tokio::spawn(async move { bench.add(&flow, &id).await.unwrap() })
            })
            .collect();
        let mut added = 0;
        for addition in additions {
            let result = addition.await.unwrap();
            added += usize::from(matches!(result, AddExecutionToFlowResult::Added { .. }));
        }
        assert_eq!(added, 1);
    }

    async fn a_created_member_is_held_back(bench) {
        let flow = bench.held_flow(3).await;
        for id in &flow.members {
            assert_eq!(bench.core(id).await.states(), HELD);
            assert!(bench.try_take(id).await.is_none());
        }
        let row = bench.flow_row(&flow.id).await;
        assert_eq!((row.int("graph_revision"), row.int("node_count")), (Some(3), Some(3)));
        assert_eq!(bench.backend.release_flow(&flow.id, bench.clock.now()).await.unwrap(), 3);
        for id in &flow.members {
            assert_eq!(bench.core(id).await.states(), WAITING);
        }
        let before = bench.everything().await;
        assert_eq!(bench.backend.release_flow(&flow.id, bench.clock.now()).await.unwrap(), 0);
        assert_eq!(bench.everything().await, before);
        let unknown = bench.backend.release_flow(&FlowId::new(), bench.clock.now()).await;
        assert_refused(unknown, "not found: flow");
    }

    async fn creating_members_again_changes_nothing(bench) {
        let flow = bench.held_flow(2).await;
        let fresh = member_of(&flow.id);
        let ids = [flow.members[0].clone(), fresh.clone(), flow.members[1].clone()];
        let batch = || ids.iter().map(|id| bench.member_args(id)).collect();
        let results = bench.backend.create_flow_members(&flow.id, batch()).await;
        let results: Vec<_> = results.into_iter().map(Result::unwrap).collect();
        let duplicate = |id: &ExecutionId| CreateExecutionResult::Duplicate { execution_id: id.clone() };
        assert_eq!(results[0], duplicate(&ids[0]));
        let (execution_id, public_state) = (fresh, PublicState::Waiting);
        assert_eq!(results[1], CreateExecutionResult::Created { execution_id, public_state });
        assert_eq!(results[2], duplicate(&ids[2]));
        let before = bench.everything().await;
        for result in bench.backend.create_flow_members(&flow.id, batch()).await {
            assert!(matches!(result, Ok(CreateExecutionResult::Duplicate { .. })), "{result:?}");
        }
        assert_eq!(bench.everything().await, before);
    }

    async fn a_member_needs_a_flow_on_its_partition(bench) {
        let flow = bench.flow(1).await;
        let create = async |flow: &FlowId, id: &ExecutionId| {
            let batch = vec![bench.member_args(id)];
            bench.backend.create_flow_members(flow, batch).await.remove(0)
        };
        let before = bench.everything().await;
        let unknown = FlowId::new();
        assert_refused(create(&unknown, &member_of(&unknown)).await, &invalid("flow_not_found"));
        let outside = id_in((flow.partition().index + 1) % 256);
        let at = flow.partition().index;
        let expected = format!("partition_mismatch: flow is on {{fp:{at}}}");
        assert_refused(create(&flow.id, &outside).await, &invalid(&expected));
        assert_eq!(bench.everything().await, before);
        let solo = member_of(&flow.id);
        bench.backend.create_execution(bench.member_args(&solo)).await.unwrap();
        assert_refused(create(&flow.id, &solo).await, &invalid("execution_not_in_flow"));
        let other = flow_beside(&flow.id);
        bench.backend.create_flow(bench.flow_args(&other)).await.unwrap();
        let taken = format!("already_member_of_different_flow:{}", flow.id);
        assert_refused(create(&other, &flow.members[0]).await, &invalid(&taken));
        let over = FlowId::new();
        bench.insert_flow(&over, home(&over).index, "cancelled", json!({})).await;
        assert_refused(create(&over, &member_of(&over)).await, &invalid("flow_already_terminal"));
    }

    async fn a_released_member_still_waits_for_its_time(bench) {
        let mut flow = bench.empty_flow().await;
        let mut batch = Vec::new();
        for until in [None, Some(TimestampMs(START + 10)), Some(TimestampMs(START + 1_000))] {
            let id = member_of(&flow.id);
            let mut args = bench.member_args(&id);
            args.delay_until = until;
            batch.push(args);
            flow.members.push(id);
        }
        for result in bench.backend.create_flow_members(&flow.id, batch).await {
            result.unwrap();
        }
        bench.clock.advance(10);
        assert_eq!(bench.backend.release_flow(&flow.id, bench.clock.now()).await.unwrap(), 3);
        let mut states = Vec::new();
        for id in &flow.members {
            states.push(bench.public(id).await);
        }
        assert_eq!(states, ["waiting", "waiting", "delayed"]);
        bench.take(&flow.members[1]).await;
        assert!(bench.try_take(&flow.members[2]).await.is_none());
    }

    async fn only_what_is_held_back_is_released(bench) {
        let flow = bench.held_flow(4).await;
        bench.connect(&flow, &[(0, 1)]).await;
        bench.cancel_one(&flow.members[2]).await;
        assert_eq!(bench.backend.release_flow(&flow.id, bench.clock.now()).await.unwrap(), 2);
        assert_eq!(bench.public(&flow.members[1]).await, "waiting_children");
        assert_eq!(bench.public(&flow.members[2]).await, "cancelled");
        bench.end_and_dispatch(&flow.members[0], End::Success).await;
        bench.end_and_dispatch(&flow.members[1], End::Success).await;
    }

    async fn a_flow_on_partition_0_takes_members_there(bench) {
        let flow = Flow { id: elsewhere(), members: Vec::new() };
        bench.insert_flow(&flow.id, 0, "open", json!({})).await;
        let id = id_in(0);
        bench.insert_core(&id, WAITING, vec![]).await;
        let added = bench.add(&flow, &id).await.unwrap();
        let execution_id = id.clone();
        assert_eq!(added, AddExecutionToFlowResult::Added { execution_id, new_node_count: 1 });
        let fresh = id_in(0);
        let batch = vec![bench.member_args(&fresh)];
        bench.backend.create_flow_members(&flow.id, batch).await.remove(0).unwrap();
        let of = bench.backend.resolve_execution_flow_id(&fresh).await.unwrap();
        assert_eq!(of, Some(flow.id.clone()));
        assert_eq!(bench.backend.release_flow(&flow.id, bench.clock.now()).await.unwrap(), 1);
        let graph = bench.backend.read_flow_graph(&flow.id).await.unwrap().unwrap();
        assert_eq!(graph.members.len(), 2);
        assert_eq!(graph.flow.node_count, 2);
        let core = bench.core(&id).await;
        assert_eq!(core.int("priority"), Some(0));
        bench.set_core(&id, vec![("priority", int(3))]).await;
        assert_eq!(bench.core(&id).await.int("priority"), Some(3));
    }
}

/// Another flow on the same partition.
fn flow_beside(flow: &FlowId) -> FlowId {
    let mut ids = std::iter::repeat_with(FlowId::new);
    ids.find(|other| home(other) == home(flow)).unwrap()
}
