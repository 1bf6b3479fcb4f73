//! Subscriptions: the rows of an outbox as a stream, from a cursor on.
//!
//! All outboxes share one loop around the decisions of [`Tail`]. A stream works only when it is
//! polled: a slow subscriber blocks nothing, and a waiting subscriber holds no connection. A stream
//! ends only when the backend is shut down.

mod completions;
mod events;
mod outbox;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_core::Stream;
use futures_util::future::select;
use futures_util::stream::unfold;

use self::events::OutboxEvent;
use self::outbox::Outbox;
use super::Executor;
use super::tail::{LowerBound, NextRound, PAGE, StartSearch, Tail};
use crate::contracts::ScannerFilter;
use crate::model::cursor::{
    StreamCursor, decode_postgres_event_cursor, encode_postgres_event_cursor,
};
use crate::model::error::{EngineError, StoreClass, ValidationKind};
use crate::model::ids::Namespace;
use crate::plan::Query;
use crate::plan::facts::{Answer, Row};
use crate::rules::input;

pub use outbox::unreadable_page_queries;

/// The interval at which a subscriber reads without a ring: for a lost notification, or a row
/// committed without one.
const POLL: Duration = Duration::from_millis(500);
/// The time between two reads before a gap.
const GAP_POLL: Duration = Duration::from_millis(20);
/// The pause after the database failed.
const RECOVERY: Duration = Duration::from_millis(200);

/// A stream of events, or of the errors that interrupt it.
pub(super) type Events<T> = Pin<Box<dyn Stream<Item = Result<T, EngineError>> + Send>>;

/// Subscribes to the events after `cursor` that match `filter`; to new events if the cursor is
/// empty.
///
/// # Errors
/// `Validation(InvalidInput)` for a cursor of another family; the backend's error where the newest
/// events have to be read.
pub(super) async fn subscribe<T: OutboxEvent>(
    executor: &dyn Executor,
    cursor: &StreamCursor,
    filter: &ScannerFilter,
) -> Result<Events<T>, EngineError> {
    let position = decode_postgres_event_cursor(cursor)
        .map_err(|detail| input::invalid(format!("{}: {detail}", T::OPERATION)))?;

    let tail = match position {
        Some(position) => Tail::after(position),
        None => from_now(executor, &T::OUTBOX).await?,
    };

    executor.ring_for_other_processes();
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
                // The backend is shut down for good.
                Some(Err(error @ EngineError::Unavailable { .. })) => {
                    return Some((Err(error), None));
                }
                Some(event) => return Some((event, Some(subscription))),
                None => subscription.round().await,
            }
        }
    })))
}

/// A reader of new rows. These include rows of open transactions that are numbered below the newest
/// row.
async fn from_now(executor: &dyn Executor, outbox: &Outbox) -> Result<Tail, EngineError> {
    let mut search = StartSearch::at(executor.horizon().await?);
    let first = list_rows(executor, outbox.newest_below(i64::MAX)).await?;
    let mut listed = numbers_with_transactions(outbox, &first)?;
    let mut bound = search.examine(&listed, PAGE);

    // All rows above the bound came from one query, so no second query is needed.
    if let LowerBound::Above(bound) = bound {
        let visible = listed.into_iter().map(|(number, _)| number);
        return Ok(Tail::from_now(bound, visible.filter(|number| bound < *number)));
    }

    let bound = loop {
        match bound {
            LowerBound::Above(bound) => break bound,
            LowerBound::Below(lowest) => {
                let rows = list_rows(executor, outbox.newest_below(lowest)).await?;
                listed = numbers_with_transactions(outbox, &rows)?;
                bound = search.examine(&listed, PAGE);
            }
        }
    };

    // Listed again in one query: a row committed between two of the reads above would count as old
    // in one and as missing in the other.
    let visible = list_rows(executor, outbox.numbers_after(bound, usize::MAX)).await?;
    let visible: Result<Vec<i64>, _> =
        visible.iter().map(|row| row.read(outbox.event_id)).collect();
    Ok(Tail::from_now(bound, visible?))
}

/// The number of each row and the transaction that inserted it; 0 where none is recorded.
fn numbers_with_transactions(
    outbox: &Outbox,
    rows: &[Row],
) -> Result<Vec<(i64, i64)>, EngineError> {
    let pair = |row: &Row| {
        let transaction = row.read(outbox.transaction_id).unwrap_or_default();
        Ok((row.read(outbox.event_id)?, transaction))
    };
    rows.iter().map(pair).collect()
}

struct Subscription<T> {
    executor: Arc<dyn Executor>,
    filter: ScannerFilter,
    tail: Tail,
    ready: VecDeque<Result<T, EngineError>>,
    failed: bool,
}

impl<T: OutboxEvent> Subscription<T> {
    /// Reads one page, and waits for a reason to read again if nothing is ready.
    async fn round(&mut self) {
        if std::mem::take(&mut self.failed) {
            self.executor.sleep(RECOVERY).await;
        }

        // Before the read: a commit in between rings.
        let rung = self.executor.bell().listen(T::TOPIC);
        let next = match self.read_page().await {
            Ok(next) => next,
            Err(error) => {
                self.failed = true;
                self.ready.push_back(Err(self.interruption(error)));
                return;
            }
        };

        let timeout = match next {
            NextRound::AtOnce => return,
            NextRound::Soon => GAP_POLL,
            NextRound::OnRing => POLL,
        };

        if self.ready.is_empty() {
            self.executor.ring_for_other_processes();
            select(rung, self.executor.sleep(timeout)).await;
        }
    }

    /// Reads one page and makes ready what may be delivered of it.
    async fn read_page(&mut self) -> Result<NextRound, EngineError> {
        let executor = self.executor.as_ref();
        // `Tail::round` requires this order.
        if self.tail.needs_frontier() {
            self.tail.learn_frontier(executor.frontier().await?);
        }
        let horizon = executor.horizon().await?;
        let page = list_page(executor, &T::OUTBOX, self.tail.position()).await?;

        let numbers: Vec<i64> = page.iter().map(|(number, _)| *number).collect();
        let round = self.tail.round(horizon, &numbers);

        let mut delivered = round.deliver.into_iter().peekable();
        for (place, (number, row)) in page.into_iter().enumerate() {
            if delivered.next_if_eq(&place).is_some() {
                let event = row.and_then(|row| event(&self.filter, number, &row));
                self.ready.extend(
                    event.map_err(|error| add_row_name(&T::OUTBOX, number, error)).transpose(),
                );
            }
        }

        Ok(round.next)
    }

    fn interruption(&self, error: EngineError) -> EngineError {
        if error.store_class().is_some_and(StoreClass::may_pass) {
            let cursor = encode_postgres_event_cursor(self.tail.position());
            return EngineError::StreamDisconnected { cursor };
        }
        error
    }
}

/// The number of a row, and the row or the reason that it cannot be read.
type PageRow = (i64, Result<Row, EngineError>);

/// The first rows after a position.
async fn list_page(
    executor: &dyn Executor,
    outbox: &Outbox,
    position: i64,
) -> Result<Vec<PageRow>, EngineError> {
    match list_rows(executor, outbox.rows_after(position, PAGE)).await {
        Ok(rows) => {
            let page_row = |row: Row| Ok((row.read(outbox.event_id)?, Ok(row)));
            rows.into_iter().map(page_row).collect()
        }
        Err(error) if is_corruption(&error) => list_row_by_row(executor, outbox, position).await,
        Err(error) => Err(error),
    }
}

/// The same page row by row, for a database that let in a value of another type than its column's:
/// one such row makes the whole page unreadable.
async fn list_row_by_row(
    executor: &dyn Executor,
    outbox: &Outbox,
    position: i64,
) -> Result<Vec<PageRow>, EngineError> {
    let numbers = list_rows(executor, outbox.numbers_after(position, PAGE)).await?;

    let mut page = Vec::with_capacity(numbers.len());
    for number in numbers {
        let number = number.read(outbox.event_id)?;
        match list_rows(executor, outbox.rows_after(number.saturating_sub(1), 1)).await {
            Ok(rows) => page.extend(rows.into_iter().map(|row| (number, Ok(row)))),
            Err(error) if is_corruption(&error) => page.push((number, Err(error))),
            Err(error) => return Err(error),
        }
    }

    Ok(page)
}

fn is_corruption(error: &EngineError) -> bool {
    matches!(error, EngineError::Validation { kind: ValidationKind::Corruption, .. })
}

/// The event of a row; `None` if the filter excludes it.
fn event<T: OutboxEvent>(
    filter: &ScannerFilter,
    number: i64,
    row: &Row,
) -> Result<Option<T>, EngineError> {
    let namespace = row.read(T::OUTBOX.namespace)?.map(Namespace::new);
    let instance_tag = row.read(T::OUTBOX.instance_tag)?;
    if !filter.matches(namespace.as_ref(), instance_tag.as_deref()) {
        return Ok(None);
    }

    T::read(row, encode_postgres_event_cursor(number)).map(Some)
}

/// The error, with the name of the row.
fn add_row_name(outbox: &Outbox, number: i64, error: EngineError) -> EngineError {
    let EngineError::Validation { kind: ValidationKind::Corruption, detail } = error else {
        return error;
    };
    let detail = format!("{} {number}: {detail}", outbox.table.name);
    EngineError::Validation { kind: ValidationKind::Corruption, detail }
}

async fn list_rows(executor: &dyn Executor, query: Query) -> Result<Vec<Row>, EngineError> {
    let answers = executor.read(vec![query]).await?;
    Ok(match answers.into_iter().next() {
        Some(Answer::List(rows)) => rows,
        Some(Answer::Lookup(_)) | None => Vec::new(),
    })
}
