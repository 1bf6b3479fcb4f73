//! The flow of the load `flow`: one execution, then two, then one.

use ff_core::contracts::{
    ApplyDependencyToChildArgs, CreateExecutionArgs, CreateFlowArgs, StageDependencyEdgeArgs,
};
use ff_core::partition::PartitionConfig;
use ff_core::types::{EdgeId, ExecutionId, FlowId, LaneId, Namespace, TimestampMs};

use crate::submission::submission_of;

/// A flow of four executions: the first, two that depend on it, and one that depends on both.
#[derive(Clone, Debug)]
pub struct Diamond {
    /// The flow.
    pub flow: CreateFlowArgs,
    /// Its members.
    pub members: [CreateExecutionArgs; 4],
}

/// A dependency between two members.
#[derive(Clone, Debug)]
pub struct Dependency {
    /// The new edge.
    pub staged: StageDependencyEdgeArgs,
    /// The edge that takes effect.
    pub applied: ApplyDependencyToChildArgs,
}

impl Diamond {
    /// A new flow whose members run in that lane.
    #[must_use]
    pub fn fresh(lane: &LaneId, payload: &[u8]) -> Self {
        let (flow_id, now) = (FlowId::new(), TimestampMs::now());
        let partitions = PartitionConfig::default();
        let member = |_| submission_of(ExecutionId::for_flow(&flow_id, &partitions), lane, payload);

        let members = std::array::from_fn(member);
        let (flow_kind, namespace) = ("bench".into(), Namespace::new("bench"));
        Self { flow: CreateFlowArgs { flow_id, flow_kind, namespace, now }, members }
    }

    /// Its dependencies, for a graph that has this revision now.
    #[must_use]
    pub fn dependencies(&self, revision: u64) -> Vec<Dependency> {
        let [first, left, right, last] = &self.members;
        let edges = [(first, left), (first, right), (left, last), (right, last)];

        let dependency =
            |(revision, (upstream, downstream))| self.dependency(upstream, downstream, revision);
        (revision..).zip(edges).map(dependency).collect()
    }

    fn dependency(
        &self,
        upstream: &CreateExecutionArgs,
        downstream: &CreateExecutionArgs,
        revision: u64,
    ) -> Dependency {
        let staged = StageDependencyEdgeArgs {
            flow_id: self.flow.flow_id.clone(),
            edge_id: EdgeId::new(),
            upstream_execution_id: upstream.execution_id.clone(),
            downstream_execution_id: downstream.execution_id.clone(),
            dependency_kind: "success_only".into(),
            data_passing_ref: None,
            expected_graph_revision: revision,
            now: TimestampMs::now(),
        };
        let applied = ApplyDependencyToChildArgs {
            flow_id: staged.flow_id.clone(),
            edge_id: staged.edge_id.clone(),
            downstream_execution_id: staged.downstream_execution_id.clone(),
            upstream_execution_id: staged.upstream_execution_id.clone(),
            graph_revision: revision + 1,
            dependency_kind: staged.dependency_kind.clone(),
            data_passing_ref: None,
            now: staged.now,
        };
        Dependency { staged, applied }
    }
}
