//! Explanations: every reason why an execution is not running, as values.
//!
//! Each variant of [`NotRunning`] has a wire form that names its kind, and says what would change
//! it ([`NotRunning::remedy`]).

mod remedy;

use serde::{Deserialize, Serialize};

use super::{CapabilitySet, Scan};
use crate::model::ids::{
    AttemptIndex, ExecutionId, FlowId, LaneId, LeaseEpoch, TimestampMs, WaitpointId, WorkerId,
    WorkerInstanceId,
};
use crate::model::state::{
    BlockingReason, CompletionKind, EligibilityState, LaneState, PublicState,
};

pub use remedy::Remedy;

/// The most unmet dependencies, and the most waitpoints, that an explanation lists.
pub const EXPLANATION_LISTS_MAX: usize = 100;

/// Asks why an execution is not running. An addition.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExplainExecutionArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The worker that is to claim it; any registered worker that is alive when absent.
    pub worker: Option<ClaimingWorker>,
}

impl ExplainExecutionArgs {
    /// Asks whether any registered worker could claim the execution.
    #[must_use]
    pub const fn new(execution_id: ExecutionId) -> Self {
        Self { execution_id, worker: None }
    }

    /// Asks whether this worker could.
    #[must_use]
    pub fn for_worker(self, worker: ClaimingWorker) -> Self {
        Self { worker: Some(worker), ..self }
    }
}

/// A worker as it claims: it need not be registered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClaimingWorker {
    /// The lane that it claims from.
    pub lane_id: LaneId,
    /// The capability tokens that it offers.
    pub capabilities: CapabilitySet,
}

impl ClaimingWorker {
    /// A worker that claims from that lane with these capabilities.
    #[must_use]
    pub const fn new(lane_id: LaneId, capabilities: CapabilitySet) -> Self {
        Self { lane_id, capabilities }
    }
}

/// The reasons why an execution is not running.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Explanation {
    /// The execution.
    pub execution_id: ExecutionId,
    /// Its lane.
    pub lane_id: LaneId,
    /// Its state.
    pub public_state: PublicState,
    /// The time that the reasons hold at, by the backend's clock.
    pub at_ms: TimestampMs,
    /// Every reason, that of its own state first. Without any, the next claim of the worker takes
    /// the execution, once no other comes before it in its lane.
    pub reasons: Vec<NotRunning>,
}

impl Explanation {
    /// One parameter per field, in order.
    #[must_use]
    pub const fn new(
        execution_id: ExecutionId,
        lane_id: LaneId,
        public_state: PublicState,
        at_ms: TimestampMs,
        reasons: Vec<NotRunning>,
    ) -> Self {
        Self { execution_id, lane_id, public_state, at_ms, reasons }
    }
}

/// One reason why no worker, or not the given worker, can claim an execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum NotRunning {
    /// It has ended.
    Ended {
        /// The outcome.
        outcome: PublicState,
        /// The time of its end.
        ended_at_ms: Option<TimestampMs>,
    },
    /// A worker runs it.
    Running {
        /// The worker pool.
        worker_id: Option<WorkerId>,
        /// The running instance of it.
        worker_instance_id: Option<WorkerInstanceId>,
        /// The attempt's number, from zero.
        attempt_index: AttemptIndex,
        /// The lease's epoch.
        lease_epoch: LeaseEpoch,
        /// The expiry of the lease.
        lease_expires_at_ms: Option<TimestampMs>,
    },
    /// It is suspended and waits for signals.
    Suspended {
        /// The kind of wait.
        blocking_reason: Option<BlockingReason>,
        /// The open waitpoints that it waits at, at most [`EXPLANATION_LISTS_MAX`].
        waitpoints: Vec<AwaitedWaitpoint>,
        /// The time at which the wait is given up.
        timeout_at_ms: Option<TimestampMs>,
    },
    /// It waits for a time.
    Delayed {
        /// The time.
        until_ms: TimestampMs,
        /// The kind of wait, such as the pause before a retry.
        blocking_reason: Option<BlockingReason>,
    },
    /// It waits for other executions of its flow.
    WaitingForDependencies {
        /// The flow.
        flow_id: Option<FlowId>,
        /// The dependencies that are not met, at most [`EXPLANATION_LISTS_MAX`].
        unmet: Vec<UnmetDependency>,
    },
    /// Its flow is not released yet.
    HeldBack {
        /// The flow.
        flow_id: FlowId,
    },
    /// A scheduler or an operator has blocked it.
    Blocked {
        /// The kind of block.
        eligibility: EligibilityState,
        /// The reason code.
        blocking_reason: Option<BlockingReason>,
        /// The reason in the words of the caller that blocked it.
        detail: Option<String>,
    },
    /// An operator has closed its lane to claims.
    LaneClosed {
        /// The lane.
        lane_id: LaneId,
        /// The state of the lane.
        state: LaneState,
        /// The operator that set the state.
        actor: Option<String>,
        /// The operator's reason.
        reason: Option<String>,
        /// The time when the state was set.
        since_ms: Option<TimestampMs>,
        /// The time from which the lane is active again; without end when absent.
        until_ms: Option<TimestampMs>,
    },
    /// The given worker claims from another lane.
    AnotherLane {
        /// The lane of the execution.
        lane_id: LaneId,
        /// The lane of the worker.
        worker_lane_id: LaneId,
    },
    /// A grant reserves it.
    Reserved {
        /// The worker pool that it is reserved for, where a grant is stored.
        worker_id: Option<WorkerId>,
        /// The instance that the grant was issued to.
        worker_instance_id: Option<WorkerInstanceId>,
        /// The time at which the reservation lapses.
        until_ms: TimestampMs,
    },
    /// One of its budgets has no room in a dimension.
    BudgetWithoutRoom {
        /// The budget.
        budget_id: String,
        /// The dimension.
        dimension: String,
        /// The amount used.
        used: u64,
        /// The amount that other executions have reserved; 0 where the execution has no estimate,
        /// since reservations do not count then.
        reserved: u64,
        /// The amount that the execution would reserve.
        requested: u64,
        /// The hard limit, raised by what was approved.
        limit: u64,
    },
    /// So many executions have reserved something of one of its budgets that no more are counted.
    TooManyReservations {
        /// The budget.
        budget_id: String,
    },
    /// As many executions of one of its keys run as the limit allows.
    LimitReached {
        /// The key that the execution names.
        limit_key: String,
        /// The limit's own key: that one, or its family.
        limit: String,
        /// The most executions that run at once.
        max_running: u64,
        /// The executions that hold a permit.
        running: u64,
        /// Some of them, at most [`EXPLANATION_LISTS_MAX`].
        holders: Vec<ExecutionId>,
    },
    /// As many executions of one of its keys have started as the limit allows in that time.
    RateReached {
        /// The key that the execution names.
        limit_key: String,
        /// The limit's own key: that one, or its family.
        limit: String,
        /// The time from which it may start, if no other comes first.
        next_start_ms: TimestampMs,
    },
    /// The given worker lacks capabilities.
    MissingCapabilities {
        /// The tokens that it lacks.
        missing: Vec<String>,
    },
    /// No registered worker that is alive could claim it.
    NoLiveWorker {
        /// The lane.
        lane_id: LaneId,
        /// The registered workers that are alive and claim from the lane.
        live_in_lane: u32,
        /// The tokens that the best of them lacks; all that are required where there is none.
        missing: Vec<String>,
    },
    /// A scan that would move it on has been due since some time, and no scanner has applied it.
    ScanDue {
        /// The scan.
        scan: Scan,
        /// The time at which it became due.
        since_ms: TimestampMs,
    },
}

/// An open waitpoint of a suspended execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AwaitedWaitpoint {
    /// The waitpoint.
    pub waitpoint_id: WaitpointId,
    /// The caller's name for it.
    pub waitpoint_key: String,
    /// The signals that it accepts; any when empty.
    pub required_signal_names: Vec<String>,
}

/// A dependency that is not met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnmetDependency {
    /// The execution that is waited for.
    pub execution_id: ExecutionId,
    /// Its state.
    pub public_state: PublicState,
    /// The outcome that was applied to the edge; absent until then.
    pub outcome: Option<CompletionKind>,
}
