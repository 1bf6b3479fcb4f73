//! Convenience constructors that draw random ids or read the clock, and the one wait.
//!
//! The only impure code of this crate, behind the feature `generate`. No rule may call it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_timer::Delay;
use uuid::Uuid;

use crate::EngineError;
use crate::contracts::WaitpointBinding;
use crate::engine_backend::EngineBackend;
use crate::partition::PartitionConfig;
use crate::types::{
    AttemptId, BudgetId, EdgeId, ExecutionId, FlowId, LaneId, LeaseId, QuotaPolicyId, SignalId,
    SuspensionId, TimestampMs, WaitpointId,
};

macro_rules! random_ids {
    ($($id:ident),+ $(,)?) => {$(
        impl $id {
            /// A fresh random (version 4) id.
            #[must_use]
            pub fn new() -> Self {
                Self(Uuid::new_v4())
            }
        }

        impl Default for $id {
            /// A fresh random (version 4) id, never the same twice.
            fn default() -> Self {
                Self::new()
            }
        }
    )+};
}

random_ids!(
    FlowId,
    BudgetId,
    QuotaPolicyId,
    LeaseId,
    AttemptId,
    SignalId,
    WaitpointId,
    SuspensionId,
    EdgeId,
);

impl ExecutionId {
    /// A fresh random id in the partition of `flow`.
    #[must_use]
    pub fn for_flow(flow: &FlowId, config: &PartitionConfig) -> Self {
        Self::deterministic_for_flow(flow, config, Uuid::new_v4())
    }

    /// A fresh random id in the partition of `lane`, for an execution outside any flow.
    #[must_use]
    pub fn solo(lane: &LaneId, config: &PartitionConfig) -> Self {
        Self::deterministic_solo(lane, config, Uuid::new_v4())
    }
}

impl TimestampMs {
    /// The wall clock, in Unix milliseconds.
    #[must_use]
    pub fn now() -> Self {
        let millis =
            |elapsed: std::time::Duration| i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX);
        Self(match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => millis(since),
            Err(before) => -millis(before.duration()),
        })
    }
}

impl WaitpointBinding {
    /// A binding to a waitpoint of its own, with a fresh random id.
    #[must_use]
    pub fn fresh() -> Self {
        Self::fresh_with(WaitpointId::new())
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::{flow_partition, solo_partition};

    #[test]
    fn random_ids_differ_and_are_version_4() {
        assert_ne!(FlowId::new(), FlowId::default());
        assert_eq!(AttemptId::new().0.get_version_num(), 4);
    }

    #[test]
    fn minted_execution_ids_sit_in_the_partition_of_their_origin() {
        let config = PartitionConfig::default();
        let (flow, lane) = (FlowId::new(), LaneId::new("default"));
        assert_eq!(
            ExecutionId::for_flow(&flow, &config).partition(),
            flow_partition(&flow, &config).index
        );
        assert_eq!(
            ExecutionId::solo(&lane, &config).partition(),
            solo_partition(&lane, &config).index
        );
        assert_ne!(ExecutionId::solo(&lane, &config), ExecutionId::solo(&lane, &config));
    }

    #[test]
    fn the_clock_is_past_2020() {
        assert!(TimestampMs::from_millis(1_577_836_800_000) < TimestampMs::now());
    }
}
