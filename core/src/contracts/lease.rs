//! Listings of the leases that workers hold.

use serde::Serialize;

use crate::model::ids::{
    AttemptIndex, ExecutionId, LaneId, LeaseEpoch, TimestampMs, WorkerId, WorkerInstanceId,
};

/// Lists leases of running executions, the first to expire first.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListLeasesArgs {
    /// Only those of this running instance of a worker.
    pub worker_instance_id: Option<WorkerInstanceId>,
    /// Only those that expired at or before this time.
    pub expired_by: Option<TimestampMs>,
    /// Only leases after this one.
    pub after: Option<LeaseCursor>,
    /// The most leases to return.
    pub limit: u32,
}

impl ListLeasesArgs {
    /// All leases, up to a number.
    #[must_use]
    pub const fn new(limit: u32) -> Self {
        Self { worker_instance_id: None, expired_by: None, after: None, limit }
    }

    /// Only those of this running instance of a worker.
    #[must_use]
    pub fn with_worker(self, instance: WorkerInstanceId) -> Self {
        Self { worker_instance_id: Some(instance), ..self }
    }

    /// Only those that expired at or before this time.
    #[must_use]
    pub fn with_expired_by(self, at: TimestampMs) -> Self {
        Self { expired_by: Some(at), ..self }
    }

    /// Only leases after this one.
    #[must_use]
    pub fn with_after(self, after: LeaseCursor) -> Self {
        Self { after: Some(after), ..self }
    }
}

/// A position among leases, by expiry and then by execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseCursor {
    /// The expiry of the lease.
    pub expires_at: TimestampMs,
    /// The execution.
    pub execution_id: ExecutionId,
}

/// A lease that a worker holds, or held until it expired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeaseInfo {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The lane of the execution.
    pub lane_id: LaneId,
    /// The attempt's number, from zero.
    pub attempt_index: AttemptIndex,
    /// The lease's epoch.
    pub lease_epoch: LeaseEpoch,
    /// The worker, where it is recorded.
    pub worker_id: Option<WorkerId>,
    /// The running instance of the worker, where it is recorded.
    pub worker_instance_id: Option<WorkerInstanceId>,
    /// The time of the expiry.
    pub expires_at: TimestampMs,
}

/// A page of leases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeasesPage {
    /// The leases.
    pub leases: Vec<LeaseInfo>,
    /// The last lease of this page; `None` when no more follow.
    pub next_cursor: Option<LeaseCursor>,
}
