//! The dispatch of one completion event to its outgoing edges.

use ff_core::EngineError;
use ff_core::engine::dispatch_event;
use sqlx::postgres::PgPool;

use super::engine;

/// The answer to [`dispatch_completion`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DispatchOutcome {
    /// The event is unknown or was already dispatched.
    NoOp,
    /// The event is now dispatched; the number of outgoing edges that it was applied to.
    Advanced(usize),
}

/// Applies the completion event of that number to every outgoing edge. The last edge marks the
/// event as dispatched, so a later call continues after a failure or a crash.
///
/// # Errors
/// The refusal of an edge, or `Transport`; the event then stays due.
pub async fn dispatch_completion(
    pool: &PgPool,
    event_id: i64,
) -> Result<DispatchOutcome, EngineError> {
    let advanced = dispatch_event(engine(pool).await?.as_ref(), event_id).await?;
    Ok(advanced.map_or(DispatchOutcome::NoOp, DispatchOutcome::Advanced))
}
