//! Every operation for every backend: arguments in, transition, outcome out.

use std::any::Any;
use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;

use super::{Executor, run};
use crate::backend::{
    CapabilitySet, ClaimPolicy, FailOutcome, FailureClass, FailureReason, Handle, LeaseRenewal,
    PrepareOutcome,
};
use crate::capability::{BackendIdentity, Capabilities, Supports, Version};
use crate::contracts::{
    CancelExecutionArgs, CancelExecutionResult, ChangePriorityArgs, ChangePriorityResult,
    CompleteExecutionArgs, CompleteExecutionResult, CreateExecutionArgs, CreateExecutionResult,
    ExecutionContext, ExecutionInfo, ExecutionQuery, ExecutionQueryPage, ExecutionSnapshot,
    ExecutionTimeline, FailExecutionArgs, FailExecutionResult, ListExecutionsPage,
    ListExpiredLeasesArgs, ListExpiredLeasesResult, ListLanesPage, RenewLeaseArgs,
    RenewLeaseResult, RevokeLeaseArgs, RevokeLeaseResult,
};
use crate::engine_backend::{EngineBackend, ExpirePhase, ReconcileCounts, Scan, validate_tag_key};
use crate::engine_error::EngineError;
use crate::partition::{Partition, PartitionKey};
use crate::rules::claim::{Claim, Claimed};
use crate::rules::create::Create;
use crate::rules::delay::{Delay, Promote};
use crate::rules::expire::{ExpireAttempt, ExpireExecution, ExpireLease};
use crate::rules::fail::{Fail, Failed, RetryRule};
use crate::rules::fence::Fence;
use crate::rules::finish::{Cancel, Complete};
use crate::rules::key::ExecutionKey;
use crate::rules::lease::{Progress, Renew};
use crate::rules::listing::{self, Timeline};
use crate::rules::operator::CancelExecution;
use crate::rules::priority::ChangePriority;
use crate::rules::revoke::RevokeLease;
use crate::rules::scan::{Due, Overdue};
use crate::rules::tags::SetTag;
use crate::rules::{handle, input, read};
use crate::state::PublicState;
use crate::types::{AttemptIndex, CancelSource, ExecutionId, FlowId, LaneId, TimestampMs};

/// What every backend built on [`Executor`] does today; the others follow with their operations.
const SUPPORTS: Supports = {
    let mut supports = Supports::none();
    supports.cancel_execution = true;
    supports.change_priority = true;
    supports.revoke_lease = true;
    supports.prepare = true;
    supports.read_execution_state = true;
    supports.read_execution_info = true;
    supports.get_execution_result = true;
    supports.list_expired_leases = true;
    supports
};

#[async_trait]
impl<E: Executor> EngineBackend for E {
    async fn create_execution(
        &self,
        args: CreateExecutionArgs,
    ) -> Result<CreateExecutionResult, EngineError> {
        run(self, &Create::new(args)?).await
    }

    async fn create_executions(
        &self,
        batch: Vec<CreateExecutionArgs>,
    ) -> Vec<Result<CreateExecutionResult, EngineError>> {
        join_all(batch.into_iter().map(|args| self.create_execution(args))).await
    }

    async fn progress(
        &self,
        handle: &Handle,
        percent: Option<u8>,
        message: Option<String>,
    ) -> Result<(), EngineError> {
        let payload = handle::open(self.identity().tag, handle)?;
        if let Some(over) = percent.filter(|percent| 100 < *percent) {
            return Err(input::invalid(format!("percent: {over} is not in 0..=100")));
        }
        message.as_deref().map_or(Ok(()), |text| input::text("message", text))?;
        run(self, &Progress { fence: Fence::of_handle(&payload)?, percent, message }).await
    }

    async fn complete(&self, handle: &Handle, payload: Option<Vec<u8>>) -> Result<(), EngineError> {
        let fence = Fence::of_handle(&handle::open(self.identity().tag, handle)?)?;
        run(self, &Complete { fence, result: payload, at: None }).await.map(drop)
    }

    async fn fail(
        &self,
        handle: &Handle,
        reason: FailureReason,
        classification: FailureClass,
    ) -> Result<FailOutcome, EngineError> {
        let payload = handle::open(self.identity().tag, handle)?;
        input::text("reason.message", &reason.message)?;
        let fence = Fence::of_handle(&payload)?;
        let retry = RetryRule::ByClass(classification, self.memo().recall(payload.lease_id.0));
        Ok(match run(self, &Fail { fence, reason: reason.message, retry }).await? {
            Failed::RetryScheduled { delay_until, .. } => {
                FailOutcome::RetryScheduled { delay_until }
            }
            Failed::TerminalFailed => FailOutcome::TerminalFailed,
        })
    }

    async fn cancel(&self, handle: &Handle, reason: &str) -> Result<(), EngineError> {
        let payload = handle::open(self.identity().tag, handle)?;
        input::text("reason", reason)?;
        let fence = Fence::of_handle(&payload)?;
        let (execution_id, reason) = (payload.execution_id, reason.to_owned());
        run(self, &Cancel { fence, execution_id, reason }).await
    }

    async fn delay(&self, handle: &Handle, delay_until: TimestampMs) -> Result<(), EngineError> {
        let fence = Fence::of_handle(&handle::open(self.identity().tag, handle)?)?;
        run(self, &Delay { fence, until: delay_until }).await
    }

    async fn complete_execution(
        &self,
        args: CompleteExecutionArgs,
    ) -> Result<CompleteExecutionResult, EngineError> {
        let CompleteExecutionArgs { execution_id, fence, attempt_index, source, .. } = &args;
        let fence = Fence::of_args(execution_id, *attempt_index, fence.as_ref(), source)?;
        let complete = Complete { fence, result: args.result_payload, at: Some(args.now) };
        let public_state = run(self, &complete).await?;
        Ok(CompleteExecutionResult::Completed { execution_id: args.execution_id, public_state })
    }

    async fn fail_execution(
        &self,
        args: FailExecutionArgs,
    ) -> Result<FailExecutionResult, EngineError> {
        let FailExecutionArgs { execution_id, fence, attempt_index, source, .. } = &args;
        let fence = Fence::of_args(execution_id, *attempt_index, fence.as_ref(), source)?;
        input::text("failure_reason", &args.failure_reason)?;
        let retry = RetryRule::Given(Fail::policy_of(&args.retry_policy_json)?);
        Ok(match run(self, &Fail { fence, reason: args.failure_reason, retry }).await? {
            Failed::RetryScheduled { delay_until, next_attempt_index } => {
                FailExecutionResult::RetryScheduled { delay_until, next_attempt_index }
            }
            Failed::TerminalFailed => FailExecutionResult::TerminalFailed,
        })
    }

    async fn cancel_execution(
        &self,
        args: CancelExecutionArgs,
    ) -> Result<CancelExecutionResult, EngineError> {
        run(self, &CancelExecution::new(args)?).await
    }

    async fn change_priority(
        &self,
        args: ChangePriorityArgs,
    ) -> Result<ChangePriorityResult, EngineError> {
        run(self, &ChangePriority::new(&args)?).await?;
        Ok(ChangePriorityResult::Changed { execution_id: args.execution_id })
    }

    async fn revoke_lease(&self, args: RevokeLeaseArgs) -> Result<RevokeLeaseResult, EngineError> {
        run(self, &RevokeLease::new(self.identity().tag, args)?).await
    }

    async fn claim(
        &self,
        lane: &LaneId,
        capabilities: &CapabilitySet,
        policy: ClaimPolicy,
    ) -> Result<Option<Handle>, EngineError> {
        let claimed = self.claim_many(lane, capabilities, policy, 1).await?;
        Ok(claimed.into_iter().next())
    }

    async fn claim_many(
        &self,
        lane: &LaneId,
        capabilities: &CapabilitySet,
        policy: ClaimPolicy,
        limit: u32,
    ) -> Result<Vec<Handle>, EngineError> {
        let claim = Claim::new(self.identity().tag, lane, capabilities, policy, limit)?;
        let claimed = run(self, &claim).await?;
        let handles = claimed.into_iter().map(|Claimed { handle, lease_id, retry }| {
            if let Some(facts) = retry {
                self.memo().keep(lease_id, facts);
            }
            handle
        });
        Ok(handles.collect())
    }

    async fn renew(&self, handle: &Handle) -> Result<LeaseRenewal, EngineError> {
        let payload = handle::open(self.identity().tag, handle)?;
        let ttl_ms = input::positive_ms("lease_ttl_ms", payload.lease_ttl_ms)?;
        let expires = run(self, &Renew { fence: Fence::of_handle(&payload)?, ttl_ms }).await?;
        Ok(LeaseRenewal::new(expires.0.unsigned_abs(), payload.lease_epoch.0))
    }

    async fn renew_lease(&self, args: RenewLeaseArgs) -> Result<RenewLeaseResult, EngineError> {
        // Nobody overrides a renewal: without a fence there is no lease to renew.
        let holder = CancelSource::LeaseHolder;
        let RenewLeaseArgs { execution_id, attempt_index, fence, .. } = &args;
        let fence = Fence::of_args(execution_id, *attempt_index, fence.as_ref(), &holder)?;
        let ttl_ms = input::positive_ms("lease_ttl_ms", args.lease_ttl_ms)?;
        let expires_at = run(self, &Renew { fence, ttl_ms }).await?;
        Ok(RenewLeaseResult::Renewed { expires_at })
    }

    async fn describe_execution(
        &self,
        id: &ExecutionId,
    ) -> Result<Option<ExecutionSnapshot>, EngineError> {
        run(self, &read::snapshot(id)?).await
    }

    async fn read_execution_context(
        &self,
        execution_id: &ExecutionId,
    ) -> Result<ExecutionContext, EngineError> {
        run(self, &read::context(execution_id)?).await
    }

    async fn read_current_attempt_index(
        &self,
        execution_id: &ExecutionId,
    ) -> Result<AttemptIndex, EngineError> {
        run(self, &read::attempt_index(execution_id)?).await
    }

    async fn read_total_attempt_count(
        &self,
        execution_id: &ExecutionId,
    ) -> Result<AttemptIndex, EngineError> {
        run(self, &read::attempt_count(execution_id)?).await
    }

    async fn read_execution_info(
        &self,
        id: &ExecutionId,
    ) -> Result<Option<ExecutionInfo>, EngineError> {
        run(self, &read::info(id)?).await
    }

    async fn read_execution_state(
        &self,
        id: &ExecutionId,
    ) -> Result<Option<PublicState>, EngineError> {
        run(self, &read::state(id)?).await
    }

    async fn get_execution_result(&self, id: &ExecutionId) -> Result<Option<Vec<u8>>, EngineError> {
        run(self, &read::result(id)?).await
    }

    async fn get_execution_namespace(
        &self,
        execution_id: &ExecutionId,
    ) -> Result<Option<String>, EngineError> {
        run(self, &read::namespace(execution_id)?).await
    }

    async fn set_execution_tag(
        &self,
        execution_id: &ExecutionId,
        key: &str,
        value: &str,
    ) -> Result<(), EngineError> {
        run(self, &SetTag::new(execution_id, key, value)?).await
    }

    async fn get_execution_tag(
        &self,
        execution_id: &ExecutionId,
        key: &str,
    ) -> Result<Option<String>, EngineError> {
        validate_tag_key(key)?;
        Ok(run(self, &read::tags(execution_id)?).await?.remove(key))
    }

    async fn resolve_execution_flow_id(
        &self,
        eid: &ExecutionId,
    ) -> Result<Option<FlowId>, EngineError> {
        run(self, &read::flow_id(eid)?).await
    }

    async fn list_lanes(
        &self,
        cursor: Option<LaneId>,
        limit: usize,
    ) -> Result<ListLanesPage, EngineError> {
        run(self, &listing::lanes(cursor.as_ref(), limit)?).await
    }

    async fn list_executions(
        &self,
        partition: PartitionKey,
        cursor: Option<ExecutionId>,
        limit: usize,
    ) -> Result<ListExecutionsPage, EngineError> {
        run(self, &listing::executions(&partition, cursor.as_ref(), limit)?).await
    }

    async fn list_executions_by(
        &self,
        query: ExecutionQuery,
    ) -> Result<ExecutionQueryPage, EngineError> {
        run(self, &listing::matching(&query)?).await
    }

    async fn execution_timeline(
        &self,
        execution_id: &ExecutionId,
    ) -> Result<ExecutionTimeline, EngineError> {
        run(self, &Timeline::of(execution_id)?).await
    }

    async fn read_exec_core_fields(
        &self,
        partition: Partition,
        execution_id: &ExecutionId,
        fields: &[&str],
    ) -> Result<HashMap<String, Option<String>>, EngineError> {
        input::same_partition("read_exec_core_fields", &partition, execution_id)?;
        if fields.is_empty() {
            return Ok(HashMap::new());
        }
        Ok(run(self, &read::fields(execution_id)?).await?.read(fields))
    }

    async fn list_expired_leases(
        &self,
        args: ListExpiredLeasesArgs,
    ) -> Result<ListExpiredLeasesResult, EngineError> {
        run(self, &listing::expired_leases(&args)?).await
    }

    async fn mark_lease_expired_if_due(
        &self,
        partition: Partition,
        execution_id: &ExecutionId,
    ) -> Result<(), EngineError> {
        input::same_partition("mark_lease_expired_if_due", &partition, execution_id)?;
        run(self, &ExpireLease { key: ExecutionKey::of(execution_id)? }).await.map(drop)
    }

    async fn promote_delayed(
        &self,
        partition: Partition,
        lane: &LaneId,
        execution_id: &ExecutionId,
        now_ms: TimestampMs,
    ) -> Result<(), EngineError> {
        input::same_partition("promote_delayed", &partition, execution_id)?;
        input::lane(lane)?;
        let key = ExecutionKey::of(execution_id)?;
        run(self, &Promote { key, at: Some(now_ms) }).await.map(drop)
    }

    async fn expire_execution(
        &self,
        partition: Partition,
        execution_id: &ExecutionId,
        phase: ExpirePhase,
        now_ms: TimestampMs,
    ) -> Result<(), EngineError> {
        input::same_partition("expire_execution", &partition, execution_id)?;
        let (key, at) = (ExecutionKey::of(execution_id)?, Some(now_ms));
        match phase {
            ExpirePhase::AttemptTimeout => run(self, &ExpireAttempt { key, at }).await.map(drop),
            ExpirePhase::ExecutionDeadline => {
                run(self, &ExpireExecution { key, at }).await.map(drop)
            }
        }
    }

    async fn scan(&self, scan: Scan, limit: u32) -> Result<ReconcileCounts, EngineError> {
        let mut counts = ReconcileCounts::default();
        let mut after = None;
        loop {
            let due = run(self, &Due { scan, limit, after }).await?;
            let page = resolve_all(self, scan, &due).await;
            counts.processed += page.processed;
            counts.errors += page.errors;
            // Rows that fail stay due. A whole page of them must not hide what comes after it.
            let full = u32::try_from(due.len()) == Ok(limit);
            if page.processed != 0 || page.errors == 0 || !full {
                return Ok(counts);
            }
            after = due.last().copied();
        }
    }

    async fn server_time_ms(&self) -> Result<u64, EngineError> {
        Ok(self.now().0.unsigned_abs())
    }

    async fn ping(&self) -> Result<(), EngineError> {
        Executor::ping(self).await
    }

    fn backend_label(&self) -> &'static str {
        self.identity().family
    }

    fn as_any(&self) -> &(dyn Any + 'static) {
        self
    }

    fn capabilities(&self) -> Capabilities {
        let identity = BackendIdentity::new(self.identity().family, version(), "E-shipped");
        Capabilities::new(identity, SUPPORTS)
    }

    async fn prepare(&self) -> Result<PrepareOutcome, EngineError> {
        Executor::prepare(self).await
    }

    async fn shutdown_prepare(&self, grace: Duration) -> Result<(), EngineError> {
        self.drain(grace).await
    }
}

/// Looks again at each row that a scan found; one that fails is left for later and stops no other.
async fn resolve_all<E: Executor>(executor: &E, scan: Scan, due: &[Overdue]) -> ReconcileCounts {
    let mut counts = ReconcileCounts::default();
    let looks = due.iter().map(|row| resolve(executor, scan, row.key));
    for (row, result) in due.iter().zip(join_all(looks).await) {
        match result {
            Ok(true) => counts.processed += 1,
            Ok(false) => {}
            Err(error) => {
                counts.errors += 1;
                let execution = row.key.id();
                tracing::warn!(scan = scan.as_str(), %execution, %error, "row left for later");
            }
        }
    }
    counts
}

/// Looks again at one row that a scan found.
async fn resolve<E: Executor>(
    executor: &E,
    scan: Scan,
    key: ExecutionKey,
) -> Result<bool, EngineError> {
    match scan {
        Scan::LeaseExpiry => run(executor, &ExpireLease { key }).await,
        Scan::AttemptTimeout => run(executor, &ExpireAttempt { key, at: None }).await,
        Scan::ExecutionDeadline => run(executor, &ExpireExecution { key, at: None }).await,
        Scan::DelayedPromotion => run(executor, &Promote { key, at: None }).await,
    }
}

/// This crate's version.
fn version() -> Version {
    let mut numbers = env!("CARGO_PKG_VERSION").split('.').map(|part| part.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    Version::new(next(), next(), next())
}
