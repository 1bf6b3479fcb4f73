//! Runs an archive, a step at a time: the lines of what ended since the run before.
//!
//! An execution is handed out at its last completion event. A flow is handed out whole, its members
//! first, at the last completion event of a member, once it is over and every end is dispatched. So
//! a position among the completion events says what is archived, and what ends later comes behind
//! it.

mod lines;

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use uuid::Uuid;

use self::lines::{Flow, Lines, flow_state, lines_of};
use super::{Executor, run};
use crate::contracts::{ArchivePass, ArchiveStage, ArchiveStep, FlowPlace, ImportRun};
use crate::model::error::{EngineError, ValidationKind};
use crate::rules::archive::check::CheckedFile;
use crate::rules::archive::import::outboxes;
use crate::rules::archive::read::Newest;
use crate::rules::archive::record::Subject;
use crate::rules::flow::key::FlowKey;
use crate::rules::retention::ended::{ByEvent, Ended, MembersOf};
use crate::schema::Direction::Ascending;
use crate::schema::outbox::completion_event;
use crate::schema::table;

/// The most executions that are read at once.
const AT_ONCE: usize = 32;

/// The size of the lines, in bytes, after which a step ends.
const ENOUGH: usize = 4 * 1024 * 1024;

/// The time for which a run waits for transactions that are open when it begins.
const PATIENCE: Duration = Duration::from_secs(30);

/// The pause before it looks again.
const PAUSE: Duration = Duration::from_millis(20);

/// Takes a run one step further.
///
/// # Errors
/// `Timeout` where a transaction stays open; `Validation(Corruption)` for an execution that cannot
/// be read; the backend's error.
pub(super) async fn step(
    executor: &dyn Executor,
    mut pass: ArchivePass,
) -> Result<ArchiveStep, EngineError> {
    let mut lines = Lines::default();
    match std::mem::replace(&mut pass.stage, ArchiveStage::Walking) {
        ArchiveStage::Walking => {
            let until = match pass.until {
                Some(until) => until,
                None => settled_end(executor).await?,
            };
            pass.until = Some(until);
            walk(executor, &mut pass, until, &mut lines).await?;
        }
        ArchiveStage::InFlow(place) => members(executor, &mut pass, place, &mut lines).await?,
        stage @ (ArchiveStage::Waiting { .. } | ArchiveStage::Done) => pass.stage = stage,
    }
    Ok(ArchiveStep { lines: lines.texts, pass })
}

/// The last completion event, once no event before it can appear any more.
async fn settled_end(executor: &dyn Executor) -> Result<i64, EngineError> {
    let number = completion_event::event_id.column();
    let until = run(executor, &Newest { table: completion_event::REF, number }).await?;

    // A number is taken before its transaction commits.
    let frontier = executor.frontier().await?;
    let mut waited = Duration::ZERO;
    while executor.horizon().await?.oldest_open < frontier {
        if PATIENCE <= waited {
            return Err(EngineError::Timeout { op: "archive_step", elapsed: waited });
        }
        executor.sleep(PAUSE).await;
        waited += PAUSE;
    }
    Ok(until)
}

/// Hands out what is archived at the events of one page.
async fn walk(
    executor: &dyn Executor,
    pass: &mut ArchivePass,
    until: i64,
    lines: &mut Lines,
) -> Result<(), EngineError> {
    let page = run(executor, &ByEvent { from: pass.position, direction: Ascending }).await?;
    if page.unreadable != 0 {
        let detail = format!("an execution that ended at an event after {}", pass.position);
        return Err(EngineError::Validation { kind: ValidationKind::Corruption, detail });
    }
    let Some(last) = page.last else {
        pass.position = until.max(pass.position);
        pass.stage = ArchiveStage::Done;
        return Ok(());
    };

    let due: Vec<(i64, Ended)> = page.ended.into_iter().filter(|(at, _)| *at <= until).collect();
    let mut left = due.as_slice();
    while let Some((first, rest)) = left.split_first() {
        if let Some(flow) = first.1.flow {
            if enter(executor, pass, flow, first.0).await? {
                return Ok(());
            }
            pass.position = first.0;
            left = rest;
            continue;
        }

        let alone = left.iter().take_while(|(_, ended)| ended.flow.is_none()).count();
        let (chunk, rest) = left.split_at(alone.min(AT_ONCE));
        let read = chunk.iter().map(|(at, ended)| lines_of_one(executor, *at, ended));
        for (read, (at, _)) in join_all(read).await.into_iter().zip(chunk) {
            if let Some(texts) = read? {
                lines.extend(texts);
                pass.executions += 1;
            }
            pass.position = *at;
        }
        left = rest;
        if ENOUGH <= lines.bytes {
            return Ok(());
        }
    }

    // Trimmed events may have been newer than those that are left.
    pass.position = last.min(until).max(pass.position);
    if until <= last {
        pass.stage = ArchiveStage::Done;
    }
    Ok(())
}

/// The lines of an execution outside flows, if that event is its last.
async fn lines_of_one(
    executor: &dyn Executor,
    at: i64,
    ended: &Ended,
) -> Result<Option<Vec<String>>, EngineError> {
    let subject = Subject::Execution(ended.key);
    lines_of(executor, subject, at, None, |last| last == Some(at)).await
}

/// Looks at a flow at the event of a member; true if the walk stops here.
async fn enter(
    executor: &dyn Executor,
    pass: &mut ArchivePass,
    flow: FlowKey,
    at: i64,
) -> Result<bool, EngineError> {
    let known = pass.flows.get(&flow.uuid).copied();
    if known.is_some_and(|last| at < last) {
        return Ok(false);
    }

    pass.flows.remove(&flow.uuid);
    match flow_state(executor, flow).await? {
        Flow::GoesOn => Ok(false),
        Flow::Undispatched => {
            pass.stage = ArchiveStage::Waiting { flow: flow.uuid };
            Ok(true)
        }
        Flow::Over { last } if last == at => {
            let FlowKey { partition, uuid } = flow;
            let place = FlowPlace { at, partition, flow: uuid, after: Uuid::nil(), members: 0 };
            pass.stage = ArchiveStage::InFlow(place);
            Ok(true)
        }
        Flow::Over { last } => {
            pass.flows.insert(flow.uuid, last);
            Ok(false)
        }
    }
}

/// Hands out some members of a flow, and the flow behind the last of them.
async fn members(
    executor: &dyn Executor,
    pass: &mut ArchivePass,
    mut place: FlowPlace,
    lines: &mut Lines,
) -> Result<(), EngineError> {
    let flow = FlowKey { partition: place.partition, uuid: place.flow };
    let page = run(executor, &MembersOf { flow, after: place.after }).await?;
    let Some(last) = page.last else {
        let subject = Subject::Flow(flow);
        let texts = lines_of(executor, subject, place.at, Some(place.members), |_| true).await?;
        lines.extend(texts.unwrap_or_default());
        pass.position = place.at;
        pass.flows_archived += 1;
        return Ok(());
    };

    for chunk in page.ended.chunks(AT_ONCE) {
        let read = chunk.iter().map(|(_, ended)| {
            lines_of(executor, Subject::Execution(ended.key), place.at, None, |_| true)
        });
        for (read, (uuid, _)) in join_all(read).await.into_iter().zip(chunk) {
            if let Some(texts) = read? {
                lines.extend(texts);
                pass.executions += 1;
                place.members += 1;
            }
            place.after = *uuid;
        }
        if ENOUGH <= lines.bytes {
            pass.stage = ArchiveStage::InFlow(place);
            return Ok(());
        }
    }

    place.after = last;
    pass.stage = ArchiveStage::InFlow(place);
    Ok(())
}

/// Begins an import: every outbox counts on behind the numbers of the file.
///
/// # Errors
/// The backend's error.
pub(super) async fn begin_import(
    executor: &dyn Executor,
    file: &CheckedFile,
) -> Result<ImportRun, EngineError> {
    let mut taken_up_to = BTreeMap::new();
    for (table, number) in outboxes() {
        taken_up_to.insert(table.0.name, run(executor, &Newest { table, number }).await?);
    }

    for (name, highest) in &file.highest {
        let taken = taken_up_to.get(name).copied().unwrap_or_default();
        let described = table(name).filter(|_| taken < *highest);
        if let Some(described) = described {
            executor.number_above(crate::schema::TableRef(described), *highest).await?;
        }
    }
    Ok(ImportRun { taken_up_to })
}
