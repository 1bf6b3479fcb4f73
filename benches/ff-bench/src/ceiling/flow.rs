//! Flows by hand. Their edges take effect before a member is released, and each member ends well.

use ff_core::contracts::{CreateFlowArgs, StageDependencyEdgeArgs};
use ff_core::partition::{PartitionConfig, flow_partition};
use ff_core::types::{FlowId, TimestampMs};
use serde_json::json;
use uuid::Uuid;

use super::{ByHand, NewExecution};
use crate::error::BenchError;

/// A flow to insert.
#[derive(Clone, Debug)]
pub struct NewFlow {
    pub(crate) partition: i16,
    pub(crate) id: Uuid,
    pub(crate) raw_fields: String,
    pub(crate) now_ms: i64,
}

impl NewFlow {
    /// The flow that the engine would create of these arguments.
    #[must_use]
    pub fn of(args: &CreateFlowArgs) -> Self {
        let raw_fields = json!({
            "flow_kind": args.flow_kind,
            "namespace": args.namespace.as_str(),
            "last_mutation_at_ms": args.now.0,
        });
        Self {
            partition: partition_of(&args.flow_id),
            id: args.flow_id.0,
            raw_fields: raw_fields.to_string(),
            now_ms: args.now.0,
        }
    }
}

/// An edge to insert.
#[derive(Clone, Debug)]
pub struct NewEdge {
    pub(crate) partition: i16,
    pub(crate) flow: Uuid,
    pub(crate) id: Uuid,
    pub(crate) upstream: Uuid,
    pub(crate) downstream: Uuid,
    pub(crate) policy: String,
    /// The revision of the graph that the caller has seen.
    pub(crate) revision: i64,
    pub(crate) now_ms: i64,
}

impl NewEdge {
    /// The edge that the engine would stage of these arguments.
    #[must_use]
    pub fn of(args: &StageDependencyEdgeArgs) -> Self {
        let now_ms = args.now.0;
        let policy = json!({
            "dependency_kind": args.dependency_kind,
            "satisfaction_condition": "all_required",
            "data_passing_ref": args.data_passing_ref.as_deref().unwrap_or_default(),
            "edge_state": "pending",
            "created_at_ms": now_ms,
            "created_by": "engine",
            "staged_at_ms": now_ms,
            "applied_at_ms": null,
        });
        Self {
            partition: partition_of(&args.flow_id),
            flow: args.flow_id.0,
            id: args.edge_id.0,
            upstream: args.upstream_execution_id.uuid(),
            downstream: args.downstream_execution_id.uuid(),
            policy: policy.to_string(),
            revision: i64::try_from(args.expected_graph_revision).unwrap_or(i64::MAX),
            now_ms,
        }
    }
}

fn partition_of(flow: &FlowId) -> i16 {
    let partition = flow_partition(flow, &PartitionConfig::default());
    i16::try_from(partition.index).unwrap_or(i16::MAX)
}

/// The steps of a flow, by hand. Each call commits.
pub trait FlowByHand: ByHand {
    /// Inserts a flow.
    ///
    /// # Errors
    /// Those of the database.
    fn create_flow(
        &mut self,
        flow: &NewFlow,
    ) -> impl Future<Output = Result<(), BenchError>> + Send;

    /// Inserts executions into an open flow, held back until it is released. Returns the revision
    /// of its graph.
    ///
    /// # Errors
    /// Those of the database.
    fn create_members(
        &mut self,
        flow: &NewFlow,
        members: &[NewExecution],
    ) -> impl Future<Output = Result<u64, BenchError>> + Send;

    /// Inserts an edge. Returns false if the flow is over, or its graph is not the one that the
    /// caller has seen.
    ///
    /// # Errors
    /// Those of the database.
    fn stage(&mut self, edge: &NewEdge) -> impl Future<Output = Result<bool, BenchError>> + Send;

    /// Lets a staged edge take effect. Returns false if it has, its upstream has ended, or its
    /// downstream no longer waits.
    ///
    /// # Errors
    /// Those of the database.
    fn apply(&mut self, edge: &NewEdge) -> impl Future<Output = Result<bool, BenchError>> + Send;

    /// Releases the members that wait for nothing else. Returns their number.
    ///
    /// # Errors
    /// Those of the database.
    fn release(
        &mut self,
        flow: &NewFlow,
        now: TimestampMs,
    ) -> impl Future<Output = Result<u64, BenchError>> + Send;

    /// Applies up to `limit` good ends of members to their edges, oldest first. Returns their
    /// number. A flow ends with its last member.
    ///
    /// # Errors
    /// Those of the database.
    fn dispatch(
        &mut self,
        limit: u32,
        now: TimestampMs,
    ) -> impl Future<Output = Result<u64, BenchError>> + Send;
}
