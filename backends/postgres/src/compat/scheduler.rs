//! The scheduler: grants the best execution that a worker can run, and verifies such grants.

use std::collections::BTreeSet;

use ff_core::EngineError;
use ff_core::contracts::{ClaimForWorkerArgs, ClaimForWorkerOutcome, ClaimGrant};
use ff_core::engine::run;
use ff_core::engine_backend::EngineBackend;
use ff_core::rules::grant::verify::{Unverified, VerifyGrant};
use ff_core::types::{LaneId, WorkerId, WorkerInstanceId};
use sqlx::postgres::PgPool;

use super::engine;

/// Grants executions to workers, over the caller's pool.
#[derive(Clone, Debug)]
pub struct PostgresScheduler {
    pool: PgPool,
}

impl PostgresScheduler {
    /// A scheduler over that pool.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// Grants the best execution of the lane that the worker can run; `None` if there is none.
    ///
    /// # Errors
    /// As [`EngineBackend::claim_for_worker`].
    pub async fn claim_for_worker(
        &self,
        lane: &LaneId,
        worker_id: &WorkerId,
        worker_instance_id: &WorkerInstanceId,
        worker_capabilities: &BTreeSet<String>,
        grant_ttl_ms: u64,
    ) -> Result<Option<ClaimGrant>, EngineError> {
        let args = ClaimForWorkerArgs::new(
            lane.clone(),
            worker_id.clone(),
            worker_instance_id.clone(),
            worker_capabilities.clone(),
            grant_ttl_ms,
        );
        Ok(match engine(&self.pool).await?.claim_for_worker(args).await? {
            ClaimForWorkerOutcome::Granted(grant) => Some(grant),
            _ => None,
        })
    }
}

/// The reason why a grant does not verify.
#[derive(Debug, thiserror::Error)]
pub enum GrantVerifyError {
    /// The key of the grant is none, or names another execution.
    #[error("the key of the grant is malformed")]
    Malformed,
    /// The grant has lapsed.
    #[error("the grant has expired")]
    Expired,
    /// The signing key is unknown, or verifies no longer.
    #[error("the grant is signed with an unknown key")]
    UnknownKid,
    /// No grant of the execution is stored.
    #[error("the grant is unknown, or was redeemed")]
    UnknownGrant,
    /// The signature is not the key's, or not for the worker of a stored grant.
    #[error("the signature of the grant does not match")]
    SignatureMismatch,
    /// The database cannot be reached.
    #[error("the grant could not be verified: {0}")]
    Transport(EngineError),
}

/// Verifies a grant to claim.
///
/// # Errors
/// The first reason not to trust it, in the order of [`GrantVerifyError`].
pub async fn verify_grant(pool: &PgPool, grant: &ClaimGrant) -> Result<(), GrantVerifyError> {
    let verify = VerifyGrant::new(grant).map_err(reason)?;
    let engine = engine(pool).await.map_err(GrantVerifyError::Transport)?;
    let verified = run(engine.as_ref(), &verify).await.map_err(GrantVerifyError::Transport)?;
    verified.map_err(reason)
}

fn reason(unverified: Unverified) -> GrantVerifyError {
    match unverified {
        Unverified::Malformed => GrantVerifyError::Malformed,
        Unverified::Expired => GrantVerifyError::Expired,
        Unverified::UnknownKid => GrantVerifyError::UnknownKid,
        Unverified::UnknownGrant => GrantVerifyError::UnknownGrant,
        Unverified::SignatureMismatch => GrantVerifyError::SignatureMismatch,
    }
}
