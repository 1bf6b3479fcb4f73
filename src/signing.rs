//! The key that signs the tokens of waitpoints.

use ff_core::EngineError;
use ff_core::contracts::SeedWaitpointHmacSecretArgs;
use ff_core::engine_backend::EngineBackend;
use ff_core::engine_error::ValidationKind;
use uuid::Uuid;

/// Installs a random key named `kid`, where none signs yet: an execution that waits for a signal
/// needs one. A key that an operator installed or rotated to stays as it is.
///
/// # Errors
/// Those of the database.
pub async fn ensure_key(engine: &dyn EngineBackend, kid: &str) -> Result<(), EngineError> {
    let secret = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    let args = SeedWaitpointHmacSecretArgs::new(kid, secret);
    match engine.seed_waitpoint_hmac_secret(args).await {
        // A name and a secret that are valid are refused for one reason: another key signs.
        Ok(_) | Err(EngineError::Validation { kind: ValidationKind::InvalidInput, .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
