//! Decides if a lane is empty, for a worker that ends when it is.

use std::time::Duration;

use ff_core::EngineError;
use ff_core::contracts::ExecutionQuery;
use ff_core::engine_backend::EngineBackend;
use ff_core::state::PublicState;
use tokio::time::Instant;

use super::WorkerConfig;

/// The number of looks in a row that must find only work for other capabilities before the worker
/// takes the lane for empty.
const LOOKS: u32 = 3;

/// The longest wait for work that other sessions hold locked.
const LOCKED_MAX: Duration = Duration::from_secs(30);

/// The conclusion from the looks since the last claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There is work to come.
    GoOn,
    /// There is none.
    Empty,
    /// Only executions wait that need capabilities which this worker lacks.
    LeftWaiting,
    /// Executions wait, and stayed locked or reserved.
    LeftLocked,
}

/// The result of one look.
enum Found {
    Work,
    Nothing,
    /// Something waits that this worker lacks capabilities for.
    ForOthers,
    /// Something waits that a claim should get, and did not.
    OutOfReach,
}

/// The looks at a lane since the last claim.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    looks: u32,
    out_of_reach: Option<Instant>,
}

impl Quiet {
    /// Looks at a lane after a claim that found nothing, while nothing runs here.
    pub(super) async fn look(
        &mut self,
        backend: &dyn EngineBackend,
        config: &WorkerConfig,
    ) -> Result<Verdict, EngineError> {
        let found = look(backend, config).await?;
        if !matches!(found, Found::ForOthers) {
            self.looks = 0;
        }
        if !matches!(found, Found::OutOfReach) {
            self.out_of_reach = None;
        }

        Ok(match found {
            Found::Work => Verdict::GoOn,
            Found::Nothing => Verdict::Empty,
            Found::ForOthers => {
                self.looks += 1;
                if self.looks < LOOKS { Verdict::GoOn } else { Verdict::LeftWaiting }
            }
            Found::OutOfReach => {
                let since = self.out_of_reach.get_or_insert_with(Instant::now);
                if since.elapsed() < LOCKED_MAX { Verdict::GoOn } else { Verdict::LeftLocked }
            }
        })
    }
}

/// Looks twice, and in the order in which executions move, so that one that moves on between two
/// queries is still seen.
async fn look(backend: &dyn EngineBackend, config: &WorkerConfig) -> Result<Found, EngineError> {
    let mut waits = false;
    for _ in 0..2 {
        // An execution that waits for others of its flow is work to come, whichever worker runs it.
        if any(backend, config, PublicState::WaitingChildren).await?
            || any(backend, config, PublicState::Delayed).await?
        {
            return Ok(Found::Work);
        }
        // Suspended executions wait for a signal from outside, and count when they have it.
        waits = any(backend, config, PublicState::Resumable).await?
            || any(backend, config, PublicState::Waiting).await?;
        if any(backend, config, PublicState::Active).await? {
            return Ok(Found::Work);
        }
    }

    if !waits {
        return Ok(Found::Nothing);
    }
    let ours = backend.has_claimable(&config.lane, &config.capabilities).await?;
    Ok(if ours { Found::OutOfReach } else { Found::ForOthers })
}

async fn any(
    backend: &dyn EngineBackend,
    config: &WorkerConfig,
    state: PublicState,
) -> Result<bool, EngineError> {
    let lane = config.lane.clone();
    let query = ExecutionQuery::new(1).with_lane_id(lane).with_public_state(state);
    Ok(!backend.list_executions_by(query).await?.executions.is_empty())
}
