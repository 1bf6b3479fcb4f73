//! Appending frames, and following them.

use super::{Executor, run};
use crate::EngineError;
use crate::backend::{AppendFrameOutcome, Frame, StreamMode};
use crate::handle_codec::HandlePayload;
use crate::rules::fence::Fence;
use crate::rules::stream::append::Append;

/// Appends a frame to the stream of the handle's attempt.
pub(super) async fn append<E: Executor + ?Sized>(
    executor: &E,
    handle: &HandlePayload,
    frame: &Frame,
) -> Result<AppendFrameOutcome, EngineError> {
    let memo = executor.memo();
    let lease = handle.lease_id.0;
    let append = Append::new(Fence::of_handle(handle)?, frame, memo.has_stream(lease))?;
    let outcome = match frame.mode {
        StreamMode::Durable => run(executor, &append).await?,
        StreamMode::DurableSummary { .. } | StreamMode::BestEffortLive { .. } => {
            let _turn = memo.turn(lease).await;
            run(executor, &append).await?
        }
    };
    memo.keep_stream(lease);
    Ok(outcome)
}
