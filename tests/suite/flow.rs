//! The helpers of cases about flows: build one, connect its members, end a member, dispatch.

mod sound;

use std::sync::Arc;

use ff_core::EngineError;
use ff_core::backend::{CapabilitySet, FailureClass, FailureReason, Handle};
use ff_core::contracts::{
    AddExecutionToFlowArgs, AddExecutionToFlowResult, ApplyDependencyToChildArgs,
    ApplyDependencyToChildResult, CancelExecutionArgs, CreateExecutionArgs, CreateFlowArgs,
    EdgeDependencyPolicy, ReplayExecutionArgs, ReplayExecutionResult, StageDependencyEdgeArgs,
    StageDependencyEdgeResult,
};
use ff_core::engine_backend::Scan;
use ff_core::partition::{Partition, PartitionConfig, PartitionFamily, flow_partition};
use ff_core::plan::value::Value;
use ff_core::types::{CancelSource, EdgeId, ExecutionId, FlowId, LaneId, Namespace};
use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::backends::Bench;
use crate::bench::{NAMESPACE, worker};
use crate::plain::{Cells, Given, int, text};

pub(crate) use sound::assert_flows_sound;

/// A flow on the partition that its id hashes to, and its members.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    pub(crate) id: FlowId,
    pub(crate) members: Vec<ExecutionId>,
}

/// The end of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Success,
    Failed,
    Cancelled,
}

/// The partition of a flow.
pub(crate) fn home(flow: &FlowId) -> Partition {
    flow_partition(flow, &PartitionConfig::default())
}

/// A fresh id of a member.
pub(crate) fn member_of(flow: &FlowId) -> ExecutionId {
    ExecutionId::for_flow(flow, &PartitionConfig::default())
}

/// A flow that hashes elsewhere than to partition 0.
pub(crate) fn elsewhere() -> FlowId {
    let mut ids = std::iter::repeat_with(FlowId::new);
    ids.find(|flow| home(flow).index != 0).unwrap()
}

/// Members are claimed one by one: each has a lane of its own.
pub(crate) fn lane_of(id: &ExecutionId) -> LaneId {
    LaneId::new(id.uuid().to_string())
}

impl Flow {
    pub(crate) fn edge(&self, up: usize, down: usize) -> StageDependencyEdgeArgs {
        StageDependencyEdgeArgs {
            flow_id: self.id.clone(),
            edge_id: EdgeId::from_uuid(Uuid::new_v4()),
            upstream_execution_id: self.members[up].clone(),
            downstream_execution_id: self.members[down].clone(),
            dependency_kind: "success_only".into(),
            data_passing_ref: None,
            expected_graph_revision: 0,
            now: ff_core::types::TimestampMs(crate::backends::START),
        }
    }

    pub(crate) fn partition(&self) -> Partition {
        home(&self.id)
    }
}

/// The arguments that apply what was staged.
pub(crate) fn applying(edge: &StageDependencyEdgeArgs) -> ApplyDependencyToChildArgs {
    ApplyDependencyToChildArgs {
        flow_id: edge.flow_id.clone(),
        edge_id: edge.edge_id.clone(),
        downstream_execution_id: edge.downstream_execution_id.clone(),
        upstream_execution_id: edge.upstream_execution_id.clone(),
        graph_revision: edge.expected_graph_revision + 1,
        dependency_kind: edge.dependency_kind.clone(),
        data_passing_ref: edge.data_passing_ref.clone(),
        now: edge.now,
    }
}

impl Bench {
    /// An open flow without members.
    pub(crate) async fn empty_flow(&self) -> Flow {
        let id = FlowId::new();
        self.backend.create_flow(self.flow_args(&id)).await.unwrap();
        Flow { id, members: Vec::new() }
    }

    /// A flow whose members may be claimed.
    pub(crate) async fn flow(&self, members: usize) -> Flow {
        let mut flow = self.empty_flow().await;
        for _ in 0..members {
            self.join(&mut flow).await;
        }
        flow
    }

    /// A flow whose members are blocked until it is released.
    pub(crate) async fn held_flow(&self, members: usize) -> Flow {
        let mut flow = self.empty_flow().await;
        flow.members = (0..members).map(|_| member_of(&flow.id)).collect();
        let batch = flow.members.iter().map(|id| self.member_args(id)).collect();
        for result in self.backend.create_flow_members(&flow.id, batch).await {
            result.unwrap();
        }
        flow
    }

    /// Creates an execution and adds it to the flow.
    pub(crate) async fn join(&self, flow: &mut Flow) -> ExecutionId {
        let id = member_of(&flow.id);
        self.backend.create_execution(self.member_args(&id)).await.unwrap();
        self.add(flow, &id).await.unwrap();
        flow.members.push(id.clone());
        id
    }

    /// Adds an execution that has ended before.
    pub(crate) async fn join_ended(&self, flow: &mut Flow, end: End) {
        let id = member_of(&flow.id);
        self.backend.create_execution(self.member_args(&id)).await.unwrap();
        self.end(&id, end).await;
        self.add(flow, &id).await.unwrap();
        flow.members.push(id);
    }

    pub(crate) async fn add(
        &self,
        flow: &Flow,
        id: &ExecutionId,
    ) -> Result<AddExecutionToFlowResult, EngineError> {
        let (flow_id, execution_id) = (flow.id.clone(), id.clone());
        let args = AddExecutionToFlowArgs { flow_id, execution_id, now: self.clock.now() };
        self.backend.add_execution_to_flow(args).await
    }

    pub(crate) fn flow_args(&self, id: &FlowId) -> CreateFlowArgs {
        CreateFlowArgs {
            flow_id: id.clone(),
            flow_kind: "pipeline".into(),
            namespace: Namespace::new(NAMESPACE),
            now: self.clock.now(),
        }
    }

    pub(crate) fn member_args(&self, id: &ExecutionId) -> CreateExecutionArgs {
        CreateExecutionArgs { lane_id: lane_of(id), ..self.args(id) }
    }

    /// The flow's row.
    pub(crate) async fn flow_row(&self, flow: &FlowId) -> Cells {
        let mut rows = self.plain.rows_with("ff_flow_core", "flow_id", flow.0).await;
        assert_eq!(rows.len(), 1, "rows of {flow}");
        rows.remove(0)
    }

    pub(crate) async fn revision(&self, flow: &FlowId) -> u64 {
        self.flow_row(flow).await.int("graph_revision").unwrap().unsigned_abs()
    }

    /// Stages an edge at the flow's revision.
    pub(crate) async fn stage(
        &self,
        flow: &Flow,
        up: usize,
        down: usize,
    ) -> StageDependencyEdgeArgs {
        let mut args = flow.edge(up, down);
        args.expected_graph_revision = self.revision(&flow.id).await;
        args.now = self.clock.now();
        let staged = self.backend.stage_dependency_edge(args.clone()).await.unwrap();
        let new_graph_revision = args.expected_graph_revision + 1;
        let edge_id = args.edge_id.clone();
        assert_eq!(staged, StageDependencyEdgeResult::Staged { edge_id, new_graph_revision });
        args
    }

    /// Makes an edge take effect; how many dependencies its downstream then still waits for.
    pub(crate) async fn apply(&self, edge: &StageDependencyEdgeArgs) -> u32 {
        match self.backend.apply_dependency_to_child(applying(edge)).await.unwrap() {
            ApplyDependencyToChildResult::Applied { unsatisfied_count } => unsatisfied_count,
            ApplyDependencyToChildResult::AlreadyApplied => panic!("{edge:?} was applied before"),
        }
    }

    /// Stages edges and then applies them.
    pub(crate) async fn connect(&self, flow: &Flow, edges: &[(usize, usize)]) -> Vec<EdgeId> {
        let mut staged = Vec::new();
        for (up, down) in edges {
            staged.push(self.stage(flow, *up, *down).await);
        }
        for edge in &staged {
            self.apply(edge).await;
        }
        staged.into_iter().map(|edge| edge.edge_id).collect()
    }

    /// Fixes how many of its dependencies a member needs.
    pub(crate) async fn policy(&self, flow: &Flow, down: usize, policy: EdgeDependencyPolicy) {
        let down = &flow.members[down];
        self.backend.set_edge_group_policy(&flow.id, down, policy).await.unwrap();
    }

    /// `upstreams` members and one that waits for all of them, by that policy.
    pub(crate) async fn fan_in(&self, upstreams: usize, policy: EdgeDependencyPolicy) -> Flow {
        let flow = self.flow(upstreams + 1).await;
        self.policy(&flow, upstreams, policy).await;
        let edges: Vec<_> = (0..upstreams).map(|up| (up, upstreams)).collect();
        self.connect(&flow, &edges).await;
        flow
    }

    /// Claims this member, if it may be claimed.
    pub(crate) async fn try_take(&self, id: &ExecutionId) -> Option<Handle> {
        let none = CapabilitySet::default();
        self.backend.claim(&lane_of(id), &none, worker("w")).await.unwrap()
    }

    pub(crate) async fn take(&self, id: &ExecutionId) -> Handle {
        self.try_take(id).await.unwrap_or_else(|| panic!("{id} can be claimed"))
    }

    pub(crate) async fn fail(&self, handle: &Handle) {
        let reason = FailureReason::new("broken");
        self.backend.fail(handle, reason, FailureClass::Permanent).await.unwrap();
    }

    pub(crate) async fn cancel_one(&self, id: &ExecutionId) {
        let args = CancelExecutionArgs {
            execution_id: id.clone(),
            reason: "enough".into(),
            source: CancelSource::OperatorOverride,
            lease_id: None,
            lease_epoch: None,
            attempt_id: None,
            now: self.clock.now(),
        };
        self.backend.cancel_execution(args).await.unwrap();
    }

    /// Ends a member, without a dispatch.
    pub(crate) async fn end(&self, id: &ExecutionId, end: End) {
        match end {
            End::Success => {
                let handle = self.take(id).await;
                self.backend.complete(&handle, None).await.unwrap();
            }
            End::Failed => self.fail(&self.take(id).await).await,
            End::Cancelled => self.cancel_one(id).await,
        }
    }

    /// Ends a member and dispatches its end.
    pub(crate) async fn end_and_dispatch(&self, id: &ExecutionId, end: End) {
        self.end(id, end).await;
        self.settle().await;
    }

    pub(crate) async fn replay(&self, id: &ExecutionId) -> ReplayExecutionResult {
        let args = ReplayExecutionArgs { execution_id: id.clone(), now: self.clock.now() };
        self.backend.replay_execution(args).await.unwrap()
    }

    /// Dispatches and cancels until nothing is left to do.
    pub(crate) async fn settle(&self) {
        loop {
            let mut moved = 0;
            for scan in [Scan::DependencyDispatch, Scan::SiblingCancel] {
                let counts = self.backend.scan(scan, 1_000).await.unwrap();
                assert_eq!(counts.errors, 0, "{scan:?}");
                moved += counts.processed;
            }
            if moved == 0 {
                return;
            }
        }
    }

    pub(crate) async fn public(&self, id: &ExecutionId) -> String {
        self.core(id).await.text("public_state").to_owned()
    }

    /// The group of what that execution waits for.
    pub(crate) async fn group(&self, id: &ExecutionId) -> Cells {
        let mut rows = self.plain.rows("ff_edge_group").await;
        rows.retain(|row| row.uuid("downstream_eid") == Some(id.uuid()));
        assert_eq!(rows.len(), 1, "groups of {id}");
        rows.remove(0)
    }

    /// Success, fail, skip, running and dependencies of a group.
    pub(crate) async fn counts(&self, id: &ExecutionId) -> [i64; 5] {
        let group = self.group(id).await;
        counts(&group)
    }

    /// The number of completion events that are not dispatched.
    pub(crate) async fn undispatched(&self) -> usize {
        let rows = self.plain.rows("ff_completion_event").await;
        rows.iter().filter(|row| row.int("dispatched_at_ms").is_none()).count()
    }

    /// Inserts a flow by hand, naming only columns that the reference schema has.
    pub(crate) async fn insert_flow(&self, flow: &FlowId, partition: u16, state: &str, raw: Json) {
        let cells = vec![
            ("partition_key", int(i64::from(partition))),
            ("flow_id", Value::Uuid(flow.0)),
            ("graph_revision", int(0)),
            ("public_flow_state", text(state)),
            ("created_at_ms", int(self.clock.now().0)),
            ("raw_fields", Value::Json(raw)),
        ];
        self.plain.insert("ff_flow_core", cells).await;
    }

    /// Inserts an applied edge by hand, and names it.
    pub(crate) async fn insert_edge(
        &self,
        flow: &FlowId,
        up: &ExecutionId,
        down: &ExecutionId,
    ) -> EdgeId {
        let edge = Uuid::new_v4();
        let at = self.clock.now().0;
        let policy = json!({
            "dependency_kind": "success_only",
            "satisfaction_condition": "all_required",
            "data_passing_ref": "",
            "edge_state": "applied",
            "created_at_ms": at,
            "created_by": "engine",
            "staged_at_ms": at,
            "applied_at_ms": at,
        });
        let cells = vec![
            ("partition_key", int(i64::from(up.partition()))),
            ("flow_id", Value::Uuid(flow.0)),
            ("edge_id", Value::Uuid(edge)),
            ("upstream_eid", Value::Uuid(up.uuid())),
            ("downstream_eid", Value::Uuid(down.uuid())),
            ("policy", Value::Json(policy)),
            ("policy_version", int(0)),
        ];
        self.plain.insert("ff_edge", cells).await;
        EdgeId::from_uuid(edge)
    }

    /// Inserts a group by hand: success, fail, skip and running.
    pub(crate) async fn insert_group(
        &self,
        flow: &FlowId,
        down: &ExecutionId,
        policy: Json,
        counts: [i64; 4],
    ) {
        let [success, fail, skip, running] = counts;
        let cells = vec![
            ("partition_key", int(i64::from(down.partition()))),
            ("flow_id", Value::Uuid(flow.0)),
            ("downstream_eid", Value::Uuid(down.uuid())),
            ("policy", Value::Json(policy)),
            ("success_count", int(success)),
            ("fail_count", int(fail)),
            ("skip_count", int(skip)),
            ("running_count", int(running)),
        ];
        self.plain.insert("ff_edge_group", cells).await;
    }

    /// Changes an execution's row by hand.
    pub(crate) async fn set_core(&self, id: &ExecutionId, cells: Given<'_>) {
        let key = vec![
            ("partition_key", int(i64::from(id.partition()))),
            ("execution_id", Value::Uuid(id.uuid())),
        ];
        self.plain.set("ff_exec_core", key, cells).await;
    }
}

/// The partition of an execution as a flow's.
pub(crate) fn at(index: u16) -> Partition {
    Partition { family: PartitionFamily::Flow, index }
}

/// Runs as many scans at once as asked for, until nothing is left.
pub(crate) async fn settle_together(bench: &Arc<Bench>, scanners: usize) {
    let scanners: Vec<_> = (0..scanners)
        .map(|_| {
            let bench = Arc::clone(bench);
            tokio::spawn(async move {
                for _ in 0..3 {
                    bench.backend.scan(Scan::DependencyDispatch, 100).await.unwrap();
                }
            })
        })
        .collect();
    for scanner in scanners {
        scanner.await.unwrap();
    }
    bench.settle().await;
}

/// Success, fail, skip, running and dependencies of a group.
fn counts(group: &Cells) -> [i64; 5] {
    ["success_count", "fail_count", "skip_count", "running_count", "dependency_count"]
        .map(|column| group.int(column).unwrap())
}
