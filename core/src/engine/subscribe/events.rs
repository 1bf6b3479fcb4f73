//! The reading of an event from a row of each outbox.

use uuid::Uuid;

use super::outbox::{COMPLETIONS, INSTANCE_TAGS, LEASES, OPERATORS, Outbox, SIGNALS};
use crate::contracts::{
    CompletionEvent, CompletionOutcome, CompletionPayload, InstanceTagEvent, LeaseHistoryEvent,
    OperatorEvent, SignalDeliveryEffect, SignalDeliveryEvent,
};
use crate::engine::Topic;
use crate::model::cursor::StreamCursor;
use crate::model::error::{EngineError, ValidationKind};
use crate::model::ids::{
    ExecutionId, FlowId, LeaseId, SignalId, TimestampMs, WaitpointId, WorkerInstanceId,
};
use crate::model::state::{
    ClosedSet as _, CompletionKind, InstanceTagEventType, LeaseCause, LeaseEventType,
};
use crate::plan::facts::Row;
use crate::plan::value::Value;
use crate::rules::key::ExecutionKey;
use crate::schema::outbox::{
    completion_event, instance_tag_event, lease_event, operator_event, signal_event,
};
use crate::schema::{Col, ColumnRef};

/// An event that a subscription delivers.
pub(crate) trait OutboxEvent: Sized + Send + 'static {
    /// The name of the subscribing operation, for its errors.
    const OPERATION: &'static str;
    /// The topic that rings for new events.
    const TOPIC: Topic;
    /// The table that stores the events.
    const OUTBOX: Outbox;

    /// Reads the event. A subscription continues after it at `cursor`.
    ///
    /// # Errors
    /// `Validation(Corruption)`, naming the column that holds an impossible value.
    fn read(row: &Row, cursor: StreamCursor) -> Result<Self, EngineError>;
}

impl OutboxEvent for LeaseHistoryEvent {
    const OPERATION: &'static str = "subscribe_lease_history";
    const TOPIC: Topic = Topic::Leases;
    const OUTBOX: Outbox = LEASES;

    fn read(row: &Row, cursor: StreamCursor) -> Result<Self, EngineError> {
        let partition = row.read(lease_event::partition_key)?;
        let execution_id = execution(row, partition, lease_event::execution_id)?;
        let lease_id = optional_uuid(row, lease_event::lease_id)?.map(LeaseId);
        let at = TimestampMs(row.read(lease_event::occurred_at_ms)?);
        let worker = row.read(lease_event::worker_instance_id)?.map(WorkerInstanceId::new);

        Ok(match row.read(lease_event::event_type)? {
            LeaseEventType::Acquired => {
                Self::Acquired { cursor, execution_id, lease_id, worker_instance_id: worker, at }
            }
            LeaseEventType::Renewed => {
                Self::Renewed { cursor, execution_id, lease_id, worker_instance_id: worker, at }
            }
            LeaseEventType::Expired => {
                Self::Expired { cursor, execution_id, lease_id, prev_owner: worker, at }
            }
            LeaseEventType::Reclaimed => {
                let new_lease_id = lease_id;
                Self::Reclaimed { cursor, execution_id, new_lease_id, new_owner: worker, at }
            }
            LeaseEventType::Revoked => {
                let cause = row.read(lease_event::cause)?.unwrap_or(LeaseCause::Operator);
                let revoked_by = cause.as_str().to_owned();
                Self::Revoked { cursor, execution_id, lease_id, revoked_by, at }
            }
        })
    }
}

fn completed_execution(row: &Row) -> Result<ExecutionId, EngineError> {
    let partition = row.read(completion_event::partition_key)?;
    Ok(ExecutionKey { partition, uuid: row.read(completion_event::execution_id)? }.id())
}

/// The recorded outcome; a known one in its first spelling.
fn outcome(row: &Row) -> Result<String, EngineError> {
    let column = completion_event::outcome;
    match row.value(column.column()) {
        Some(Value::Text(text)) => Ok(CompletionKind::parse(text)
            .map_or_else(|| text.clone(), |known| known.as_str().to_owned())),
        Some(_) | None => row.read(column).map(|known| known.as_str().to_owned()),
    }
}

impl OutboxEvent for CompletionEvent {
    const OPERATION: &'static str = "subscribe_completion";
    const TOPIC: Topic = Topic::Completions;
    const OUTBOX: Outbox = COMPLETIONS;

    fn read(row: &Row, cursor: StreamCursor) -> Result<Self, EngineError> {
        let at = TimestampMs(row.read(completion_event::occurred_at_ms)?);
        let outcome = CompletionOutcome::from_wire(&outcome(row)?);
        let event = Self::new(cursor, completed_execution(row)?, outcome, at);
        Ok(event.with_reason(
            row.read(completion_event::reason)?,
            row.read(completion_event::failure_class)?,
        ))
    }
}

/// A completion event without its cursor.
pub(crate) struct Completion(pub(crate) CompletionPayload);

impl OutboxEvent for Completion {
    const OPERATION: &'static str = "subscribe_completions";
    const TOPIC: Topic = Topic::Completions;
    const OUTBOX: Outbox = COMPLETIONS;

    fn read(row: &Row, _: StreamCursor) -> Result<Self, EngineError> {
        let at = TimestampMs(row.read(completion_event::occurred_at_ms)?);
        let payload = CompletionPayload::new(completed_execution(row)?, outcome(row)?, None, at);
        let payload = payload.with_reason(
            row.read(completion_event::reason)?,
            row.read(completion_event::failure_class)?,
        );

        Ok(Self(match row.read(completion_event::flow_id)? {
            Some(flow) => payload.with_flow_id(FlowId::from_uuid(flow)),
            None => payload,
        }))
    }
}

impl OutboxEvent for SignalDeliveryEvent {
    const OPERATION: &'static str = "subscribe_signal_delivery";
    const TOPIC: Topic = Topic::Signals;
    const OUTBOX: Outbox = SIGNALS;

    fn read(row: &Row, cursor: StreamCursor) -> Result<Self, EngineError> {
        let partition = row.read(signal_event::partition_key)?;
        let signal = row.read(signal_event::signal_id)?;
        Ok(Self::new(
            cursor,
            execution(row, partition, signal_event::execution_id)?,
            SignalId(uuid(signal_event::signal_id.column(), &signal)?),
            optional_uuid(row, signal_event::waitpoint_id)?.map(WaitpointId),
            row.read(signal_event::source_identity)?,
            SignalDeliveryEffect::from_wire(row.read(signal_event::effect)?.as_str()),
            TimestampMs(row.read(signal_event::delivered_at_ms)?),
        ))
    }
}

impl OutboxEvent for InstanceTagEvent {
    const OPERATION: &'static str = "subscribe_instance_tags";
    const TOPIC: Topic = Topic::InstanceTags;
    const OUTBOX: Outbox = INSTANCE_TAGS;

    fn read(row: &Row, cursor: StreamCursor) -> Result<Self, EngineError> {
        let partition = row.read(instance_tag_event::partition_key)?;
        let execution_id = execution(row, partition, instance_tag_event::execution_id)?;
        // Clearing an instance tag that was not set has no tag to name.
        let tag = row.read(instance_tag_event::instance_tag)?.unwrap_or_default();
        let at = TimestampMs(row.read(instance_tag_event::occurred_at_ms)?);

        Ok(match row.read(instance_tag_event::event_type)? {
            InstanceTagEventType::Attached => Self::Attached { cursor, execution_id, tag, at },
            InstanceTagEventType::Cleared => Self::Cleared { cursor, execution_id, tag, at },
        })
    }
}

impl OutboxEvent for OperatorEvent {
    const OPERATION: &'static str = "subscribe_operator_events";
    const TOPIC: Topic = Topic::Operators;
    const OUTBOX: Outbox = OPERATORS;

    fn read(row: &Row, cursor: StreamCursor) -> Result<Self, EngineError> {
        let partition = row.read(operator_event::partition_key)?;
        Ok(Self::new(
            cursor,
            execution(row, partition, operator_event::execution_id)?,
            row.read(operator_event::event_type)?,
            row.read(operator_event::details)?,
            TimestampMs(row.read(operator_event::occurred_at_ms)?),
        ))
    }
}

fn execution(row: &Row, partition: i16, column: Col<String>) -> Result<ExecutionId, EngineError> {
    let uuid = uuid(column.column(), &row.read(column)?)?;
    Ok(ExecutionKey { partition, uuid }.id())
}

fn optional_uuid(row: &Row, column: Col<Option<String>>) -> Result<Option<Uuid>, EngineError> {
    row.read(column)?.map(|text| uuid(column.column(), &text)).transpose()
}

fn uuid(column: ColumnRef, text: &str) -> Result<Uuid, EngineError> {
    text.parse().map_err(|_| EngineError::Validation {
        kind: ValidationKind::Corruption,
        detail: format!("{column:?}: {text:?} is no UUID"),
    })
}
