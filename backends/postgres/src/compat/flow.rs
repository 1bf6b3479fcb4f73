//! Reads and changes of flows over a pool.

use ff_core::EngineError;
use ff_core::backend::{CancelFlowPolicy, CancelFlowWait};
use ff_core::contracts::{
    CancelFlowResult, EdgeDependencyPolicy, EdgeDirection, EdgeSnapshot, FlowSnapshot,
    ListFlowsPage, SetEdgeGroupPolicyResult,
};
use ff_core::engine_backend::EngineBackend;
use ff_core::partition::{PartitionConfig, PartitionKey};
use ff_core::types::{EdgeId, ExecutionId, FlowId};
use sqlx::postgres::PgPool;

use super::{engine, partitioned_engine};

/// A snapshot of a flow; `None` for an unknown one.
///
/// # Errors
/// As [`EngineBackend::describe_flow`].
pub async fn describe_flow(
    pool: &PgPool,
    partitions: &PartitionConfig,
    id: &FlowId,
) -> Result<Option<FlowSnapshot>, EngineError> {
    partitioned_engine(pool, partitions).await?.describe_flow(id).await
}

/// One page of the flows of a partition.
///
/// # Errors
/// As [`EngineBackend::list_flows`].
pub async fn list_flows(
    pool: &PgPool,
    partition: PartitionKey,
    cursor: Option<FlowId>,
    limit: usize,
) -> Result<ListFlowsPage, EngineError> {
    engine(pool).await?.list_flows(partition, cursor, limit).await
}

/// The edges into or out of an execution.
///
/// # Errors
/// As [`EngineBackend::list_edges`].
pub async fn list_edges(
    pool: &PgPool,
    partitions: &PartitionConfig,
    flow_id: &FlowId,
    direction: EdgeDirection,
) -> Result<Vec<EdgeSnapshot>, EngineError> {
    partitioned_engine(pool, partitions).await?.list_edges(flow_id, direction).await
}

/// One edge; `None` for an unknown one.
///
/// # Errors
/// As [`EngineBackend::describe_edge`].
pub async fn describe_edge(
    pool: &PgPool,
    partitions: &PartitionConfig,
    flow_id: &FlowId,
    edge_id: &EdgeId,
) -> Result<Option<EdgeSnapshot>, EngineError> {
    partitioned_engine(pool, partitions).await?.describe_edge(flow_id, edge_id).await
}

/// Cancels a flow and the members that the policy covers, in one plan, so there is nothing to wait
/// for.
///
/// # Errors
/// As [`EngineBackend::cancel_flow`].
pub async fn cancel_flow(
    pool: &PgPool,
    partitions: &PartitionConfig,
    id: &FlowId,
    policy: CancelFlowPolicy,
) -> Result<CancelFlowResult, EngineError> {
    let engine = partitioned_engine(pool, partitions).await?;
    engine.cancel_flow(id, policy, CancelFlowWait::NoWait).await
}

/// Sets the policy of all edges into an execution.
///
/// # Errors
/// As [`EngineBackend::set_edge_group_policy`].
pub async fn set_edge_group_policy(
    pool: &PgPool,
    partitions: &PartitionConfig,
    flow_id: &FlowId,
    downstream: &ExecutionId,
    policy: EdgeDependencyPolicy,
) -> Result<SetEdgeGroupPolicyResult, EngineError> {
    let engine = partitioned_engine(pool, partitions).await?;
    engine.set_edge_group_policy(flow_id, downstream, policy).await
}
