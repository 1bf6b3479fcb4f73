//! A new edge between two members.

use ff_core::EngineError;
use ff_core::contracts::{StageDependencyEdgeArgs, StageDependencyEdgeResult};
use ff_core::engine_error::ConflictKind;
use ff_core::types::{EdgeId, FlowId, TimestampMs};
use serde_json::json;
use uuid::Uuid;

use crate::backends::{Bench, START, conformance};
use crate::bench::assert_refused;
use crate::flow::{Flow, home, member_of};

fn invalid(detail: &str) -> String {
    format!("validation: InvalidInput: {detail}")
}

async fn stage(
    bench: &Bench,
    args: &StageDependencyEdgeArgs,
) -> Result<StageDependencyEdgeResult, EngineError> {
    bench.backend.stage_dependency_edge(args.clone()).await
}

conformance! {
    async fn an_edge_moves_the_revision_on(bench) {
        let flow = bench.flow(2).await;
        let mut args = flow.edge(0, 1);
        args.expected_graph_revision = 2;
        args.dependency_kind = "anything".into();
        args.data_passing_ref = Some("output.x".into());
        args.now = TimestampMs(START + 7);
        let staged = stage(&bench, &args).await.unwrap();
        let edge_id = args.edge_id.clone();
        assert_eq!(staged, StageDependencyEdgeResult::Staged { edge_id, new_graph_revision: 3 });
        let row = bench.flow_row(&flow.id).await;
        assert_eq!((row.int("graph_revision"), row.int("edge_count")), (Some(3), Some(1)));
        assert_eq!(row.raw("last_mutation_at_ms"), START + 7);
        let edges = bench.plain.rows("ff_edge").await;
        assert_eq!(edges.len(), 1);
        assert_eq!(edges[0].uuid("upstream_eid"), Some(flow.members[0].uuid()));
        assert_eq!(edges[0].uuid("downstream_eid"), Some(flow.members[1].uuid()));
        let record = json!({
            "dependency_kind": "anything",
            "satisfaction_condition": "all_required",
            "data_passing_ref": "output.x",
            "edge_state": "pending",
            "created_at_ms": START + 7,
            "created_by": "engine",
            "staged_at_ms": START + 7,
            "applied_at_ms": null,
        });
        assert_eq!(*edges[0].json("policy"), record);
        assert_eq!(edges[0].int("policy_version"), Some(0));
        assert_eq!(bench.plain.rows("ff_edge_group").await, []);
        assert_eq!(bench.public(&flow.members[1]).await, "waiting", "staging holds nobody up");
        let before = bench.everything().await;
        assert_refused(stage(&bench, &args).await, "contention: StaleGraphRevision");
        assert_eq!(bench.everything().await, before);
    }

    async fn refusals_keep_their_order(bench) {
        let flow = bench.flow(2).await;
        let before = bench.everything().await;
        let mut args = flow.edge(0, 0);
        args.flow_id = FlowId::new();
        assert_refused(stage(&bench, &args).await, &invalid("self_referencing_edge"));
        args = flow.edge(0, 1);
        args.flow_id = FlowId::new();
        args.dependency_kind = "\0".into();
        let nul = invalid("dependency_kind: must not contain NUL (at byte 0)");
        assert_refused(stage(&bench, &args).await, &nul);
        args.dependency_kind = String::new();
        assert_refused(stage(&bench, &args).await, &invalid("flow_not_found"));
        args.flow_id = flow.id.clone();
        for revision in [0, 1, 3, u64::MAX] {
            args.expected_graph_revision = revision;
            assert_refused(stage(&bench, &args).await, "contention: StaleGraphRevision");
        }
        args.expected_graph_revision = 2;
        for (up, down) in [
            (member_of(&flow.id), flow.members[1].clone()),
            (flow.members[0].clone(), member_of(&flow.id)),
        ] {
            let args = StageDependencyEdgeArgs {
                upstream_execution_id: up,
                downstream_execution_id: down,
                ..args.clone()
            };
            assert_refused(stage(&bench, &args).await, &invalid("execution_not_in_flow"));
        }
        assert_eq!(bench.everything().await, before);
        stage(&bench, &args).await.unwrap();
        for state in ["cancelled", "completed", "failed", "terminal"] {
            let over = Flow { id: FlowId::new(), members: flow.members.clone() };
            bench.insert_flow(&over.id, home(&over.id).index, state, json!({})).await;
            let mut args = over.edge(0, 1);
            args.upstream_execution_id = member_of(&over.id);
            args.downstream_execution_id = member_of(&over.id);
            args.expected_graph_revision = 77;
            assert_refused(stage(&bench, &args).await, &invalid("flow_already_terminal"));
        }
    }

    async fn an_edge_needs_both_members_in_its_flow(bench) {
        let (flow, other) = (bench.flow(2).await, bench.flow(1).await);
        let mut args = flow.edge(0, 1);
        args.expected_graph_revision = 2;
        args.upstream_execution_id = other.members[0].clone();
        let before = bench.everything().await;
        assert_refused(stage(&bench, &args).await, &invalid("execution_not_in_flow"));
        args = flow.edge(0, 1);
        args.expected_graph_revision = 2;
        args.downstream_execution_id = other.members[0].clone();
        assert!(stage(&bench, &args).await.is_err());
        assert_eq!(bench.everything().await, before);
    }

    async fn an_edge_that_exists_is_shown(bench) {
        let flow = bench.flow(3).await;
        let staged = bench.stage(&flow, 0, 1).await;
        let before = bench.everything().await;
        let again = StageDependencyEdgeArgs {
            expected_graph_revision: 4,
            upstream_execution_id: flow.members[1].clone(),
            downstream_execution_id: flow.members[2].clone(),
            ..staged.clone()
        };
        match stage(&bench, &again).await.unwrap_err() {
            EngineError::Conflict(ConflictKind::DependencyAlreadyExists { existing }) => {
                assert_eq!(existing.edge_id, staged.edge_id);
                assert_eq!(existing.upstream_execution_id, flow.members[0]);
                assert_eq!(existing.downstream_execution_id, flow.members[1]);
                assert_eq!(existing.edge_state, "pending");
            }
            other => panic!("{other}"),
        }
        assert_eq!(bench.everything().await, before);
        // A second edge between the same two is another edge.
        bench.stage(&flow, 0, 1).await;
    }

    async fn no_edge_closes_a_cycle(bench) {
        let flow = bench.flow(5).await;
        for (up, down) in [(0, 1), (1, 2), (2, 3), (0, 2), (0, 4), (4, 3)] {
            bench.stage(&flow, up, down).await;
        }
        let before = bench.everything().await;
        let revision = bench.revision(&flow.id).await;
        for (up, down) in [(1, 0), (3, 0), (2, 1), (3, 1), (3, 4)] {
            let mut args = flow.edge(up, down);
            args.expected_graph_revision = revision;
            assert_refused(stage(&bench, &args).await, "conflict: CycleDetected");
        }
        assert_eq!(bench.everything().await, before);
        bench.stage(&flow, 1, 4).await;
    }

    async fn a_long_chain_closes_no_cycle(bench) {
        let flow = bench.flow(40).await;
        for up in 0..39 {
            bench.stage(&flow, up, up + 1).await;
        }
        let mut args = flow.edge(39, 0);
        args.expected_graph_revision = bench.revision(&flow.id).await;
        assert_refused(stage(&bench, &args).await, "conflict: CycleDetected");
        bench.stage(&flow, 0, 39).await;
    }

    async fn two_edges_at_once_close_no_cycle(bench) {
        for _ in 0..20 {
            let flow = bench.flow(2).await;
            let stagings = [(0, 1), (1, 0)].map(|(up, down)| {
                let bench = std::sync::Arc::clone(&bench);
                let mut args = flow.edge(up, down);
                args.expected_graph_revision = 2;
                tokio::spawn(async move { stage(&bench, &args).await })
            });
            let mut staged = 0;
            for staging in stagings {
                match staging.await.unwrap() {
                    Ok(_) => staged += 1,
                    Err(error) => {
                        let error = error.to_string();
                        let either = ["contention: StaleGraphRevision", "conflict: CycleDetected"];
                        assert!(either.contains(&error.as_str()), "{error}");
                    }
                }
            }
            assert_eq!(staged, 1);
        }
    }

    async fn an_edge_may_have_any_id(bench) {
        for id in [Uuid::nil(), Uuid::max()] {
            let flow = bench.flow(2).await;
            let mut args = flow.edge(0, 1);
            args.edge_id = EdgeId::from_uuid(id);
            args.expected_graph_revision = 2;
            stage(&bench, &args).await.unwrap();
            bench.apply(&args).await;
            let graph = bench.backend.read_flow_graph(&flow.id).await.unwrap().unwrap();
            assert_eq!(graph.edges.len(), 1, "{id}");
            bench.end_and_dispatch(&flow.members[0], crate::flow::End::Success).await;
            assert_eq!(bench.public(&flow.members[1]).await, "waiting", "{id}");
        }
    }
}
