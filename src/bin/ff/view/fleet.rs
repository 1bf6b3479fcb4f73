//! Lanes, workers and leases.

use ff_core::contracts::{LaneInfo, LeaseInfo, WorkerInfo};
use ff_core::state::{ClosedSet as _, LaneState};
use ff_core::types::{ExecutionId, LaneId, WorkerId, WorkerInstanceId};
use serde::Serialize;

/// A lane: `lanes pause`, `lanes resume`, `lanes drain`, `lanes disable`, and one of `lanes ls`.
#[derive(Debug, Serialize)]
pub(crate) struct LaneView<'a> {
    lane_id: &'a str,
    state: &'static str,
    reason: Option<&'a str>,
    actor: Option<&'a str>,
    registered_at_ms: i64,
    since_ms: Option<i64>,
    until_ms: Option<i64>,
}

impl<'a> LaneView<'a> {
    pub(crate) fn of(lane: &'a LaneInfo) -> Self {
        let state: LaneState = lane.state;
        Self {
            lane_id: lane.lane_id.as_str(),
            state: state.as_str(),
            reason: lane.reason.as_deref(),
            actor: lane.actor.as_deref(),
            registered_at_ms: lane.registered_at.0,
            since_ms: lane.since.map(|at| at.0),
            until_ms: lane.until.map(|at| at.0),
        }
    }
}

/// `lanes ls`.
#[derive(Debug, Serialize)]
pub(crate) struct LanesView<'a> {
    pub(crate) lanes: Vec<LaneView<'a>>,
}

/// A lease.
#[derive(Debug, Serialize)]
pub(crate) struct LeaseView<'a> {
    execution_id: &'a ExecutionId,
    lane_id: &'a str,
    worker_id: Option<&'a str>,
    worker_instance_id: Option<&'a str>,
    attempt_index: u32,
    lease_epoch: u64,
    expires_at_ms: i64,
}

impl<'a> LeaseView<'a> {
    pub(crate) fn of(lease: &'a LeaseInfo) -> Self {
        Self {
            execution_id: &lease.execution_id,
            lane_id: lease.lane_id.as_str(),
            worker_id: lease.worker_id.as_ref().map(WorkerId::as_str),
            worker_instance_id: lease.worker_instance_id.as_ref().map(WorkerInstanceId::as_str),
            attempt_index: lease.attempt_index.0,
            lease_epoch: lease.lease_epoch.0,
            expires_at_ms: lease.expires_at.0,
        }
    }
}

/// `leases`.
#[derive(Debug, Serialize)]
pub(crate) struct LeasesView<'a> {
    pub(crate) leases: Vec<LeaseView<'a>>,
}

/// A worker.
#[derive(Debug, Serialize)]
pub(crate) struct WorkerView<'a> {
    worker_id: &'a str,
    worker_instance_id: &'a str,
    namespace: &'a str,
    state: &'static str,
    lanes: Vec<&'a str>,
    capabilities: Vec<&'a str>,
    version: Option<&'a str>,
    registered_at_ms: i64,
    last_heartbeat_ms: i64,
    liveness_ttl_ms: u64,
    holds: Vec<&'a ExecutionId>,
}

impl<'a> WorkerView<'a> {
    pub(crate) fn of(state: &'static str, worker: &'a WorkerInfo, held: &'a [LeaseInfo]) -> Self {
        Self {
            worker_id: worker.worker_id.as_str(),
            worker_instance_id: worker.worker_instance_id.as_str(),
            namespace: worker.namespace.as_str(),
            state,
            lanes: worker.lanes.iter().map(LaneId::as_str).collect(),
            capabilities: worker.capabilities.iter().map(String::as_str).collect(),
            version: worker.version.as_deref(),
            registered_at_ms: worker.registered_at_ms.0,
            last_heartbeat_ms: worker.last_heartbeat_ms.0,
            liveness_ttl_ms: worker.liveness_ttl_ms,
            holds: held.iter().map(|lease| &lease.execution_id).collect(),
        }
    }
}

/// `workers`.
#[derive(Debug, Serialize)]
pub(crate) struct WorkersView<'a> {
    pub(crate) workers: Vec<WorkerView<'a>>,
}

/// One lease of `revoke`.
#[derive(Debug, Serialize)]
pub(crate) struct RevokedView<'a> {
    pub(crate) execution_id: &'a ExecutionId,
    pub(crate) outcome: &'static str,
}

/// `revoke`.
#[derive(Debug, Serialize)]
pub(crate) struct RevocationsView<'a> {
    pub(crate) leases: Vec<RevokedView<'a>>,
}
