//! Constructors that draw random ids or read the clock.
//!
//! With `engine/random.rs` and `engine/wait.rs` the only impure code of this crate, behind the
//! feature `generate`. No rule may call it.

use std::time::{SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use crate::model::ids::{
    AttemptId, BudgetId, EdgeId, ExecutionId, FlowId, LaneId, LeaseId, QuotaPolicyId, SignalId,
    SuspensionId, TimestampMs, WaitpointId,
};
use crate::model::partition::PartitionConfig;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::partition::{flow_partition, solo_partition};

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
