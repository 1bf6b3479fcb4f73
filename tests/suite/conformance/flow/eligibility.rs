//! May an execution run, as far as its dependencies go? The graph as it is now answers.

use ff_core::contracts::{
    EdgeDependencyPolicy, EvaluateFlowEligibilityArgs, EvaluateFlowEligibilityResult, OnSatisfied,
};
use ff_core::plan::value::Value;
use ff_core::types::ExecutionId;
use serde_json::json;

use crate::backends::{Bench, conformance};
use crate::bench::{COMPLETED, WAITING, id};
use crate::flow::End;

async fn evaluate(bench: &Bench, id: &ExecutionId) -> String {
    let args = EvaluateFlowEligibilityArgs { execution_id: id.clone() };
    let result = bench.backend.evaluate_flow_eligibility(args).await.unwrap();
    let EvaluateFlowEligibilityResult::Status { status } = result;
    status
}

conformance! {
    async fn an_execution_alone(bench) {
        assert_eq!(evaluate(&bench, &id()).await, "not_found");
        assert_eq!(evaluate(&bench, &bench.create().await).await, "eligible");
        let (running, handle) = bench.leased_with(&|args| args.priority = 5).await;
        assert_eq!(evaluate(&bench, &running).await, "not_runnable");
        bench.backend.complete(&handle, None).await.unwrap();
        assert_eq!(evaluate(&bench, &running).await, "not_runnable");
        for (states, raw, expected) in [
            ("runnable leased eligible_now waiting pending_first_attempt -", json!({}), "owned"),
            (WAITING, json!({ "terminal_outcome": "success" }), "terminal"),
            (WAITING, json!({ "terminal_outcome": "none" }), "eligible"),
            (COMPLETED, json!({}), "not_runnable"),
        ] {
            let id = id();
            bench.insert_core(&id, states, vec![("raw_fields", Value::Json(raw))]).await;
            assert_eq!(evaluate(&bench, &id).await, expected, "{states}");
        }
    }

    async fn staged_edges_count_without_a_dispatch(bench) {
        for (end, expected) in
            [(End::Success, "eligible"), (End::Failed, "impossible"), (End::Cancelled, "impossible")]
        {
            let flow = bench.flow(2).await;
            let child = &flow.members[1];
            assert_eq!(evaluate(&bench, child).await, "eligible");
            bench.stage(&flow, 0, 1).await;
            assert_eq!(evaluate(&bench, child).await, "blocked_by_dependencies");
            let before = bench.everything().await;
            assert_eq!(evaluate(&bench, child).await, "blocked_by_dependencies");
            assert_eq!(bench.everything().await, before);
            bench.end(&flow.members[0], end).await;
            assert_eq!(evaluate(&bench, child).await, expected, "{end:?}");
        }
    }

    async fn the_policy_decides(bench) {
        let flow = bench.flow(4).await;
        bench.policy(&flow, 3, EdgeDependencyPolicy::quorum(2, OnSatisfied::let_run())).await;
        let child = &flow.members[3];
        for up in 0..3 {
            bench.stage(&flow, up, 3).await;
        }
        bench.end(&flow.members[0], End::Failed).await;
        assert_eq!(evaluate(&bench, child).await, "blocked_by_dependencies");
        bench.end(&flow.members[1], End::Success).await;
        assert_eq!(evaluate(&bench, child).await, "blocked_by_dependencies");
        bench.end(&flow.members[2], End::Success).await;
        assert_eq!(evaluate(&bench, child).await, "eligible");
        bench.replay(&flow.members[1]).await;
        assert_eq!(evaluate(&bench, child).await, "blocked_by_dependencies");
        bench.end(&flow.members[1], End::Failed).await;
        assert_eq!(evaluate(&bench, child).await, "impossible");
    }

    async fn what_was_replayed_may_run(bench) {
        let (id, handle) = bench.leased().await;
        bench.backend.complete(&handle, None).await.unwrap();
        bench.replay(&id).await;
        assert_eq!(evaluate(&bench, &id).await, "eligible");
    }

    async fn skipped_upstreams_are_lost(bench) {
        let flow = bench.flow(3).await;
        bench.connect(&flow, &[(0, 1)]).await;
        bench.stage(&flow, 1, 2).await;
        bench.end_and_dispatch(&flow.members[0], End::Failed).await;
        assert_eq!(evaluate(&bench, &flow.members[1]).await, "not_runnable");
        assert_eq!(evaluate(&bench, &flow.members[2]).await, "impossible");
    }

    async fn a_missing_upstream_has_not_ended(bench) {
        let flow = ff_core::types::FlowId::new();
        let (up, down) = (crate::flow::member_of(&flow), crate::flow::member_of(&flow));
        bench.insert_core(&down, WAITING, vec![("flow_id", Value::Uuid(flow.0))]).await;
        bench.insert_edge(&flow, &up, &down).await;
        assert_eq!(evaluate(&bench, &down).await, "blocked_by_dependencies");
        bench.insert_core(&up, COMPLETED, vec![("flow_id", Value::Uuid(flow.0))]).await;
        assert_eq!(evaluate(&bench, &down).await, "eligible");
    }
}
