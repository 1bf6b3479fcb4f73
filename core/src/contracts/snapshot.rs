//! The answers of reads and listings.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{EdgeGroupSnapshot, LaneInfo};
use crate::model::hidden::Hidden;
use crate::model::ids::{
    AttemptId, AttemptIndex, ExecutionId, FlowId, LaneId, LeaseEpoch, LeaseId, Namespace,
    TimestampMs, WaitpointId, WorkerId, WorkerInstanceId,
};
use crate::model::state::{AttemptOutcome, FailureClass, LeaseCause, PublicState, StateVector};

/// Everything that operators read about one execution.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExecutionInfo {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The tenant that it belongs to.
    pub namespace: String,
    /// The lane that it is claimed from.
    pub lane_id: String,
    /// Higher goes first.
    pub priority: i32,
    /// The kind of work, as the submitter names it.
    pub execution_kind: String,
    /// Its state in every dimension.
    pub state_vector: StateVector,
    /// The state that users see.
    pub public_state: PublicState,
    /// The creation time.
    pub created_at: String,
    /// The start of its first attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// The end time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<String>,
    /// Its current attempt.
    pub current_attempt_index: u32,
    /// The flow that it belongs to.
    pub flow_id: Option<String>,
    /// The reason why it does not proceed, in detail; empty if there is none.
    pub blocking_detail: String,
    /// The time since which it can be claimed, Unix ms; a future time while it is delayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimable_since: Option<String>,
    /// The time of the last change, Unix ms.
    #[serde(default)]
    pub last_mutation_at: String,
    /// The failure of the attempt that failed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<FailureSummary>,
    /// The reason and the source of its cancellation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancellation: Option<CancellationSummary>,
}

/// A failure, in words and by class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FailureSummary {
    /// The message, in the words of the worker or of the engine.
    pub message: String,
    /// The class of the failure, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<FailureClass>,
}

impl FailureSummary {
    /// Puts the parts together.
    #[must_use]
    pub fn new(message: impl Into<String>, class: Option<FailureClass>) -> Self {
        Self { message: message.into(), class }
    }
}

/// The reason and the source of a cancellation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CancellationSummary {
    /// The reason that was given.
    pub reason: Option<String>,
    /// The source of the cancellation.
    pub cancelled_by: Option<String>,
}

impl CancellationSummary {
    /// Puts the parts together; `None` where there are none.
    #[must_use]
    pub fn of(reason: Option<String>, cancelled_by: Option<String>) -> Option<Self> {
        (reason.is_some() || cancelled_by.is_some()).then_some(Self { reason, cancelled_by })
    }
}

/// One execution as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExecutionSnapshot {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The flow that it belongs to.
    pub flow_id: Option<FlowId>,
    /// The lane that it is claimed from.
    pub lane_id: LaneId,
    /// The tenant that it belongs to.
    pub namespace: Namespace,
    /// The state that users see.
    pub public_state: PublicState,
    /// The reason why it does not proceed, as one word.
    pub blocking_reason: Option<String>,
    /// The reason why it does not proceed, in detail.
    pub blocking_detail: Option<String>,
    /// Its current attempt.
    pub current_attempt: Option<AttemptSummary>,
    /// The lease that a worker holds on it.
    pub current_lease: Option<LeaseSummary>,
    /// The waitpoint that it waits at.
    pub current_waitpoint: Option<WaitpointId>,
    /// The creation time.
    pub created_at: TimestampMs,
    /// The time of the last change.
    pub last_mutation_at: TimestampMs,
    /// The number of claims so far.
    pub total_attempt_count: u32,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// The time since which it can be claimed; a future time while it is delayed.
    pub claimable_since: Option<TimestampMs>,
    /// The failure of the attempt that failed last.
    pub last_failure: Option<FailureSummary>,
    /// The reason and the source of its cancellation.
    pub cancellation: Option<CancellationSummary>,
}

impl ExecutionSnapshot {
    /// Puts the parts together.
    #[must_use]
    #[allow(clippy::too_many_arguments)] // one per field
    pub fn new(
        execution_id: ExecutionId,
        flow_id: Option<FlowId>,
        lane_id: LaneId,
        namespace: Namespace,
        public_state: PublicState,
        blocking_reason: Option<String>,
        blocking_detail: Option<String>,
        current_attempt: Option<AttemptSummary>,
        current_lease: Option<LeaseSummary>,
        current_waitpoint: Option<WaitpointId>,
        created_at: TimestampMs,
        last_mutation_at: TimestampMs,
        total_attempt_count: u32,
        tags: BTreeMap<String, String>,
    ) -> Self {
        Self {
            execution_id,
            flow_id,
            lane_id,
            namespace,
            public_state,
            blocking_reason,
            blocking_detail,
            current_attempt,
            current_lease,
            current_waitpoint,
            created_at,
            last_mutation_at,
            total_attempt_count,
            tags,
            claimable_since: None,
            last_failure: None,
            cancellation: None,
        }
    }

    /// Sets the time since which it can be claimed.
    #[must_use]
    pub fn with_claimable_since(mut self, since: Option<TimestampMs>) -> Self {
        self.claimable_since = since;
        self
    }
}

/// Names one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttemptSummary {
    /// Its id.
    pub attempt_id: AttemptId,
    /// Its number within the execution.
    pub attempt_index: AttemptIndex,
}

impl AttemptSummary {
    /// Puts the parts together.
    #[must_use]
    pub fn new(attempt_id: AttemptId, attempt_index: AttemptIndex) -> Self {
        Self { attempt_id, attempt_index }
    }
}

/// The lease that a worker holds on an execution.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseSummary {
    /// The lease's epoch: the number of leases that the execution has had.
    pub lease_epoch: LeaseEpoch,
    /// The worker instance that holds the lease.
    pub worker_instance_id: WorkerInstanceId,
    /// The lease's expiry.
    pub expires_at: TimestampMs,
    /// The lease.
    pub lease_id: LeaseId,
    /// The attempt that it is for.
    pub attempt_index: AttemptIndex,
    /// The time of the last renewal.
    pub last_heartbeat_at: Option<TimestampMs>,
}

impl LeaseSummary {
    /// A lease with the nil id, for the first attempt, never renewed.
    #[must_use]
    pub fn new(
        lease_epoch: LeaseEpoch,
        worker_instance_id: WorkerInstanceId,
        expires_at: TimestampMs,
    ) -> Self {
        Self {
            lease_epoch,
            worker_instance_id,
            expires_at,
            lease_id: LeaseId::from_uuid(Uuid::nil()),
            attempt_index: AttemptIndex::new(0),
            last_heartbeat_at: None,
        }
    }

    /// Sets the lease's id.
    #[must_use]
    pub fn with_lease_id(mut self, lease_id: LeaseId) -> Self {
        self.lease_id = lease_id;
        self
    }

    /// Sets the attempt that the lease is for.
    #[must_use]
    pub fn with_attempt_index(mut self, attempt_index: AttemptIndex) -> Self {
        self.attempt_index = attempt_index;
        self
    }

    /// Sets the time of the last renewal.
    #[must_use]
    pub fn with_last_heartbeat_at(mut self, ts: TimestampMs) -> Self {
        self.last_heartbeat_at = Some(ts);
        self
    }
}

/// The data that a worker needs to start on an execution.
#[derive(Clone, derive_more::Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExecutionContext {
    /// The input, as the submitter gave it.
    #[debug("{}", Hidden(input_payload))]
    pub input_payload: Vec<u8>,
    /// The kind of work, as the submitter names it.
    pub execution_kind: String,
    /// Its tags.
    pub tags: HashMap<String, String>,
    /// The timeout of one attempt, in milliseconds; none when absent. An addition.
    pub attempt_timeout_ms: Option<u64>,
}

impl ExecutionContext {
    /// Puts the parts together.
    #[must_use]
    pub fn new(
        input_payload: Vec<u8>,
        execution_kind: String,
        tags: HashMap<String, String>,
    ) -> Self {
        Self { input_payload, execution_kind, tags, attempt_timeout_ms: None }
    }

    /// Sets the timeout of one attempt, in milliseconds.
    #[must_use]
    pub fn with_attempt_timeout_ms(mut self, attempt_timeout_ms: Option<u64>) -> Self {
        self.attempt_timeout_ms = attempt_timeout_ms;
        self
    }
}

/// One flow as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlowSnapshot {
    /// The flow.
    pub flow_id: FlowId,
    /// The kind of flow, as the submitter names it.
    pub flow_kind: String,
    /// The tenant that it belongs to.
    pub namespace: Namespace,
    /// The state that users see; see [`FlowStatus::from_public_flow_state`].
    pub public_flow_state: String,
    /// Counts the changes of its graph.
    pub graph_revision: u64,
    /// The number of members.
    pub node_count: u32,
    /// The number of edges.
    pub edge_count: u32,
    /// The creation time.
    pub created_at: TimestampMs,
    /// The time of the last change.
    pub last_mutation_at: TimestampMs,
    /// The time of the cancellation.
    pub cancelled_at: Option<TimestampMs>,
    /// The reason for the cancellation.
    pub cancel_reason: Option<String>,
    /// The stored name of the policy that selected the members to cancel.
    pub cancellation_policy: Option<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// The dependencies of its members.
    pub edge_groups: Vec<EdgeGroupSnapshot>,
}

impl FlowSnapshot {
    /// Puts the parts together.
    #[must_use]
    #[allow(clippy::too_many_arguments)] // one per field
    pub fn new(
        flow_id: FlowId,
        flow_kind: String,
        namespace: Namespace,
        public_flow_state: String,
        graph_revision: u64,
        node_count: u32,
        edge_count: u32,
        created_at: TimestampMs,
        last_mutation_at: TimestampMs,
        cancelled_at: Option<TimestampMs>,
        cancel_reason: Option<String>,
        cancellation_policy: Option<String>,
        tags: BTreeMap<String, String>,
        edge_groups: Vec<EdgeGroupSnapshot>,
    ) -> Self {
        Self {
            flow_id,
            flow_kind,
            namespace,
            public_flow_state,
            graph_revision,
            node_count,
            edge_count,
            created_at,
            last_mutation_at,
            cancelled_at,
            cancel_reason,
            cancellation_policy,
            tags,
            edge_groups,
        }
    }
}

/// The coarse status of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FlowStatus {
    /// It has not ended.
    Active,
    /// It ended well.
    Completed,
    /// It ended badly.
    Failed,
    /// It was cancelled.
    Cancelled,
    /// Its stored state is none that this version knows.
    Unknown,
}

impl FlowStatus {
    /// The status that a flow's stored state stands for.
    #[must_use]
    pub fn from_public_flow_state(raw: &str) -> Self {
        match raw {
            "open" | "running" | "blocked" => Self::Active,
            "completed" => Self::Completed,
            "failed" => Self::Failed,
            "cancelled" => Self::Cancelled,
            _ => Self::Unknown,
        }
    }
}

/// One flow in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlowSummary {
    /// The flow.
    pub flow_id: FlowId,
    /// The creation time.
    pub created_at: TimestampMs,
    /// The status.
    pub status: FlowStatus,
}

impl FlowSummary {
    /// Puts the parts together.
    #[must_use]
    pub fn new(flow_id: FlowId, created_at: TimestampMs, status: FlowStatus) -> Self {
        Self { flow_id, created_at, status }
    }
}

/// A page of flows, by ascending id.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListFlowsPage {
    /// The flows.
    pub flows: Vec<FlowSummary>,
    /// The last flow of this page; `None` when no more follow.
    pub next_cursor: Option<FlowId>,
}

impl ListFlowsPage {
    /// Puts the parts together.
    #[must_use]
    pub fn new(flows: Vec<FlowSummary>, next_cursor: Option<FlowId>) -> Self {
        Self { flows, next_cursor }
    }
}

/// A page of execution ids, ascending.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ListExecutionsPage {
    /// The executions.
    pub executions: Vec<ExecutionId>,
    /// The last execution of this page; `None` when no more follow.
    pub next_cursor: Option<ExecutionId>,
}

impl ListExecutionsPage {
    /// Puts the parts together.
    #[must_use]
    pub fn new(executions: Vec<ExecutionId>, next_cursor: Option<ExecutionId>) -> Self {
        Self { executions, next_cursor }
    }
}

/// A page of lanes, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListLanesPage {
    /// The lanes.
    pub lanes: Vec<LaneId>,
    /// The last lane of this page; `None` when no more follow.
    pub next_cursor: Option<LaneId>,
    /// The same lanes with their states. An addition.
    pub details: Vec<LaneInfo>,
}

impl ListLanesPage {
    /// Puts the parts together.
    #[must_use]
    pub fn new(lanes: Vec<LaneId>, next_cursor: Option<LaneId>) -> Self {
        Self { lanes, next_cursor, details: Vec::new() }
    }

    /// The page of these lanes.
    #[must_use]
    pub fn of(details: Vec<LaneInfo>, next_cursor: Option<LaneId>) -> Self {
        let lanes = details.iter().map(|lane| lane.lane_id.clone()).collect();
        Self { lanes, next_cursor, details }
    }
}

/// One suspended execution in a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SuspendedExecutionEntry {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The time of the suspension, in Unix milliseconds.
    pub suspended_at_ms: i64,
    /// The reason for the suspension.
    pub reason: String,
}

impl SuspendedExecutionEntry {
    /// Puts the parts together.
    #[must_use]
    pub fn new(execution_id: ExecutionId, suspended_at_ms: i64, reason: String) -> Self {
        Self { execution_id, suspended_at_ms, reason }
    }
}

/// A page of suspended executions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ListSuspendedPage {
    /// The executions.
    pub entries: Vec<SuspendedExecutionEntry>,
    /// The last execution of this page; `None` when no more follow.
    pub next_cursor: Option<ExecutionId>,
}

impl ListSuspendedPage {
    /// Puts the parts together.
    #[must_use]
    pub fn new(entries: Vec<SuspendedExecutionEntry>, next_cursor: Option<ExecutionId>) -> Self {
        Self { entries, next_cursor }
    }
}

/// A query for executions, newest first; an absent filter lets every execution through. Bulk
/// actions take the same filters, and go by partition and UUID.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ExecutionQuery {
    /// Only those of this lane.
    pub lane_id: Option<LaneId>,
    /// Only those in this state.
    pub public_state: Option<PublicState>,
    /// Only those of this tenant.
    pub namespace: Option<Namespace>,
    /// Only the members of this flow.
    pub flow_id: Option<FlowId>,
    /// Only those with this tag, by key and value.
    pub tag: Option<(String, String)>,
    /// Only those created at or before this time.
    pub created_by: Option<TimestampMs>,
    /// Only those created at or after this time.
    pub created_since: Option<TimestampMs>,
    /// Only those of this kind of work.
    pub execution_kind: Option<String>,
    /// Only those with a last failure of this class.
    pub failure_class: Option<FailureClass>,
    /// Only those submitted with this idempotency key.
    pub idempotency_key: Option<String>,
    /// Only those with a current attempt that this worker, or this instance of one, holds or held
    /// last. An instance is known only while it holds the lease.
    pub worker: Option<String>,
    /// Only those after this one in the order of the list. For a listing, it must still exist.
    pub after: Option<ExecutionId>,
    /// The most executions to return; more than 1000 counts as 1000.
    pub limit: u32,
}

impl ExecutionQuery {
    /// The first `limit` executions of any kind.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self {
            lane_id: None,
            public_state: None,
            namespace: None,
            flow_id: None,
            tag: None,
            created_by: None,
            created_since: None,
            execution_kind: None,
            failure_class: None,
            idempotency_key: None,
            worker: None,
            after: None,
            limit,
        }
    }

    /// Keeps only the executions created at or after `at`.
    #[must_use]
    pub fn with_created_since(mut self, at: TimestampMs) -> Self {
        self.created_since = Some(at);
        self
    }

    /// Keeps only the executions of one kind of work.
    #[must_use]
    pub fn with_execution_kind(mut self, kind: impl Into<String>) -> Self {
        self.execution_kind = Some(kind.into());
        self
    }

    /// Keeps only the executions with a last failure of one class.
    #[must_use]
    pub fn with_failure_class(mut self, class: FailureClass) -> Self {
        self.failure_class = Some(class);
        self
    }

    /// Keeps only the executions that were submitted with one idempotency key.
    #[must_use]
    pub fn with_idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// Keeps only the executions with a current attempt of one worker or instance.
    #[must_use]
    pub fn with_worker(mut self, worker: impl Into<String>) -> Self {
        self.worker = Some(worker.into());
        self
    }

    /// Keeps only the members of one flow.
    #[must_use]
    pub fn with_flow_id(mut self, flow_id: FlowId) -> Self {
        self.flow_id = Some(flow_id);
        self
    }

    /// Keeps only the executions with one tag.
    #[must_use]
    pub fn with_tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tag = Some((key.into(), value.into()));
        self
    }

    /// Keeps only the executions created at or before `at`.
    #[must_use]
    pub fn with_created_by(mut self, at: TimestampMs) -> Self {
        self.created_by = Some(at);
        self
    }

    /// Keeps only the executions of one lane.
    #[must_use]
    pub fn with_lane_id(mut self, lane_id: LaneId) -> Self {
        self.lane_id = Some(lane_id);
        self
    }

    /// Keeps only the executions in one state.
    #[must_use]
    pub fn with_public_state(mut self, public_state: PublicState) -> Self {
        self.public_state = Some(public_state);
        self
    }

    /// Keeps only the executions of one tenant.
    #[must_use]
    pub fn with_namespace(mut self, namespace: Namespace) -> Self {
        self.namespace = Some(namespace);
        self
    }

    /// Continues after an execution: the cursor of the page before.
    #[must_use]
    pub fn with_after(mut self, after: ExecutionId) -> Self {
        self.after = Some(after);
        self
    }
}

/// A page of the executions that match a query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ExecutionQueryPage {
    /// The executions.
    pub executions: Vec<ExecutionRow>,
    /// The last execution of this page; `None` when no more follow.
    pub next_cursor: Option<ExecutionId>,
}

impl ExecutionQueryPage {
    /// Puts the parts together.
    #[must_use]
    pub fn new(executions: Vec<ExecutionRow>, next_cursor: Option<ExecutionId>) -> Self {
        Self { executions, next_cursor }
    }
}

/// One execution that matches a query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ExecutionRow {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The lane that it is claimed from.
    pub lane_id: LaneId,
    /// The kind of work, as the submitter names it.
    pub execution_kind: String,
    /// The state that users see.
    pub public_state: PublicState,
    /// Higher goes first.
    pub priority: i32,
    /// Its current attempt.
    pub attempt_index: AttemptIndex,
    /// The number of claims so far.
    pub total_attempt_count: u32,
    /// The creation time.
    pub created_at: TimestampMs,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

impl ExecutionRow {
    /// Puts the parts together.
    #[must_use]
    #[allow(clippy::too_many_arguments)] // one per field
    pub fn new(
        execution_id: ExecutionId,
        lane_id: LaneId,
        execution_kind: String,
        public_state: PublicState,
        priority: i32,
        attempt_index: AttemptIndex,
        total_attempt_count: u32,
        created_at: TimestampMs,
        tags: BTreeMap<String, String>,
    ) -> Self {
        Self {
            execution_id,
            lane_id,
            execution_kind,
            public_state,
            priority,
            attempt_index,
            total_attempt_count,
            created_at,
            tags,
        }
    }
}

/// The history of one execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ExecutionTimeline {
    /// Its attempts, by index.
    pub attempts: Vec<AttemptRecord>,
    /// The events announced about it, by time.
    pub events: Vec<TimelineEvent>,
}

impl ExecutionTimeline {
    /// Puts the parts together.
    #[must_use]
    pub fn new(attempts: Vec<AttemptRecord>, events: Vec<TimelineEvent>) -> Self {
        Self { attempts, events }
    }
}

/// One attempt of an execution as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AttemptRecord {
    /// Its number within the execution.
    pub attempt_index: AttemptIndex,
    /// The kind of worker that ran it.
    pub worker_id: Option<WorkerId>,
    /// The worker that ran it.
    pub worker_instance_id: Option<WorkerInstanceId>,
    /// The epoch of its last lease.
    pub lease_epoch: LeaseEpoch,
    /// The expiry of its lease, while there is one.
    pub lease_expires_at: Option<TimestampMs>,
    /// The start time.
    pub started_at: Option<TimestampMs>,
    /// The end time.
    pub ended_at: Option<TimestampMs>,
    /// The outcome.
    pub outcome: Option<AttemptOutcome>,
    /// The failure, where it failed.
    pub failure: Option<FailureSummary>,
}

impl AttemptRecord {
    /// Puts the parts together.
    #[must_use]
    #[allow(clippy::too_many_arguments)] // one per field
    pub fn new(
        attempt_index: AttemptIndex,
        worker_id: Option<WorkerId>,
        worker_instance_id: Option<WorkerInstanceId>,
        lease_epoch: LeaseEpoch,
        lease_expires_at: Option<TimestampMs>,
        started_at: Option<TimestampMs>,
        ended_at: Option<TimestampMs>,
        outcome: Option<AttemptOutcome>,
    ) -> Self {
        Self {
            attempt_index,
            worker_id,
            worker_instance_id,
            lease_epoch,
            lease_expires_at,
            started_at,
            ended_at,
            outcome,
            failure: None,
        }
    }
}

/// One announcement about an execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TimelineEvent {
    /// The time of the event.
    pub at: TimestampMs,
    /// The outbox that the event was announced in.
    pub outbox: Outbox,
    /// The type of the event, in the outbox's word for it.
    pub event: String,
    /// Its number within the outbox.
    pub event_id: i64,
    /// The reason for the execution's end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The class of the failure that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_class: Option<FailureClass>,
    /// The cause of the lease's end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<LeaseCause>,
    /// The worker pool that holds or held the lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<WorkerId>,
    /// The worker instance that holds or held the lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_instance_id: Option<WorkerInstanceId>,
    /// Details of an operator's intervention.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<serde_json::Value>,
}

impl TimelineEvent {
    /// Puts the parts together.
    #[must_use]
    pub fn new(at: TimestampMs, outbox: Outbox, event: String, event_id: i64) -> Self {
        Self {
            at,
            outbox,
            event,
            event_id,
            reason: None,
            failure_class: None,
            cause: None,
            worker_id: None,
            worker_instance_id: None,
            details: None,
        }
    }
}

/// The outboxes that events are announced in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outbox {
    /// Changes of leases.
    Lease,
    /// Ends of executions.
    Completion,
    /// Interventions of operators.
    Operator,
    /// Deliveries of signals.
    Signal,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flow_states_map_to_a_status() {
        for (raw, status) in [
            ("open", FlowStatus::Active),
            ("running", FlowStatus::Active),
            ("blocked", FlowStatus::Active),
            ("completed", FlowStatus::Completed),
            ("failed", FlowStatus::Failed),
            ("cancelled", FlowStatus::Cancelled),
            ("", FlowStatus::Unknown),
            ("Open", FlowStatus::Unknown),
        ] {
            assert_eq!(FlowStatus::from_public_flow_state(raw), status, "{raw}");
        }
    }

    #[test]
    fn leases_start_with_the_nil_id_and_the_first_attempt() {
        let lease = LeaseSummary::new(LeaseEpoch(3), WorkerInstanceId::new("w"), TimestampMs(9));
        assert_eq!(lease.lease_id, LeaseId::from_uuid(Uuid::nil()));
        assert_eq!(lease.attempt_index, AttemptIndex(0));
        assert_eq!(lease.last_heartbeat_at, None);
        let lease =
            lease.with_attempt_index(AttemptIndex(2)).with_last_heartbeat_at(TimestampMs(7));
        assert_eq!(lease.attempt_index, AttemptIndex(2));
        assert_eq!(lease.last_heartbeat_at, Some(TimestampMs(7)));
    }

    #[test]
    fn queries_filter_only_by_the_given_fields() {
        let query = ExecutionQuery::new(5);
        assert_eq!((query.limit, query.lane_id.clone()), (5, None));

        let query = query
            .with_lane_id(LaneId::new("l"))
            .with_public_state(PublicState::Waiting)
            .with_namespace(Namespace::new("n"))
            .with_flow_id(FlowId::from_uuid(Uuid::nil()))
            .with_tag("a.b", "c")
            .with_created_by(TimestampMs(7))
            .with_created_since(TimestampMs(6))
            .with_execution_kind("k")
            .with_failure_class(FailureClass::Timeout)
            .with_idempotency_key("i")
            .with_worker("w")
            .with_after(ExecutionId::from_parts(1, Uuid::nil()));

        assert_eq!(
            serde_json::to_value(&query).unwrap(),
            serde_json::json!({
                "lane_id": "l",
                "public_state": "waiting",
                "namespace": "n",
                "flow_id": "00000000-0000-0000-0000-000000000000",
                "tag": ["a.b", "c"],
                "created_by": 7,
                "created_since": 6,
                "execution_kind": "k",
                "failure_class": "timeout",
                "idempotency_key": "i",
                "worker": "w",
                "after": "{fp:1}:00000000-0000-0000-0000-000000000000",
                "limit": 5,
            })
        );
    }
}
