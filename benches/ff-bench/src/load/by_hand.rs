//! Callers of the hand-written SQL.

use ff_core::types::TimestampMs;

use super::{Caller, Load};
use crate::ceiling::{ByHand, NewExecution, Terms};
use crate::error::BenchError;
use crate::scenario::Scenario;
use crate::submission::{LEASE_MS, WORKER, instance, submission};

/// A caller with a connection of its own.
pub(crate) struct HandCaller<H> {
    hand: H,
    load: Load,
    terms: Terms,
}

impl<H: ByHand> HandCaller<H> {
    pub(crate) fn new(hand: H, load: Load) -> Self {
        let terms = Terms {
            lane: load.lane.as_str().to_owned(),
            worker: WORKER.into(),
            instance: instance(load.caller),
            lease_ms: i64::from(LEASE_MS),
        };
        Self { hand, load, terms }
    }

    async fn submit(&mut self, count: usize) -> Result<u64, BenchError> {
        let new = || NewExecution::of(&submission(&self.load.lane, &self.load.payload));
        let batch: Vec<_> = std::iter::repeat_with(new).take(count).collect();
        self.hand.submit(&batch).await?;
        Ok(count as u64)
    }

    /// Claims and completes up to so many.
    async fn work(&mut self, limit: usize) -> Result<Option<u64>, BenchError> {
        let held = self.hand.claim(&self.terms, limit, TimestampMs::now()).await?;
        if held.is_empty() {
            return Ok(None);
        }

        let ended = self.hand.complete(&held, TimestampMs::now()).await?;
        if ended != held.len() {
            let text = format!("by hand: {ended} of {} claimed executions completed", held.len());
            return Err(BenchError::Wrong(text));
        }
        Ok(Some(ended as u64))
    }
}

impl<H: ByHand> Caller for HandCaller<H> {
    async fn round(&mut self) -> Result<Option<u64>, BenchError> {
        match self.load.scenario {
            Scenario::Submit => self.submit(self.load.batch).await.map(Some),
            Scenario::Pairs => self.work(1).await,
            Scenario::Batches => self.work(self.load.batch).await,
            Scenario::Mixed => {
                self.submit(1).await?;
                // Another caller may have taken the last one.
                Ok(Some(self.work(1).await?.unwrap_or(0)))
            }
            Scenario::EmptyClaim => {
                self.hand.claim(&self.terms, 1, TimestampMs::now()).await?;
                Ok(Some(1))
            }
            Scenario::Retry | Scenario::Suspend | Scenario::Flow => {
                let text = format!("{} has no hand-written form", self.load.scenario);
                Err(BenchError::Wrong(text))
            }
        }
    }
}
