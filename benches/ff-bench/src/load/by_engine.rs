//! Callers of the engine.

use std::sync::Arc;

use ff_core::backend::{CapabilitySet, FailOutcome, FailureClass, FailureReason, Handle};
use ff_core::contracts::{ClaimResumedExecutionResult, SuspendOutcome};
use ff_core::engine_backend::{EngineBackend, Scan};
use ff_core::types::{LaneId, TimestampMs};
use futures_util::future::join_all;

use super::{Caller, DISPATCHED, FAILURE, IDLE, Load};
use crate::diamond::Diamond;
use crate::error::BenchError;
use crate::scenario::Scenario;
use crate::submission::{submission, submission_with_retries, terms};
use crate::wait::{Wait, resumption, signing_key};

/// The executions that one call submits when a lane is filled.
const FILL: usize = 2_000;

/// A caller of the engine.
pub(crate) struct EngineCaller {
    engine: Arc<dyn EngineBackend>,
    load: Load,
    capabilities: CapabilitySet,
}

/// Prepares a database for a scenario, beyond the executions that it drains.
pub(crate) async fn prepare(
    engine: &dyn EngineBackend,
    scenario: Scenario,
) -> Result<(), BenchError> {
    if scenario == Scenario::Suspend {
        engine.seed_waitpoint_hmac_secret(signing_key()).await?;
    }
    Ok(())
}

/// Submits executions to a lane, 2,000 in one call.
///
/// # Errors
/// Those of the engine.
pub async fn fill(
    engine: &dyn EngineBackend,
    lane: &LaneId,
    payload: &[u8],
    count: usize,
) -> Result<(), BenchError> {
    let mut left = count;
    while 0 < left {
        let batch = left.min(FILL);
        let batch: Vec<_> = (0..batch).map(|_| submission(lane, payload)).collect();
        left -= batch.len();
        for created in engine.create_executions(batch).await {
            created?;
        }
    }
    Ok(())
}

impl EngineCaller {
    pub(crate) fn new(engine: Arc<dyn EngineBackend>, load: Load) -> Self {
        Self { engine, load, capabilities: CapabilitySet::default() }
    }

    async fn claim(&self) -> Result<Option<Handle>, BenchError> {
        let terms = terms(self.load.caller);
        Ok(self.engine.claim(&self.load.lane, &self.capabilities, terms).await?)
    }

    /// Claims one that is there.
    async fn claim_one(&self) -> Result<Handle, BenchError> {
        let claimed = self.claim().await?;
        claimed.ok_or_else(|| BenchError::Wrong("a lane is empty that should not be".into()))
    }

    async fn pair(&self) -> Result<Option<u64>, BenchError> {
        let Some(handle) = self.claim().await? else { return Ok(None) };
        self.engine.complete(&handle, None).await?;
        Ok(Some(1))
    }

    async fn batch(&self) -> Result<Option<u64>, BenchError> {
        let limit = u32::try_from(self.load.batch).unwrap_or(u32::MAX);
        let (lane, terms) = (&self.load.lane, terms(self.load.caller));
        let handles = self.engine.claim_many(lane, &self.capabilities, terms, limit).await?;
        if handles.is_empty() {
            return Ok(None);
        }

        for ended in join_all(handles.iter().map(|handle| self.engine.complete(handle, None))).await
        {
            ended?;
        }
        Ok(Some(handles.len() as u64))
    }

    async fn retry(&self) -> Result<u64, BenchError> {
        let args = submission_with_retries(&self.load.lane, &self.load.payload);
        self.engine.create_execution(args).await?;

        let handle = self.claim_one().await?;
        let reason = FailureReason::new(FAILURE);
        let failed = self.engine.fail(&handle, reason, FailureClass::Transient).await?;
        if !matches!(failed, FailOutcome::RetryScheduled { .. }) {
            return Err(BenchError::Wrong(format!("no retry was scheduled: {failed:?}")));
        }

        let handle = self.claim_one().await?;
        self.engine.complete(&handle, None).await?;
        Ok(1)
    }

    async fn suspend(&self) -> Result<u64, BenchError> {
        let args = submission(&self.load.lane, &self.load.payload);
        let id = args.execution_id.clone();
        self.engine.create_execution(args).await?;
        let handle = self.claim_one().await?;

        let wait = Wait::fresh();
        let suspended = self.engine.suspend(&handle, wait.suspension()).await?;
        let SuspendOutcome::Suspended { details, .. } = suspended else {
            return Err(BenchError::Wrong(format!("not suspended: {suspended:?}")));
        };
        let token = details.waitpoint_token.token().clone();
        self.engine.deliver_signal(wait.signal(&id, token)).await?;

        let resumed = resumption(id, &self.load.lane, self.load.caller);
        let resumed = self.engine.claim_resumed_execution(resumed).await?;
        let ClaimResumedExecutionResult::Claimed(claimed) = resumed;
        self.engine.complete(&claimed.handle, None).await?;
        Ok(1)
    }

    async fn flow(&self) -> Result<u64, BenchError> {
        let members = self.submit_flow().await?;

        let mut ended = 0;
        while ended < members {
            let dispatched = self.dispatch().await?;
            let worked = self.batch().await?.unwrap_or(0);
            ended += worked;
            if worked == 0 && dispatched == 0 {
                tokio::time::sleep(IDLE).await;
            }
        }
        Ok(ended)
    }

    /// Dispatches events of all callers, unless another caller does so already.
    async fn dispatch(&self) -> Result<u32, BenchError> {
        let Ok(_turn) = self.load.scanner.try_lock() else { return Ok(0) };
        let counts = self.engine.scan(Scan::DependencyDispatch, DISPATCHED).await?;
        Ok(counts.processed)
    }

    /// Submits a flow. Returns the number of its members.
    async fn submit_flow(&self) -> Result<u64, BenchError> {
        let diamond = Diamond::fresh(&self.load.lane, &self.load.payload);
        let flow = &diamond.flow.flow_id;
        self.engine.create_flow(diamond.flow.clone()).await?;
        for created in self.engine.create_flow_members(flow, diamond.members.to_vec()).await {
            created?;
        }

        let revision = self.engine.describe_flow(flow).await?.map(|flow| flow.graph_revision);
        let revision = revision.ok_or_else(|| BenchError::Wrong("the flow is gone".into()))?;
        for dependency in diamond.dependencies(revision) {
            self.engine.stage_dependency_edge(dependency.staged).await?;
            self.engine.apply_dependency_to_child(dependency.applied).await?;
        }

        self.engine.release_flow(flow, TimestampMs::now()).await?;
        Ok(diamond.members.len() as u64)
    }
}

impl Caller for EngineCaller {
    async fn round(&mut self) -> Result<Option<u64>, BenchError> {
        match self.load.scenario {
            Scenario::Submit => {
                let Load { lane, payload, batch, .. } = &self.load;
                fill(self.engine.as_ref(), lane, payload, *batch).await?;
                Ok(Some(*batch as u64))
            }
            Scenario::Pairs => self.pair().await,
            Scenario::Batches => self.batch().await,
            Scenario::Retry => self.retry().await.map(Some),
            Scenario::Suspend => self.suspend().await.map(Some),
            Scenario::Flow => self.flow().await.map(Some),
            Scenario::Mixed => {
                let args = submission(&self.load.lane, &self.load.payload);
                self.engine.create_execution(args).await?;
                // Another caller may have taken the last one.
                Ok(Some(self.pair().await?.unwrap_or(0)))
            }
            Scenario::EmptyClaim => {
                self.claim().await?;
                Ok(Some(1))
            }
        }
    }
}
