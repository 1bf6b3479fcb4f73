//! The situations in which a flow ends with its members, or goes on with another one.

use ff_core::contracts::{AddExecutionToFlowArgs, CancelExecutionArgs, ReplayExecutionArgs};
use ff_core::engine_backend::{EngineBackend, Scan};
use ff_core::plan::value::Value;
use ff_core::types::{CancelSource, ExecutionId, FlowId, TimestampMs};
use uuid::Uuid;

use super::fixtures::{capabilities, flow, lane, worker};
use super::stage::{NOON, Scene, now};

impl Scene {
    pub(super) fn flow_ends(&mut self) {
        let Some(first) = self.ended_flow() else { return };
        let replay = ReplayExecutionArgs { execution_id: first, now: self.at() };
        self.sample("replay_execution", "member of a flow that has ended", async |b| {
            b.replay_execution(replay).await
        });

        self.in_own_database(|scene| {
            let Some(_) = scene.ended_flow() else { return };
            let adding = scene.one_more();
            scene.sample("add_execution_to_flow", "that has ended", async |b| {
                b.add_execution_to_flow(adding).await
            });
        });
        self.in_own_database(|scene| {
            let Some(_) = scene.ended_flow() else { return };
            let adding = scene.one_more();
            scene.cancel_one(&adding.execution_id);
            scene.sample("add_execution_to_flow", "that has ended, as the member has", async |b| {
                b.add_execution_to_flow(adding).await
            });
        });
        self.in_own_database(|scene| {
            scene.create_flow();
            let adding = scene.one_more();
            scene.cancel_one(&adding.execution_id);
            scene.sample(
                "add_execution_to_flow",
                "that has no other, as it has ended",
                async |b| b.add_execution_to_flow(adding).await,
            );
        });
        self.in_own_database(|scene| {
            let Some(_) = scene.ended_flow() else { return };
            let id = scene.in_flow(&flow());
            let mut args = scene.args();
            args.execution_id = id;
            scene.sample("create_flow_members", "of one that has ended", async |b| {
                b.create_flow_members(&flow(), vec![args]).await
            });
        });
        self.in_own_database(Scene::replays_beside_an_end);
        self.in_own_database(|scene| scene.replay_after_its_parent(true));
        self.in_own_database(|scene| scene.replay_after_its_parent(false));
        self.in_own_database(Scene::flow_on_another_partition);
    }

    /// A child that its parent's end has skipped. Both are replayed, in a flow that has ended and
    /// in one that goes on.
    fn replays_beside_an_end(&mut self) {
        self.create_flow();
        let members = self.members(3);
        let [parent, child, other] = members.as_slice() else { return };

        self.depends(1, parent, child);
        let at = self.at();
        let _ = now(self.backend.release_flow(&flow(), at));

        self.cancel_one(parent);
        for goes_on in [true, false] {
            if !goes_on {
                self.cancel_one(other);
            }
            for _ in 0..3 {
                let _ = now(self.backend.scan(Scan::DependencyDispatch, 100));
            }

            for (of, id) in [("a skipped member", child), ("a member that failed", parent)] {
                let replay = ReplayExecutionArgs { execution_id: id.clone(), now: self.at() };
                let flow = if goes_on { "flow goes on" } else { "flow has ended" };
                self.sample("replay_execution", format!("{of}, the {flow}"), async |b| {
                    b.replay_execution(replay).await
                });
            }
            self.cancel_one(parent);
        }
    }

    /// A skipped child with a parent that was replayed and has succeeded since: the child may run
    /// at once.
    fn replay_after_its_parent(&mut self, goes_on: bool) {
        self.create_flow();
        let members = self.members(3);
        let [parent, child, other] = members.as_slice() else { return };

        self.depends(1, parent, child);
        let at = self.at();
        let _ = now(self.backend.release_flow(&flow(), at));
        self.cancel_one(parent);

        let dispatch = |scene: &Self| {
            for _ in 0..3 {
                let _ = now(scene.backend.scan(Scan::DependencyDispatch, 100));
            }
        };
        dispatch(self);

        let replay = |id: &ExecutionId, now| ReplayExecutionArgs { execution_id: id.clone(), now };
        let _ = now(self.backend.replay_execution(replay(parent, at)));

        if !goes_on {
            self.cancel_one(other);
        }

        let claimed = now(self.backend.claim_many(&lane(), &capabilities(), worker(), 3));
        for handle in claimed.and_then(Result::ok).unwrap_or_default() {
            let id = ff_core::handle_codec::decode(&handle.opaque);
            if id.is_ok_and(|decoded| decoded.payload.execution_id == *parent) {
                let _ = now(self.backend.complete(&handle, None));
            }
        }

        dispatch(self);
        let of = if goes_on { "flow goes on" } else { "flow has ended" };
        let child = replay(child, self.at());
        self.sample("replay_execution", format!("after its parent, the {of}"), async |b| {
            b.replay_execution(child).await
        });
    }

    /// Creates a flow with one member that has ended. Returns the member.
    fn ended_flow(&mut self) -> Option<ExecutionId> {
        self.create_flow();
        let members = self.members(1);
        let id = members.into_iter().next()?;

        let at = self.at();
        let _ = now(self.backend.release_flow(&flow(), at));

        self.cancel_one(&id);
        self.sample("scan", "the last end of a flow", async |b| {
            b.scan(Scan::DependencyDispatch, 100).await
        });
        Some(id)
    }

    pub(super) fn cancel_one(&self, id: &ExecutionId) {
        let cancel = CancelExecutionArgs {
            execution_id: id.clone(),
            reason: "enough".into(),
            source: CancelSource::OperatorOverride,
            lease_id: None,
            lease_epoch: None,
            attempt_id: None,
            now: self.at(),
        };
        let _ = now(self.backend.cancel_execution(cancel));
    }

    fn one_more(&mut self) -> AddExecutionToFlowArgs {
        let id = self.in_flow(&flow());
        let execution_id = id.clone();
        let _ = self.submit(|args| args.execution_id = id);
        AddExecutionToFlowArgs { flow_id: flow(), execution_id, now: TimestampMs(NOON) }
    }

    /// A flow on partition 0, in spite of its members' ids, as older databases keep them.
    fn flow_on_another_partition(&mut self) {
        let of = FlowId::from_uuid(Uuid::from_u128(0xF1F));
        let row = vec![
            ("partition_key", Value::Int(0)),
            ("flow_id", Value::Uuid(of.0)),
            ("public_flow_state", Value::Text("open".into())),
            ("created_at_ms", Value::Int(NOON)),
        ];
        let _ = self.memory.insert_row("ff_flow_core", row);

        let execution_id = ExecutionId::from_parts(9, Uuid::from_u128(9));
        let adding = AddExecutionToFlowArgs {
            flow_id: of.clone(),
            execution_id: execution_id.clone(),
            now: self.at(),
        };
        self.sample("add_execution_to_flow", "on another partition", async |b| {
            b.add_execution_to_flow(adding).await
        });

        let mut args = self.args();
        args.execution_id = execution_id.clone();
        self.sample("create_flow_members", "on another partition", async |b| {
            b.create_flow_members(&of, vec![args]).await
        });

        let mut edge = self.edge(1, &execution_id, &execution_id, 0);
        edge.upstream_execution_id = ExecutionId::from_parts(9, Uuid::from_u128(8));
        edge.flow_id = of.clone();
        let applying = Self::application(&edge);
        self.sample("stage_dependency_edge", "on another partition", async |b| {
            b.stage_dependency_edge(edge).await
        });
        self.sample("apply_dependency_to_child", "on another partition", async |b| {
            b.apply_dependency_to_child(applying).await
        });
    }
}
