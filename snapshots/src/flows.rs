//! The situations in which the operations on flows are sampled.

use ff_core::backend::{CancelFlowPolicy, CancelFlowWait};
use ff_core::contracts::{
    AddExecutionToFlowArgs, ApplyDependencyToChildArgs, BulkAction, BulkArgs, CancelFlowArgs,
    CreateFlowArgs, EdgeDependencyPolicy, EdgeDirection, EvaluateFlowEligibilityArgs, FlowCursor,
    FlowQuery, OnSatisfied, ReplayExecutionArgs, StageDependencyEdgeArgs,
};
use ff_core::engine::run;
use ff_core::engine_backend::{EngineBackend, Scan};
use ff_core::partition::{PartitionConfig, PartitionKey, flow_partition};
use ff_core::rules::flow::dispatch::EventById;
use ff_core::types::{EdgeId, ExecutionId, FlowId, Namespace, TimestampMs};
use uuid::Uuid;

use super::fixtures::{filtered, flow, partition};
use super::stage::{NOON, Scene, now};

/// The id of a flow that does not exist.
fn nowhere() -> FlowId {
    FlowId::from_uuid(Uuid::from_u128(0xF0F))
}

fn edge_id(number: u128) -> EdgeId {
    EdgeId::from_uuid(Uuid::from_u128(0xED00 + number))
}

impl Scene {
    pub(super) fn flow_args(&self, flow_id: FlowId) -> CreateFlowArgs {
        let (flow_kind, namespace) = ("release".into(), Namespace::new("billing"));
        CreateFlowArgs { flow_id, flow_kind, namespace, now: self.at() }
    }

    pub(super) fn in_flow(&mut self, flow: &FlowId) -> ExecutionId {
        let id = self.args().execution_id;
        ExecutionId::deterministic_for_flow(flow, &PartitionConfig::default(), id.uuid())
    }

    /// Creates members, outside the samples.
    pub(super) fn members(&mut self, number: usize) -> Vec<ExecutionId> {
        let flow = flow();
        let ids: Vec<ExecutionId> = (0..number).map(|_| self.in_flow(&flow)).collect();
        let batch = ids.iter().map(|id| {
            let mut args = self.args();
            args.execution_id = id.clone();
            args
        });

        let batch = batch.collect();
        let _ = now(self.backend.create_flow_members(&flow, batch));
        ids
    }

    pub(super) fn create_flow(&mut self) {
        let _ = now(self.backend.create_flow(self.flow_args(flow())));
    }

    pub(super) fn edge(
        &self,
        number: u128,
        upstream: &ExecutionId,
        downstream: &ExecutionId,
        revision: u64,
    ) -> StageDependencyEdgeArgs {
        StageDependencyEdgeArgs {
            flow_id: flow(),
            edge_id: edge_id(number),
            upstream_execution_id: upstream.clone(),
            downstream_execution_id: downstream.clone(),
            dependency_kind: "success_only".into(),
            data_passing_ref: None,
            expected_graph_revision: revision,
            now: self.at(),
        }
    }

    pub(super) fn application(edge: &StageDependencyEdgeArgs) -> ApplyDependencyToChildArgs {
        ApplyDependencyToChildArgs {
            flow_id: edge.flow_id.clone(),
            edge_id: edge.edge_id.clone(),
            downstream_execution_id: edge.downstream_execution_id.clone(),
            upstream_execution_id: edge.upstream_execution_id.clone(),
            graph_revision: edge.expected_graph_revision + 1,
            dependency_kind: edge.dependency_kind.clone(),
            data_passing_ref: None,
            now: edge.now,
        }
    }

    fn revision(&self) -> u64 {
        match now(self.backend.describe_flow(&flow())) {
            Some(Ok(Some(flow))) => flow.graph_revision,
            _ => 0,
        }
    }

    /// Stages and applies an edge, outside the samples.
    pub(super) fn depends(&self, number: u128, upstream: &ExecutionId, downstream: &ExecutionId) {
        let staged = self.staged(number, upstream, downstream);
        let _ = now(self.backend.apply_dependency_to_child(staged));
    }

    /// Stages an edge, outside the samples. Returns the arguments that apply it.
    pub(super) fn staged(
        &self,
        number: u128,
        upstream: &ExecutionId,
        downstream: &ExecutionId,
    ) -> ApplyDependencyToChildArgs {
        let edge = self.edge(number, upstream, downstream, self.revision());
        let _ = now(self.backend.stage_dependency_edge(edge.clone()));
        Self::application(&edge)
    }

    pub(super) fn flow_building(&mut self) {
        let args = self.flow_args(flow());
        let again = args.clone();
        self.sample("create_flow", "new", async |b| b.create_flow(args).await);
        self.sample("create_flow", "repeated", async |b| b.create_flow(again).await);

        let mut args = self.args();
        args.execution_id = self.in_flow(&flow());
        let (first, again) = (args.execution_id.clone(), args.clone());
        let new = vec![args];
        self.sample("create_flow_members", "new", async |b| {
            b.create_flow_members(&flow(), new).await
        });
        let again = vec![again];
        self.sample("create_flow_members", "repeated", async |b| {
            b.create_flow_members(&flow(), again).await
        });

        let alone = self.in_flow(&flow());
        self.submit(|args| args.execution_id = alone.clone());
        let adding = AddExecutionToFlowArgs {
            flow_id: flow(),
            execution_id: alone.clone(),
            now: TimestampMs(NOON),
        };
        self.sample("add_execution_to_flow", "new", async |b| {
            b.add_execution_to_flow(adding).await
        });

        let policy = EdgeDependencyPolicy::any_of(OnSatisfied::cancel_remaining());
        self.sample("set_edge_group_policy", "no edge yet", async |b| {
            b.set_edge_group_policy(&flow(), &alone, policy).await
        });

        let edge = self.edge(1, &first, &alone, 2);
        let mut again = edge.clone();
        again.expected_graph_revision = 3;
        let apply = Self::application(&edge);
        self.sample("stage_dependency_edge", "new", async |b| b.stage_dependency_edge(edge).await);
        self.sample("stage_dependency_edge", "there already", async |b| {
            b.stage_dependency_edge(again).await
        });

        let back = self.edge(2, &alone, &first, 3);
        self.sample("stage_dependency_edge", "would close a cycle", async |b| {
            b.stage_dependency_edge(back).await
        });

        self.sample("apply_dependency_to_child", "staged", async |b| {
            b.apply_dependency_to_child(apply).await
        });

        let at = self.at();
        self.sample("release_flow", "held back members", async |b| {
            b.release_flow(&flow(), at).await
        });

        self.sample("set_flow_tag", "known", async |b| {
            b.set_flow_tag(&flow(), "team.name", "release").await
        });
        self.sample("set_flow_tag", "unknown", async |b| {
            b.set_flow_tag(&nowhere(), "team.name", "release").await
        });
        self.elsewhere();
    }

    /// A flow of an older database, on another partition than its id says.
    fn elsewhere(&mut self) {
        use ff_core::plan::value::Value;
        let row = vec![
            ("partition_key", Value::Int(0)),
            ("flow_id", Value::Uuid(nowhere().0)),
            ("public_flow_state", Value::Text("open".into())),
            ("created_at_ms", Value::Int(NOON)),
        ];
        let _ = self.memory.insert_row("ff_flow_core", row);

        self.sample("set_flow_tag", "elsewhere", async |b| {
            b.set_flow_tag(&nowhere(), "team.name", "release").await
        });
    }

    pub(super) fn flow_that_forks(&mut self) {
        self.create_flow();
        let ids = self.members(4);
        let [first, left, right, last] = ids.as_slice() else { return };
        for (number, upstream, downstream) in [(1, first, left), (2, first, right), (3, left, last)]
        {
            self.depends(number, upstream, downstream);
        }

        let revision = self.revision();
        let back = self.edge(4, last, first, revision);
        self.sample("stage_dependency_edge", "would close a wide cycle", async |b| {
            b.stage_dependency_edge(back).await
        });
    }

    pub(super) fn flow_reads(&mut self) {
        self.create_flow();
        let ids = self.members(2);
        let [upstream, downstream] = ids.as_slice() else { return };
        self.depends(1, upstream, downstream);

        self.sample("describe_flow", "known", async |b| b.describe_flow(&flow()).await);
        self.sample("read_flow_graph", "known", async |b| b.read_flow_graph(&flow()).await);
        self.sample("get_flow_tag", "known", async |b| b.get_flow_tag(&flow(), "team.name").await);

        let from_node = upstream.clone();
        self.sample("list_edges", "outgoing", async |b| {
            b.list_edges(&flow(), EdgeDirection::Outgoing { from_node }).await
        });
        let to_node = downstream.clone();
        self.sample("list_edges", "incoming", async |b| {
            b.list_edges(&flow(), EdgeDirection::Incoming { to_node }).await
        });

        self.sample("describe_edge", "known", async |b| {
            b.describe_edge(&flow(), &edge_id(1)).await
        });

        let partition_of_flow = flow_partition(&flow(), &PartitionConfig::default());
        let key = || PartitionKey::from(&partition_of_flow);
        self.sample("list_flows", "first page", async |b| b.list_flows(key(), None, 10).await);
        self.sample("list_flows", "next page", async |b| {
            b.list_flows(key(), Some(flow()), 10).await
        });

        let at = Some(self.at());
        for (case, since, by) in [("", None, None), (", newer", at, None), (", within", at, at)] {
            let mut query = FlowQuery::new(10);
            (query.created_since, query.created_by) = (since, by);
            let mut next = query.clone();
            next.after = Some(FlowCursor { created_at: self.at(), flow_id: flow() });
            let (first, second) = (format!("newest{case}"), format!("next page{case}"));
            self.sample("list_flows_by", first, async |b| b.list_flows_by(query).await);
            self.sample("list_flows_by", second, async |b| b.list_flows_by(next).await);
        }

        let at = self.at();
        let _ = now(self.backend.release_flow(&flow(), at));
        let execution_id = downstream.clone();
        self.sample("evaluate_flow_eligibility", "waits for others", async |b| {
            b.evaluate_flow_eligibility(EvaluateFlowEligibilityArgs { execution_id }).await
        });

        self.sample("project_flow_summary", "known", async |b| {
            b.project_flow_summary(partition_of_flow, &flow(), at).await
        });
    }

    pub(super) fn flow_cancellation(&mut self) {
        self.create_flow();
        self.members(2);
        let wait = CancelFlowWait::NoWait;
        for (case, policy) in [
            ("the flow alone", CancelFlowPolicy::FlowOnly),
            ("members that have not begun", CancelFlowPolicy::CancelPending),
            ("all members", CancelFlowPolicy::CancelAll),
        ] {
            self.sample("cancel_flow", case, async |b| b.cancel_flow(&flow(), policy, wait).await);
        }
    }

    pub(super) fn flow_cancellation_headers(&mut self) {
        self.create_flow();
        let members = self.members(2);
        let args = CancelFlowArgs {
            flow_id: flow(),
            reason: "superseded".into(),
            cancellation_policy: "cancel_all".into(),
            now: self.at(),
        };

        let again = args.clone();
        self.sample("cancel_flow_header", "goes on", async |b| b.cancel_flow_header(args).await);
        self.sample("cancel_flow_header", "over already", async |b| {
            b.cancel_flow_header(again).await
        });

        for (case, member) in ["one of several", "the last"].into_iter().zip(members) {
            self.sample("ack_cancel_member", case, async |b| {
                b.ack_cancel_member(&flow(), &member).await
            });
        }
    }

    pub(super) fn bulk_actions(&mut self) {
        let id = self.submit(|_| ());
        for (case, query) in filtered(&id) {
            for (word, action) in [
                ("cancel", BulkAction::Cancel { reason: "superseded".into() }),
                ("replay", BulkAction::Replay),
                ("priority", BulkAction::Reprioritise { priority: 7 }),
            ] {
                let args = BulkArgs::new(action, query.clone(), self.at());
                self.sample("preview_bulk", format!("{word}: {case}"), async |b| {
                    b.preview_bulk(args).await
                });
            }
        }

        let every = ff_core::contracts::ExecutionQuery::new(10);
        for (case, action) in [
            ("priority", BulkAction::Reprioritise { priority: 7 }),
            ("cancel", BulkAction::Cancel { reason: "superseded".into() }),
            ("replay", BulkAction::Replay),
        ] {
            let args = BulkArgs::new(action, every.clone(), self.at());
            self.sample("run_bulk", case, async |b| b.run_bulk(args).await);
        }
    }

    pub(super) fn waits(&mut self) {
        let Some((_, handle)) = self.held(None) else { return };
        self.sample("wait_children", "for nothing", async |b| b.wait_children(&handle).await);
        self.sample("wait_children", "no longer held", async |b| b.wait_children(&handle).await);
        for case in ["for others", "for what has come", "in vain"] {
            let Some(handle) = self.waiting_worker(case) else { return };
            self.sample("wait_children", case, async |b| b.wait_children(&handle).await);
        }

        self.create_flow();
        let held_back = self.members(1);
        let Some(id) = held_back.first() else { return };
        let at = self.at();
        for case in ["held back", "claimable already"] {
            self.sample("unblock_execution", case, async |b| {
                b.unblock_execution(partition(id), &"default".into(), id, "", at).await
            });
        }

        let later = TimestampMs(NOON + 60_000);
        let put_off = self.in_flow(&flow());
        let mut args = self.args();
        args.execution_id = put_off.clone();
        args.delay_until = Some(later);
        let _ = now(self.backend.create_flow_members(&flow(), vec![args]));
        self.sample("unblock_execution", "put off", async |b| {
            b.unblock_execution(partition(&put_off), &"default".into(), &put_off, "", at).await
        });
    }

    pub(super) fn replays(&mut self) {
        let at = self.at();
        let args = |execution_id: &ExecutionId| ReplayExecutionArgs {
            execution_id: execution_id.clone(),
            now: at,
        };
        let Some((id, handle)) = self.held(None) else { return };
        let _ = now(self.backend.complete(&handle, None));
        self.sample("replay_execution", "completed", async |b| b.replay_execution(args(&id)).await);

        for (case, row) in self.ended_members() {
            self.sample("replay_execution", case, async |b| b.replay_execution(args(&row)).await);
        }
        self.in_own_database(Scene::replays_in_a_cancelled_flow);
    }

    /// A member that waited for nothing, one that waits, and one that was skipped.
    fn replays_in_a_cancelled_flow(&mut self) {
        self.create_flow();
        let ids = self.members(3);
        let [parent, child, other] = ids.as_slice() else { return };
        self.depends(1, parent, child);
        let at = self.at();
        let _ = now(self.backend.release_flow(&flow(), at));
        self.cancel_one(parent);
        for _ in 0..3 {
            let _ = now(self.backend.scan(Scan::DependencyDispatch, 100));
        }

        let cancel = CancelFlowArgs {
            flow_id: flow(),
            reason: "too late".into(),
            cancellation_policy: "cancel_all".into(),
            now: at,
        };
        let _ = now(self.backend.cancel_flow_header(cancel));
        for (case, id) in [("waits for nothing", other), ("was skipped", child)] {
            let args = ReplayExecutionArgs { execution_id: id.clone(), now: at };
            let case = format!("a member of a cancelled flow that {case}");
            self.sample("replay_execution", case, async |b| b.replay_execution(args).await);
        }
        self.cancel_one(child);
        let args = ReplayExecutionArgs { execution_id: child.clone(), now: at };
        self.sample("replay_execution", "a member of a cancelled flow that waits", async |b| {
            b.replay_execution(args).await
        });
    }

    pub(super) fn dispatched_ends(&mut self) {
        self.create_flow();
        let ids = self.members(4);
        let [first, second, third, fourth] = ids.as_slice() else { return };
        self.depends(1, first, second);
        self.depends(2, second, third);
        self.depends(3, first, fourth);

        let at = self.at();
        let _ = now(self.backend.release_flow(&flow(), at));
        let _ = now(self.backend.cancel_execution(ff_core::contracts::CancelExecutionArgs {
            execution_id: first.clone(),
            reason: "not needed".into(),
            source: ff_core::types::CancelSource::OperatorOverride,
            lease_id: None,
            lease_epoch: None,
            attempt_id: None,
            now: at,
        }));

        let payload =
            ff_core::backend::CompletionPayload::new(first.clone(), "cancelled", None, at);
        self.sample("cascade_completion", "two wait", async |b| {
            b.cascade_completion(&payload).await
        });

        let numbered = EventById { event_id: 1 };
        self.sample("cascade_completion", "by number", async |b| run(b, &numbered).await);
        for _ in 0..3 {
            self.sample("scan", "dependency dispatch", async |b| {
                b.scan(Scan::DependencyDispatch, 100).await
            });
        }
    }
}
