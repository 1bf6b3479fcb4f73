//! The registry of workers, and listings of expired leases.

use std::collections::BTreeSet;

use crate::model::ids::{
    AttemptIndex, ExecutionId, LaneId, LeaseEpoch, LeaseId, Namespace, TimestampMs, WorkerId,
    WorkerInstanceId,
};

/// The longest reason for declaring a worker dead, in bytes.
pub const MARK_WORKER_DEAD_REASON_MAX_BYTES: usize = 256;

/// The partitions that one listing of expired leases looks at by default. Has no effect in this
/// version.
pub const LIST_EXPIRED_LEASES_DEFAULT_MAX_PARTITIONS: u32 = 32;

/// The expired leases that one listing returns by default.
pub const LIST_EXPIRED_LEASES_DEFAULT_LIMIT: u32 = 1_000;

/// The most expired leases that one listing answers.
pub const LIST_EXPIRED_LEASES_MAX_LIMIT: u32 = 10_000;

/// The workers that one listing returns by default.
pub const LIST_WORKERS_DEFAULT_LIMIT: u32 = 1_000;

/// Registers a worker instance.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegisterWorkerArgs {
    /// The worker.
    pub worker_id: WorkerId,
    /// The running instance of the worker.
    pub worker_instance_id: WorkerInstanceId,
    /// The lanes that the worker serves.
    pub lanes: BTreeSet<LaneId>,
    /// The capability tokens that the worker offers.
    pub capabilities: BTreeSet<String>,
    /// The time for which the worker counts as alive without a heartbeat, in milliseconds.
    pub liveness_ttl_ms: u64,
    /// The namespace.
    pub namespace: Namespace,
    /// The caller's clock.
    pub now: TimestampMs,
    /// The version of the worker's program. An addition.
    pub version: Option<String>,
}

impl RegisterWorkerArgs {
    /// One parameter per field, in order.
    #[must_use]
    pub const fn new(
        worker_id: WorkerId,
        worker_instance_id: WorkerInstanceId,
        lanes: BTreeSet<LaneId>,
        capabilities: BTreeSet<String>,
        liveness_ttl_ms: u64,
        namespace: Namespace,
        now: TimestampMs,
    ) -> Self {
        Self {
            worker_id,
            worker_instance_id,
            lanes,
            capabilities,
            liveness_ttl_ms,
            namespace,
            now,
            version: None,
        }
    }

    /// The same with the version of the worker's program.
    #[must_use]
    pub fn with_version(self, version: impl Into<String>) -> Self {
        Self { version: Some(version.into()), ..self }
    }
}

/// The outcome of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegisterWorkerOutcome {
    /// The instance is new.
    Registered,
    /// The instance was known; its record is replaced.
    Refreshed,
}

/// Records the heartbeat of a worker instance.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeartbeatWorkerArgs {
    /// The running instance of the worker.
    pub worker_instance_id: WorkerInstanceId,
    /// The namespace.
    pub namespace: Namespace,
    /// The caller's clock.
    pub now: TimestampMs,
}

impl HeartbeatWorkerArgs {
    /// One parameter per field, in order.
    #[must_use]
    pub const fn new(
        worker_instance_id: WorkerInstanceId,
        namespace: Namespace,
        now: TimestampMs,
    ) -> Self {
        Self { worker_instance_id, namespace, now }
    }
}

/// The outcome of a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeartbeatWorkerOutcome {
    /// The instance counts as alive.
    Refreshed {
        /// The time from which the worker counts as dead without another heartbeat.
        next_expiry_ms: TimestampMs,
    },
    /// The instance is unknown and has to register.
    NotRegistered,
}

/// Declares a worker instance dead.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MarkWorkerDeadArgs {
    /// The running instance of the worker.
    pub worker_instance_id: WorkerInstanceId,
    /// The namespace.
    pub namespace: Namespace,
    /// The reason.
    pub reason: String,
    /// The caller's clock.
    pub now: TimestampMs,
}

impl MarkWorkerDeadArgs {
    /// One parameter per field, in order.
    #[must_use]
    pub const fn new(
        worker_instance_id: WorkerInstanceId,
        namespace: Namespace,
        reason: String,
        now: TimestampMs,
    ) -> Self {
        Self { worker_instance_id, namespace, reason, now }
    }
}

/// The outcome of declaring a worker dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MarkWorkerDeadOutcome {
    /// The instance is no longer registered.
    Marked,
    /// The instance was not registered.
    NotRegistered,
}

/// A position among expired leases, by expiry and then by execution.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExpiredLeasesCursor {
    /// The expiry of the lease, in Unix milliseconds.
    pub expires_at_ms: TimestampMs,
    /// The execution.
    pub execution_id: ExecutionId,
}

impl ExpiredLeasesCursor {
    /// One parameter per field, in order.
    #[must_use]
    pub const fn new(expires_at_ms: TimestampMs, execution_id: ExecutionId) -> Self {
        Self { expires_at_ms, execution_id }
    }
}

/// Lists expired leases.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListExpiredLeasesArgs {
    /// Only leases that expired at or before this time.
    pub as_of: TimestampMs,
    /// Only entries after this one.
    pub after: Option<ExpiredLeasesCursor>,
    /// The most entries to return: [`LIST_EXPIRED_LEASES_DEFAULT_LIMIT`] when absent, never more
    /// than [`LIST_EXPIRED_LEASES_MAX_LIMIT`].
    pub limit: Option<u32>,
    /// The most partitions to look at. Has no effect in this version: a listing covers all
    /// partitions.
    pub max_partitions_per_call: Option<u32>,
    /// Only entries of this namespace.
    pub namespace: Option<Namespace>,
}

impl ListExpiredLeasesArgs {
    /// One parameter per field, in order; other fields stay empty.
    #[must_use]
    pub const fn new(as_of: TimestampMs) -> Self {
        Self { as_of, after: None, limit: None, max_partitions_per_call: None, namespace: None }
    }
}

/// A lease that ran out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExpiredLeaseInfo {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The lease.
    pub lease_id: LeaseId,
    /// The lease's epoch.
    pub lease_epoch: LeaseEpoch,
    /// The running instance of the worker.
    pub worker_instance_id: WorkerInstanceId,
    /// The time at which the lease expired.
    pub expires_at_ms: TimestampMs,
    /// The attempt's number, from zero.
    pub attempt_index: AttemptIndex,
}

impl ExpiredLeaseInfo {
    /// One parameter per field, in order.
    #[must_use]
    pub const fn new(
        execution_id: ExecutionId,
        lease_id: LeaseId,
        lease_epoch: LeaseEpoch,
        worker_instance_id: WorkerInstanceId,
        expires_at_ms: TimestampMs,
        attempt_index: AttemptIndex,
    ) -> Self {
        Self {
            execution_id,
            lease_id,
            lease_epoch,
            worker_instance_id,
            expires_at_ms,
            attempt_index,
        }
    }
}

/// A page of expired leases.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListExpiredLeasesResult {
    /// The entries.
    pub entries: Vec<ExpiredLeaseInfo>,
    /// The cursor of the next page; absent on the last.
    pub cursor: Option<ExpiredLeasesCursor>,
}

impl ListExpiredLeasesResult {
    /// One parameter per field, in order.
    #[must_use]
    pub const fn new(entries: Vec<ExpiredLeaseInfo>, cursor: Option<ExpiredLeasesCursor>) -> Self {
        Self { entries, cursor }
    }
}

/// Lists registered workers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListWorkersArgs {
    /// Only entries of this namespace.
    pub namespace: Option<Namespace>,
    /// Only entries after this one.
    pub after: Option<WorkerInstanceId>,
    /// The most entries to answer.
    pub limit: Option<u32>,
}

impl ListWorkersArgs {
    /// All workers, with the backend's own limit.
    #[must_use]
    pub const fn new() -> Self {
        Self { namespace: None, after: None, limit: None }
    }
}

impl Default for ListWorkersArgs {
    fn default() -> Self {
        Self::new()
    }
}

/// A registered worker.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerInfo {
    /// The worker.
    pub worker_id: WorkerId,
    /// The running instance of the worker.
    pub worker_instance_id: WorkerInstanceId,
    /// The namespace.
    pub namespace: Namespace,
    /// The lanes that the worker serves.
    pub lanes: BTreeSet<LaneId>,
    /// The capability tokens that the worker offers.
    pub capabilities: BTreeSet<String>,
    /// The time of the last registration or heartbeat.
    pub last_heartbeat_ms: TimestampMs,
    /// The time for which the worker counts as alive without a heartbeat, in milliseconds.
    pub liveness_ttl_ms: u64,
    /// The time of the registration.
    pub registered_at_ms: TimestampMs,
    /// The version of the worker's program, where it gave one. An addition.
    pub version: Option<String>,
}

impl WorkerInfo {
    /// One parameter per field, in order.
    #[expect(clippy::too_many_arguments, reason = "one per field, each of its own meaning")]
    #[must_use]
    pub const fn new(
        worker_id: WorkerId,
        worker_instance_id: WorkerInstanceId,
        namespace: Namespace,
        lanes: BTreeSet<LaneId>,
        capabilities: BTreeSet<String>,
        last_heartbeat_ms: TimestampMs,
        liveness_ttl_ms: u64,
        registered_at_ms: TimestampMs,
    ) -> Self {
        Self {
            worker_id,
            worker_instance_id,
            namespace,
            lanes,
            capabilities,
            last_heartbeat_ms,
            liveness_ttl_ms,
            registered_at_ms,
            version: None,
        }
    }

    /// True while the worker counts as alive at that time.
    #[must_use]
    pub fn is_alive(&self, at: TimestampMs) -> bool {
        let ttl = i64::try_from(self.liveness_ttl_ms).unwrap_or(i64::MAX);
        at.0 < self.last_heartbeat_ms.0.saturating_add(ttl)
    }
}

/// A page of workers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListWorkersResult {
    /// The entries.
    pub entries: Vec<WorkerInfo>,
    /// The cursor of the next page; absent on the last.
    pub cursor: Option<WorkerInstanceId>,
}

impl ListWorkersResult {
    /// One parameter per field, in order.
    #[must_use]
    pub const fn new(entries: Vec<WorkerInfo>, cursor: Option<WorkerInstanceId>) -> Self {
        Self { entries, cursor }
    }
}
