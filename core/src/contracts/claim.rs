//! What claims and grants take and answer.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ClaimScope;
use crate::model::handle::{Handle, stub_handle_fresh, stub_handle_resumed};
use crate::model::ids::{
    AttemptId, AttemptIndex, ExecutionId, LaneId, LeaseEpoch, LeaseId, TimestampMs, WorkerId,
    WorkerInstanceId,
};
use crate::model::partition::{Partition, PartitionKey, PartitionKeyParseError};
use crate::model::state::AttemptType;

/// The most executions that one claim takes.
pub const CLAIM_MAX: u32 = 1000;

/// Issues a claim grant.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct IssueClaimGrantArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The lane.
    pub lane_id: LaneId,
    /// The worker.
    pub worker_id: WorkerId,
    /// The running instance of the worker.
    pub worker_instance_id: WorkerInstanceId,
    /// The partition.
    pub partition: Partition,
    /// A digest of the worker's capabilities.
    pub capability_hash: Option<String>,
    /// The caller's routing record, as JSON.
    pub route_snapshot_json: Option<String>,
    /// The caller's admission record, in words.
    pub admission_summary: Option<String>,
    /// The capability tokens that the worker offers.
    pub worker_capabilities: BTreeSet<String>,
    /// The grant's time to live, in milliseconds.
    pub grant_ttl_ms: u64,
    /// The caller's clock.
    pub now: TimestampMs,
}

impl IssueClaimGrantArgs {
    /// One parameter per field, in order; other fields stay empty.
    #[expect(clippy::too_many_arguments, reason = "one per field, each of its own meaning")]
    #[must_use]
    pub const fn new(
        execution_id: ExecutionId,
        lane_id: LaneId,
        worker_id: WorkerId,
        worker_instance_id: WorkerInstanceId,
        partition: Partition,
        worker_capabilities: BTreeSet<String>,
        grant_ttl_ms: u64,
        now: TimestampMs,
    ) -> Self {
        Self {
            execution_id,
            lane_id,
            worker_id,
            worker_instance_id,
            partition,
            capability_hash: None,
            route_snapshot_json: None,
            admission_summary: None,
            worker_capabilities,
            grant_ttl_ms,
            now,
        }
    }
}

/// The outcome of issuing a claim grant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IssueClaimGrantOutcome {
    /// The grant is stored.
    Granted {
        /// The execution.
        execution_id: ExecutionId,
    },
}

/// The outcome of issuing a claim grant, in its wire form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IssueClaimGrantResult {
    /// The grant is stored.
    Granted {
        /// The execution.
        execution_id: ExecutionId,
    },
}

/// Lists eligible executions.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ScanEligibleArgs {
    /// The lane.
    pub lane_id: LaneId,
    /// The partition.
    pub partition: Partition,
    /// The most entries to answer.
    pub limit: u32,
}

impl ScanEligibleArgs {
    /// One parameter per field, in order.
    #[must_use]
    pub const fn new(lane_id: LaneId, partition: Partition, limit: u32) -> Self {
        Self { lane_id, partition, limit }
    }
}

/// Blocks an execution that no present worker can run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BlockRouteArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The lane.
    pub lane_id: LaneId,
    /// The partition.
    pub partition: Partition,
    /// The reason, as a code.
    pub reason_code: String,
    /// The reason, in words.
    pub reason_detail: String,
    /// The caller's clock.
    pub now: TimestampMs,
}

impl BlockRouteArgs {
    /// One parameter per field, in order.
    #[must_use]
    pub const fn new(
        execution_id: ExecutionId,
        lane_id: LaneId,
        partition: Partition,
        reason_code: String,
        reason_detail: String,
        now: TimestampMs,
    ) -> Self {
        Self { execution_id, lane_id, partition, reason_code, reason_detail, now }
    }
}

/// The outcome of blocking a route.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlockRouteOutcome {
    /// The execution no longer counts as eligible.
    Blocked {
        /// The execution.
        execution_id: ExecutionId,
    },
    /// The backend refused.
    LuaRejected {
        /// The backend's message.
        message: String,
    },
}

/// Permission to claim one execution.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClaimGrant {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The partition, as text.
    pub partition_key: PartitionKey,
    /// Names the stored grant.
    pub grant_key: String,
    /// The expiry time, in Unix milliseconds.
    pub expires_at_ms: u64,
}

impl ClaimGrant {
    /// One parameter per field, in order.
    #[must_use]
    pub const fn new(
        execution_id: ExecutionId,
        partition_key: PartitionKey,
        grant_key: String,
        expires_at_ms: u64,
    ) -> Self {
        Self { execution_id, partition_key, grant_key, expires_at_ms }
    }

    /// Reads the partition from its text.
    ///
    /// # Errors
    /// When the text names none.
    pub fn partition(&self) -> Result<Partition, PartitionKeyParseError> {
        self.partition_key.parse()
    }
}

/// Permission to continue a resumed execution.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResumeGrant {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The partition, as text.
    pub partition_key: PartitionKey,
    /// Names the stored grant.
    pub grant_key: String,
    /// The expiry time, in Unix milliseconds.
    pub expires_at_ms: u64,
    /// The lane.
    pub lane_id: LaneId,
}

impl ResumeGrant {
    /// One parameter per field, in order.
    #[must_use]
    pub const fn new(
        execution_id: ExecutionId,
        partition_key: PartitionKey,
        grant_key: String,
        expires_at_ms: u64,
        lane_id: LaneId,
    ) -> Self {
        Self { execution_id, partition_key, grant_key, expires_at_ms, lane_id }
    }

    /// Reads the partition from its text.
    ///
    /// # Errors
    /// When the text names none.
    pub fn partition(&self) -> Result<Partition, PartitionKeyParseError> {
        self.partition_key.parse()
    }
}

/// Permission to reclaim an execution after its worker was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReclaimGrant {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The partition, as text.
    pub partition_key: PartitionKey,
    /// Names the stored grant.
    pub grant_key: String,
    /// The expiry time, in Unix milliseconds.
    pub expires_at_ms: u64,
    /// The lane.
    pub lane_id: LaneId,
}

impl ReclaimGrant {
    /// One parameter per field, in order.
    #[must_use]
    pub const fn new(
        execution_id: ExecutionId,
        partition_key: PartitionKey,
        grant_key: String,
        expires_at_ms: u64,
        lane_id: LaneId,
    ) -> Self {
        Self { execution_id, partition_key, grant_key, expires_at_ms, lane_id }
    }

    /// Reads the partition from its text.
    ///
    /// # Errors
    /// When the text names none.
    pub fn partition(&self) -> Result<Partition, PartitionKeyParseError> {
        self.partition_key.parse()
    }
}

/// Claims an execution by spending a claim grant.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ClaimExecutionArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The worker.
    pub worker_id: WorkerId,
    /// The running instance of the worker.
    pub worker_instance_id: WorkerInstanceId,
    /// The lane.
    pub lane_id: LaneId,
    /// The lease.
    pub lease_id: LeaseId,
    /// The lease's duration without renewal, in milliseconds.
    pub lease_ttl_ms: u64,
    /// The attempt's id.
    pub attempt_id: AttemptId,
    /// The attempt number that the claim opens.
    pub expected_attempt_index: AttemptIndex,
    /// The attempt's policy, as JSON.
    #[serde(default)]
    pub attempt_policy_json: String,
    /// The attempt's timeout, in milliseconds.
    #[serde(default)]
    pub attempt_timeout_ms: Option<u64>,
    /// The deadline of the whole execution.
    #[serde(default)]
    pub execution_deadline_at: Option<i64>,
    /// The caller's clock.
    pub now: TimestampMs,
}

impl ClaimExecutionArgs {
    /// One parameter per field, in order.
    #[expect(clippy::too_many_arguments, reason = "one per field, each of its own meaning")]
    #[must_use]
    pub const fn new(
        execution_id: ExecutionId,
        worker_id: WorkerId,
        worker_instance_id: WorkerInstanceId,
        lane_id: LaneId,
        lease_id: LeaseId,
        lease_ttl_ms: u64,
        attempt_id: AttemptId,
        expected_attempt_index: AttemptIndex,
        attempt_policy_json: String,
        attempt_timeout_ms: Option<u64>,
        execution_deadline_at: Option<i64>,
        now: TimestampMs,
    ) -> Self {
        Self {
            execution_id,
            worker_id,
            worker_instance_id,
            lane_id,
            lease_id,
            lease_ttl_ms,
            attempt_id,
            expected_attempt_index,
            attempt_policy_json,
            attempt_timeout_ms,
            execution_deadline_at,
            now,
        }
    }
}

/// An execution that the worker now holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ClaimedExecution {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The lease.
    pub lease_id: LeaseId,
    /// The lease's epoch.
    pub lease_epoch: LeaseEpoch,
    /// The attempt's number, from zero.
    pub attempt_index: AttemptIndex,
    /// The attempt's id.
    pub attempt_id: AttemptId,
    /// The reason for the attempt.
    pub attempt_type: AttemptType,
    /// The lease's expiry without renewal.
    pub lease_expires_at: TimestampMs,
    /// The handle that the worker presents with every later operation.
    #[serde(default = "stub_handle_fresh")]
    pub handle: Handle,
}

impl ClaimedExecution {
    /// One parameter per field, in order.
    #[expect(clippy::too_many_arguments, reason = "one per field, each of its own meaning")]
    #[must_use]
    pub const fn new(
        execution_id: ExecutionId,
        lease_id: LeaseId,
        lease_epoch: LeaseEpoch,
        attempt_index: AttemptIndex,
        attempt_id: AttemptId,
        attempt_type: AttemptType,
        lease_expires_at: TimestampMs,
        handle: Handle,
    ) -> Self {
        Self {
            execution_id,
            lease_id,
            lease_epoch,
            attempt_index,
            attempt_id,
            attempt_type,
            lease_expires_at,
            handle,
        }
    }
}

/// The outcome of a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ClaimExecutionResult {
    /// The worker holds the execution.
    Claimed(ClaimedExecution),
}

/// Asks for a claim grant on any execution that the worker can run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClaimForWorkerArgs {
    /// The lane.
    pub lane_id: LaneId,
    /// The worker.
    pub worker_id: WorkerId,
    /// The running instance of the worker.
    pub worker_instance_id: WorkerInstanceId,
    /// The capability tokens that the worker offers.
    pub worker_capabilities: BTreeSet<String>,
    /// The grant's time to live, in milliseconds.
    pub grant_ttl_ms: u64,
}

impl ClaimForWorkerArgs {
    /// One parameter per field, in order.
    #[must_use]
    pub const fn new(
        lane_id: LaneId,
        worker_id: WorkerId,
        worker_instance_id: WorkerInstanceId,
        worker_capabilities: BTreeSet<String>,
        grant_ttl_ms: u64,
    ) -> Self {
        Self { lane_id, worker_id, worker_instance_id, worker_capabilities, grant_ttl_ms }
    }
}

/// The scheduler's answer to a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClaimForWorkerOutcome {
    /// Nothing at present.
    NoWork,
    /// This execution may be claimed.
    Granted(ClaimGrant),
}

impl ClaimForWorkerOutcome {
    /// Nothing at present.
    #[must_use]
    pub const fn no_work() -> Self {
        Self::NoWork
    }

    /// The execution of `grant` may be claimed.
    #[must_use]
    pub const fn granted(grant: ClaimGrant) -> Self {
        Self::Granted(grant)
    }
}

/// Claims an execution on an operator's behalf, without a separate grant.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct IssueGrantAndClaimArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The lane.
    pub lane_id: LaneId,
    /// The lease's duration, in milliseconds.
    pub lease_duration_ms: u64,
}

impl IssueGrantAndClaimArgs {
    /// One parameter per field, in order.
    #[must_use]
    pub const fn new(execution_id: ExecutionId, lane_id: LaneId, lease_duration_ms: u64) -> Self {
        Self { execution_id, lane_id, lease_duration_ms }
    }
}

/// The lease that [`IssueGrantAndClaimArgs`] led to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ClaimGrantOutcome {
    /// The lease.
    pub lease_id: LeaseId,
    /// The lease's epoch.
    pub lease_epoch: LeaseEpoch,
    /// The attempt's number, from zero.
    pub attempt_index: AttemptIndex,
}

impl ClaimGrantOutcome {
    /// One parameter per field, in order.
    #[must_use]
    pub const fn new(
        lease_id: LeaseId,
        lease_epoch: LeaseEpoch,
        attempt_index: AttemptIndex,
    ) -> Self {
        Self { lease_id, lease_epoch, attempt_index }
    }
}

/// Claims an execution after its resume condition was met.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClaimResumedExecutionArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The worker.
    pub worker_id: WorkerId,
    /// The running instance of the worker.
    pub worker_instance_id: WorkerInstanceId,
    /// The lane.
    pub lane_id: LaneId,
    /// The lease.
    pub lease_id: LeaseId,
    /// The lease's duration without renewal, in milliseconds.
    pub lease_ttl_ms: u64,
    /// The number of the latest attempt.
    pub current_attempt_index: AttemptIndex,
    /// The rest of the attempt's time, in milliseconds. Has no effect in this version: the stored
    /// timeout applies.
    #[serde(default)]
    pub remaining_attempt_timeout_ms: Option<u64>,
    /// The caller's clock.
    pub now: TimestampMs,
}

/// A resumed execution that the worker now holds: the same attempt, a new lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ClaimedResumedExecution {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The lease.
    pub lease_id: LeaseId,
    /// The lease's epoch.
    pub lease_epoch: LeaseEpoch,
    /// The attempt's number, from zero.
    pub attempt_index: AttemptIndex,
    /// The attempt's id.
    pub attempt_id: AttemptId,
    /// The lease's expiry without renewal.
    pub lease_expires_at: TimestampMs,
    /// The handle that the worker presents with every later operation.
    #[serde(default = "stub_handle_resumed")]
    pub handle: Handle,
}

impl ClaimedResumedExecution {
    /// One parameter per field, in order.
    #[must_use]
    pub const fn new(
        execution_id: ExecutionId,
        lease_id: LeaseId,
        lease_epoch: LeaseEpoch,
        attempt_index: AttemptIndex,
        attempt_id: AttemptId,
        lease_expires_at: TimestampMs,
        handle: Handle,
    ) -> Self {
        Self {
            execution_id,
            lease_id,
            lease_epoch,
            attempt_index,
            attempt_id,
            lease_expires_at,
            handle,
        }
    }
}

/// The outcome of a claim on a resumed execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClaimResumedExecutionResult {
    /// The worker holds the execution.
    Claimed(ClaimedResumedExecution),
}

/// Issues a reclaim grant.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct IssueReclaimGrantArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The worker.
    pub worker_id: WorkerId,
    /// The running instance of the worker.
    pub worker_instance_id: WorkerInstanceId,
    /// The lane.
    pub lane_id: LaneId,
    /// A digest of the worker's capabilities.
    #[serde(default)]
    pub capability_hash: Option<String>,
    /// The grant's time to live, in milliseconds.
    pub grant_ttl_ms: u64,
    /// The caller's routing record, as JSON.
    #[serde(default)]
    pub route_snapshot_json: Option<String>,
    /// The caller's admission record, in words.
    #[serde(default)]
    pub admission_summary: Option<String>,
    /// The capability tokens that the worker offers.
    #[serde(default)]
    pub worker_capabilities: BTreeSet<String>,
    /// The caller's clock.
    pub now: TimestampMs,
}

impl IssueReclaimGrantArgs {
    /// One parameter per field, in order.
    #[expect(clippy::too_many_arguments, reason = "one per field, each of its own meaning")]
    #[must_use]
    pub const fn new(
        execution_id: ExecutionId,
        worker_id: WorkerId,
        worker_instance_id: WorkerInstanceId,
        lane_id: LaneId,
        capability_hash: Option<String>,
        grant_ttl_ms: u64,
        route_snapshot_json: Option<String>,
        admission_summary: Option<String>,
        worker_capabilities: BTreeSet<String>,
        now: TimestampMs,
    ) -> Self {
        Self {
            execution_id,
            worker_id,
            worker_instance_id,
            lane_id,
            capability_hash,
            grant_ttl_ms,
            route_snapshot_json,
            admission_summary,
            worker_capabilities,
            now,
        }
    }
}

/// The outcome of issuing a reclaim grant, in its wire form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IssueReclaimGrantResult {
    /// The grant is stored.
    Granted {
        /// The expiry time, in Unix milliseconds.
        expires_at_ms: TimestampMs,
    },
}

/// The outcome of issuing a reclaim grant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IssueReclaimGrantOutcome {
    /// The grant is stored.
    Granted(ReclaimGrant),
    /// The execution is in no state to be reclaimed.
    NotReclaimable {
        /// The execution.
        execution_id: ExecutionId,
        /// The reason for the refusal, in words.
        detail: String,
    },
    /// The execution was reclaimed too often.
    ReclaimCapExceeded {
        /// The execution.
        execution_id: ExecutionId,
        /// The number of reclaims so far.
        reclaim_count: u32,
    },
}

/// Reclaims an execution by spending a reclaim grant.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReclaimExecutionArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The worker.
    pub worker_id: WorkerId,
    /// The running instance of the worker.
    pub worker_instance_id: WorkerInstanceId,
    /// The lane.
    pub lane_id: LaneId,
    /// A digest of the worker's capabilities.
    #[serde(default)]
    pub capability_hash: Option<String>,
    /// The lease.
    pub lease_id: LeaseId,
    /// The lease's duration without renewal, in milliseconds.
    pub lease_ttl_ms: u64,
    /// The attempt's id.
    pub attempt_id: AttemptId,
    /// The attempt's policy, as JSON.
    #[serde(default)]
    pub attempt_policy_json: String,
    /// The most reclaims of the execution; the policy's number when absent.
    #[serde(default)]
    pub max_reclaim_count: Option<u32>,
    /// The instance that lost the lease.
    pub old_worker_instance_id: WorkerInstanceId,
    /// The number of the latest attempt.
    pub current_attempt_index: AttemptIndex,
}

impl ReclaimExecutionArgs {
    /// One parameter per field, in order.
    #[expect(clippy::too_many_arguments, reason = "one per field, each of its own meaning")]
    #[must_use]
    pub const fn new(
        execution_id: ExecutionId,
        worker_id: WorkerId,
        worker_instance_id: WorkerInstanceId,
        lane_id: LaneId,
        capability_hash: Option<String>,
        lease_id: LeaseId,
        lease_ttl_ms: u64,
        attempt_id: AttemptId,
        attempt_policy_json: String,
        max_reclaim_count: Option<u32>,
        old_worker_instance_id: WorkerInstanceId,
        current_attempt_index: AttemptIndex,
    ) -> Self {
        Self {
            execution_id,
            worker_id,
            worker_instance_id,
            lane_id,
            capability_hash,
            lease_id,
            lease_ttl_ms,
            attempt_id,
            attempt_policy_json,
            max_reclaim_count,
            old_worker_instance_id,
            current_attempt_index,
        }
    }
}

/// The outcome of a reclaim.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReclaimExecutionOutcome {
    /// The worker holds the execution, in a new attempt.
    Claimed(Handle),
    /// The execution is in no state to be reclaimed.
    NotReclaimable {
        /// The execution.
        execution_id: ExecutionId,
        /// The reason for the refusal, in words.
        detail: String,
    },
    /// The execution was reclaimed too often.
    ReclaimCapExceeded {
        /// The execution.
        execution_id: ExecutionId,
        /// The number of reclaims so far.
        reclaim_count: u32,
    },
    /// There is no such grant any more.
    GrantNotFound {
        /// The execution.
        execution_id: ExecutionId,
    },
}

/// The outcome of a reclaim, in its wire form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReclaimExecutionResult {
    /// The worker holds the execution, in a new attempt.
    Reclaimed {
        /// The number of the new attempt.
        new_attempt_index: AttemptIndex,
        /// The id of the new attempt.
        new_attempt_id: AttemptId,
        /// The new lease.
        new_lease_id: LeaseId,
        /// The new lease's epoch.
        new_lease_epoch: LeaseEpoch,
        /// The lease's expiry without renewal.
        lease_expires_at: TimestampMs,
    },
    /// The execution was reclaimed too often.
    MaxReclaimsExceeded,
}

/// The terms on which a worker claims.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClaimPolicy {
    /// The longest wait for work. A claim answers at once, so any wait but zero is refused.
    pub max_wait: Option<Duration>,
    /// The worker.
    pub worker_id: WorkerId,
    /// The running instance of it.
    pub worker_instance_id: WorkerInstanceId,
    /// The lease's duration without renewal, in milliseconds.
    pub lease_ttl_ms: u32,
    /// The partitions to claim from.
    pub scope: ClaimScope,
}

impl ClaimPolicy {
    /// The terms of one worker instance, for executions of all partitions.
    #[must_use]
    pub const fn new(
        worker_id: WorkerId,
        worker_instance_id: WorkerInstanceId,
        lease_ttl_ms: u32,
        max_wait: Option<Duration>,
    ) -> Self {
        let scope = ClaimScope::Everywhere;
        Self { max_wait, worker_id, worker_instance_id, lease_ttl_ms, scope }
    }

    /// The same terms, for executions of that scope.
    #[must_use]
    pub fn in_scope(self, scope: ClaimScope) -> Self {
        Self { scope, ..self }
    }
}

/// A resume grant, and the worker that spends it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResumeToken {
    /// The grant.
    pub grant: ResumeGrant,
    /// The worker.
    pub worker_id: WorkerId,
    /// The running instance of it.
    pub worker_instance_id: WorkerInstanceId,
    /// The lease's duration without renewal, in milliseconds.
    pub lease_ttl_ms: u32,
}

impl ResumeToken {
    /// One parameter per field, in order.
    #[must_use]
    pub const fn new(
        grant: ResumeGrant,
        worker_id: WorkerId,
        worker_instance_id: WorkerInstanceId,
        lease_ttl_ms: u32,
    ) -> Self {
        Self { grant, worker_id, worker_instance_id, lease_ttl_ms }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::handle::{BackendTag, HandleKind};
    use crate::model::partition::PartitionFamily;

    const ID: &str = "{fp:7}:550e8400-e29b-41d4-a716-446655440000";
    const UUID: &str = "22222222-2222-4222-8222-222222222222";

    #[test]
    fn a_claim_without_a_handle_gets_the_stub() {
        let mut text = json!({
            "execution_id": ID, "lease_id": UUID, "lease_epoch": 1, "attempt_index": 0,
            "attempt_id": UUID, "attempt_type": "initial", "lease_expires_at": 5,
        });
        let fresh: ClaimedExecution = serde_json::from_value(text.clone()).unwrap();
        assert_eq!(fresh.handle.kind, HandleKind::Fresh);
        assert_eq!(fresh.handle.backend, BackendTag::Valkey);
        assert!(fresh.handle.opaque.as_bytes().is_empty());
        text.as_object_mut().unwrap().remove("attempt_type");
        let resumed: ClaimedResumedExecution = serde_json::from_value(text).unwrap();
        assert_eq!(resumed.handle.kind, HandleKind::Resumed);
    }

    #[test]
    fn a_grant_knows_its_partition() {
        let partition = Partition { family: PartitionFamily::Flow, index: 7 };
        let id = ExecutionId::parse(ID).unwrap();
        let grant = ClaimGrant::new(id, partition.into(), "g".to_owned(), 1);
        assert_eq!(grant.partition(), Ok(partition));
    }
}
