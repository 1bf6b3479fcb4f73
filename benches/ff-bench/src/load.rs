//! A load: callers that repeat one round of calls until their time is up.

mod by_engine;
mod by_hand;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ff_core::engine_backend::EngineBackend;
use ff_core::types::LaneId;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::error::BenchError;
use crate::live::Live;
use crate::report::Side;
use crate::scenario::Scenario;
use crate::usage::Usage;

pub use by_engine::fill;
pub(crate) use by_engine::{EngineCaller, prepare};
pub(crate) use by_hand::HandCaller;

/// The payload where none is asked for.
pub const PAYLOAD: &[u8] = b"{\"n\":1}";

/// The executions in one call of a batch where no other number is asked for.
pub(crate) const BATCH: usize = 100;

/// The most events that a caller dispatches at once.
const DISPATCHED: u32 = 100;

/// The pause of a caller with nothing to do, until another one has dispatched an event.
const IDLE: Duration = Duration::from_millis(1);

/// The reason of every failure.
const FAILURE: &str = "the first try of this load always fails";

/// The load of one caller.
#[derive(Clone)]
pub(crate) struct Load {
    pub(crate) scenario: Scenario,
    pub(crate) lane: LaneId,
    pub(crate) payload: Arc<[u8]>,
    /// The executions in one call, where a call has several.
    pub(crate) batch: usize,
    /// The number of the caller, from 0.
    pub(crate) caller: usize,
    /// Held by the caller that dispatches events: a process has one scanner.
    pub(crate) scanner: Arc<Mutex<()>>,
}

impl Load {
    /// The load of the first caller.
    pub(crate) fn new(scenario: Scenario, lane: LaneId, payload: &[u8], batch: usize) -> Self {
        Self { scenario, lane, payload: payload.into(), batch, caller: 0, scanner: Arc::default() }
    }

    /// The load of another caller. Where callers must not meet, it has a lane of its own.
    pub(crate) fn of_caller(&self, caller: usize) -> Self {
        let lane = match self.scenario.parts_callers() {
            true => LaneId::new(format!("{}-{caller}", self.lane.as_str())),
            false => self.lane.clone(),
        };
        Self { lane, caller, ..self.clone() }
    }
}

/// A caller.
pub(crate) trait Caller: Send {
    /// Makes one round of calls. Returns the lives that it has ended; `None` if nothing is left to
    /// do.
    fn round(&mut self) -> impl Future<Output = Result<Option<u64>, BenchError>> + Send;
}

/// The time of a load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// Connections and caches get ready meanwhile; no rate includes it.
    pub(crate) warm_up: Duration,
    pub(crate) counted: Duration,
}

/// The lives that callers have ended, and the time of each round.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) lives: u64,
    /// Beside these.
    pub(crate) warm_up_lives: u64,
    pub(crate) rounds: Vec<Duration>,
    /// The time from the start to the last end.
    pub(crate) elapsed: Duration,
}

impl Done {
    /// Adds the work of another caller at the same time.
    fn beside(&mut self, other: Self) {
        self.lives += other.lives;
        self.warm_up_lives += other.warm_up_lives;
        self.rounds.extend(other.rounds);
        self.elapsed = self.elapsed.max(other.elapsed);
    }

    /// Adds the work of another time.
    pub(crate) fn after(&mut self, other: Self) {
        self.lives += other.lives;
        self.warm_up_lives += other.warm_up_lives;
        self.rounds.extend(other.rounds);
        self.elapsed += other.elapsed;
    }
}

/// Runs a scenario once through an engine, for this long or until its lane is empty. The database's
/// work is not counted.
///
/// # Errors
/// Those of the engine.
pub async fn run(
    engine: &Arc<dyn EngineBackend>,
    scenario: Scenario,
    lane: &LaneId,
    callers: usize,
    time: Duration,
) -> Result<Side, BenchError> {
    prepare(engine.as_ref(), scenario).await?;
    let load = Load::new(scenario, lane.clone(), PAYLOAD, BATCH);
    let caller = |caller| EngineCaller::new(Arc::clone(engine), load.of_caller(caller));

    let times = Times { warm_up: Duration::ZERO, counted: time };
    let done = together((0..callers).map(caller).collect(), times, &Arc::default()).await?;
    Ok(Side::new(done, Usage::default()))
}

/// Lets one caller repeat its round until the time is up or nothing is left.
pub(crate) async fn repeat(
    mut caller: impl Caller,
    times: Times,
    live: &Live,
) -> Result<Done, BenchError> {
    let mut done = Done::default();
    let begun = Instant::now();
    while begun.elapsed() < times.warm_up {
        let Some(lives) = caller.round().await? else { break };
        done.warm_up_lives += lives;
    }

    let begun = Instant::now();
    while begun.elapsed() < times.counted {
        let round = Instant::now();
        let Some(lives) = caller.round().await? else { break };
        done.rounds.push(round.elapsed());
        done.lives += lives;
        live.add(lives);
    }

    done.elapsed = begun.elapsed();
    Ok(done)
}

/// Lets callers work at the same time, each in a task of its own.
pub(crate) async fn together<C: Caller + 'static>(
    callers: Vec<C>,
    times: Times,
    live: &Arc<Live>,
) -> Result<Done, BenchError> {
    let mut tasks = JoinSet::new();
    for caller in callers {
        let live = Arc::clone(live);
        tasks.spawn(async move { repeat(caller, times, &live).await });
    }

    let mut done = Done::default();
    while let Some(ended) = tasks.join_next().await {
        let ended = ended.map_err(|error| BenchError::Wrong(format!("a caller: {error}")))?;
        done.beside(ended?);
    }
    Ok(done)
}
