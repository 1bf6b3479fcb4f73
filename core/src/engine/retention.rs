//! Runs a pass of retention, a step at a time: one page of ended executions, each removed by a plan
//! of its own.

mod batch;

use std::collections::HashSet;

use uuid::Uuid;

use self::batch::Removal;
use super::{Executor, run};
use crate::contracts::{Newest, RetentionRule, TrimPass, TrimStage};
use crate::model::error::EngineError;
use crate::model::ids::{LaneId, TimestampMs};
use crate::rules::input::PAGE_MAX;
use crate::rules::lane::ListLanes;
use crate::rules::retention::count::{Long, LongStreams};
use crate::rules::retention::ended::{
    self, ByEvent, ByKey, Ended, Page, is_kept, latest_end, rule_of,
};
use crate::rules::retention::holds::{archive_named, holds};
use crate::rules::retention::subscriber::ListCursors;
use crate::schema::Direction::{Ascending, Descending};

/// Takes a pass one step further: at most one page of events or rows.
///
/// # Errors
/// `Validation(InvalidInput)` for a rule or an archive that cannot be one; the backend's error.
pub(super) async fn step(
    executor: &dyn Executor,
    mut pass: TrimPass,
) -> Result<TrimPass, EngineError> {
    ended::check(&pass.rules)?;

    pass.stage = match std::mem::replace(&mut pass.stage, TrimStage::Done) {
        TrimStage::Counting { below, newest } => count(executor, &mut pass, below, newest).await?,
        TrimStage::Walking { after, newest } => walk(executor, &mut pass, after, newest).await?,
        TrimStage::Sweeping { after, newest } => sweep(executor, &mut pass, after, newest).await?,
        TrimStage::Done => TrimStage::Done,
    };
    Ok(pass)
}

/// Counts the newest executions of one page.
async fn count(
    executor: &dyn Executor,
    pass: &mut TrimPass,
    below: i64,
    mut newest: Vec<Newest>,
) -> Result<TrimStage, EngineError> {
    newest.resize_with(pass.rules.len(), Newest::default);
    let lanes = run(executor, &ListLanes::new(None, PAGE_MAX)?).await?.lanes;
    if pass.rules.iter().zip(&newest).all(|(rule, newest)| is_full(rule, newest, &lanes)) {
        return Ok(TrimStage::Walking { after: i64::MIN, newest });
    }

    let page = run(executor, &ByEvent { from: below, direction: Descending }).await?;
    pass.report.looked_at += page.looked_at;
    for (_, ended) in &page.ended {
        let Some((place, rule)) = rule_of(&pass.rules, ended) else { continue };
        if let Some(newest) = newest.get_mut(place) {
            let of_lane = newest.entry(ended.lane.clone()).or_default();
            if (of_lane.len() as u64) < rule.keep {
                of_lane.insert(ended.key.uuid);
            }
        }
    }

    Ok(match page.last {
        Some(below) => TrimStage::Counting { below, newest },
        None => TrimStage::Walking { after: i64::MIN, newest },
    })
}

/// True if no further execution stays because of the rule's count.
fn is_full(rule: &RetentionRule, newest: &Newest, lanes: &[LaneId]) -> bool {
    let full = |lane: &str| newest.get(lane).is_some_and(|kept| rule.keep <= kept.len() as u64);
    match &rule.lane {
        _ if rule.keep == 0 => true,
        Some(lane) => full(lane.as_str()),
        // A longer list of lanes may hide one that is not full.
        None => lanes.len() < PAGE_MAX && lanes.iter().all(|lane| full(lane.as_str())),
    }
}

/// Removes what is due on one page of the completion outbox.
async fn walk(
    executor: &dyn Executor,
    pass: &mut TrimPass,
    after: i64,
    newest: Vec<Newest>,
) -> Result<TrimStage, EngineError> {
    if let Some(name) = &pass.archive {
        archive_named(&run(executor, &ListCursors).await?, name)?;
    }
    let page = run(executor, &ByEvent { from: after, direction: Ascending }).await?;
    let Some(last) = page.last else { return Ok(behind_the_events(pass, newest)) };

    let choice = choose(pass, page, &newest, executor.now());
    if choice.only_young {
        return Ok(behind_the_events(pass, newest));
    }
    let mut due = choice.due;
    if !due.is_empty() {
        let long = run(executor, &LongStreams { after, last }).await?;
        remove(executor, pass, &mut due, &newest, &long).await?;
    }
    Ok(TrimStage::Walking { after: last, newest })
}

/// The stage after the last event: executions without an event are in no archive.
fn behind_the_events(pass: &TrimPass, newest: Vec<Newest>) -> TrimStage {
    if pass.sweeps && pass.archive.is_none() {
        TrimStage::Sweeping { after: (i16::MIN, Uuid::nil()), newest }
    } else {
        TrimStage::Done
    }
}

/// Removes what is due on one page of executions by key.
async fn sweep(
    executor: &dyn Executor,
    pass: &mut TrimPass,
    after: (i16, Uuid),
    newest: Vec<Newest>,
) -> Result<TrimStage, EngineError> {
    let page = run(executor, &ByKey { after, within_partition: false }).await?;
    let Some(last) = page.last else { return Ok(TrimStage::Done) };

    let mut due = choose(pass, page, &newest, executor.now()).due;
    remove(executor, pass, &mut due, &newest, &Long::Any).await?;
    Ok(TrimStage::Sweeping { after: last, newest })
}

/// The executions of a page that a rule removes.
struct Choice {
    due: Vec<Ended>,
    /// True if a rule selects executions of the page, and each ended too recently.
    only_young: bool,
}

fn choose<P>(pass: &mut TrimPass, page: Page<P>, newest: &[Newest], now: TimestampMs) -> Choice {
    pass.report.looked_at += page.looked_at;
    pass.report.errors += page.unreadable;

    let (mut due, mut young, mut old) = (Vec::new(), false, false);
    let mut seen = HashSet::new();
    for (_, ended) in page.ended {
        let Some((place, rule)) = rule_of(&pass.rules, &ended) else { continue };
        if latest_end(rule, now) < ended.at_ms {
            young = true;
            continue;
        }

        old = true;
        if !is_kept(rule, newest.get(place), &ended) && seen.insert(ended.key.uuid) {
            due.push(ended);
        }
    }
    Choice { due, only_young: young && !old }
}

async fn remove(
    executor: &dyn Executor,
    pass: &mut TrimPass,
    due: &mut Vec<Ended>,
    newest: &[Newest],
    long: &Long,
) -> Result<(), EngineError> {
    if due.is_empty() {
        return Ok(());
    }
    let cursors = run(executor, &ListCursors).await?;
    let holds = holds(&cursors, pass.archive.as_deref())?;

    let archive = pass.archive.as_deref().map(|name| archive_named(&cursors, name)).transpose()?;
    let archive_began = archive.map(|archive| archive.began_at_ms.unwrap_or(i64::MIN));

    let mut removal = Removal { executor, pass, holds, newest, long };
    removal.hold_back_unread(due).await?;
    if let Some(began) = archive_began {
        removal.hold_back_changed(due, began);
    }
    removal.hold_back_flows(due).await?;
    removal.remove(due).await
}

/// Removes up to `limit` executions of one partition and lane that ended at least so long ago,
/// those that ended first.
///
/// # Errors
/// `Validation(InvalidInput)` naming the field; the backend's error.
pub(super) async fn trim_partition(
    executor: &dyn Executor,
    partition: i16,
    rule: RetentionRule,
    now: TimestampMs,
    limit: u32,
) -> Result<u32, EngineError> {
    let mut pass = TrimPass::new(vec![rule]);
    ended::check(&pass.rules)?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);

    let (mut first, mut after): (Vec<Ended>, _) = (Vec::new(), (partition, Uuid::nil()));
    loop {
        let page = run(executor, &ByKey { after, within_partition: true }).await?;
        let Some(last) = page.last else { break };
        first.append(&mut choose(&mut pass, page, &[], now).due);
        // No more rows are kept than are removed.
        first.sort_by_key(|ended| (ended.at_ms, ended.key.uuid));
        first.truncate(limit);
        after = last;
    }

    remove(executor, &mut pass, &mut first, &[], &Long::Any).await?;
    Ok(u32::try_from(pass.report.executions).unwrap_or(u32::MAX))
}
