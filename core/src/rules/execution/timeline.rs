//! The history of one execution, in the order in which it happened.

use crate::contracts::{AttemptRecord, ExecutionTimeline, Outbox, TimelineEvent};
use crate::model::error::EngineError;
use crate::model::ids::{
    AttemptIndex, ExecutionId, LeaseEpoch, TimestampMs, WorkerId, WorkerInstanceId,
};
use crate::model::state::ClosedSet;
use crate::plan::facts::{Facts, Row};
use crate::plan::{List, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Transition};
use crate::rules::execution::listing::limit;
use crate::rules::execution::read::failure_of_attempt;
use crate::rules::key::ExecutionKey;
use crate::schema::Direction::Ascending;
use crate::schema::execution::attempt;
use crate::schema::outbox::{completion_event, lease_event, operator_event, signal_event};
use crate::schema::{ColumnRef, TableRef};

/// The whole history of one execution: its attempts, and its events of all outboxes by time.
#[derive(Clone, Copy, Debug)]
pub struct Timeline {
    key: ExecutionKey,
}

/// The most attempts and events of each outbox that a timeline shows.
const TIMELINE_MAX: usize = 1000;

impl Timeline {
    /// The timeline of an execution.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for an id that no row can have.
    pub fn of(id: &ExecutionId) -> Result<Self, EngineError> {
        Ok(Self { key: ExecutionKey::of(id)? })
    }

    fn lists(&self) -> Lists {
        let key = &self.key;
        // By time first: by number alone, the order would be that of the primary key, along which a
        // planner without statistics walks all events of a partition.
        let list = |name: &'static str, table: TableRef, predicate, order: &[ColumnRef]| List {
            name: name.into(),
            table,
            join: None,
            of_each: None,
            columns: table.columns.to_vec(),
            predicate,
            order: order.iter().map(|column| (*column, Ascending)).collect(),
            limit: limit(TIMELINE_MAX - 1),
        };

        let text = key.uuid.to_string();
        let attempts = attempt::partition_key
            .equals(key.partition)
            .and(attempt::execution_id.equals(key.uuid));
        let completions = completion_event::partition_key
            .equals(key.partition)
            .and(completion_event::execution_id.equals(key.uuid));
        let leases = lease_event::partition_key
            .equals(key.partition)
            .and(lease_event::execution_id.equals(text.clone()));
        let operators = operator_event::partition_key
            .equals(key.partition)
            .and(operator_event::execution_id.equals(text.clone()));
        let signals = signal_event::partition_key
            .equals(key.partition)
            .and(signal_event::execution_id.equals(text));

        Lists {
            attempts: list("attempts", attempt::REF, attempts, &[attempt::attempt_index.column()]),
            leases: list(
                "lease events",
                lease_event::REF,
                leases,
                &[lease_event::occurred_at_ms.column(), lease_event::event_id.column()],
            ),
            completions: list(
                "completion events",
                completion_event::REF,
                completions,
                &[completion_event::occurred_at_ms.column(), completion_event::event_id.column()],
            ),
            operators: list(
                "operator events",
                operator_event::REF,
                operators,
                &[operator_event::occurred_at_ms.column(), operator_event::event_id.column()],
            ),
            signals: list(
                "signal events",
                signal_event::REF,
                signals,
                &[signal_event::delivered_at_ms.column(), signal_event::event_id.column()],
            ),
        }
    }
}

/// The lists that make up a timeline.
struct Lists {
    attempts: List,
    leases: List,
    completions: List,
    operators: List,
    signals: List,
}

impl Lists {
    fn queries(self) -> Vec<Query> {
        let Self { attempts, leases, completions, operators, signals } = self;
        [attempts, leases, completions, operators, signals].map(Query::List).into()
    }
}

impl Transition for Timeline {
    type Outcome = ExecutionTimeline;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        let lists = self.lists();
        let Some(attempts) = facts.list(&lists.attempts) else {
            return Ok(Step::Read(lists.queries()));
        };
        let attempts = attempts.iter().map(attempt_record).collect::<Result<Vec<_>, _>>()?;

        let mut events = Vec::new();
        for (list, read) in [
            (&lists.leases, lease as ReadEvent),
            (&lists.completions, completion),
            (&lists.operators, operator),
            (&lists.signals, signal),
        ] {
            for row in facts.list(list).unwrap_or_default() {
                events.push(read(row)?);
            }
        }

        // A stable sort: events of equal times stay in the order lease, completion, operator,
        // signal.
        events.sort_by_key(|event| event.at);
        Ok(Step::Answer(ExecutionTimeline::new(attempts, events)))
    }
}

type ReadEvent = fn(&Row) -> Result<TimelineEvent, EngineError>;

fn lease(row: &Row) -> Result<TimelineEvent, EngineError> {
    let mut event = TimelineEvent::new(
        TimestampMs(row.read(lease_event::occurred_at_ms)?),
        Outbox::Lease,
        row.read(lease_event::event_type)?.as_str().to_owned(),
        row.read(lease_event::event_id)?,
    );

    event.cause = row.read(lease_event::cause)?;
    event.worker_id = row.read(lease_event::worker_id)?.map(WorkerId::new);
    event.worker_instance_id =
        row.read(lease_event::worker_instance_id)?.map(WorkerInstanceId::new);
    Ok(event)
}

fn completion(row: &Row) -> Result<TimelineEvent, EngineError> {
    let mut event = TimelineEvent::new(
        TimestampMs(row.read(completion_event::occurred_at_ms)?),
        Outbox::Completion,
        row.read(completion_event::outcome)?.as_str().to_owned(),
        row.read(completion_event::event_id)?,
    );
    event.reason = row.read(completion_event::reason)?;
    event.failure_class = row.read(completion_event::failure_class)?;
    Ok(event)
}

fn operator(row: &Row) -> Result<TimelineEvent, EngineError> {
    let mut event = TimelineEvent::new(
        TimestampMs(row.read(operator_event::occurred_at_ms)?),
        Outbox::Operator,
        row.read(operator_event::event_type)?.as_str().to_owned(),
        row.read(operator_event::event_id)?,
    );
    event.details = row.read(operator_event::details)?;
    Ok(event)
}

fn signal(row: &Row) -> Result<TimelineEvent, EngineError> {
    Ok(TimelineEvent::new(
        TimestampMs(row.read(signal_event::delivered_at_ms)?),
        Outbox::Signal,
        row.read(signal_event::signal_id)?,
        row.read(signal_event::event_id)?,
    ))
}

fn attempt_record(row: &Row) -> Result<AttemptRecord, EngineError> {
    let time = |ms: Option<i64>| ms.map(TimestampMs);
    Ok(AttemptRecord {
        attempt_index: AttemptIndex(row.read(attempt::attempt_index)?.unsigned_abs()),
        worker_id: row.read(attempt::worker_id)?.map(WorkerId::new),
        worker_instance_id: row.read(attempt::worker_instance_id)?.map(WorkerInstanceId::new),
        lease_epoch: LeaseEpoch(row.read(attempt::lease_epoch)?.unsigned_abs()),
        lease_expires_at: time(row.read(attempt::lease_expires_at_ms)?),
        started_at: time(row.read(attempt::started_at_ms)?),
        ended_at: time(row.read(attempt::terminal_at_ms)?),
        outcome: row.read(attempt::outcome)?,
        failure: failure_of_attempt(row)?,
    })
}
