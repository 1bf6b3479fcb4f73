//! The events that changes announce, written by the same plan.
//!
//! Every event carries the execution's namespace and instance tag, taken from the row that the plan
//! holds as `core`, so that no operation has to read them first.

use crate::contracts::{CreateExecutionArgs, DeliverSignalArgs, INSTANCE_TAG};
use crate::model::ids::TimestampMs;
use crate::model::state::{
    CompletionKind, FailureClass, InstanceTagEventType, LeaseCause, LeaseEventType,
    OperatorEventType, SignalEffect,
};
use crate::plan::value::ColumnType;
use crate::plan::{Expr, Mutation, OnConflict};
use crate::rules::execution::failure::{Failure, class_word};
use crate::rules::flow::key::FLOW;
use crate::rules::key::{ATTEMPT, CORE, ExecutionKey};
use crate::schema::execution::{attempt, exec_core};
use crate::schema::flow::flow_core;
use crate::schema::outbox::{
    completion_event, instance_tag_event, lease_event, operator_event, signal_event,
};
use crate::schema::{ColumnRef, TableRef};

/// The namespace that the held execution row names.
#[must_use]
pub fn namespace() -> Expr {
    exec_core::raw_fields.text_of(CORE, &["namespace"])
}

/// The instance tag of the held execution row.
#[must_use]
pub fn instance_tag() -> Expr {
    exec_core::raw_fields.text_of(CORE, &["tags", INSTANCE_TAG])
}

/// The event as a change. No two events share a key, so it meets no row.
fn announcement(table: TableRef, row: Vec<(ColumnRef, Expr)>) -> Mutation {
    Mutation::Insert { table, row, on_conflict: OnConflict::Refuse }
}

/// A worker, as the rows of its lease name it.
#[derive(Clone, Copy, Debug)]
pub struct Holder<'a> {
    /// The worker pool.
    pub worker_id: &'a str,
    /// The instance.
    pub worker_instance_id: &'a str,
}

/// Announces that a worker took a lease.
#[must_use]
pub fn lease_taken(
    event: LeaseEventType,
    lease: Expr,
    holder: Holder<'_>,
    at: TimestampMs,
) -> Mutation {
    let mut row = lease_row(event, lease, at);
    row.push(lease_event::worker_id.with(Some(holder.worker_id.to_owned())));
    row.push(lease_event::worker_instance_id.with(Some(holder.worker_instance_id.to_owned())));
    announcement(lease_event::REF, row)
}

/// Announces that the lease of the held attempt row was extended.
#[must_use]
pub fn lease_renewed(at: TimestampMs) -> Mutation {
    let row = held_lease_row(LeaseEventType::Renewed, at);
    announcement(lease_event::REF, row)
}

/// Announces that the lease of the held attempt row ended, and why.
#[must_use]
pub fn lease_ended(cause: LeaseCause, at: TimestampMs) -> Mutation {
    let mut row = held_lease_row(end_of_lease(cause), at);
    row.push(lease_event::cause.with(Some(cause)));
    announcement(lease_event::REF, row)
}

/// The same where the plan does not hold the attempt: the event names neither lease nor worker.
#[must_use]
pub fn unnamed_lease_ended(cause: LeaseCause, at: TimestampMs) -> Mutation {
    let mut row = lease_row(end_of_lease(cause), Expr::Null(ColumnType::Text), at);
    row.push(lease_event::cause.with(Some(cause)));
    announcement(lease_event::REF, row)
}

/// The event type that subscribers know: expired if time ended the lease, revoked otherwise.
fn end_of_lease(cause: LeaseCause) -> LeaseEventType {
    match cause {
        LeaseCause::Expired
        | LeaseCause::WorkerLost
        | LeaseCause::TimedOut
        | LeaseCause::Deadline => LeaseEventType::Expired,
        LeaseCause::Completed
        | LeaseCause::Failed
        | LeaseCause::Suspended
        | LeaseCause::Delayed
        | LeaseCause::WaitingChildren
        | LeaseCause::Skipped
        | LeaseCause::Cancelled
        | LeaseCause::Operator => LeaseEventType::Revoked,
    }
}

fn held_lease_row(event: LeaseEventType, at: TimestampMs) -> Vec<(ColumnRef, Expr)> {
    let mut row = lease_row(event, attempt::lease_id.of(ATTEMPT), at);
    row.push(lease_event::worker_id.with_expr(attempt::worker_id.of(ATTEMPT)));
    row.push(lease_event::worker_instance_id.with_expr(attempt::worker_instance_id.of(ATTEMPT)));
    row
}

fn lease_row(event: LeaseEventType, lease: Expr, at: TimestampMs) -> Vec<(ColumnRef, Expr)> {
    vec![
        lease_event::execution_id.with_expr(exec_core::execution_id.of(CORE)),
        lease_event::lease_id.with_expr(lease),
        lease_event::event_type.with(event),
        lease_event::occurred_at_ms.with(at.0),
        lease_event::partition_key.with_expr(exec_core::partition_key.of(CORE)),
        lease_event::namespace.with_expr(namespace()),
        lease_event::instance_tag.with_expr(instance_tag()),
    ]
}

/// Announces that the held execution's instance tag was attached or cleared.
#[must_use]
pub fn instance_tag_changed(event: InstanceTagEventType, tag: Expr, at: TimestampMs) -> Mutation {
    let row = vec![
        instance_tag_event::execution_id.with_expr(exec_core::execution_id.of(CORE)),
        instance_tag_event::event_type.with(event),
        instance_tag_event::occurred_at_ms.with(at.0),
        instance_tag_event::partition_key.with_expr(exec_core::partition_key.of(CORE)),
        instance_tag_event::namespace.with_expr(namespace()),
        instance_tag_event::instance_tag.with_expr(tag),
    ];
    announcement(instance_tag_event::REF, row)
}

/// Announces the instance tag that a new execution has from the beginning, if it has one.
#[must_use]
pub fn instance_tag_given(
    key: &ExecutionKey,
    args: &CreateExecutionArgs,
    at: TimestampMs,
) -> Option<Mutation> {
    // An empty value marks no instance, as where a tag is cleared.
    let tag = args.tags.get(INSTANCE_TAG).filter(|tag| !tag.is_empty())?;

    let row = vec![
        instance_tag_event::execution_id.with(key.uuid.to_string()),
        instance_tag_event::event_type.with(InstanceTagEventType::Attached),
        instance_tag_event::occurred_at_ms.with(at.0),
        instance_tag_event::partition_key.with(key.partition),
        instance_tag_event::namespace.with(Some(args.namespace.as_str().to_owned())),
        instance_tag_event::instance_tag.with(Some(tag.clone())),
    ];
    Some(announcement(instance_tag_event::REF, row))
}

/// The reason for an end, as its completion event gives it.
#[derive(Clone, Copy, Debug)]
pub enum Reason<'a> {
    /// Nothing: it succeeded.
    None,
    /// It was cancelled or skipped, for this reason.
    Given(&'a str),
    /// It failed or ran out of time.
    Failure(&'a Failure),
}

impl Reason<'_> {
    fn row(self) -> Vec<(ColumnRef, Expr)> {
        let says = |text: &str, class: Option<FailureClass>| {
            vec![
                completion_event::reason.with(Some(text.to_owned())),
                completion_event::failure_class.with_expr(class_word(class)),
            ]
        };

        match self {
            Self::None => Vec::new(),
            Self::Given(text) => says(text, None),
            Self::Failure(failure) => says(&failure.message, failure.class),
        }
    }
}

/// Announces the end of an execution.
#[must_use]
pub fn completed(outcome: CompletionKind, reason: Reason<'_>, at: TimestampMs) -> Mutation {
    let mut row = vec![
        completion_event::partition_key.with_expr(exec_core::partition_key.of(CORE)),
        completion_event::execution_id.with_expr(exec_core::execution_id.of(CORE)),
        completion_event::flow_id.with_expr(exec_core::flow_id.of(CORE)),
        completion_event::outcome.with(outcome),
        completion_event::namespace.with_expr(namespace()),
        completion_event::instance_tag.with_expr(instance_tag()),
        completion_event::occurred_at_ms.with(at.0),
    ];

    row.extend(reason.row());
    announcement(completion_event::REF, row)
}

/// Announces that a suspended execution goes on. The event carries no flow id: dependents are
/// notified of ends only.
#[must_use]
pub fn resumable(at: TimestampMs) -> Mutation {
    let row = vec![
        completion_event::partition_key.with_expr(exec_core::partition_key.of(CORE)),
        completion_event::execution_id.with_expr(exec_core::execution_id.of(CORE)),
        completion_event::outcome.with(CompletionKind::Resumable),
        completion_event::namespace.with_expr(namespace()),
        completion_event::instance_tag.with_expr(instance_tag()),
        completion_event::occurred_at_ms.with(at.0),
    ];
    announcement(completion_event::REF, row)
}

/// Announces a signal and its effect.
#[must_use]
pub fn signal_delivered(signal: &DeliverSignalArgs, effect: SignalEffect) -> Mutation {
    let row = vec![
        signal_event::execution_id.with_expr(exec_core::execution_id.of(CORE)),
        signal_event::signal_id.with(signal.signal_id.to_string()),
        signal_event::waitpoint_id.with(Some(signal.waitpoint_id.to_string())),
        signal_event::source_identity.with(Some(signal.source_identity.clone())),
        signal_event::delivered_at_ms.with(signal.now.0),
        signal_event::partition_key.with_expr(exec_core::partition_key.of(CORE)),
        signal_event::namespace.with_expr(namespace()),
        signal_event::instance_tag.with_expr(instance_tag()),
        signal_event::effect.with(effect),
    ];
    announcement(signal_event::REF, row)
}

/// Announces an operator's action on the held flow; the event carries the flow's id in the place of
/// an execution's.
#[must_use]
pub fn operator_acted_on_flow(
    event: OperatorEventType,
    details: Expr,
    at: TimestampMs,
) -> Mutation {
    let row = vec![
        operator_event::execution_id.with_expr(flow_core::flow_id.of(FLOW)),
        operator_event::event_type.with(event),
        operator_event::details.with_expr(details),
        operator_event::occurred_at_ms.with(at.0),
        operator_event::partition_key.with_expr(flow_core::partition_key.of(FLOW)),
        operator_event::namespace.with_expr(flow_core::raw_fields.text_of(FLOW, &["namespace"])),
    ];
    announcement(operator_event::REF, row)
}

/// Announces an operator's action on the held execution.
#[must_use]
pub fn operator_acted(
    event: OperatorEventType,
    details: serde_json::Value,
    at: TimestampMs,
) -> Mutation {
    let row = vec![
        operator_event::execution_id.with_expr(exec_core::execution_id.of(CORE)),
        operator_event::event_type.with(event),
        operator_event::details.with(Some(details)),
        operator_event::occurred_at_ms.with(at.0),
        operator_event::partition_key.with_expr(exec_core::partition_key.of(CORE)),
        operator_event::namespace.with_expr(namespace()),
        operator_event::instance_tag.with_expr(instance_tag()),
    ];
    announcement(operator_event::REF, row)
}
