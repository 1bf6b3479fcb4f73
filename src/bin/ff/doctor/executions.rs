//! What the explanations of some executions say about workers and scanners.
//!
//! A doctor cannot look at all executions. So it explains the newest of each lane and state, and
//! tells what it finds there. Everything else that holds an execution up is its own affair, which
//! `ff explain` tells.

use std::collections::BTreeMap;
use std::sync::Arc;

use ff_core::contracts::{
    ExecutionQuery, ExplainExecutionArgs, Explanation, ListLeasesArgs, NotRunning, Stats,
};
use ff_core::engine_backend::{EngineBackend, Scan};
use ff_core::engine_error::EngineError;
use ff_core::state::PublicState;
use ff_core::types::{ExecutionId, LaneId, TimestampMs};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::Finding;
use super::finding::Severity;
use crate::clock::Times;
use crate::explain::sentence;
use crate::failure::Failure;

/// The most executions of a lane and state that are explained.
const SAMPLE: u64 = 20;

/// The most pairs of a lane and a state.
const PLACES: usize = 100;

/// The number of reads at the same time.
const READS: usize = 8;

/// The time for which a scan may be due: scanners run every second or so.
const LATE_MS: i64 = 30_000;

/// The states in which an execution waits for a worker or a scanner.
const STATES: [PublicState; 4] = [
    PublicState::Waiting,
    PublicState::Resumable,
    PublicState::Suspended,
    PublicState::WaitingChildren,
];

pub(super) async fn findings(
    engine: &Arc<dyn EngineBackend>,
    stats: &Stats,
    times: Times,
) -> Result<Vec<Finding>, Failure> {
    let explanations = sample(engine, stats).await?;
    let lapsed = oldest_lapsed_lease(engine, stats.at).await?;
    let lapsed = lapsed.map(|since| (Scan::LeaseExpiry, since));
    let late = earliest(late_scans(&explanations).chain(lapsed));

    let missing = missing_workers(&explanations);
    let workers = missing.into_iter().map(|(reason, waiting)| workers(reason, &waiting, times));
    let scans = late.into_values().map(|(scan, since_ms)| scanner(scan, since_ms, times));
    Ok(workers.chain(scans).collect())
}

/// Explanations of the newest executions of each lane and state.
async fn sample(
    engine: &Arc<dyn EngineBackend>,
    stats: &Stats,
) -> Result<Vec<Explanation>, Failure> {
    let mut places: BTreeMap<(&LaneId, &str), (PublicState, u64)> = BTreeMap::new();
    for of in stats.counts.iter().filter(|of| STATES.contains(&of.state)) {
        let place = places.entry((&of.lane_id, of.state.as_str())).or_insert((of.state, 0));
        place.1 = place.1.saturating_add(of.count);
    }

    let query = |((lane, _), (state, number)): ((&LaneId, &str), (PublicState, u64))| {
        // No more than there are, so that the list ends with the last of them.
        let mut query = ExecutionQuery::new(u32::try_from(number.min(SAMPLE)).unwrap_or(u32::MAX));
        (query.lane_id, query.public_state) = (Some(lane.clone()), Some(state));
        query
    };
    let queries: Vec<ExecutionQuery> = places.into_iter().take(PLACES).map(query).collect();

    let failed = |error: EngineError| Failure::engine("looking at executions", &error);
    let lists = stream::iter(queries).map(|query| engine.list_executions_by(query));
    let pages: Vec<_> = lists.buffered(READS).try_collect().await.map_err(failed)?;
    let rows = pages.into_iter().flat_map(|page| page.executions);
    let ids: Vec<ExecutionId> = rows.map(|row| row.execution_id).collect();

    let explained = stream::iter(ids).map(|id| explained(engine, id));
    let explained: Vec<Option<Explanation>> =
        explained.buffered(READS).try_collect().await.map_err(failed)?;
    Ok(explained.into_iter().flatten().collect())
}

/// The explanation of an execution; `None` if it was removed since it was listed.
async fn explained(
    engine: &Arc<dyn EngineBackend>,
    id: ExecutionId,
) -> Result<Option<Explanation>, EngineError> {
    match engine.explain_execution(ExplainExecutionArgs::new(id)).await {
        Err(EngineError::NotFound { .. }) => Ok(None),
        explained => explained.map(Some),
    }
}

/// Executions that wait for a worker that is not there.
struct Waiting {
    number: u64,
    example: ExecutionId,
}

/// The workers that are missing, by what they would have to be.
fn missing_workers(explanations: &[Explanation]) -> Vec<(&NotRunning, Waiting)> {
    let mut found: Vec<(&NotRunning, Waiting)> = Vec::new();
    // The others do not need a worker yet.
    let waits = |state| matches!(state, PublicState::Waiting | PublicState::Resumable);
    for explanation in explanations.iter().filter(|one| waits(one.public_state)) {
        let missing = |reason: &&NotRunning| matches!(reason, NotRunning::NoLiveWorker { .. });
        let Some(reason) = explanation.reasons.iter().find(missing) else { continue };
        match found.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, waiting)) => waiting.number += 1,
            None => {
                let example = explanation.execution_id.clone();
                found.push((reason, Waiting { number: 1, example }));
            }
        }
    }
    found
}

fn workers(reason: &NotRunning, waiting: &Waiting, times: Times) -> Finding {
    let (lane, live, missing) = match reason {
        NotRunning::NoLiveWorker { lane_id, live_in_lane, missing } => {
            (lane_id.to_string(), *live_in_lane, missing.as_slice())
        }
        _ => (String::new(), 0, &[][..]),
    };

    let Waiting { number, example } = waiting;
    let wait = if *number == 1 { "1 waits".to_owned() } else { format!("{number} wait") };
    let why = sentence(reason, times);
    let options: String = missing.iter().map(|token| format!(" --capability '{token}'")).collect();
    Finding {
        severity: Severity::Error,
        kind: if live == 0 { "no_live_worker" } else { "capability_gap" },
        sentence: format!("{why}; of the executions looked at, {wait} for it, such as {example}"),
        command: format!("ff work --lane '{lane}'{options} -- COMMAND"),
        subject: lane,
    }
}

/// The scans that are late, and since when.
fn late_scans(explanations: &[Explanation]) -> impl Iterator<Item = (Scan, TimestampMs)> {
    let reasons =
        explanations.iter().flat_map(|one| one.reasons.iter().map(|why| (why, one.at_ms)));
    reasons.filter_map(|(reason, now)| match reason {
        NotRunning::ScanDue { scan, since_ms } => {
            (LATE_MS < now.0.saturating_sub(since_ms.0)).then_some((*scan, *since_ms))
        }
        _ => None,
    })
}

/// Each scan once, by its name, with its earliest time.
fn earliest(
    late: impl Iterator<Item = (Scan, TimestampMs)>,
) -> BTreeMap<&'static str, (Scan, TimestampMs)> {
    let mut earliest: BTreeMap<&str, (Scan, TimestampMs)> = BTreeMap::new();
    for (scan, since) in late {
        let known = earliest.entry(scan.as_str()).or_insert((scan, since));
        known.1 = known.1.min(since);
    }
    earliest
}

/// The expiry of the lease that lapsed first, if that was long ago.
async fn oldest_lapsed_lease(
    engine: &Arc<dyn EngineBackend>,
    now: TimestampMs,
) -> Result<Option<TimestampMs>, Failure> {
    let late = TimestampMs(now.0.saturating_sub(LATE_MS));
    let page = engine.list_leases(ListLeasesArgs::new(1).with_expired_by(late)).await;
    let page = page.map_err(|error| Failure::engine("listing the leases", &error))?;
    Ok(page.leases.first().map(|lease| lease.expires_at))
}

fn scanner(scan: Scan, since_ms: TimestampMs, times: Times) -> Finding {
    Finding {
        severity: Severity::Error,
        kind: "no_scanner",
        subject: scan.as_str().to_owned(),
        sentence: sentence(&NotRunning::ScanDue { scan, since_ms }, times),
        command: "ff scan".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn because_of(reasons: Vec<NotRunning>) -> Explanation {
        let id = ExecutionId::parse("{fp:7}:550e8400-e29b-41d4-a716-446655440000").unwrap();
        let (lane, at) = (LaneId::new("mail"), TimestampMs(100_000));
        Explanation::new(id, lane, PublicState::Waiting, at, reasons)
    }

    #[test]
    fn executions_that_miss_the_same_worker_are_one_finding() {
        let missing = |live_in_lane, tokens: &[&str]| NotRunning::NoLiveWorker {
            lane_id: LaneId::new("mail"),
            live_in_lane,
            missing: tokens.iter().map(|token| (*token).to_owned()).collect(),
        };
        let all = [missing(0, &[]), missing(0, &[]), missing(2, &["gpu"])];
        let all = all.map(|reason| because_of(vec![reason]));
        let times = Times::From(TimestampMs(100_000));
        let missing = missing_workers(&all);
        let found: Vec<Finding> =
            missing.into_iter().map(|(reason, waiting)| workers(reason, &waiting, times)).collect();
        assert_eq!(
            found.iter().map(|one| one.kind).collect::<Vec<_>>(),
            ["no_live_worker", "capability_gap"]
        );
        assert!(found[0].sentence.contains("2 wait for it, such as {fp:7}"), "{found:?}");
        assert_eq!(found[1].command, "ff work --lane 'mail' --capability 'gpu' -- COMMAND");
    }

    #[test]
    fn a_scan_that_is_due_for_a_moment_is_not_late() {
        let due = |ms| NotRunning::ScanDue { scan: Scan::LeaseExpiry, since_ms: TimestampMs(ms) };
        assert_eq!(late_scans(&[because_of(vec![due(75_000)])]).count(), 0);
        let both = [because_of(vec![due(60_000)]), because_of(vec![due(50_000)])];
        let late = earliest(late_scans(&both));
        assert_eq!(late["lease_expiry"], (Scan::LeaseExpiry, TimestampMs(50_000)));
    }
}
