//! The rows of grants, and reclaiming.

use ff_core::EngineError;
use ff_core::contracts::{
    IssueReclaimGrantArgs, IssueReclaimGrantOutcome, ReclaimExecutionArgs, ReclaimExecutionOutcome,
};
use ff_core::engine::run;
use ff_core::engine_backend::EngineBackend;
use ff_core::rules::execution::losses;
use ff_core::rules::grant::key::grant_id;
use ff_core::rules::grant::verify::ReadGrantee;
use ff_core::rules::key::ExecutionKey;
use sqlx::postgres::PgPool;
use uuid::Uuid;

use super::engine;

/// The most reclaims of an execution, where neither the call nor the policy says a number.
pub const DEFAULT_MAX_RECLAIM_COUNT: u32 = losses::RECLAIMS_MAX;

/// The id of the row of the grant with that key.
#[must_use]
pub fn grant_id_from_key(grant_key: &str) -> Vec<u8> {
    grant_id(grant_key)
}

/// The worker and the instance that the latest grant to claim an execution is for.
///
/// # Errors
/// `Transport` when the database cannot be reached.
pub async fn read_claim_grant_identity(
    pool: &PgPool,
    partition_key: i16,
    execution_id: Uuid,
) -> Result<Option<(String, String)>, EngineError> {
    let key = ExecutionKey { partition: partition_key, uuid: execution_id };
    run(engine(pool).await?.as_ref(), &ReadGrantee { key }).await
}

/// Admits a worker to an execution with a lost lease.
///
/// # Errors
/// As [`EngineBackend::issue_reclaim_grant`].
pub async fn issue_reclaim_grant_impl(
    pool: &PgPool,
    args: IssueReclaimGrantArgs,
) -> Result<IssueReclaimGrantOutcome, EngineError> {
    engine(pool).await?.issue_reclaim_grant(args).await
}

/// Spends a grant to reclaim.
///
/// # Errors
/// As [`EngineBackend::reclaim_execution`].
pub async fn reclaim_execution_impl(
    pool: &PgPool,
    args: ReclaimExecutionArgs,
) -> Result<ReclaimExecutionOutcome, EngineError> {
    engine(pool).await?.reclaim_execution(args).await
}
