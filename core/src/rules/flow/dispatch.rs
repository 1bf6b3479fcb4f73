//! Dispatching a completion event: the edges that it is applied to, and when that is done.

use uuid::Uuid;

use crate::contracts::CompletionPayload;
use crate::model::error::EngineError;
use crate::model::ids::EdgeId;
use crate::model::state::CompletionKind;
use crate::plan::facts::{Facts, Row};
use crate::plan::{Expr, List, Plan, Predicate, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Then, Transition};
use crate::rules::flow::edges::edges_from;
use crate::rules::flow::hop::{Ended, mark_dispatched};
use crate::rules::flow::key::FlowKey;
use crate::rules::key::ExecutionKey;
use crate::schema::Direction::{Ascending, Descending};
use crate::schema::flow::edge;
use crate::schema::outbox::completion_event;
use crate::schema::{ColumnRef, Direction};

/// The number of edges that are read together.
pub const EDGES_PER_PAGE: usize = 500;

/// The most ends of one execution within one millisecond that are distinguished.
const EVENTS_PER_MS: i64 = 16;

/// A completion event, as the edges from its execution need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The flow of the execution, on the execution's partition; `None` for one without a flow.
    pub flow: Option<FlowKey>,
    /// The partition of the execution.
    pub partition: i16,
    /// The end.
    pub end: Ended,
    /// The number of the event.
    pub event_id: i64,
    /// True if it was applied to every edge before.
    pub dispatched: bool,
}

impl Event {
    /// The columns that [`Event::read`] needs.
    #[must_use]
    pub fn columns() -> Vec<ColumnRef> {
        vec![
            completion_event::partition_key.column(),
            completion_event::event_id.column(),
            completion_event::execution_id.column(),
            completion_event::flow_id.column(),
            completion_event::outcome.column(),
            completion_event::dispatched_at_ms.column(),
        ]
    }

    /// The event of a row.
    ///
    /// # Errors
    /// `Validation(Corruption)` naming the column that holds what it must not.
    pub fn read(row: &Row) -> Result<Self, EngineError> {
        let partition = row.read(completion_event::partition_key)?;
        let event_id = row.read(completion_event::event_id)?;
        let flow = row.read(completion_event::flow_id)?;

        Ok(Self {
            flow: flow.map(|uuid| FlowKey { partition, uuid }),
            partition,
            end: Ended {
                upstream: row.read(completion_event::execution_id)?,
                outcome: row.read(completion_event::outcome)?,
                event_id: Some(event_id),
            },
            event_id,
            dispatched: row.read(completion_event::dispatched_at_ms)?.is_some(),
        })
    }
}

/// An edge and the execution that waits, which is how the edges from one execution are paged.
type Onward = (Uuid, EdgeId);

/// The edges from an execution to those that wait for it, a page at a time.
#[derive(Clone, Debug)]
pub struct EdgesFrom {
    /// The flow.
    pub flow: FlowKey,
    /// The execution.
    pub upstream: Uuid,
    /// The edge after which the page begins.
    pub after: Option<Onward>,
}

impl Transition for EdgesFrom {
    type Outcome = Vec<Onward>;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        let after = self.after.as_ref().map(|(downstream, edge)| {
            Predicate::After(vec![
                edge::downstream_eid.with(*downstream),
                edge::edge_id.with(edge.0),
            ])
        });

        let columns = vec![edge::downstream_eid.column(), edge::edge_id.column()];
        let list = edges_from("edges from an execution", self.flow, self.upstream, columns);
        let list = List {
            predicate: list.predicate.and(after.unwrap_or(Predicate::Always)),
            limit: Expr::int(i64::try_from(EDGES_PER_PAGE).unwrap_or(i64::MAX)),
            ..list
        };
        let Some(rows) = facts.list(&list) else {
            return Ok(Step::Read(vec![Query::List(list)]));
        };

        let onward = |row: &Row| {
            let edge = EdgeId::from_uuid(row.read(edge::edge_id)?);
            Ok((row.read(edge::downstream_eid)?, edge))
        };
        Ok(Step::Answer(rows.iter().map(onward).collect::<Result<_, EngineError>>()?))
    }
}

/// Marks an event as dispatched once no edge is left to apply it to.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// The event.
    pub event: Event,
}

impl Transition for Done {
    type Outcome = ();

    fn step(&self, _: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<()>, EngineError> {
        let Event { partition, event_id, .. } = self.event;
        let plan = Plan::new("dispatch_done").and([mark_dispatched(partition, event_id, ctx.now)]);
        Ok(Step::Commit(plan, Then::Answer(())))
    }
}

/// Finds the event that a completion was announced by: of those of that execution and time, the
/// first that was not dispatched, or else the first.
#[derive(Clone, Debug)]
pub struct FindEvent {
    key: ExecutionKey,
    at_ms: i64,
}

impl FindEvent {
    /// The search for the event of a completion.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for an id that no row can have.
    pub fn of(payload: &CompletionPayload) -> Result<Self, EngineError> {
        let key = ExecutionKey::of(&payload.execution_id)?;
        Ok(Self { key, at_ms: payload.produced_at_ms.0 })
    }
}

impl Transition for FindEvent {
    type Outcome = Option<Event>;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        let list = List {
            name: "the event of a completion".into(),
            table: completion_event::REF,
            join: None,
            of_each: None,
            columns: Event::columns(),
            predicate: completion_event::partition_key
                .equals(self.key.partition)
                .and(completion_event::execution_id.equals(self.key.uuid))
                .and(completion_event::occurred_at_ms.equals(self.at_ms)),
            order: vec![(completion_event::event_id.column(), Ascending)],
            limit: Expr::int(EVENTS_PER_MS),
        };
        let Some(rows) = facts.list(&list) else {
            return Ok(Step::Read(vec![Query::List(list)]));
        };

        let events = rows.iter().map(Event::read).collect::<Result<Vec<_>, _>>()?;
        let undispatched = events.iter().find(|event| !event.dispatched);
        Ok(Step::Answer(undispatched.or(events.first()).copied()))
    }
}

/// Reads the event of that number.
#[derive(Clone, Copy, Debug)]
pub struct EventById {
    /// The number.
    pub event_id: i64,
}

impl Transition for EventById {
    type Outcome = Option<Event>;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        let list = List {
            name: "the event of a number".into(),
            table: completion_event::REF,
            join: None,
            of_each: None,
            columns: Event::columns(),
            predicate: completion_event::event_id.equals(self.event_id),
            order: vec![(completion_event::event_id.column(), Ascending)],
            limit: Expr::int(1),
        };
        let Some(rows) = facts.list(&list) else {
            return Ok(Step::Read(vec![Query::List(list)]));
        };

        Ok(Step::Answer(rows.first().map(Event::read).transpose()?))
    }
}

/// The most ends of one execution that are read.
pub const ENDS_MAX: i64 = 1_000;

/// The order of one execution's ends. The event's number alone would be the order of the primary
/// key, along which a planner without statistics walks all events of a partition.
#[must_use]
pub fn newest_first() -> Vec<(ColumnRef, Direction)> {
    [completion_event::occurred_at_ms.column(), completion_event::event_id.column()]
        .map(|column| (column, Descending))
        .to_vec()
}

/// The last announced end of an execution: its outcome and its event. Clocks may step back; the
/// numbers of one execution's events do not.
///
/// # Errors
/// `Validation(Corruption)` naming the column that holds what it must not.
pub fn last_end(rows: &[Row]) -> Result<Option<(CompletionKind, i64)>, EngineError> {
    let end = |row: &Row| {
        Ok((row.read(completion_event::outcome)?, row.read(completion_event::event_id)?))
    };
    let ends = rows.iter().map(end).collect::<Result<Vec<_>, EngineError>>()?;
    Ok(ends.into_iter().max_by_key(|(_, event_id)| *event_id))
}
