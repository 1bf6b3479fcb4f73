//! One completion event, applied to the executions that depend on it.

use ff_core::EngineError;
use ff_core::engine::dispatch_event;
use sqlx::postgres::PgPool;

use super::engine;

/// The answer to [`dispatch_completion`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DispatchOutcome {
    /// The event is unknown, or was dispatched before.
    NoOp,
    /// The event is dispatched now; so many outgoing edges heard of it.
    Advanced(usize),
}

/// Applies the completion event of that number to every outgoing edge. An event is marked as
/// dispatched with its last edge, so that a call that fails or dies leaves the rest to a later one.
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
