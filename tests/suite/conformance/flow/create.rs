//! A new flow.

use ff_core::contracts::CreateFlowResult;
use ff_core::types::{FlowId, Namespace};
use serde_json::json;

use crate::backends::{START, conformance};
use crate::bench::{NAMESPACE, assert_refused};
use crate::flow::{elsewhere, home};

conformance! {
    async fn a_flow_begins_open_and_empty(bench) {
        let id = FlowId::new();
        let created = bench.backend.create_flow(bench.flow_args(&id)).await.unwrap();
        assert_eq!(created, CreateFlowResult::Created { flow_id: id.clone() });
        let row = bench.flow_row(&id).await;
        assert_eq!(row.int("partition_key"), Some(i64::from(home(&id).index)));
        assert_eq!(row.int("graph_revision"), Some(0));
        assert_eq!(row.text("public_flow_state"), "open");
        assert_eq!((row.int("created_at_ms"), row.int("terminal_at_ms")), (Some(START), None));
        assert_eq!((row.int("node_count"), row.int("edge_count")), (Some(0), Some(0)));
        assert_eq!(row.raw("flow_kind"), "pipeline");
        assert_eq!(row.raw("namespace"), NAMESPACE);
        assert_eq!(row.raw("last_mutation_at_ms"), START);
        assert_eq!(bench.plain.rows("ff_completion_event").await, []);
        assert_eq!(bench.plain.rows("ff_operator_event").await, []);
    }

    async fn the_first_flow_of_an_id_wins(bench) {
        let flow = bench.flow(1).await;
        let satisfied = CreateFlowResult::AlreadySatisfied { flow_id: flow.id.clone() };
        let before = bench.everything().await;
        bench.clock.advance(10);
        let mut args = bench.flow_args(&flow.id);
        args.flow_kind = "other".into();
        args.namespace = Namespace::new("other");
        assert_eq!(bench.backend.create_flow(args.clone()).await.unwrap(), satisfied);
        assert_eq!(bench.everything().await, before);
        let cancelled = elsewhere();
        bench.insert_flow(&cancelled, home(&cancelled).index, "cancelled", json!({})).await;
        args.flow_id = cancelled.clone();
        let satisfied = CreateFlowResult::AlreadySatisfied { flow_id: cancelled };
        assert_eq!(bench.backend.create_flow(args).await.unwrap(), satisfied);
    }

    async fn a_flow_of_an_older_database_exists_already(bench) {
        let flow = elsewhere();
        bench.insert_flow(&flow, 0, "open", json!({ "flow_kind": "older" })).await;
        let before = bench.everything().await;
        let created = bench.backend.create_flow(bench.flow_args(&flow)).await.unwrap();
        assert_eq!(created, CreateFlowResult::AlreadySatisfied { flow_id: flow });
        assert_eq!(bench.everything().await, before);
    }

    async fn of_many_creations_one_counts(bench) {
        let id = FlowId::new();
        let creations: Vec<_> = (0..8)
            .map(|_| {
                let (bench, args) = (std::sync::Arc::clone(&bench), bench.flow_args(&id));
                tokio::spawn(async move { bench.backend.create_flow(args).await.unwrap() })
            })
            .collect();
        let mut created = 0;
        for creation in creations {
            let result = creation.await.unwrap();
            created += usize::from(matches!(result, CreateFlowResult::Created { .. }));
        }
        assert_eq!(created, 1);
    }

    async fn words_hold_no_nul(bench) {
        let before = bench.everything().await;
        let mut args = bench.flow_args(&FlowId::new());
        args.flow_kind = "a\0".into();
        let nul = "validation: InvalidInput: flow_kind: must not contain NUL (at byte 1)";
        assert_refused(bench.backend.create_flow(args.clone()).await, nul);
        args.flow_kind = String::new();
        args.namespace = Namespace::new("\0");
        let nul = "validation: InvalidInput: namespace: must not contain NUL (at byte 0)";
        assert_refused(bench.backend.create_flow(args.clone()).await, nul);
        assert_eq!(bench.everything().await, before);
        args.namespace = Namespace::new("'\"\\ü");
        bench.backend.create_flow(args.clone()).await.unwrap();
        let flow = bench.backend.describe_flow(&args.flow_id).await.unwrap().unwrap();
        assert_eq!((flow.flow_kind.as_str(), flow.namespace.as_str()), ("", "'\"\\ü"));
    }
}
