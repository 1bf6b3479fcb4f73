//! The data that the scenes share: one lane, one worker, a few policies.

use ff_core::backend::{CapabilitySet, ClaimPolicy, Handle};
use ff_core::contracts::ExecutionQuery;
use ff_core::handle_codec;
use ff_core::partition::{Partition, PartitionFamily};
use ff_core::policy::{BackoffStrategy, ExecutionPolicy, RetryPolicy};
use ff_core::state::PublicState;
use ff_core::types::{
    ExecutionId, FlowId, LaneId, LeaseFence, Namespace, TimestampMs, WorkerId, WorkerInstanceId,
};
use uuid::Uuid;

const LANE: &str = "default";

pub(super) const LATER: &str = r#"{"max_retries":3,"backoff":{"type":"fixed","delay_ms":500}}"#;

pub(super) const NEVER: &str = r#"{"max_retries":0}"#;

pub(super) const AT_ONCE: &str = r#"{"max_retries":3,"backoff":{"type":"fixed","delay_ms":0}}"#;

pub(super) fn lane() -> LaneId {
    LaneId::new(LANE)
}

pub(super) fn worker() -> ClaimPolicy {
    ClaimPolicy::new(WorkerId::new("renderer"), WorkerInstanceId::new("renderer-1"), 30_000, None)
}

pub(super) fn capabilities() -> CapabilitySet {
    CapabilitySet::new(["gpu"])
}

pub(super) fn partition(id: &ExecutionId) -> Partition {
    Partition { family: PartitionFamily::Execution, index: id.partition() }
}

pub(super) fn fence_of(handle: &Handle) -> Option<LeaseFence> {
    let held = handle_codec::decode(&handle.opaque).ok()?.payload;
    Some(LeaseFence {
        lease_id: held.lease_id,
        lease_epoch: held.lease_epoch,
        attempt_id: held.attempt_id,
    })
}

pub(super) fn never_retried() -> ExecutionPolicy {
    let retry = RetryPolicy { max_retries: 0, ..RetryPolicy::default() };
    ExecutionPolicy { retry_policy: Some(retry), ..ExecutionPolicy::default() }
}

pub(super) fn retried(delay_ms: u64) -> ExecutionPolicy {
    let backoff = BackoffStrategy::Fixed { delay_ms };
    let retry = RetryPolicy { max_retries: 3, backoff, retryable_categories: Vec::new() };
    ExecutionPolicy { retry_policy: Some(retry), ..ExecutionPolicy::default() }
}

/// Queries with every combination of lane, flow and place, and with each of the rarer filters that
/// change the shape.
pub(super) fn filtered(after: &ExecutionId) -> Vec<(String, ExecutionQuery)> {
    let query = |chosen: usize, state: PublicState| {
        let filter = |bit: usize| chosen & bit != 0;
        let mut query = ExecutionQuery::new(10)
            .with_public_state(state)
            .with_namespace(Namespace::new("billing"))
            .with_execution_kind("invoice")
            .with_tag("billing.month", "2026-11");
        query.lane_id = filter(1).then(lane);
        query.flow_id = filter(2).then(flow);
        query.after = filter(4).then(|| after.clone());
        query.created_since = filter(8).then_some(TimestampMs(1));
        query.worker = filter(16).then(|| "renderer".to_owned());
        query.created_by = filter(32).then_some(TimestampMs(2));

        let names =
            [(1, "lane"), (2, "flow"), (4, "after"), (8, "newer"), (16, "worker"), (32, "older")];
        let named = names.into_iter().filter(|(bit, _)| filter(*bit)).map(|(_, name)| name);
        let bad = (state == PublicState::Failed).then_some("badly ended");
        let case = bad.into_iter().chain(named).collect::<Vec<_>>().join(", ");
        (if case.is_empty() { "all".to_owned() } else { case }, query)
    };

    let often = (0..8).map(|chosen| query(chosen, PublicState::Waiting));
    let rarely = [8, 12, 16, 20, 40].map(|chosen| query(chosen, PublicState::Waiting));
    let failed = [0, 1, 4, 5, 8, 16].map(|chosen| query(chosen, PublicState::Failed));
    often.chain(rarely).chain(failed).collect()
}

pub(super) fn flow() -> FlowId {
    FlowId::from_uuid(Uuid::from_u128(0xF10))
}
