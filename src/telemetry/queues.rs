//! The gauges of a database's queues: executions by lane and state, and how long they wait.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ff_core::EngineError;
use ff_core::contracts::{Stats, StatsArgs};
use ff_core::engine_backend::EngineBackend;
use ff_core::state::PublicState;

/// Sets the gauges of queues from the counts that a database keeps. It remembers which it has set,
/// so that a lane that has become empty is set to 0.
#[derive(Debug, Default)]
pub struct QueueGauges {
    counted: BTreeSet<(String, PublicStateName)>,
    lanes: BTreeSet<String>,
}

type PublicStateName = &'static str;

impl QueueGauges {
    /// Reads the counts, and sets the gauges.
    ///
    /// # Errors
    /// The reason why the counts could not be read; the gauges stay as they were.
    pub async fn update(&mut self, engine: &dyn EngineBackend) -> Result<(), EngineError> {
        let stats = engine.stats(StatsArgs::new()).await?;
        self.set(&stats);
        Ok(())
    }

    fn set(&mut self, stats: &Stats) {
        let mut counts: BTreeMap<(String, PublicStateName), u64> =
            self.counted.iter().map(|key| (key.clone(), 0)).collect();
        let mut queues: BTreeMap<String, (u64, Duration)> =
            self.lanes.iter().map(|lane| (lane.clone(), (0, Duration::ZERO))).collect();

        for count in &stats.counts {
            let lane = count.lane_id.as_str();
            *counts.entry((lane.to_owned(), count.state.as_str())).or_default() += count.count;
            let (depth, _) = queues.entry(lane.to_owned()).or_default();
            if count.state == PublicState::Waiting {
                *depth += count.count;
            }
        }
        for oldest in &stats.oldest_waiting {
            let waited = stats.at.0.saturating_sub(oldest.since.0);
            let (_, age) = queues.entry(oldest.lane_id.as_str().to_owned()).or_default();
            *age = Duration::from_millis(u64::try_from(waited).unwrap_or(0));
        }

        for ((lane, state), count) in &counts {
            ff_telemetry::set_executions(lane, state, *count);
        }
        for (lane, (depth, age)) in &queues {
            ff_telemetry::set_queue(lane, *depth, *age);
        }
        self.counted = counts.into_keys().collect();
        self.lanes = queues.into_keys().collect();
    }
}
