//! Appends frames to streams, and follows streams.

use std::time::Duration;

use futures_util::future::{Either, select};

use super::bell::Topic;
use super::{Executor, run};
use crate::contracts::{AppendFrameOutcome, Frame, StreamFrames, StreamMode};
use crate::model::error::EngineError;
use crate::model::handle_codec::HandlePayload;
use crate::rules::fence::Fence;
use crate::rules::stream::append::Append;
use crate::rules::stream::read::ReadFrames;

/// The interval at which a follower reads without a ring: for the end of the attempt, which rings
/// no frames, and for frames committed by a process that sends this one no notifications.
const POLL: Duration = Duration::from_millis(500);

/// The pause after a ring that brought nothing new: on a busy backend most rings are for other
/// streams.
const PAUSE_AFTER_RING: Duration = Duration::from_millis(20);

/// Appends a frame to the stream of the handle's attempt.
pub(super) async fn append(
    executor: &dyn Executor,
    handle: &HandlePayload,
    frame: &Frame,
) -> Result<AppendFrameOutcome, EngineError> {
    let state = executor.process_state();
    let lease = handle.lease_id.0;
    let append = Append::new(Fence::of_handle(handle)?, frame, state.streams.contains(lease))?;

    let turn = state.wait_to_append(lease).await;
    // Summary and live appends are decided on what they read, so they keep their turn. A durable
    // append only waits for those before it.
    let _turn = match frame.mode {
        StreamMode::Durable => {
            drop(turn);
            None
        }
        StreamMode::DurableSummary { .. } | StreamMode::BestEffortLive { .. } => Some(turn),
    };

    let outcome = run(executor, &append).await?;
    state.streams.insert(lease);
    Ok(outcome)
}

/// Frames that the follower has not read. Waits up to `block_ms` for the first of them or for the
/// end of the attempt; holds no connection while it waits.
pub(super) async fn tail(
    executor: &dyn Executor,
    read: &ReadFrames,
    block_ms: u64,
) -> Result<StreamFrames, EngineError> {
    if block_ms == 0 || read.asks_for_none() {
        return run(executor, read).await;
    }

    // Before the read: a frame committed in between rings.
    let mut ring = executor.bell().listen(Topic::Frames);
    executor.ring_for_other_processes();
    let found = run(executor, read).await?;
    if ends_wait(&found) {
        return Ok(found);
    }

    let mut time_out = executor.sleep(Duration::from_millis(block_ms));
    loop {
        executor.ring_for_other_processes();
        let ring_or_poll = select(&mut ring, executor.sleep(POLL));
        let rung = match select(&mut time_out, ring_or_poll).await {
            Either::Left(..) => return run(executor, read).await,
            Either::Right((Either::Left(..), _)) => true,
            Either::Right((Either::Right(..), _)) => false,
        };

        // A ring announces frames only; the end of the attempt is found by polling.
        let found = if rung {
            ring = executor.bell().listen(Topic::Frames);
            run(executor, &read.frames_only()).await?
        } else {
            run(executor, read).await?
        };

        if ends_wait(&found) {
            return Ok(found);
        }

        if rung {
            executor.sleep(PAUSE_AFTER_RING).await;
        }
    }
}

/// True if the answer ends a follower's wait.
fn ends_wait(found: &StreamFrames) -> bool {
    !found.frames.is_empty() || found.is_closed()
}
