//! The executions that the benchmarks measure with.

use ff_core::backend::ClaimPolicy;
use ff_core::contracts::CreateExecutionArgs;
use ff_core::types::{ExecutionId, LaneId, Namespace, TimestampMs, WorkerId, WorkerInstanceId};

pub(crate) fn args(id: ExecutionId, lane: &LaneId) -> CreateExecutionArgs {
    CreateExecutionArgs {
        partition_id: id.partition(),
        execution_id: id,
        namespace: Namespace::new("bench"),
        lane_id: lane.clone(),
        execution_kind: "noop".into(),
        input_payload: b"{\"n\":1}".to_vec(),
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

pub(crate) fn worker(number: usize) -> ClaimPolicy {
    let instance = WorkerInstanceId::new(format!("bench-{number}"));
    ClaimPolicy::new(WorkerId::new("bench"), instance, 600_000, None)
}
