//! Executions: a row of a list, and everything that is known of one.

use std::collections::BTreeMap;

use ff_core::contracts::{
    AttemptRecord, CancellationSummary, ExecutionRow, ExecutionTimeline, Explanation,
    FailureSummary, LeaseSummary, Outbox, TimelineEvent,
};
use ff_core::state::{AttemptOutcome, FailureClass, LeaseCause, PublicState, StateVector};
use ff_core::types::{
    AttemptIndex, ExecutionId, LaneId, LeaseEpoch, LeaseId, TimestampMs, WorkerId, WorkerInstanceId,
};
use serde::Serialize;
use serde_json::Value as Json;

use super::explain::ReasonView;
use crate::next;
use crate::show::Known;
use flowfabric_sql::flow::NODE_TAG;

/// A row of `ls` and `flow show`.
#[derive(Debug, Serialize)]
pub(crate) struct RowView<'a> {
    execution_id: &'a ExecutionId,
    lane_id: &'a LaneId,
    execution_kind: &'a str,
    public_state: PublicState,
    priority: i32,
    attempt_index: AttemptIndex,
    total_attempt_count: u32,
    created_at_ms: TimestampMs,
    tags: &'a BTreeMap<String, String>,
    /// The name of its node, for a member of a flow.
    node: Option<&'a str>,
    /// The reason why it ended, if reasons were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl<'a> RowView<'a> {
    pub(crate) fn with_reason(row: &'a ExecutionRow, reason: &'a str) -> Self {
        Self { reason: Some(reason), ..Self::from(row) }
    }
}

impl<'a> From<&'a ExecutionRow> for RowView<'a> {
    fn from(row: &'a ExecutionRow) -> Self {
        Self {
            execution_id: &row.execution_id,
            lane_id: &row.lane_id,
            execution_kind: &row.execution_kind,
            public_state: row.public_state,
            priority: row.priority,
            attempt_index: row.attempt_index,
            total_attempt_count: row.total_attempt_count,
            created_at_ms: row.created_at,
            tags: &row.tags,
            node: row.tags.get(NODE_TAG).map(String::as_str),
            reason: None,
        }
    }
}

/// `show`.
#[derive(Debug, Serialize)]
pub(crate) struct ExecutionView<'a> {
    execution: FactsView<'a>,
    next: NextView<'a>,
    lease: Option<LeaseView<'a>>,
    #[serde(flatten)]
    history: HistoryView<'a>,
}

#[derive(Debug, Serialize)]
struct FactsView<'a> {
    execution_id: &'a ExecutionId,
    flow_id: Option<&'a str>,
    namespace: &'a str,
    lane_id: &'a str,
    execution_kind: &'a str,
    public_state: PublicState,
    state_vector: &'a StateVector,
    blocking_detail: Option<&'a str>,
    priority: i32,
    attempt_index: u32,
    total_attempt_count: u32,
    created_at_ms: TimestampMs,
    claimable_since_ms: Option<TimestampMs>,
    started_at_ms: Option<i64>,
    ended_at_ms: Option<i64>,
    changed_at_ms: TimestampMs,
    failure: Option<LastFailureView<'a>>,
    cancellation: Option<CancellationView<'a>>,
    tags: &'a BTreeMap<String, String>,
}

/// A failure.
#[derive(Debug, Serialize)]
struct FailureView<'a> {
    message: &'a str,
    class: Option<FailureClass>,
}

impl<'a> From<&'a FailureSummary> for FailureView<'a> {
    fn from(failure: &'a FailureSummary) -> Self {
        Self { message: &failure.message, class: failure.class }
    }
}

/// The failure of the attempt that failed last, and the worker that ran it.
#[derive(Debug, Serialize)]
struct LastFailureView<'a> {
    #[serde(flatten)]
    failure: FailureView<'a>,
    attempt_index: Option<AttemptIndex>,
    worker_id: Option<&'a WorkerId>,
    worker_instance_id: Option<&'a WorkerInstanceId>,
}

impl<'a> LastFailureView<'a> {
    fn new(failure: &'a FailureSummary, known: &'a Known) -> Self {
        let (attempt, worker_instance_id) = known.failed_attempt().unzip();
        Self {
            failure: failure.into(),
            attempt_index: attempt.map(|attempt| attempt.attempt_index),
            worker_id: attempt.and_then(|attempt| attempt.worker_id.as_ref()),
            worker_instance_id: worker_instance_id.flatten(),
        }
    }
}

/// The next event: none any more, an attempt at a time, or what the execution waits for.
#[derive(Debug, Serialize)]
struct NextView<'a> {
    is_final: bool,
    next_attempt_at_ms: Option<TimestampMs>,
    waits_for: Vec<ReasonView<'a>>,
}

impl<'a> From<&'a Explanation> for NextView<'a> {
    fn from(explanation: &'a Explanation) -> Self {
        let waits = explanation.reasons.iter().filter(|reason| next::holds_up(reason));
        let id = &explanation.execution_id;
        Self {
            is_final: next::is_final(explanation),
            next_attempt_at_ms: next::next_attempt_at(explanation),
            waits_for: waits.map(|reason| ReasonView::new(reason, id)).collect(),
        }
    }
}

/// A cancellation: its reason, and the one that asked for it.
#[derive(Debug, Serialize)]
struct CancellationView<'a> {
    reason: Option<&'a str>,
    cancelled_by: Option<&'a str>,
}

impl<'a> From<&'a CancellationSummary> for CancellationView<'a> {
    fn from(cancellation: &'a CancellationSummary) -> Self {
        Self {
            reason: cancellation.reason.as_deref(),
            cancelled_by: cancellation.cancelled_by.as_deref(),
        }
    }
}

#[derive(Debug, Serialize)]
struct LeaseView<'a> {
    lease_id: &'a LeaseId,
    lease_epoch: LeaseEpoch,
    worker_instance_id: &'a WorkerInstanceId,
    expires_at_ms: TimestampMs,
}

impl<'a> From<&'a LeaseSummary> for LeaseView<'a> {
    fn from(lease: &'a LeaseSummary) -> Self {
        Self {
            lease_id: &lease.lease_id,
            lease_epoch: lease.lease_epoch,
            worker_instance_id: &lease.worker_instance_id,
            expires_at_ms: lease.expires_at,
        }
    }
}

impl<'a> From<&'a Known> for ExecutionView<'a> {
    fn from(known: &'a Known) -> Self {
        let Known { info, snapshot, timeline, explanation } = known;
        let ms = |text: &Option<String>| text.as_deref().and_then(|text| text.parse().ok());
        let execution = FactsView {
            execution_id: &info.execution_id,
            flow_id: info.flow_id.as_deref(),
            namespace: &info.namespace,
            lane_id: &info.lane_id,
            execution_kind: &info.execution_kind,
            public_state: info.public_state,
            state_vector: &info.state_vector,
            blocking_detail: snapshot.blocking_detail.as_deref().filter(|text| !text.is_empty()),
            priority: info.priority,
            attempt_index: info.current_attempt_index,
            total_attempt_count: snapshot.total_attempt_count,
            created_at_ms: snapshot.created_at,
            claimable_since_ms: snapshot.claimable_since,
            started_at_ms: ms(&info.started_at),
            ended_at_ms: ms(&info.completed_at),
            changed_at_ms: snapshot.last_mutation_at,
            failure: snapshot
                .last_failure
                .as_ref()
                .map(|failure| LastFailureView::new(failure, known)),
            cancellation: snapshot.cancellation.as_ref().map(CancellationView::from),
            tags: &snapshot.tags,
        };

        let lease = snapshot.current_lease.as_ref().map(LeaseView::from);
        Self { execution, next: explanation.into(), lease, history: timeline.into() }
    }
}

/// The attempts of an execution, and its events.
#[derive(Debug, Serialize)]
pub(crate) struct HistoryView<'a> {
    attempts: Vec<AttemptView<'a>>,
    events: Vec<EventView<'a>>,
}

impl<'a> From<&'a ExecutionTimeline> for HistoryView<'a> {
    fn from(timeline: &'a ExecutionTimeline) -> Self {
        let attempts = timeline.attempts.iter().map(AttemptView::from).collect();
        Self { attempts, events: timeline.events.iter().map(EventView::from).collect() }
    }
}

#[derive(Debug, Serialize)]
struct AttemptView<'a> {
    attempt_index: AttemptIndex,
    worker_id: Option<&'a WorkerId>,
    worker_instance_id: Option<&'a WorkerInstanceId>,
    lease_epoch: LeaseEpoch,
    lease_expires_at_ms: Option<TimestampMs>,
    started_at_ms: Option<TimestampMs>,
    ended_at_ms: Option<TimestampMs>,
    outcome: Option<AttemptOutcome>,
    failure: Option<FailureView<'a>>,
}

impl<'a> From<&'a AttemptRecord> for AttemptView<'a> {
    fn from(attempt: &'a AttemptRecord) -> Self {
        Self {
            attempt_index: attempt.attempt_index,
            worker_id: attempt.worker_id.as_ref(),
            worker_instance_id: attempt.worker_instance_id.as_ref(),
            lease_epoch: attempt.lease_epoch,
            lease_expires_at_ms: attempt.lease_expires_at,
            started_at_ms: attempt.started_at,
            ended_at_ms: attempt.ended_at,
            outcome: attempt.outcome,
            failure: attempt.failure.as_ref().map(FailureView::from),
        }
    }
}

/// One event of an execution's history.
#[derive(Debug, Serialize)]
pub(crate) struct EventView<'a> {
    /// The kind, by the same names as in `events`.
    kind: Outbox,
    event: &'a str,
    at_ms: TimestampMs,
    /// The reason why an execution ended.
    reason: Option<&'a str>,
    failure_class: Option<FailureClass>,
    /// The reason why a lease ended.
    cause: Option<LeaseCause>,
    worker_id: Option<&'a WorkerId>,
    worker_instance_id: Option<&'a WorkerInstanceId>,
    /// Details of an operator's action.
    details: Option<&'a Json>,
}

impl<'a> From<&'a TimelineEvent> for EventView<'a> {
    fn from(event: &'a TimelineEvent) -> Self {
        Self {
            kind: event.outbox,
            event: &event.event,
            at_ms: event.at,
            reason: event.reason.as_deref(),
            failure_class: event.failure_class,
            cause: event.cause,
            worker_id: event.worker_id.as_ref(),
            worker_instance_id: event.worker_instance_id.as_ref(),
            details: event.details.as_ref(),
        }
    }
}
