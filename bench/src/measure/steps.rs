//! The cost of one life, step by step: one caller, one execution at a time.
//!
//! No rate is measured here, so the figures hardly depend on the machine.

use std::sync::Arc;

use ff_core::backend::{CapabilitySet, Handle};
use ff_core::engine_backend::EngineBackend;
use ff_core::types::{LaneId, TimestampMs};

use super::session::{Session, close};
use crate::ceiling::{ByHand, Held, NewExecution, PostgresByHand, SqliteByHand, Terms};
use crate::error::BenchError;
use crate::place::Place;
use crate::report::{Step, StepName};
use crate::submission::{LEASE_MS, WORKER, instance, submission, terms};
use crate::usage::{Counters, Usage};

/// The lives that are counted: so many per second of a scenario's time, within bounds.
const PER_SECOND: f64 = 50.0;
const FEWEST: usize = 20;
const MOST: usize = 200;

/// The cost of each step, by the engine and by hand.
pub(super) async fn measured(session: &Session<'_>) -> Result<Vec<Step>, BenchError> {
    let wanted = session.settings.time.as_secs_f64() * PER_SECOND;
    let lives = (wanted as usize).clamp(FEWEST, MOST);

    let mut engine = ByEngine { lane: LaneId::new("steps-engine"), handles: Vec::new() };
    let lane = LaneId::new("steps-ceiling");
    let claims = Terms {
        lane: lane.as_str().to_owned(),
        worker: WORKER.into(),
        instance: instance(0),
        lease_ms: i64::from(LEASE_MS),
    };
    let mut hand = Hand { lane, claims, held: Vec::new() };

    let mut steps = Vec::new();
    for step in StepName::ALL {
        session.live.begin(format!("the cost of {}", step.word()));
        let engine = engine.cost(session, step, lives).await?;
        let ceiling = hand.cost(session, step, lives).await?;
        steps.push(Step { step, engine, ceiling });
    }
    Ok(steps)
}

/// The change of the counters over a step. `log_bytes` are those of SQLite's log, which is empty
/// when a connection opens it and is read before it closes.
async fn usage(
    session: &Session<'_>,
    before: Counters,
    mut sum: Counters,
    log_bytes: Option<u64>,
    lives: usize,
) -> Result<Usage, BenchError> {
    let traffic = sum.traffic.take();
    let mut counters = session.place.counters().await?.since(before, Counters::default());
    counters.traffic = traffic;
    counters.log_bytes = counters.log_bytes.or(log_bytes);
    Ok(counters.per_life(lives as u64))
}

/// The engine's side.
struct ByEngine {
    lane: LaneId,
    handles: Vec<Handle>,
}

impl ByEngine {
    async fn cost(
        &mut self,
        session: &Session<'_>,
        step: StepName,
        lives: usize,
    ) -> Result<Usage, BenchError> {
        let before = session.place.counters().await?;
        let engine = session.engines.open(session.place, 1).await?;
        let sent = engine.traffic();
        for _ in 0..lives {
            self.once(&engine, step, &session.payload()).await?;
        }

        let mut sum = Counters::default();
        sum.add_traffic(engine.traffic().since(sent));
        let log_bytes = session.place.log_bytes();
        close(engine).await?;
        usage(session, before, sum, log_bytes, lives).await
    }

    async fn once(
        &mut self,
        engine: &Arc<dyn EngineBackend>,
        step: StepName,
        payload: &[u8],
    ) -> Result<(), BenchError> {
        match step {
            StepName::Submit => {
                engine.create_execution(submission(&self.lane, payload)).await?;
            }
            StepName::Claim => {
                let none = CapabilitySet::default();
                self.handles.extend(engine.claim(&self.lane, &none, terms(0)).await?);
            }
            StepName::Complete => {
                let lost = || BenchError::Wrong("a claim found nothing".into());
                let handle = self.handles.pop().ok_or_else(lost)?;
                engine.complete(&handle, None).await?;
            }
        }
        Ok(())
    }
}

/// The hand-written side.
struct Hand {
    lane: LaneId,
    claims: Terms,
    held: Vec<Held>,
}

impl Hand {
    async fn cost(
        &mut self,
        session: &Session<'_>,
        step: StepName,
        lives: usize,
    ) -> Result<Usage, BenchError> {
        let before = session.place.counters().await?;
        let payload = session.payload();
        let log_bytes = match session.place {
            Place::Postgres(place) => {
                let hand = PostgresByHand::connect(place.url(), place.schema()).await?;
                self.repeat(hand, session, step, &payload, lives).await?
            }
            Place::Sqlite(place) => {
                let hand = SqliteByHand::open(&place.file())?;
                self.repeat(hand, session, step, &payload, lives).await?
            }
        };
        usage(session, before, Counters::default(), log_bytes, lives).await
    }

    /// Returns the bytes of SQLite's log before its connection closes.
    async fn repeat(
        &mut self,
        mut hand: impl ByHand,
        session: &Session<'_>,
        step: StepName,
        payload: &[u8],
        lives: usize,
    ) -> Result<Option<u64>, BenchError> {
        for _ in 0..lives {
            let now = TimestampMs::now();
            match step {
                StepName::Submit => {
                    let new = NewExecution::of(&submission(&self.lane, payload));
                    hand.submit(&[new]).await?;
                }
                StepName::Claim => self.held.extend(hand.claim(&self.claims, 1, now).await?),
                StepName::Complete => {
                    let held: Vec<Held> = self.held.pop().into_iter().collect();
                    hand.complete(&held, now).await?;
                }
            }
        }
        Ok(session.place.log_bytes())
    }
}
