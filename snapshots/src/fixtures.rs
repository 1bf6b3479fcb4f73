//! The data that the scenes share: one lane, one worker, a few policies.

use ff_core::backend::{CapabilitySet, ClaimPolicy, Handle};
use ff_core::contracts::ExecutionQuery;
use ff_core::handle_codec;
use ff_core::partition::{Partition, PartitionFamily};
use ff_core::policy::{BackoffStrategy, ExecutionPolicy, RetryPolicy};
use ff_core::state::PublicState;
use ff_core::types::{
    ExecutionId, FlowId, LaneId, LeaseFence, Namespace, WorkerId, WorkerInstanceId,
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

/// Queries with every combination of the filters that changes the shape.
pub(super) fn filtered(after: &ExecutionId) -> Vec<(&'static str, ExecutionQuery)> {
    let cases = [
        "all",
        "lane",
        "flow",
        "lane, flow",
        "after",
        "lane, after",
        "flow, after",
        "lane, flow, after",
    ];
    let query = |(chosen, case): (usize, &'static str)| {
        let filter = |bit: usize| chosen & bit != 0;
        let mut query = ExecutionQuery::new(10)
            .with_public_state(PublicState::Waiting)
            .with_namespace(Namespace::new("billing"))
            .with_tag("billing.month", "2026-11");
        query.lane_id = filter(1).then(lane);
        query.flow_id = filter(2).then(flow);
        query.after = filter(4).then(|| after.clone());
        (case, query)
    };

    let all = cases.into_iter().enumerate().map(query);
    let failed = ExecutionQuery::new(10).with_public_state(PublicState::Failed);
    all.chain([("badly ended", failed)]).collect()
}

pub(super) fn flow() -> FlowId {
    FlowId::from_uuid(Uuid::from_u128(0xF10))
}
