//! The public names that callers of the reference's Postgres backend know, as thin wrappers.
//!
//! Nothing is decided here: every function opens the engine over the caller's pool and runs the
//! shared operation. New code holds one [`PostgresBackend`] instead and calls [`EngineBackend`] on
//! it, because each free function first reads the database's clock, which takes three more round
//! trips.

pub mod claim_grant;
pub mod dispatch;
pub mod flow;
pub mod flow_staging;
pub mod pool;
pub mod reconcilers;
pub mod scanner_supervisor;
pub mod scheduler;
pub mod signal;
pub mod stream;
pub mod suspend;
pub mod version;

use std::sync::Arc;

use ff_core::EngineError;
use ff_core::contracts::{
    AddExecutionToFlowArgs, AddExecutionToFlowResult, ApplyDependencyToChildArgs,
    ApplyDependencyToChildResult, CreateExecutionArgs, CreateExecutionResult, CreateFlowArgs,
    CreateFlowResult, StageDependencyEdgeArgs, StageDependencyEdgeResult,
};
use ff_core::engine_backend::EngineBackend;
use ff_core::partition::PartitionConfig;
use ff_core::types::{ExecutionId, TimestampMs};
use sqlx::postgres::PgPool;

use crate::backend::PostgresBackend;
use crate::connect::PostgresOptions;
use crate::migrate::{MigrateError, MigrateOptions, migrate};

/// Applies the missing migrations to the schema of the pool's search path. It is repeatable, and
/// safe to call from many processes at once. [`migrate`] has options.
///
/// # Errors
/// [`MigrateError`]; no migration is half applied.
pub async fn apply_migrations(pool: &PgPool) -> Result<(), MigrateError> {
    migrate(pool, &MigrateOptions::new()).await.map(drop)
}

/// The engine over the caller's pool, with the default partitions, on the database's clock.
async fn engine(pool: &PgPool) -> Result<Arc<PostgresBackend>, EngineError> {
    partitioned_engine(pool, &PartitionConfig::default()).await
}

async fn partitioned_engine(
    pool: &PgPool,
    partitions: &PartitionConfig,
) -> Result<Arc<PostgresBackend>, EngineError> {
    let options = options_of(pool).partitions(*partitions);
    let backend = PostgresBackend::over(pool.clone(), options);
    backend.measure_clock().await?;
    Ok(Arc::new(backend))
}

/// The engine over the caller's pool, at the caller's time.
fn engine_at(pool: &PgPool, now_ms: i64) -> PostgresBackend {
    let now = TimestampMs::from_millis(now_ms);
    PostgresBackend::over(pool.clone(), options_of(pool).clock(move || now))
}

fn options_of(pool: &PgPool) -> PostgresOptions {
    PostgresOptions::new(String::new()).max_connections(pool.options().get_max_connections())
}

/// The inherent methods by which callers of the reference build flows. They take their arguments by
/// reference and shadow the methods of [`EngineBackend`] of the same names. A `dyn EngineBackend`
/// or a call by path reaches those.
impl PostgresBackend {
    /// Submits an execution and returns its id, also for a duplicate.
    ///
    /// # Errors
    /// As [`EngineBackend::create_execution`].
    pub async fn create_execution(
        &self,
        args: CreateExecutionArgs,
    ) -> Result<ExecutionId, EngineError> {
        match EngineBackend::create_execution(self, args).await? {
            CreateExecutionResult::Created { execution_id, .. }
            | CreateExecutionResult::Duplicate { execution_id } => Ok(execution_id),
        }
    }

    /// Creates a flow.
    ///
    /// # Errors
    /// As [`EngineBackend::create_flow`].
    pub async fn create_flow(
        &self,
        args: &CreateFlowArgs,
    ) -> Result<CreateFlowResult, EngineError> {
        EngineBackend::create_flow(self, args.clone()).await
    }

    /// Makes an execution a member of a flow.
    ///
    /// # Errors
    /// As [`EngineBackend::add_execution_to_flow`].
    pub async fn add_execution_to_flow(
        &self,
        args: &AddExecutionToFlowArgs,
    ) -> Result<AddExecutionToFlowResult, EngineError> {
        EngineBackend::add_execution_to_flow(self, args.clone()).await
    }

    /// Stages an edge between two members.
    ///
    /// # Errors
    /// As [`EngineBackend::stage_dependency_edge`].
    pub async fn stage_dependency_edge(
        &self,
        args: &StageDependencyEdgeArgs,
    ) -> Result<StageDependencyEdgeResult, EngineError> {
        EngineBackend::stage_dependency_edge(self, args.clone()).await
    }

    /// Applies a staged edge to its downstream execution.
    ///
    /// # Errors
    /// As [`EngineBackend::apply_dependency_to_child`].
    pub async fn apply_dependency_to_child(
        &self,
        args: &ApplyDependencyToChildArgs,
    ) -> Result<ApplyDependencyToChildResult, EngineError> {
        EngineBackend::apply_dependency_to_child(self, args.clone()).await
    }
}
