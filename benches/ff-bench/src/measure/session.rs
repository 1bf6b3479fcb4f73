//! The turns of each side of a scenario.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ff_core::engine_backend::EngineBackend;
use ff_core::types::LaneId;
use tokio::runtime::Handle;

use super::{Engines, Settings};
use crate::ceiling::{PostgresByHand, SqliteByHand};
use crate::error::BenchError;
use crate::live::Live;
use crate::load::{Done, EngineCaller, HandCaller, Load, Times, fill, prepare, repeat, together};
use crate::place::Place;
use crate::report::Side;
use crate::scenario::Scenario;
use crate::usage::{Counters, Size};

/// The time that an engine gets to finish.
const GRACE: Duration = Duration::from_secs(10);

/// The time of a look at a rate, before the executions for a turn are submitted.
const LOOK: Duration = Duration::from_millis(100);

/// The least time of a turn on a log that has its full size.
const STEADY: Duration = Duration::from_millis(500);

/// The rounds that every caller has at least, also if the first look saw none end.
const ROUNDS: usize = 4;

/// The executions of a first look at least: more than end in its warm-up, whatever the batch.
const LEAST: usize = 4_000;

/// The executions that are submitted for a turn, by those that a first look expects.
const RESERVE: f64 = 2.0;

/// What every turn needs.
pub(super) struct Session<'a> {
    pub(super) place: &'a Place,
    pub(super) engines: &'a dyn Engines,
    pub(super) settings: &'a Settings,
    pub(super) live: &'a Arc<Live>,
    /// The largest log beside a SQLite file so far; closing an engine empties the log.
    pub(super) largest_log: AtomicU64,
}

impl Session<'_> {
    /// The size of the database after all turns.
    pub(super) async fn size(&self) -> Result<Size, BenchError> {
        let size = self.place.size().await?;
        let largest = self.largest_log.load(Ordering::Relaxed);
        Ok(Size { log_bytes: size.log_bytes.map(|now| now.max(largest)), ..size })
    }

    pub(super) async fn make_tables(&self) -> Result<(), BenchError> {
        close(self.engines.open(self.place, 1).await?).await?;
        match &self.settings.alteration {
            Some(sql) => self.place.alter(sql).await,
            None => Ok(()),
        }
    }

    pub(super) fn payload(&self) -> Vec<u8> {
        vec![b'x'; self.settings.payload_bytes]
    }

    /// The engine's side and the hand-written one.
    pub(super) fn sides(&self, scenario: Scenario, callers: usize) -> [Turns<'_>; 2] {
        let side = |by| Turns {
            session: self,
            scenario,
            callers,
            by,
            turns: 0,
            rate: None,
            done: Done::default(),
            counters: Counters::default(),
        };
        [By::Engine, By::Hand].map(side)
    }
}

/// Closes an engine, so that its sessions report what they did.
pub(super) async fn close(engine: Arc<dyn EngineBackend>) -> Result<(), BenchError> {
    Ok(engine.shutdown_prepare(GRACE).await?)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Engine,
    Hand,
}

/// One side of a scenario.
pub(super) struct Turns<'a> {
    session: &'a Session<'a>,
    scenario: Scenario,
    callers: usize,
    by: By,
    turns: u32,
    /// The rate at which a drained lane must be filled.
    rate: Option<f64>,
    done: Done,
    counters: Counters,
}

impl Turns<'_> {
    /// Runs the load once more, for this long.
    pub(super) async fn take_turn(&mut self, time: Duration) -> Result<(), BenchError> {
        self.turns += 1;
        let by = match self.by {
            By::Engine => "engine",
            By::Hand => "ceiling",
        };
        let lane = LaneId::new(format!("{}-{by}-{}", self.scenario, self.turns));
        let times = Times { warm_up: time / 10, counted: time };
        if self.scenario.drains() {
            self.submit_for(&lane, times).await?;
        }

        let place = self.session.place;
        // A shorter turn is a look at the program, not at the disk.
        let _log = if STEADY <= time { place.grow_log()? } else { None };
        let before = place.counters().await?;
        self.session.live.begin(format!("{} by the {by}", self.scenario));
        let done = self.run(&lane, times).await?;
        self.counters = place.counters().await?.since(before, self.counters);
        self.done.after(done);
        Ok(())
    }

    /// The results of all turns.
    pub(super) fn finish(self) -> Side {
        let lives = self.done.lives + self.done.warm_up_lives;
        Side::new(self.done, self.counters.per_life(lives))
    }

    /// Submits more executions than a turn can drain.
    async fn submit_for(&mut self, lane: &LaneId, times: Times) -> Result<(), BenchError> {
        let rate = match self.rate {
            Some(rate) => rate,
            None => self.look().await?,
        };
        self.rate = Some(rate);

        let seconds = (times.warm_up + times.counted).as_secs_f64();
        let count = (rate * seconds * RESERVE) as usize + self.least();
        self.session.live.begin(format!("submitting for {}", self.scenario));
        self.fill(lane, count).await
    }

    /// A first look at the rate, on a lane of its own.
    async fn look(&mut self) -> Result<f64, BenchError> {
        let lane = LaneId::new(format!("{}-{:?}-look", self.scenario, self.by));
        self.fill(&lane, self.least()).await?;
        let done = self.run(&lane, Times { warm_up: LOOK / 2, counted: LOOK }).await?;
        self.counters.traffic = None;
        Ok(done.lives as f64 / done.elapsed.as_secs_f64().max(f64::EPSILON))
    }

    /// The executions of a few rounds of all callers, and of a first look.
    fn least(&self) -> usize {
        LEAST.max(self.callers * self.session.settings.batch * ROUNDS)
    }

    async fn fill(&self, lane: &LaneId, count: usize) -> Result<(), BenchError> {
        let engine = self.session.engines.open(self.session.place, self.callers).await?;
        fill(engine.as_ref(), lane, &self.session.payload(), count).await?;
        close(engine).await
    }

    async fn run(&mut self, lane: &LaneId, times: Times) -> Result<Done, BenchError> {
        let (payload, batch) = (self.session.payload(), self.session.settings.batch);
        let load = Load::new(self.scenario, lane.clone(), &payload, batch);
        match (self.by, self.session.place) {
            (By::Engine, _) => self.run_engine(&load, times).await,
            (By::Hand, Place::Postgres(place)) => {
                let mut callers = Vec::new();
                for caller in 0..self.callers {
                    let hand = PostgresByHand::connect(place.url(), place.schema()).await?;
                    callers.push(HandCaller::new(hand, load.of_caller(caller)));
                }
                together(callers, times, self.session.live).await
            }
            (By::Hand, Place::Sqlite(place)) => {
                let caller = HandCaller::new(SqliteByHand::open(&place.file())?, load);
                let (live, runtime) = (Arc::clone(self.session.live), Handle::current());
                // Its statements block the thread.
                let thread = move || runtime.block_on(repeat(caller, times, &live));
                let done = tokio::task::spawn_blocking(thread).await;
                done.map_err(|error| BenchError::Wrong(format!("the ceiling: {error}")))?
            }
        }
    }

    async fn run_engine(&mut self, load: &Load, times: Times) -> Result<Done, BenchError> {
        let engine = self.session.engines.open(self.session.place, self.callers).await?;
        prepare(engine.as_ref(), self.scenario).await?;
        let caller = |caller| EngineCaller::new(Arc::clone(&engine), load.of_caller(caller));
        let callers = (0..self.callers).map(caller).collect();

        let before = engine.traffic();
        let done = together(callers, times, self.session.live).await?;
        self.counters.add_traffic(engine.traffic().since(before));
        let log_bytes = self.session.place.log_bytes().unwrap_or(0);
        self.session.largest_log.fetch_max(log_bytes, Ordering::Relaxed);
        close(engine).await?;
        Ok(done)
    }
}
