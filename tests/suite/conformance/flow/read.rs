//! What can be read of flows: themselves, their groups, their edges, their members; and lists of
//! them.

use ff_core::contracts::{
    EdgeDependencyPolicy, EdgeDirection, EdgeGroupState, FlowQuery, FlowStatus, OnSatisfied,
};
use ff_core::partition::PartitionKey;
use ff_core::state::{PublicFlowState, PublicState};
use ff_core::types::{EdgeId, FlowId, Namespace, TimestampMs};
use serde_json::json;
use uuid::Uuid;

use crate::backends::{Bench, START, conformance};
use crate::bench::{WAITING, assert_refused, id_in};
use crate::flow::{End, at, elsewhere, home, member_of};
use crate::plain::int;

async fn state(bench: &Bench, flow: &FlowId) -> EdgeGroupState {
    let snapshot = bench.backend.describe_flow(flow).await.unwrap().unwrap();
    assert_eq!(snapshot.edge_groups.len(), 1);
    snapshot.edge_groups[0].group_state
}

conformance! {
    async fn a_flow_is_described(bench) {
        let flow = bench.flow(3).await;
        bench.clock.advance(6);
        bench.connect(&flow, &[(0, 2), (1, 2), (0, 1)]).await;
        bench.backend.set_flow_tag(&flow.id, "team.name", "a").await.unwrap();
        bench.end_and_dispatch(&flow.members[0], End::Success).await;
        let snapshot = bench.backend.describe_flow(&flow.id).await.unwrap().unwrap();
        assert_eq!((snapshot.flow_id, snapshot.flow_kind.as_str()), (flow.id.clone(), "pipeline"));
        assert_eq!(snapshot.namespace.as_str(), crate::bench::NAMESPACE);
        assert_eq!(snapshot.public_flow_state, "open");
        assert_eq!(snapshot.graph_revision, 6);
        assert_eq!((snapshot.node_count, snapshot.edge_count), (3, 3));
        assert_eq!(snapshot.created_at, TimestampMs(START));
        assert_eq!(snapshot.last_mutation_at, TimestampMs(START + 6));
        assert_eq!(snapshot.cancelled_at, None);
        assert_eq!((snapshot.cancel_reason, snapshot.cancellation_policy), (None, None));
        let tags: Vec<_> = snapshot.tags.into_iter().collect();
        assert_eq!(tags, [("team.name".to_owned(), "a".to_owned())]);
        let mut groups = snapshot.edge_groups;
        assert!(groups.is_sorted_by_key(|group| group.downstream_execution_id.uuid()));
        groups.sort_by_key(|group| group.total_deps);
        assert_eq!(groups.len(), 2);
        assert_eq!(groups[0].downstream_execution_id, flow.members[1]);
        assert_eq!(groups[0].group_state, EdgeGroupState::Satisfied);
        let both = &groups[1];
        assert_eq!(both.downstream_execution_id, flow.members[2]);
        assert_eq!(both.policy, EdgeDependencyPolicy::all_of());
        assert_eq!((both.total_deps, both.satisfied_count, both.running_count), (2, 1, 1));
        assert_eq!((both.failed_count, both.skipped_count), (0, 0));
        assert_eq!(both.group_state, EdgeGroupState::Pending);
        assert!(bench.backend.describe_flow(&FlowId::new()).await.unwrap().is_none());
        assert!(bench.backend.read_flow_graph(&FlowId::new()).await.unwrap().is_none());
    }

    async fn groups_report_their_state(bench) {
        let any = EdgeDependencyPolicy::any_of(OnSatisfied::let_run());
        for (policy, ends, expected) in [
            (EdgeDependencyPolicy::all_of(), vec![End::Success], EdgeGroupState::Pending),
            (EdgeDependencyPolicy::all_of(), vec![End::Failed], EdgeGroupState::Impossible),
            (any.clone(), vec![End::Failed], EdgeGroupState::Pending),
            (any.clone(), vec![End::Failed, End::Success], EdgeGroupState::Satisfied),
            (any, vec![End::Failed, End::Cancelled], EdgeGroupState::Impossible),
        ] {
            let flow = bench.fan_in(2, policy).await;
            assert_eq!(state(&bench, &flow.id).await, EdgeGroupState::Pending);
            for (id, end) in flow.members.iter().zip(&ends) {
                bench.end_and_dispatch(id, *end).await;
            }
            assert_eq!(state(&bench, &flow.id).await, expected, "{ends:?}");
        }
        let empty = bench.flow(1).await;
        bench.policy(&empty, 0, EdgeDependencyPolicy::any_of(OnSatisfied::let_run())).await;
        assert_eq!(state(&bench, &empty.id).await, EdgeGroupState::Pending);
    }

    async fn a_row_by_hand_is_described(bench) {
        for (flow, partition) in [(FlowId::new(), None), (elsewhere(), Some(0))] {
            let partition = partition.unwrap_or(home(&flow).index);
            let raw = json!({
                "node_count": "4",
                "edge_count": 2,
                "x.y": "z",
                "plain": "no tag",
                "x.n": 3,
                "X.y": "no tag",
            });
            bench.insert_flow(&flow, partition, "odd", raw).await;
            let child = id_in(partition);
            bench.insert_group(&flow, &child, json!({ "kind": "all_of" }), [2, 0, 1, 1]).await;
            let snapshot = bench.backend.describe_flow(&flow).await.unwrap().unwrap();
            assert_eq!((snapshot.flow_kind.as_str(), snapshot.namespace.as_str()), ("", "default"));
            assert_eq!(snapshot.public_flow_state, "odd");
            assert_eq!((snapshot.node_count, snapshot.edge_count), (4, 2));
            assert_eq!(snapshot.last_mutation_at, snapshot.created_at);
            assert_eq!(snapshot.tags.into_keys().collect::<Vec<_>>(), ["x.y"]);
            let group = &snapshot.edge_groups[0];
            assert_eq!(group.downstream_execution_id, child);
            assert_eq!((group.total_deps, group.satisfied_count), (4, 2));
            assert_eq!((group.skipped_count, group.running_count), (1, 1));
            assert_eq!(group.group_state, EdgeGroupState::Impossible);
        }
    }

    async fn edges_are_listed_from_and_to(bench) {
        let flow = bench.flow(4).await;
        let edges = bench.connect(&flow, &[(0, 1), (0, 2), (1, 3), (2, 3), (0, 1)]).await;
        let outgoing = |at: usize| EdgeDirection::Outgoing { from_node: flow.members[at].clone() };
        let incoming = |at: usize| EdgeDirection::Incoming { to_node: flow.members[at].clone() };
        for (direction, expected) in [
            (outgoing(0), vec![0, 1, 4]),
            (outgoing(3), vec![]),
            (incoming(3), vec![2, 3]),
            (incoming(1), vec![0, 4]),
            (incoming(0), vec![]),
        ] {
            let listed = bench.backend.list_edges(&flow.id, direction).await.unwrap();
            let listed: Vec<_> = listed.into_iter().map(|edge| edge.edge_id.0).collect();
            let mut expected: Vec<_> = expected.into_iter().map(|at: usize| edges[at].0).collect();
            expected.sort();
            assert_eq!(listed, expected);
        }
        let unknown = bench.backend.list_edges(&FlowId::new(), outgoing(0)).await.unwrap();
        assert_eq!(unknown.len(), 0);
        let edge = bench.backend.describe_edge(&flow.id, &edges[2]).await.unwrap().unwrap();
        assert_eq!((edge.flow_id, edge.edge_id), (flow.id.clone(), edges[2].clone()));
        assert_eq!(edge.upstream_execution_id, flow.members[1]);
        assert_eq!(edge.downstream_execution_id, flow.members[3]);
        assert_eq!((edge.dependency_kind.as_str(), edge.data_passing_ref), ("success_only", None));
        assert_eq!(edge.satisfaction_condition, "all_required");
        assert_eq!((edge.edge_state.as_str(), edge.created_by.as_str()), ("applied", "engine"));
        assert_eq!(edge.created_at, TimestampMs(START));
        let unknown = EdgeId::from_uuid(Uuid::new_v4());
        assert!(bench.backend.describe_edge(&flow.id, &unknown).await.unwrap().is_none());
        assert!(bench.backend.describe_edge(&FlowId::new(), &edges[2]).await.unwrap().is_none());
    }

    async fn an_edge_on_partition_0_is_found_there(bench) {
        let flow = elsewhere();
        let (up, down) = (id_in(0), id_in(0));
        let edge = bench.insert_edge(&flow, &up, &down).await;
        let found = bench.backend.describe_edge(&flow, &edge).await.unwrap().unwrap();
        assert_eq!((found.upstream_execution_id, found.downstream_execution_id), (up.clone(), down));
        let direction = EdgeDirection::Outgoing { from_node: up };
        assert_eq!(bench.backend.list_edges(&flow, direction).await.unwrap().len(), 1);
    }

    async fn a_graph_has_everything(bench) {
        let flow = bench.flow(3).await;
        let edges = bench.connect(&flow, &[(0, 1), (1, 2)]).await;
        bench.flow(2).await;
        bench.end_and_dispatch(&flow.members[0], End::Success).await;
        let graph = bench.backend.read_flow_graph(&flow.id).await.unwrap().unwrap();
        assert_eq!(graph.flow, bench.backend.describe_flow(&flow.id).await.unwrap().unwrap());
        let mut members = flow.members.clone();
        members.sort();
        let read: Vec<_> = graph.members.iter().map(|row| row.execution_id.clone()).collect();
        assert_eq!(read, members);
        let ended = graph.members.iter().find(|row| row.execution_id == flow.members[0]).unwrap();
        assert_eq!(ended.public_state, PublicState::Completed);
        let mut ids: Vec<_> = edges.iter().map(|edge| edge.0).collect();
        ids.sort();
        assert_eq!(graph.edges.iter().map(|edge| edge.edge_id.0).collect::<Vec<_>>(), ids);
        let edge = bench.backend.describe_edge(&flow.id, &edges[1]).await.unwrap().unwrap();
        assert!(graph.edges.contains(&edge));
    }

    async fn a_member_may_have_any_id(bench) {
        let flow = FlowId::new();
        let partition = home(&flow).index;
        bench.insert_flow(&flow, partition, "open", json!({})).await;
        for uuid in [Uuid::nil(), Uuid::max()] {
            let id = ff_core::types::ExecutionId::from_parts(partition, uuid);
            let more = vec![("flow_id", ff_core::plan::value::Value::Uuid(flow.0))];
            bench.insert_core(&id, WAITING, more).await;
        }
        let graph = bench.backend.read_flow_graph(&flow).await.unwrap().unwrap();
        assert_eq!(graph.members.len(), 2);
        let now = bench.clock.now();
        bench.backend.project_flow_summary(at(partition), &flow, now).await.unwrap();
        let summary = &bench.plain.rows("ff_flow_summary").await[0];
        assert_eq!(summary.int("total_members"), Some(2));
    }

    async fn flows_of_a_partition_are_paged_by_id(bench) {
        let mut ids: Vec<FlowId> = (0..5).map(|_| FlowId::new()).collect();
        ids.sort_by_key(|flow| flow.0);
        for (id, state) in
            ids.iter().zip(["open", "running", "blocked", "completed", "terminal"])
        {
            bench.insert_flow(id, 6, state, json!({})).await;
        }
        let (odd, gone) = (FlowId::new(), FlowId::new());
        bench.insert_flow(&odd, 7, "odd", json!({})).await;
        bench.insert_flow(&gone, 8, "cancelled", json!({})).await;
        let key = |index| PartitionKey::from(at(index));
        let list = async |index, cursor, limit| {
            let page = bench.backend.list_flows(key(index), cursor, limit).await.unwrap();
            let ids: Vec<_> = page.flows.iter().map(|flow| flow.flow_id.clone()).collect();
            let states: Vec<_> = page.flows.iter().map(|flow| flow.status).collect();
            (ids, states, page.next_cursor)
        };
        let (found, states, next) = list(6, None, 5).await;
        assert_eq!((found, next), (ids.clone(), None));
        assert_eq!(states[..3], [FlowStatus::Active; 3]);
        assert_eq!(states[3], FlowStatus::Completed);
        let (found, _, next) = list(6, None, 2).await;
        assert_eq!((found.as_slice(), next.as_ref()), (&ids[..2], Some(&ids[1])));
        let (found, _, next) = list(6, next, 3).await;
        assert_eq!((found.as_slice(), next), (&ids[2..], None));
        assert_eq!(list(7, None, 2).await.1, [FlowStatus::Unknown]);
        assert_eq!(list(8, None, 2).await.1, [FlowStatus::Cancelled]);
        assert_eq!(list(9, None, 2).await.0, []);
        let bad: PartitionKey = serde_json::from_value(json!("7")).unwrap();
        let page = bench.backend.list_flows(bad.clone(), None, 0).await.unwrap();
        assert_eq!((page.flows.len(), page.next_cursor), (0, None), "a page of none asks nothing");
        let error = bench.backend.list_flows(bad, None, 1).await.unwrap_err().to_string();
        assert!(error.starts_with("validation: InvalidInput: partition_key: "), "{error}");
    }

    async fn flows_of_all_partitions_are_listed_newest_first(bench) {
        let mut flows = Vec::new();
        for (state, namespace, age) in [
            ("open", "n'1", 0),
            ("cancelled", "n'1", 10),
            ("open", "n2", 10),
            ("open", "n'1", 10),
            ("terminal", "n'1", 20),
        ] {
            let id = FlowId::new();
            let raw = json!({ "namespace": namespace, "flow_kind": "k", "node_count": 2 });
            bench.insert_flow(&id, home(&id).index, state, raw).await;
            let key = vec![
                ("partition_key", int(i64::from(home(&id).index))),
                ("flow_id", ff_core::plan::value::Value::Uuid(id.0)),
            ];
            bench.plain.set("ff_flow_core", key, vec![("created_at_ms", int(START - age))]).await;
            flows.push((-(START - age), id.0, id));
        }
        let ids: Vec<FlowId> = flows.iter().map(|(_, _, id)| id.clone()).collect();
        flows.sort_by_key(|(age, uuid, _)| (*age, *uuid));
        let newest: Vec<FlowId> = flows.into_iter().map(|(_, _, id)| id).collect();
        let list = async |query: FlowQuery| {
            let page = bench.backend.list_flows_by(query).await.unwrap();
            let ids: Vec<_> = page.flows.iter().map(|flow| flow.flow_id.clone()).collect();
            (ids, page.next_cursor)
        };
        let (found, next) = list(FlowQuery::new(5)).await;
        assert_eq!((found, next), (newest.clone(), None));
        let mut query = FlowQuery::new(2);
        for (first, last) in [(0, 2), (2, 4), (4, 5)] {
            let (found, next) = list(query.clone()).await;
            assert_eq!(found, newest[first..last]);
            assert_eq!(next.is_some(), last < 5);
            query.after = next;
        }
        assert_eq!(list(FlowQuery::new(0)).await.0, []);
        let mut query = FlowQuery::new(9);
        query.namespace = Some(Namespace::new("n2"));
        assert_eq!(list(query.clone()).await.0, [ids[2].clone()]);
        query.namespace = None;
        query.state = Some(PublicFlowState::Cancelled);
        assert_eq!(list(query.clone()).await.0, [ids[1].clone()]);
        query.state = Some(PublicFlowState::Failed);
        assert_eq!(list(query.clone()).await.0, [ids[4].clone()], "by its older spelling");
        let page = bench.backend.list_flows_by(query.clone()).await.unwrap();
        let row = &page.flows[0];
        assert_eq!((row.flow_kind.as_str(), row.namespace.as_str()), ("k", "n'1"));
        assert_eq!((row.public_flow_state.as_str(), row.node_count), ("terminal", 2));
        let mut of_kind = FlowQuery::new(9);
        of_kind.flow_kind = Some("k".into());
        assert_eq!(list(of_kind.clone()).await.0.len(), 5);
        of_kind.flow_kind = Some("other".into());
        assert_eq!(list(of_kind).await.0, []);
        let (mut old, mut new) = (FlowQuery::new(9), FlowQuery::new(9));
        let at = page.flows[0].created_at;
        old.created_by = Some(TimestampMs(at.0 - 1));
        new.created_since = Some(at);
        let (old, new) = (list(old).await.0, list(new).await.0);
        assert!(new.contains(&ids[4]) && !old.contains(&ids[4]));
        assert_eq!(old.len() + new.len(), 5);
        query.namespace = Some(Namespace::new("\0"));
        assert_refused(
            bench.backend.list_flows_by(query).await,
            "validation: InvalidInput: namespace: must not contain NUL (at byte 0)",
        );
    }

    async fn the_flow_of_an_execution_is_resolved(bench) {
        let flow = bench.flow(1).await;
        let (solo, unknown) = (bench.create().await, member_of(&flow.id));
        let of = async |id| bench.backend.resolve_execution_flow_id(id).await.unwrap();
        assert_eq!(of(&flow.members[0]).await, Some(flow.id.clone()));
        assert_eq!(of(&solo).await, None);
        assert_eq!(of(&unknown).await, None);
    }
}
