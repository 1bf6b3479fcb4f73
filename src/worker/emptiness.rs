//! Decides if a lane is empty, for a worker that ends when it is.

use std::time::Duration;

use ff_core::EngineError;
use ff_core::contracts::{ExecutionQuery, LaneInfo};
use ff_core::engine_backend::EngineBackend;
use ff_core::state::{LaneState, PublicState};
use tokio::time::Instant;

use super::WorkerConfig;

/// The number of checks in a row that must find only work for other capabilities before the worker
/// counts the lane as empty.
const CHECKS: u32 = 3;

/// The longest wait for work that other sessions hold locked.
const LOCKED_MAX: Duration = Duration::from_secs(30);

/// The conclusion from the checks since the last claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Emptiness {
    /// There is work to come.
    GoOn,
    /// There is none.
    Empty,
    /// Only executions wait that need capabilities which this worker lacks, or are of partitions
    /// that it does not claim from.
    LeftWaiting,
    /// Executions wait, and stayed locked or reserved.
    LeftLocked,
    /// Executions are left, and the lane hands out none.
    LeftClosed(LaneInfo),
}

/// The result of one check.
enum Found {
    Work,
    Nothing,
    /// Something waits that is not for this worker.
    ForOthers,
    /// Something waits that a claim should get, and did not.
    Locked,
    /// Something is left, and the lane hands out nothing.
    Closed(LaneInfo),
}

/// The checks of a lane since the last claim.
#[derive(Debug, Default)]
pub(super) struct EmptinessCheck {
    only_for_others: u32,
    locked_since: Option<Instant>,
}

impl EmptinessCheck {
    /// Checks a lane after a claim that found nothing, while nothing runs here.
    pub(super) async fn check(
        &mut self,
        backend: &dyn EngineBackend,
        config: &WorkerConfig,
    ) -> Result<Emptiness, EngineError> {
        let found = find_work(backend, config).await?;
        if !matches!(found, Found::ForOthers) {
            self.only_for_others = 0;
        }
        if !matches!(found, Found::Locked) {
            self.locked_since = None;
        }

        Ok(match found {
            Found::Work => Emptiness::GoOn,
            Found::Nothing => Emptiness::Empty,
            Found::Closed(lane) => Emptiness::LeftClosed(lane),
            Found::ForOthers => {
                self.only_for_others += 1;
                if self.only_for_others < CHECKS { Emptiness::GoOn } else { Emptiness::LeftWaiting }
            }
            Found::Locked => {
                let since = self.locked_since.get_or_insert_with(Instant::now);
                if since.elapsed() < LOCKED_MAX { Emptiness::GoOn } else { Emptiness::LeftLocked }
            }
        })
    }
}

/// Queries twice, and in the order in which executions move, so that one that moves on between two
/// queries is still seen.
async fn find_work(
    backend: &dyn EngineBackend,
    config: &WorkerConfig,
) -> Result<Found, EngineError> {
    let mut waits = false;
    for _ in 0..2 {
        // An execution that waits for others of its flow is work to come, whichever worker runs it.
        if has_any(backend, config, PublicState::WaitingChildren).await?
            || has_any(backend, config, PublicState::Delayed).await?
        {
            return Ok(closed(backend, config).await?.map_or(Found::Work, Found::Closed));
        }
        // Suspended executions wait for a signal from outside, and count when they have it.
        waits = has_any(backend, config, PublicState::Resumable).await?
            || has_any(backend, config, PublicState::Waiting).await?;
        if has_any(backend, config, PublicState::Active).await? {
            return Ok(Found::Work);
        }
    }

    if !waits {
        return Ok(Found::Nothing);
    }
    if let Some(lane) = closed(backend, config).await? {
        return Ok(Found::Closed(lane));
    }
    // What waits on other partitions is for others. Nothing tells it from what is locked.
    let ours = config.scopes.is_everywhere()
        && backend.has_claimable(&config.lane, &config.capabilities).await?;
    Ok(if ours { Found::Locked } else { Found::ForOthers })
}

/// The lane, if it hands out nothing.
async fn closed(
    backend: &dyn EngineBackend,
    config: &WorkerConfig,
) -> Result<Option<LaneInfo>, EngineError> {
    let lane = match backend.read_lane(&config.lane).await {
        // The backend knows no states of lanes.
        Err(EngineError::Unavailable { .. }) => None,
        lane => lane?,
    };
    Ok(lane.filter(|lane| match lane.state {
        LaneState::Paused | LaneState::Disabled => true,
        LaneState::Active | LaneState::Draining => false,
    }))
}

async fn has_any(
    backend: &dyn EngineBackend,
    config: &WorkerConfig,
    state: PublicState,
) -> Result<bool, EngineError> {
    let lane = config.lane.clone();
    let query = ExecutionQuery::new(1).with_lane_id(lane).with_public_state(state);
    Ok(!backend.list_executions_by(query).await?.executions.is_empty())
}
