//! The stored cursors of named subscribers: written, read, listed and dropped.

use crate::contracts::SubscriberCursor;
use crate::model::error::EngineError;
use crate::model::state::OutboxKind;
use crate::plan::facts::{Facts, Row};
use crate::plan::{Expr, List, Mutation, OnConflict, OnTaken, Plan, Predicate, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Then, Transition};
use crate::rules::input;
use crate::schema::Direction::Ascending;
use crate::schema::subscriber::subscriber_cursor;

/// The most cursors that an installation lists.
const MOST: i64 = 1_000;

/// Stores the cursor of a subscriber, which may be new.
#[derive(Clone, Debug)]
pub struct Store {
    name: String,
    outbox: OutboxKind,
    event_id: i64,
    note: Option<String>,
}

impl Store {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for an empty or long name, one with NUL, or a negative number.
    pub fn new(name: &str, outbox: OutboxKind, event_id: i64) -> Result<Self, EngineError> {
        check_name(name)?;
        if event_id < 0 {
            return Err(input::invalid(format!("event_id: {event_id} is negative")));
        }
        Ok(Self { name: name.to_owned(), outbox, event_id, note: None })
    }

    /// The same, with a note about the position.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for a note with NUL.
    pub fn noting(self, note: &str) -> Result<Self, EngineError> {
        input::text("note", note)?;
        Ok(Self { note: Some(note.to_owned()), ..self })
    }
}

/// Checks the name of a subscriber.
///
/// # Errors
/// `Validation(InvalidInput)` for an empty or long name, or one with NUL.
pub fn check_name(name: &str) -> Result<(), EngineError> {
    if name.is_empty() {
        return Err(input::invalid("name: must not be empty"));
    }
    input::name("name", name)
}

impl Transition for Store {
    type Outcome = ();

    fn step(&self, _: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<()>, EngineError> {
        let row = vec![
            subscriber_cursor::name.with(self.name.clone()),
            subscriber_cursor::outbox.with_chosen(self.outbox),
            subscriber_cursor::event_id.with(self.event_id),
            subscriber_cursor::updated_at_ms.with(ctx.now.0),
            subscriber_cursor::began_at_ms.with(Some(ctx.now.0)),
            subscriber_cursor::note.with(self.note.clone()),
        ];
        let moved = vec![
            (subscriber_cursor::event_id.column(), OnTaken::Overwrite),
            (subscriber_cursor::updated_at_ms.column(), OnTaken::Overwrite),
            (subscriber_cursor::note.column(), OnTaken::Overwrite),
        ];

        let plan = Plan::new("store_subscriber_cursor");
        let plan = plan.insert(subscriber_cursor::REF, row, OnConflict::Update(moved));
        Ok(Step::Commit(plan, Then::Answer(())))
    }
}

/// Drops a subscriber: its cursors in all outboxes, or nothing where it has none.
#[derive(Clone, Debug)]
pub struct Drop {
    name: String,
}

impl Drop {
    /// Checks the name.
    ///
    /// # Errors
    /// As [`check_name`].
    pub fn new(name: &str) -> Result<Self, EngineError> {
        check_name(name)?;
        Ok(Self { name: name.to_owned() })
    }
}

impl Transition for Drop {
    /// The number of cursors that it had.
    type Outcome = u32;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<u32>, EngineError> {
        let list =
            cursors("cursors of a subscriber", subscriber_cursor::name.equals(self.name.clone()));
        let Some(rows) = facts.list(&list) else {
            return Ok(Step::Read(vec![Query::List(list)]));
        };

        let had = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        if had == 0 {
            return Ok(Step::Answer(0));
        }
        let of_name = |outbox: OutboxKind| {
            let key = vec![
                subscriber_cursor::name.with(self.name.clone()),
                subscriber_cursor::outbox.with(outbox),
            ];
            Mutation::delete(subscriber_cursor::REF, key)
        };
        let plan = Plan::new("drop_subscriber").and(ALL.map(of_name));
        Ok(Step::Commit(plan, Then::Answer(had)))
    }
}

/// Every outbox.
pub const ALL: [OutboxKind; 5] = [
    OutboxKind::Completion,
    OutboxKind::Lease,
    OutboxKind::Signal,
    OutboxKind::Operator,
    OutboxKind::Tag,
];

/// Lists the stored cursors of all subscribers, by name and outbox.
#[derive(Clone, Copy, Debug)]
pub struct ListCursors;

impl Transition for ListCursors {
    type Outcome = Vec<SubscriberCursor>;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        let list = cursors("cursors of subscribers", Predicate::Always);
        match facts.list(&list) {
            None => Ok(Step::Read(vec![Query::List(list)])),
            Some(rows) => rows.iter().map(read).collect::<Result<_, _>>().map(Step::Answer),
        }
    }
}

fn cursors(name: &'static str, predicate: Predicate) -> List {
    List {
        name: name.into(),
        table: subscriber_cursor::REF,
        join: None,
        of_each: None,
        columns: subscriber_cursor::REF.columns.to_vec(),
        predicate,
        order: vec![
            (subscriber_cursor::name.column(), Ascending),
            (subscriber_cursor::outbox.column(), Ascending),
        ],
        limit: Expr::int(MOST),
    }
}

fn read(row: &Row) -> Result<SubscriberCursor, EngineError> {
    let cursor = SubscriberCursor::new(
        row.read(subscriber_cursor::name)?,
        row.read(subscriber_cursor::outbox)?,
        row.read(subscriber_cursor::event_id)?,
        row.read(subscriber_cursor::updated_at_ms)?,
    );
    Ok(SubscriberCursor {
        began_at_ms: row.read(subscriber_cursor::began_at_ms)?,
        note: row.read(subscriber_cursor::note)?,
        ..cursor
    })
}
