//! Subscriptions: the rows of an outbox as a stream, from a cursor on.
//!
//! One loop for all outboxes, over what [`Tail`] decides. A stream does nothing unless it is polled:
//! a slow subscriber holds nothing up, and one that waits for rows holds no connection. It never ends
//! by itself, except where the backend was shut down.

mod completions;
mod outbox;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_core::Stream;
use futures_util::future::select;
use futures_util::stream::unfold;

use self::outbox::{Event, Outbox};
use super::tail::{PAGE, Pace, Tail};
use super::{Executor, Horizon};
use crate::EngineError;
use crate::backend::ScannerFilter;
use crate::engine_error::ValidationKind;
use crate::facts::{Answer, Row};
use crate::plan::{Expr, List, Predicate, Query};
use crate::rules::input;
use crate::schema::{ColumnRef, Direction};
use crate::stream_subscribe::{
    StreamCursor, decode_postgres_event_cursor, encode_postgres_event_cursor,
};
use crate::types::Namespace;

/// How long a lost wake-up can go unnoticed, and rows that nobody rang for.
const LOOK: Duration = Duration::from_millis(500);
/// How often a transaction that is waited for is looked at.
const LOOK_AT_GAP: Duration = Duration::from_millis(20);
/// How long to leave the database alone after it failed.
const RECOVERY: Duration = Duration::from_millis(200);

/// Events, or why there are none for the moment.
pub(super) type Events<T> = Pin<Box<dyn Stream<Item = Result<T, EngineError>> + Send>>;

/// The events after `cursor` that `filter` lets through; those from now on, if the cursor is empty.
///
/// # Errors
/// `Validation(InvalidInput)` for a cursor of another family; what the database reports where the
/// newest events have to be looked at.
pub(super) async fn subscribe<T: Event>(
    executor: &dyn Executor,
    cursor: &StreamCursor,
    filter: &ScannerFilter,
) -> Result<Events<T>, EngineError> {
    let position = decode_postgres_event_cursor(cursor)
        .map_err(|detail| input::invalid(format!("{}: {detail}", T::OPERATION)))?;
    let tail = match position {
        Some(position) => Tail::after(position),
        None => Tail::from_now(&newest(executor, &T::OUTBOX).await?),
    };
    executor.attend();
    let subscription = Subscription {
        executor: executor.share(),
        filter: filter.clone(),
        tail,
        ready: VecDeque::new(),
        failed: false,
    };
    Ok(Box::pin(unfold(Some(subscription), |subscription| async move {
        let mut subscription: Subscription<T> = subscription?;
        loop {
            match subscription.ready.pop_front() {
                // The backend is gone for good.
                Some(Err(error @ EngineError::Unavailable { .. })) => {
                    return Some((Err(error), None));
                }
                Some(event) => return Some((event, Some(subscription))),
                None => subscription.round().await,
            }
        }
    })))
}

/// The numbers of the newest rows.
async fn newest(executor: &dyn Executor, outbox: &Outbox) -> Result<Vec<i64>, EngineError> {
    let columns = &[outbox.event_id.column()];
    let query = list(outbox.newest, outbox, columns, Predicate::Always, Direction::Descending);
    numbers(outbox, &rows(executor, query).await?)
}

struct Subscription<T> {
    executor: Arc<dyn Executor>,
    filter: ScannerFilter,
    tail: Tail,
    ready: VecDeque<Result<T, EngineError>>,
    failed: bool,
}

impl<T: Event> Subscription<T> {
    /// Looks once, and waits for a reason to look again if there was nothing.
    async fn round(&mut self) {
        if std::mem::take(&mut self.failed) {
            self.executor.sleep(RECOVERY).await;
        }
        // Before looking: what is committed meanwhile rings.
        let rung = self.executor.bell().listen(T::TOPIC);
        let pace = match self.look().await {
            Ok(pace) => pace,
            Err(error) => {
                self.failed = true;
                self.ready.push_back(Err(self.interrupted(error)));
                return;
            }
        };
        let patience = match pace {
            Pace::Now => return,
            Pace::Soon => LOOK_AT_GAP,
            Pace::Later => LOOK,
        };
        if self.ready.is_empty() {
            self.executor.attend();
            select(rung, self.executor.sleep(patience)).await;
        }
    }

    /// One page: what may be delivered of it becomes ready.
    async fn look(&mut self) -> Result<Pace, EngineError> {
        let outbox = &T::OUTBOX;
        let executor = self.executor.as_ref();
        let horizon: Horizon = executor.horizon().await?;
        let after = outbox.event_id.above(self.tail.position());
        let query = list(outbox.after, outbox, outbox.columns, after, Direction::Ascending);
        let listed = rows(executor, query).await?;
        let numbers = numbers(outbox, &listed)?;
        let round = self.tail.round(horizon, &numbers);
        for place in round.deliver {
            if let (Some(number), Some(row)) = (numbers.get(place), listed.get(place)) {
                let event = event(&self.filter, *number, row);
                self.ready.extend(event.transpose());
            }
        }
        Ok(round.pace)
    }

    fn interrupted(&self, error: EngineError) -> EngineError {
        if self.executor.lost_connection(&error) {
            let cursor = encode_postgres_event_cursor(self.tail.position());
            return EngineError::StreamDisconnected { cursor };
        }
        error
    }
}

/// The event that a row is, unless the filter holds it back.
fn event<T: Event>(
    filter: &ScannerFilter,
    number: i64,
    row: &Row,
) -> Result<Option<T>, EngineError> {
    let read = || {
        let namespace = row.read(T::OUTBOX.namespace)?.map(Namespace::new);
        let instance_tag = row.read(T::OUTBOX.instance_tag)?;
        if !filter.matches(namespace.as_ref(), instance_tag.as_deref()) {
            return Ok(None);
        }
        T::read(row, encode_postgres_event_cursor(number)).map(Some)
    };
    read().map_err(|error: EngineError| match error {
        EngineError::Validation { kind: ValidationKind::Corruption, detail } => {
            let detail = format!("{} {number}: {detail}", T::OUTBOX.event_id.column.table);
            EngineError::Validation { kind: ValidationKind::Corruption, detail }
        }
        other => other,
    })
}

fn list(
    name: &'static str,
    outbox: &Outbox,
    columns: &[ColumnRef],
    predicate: Predicate,
    direction: Direction,
) -> Query {
    Query::List(List {
        name: name.into(),
        table: outbox.table,
        join: None,
        columns: columns.to_vec(),
        predicate,
        order: vec![(outbox.event_id.column(), direction)],
        limit: Expr::int(i64::try_from(PAGE).unwrap_or(i64::MAX)),
    })
}

async fn rows(executor: &dyn Executor, query: Query) -> Result<Vec<Row>, EngineError> {
    let answers = executor.read(vec![query]).await?;
    Ok(match answers.into_iter().next() {
        Some(Answer::List(rows)) => rows,
        Some(Answer::Lookup(_)) | None => Vec::new(),
    })
}

fn numbers(outbox: &Outbox, rows: &[Row]) -> Result<Vec<i64>, EngineError> {
    rows.iter().map(|row| row.read(outbox.event_id)).collect()
}
