//! The events that named subscribers have not read, which hold their executions back.

use std::collections::HashSet;

use uuid::Uuid;

use crate::contracts::{HeldBack, SubscriberCursor};
use crate::model::error::EngineError;
use crate::model::state::{ClosedSet as _, OutboxKind};
use crate::plan::facts::{Facts, Row};
use crate::plan::value::Storable as _;
use crate::plan::{Expr, List, Predicate, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Transition};
use crate::rules::flow::key::FlowKey;
use crate::rules::input;
use crate::schema::Direction::Ascending;
use crate::schema::outbox::{
    completion_event, instance_tag_event, lease_event, operator_event, signal_event,
};
use crate::schema::{Col, ColumnRef, TableRef};

/// The most unread events that one statement lists. Where there are more, every execution that was
/// asked about counts as held back: the subscriber is far behind.
const MOST_UNREAD: i64 = 5_000;

/// A subscriber that events of an outbox wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The outbox.
    pub outbox: OutboxKind,
    /// The last event that the subscriber has dealt with.
    pub cursor: i64,
    /// The reason that is reported.
    pub reason: HeldBack,
}

/// The holds of these subscribers: of each outbox the one that is furthest behind, and the archive.
///
/// # Errors
/// `Validation(InvalidInput)` for an archive without a cursor.
pub fn holds(
    cursors: &[SubscriberCursor],
    archive: Option<&str>,
) -> Result<Vec<Hold>, EngineError> {
    let mut holds = Vec::new();

    for outbox in super::subscriber::ALL {
        // The archive's own position has a reason of its own.
        let is_archive = |cursor: &SubscriberCursor| Some(cursor.name.as_str()) == archive;
        let of_outbox = cursors.iter().filter(|cursor| {
            cursor.outbox == outbox && !(outbox == OutboxKind::Completion && is_archive(cursor))
        });
        if let Some(last) = of_outbox.min_by_key(|cursor| cursor.event_id) {
            let (name, cursor) = (last.name.clone(), last.event_id);
            let reason = HeldBack::Subscriber { name, outbox: outbox.as_str(), cursor };
            holds.push(Hold { outbox, cursor, reason });
        }
    }

    if let Some(name) = archive {
        let found = archive_named(cursors, name)?;
        let (outbox, reason) = (OutboxKind::Completion, HeldBack::NotArchived);
        holds.push(Hold { outbox, cursor: found.event_id, reason });
    }

    Ok(holds)
}

/// The position of an archive.
///
/// # Errors
/// `Validation(InvalidInput)` where there is none, or it is that of another subscriber.
pub fn archive_named<'a>(
    cursors: &'a [SubscriberCursor],
    name: &str,
) -> Result<&'a SubscriberCursor, EngineError> {
    let mut named = cursors.iter().filter(|cursor| cursor.name == name);
    match named.find(|cursor| cursor.outbox == OutboxKind::Completion) {
        None => Err(input::invalid(format!("archive: {name} has not been written yet"))),
        Some(found) if found.note.is_none() => {
            Err(input::invalid(format!("archive: {name} is a subscriber, not an archive")))
        }
        Some(found) => Ok(found),
    }
}

/// The columns of an outbox.
struct Outbox {
    table: TableRef,
    event_id: Col<i64>,
    execution_id: ColumnRef,
    name: &'static str,
}

const fn outbox(kind: OutboxKind) -> Outbox {
    match kind {
        OutboxKind::Completion => Outbox {
            table: completion_event::REF,
            event_id: completion_event::event_id,
            execution_id: completion_event::execution_id.column(),
            name: "unread completion events",
        },
        OutboxKind::Lease => Outbox {
            table: lease_event::REF,
            event_id: lease_event::event_id,
            execution_id: lease_event::execution_id.column(),
            name: "unread lease events",
        },
        OutboxKind::Signal => Outbox {
            table: signal_event::REF,
            event_id: signal_event::event_id,
            execution_id: signal_event::execution_id.column(),
            name: "unread signal events",
        },
        OutboxKind::Operator => Outbox {
            table: operator_event::REF,
            event_id: operator_event::event_id,
            execution_id: operator_event::execution_id.column(),
            name: "unread operator events",
        },
        OutboxKind::Tag => Outbox {
            table: instance_tag_event::REF,
            event_id: instance_tag_event::event_id,
            execution_id: instance_tag_event::execution_id.column(),
            name: "unread tag events",
        },
    }
}

/// Finds the executions with events that a subscriber has not read.
#[derive(Clone, Debug)]
pub struct Unread<'a> {
    /// The subscriber.
    pub hold: &'a Hold,
    /// The executions that are asked about.
    pub among: Vec<Uuid>,
}

impl Transition for Unread<'_> {
    type Outcome = HashSet<Uuid>;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        let outbox = outbox(self.hold.outbox);
        let texts: Vec<String> = self.among.iter().map(Uuid::to_string).collect();
        let among = Predicate::Among(outbox.execution_id, texts.into_expr());

        let list = List {
            name: outbox.name.into(),
            table: outbox.table,
            join: None,
            of_each: None,
            columns: vec![outbox.event_id.column(), outbox.execution_id],
            predicate: outbox.event_id.above(self.hold.cursor).and(among),
            order: vec![(outbox.event_id.column(), Ascending)],
            limit: Expr::int(MOST_UNREAD),
        };
        let Some(rows) = facts.list(&list) else {
            return Ok(Step::Read(vec![Query::List(list)]));
        };

        if i64::try_from(rows.len()).unwrap_or(i64::MAX) == MOST_UNREAD {
            return Ok(Step::Answer(self.among.iter().copied().collect()));
        }
        let named = rows.iter().filter_map(|row| named(row, outbox.execution_id));
        Ok(Step::Answer(named.collect()))
    }
}

fn named(row: &Row, column: ColumnRef) -> Option<Uuid> {
    let value = row.value(column)?;
    Uuid::from_value(value).or_else(|| String::from_value(value)?.parse().ok())
}

/// Finds an end of a flow's member that a subscriber has not read.
#[must_use]
pub fn unread_end(flow: FlowKey, cursor: i64) -> List {
    let of_flow = completion_event::flow_id.equals(Some(flow.uuid));
    List {
        name: "an unread end in a flow".into(),
        table: completion_event::REF,
        join: None,
        of_each: None,
        columns: vec![completion_event::event_id.column()],
        predicate: completion_event::event_id.above(cursor).and(of_flow),
        order: vec![(completion_event::event_id.column(), Ascending)],
        limit: Expr::int(1),
    }
}
