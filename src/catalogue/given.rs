//! What the scenes are played with: one lane, one worker, a few policies.

use ff_core::backend::{CapabilitySet, ClaimPolicy, Handle};
use ff_core::handle_codec;
use ff_core::partition::{Partition, PartitionFamily};
use ff_core::policy::{BackoffStrategy, ExecutionPolicy, RetryPolicy};
use ff_core::types::{ExecutionId, LaneId, LeaseFence, WorkerId, WorkerInstanceId};

const LANE: &str = "default";

pub(super) const LATER: &str = r#"{"max_retries":3,"backoff":{"type":"fixed","delay_ms":500}}"#;

pub(super) const NEVER: &str = r#"{"max_retries":0}"#;

pub(super) const AT_ONCE: &str = r#"{"max_retries":3,"backoff":{"type":"fixed","delay_ms":0}}"#;

/// Which filters a query has, by the bits that choose them.
pub(super) const FILTERS: [&str; 16] = [
    "all",
    "lane",
    "state",
    "lane, state",
    "namespace",
    "lane, namespace",
    "state, namespace",
    "lane, state, namespace",
    "after",
    "lane, after",
    "state, after",
    "lane, state, after",
    "namespace, after",
    "lane, namespace, after",
    "state, namespace, after",
    "lane, state, namespace, after",
];

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
