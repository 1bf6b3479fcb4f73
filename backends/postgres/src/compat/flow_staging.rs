//! Functions that build a flow over a pool, step by step.

use ff_core::EngineError;
use ff_core::contracts::{
    AddExecutionToFlowArgs, AddExecutionToFlowResult, ApplyDependencyToChildArgs,
    ApplyDependencyToChildResult, CreateFlowArgs, CreateFlowResult, StageDependencyEdgeArgs,
    StageDependencyEdgeResult,
};
use ff_core::partition::PartitionConfig;
use sqlx::postgres::PgPool;

use super::partitioned_engine;

macro_rules! over_a_pool {
    ($($(#[$doc:meta])+ $name:ident: $args:ty => $result:ty),+ $(,)?) => {$(
        $(#[$doc])+
        pub async fn $name(
            pool: &PgPool,
            partitions: &PartitionConfig,
            args: &$args,
        ) -> Result<$result, EngineError> {
            partitioned_engine(pool, partitions).await?.$name(args).await
        }
    )+};
}

over_a_pool! {
    /// Creates a flow.
    ///
    /// # Errors
    /// As the operation of the same name.
    create_flow: CreateFlowArgs => CreateFlowResult,
    /// Makes an execution a member of a flow.
    ///
    /// # Errors
    /// As the operation of the same name.
    add_execution_to_flow: AddExecutionToFlowArgs => AddExecutionToFlowResult,
    /// Stages an edge between two members.
    ///
    /// # Errors
    /// As the operation of the same name.
    stage_dependency_edge: StageDependencyEdgeArgs => StageDependencyEdgeResult,
    /// Applies a staged edge to its downstream execution.
    ///
    /// # Errors
    /// As the operation of the same name.
    apply_dependency_to_child: ApplyDependencyToChildArgs => ApplyDependencyToChildResult,
}
