//! The keystore of waitpoint tokens, and the functions that sign and verify them.

use ff_core::EngineError;
use ff_core::contracts::{
    RotateWaitpointHmacSecretAllArgs, RotateWaitpointHmacSecretAllResult, SeedOutcome,
    SeedWaitpointHmacSecretArgs,
};
use ff_core::engine::run;
use ff_core::engine_backend::EngineBackend;
use ff_core::rules::keystore::{ReadKey, ReadSigningKey, TokenKey};
use sqlx::postgres::PgPool;

use super::{engine, engine_at};

pub use ff_core::crypto::hmac::{HmacVerifyError, hmac_sign, hmac_verify};

/// The number of tries after which the reference gives up a lost serializable transaction. This
/// backend decides by guards and does not use it.
pub const SERIALIZABLE_RETRY_BUDGET: usize = 3;

/// True if a transaction lost a conflict and may be retried: a serialization failure or a deadlock.
#[must_use]
pub fn is_retryable_serialization(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    matches!(code.as_deref(), Some("40001" | "40P01"))
}

/// The id and the secret of the key that signs tokens; `None` while no key is installed.
///
/// # Errors
/// `Transport` when the database cannot be reached.
pub async fn current_active_kid(pool: &PgPool) -> Result<Option<(String, Vec<u8>)>, EngineError> {
    let key = run(engine(pool).await?.as_ref(), &ReadSigningKey).await?;
    Ok(key.map(TokenKey::into_parts))
}

/// The secret of the key with that id, even if it no longer signs; `None` for an unknown id.
///
/// # Errors
/// `Transport` when the database cannot be reached.
pub async fn fetch_kid(pool: &PgPool, kid: &str) -> Result<Option<Vec<u8>>, EngineError> {
    let read = ReadKey { kid: kid.to_owned() };
    let key = run(engine(pool).await?.as_ref(), &read).await?;
    Ok(key.map(|key| key.into_parts().1))
}

/// Installs the first key, at the caller's time (Unix ms).
///
/// # Errors
/// As [`EngineBackend::seed_waitpoint_hmac_secret`].
pub async fn seed_waitpoint_hmac_secret_impl(
    pool: &PgPool,
    args: SeedWaitpointHmacSecretArgs,
    now_ms: i64,
) -> Result<SeedOutcome, EngineError> {
    engine_at(pool, now_ms).seed_waitpoint_hmac_secret(args).await
}

/// Replaces the key that signs, at the caller's time (Unix ms).
///
/// # Errors
/// As [`EngineBackend::rotate_waitpoint_hmac_secret_all`].
pub async fn rotate_waitpoint_hmac_secret_all_impl(
    pool: &PgPool,
    args: RotateWaitpointHmacSecretAllArgs,
    now_ms: i64,
) -> Result<RotateWaitpointHmacSecretAllResult, EngineError> {
    engine_at(pool, now_ms).rotate_waitpoint_hmac_secret_all(args).await
}
