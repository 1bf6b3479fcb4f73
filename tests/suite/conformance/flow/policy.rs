//! How many of its dependencies a member needs: fixed before the first of them is staged.

use ff_core::EngineError;
use ff_core::contracts::{EdgeDependencyPolicy, OnSatisfied, SetEdgeGroupPolicyResult};
use ff_core::types::FlowId;
use serde_json::json;

use crate::backends::{Bench, conformance};
use crate::bench::{assert_refused, id_in};
use crate::flow::Flow;

fn invalid(detail: &str) -> String {
    format!("validation: InvalidInput: {detail}")
}

async fn set(
    bench: &Bench,
    flow: &Flow,
    policy: EdgeDependencyPolicy,
) -> Result<SetEdgeGroupPolicyResult, EngineError> {
    bench.backend.set_edge_group_policy(&flow.id, &flow.members[0], policy).await
}

conformance! {
    async fn a_policy_is_stored_as_a_document(bench) {
        let flow = bench.flow(2).await;
        let (cancel, run) = (OnSatisfied::cancel_remaining, OnSatisfied::let_run);
        for (policy, document, target) in [
            (EdgeDependencyPolicy::all_of(), json!({ "kind": "all_of" }), 0),
            (
                EdgeDependencyPolicy::any_of(cancel()),
                json!({ "kind": "any_of", "on_satisfied": "cancel_remaining" }),
                1,
            ),
            (
                EdgeDependencyPolicy::quorum(3, run()),
                json!({ "kind": "quorum", "k": 3, "on_satisfied": "let_run" }),
                3,
            ),
        ] {
            let result = set(&bench, &flow, policy.clone()).await.unwrap();
            assert_eq!(result, SetEdgeGroupPolicyResult::Set);
            let group = bench.group(&flow.members[0]).await;
            assert_eq!(*group.json("policy"), document);
            assert_eq!(group.int("k_target"), Some(target));
            assert_eq!(bench.counts(&flow.members[0]).await, [0; 5]);
            let before = bench.everything().await;
            let result = set(&bench, &flow, policy).await.unwrap();
            assert_eq!(result, SetEdgeGroupPolicyResult::AlreadySet);
            assert_eq!(bench.everything().await, before);
        }
        assert_eq!(bench.revision(&flow.id).await, 2, "a policy is no part of the graph");
    }

    async fn the_first_staged_edge_fixes_it(bench) {
        let flow = bench.flow(2).await;
        let any = EdgeDependencyPolicy::any_of(OnSatisfied::let_run());
        set(&bench, &flow, any.clone()).await.unwrap();
        bench.stage(&flow, 1, 0).await;
        let before = bench.everything().await;
        let fixed = invalid("edge_group_policy_already_fixed: dependencies already staged");
        assert_refused(set(&bench, &flow, any).await, &fixed);
        assert_refused(set(&bench, &flow, EdgeDependencyPolicy::all_of()).await, &fixed);
        assert_eq!(bench.everything().await, before);
        // Edges from it are no edges into it.
        let upstream = &flow.members[1];
        let all = EdgeDependencyPolicy::all_of();
        bench.backend.set_edge_group_policy(&flow.id, upstream, all).await.unwrap();
    }

    async fn a_quorum_needs_at_least_one(bench) {
        let flow = bench.flow(1).await;
        let before = bench.everything().await;
        let quorum = |k| EdgeDependencyPolicy::quorum(k, OnSatisfied::let_run());
        assert_refused(set(&bench, &flow, quorum(0)).await, &invalid("quorum k must be >= 1"));
        let unknown = Flow { id: FlowId::new(), members: vec![id_in(0)] };
        assert_refused(set(&bench, &unknown, quorum(0)).await, &invalid("quorum k must be >= 1"));
        assert_refused(set(&bench, &unknown, quorum(1)).await, &invalid("flow_not_found"));
        assert!(set(&bench, &flow, quorum(u32::MAX)).await.is_err());
        let outside = id_in((flow.partition().index + 1) % 256);
        let set = bench.backend.set_edge_group_policy(&flow.id, &outside, quorum(1)).await;
        assert_refused(set, &invalid("execution_not_in_flow"));
        assert_eq!(bench.everything().await, before);
    }

    async fn a_policy_and_an_edge_at_once_leave_one_policy(bench) {
        for _ in 0..20 {
            let flow = bench.flow(2).await;
            let any = EdgeDependencyPolicy::any_of(OnSatisfied::let_run());
            let setting = {
                let (bench, flow) = (std::sync::Arc::clone(&bench), flow.clone());
                tokio::spawn(async move { set(&bench, &flow, any).await })
            };
            bench.connect(&flow, &[(1, 0)]).await;
            let result = setting.await.unwrap();
            let stored = bench.group(&flow.members[0]).await.json("policy")["kind"].clone();
            assert_eq!(stored == "any_of", result.is_ok(), "{stored} {result:?}");
        }
    }

    async fn an_unreadable_policy_means_the_default(bench) {
        let flow = bench.flow(1).await;
        let child = &flow.members[0];
        for (stored, meant) in [
            (json!({}), EdgeDependencyPolicy::all_of()),
            (json!({ "kind": "some_of" }), EdgeDependencyPolicy::all_of()),
            (json!({ "kind": "any_of" }), EdgeDependencyPolicy::any_of(OnSatisfied::cancel_remaining())),
            (
                json!({ "kind": "quorum", "k": -1, "on_satisfied": "let_run" }),
                EdgeDependencyPolicy::quorum(1, OnSatisfied::let_run()),
            ),
        ] {
            let flow = FlowId::new();
            bench.insert_flow(&flow, child.partition(), "open", json!({})).await;
            // Found where it hashes to, or on partition 0: this one is neither.
            if crate::flow::home(&flow).index != child.partition() {
                let other = crate::flow::home(&flow).index;
                bench.insert_flow(&flow, other, "open", json!({})).await;
            }
            let down = crate::flow::member_of(&flow);
            bench.insert_group(&flow, &down, stored.clone(), [0; 4]).await;
            let described = bench.backend.describe_flow(&flow).await.unwrap().unwrap();
            assert_eq!(described.edge_groups[0].policy, meant, "{stored}");
        }
    }
}
