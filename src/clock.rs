//! Times by the clock of the database, which decides what is due.

use std::time::Duration;

use ff_core::EngineError;
use ff_core::engine_backend::EngineBackend;
use ff_core::types::TimestampMs;

/// The time now.
pub(crate) async fn now(engine: &dyn EngineBackend) -> Result<TimestampMs, EngineError> {
    let ms = engine.server_time_ms().await?;
    Ok(TimestampMs(i64::try_from(ms).unwrap_or(i64::MAX)))
}

/// The time so long after now.
pub(crate) async fn from_now(
    engine: &dyn EngineBackend,
    time: Duration,
) -> Result<TimestampMs, EngineError> {
    let span = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    Ok(TimestampMs(now(engine).await?.0.saturating_add(span)))
}
