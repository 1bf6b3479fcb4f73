//! Waits for children, and the ends that are applied to the edges of such waits.

use ff_core::contracts::{AddExecutionToFlowArgs, ExplainExecutionArgs, ReplayExecutionArgs};
use ff_core::engine::run;
use ff_core::engine_backend::{EngineBackend, Scan};
use ff_core::plan::value::Value;
use ff_core::rules::flow::hop::{Ended, Hop};
use ff_core::rules::flow::key::FlowKey;
use ff_core::state::CompletionKind;
use ff_core::types::{EdgeId, ExecutionId};
use serde_json::json;

use super::fixtures::{capabilities, flow, lane, worker};
use super::flow_rows::{Child, DOWNSTREAM, EDGE, EVENT, FLOW, PARTITION, UPSTREAM};
use super::stage::{NOON, Scene, now};

impl Scene {
    pub(super) fn children(&mut self) {
        let Some((child, held)) = self.held(None) else { return };
        let Some((parent, handle)) = self.held(None) else { return };
        self.sample("wait_for_child", "of no flow", async |b| {
            b.wait_for_child(&handle, &child).await
        });
        self.sample("wait_for_child", "no longer held", async |b| {
            b.wait_for_child(&handle, &child).await
        });

        // The child ends, is replayed, and is waited for again.
        let _ = now(self.backend.complete(&held, None));
        let _ = now(self.backend.scan(Scan::DependencyDispatch, 100));
        let Some(Ok(Some(again))) = now(self.backend.claim(&lane(), &capabilities(), worker()))
        else {
            return;
        };
        let replay = ReplayExecutionArgs { execution_id: child.clone(), now: self.at() };
        let _ = now(self.backend.replay_execution(replay));
        self.sample("wait_for_child", "again", async |b| b.wait_for_child(&again, &child).await);

        // The flow is there, and so is a member of it.
        let Some((other, other_held)) = self.held(None) else { return };
        self.sample("wait_for_child", "of a flow", async |b| {
            b.wait_for_child(&other_held, &child).await
        });

        self.sample("explain_execution", "waits for a child", async |b| {
            let args = ExplainExecutionArgs::new(parent);
            b.explain_execution(args).await
        });
        let Some((_, last)) = self.held(None) else { return };
        self.sample("wait_for_child", "that waits itself", async |b| {
            b.wait_for_child(&last, &other).await
        });
        self.waits_behind_waits(&other);
    }

    /// Waits of an execution that two others of one flow wait for.
    fn waits_behind_waits(&mut self, blocked: &ExecutionId) {
        let claimed = |scene: &Self| {
            let (lane, capabilities) = (lane(), capabilities());
            let claim = now(scene.backend.claim(&lane, &capabilities, worker()));
            claim.and_then(Result::ok).flatten()
        };
        let Some((first, held)) = self.held(None) else { return };
        let Some((second, second_held)) = self.held(None) else { return };
        let _ = now(self.backend.wait_for_child(&second_held, &first));
        let _ = now(self.backend.complete(&held, None));
        let _ = now(self.backend.scan(Scan::DependencyDispatch, 100));
        let Some(second_held) = claimed(self) else { return };
        let Some((last, last_held)) = self.held(None) else { return };
        let _ = now(self.backend.wait_for_child(&second_held, &last));
        let replay = ReplayExecutionArgs { execution_id: first, now: self.at() };
        let _ = now(self.backend.replay_execution(replay));
        let Some(first_held) = claimed(self) else { return };
        let _ = now(self.backend.wait_for_child(&first_held, &last));

        self.sample("wait_for_child", "of one that waits for it", async |b| {
            b.wait_for_child(&last_held, &second).await
        });
        self.sample("wait_for_child", "that two wait for, of one that waits", async |b| {
            b.wait_for_child(&last_held, blocked).await
        });
        let Some((_, alone)) = self.held(None) else { return };
        self.sample("wait_for_child", "of no flow, of one that waits", async |b| {
            b.wait_for_child(&alone, blocked).await
        });
        self.sample("explain_execution", "waits for a child of another flow", async |b| {
            b.explain_execution(ExplainExecutionArgs::new(last)).await
        });
    }

    /// Dependencies that are applied in a flow in which a member waits for another one by itself.
    pub(super) fn dependencies_beside_waits(&mut self) {
        self.create_flow();
        let first = self.in_flow(&flow());
        self.submit(|args| args.execution_id = first.clone());
        let claimed = now(self.backend.claim(&lane(), &capabilities(), worker()));
        let Some(Ok(Some(handle))) = claimed else { return };
        let (flow_id, execution_id) = (flow(), first.clone());
        let adding = AddExecutionToFlowArgs { flow_id, execution_id, now: self.at() };
        let _ = now(self.backend.add_execution_to_flow(adding));
        let ids = self.members(2);
        let [second, third] = ids.as_slice() else { return };
        let _ = now(self.backend.release_flow(&flow(), self.at()));

        let closing = self.staged(1, &first, second);
        let _ = now(self.backend.wait_for_child(&handle, second));
        self.sample("apply_dependency_to_child", "would close a cycle with a wait", async |b| {
            b.apply_dependency_to_child(closing).await
        });
        let other = self.staged(2, &first, third);
        self.sample("apply_dependency_to_child", "in a flow with a wait", async |b| {
            b.apply_dependency_to_child(other).await
        });
    }

    /// The end of an execution that another one waits for by itself.
    pub(super) fn ends_of_children(&mut self) {
        for (child_case, child) in Child::ALL {
            for last in [false, true] {
                let told = if last { ", the last to be told" } else { "" };
                let case = format!("any end will do, child {child_case}{told}");
                self.in_own_database(|scene| scene.end_of_child(case, child, last));
            }
        }
    }

    fn end_of_child(&mut self, case: String, child: Child, last: bool) {
        let policy = json!({ "applied_at_ms": NOON, "satisfaction_condition": "ended" });
        self.insert(
            "ff_edge",
            vec![
                ("flow_id", Value::Uuid(FLOW)),
                ("edge_id", Value::Uuid(EDGE)),
                ("upstream_eid", Value::Uuid(UPSTREAM)),
                ("downstream_eid", Value::Uuid(DOWNSTREAM)),
                ("policy", Value::Json(policy)),
            ],
        );
        self.insert_child(child);

        let (outcome, event_id) = (CompletionKind::Failed, Some(EVENT));
        let end = Ended { upstream: UPSTREAM, outcome, event_id };
        let flow = FlowKey { partition: PARTITION, uuid: FLOW };
        let hop = Hop { flow, edge: EdgeId::from_uuid(EDGE), end, last, downstream: None };
        self.sample("cascade_completion", case.clone(), async |b| run(b, &hop).await);
        self.sample("cascade_completion", format!("{case}, again"), async |b| run(b, &hop).await);
    }
}
