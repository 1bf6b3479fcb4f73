//! Callers of the hand-written SQL.

use ff_core::types::{ExecutionId, TimestampMs};

use super::{Caller, DISPATCHED, FAILURE, IDLE, Load};
use crate::ceiling::{
    FlowByHand, Held, NewEdge, NewExecution, NewFlow, NewSignal, NewWait, Terms, WaitByHand,
};
use crate::diamond::Diamond;
use crate::error::BenchError;
use crate::scenario::Scenario;
use crate::submission::{LEASE_MS, WORKER, instance, submission, submission_with_retries};
use crate::wait::Wait;

/// A caller with a connection of its own.
pub(crate) struct HandCaller<H> {
    hand: H,
    load: Load,
    terms: Terms,
}

impl<H: WaitByHand + FlowByHand> HandCaller<H> {
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
        self.complete(&held).await.map(Some)
    }

    async fn complete(&mut self, held: &[Held]) -> Result<u64, BenchError> {
        let ended = self.hand.complete(held, TimestampMs::now()).await?;
        if ended != held.len() {
            let text = format!("by hand: {ended} of {} claimed executions completed", held.len());
            return Err(BenchError::Wrong(text));
        }
        Ok(ended as u64)
    }

    /// Claims one that is there.
    async fn claim_one(&mut self) -> Result<Held, BenchError> {
        let held = self.hand.claim(&self.terms, 1, TimestampMs::now()).await?;
        let empty = || BenchError::Wrong("by hand: a lane is empty that should not be".into());
        held.first().copied().ok_or_else(empty)
    }

    async fn retry(&mut self) -> Result<u64, BenchError> {
        let new = submission_with_retries(&self.load.lane, &self.load.payload);
        self.hand.submit(&[NewExecution::of(&new)]).await?;

        let held = self.claim_one().await?;
        changed("a retry", self.hand.retry(&held, FAILURE, TimestampMs::now()).await?)?;

        let held = self.claim_one().await?;
        self.complete(&[held]).await
    }

    async fn suspend(&mut self) -> Result<u64, BenchError> {
        let new = submission(&self.load.lane, &self.load.payload);
        let id: &ExecutionId = &new.execution_id;
        self.hand.submit(&[NewExecution::of(&new)]).await?;
        let held = self.claim_one().await?;

        let (wait, now) = (Wait::fresh(), TimestampMs::now());
        let suspended = self.hand.suspend(&held, &NewWait::of(&wait, id), now).await?;
        changed("a suspension", suspended)?;
        let signal = NewSignal::of(&wait.signal(id, wait.token(id)));
        changed("a signal", self.hand.signal(&signal).await?)?;

        let resumed = self.hand.claim_resumed(id, &self.terms, TimestampMs::now()).await?;
        changed("a claim", resumed.is_some())?;
        self.complete(resumed.as_slice()).await
    }

    async fn flow(&mut self) -> Result<u64, BenchError> {
        let members = self.submit_flow().await?;

        let mut ended = 0;
        while ended < members {
            let dispatched = self.dispatch().await?;
            let worked = self.work(self.load.batch).await?.unwrap_or(0);
            ended += worked;
            if worked == 0 && dispatched == 0 {
                tokio::time::sleep(IDLE).await;
            }
        }
        Ok(ended)
    }

    /// Dispatches events of all callers, unless another caller does so already.
    async fn dispatch(&mut self) -> Result<u64, BenchError> {
        let Ok(_turn) = self.load.scanner.try_lock() else { return Ok(0) };
        self.hand.dispatch(DISPATCHED, TimestampMs::now()).await
    }

    /// Submits a flow. Returns the number of its members.
    async fn submit_flow(&mut self) -> Result<u64, BenchError> {
        let diamond = Diamond::fresh(&self.load.lane, &self.load.payload);
        let flow = NewFlow::of(&diamond.flow);
        let members: Vec<_> = diamond.members.iter().map(NewExecution::of).collect();
        self.hand.create_flow(&flow).await?;
        let revision = self.hand.create_members(&flow, &members).await?;

        for dependency in diamond.dependencies(revision) {
            let edge = NewEdge::of(&dependency.staged);
            changed("an edge", self.hand.stage(&edge).await?)?;
            changed("an applied edge", self.hand.apply(&edge).await?)?;
        }

        let released = self.hand.release(&flow, TimestampMs::now()).await?;
        changed("a release", 0 < released)?;
        Ok(members.len() as u64)
    }
}

impl<H: WaitByHand + FlowByHand> Caller for HandCaller<H> {
    async fn round(&mut self) -> Result<Option<u64>, BenchError> {
        match self.load.scenario {
            Scenario::Submit => self.submit(self.load.batch).await.map(Some),
            Scenario::Pairs => self.work(1).await,
            Scenario::Batches => self.work(self.load.batch).await,
            Scenario::Retry => self.retry().await.map(Some),
            Scenario::Suspend => self.suspend().await.map(Some),
            Scenario::Flow => self.flow().await.map(Some),
            Scenario::Mixed => {
                self.submit(1).await?;
                // Another caller may have taken the last one.
                Ok(Some(self.work(1).await?.unwrap_or(0)))
            }
            Scenario::EmptyClaim => {
                self.hand.claim(&self.terms, 1, TimestampMs::now()).await?;
                Ok(Some(1))
            }
        }
    }
}

/// Refuses a step that found nothing to change.
fn changed(step: &str, changed: bool) -> Result<(), BenchError> {
    match changed {
        true => Ok(()),
        false => Err(BenchError::Wrong(format!("by hand: {step} changed nothing"))),
    }
}
