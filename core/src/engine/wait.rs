//! The one wait: until a flow is cancelled. It reads the clock, so it is behind the feature
//! `generate`.

use std::time::{Duration, Instant};

use futures_timer::Delay;

use crate::engine::operations::EngineBackend;
use crate::model::error::EngineError;
use crate::model::ids::FlowId;

/// The pause between two polls of a flow that is being cancelled.
const CANCELLATION_POLL: Duration = Duration::from_millis(100);

/// Waits until the flow is cancelled or gone. Polls every 100 ms, and at least once. Runs on any
/// async runtime.
///
/// Cancelling is one plan here, so after an acknowledged cancellation the first poll finds the flow
/// cancelled.
///
/// # Errors
/// `Timeout` with the deadline when it has passed; the backend's error.
pub async fn wait_for_flow_cancellation<B: EngineBackend + ?Sized>(
    backend: &B,
    flow_id: &FlowId,
    deadline: Duration,
) -> Result<(), EngineError> {
    let started = Instant::now();

    loop {
        let flow = backend.describe_flow(flow_id).await?;
        if flow.is_none_or(|flow| flow.public_flow_state == "cancelled") {
            return Ok(());
        }

        let left = deadline.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Err(EngineError::Timeout { op: "cancel_flow", elapsed: deadline });
        }
        Delay::new(left.min(CANCELLATION_POLL)).await;
    }
}
