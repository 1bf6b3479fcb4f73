//! The parts of a run: the state of a flow, and the lines of one execution or flow.

use crate::contracts::HeldBack;
use crate::engine::{Executor, run};
use crate::model::error::{ContentionKind, EngineError};
use crate::plan::Held;
use crate::plan::value::Storable as _;
use crate::rules::archive::read::{Found, LastEnd, ReadPart, ReadWhole};
use crate::rules::archive::record::{PART, Record, Rows, Subject, parted_by};
use crate::rules::flow::end::EndFlow;
use crate::rules::flow::key::FlowKey;
use crate::rules::retention::seal::{Seal, Sealed};
use crate::schema::execution::{exec_core, finished};
use crate::schema::outbox::completion_event;

/// The number of times that rows are read which change meanwhile.
const TRIES: u32 = 20;

/// The lines of a step.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) texts: Vec<String>,
    pub(super) bytes: usize,
}

impl Lines {
    pub(super) fn extend(&mut self, texts: Vec<String>) {
        self.bytes += texts.iter().map(String::len).sum::<usize>();
        self.texts.extend(texts);
    }
}

/// A flow, as an archive sees it.
pub(super) enum Flow {
    /// A member has not ended: there will be another event.
    GoesOn,
    /// An end has not been dispatched, which may change the flow without another event.
    Undispatched,
    /// It is over.
    Over {
        /// The last completion event of a member.
        last: i64,
    },
}

/// The state of a flow. One that nothing has ended is ended first, as retention does.
pub(super) async fn flow_state(
    executor: &dyn Executor,
    flow: FlowKey,
) -> Result<Flow, EngineError> {
    let seal = Seal { flow, until_ms: i64::MAX, holds: Vec::new(), dry_run: true };
    match run(executor, &seal).await? {
        Sealed::No(HeldBack::LiveFlow) => return Ok(Flow::GoesOn),
        Sealed::No(_) => return Ok(Flow::Undispatched),
        Sealed::NotEnded => {
            run(executor, &EndFlow { flow }).await?;
        }
        Sealed::Yes => {}
    }
    Ok(Flow::Over { last: run(executor, &LastEnd { flow }).await? })
}

/// The lines of an execution or flow; none if it does not pass, by the last of its completion
/// events, or if an execution goes on.
pub(super) async fn lines_of(
    executor: &dyn Executor,
    subject: Subject,
    at: i64,
    members: Option<u64>,
    passes: impl Fn(Option<i64>) -> bool,
) -> Result<Option<Vec<String>>, EngineError> {
    let mut rows = rows_of(executor, subject).await?;
    if !has_ended(subject, &rows) || !passes(last_end(&rows)) {
        return Ok(None);
    }

    let mut texts = Vec::new();
    for place in 0..rows.len() {
        while let Some((table, part)) = rows.get(place)
            && parted_by(*table).is_some()
            && part.len() == PART as usize
        {
            let next = ReadPart { subject, table: *table, last: part.last() };
            let next = run(executor, &next).await?;
            let part = (*table, part.clone());
            let record = Record { at, subject, is_part: true, members: None, rows: vec![part] };
            texts.push(record.to_line());
            if let Some((_, part)) = rows.get_mut(place) {
                *part = next;
            }
        }
    }
    texts.push(Record { at, subject, is_part: false, members, rows }.to_line());
    Ok(Some(texts))
}

/// The rows at one moment.
async fn rows_of(executor: &dyn Executor, subject: Subject) -> Result<Rows, EngineError> {
    for _ in 0..TRIES {
        if let Found::Rows(rows) = run(executor, &ReadWhole(subject)).await? {
            return Ok(rows);
        }
    }
    Err(EngineError::Contention(ContentionKind::RetryExhausted))
}

fn has_ended(subject: Subject, rows: &Rows) -> bool {
    let mut cores = rows.iter().filter(|(table, _)| *table == exec_core::REF);
    let core = cores.next().and_then(|(_, rows)| rows.first());
    match subject {
        Subject::Execution(_) => core.is_some_and(|row| finished().accepts(row, &Held::default())),
        Subject::Flow(_) => true,
    }
}

fn last_end(rows: &Rows) -> Option<i64> {
    let events = rows.iter().filter(|(table, _)| *table == completion_event::REF);
    let events = events.flat_map(|(_, rows)| rows);
    let numbers = events.filter_map(|row| row.value(completion_event::event_id.column()));
    numbers.filter_map(i64::from_value).max()
}
