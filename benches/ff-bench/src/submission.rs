//! The executions and the worker that every load uses.

use ff_core::backend::ClaimPolicy;
use ff_core::contracts::CreateExecutionArgs;
use ff_core::partition::PartitionConfig;
use ff_core::policy::{BackoffStrategy, ExecutionPolicy, RetryPolicy};
use ff_core::types::{ExecutionId, LaneId, Namespace, TimestampMs, WorkerId, WorkerInstanceId};
use uuid::Uuid;

/// The duration of the leases: longer than a measurement.
pub(crate) const LEASE_MS: u32 = 600_000;

/// The worker of every caller.
pub(crate) const WORKER: &str = "bench";

/// An execution of this payload on a random partition, as executions of many flows have.
#[must_use]
pub fn submission(lane: &LaneId, payload: &[u8]) -> CreateExecutionArgs {
    let uuid = Uuid::new_v4();
    let [first, ..] = *uuid.as_bytes();
    let partition = u16::from(first) % PartitionConfig::default().num_flow_partitions;
    submission_of(ExecutionId::from_parts(partition, uuid), lane, payload)
}

/// The execution of that id.
#[must_use]
pub fn submission_of(id: ExecutionId, lane: &LaneId, payload: &[u8]) -> CreateExecutionArgs {
    CreateExecutionArgs {
        partition_id: id.partition(),
        execution_id: id,
        namespace: Namespace::new("bench"),
        lane_id: lane.clone(),
        execution_kind: "noop".into(),
        input_payload: payload.to_vec(),
        payload_encoding: None,
        priority: 0,
        creator_identity: "bench".into(),
        idempotency_key: None,
        tags: [("cairn.instance_id".to_owned(), "bench".to_owned())].into(),
        policy: None,
        delay_until: None,
        execution_deadline_at: None,
        now: TimestampMs::now(),
    }
}

/// An execution whose failures are tried again at once.
#[must_use]
pub fn submission_with_retries(lane: &LaneId, payload: &[u8]) -> CreateExecutionArgs {
    let backoff = BackoffStrategy::Fixed { delay_ms: 0 };
    let retries = RetryPolicy { backoff, ..RetryPolicy::default() };
    let policy = ExecutionPolicy { retry_policy: Some(retries), ..ExecutionPolicy::default() };
    CreateExecutionArgs { policy: Some(policy), ..submission(lane, payload) }
}

/// The terms on which a caller claims.
#[must_use]
pub fn terms(caller: usize) -> ClaimPolicy {
    let instance = WorkerInstanceId::new(instance(caller));
    ClaimPolicy::new(WorkerId::new(WORKER), instance, LEASE_MS, None)
}

/// The name of a caller's worker instance.
pub(crate) fn instance(caller: usize) -> String {
    format!("bench-{caller}")
}
