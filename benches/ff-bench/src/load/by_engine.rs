//! Callers of the engine.

use std::sync::Arc;
use std::time::Duration;

use ff_core::backend::{CapabilitySet, FailOutcome, FailureClass, FailureReason, Handle};
use ff_core::contracts::{
    ApplyDependencyToChildArgs, ClaimResumedExecutionArgs, ClaimResumedExecutionResult,
    CreateFlowArgs, DeliverSignalArgs, ResumeCondition, ResumePolicy, SeedWaitpointHmacSecretArgs,
    SignalMatcher, StageDependencyEdgeArgs, SuspendArgs, SuspendOutcome, SuspensionReasonCode,
    WaitpointBinding,
};
use ff_core::engine_backend::{EngineBackend, Scan};
use ff_core::partition::PartitionConfig;
use ff_core::policy::{BackoffStrategy, ExecutionPolicy, RetryPolicy};
use ff_core::types::{
    AttemptIndex, EdgeId, ExecutionId, FlowId, LaneId, LeaseId, Namespace, SignalId, SuspensionId,
    TimestampMs, WaitpointId, WorkerId, WorkerInstanceId,
};
use futures_util::future::join_all;
use uuid::Uuid;

use super::{Caller, Load};
use crate::error::BenchError;
use crate::scenario::Scenario;
use crate::submission::{LEASE_MS, WORKER, instance, submission, submission_of, terms};

/// The executions that one call submits when a lane is filled.
const FILL: usize = 2_000;

/// The most events that a caller dispatches at once.
const DISPATCHED: u32 = 100;

/// The pause of a caller with nothing to do, until another one has dispatched an event.
const IDLE: Duration = Duration::from_millis(1);

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
        let key = SeedWaitpointHmacSecretArgs::new("bench", "5a".repeat(32));
        engine.seed_waitpoint_hmac_secret(key).await?;
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
        let retries = RetryPolicy {
            backoff: BackoffStrategy::Fixed { delay_ms: 0 },
            ..RetryPolicy::default()
        };
        let mut args = submission(&self.load.lane, &self.load.payload);
        args.policy =
            Some(ExecutionPolicy { retry_policy: Some(retries), ..ExecutionPolicy::default() });
        self.engine.create_execution(args).await?;

        let handle = self.claim_one().await?;
        let reason = FailureReason::new("the first try of this load always fails");
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

        let (waitpoint_id, waitpoint_key) = (WaitpointId::new(), "go".to_owned());
        let matcher = SignalMatcher::ByName("go".to_owned());
        let condition = ResumeCondition::Single { waitpoint_key: waitpoint_key.clone(), matcher };
        let waitpoint =
            WaitpointBinding::Fresh { waitpoint_id: waitpoint_id.clone(), waitpoint_key };
        let (policy, reason) = (ResumePolicy::normal(), SuspensionReasonCode::WaitingForSignal);
        let suspension = SuspensionId::new();
        let args =
            SuspendArgs::new(suspension, waitpoint, condition, policy, reason, TimestampMs::now());

        let suspended = self.engine.suspend(&handle, args).await?;
        let SuspendOutcome::Suspended { details, .. } = suspended else {
            return Err(BenchError::Wrong(format!("not suspended: {suspended:?}")));
        };
        let token = details.waitpoint_token.token().clone();
        let (signal, now) = (SignalId::new(), TimestampMs::now());
        let signal = DeliverSignalArgs::new(id.clone(), waitpoint_id, signal, "go", token, now);
        self.engine.deliver_signal(signal).await?;

        let resumed = self.engine.claim_resumed_execution(self.resumed(id)).await?;
        let ClaimResumedExecutionResult::Claimed(claimed) = resumed;
        self.engine.complete(&claimed.handle, None).await?;
        Ok(1)
    }

    fn resumed(&self, execution_id: ExecutionId) -> ClaimResumedExecutionArgs {
        ClaimResumedExecutionArgs {
            execution_id,
            worker_id: WorkerId::new(WORKER),
            worker_instance_id: WorkerInstanceId::new(instance(self.load.caller)),
            lane_id: self.load.lane.clone(),
            lease_id: LeaseId::from_uuid(Uuid::new_v4()),
            lease_ttl_ms: u64::from(LEASE_MS),
            current_attempt_index: AttemptIndex(0),
            remaining_attempt_timeout_ms: None,
            now: TimestampMs::now(),
        }
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

    /// Submits a flow: one execution, then two that depend on it, then one that depends on both.
    async fn submit_flow(&self) -> Result<u64, BenchError> {
        let (flow, now) = (FlowId::new(), TimestampMs::now());
        let (flow_kind, namespace) = ("bench".into(), Namespace::new("bench"));
        let args = CreateFlowArgs { flow_id: flow.clone(), flow_kind, namespace, now };
        self.engine.create_flow(args).await?;

        let ids: [ExecutionId; 4] =
            std::array::from_fn(|_| ExecutionId::for_flow(&flow, &PartitionConfig::default()));
        let member =
            |id: &ExecutionId| submission_of(id.clone(), &self.load.lane, &self.load.payload);
        let batch = ids.iter().map(member).collect();
        for created in self.engine.create_flow_members(&flow, batch).await {
            created?;
        }

        let revision = self.engine.describe_flow(&flow).await?.map(|flow| flow.graph_revision);
        let revision = revision.ok_or_else(|| BenchError::Wrong("the flow is gone".into()))?;
        let [first, left, right, last] = &ids;
        let edges = [(first, left), (first, right), (left, last), (right, last)];
        for (revision, (upstream, downstream)) in (revision..).zip(edges) {
            self.depend(&flow, upstream, downstream, revision).await?;
        }

        self.engine.release_flow(&flow, TimestampMs::now()).await?;
        Ok(ids.len() as u64)
    }

    async fn depend(
        &self,
        flow: &FlowId,
        upstream: &ExecutionId,
        downstream: &ExecutionId,
        revision: u64,
    ) -> Result<(), BenchError> {
        let staged = StageDependencyEdgeArgs {
            flow_id: flow.clone(),
            edge_id: EdgeId::new(),
            upstream_execution_id: upstream.clone(),
            downstream_execution_id: downstream.clone(),
            dependency_kind: "success_only".into(),
            data_passing_ref: None,
            expected_graph_revision: revision,
            now: TimestampMs::now(),
        };
        let applied = ApplyDependencyToChildArgs {
            flow_id: flow.clone(),
            edge_id: staged.edge_id.clone(),
            downstream_execution_id: downstream.clone(),
            upstream_execution_id: upstream.clone(),
            graph_revision: revision + 1,
            dependency_kind: "success_only".into(),
            data_passing_ref: None,
            now: staged.now,
        };

        self.engine.stage_dependency_edge(staged).await?;
        self.engine.apply_dependency_to_child(applied).await?;
        Ok(())
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
