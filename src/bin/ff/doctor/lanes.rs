//! Lanes that an operator has closed, and perhaps forgotten.

use std::sync::Arc;

use ff_core::contracts::{LaneInfo, Stats};
use ff_core::engine_backend::EngineBackend;
use ff_core::state::{ClosedSet as _, LaneState, PublicState};
use ff_core::types::LaneId;

use super::Finding;
use super::finding::Severity;
use crate::clock::Times;
use crate::failure::Failure;
use crate::lanes::all_lanes;
use crate::words::count;

/// The time after which a lane without an end of its state counts as forgotten.
const FORGOTTEN_AFTER_MS: i64 = 24 * 60 * 60 * 1_000;

pub(super) async fn findings(
    engine: &Arc<dyn EngineBackend>,
    stats: &Stats,
    times: Times,
) -> Result<Vec<Finding>, Failure> {
    let lanes = all_lanes(engine.as_ref()).await?;
    let closed = lanes.iter().filter(|lane| lane.state != LaneState::Active);
    Ok(closed.map(|lane| finding(lane, stats, times)).collect())
}

fn finding(lane: &LaneInfo, stats: &Stats, times: Times) -> Finding {
    let (name, state) = (lane.lane_id.as_str(), lane.state.as_str());
    let age_ms = lane.since.map_or(0, |since| stats.at.0.saturating_sub(since.0));
    let is_forgotten = FORGOTTEN_AFTER_MS < age_ms && lane.until.is_none();

    let by = lane.actor.as_ref().map(|actor| format!(" by {actor}")).unwrap_or_default();
    let since = lane.since.map(|at| format!(", {}", times.format_in_sentence(at)));
    let why = lane.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let waiting = match waiting(stats, &lane.lane_id) {
        0 => String::new(),
        number => format!("; in it wait {}", count(number, "execution")),
    };
    Finding {
        severity: if is_forgotten { Severity::Warning } else { Severity::Note },
        kind: if is_forgotten { "lane_forgotten" } else { "lane_closed" },
        subject: name.to_owned(),
        sentence: format!("lane {name} is {state}{by}{}{why}{waiting}", since.unwrap_or_default()),
        command: format!("ff lanes resume '{name}'"),
    }
}

/// The executions of the lane that wait for a worker.
fn waiting(stats: &Stats, lane: &LaneId) -> u64 {
    let waits = |state| matches!(state, PublicState::Waiting | PublicState::Resumable);
    let counts = stats.counts.iter().filter(|of| of.lane_id == *lane && waits(of.state));
    counts.map(|of| of.count).sum()
}

#[cfg(test)]
mod tests {
    use ff_core::types::TimestampMs;

    use super::*;

    #[test]
    fn a_lane_that_is_closed_for_long_and_without_an_end_is_forgotten() {
        let stats = Stats::new(TimestampMs(100_000_000), Vec::new(), Vec::new(), Vec::new());
        let lane = |since, until: Option<i64>| {
            let mut lane = LaneInfo::new(LaneId::new("mail"), TimestampMs(0));
            lane.state = LaneState::Paused;
            (lane.since, lane.until) = (Some(TimestampMs(since)), until.map(TimestampMs));
            finding(&lane, &stats, Times::From(stats.at)).kind
        };
        assert_eq!(lane(1_000, None), "lane_forgotten");
        assert_eq!(lane(1_000, Some(200_000_000)), "lane_closed");
        assert_eq!(lane(99_000_000, None), "lane_closed");
    }
}
