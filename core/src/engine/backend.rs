//! Every operation for every backend: arguments in, transition, outcome out.

use std::any::Any;
use std::collections::HashMap;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use ff_telemetry::{BatchOf, observed};
use futures_util::future::join_all;

use super::budgeted::{claim_with_room, has_claimable, room_of_grants};
use super::granting::grant_best;
use super::named::claim_named;
use super::subscribe::subscribe;
use super::{
    DatabaseReport, Executor, Topic, Traffic, admission, archive, bulk, cascade, children, frames,
    lost_workers, over_run, reconcile, retention, run, schedules, steps, timers,
};
use crate::contracts::capability::{BackendIdentity, Capabilities, Supports, Version};
use crate::contracts::{
    AddExecutionToFlowArgs, AddExecutionToFlowResult, AppendFrameOutcome,
    ApplyDependencyToChildArgs, ApplyDependencyToChildResult, ArchivePass, ArchiveStep,
    BackfillReport, BackfillScheduleArgs, BlockExecutionForAdmissionArgs,
    BlockExecutionForAdmissionOutcome, BlockRouteArgs, BlockRouteOutcome, BudgetStatus,
    BudgetUsageAndLimits, BudgetsPage, BulkArgs, BulkReport, CancelExecutionArgs,
    CancelExecutionResult, CancelFlowArgs, CancelFlowHeader, CancelFlowPolicy, CancelFlowResult,
    CancelFlowWait, CapabilitySet, CascadeOutcome, ChangePriorityArgs, ChangePriorityResult,
    CheckAdmissionArgs, CheckAdmissionResult, ChildWait, ClaimExecutionArgs, ClaimExecutionResult,
    ClaimForWorkerArgs, ClaimForWorkerOutcome, ClaimGrantOutcome, ClaimPolicy,
    ClaimResumedExecutionArgs, ClaimResumedExecutionResult, CompleteExecutionArgs,
    CompleteExecutionResult, CompletionPayload, CreateBudgetArgs, CreateBudgetResult,
    CreateExecutionArgs, CreateExecutionResult, CreateFlowArgs, CreateFlowResult,
    CreateQuotaPolicyArgs, CreateQuotaPolicyResult, CreateScheduleArgs, CreateScheduleResult,
    DeliverApprovalSignalArgs, DeliverSignalArgs, DeliverSignalResult, EdgeDependencyPolicy,
    EdgeDirection, EdgeSnapshot, EvaluateFlowEligibilityArgs, EvaluateFlowEligibilityResult,
    ExecutionContext, ExecutionInfo, ExecutionQuery, ExecutionQueryPage, ExecutionSnapshot,
    ExecutionTimeline, ExpirePhase, ExplainExecutionArgs, Explanation, FailExecutionArgs,
    FailExecutionResult, FailOutcome, FailureReason, FlowGraph, FlowQuery, FlowQueryPage,
    FlowSnapshot, ForkExecutionArgs, ForkExecutionResult, Frame, HeartbeatWorkerArgs,
    HeartbeatWorkerOutcome, ImportRun, Imported, IssueClaimGrantArgs, IssueClaimGrantOutcome,
    IssueGrantAndClaimArgs, IssueReclaimGrantArgs, IssueReclaimGrantOutcome, LaneInfo,
    LeaseRenewal, LeasesPage, LimitStatus, ListExecutionsPage, ListExpiredLeasesArgs,
    ListExpiredLeasesResult, ListFairnessWeightsPage, ListFlowsPage, ListLanesPage, ListLeasesArgs,
    ListLimitsPage, ListPendingWaitpointsArgs, ListPendingWaitpointsResult, ListSchedulesArgs,
    ListSuspendedPage, ListWorkersArgs, ListWorkersResult, MarkWorkerDeadArgs,
    MarkWorkerDeadOutcome, NewStep, PauseScheduleArgs, PendingWaitpoint, PrepareOutcome,
    QuotaPolicyLimits, ReclaimExecutionArgs, ReclaimExecutionOutcome, ReconcileCounts,
    RecordSpendArgs, RecordStepOutcome, RegisterWorkerArgs, RegisterWorkerOutcome,
    ReleaseAdmissionArgs, ReleaseAdmissionResult, ReleaseBudgetArgs, RenewLeaseArgs,
    RenewLeaseResult, ReplayExecutionArgs, ReplayExecutionResult, ReportUsageAdminArgs,
    ReportUsageResult, ResetBudgetArgs, ResetBudgetResult, ResolveDependencyArgs,
    ResolveDependencyOutcome, ResumeExecutionArgs, ResumeExecutionResult, ResumeSignal,
    ResumeToken, RetentionRule, RevokeLeaseArgs, RevokeLeaseResult,
    RotateWaitpointHmacSecretAllArgs, RotateWaitpointHmacSecretAllResult, Scan, ScanEligibleArgs,
    ScannerFilter, ScheduleId, ScheduleInfo, SchedulesPage, SeedOutcome,
    SeedWaitpointHmacSecretArgs, SetEdgeGroupPolicyResult, SetFairnessWeightArgs, SetLaneStateArgs,
    SetLimitArgs, SiblingCancelReconcileAction, StageDependencyEdgeArgs, StageDependencyEdgeResult,
    Stats, StatsArgs, StepRecord, StreamCursor, StreamFrames, SubscriberCursor, SummaryDocument,
    SuspendArgs, SuspendOutcome, TailVisibility, TrimPass, UpdateScheduleArgs, UsageDimensions,
    validate_tag_key,
};
use crate::engine::BulkPreview;
use crate::engine::operations::{
    CompletionSubscription, EngineBackend, InstanceTagSubscription, LeaseHistorySubscription,
    OperatorEventSubscription, SignalDeliverySubscription,
};
use crate::model::cursor::StreamCursor as EventCursor;
use crate::model::error::EngineError;
use crate::model::handle::Handle;
use crate::model::ids::{
    AttemptIndex, BudgetId, CancelSource, EdgeId, ExecutionId, FlowId, LaneId, LeaseFence,
    QuotaPolicyId, TimestampMs, WaitpointId,
};
use crate::model::partition::{Partition, PartitionKey};
use crate::model::state::{FailureClass, OutboxKind, PublicState};
use crate::rules::archive::check::CheckedFile;
use crate::rules::archive::import::ImportRecord;
use crate::rules::archive::record::Record;
use crate::rules::budget::create::CreateBudget;
use crate::rules::budget::read::{ReadStatus, ReadUsage, budgets};
use crate::rules::budget::release::ReleaseBudget;
use crate::rules::budget::report::Report;
use crate::rules::budget::reset::ResetBudget;
use crate::rules::count::read::ReadStats;
use crate::rules::execution::cancel::CancelExecution;
use crate::rules::execution::claim::Claim;
use crate::rules::execution::create::Create;
use crate::rules::execution::delay::{Delay, Promote};
use crate::rules::execution::expire::{ExpireAttempt, ExpireExecution, ExpireLease};
use crate::rules::execution::explain::Explain;
use crate::rules::execution::fail::{Fail, Failed, RetryRule};
use crate::rules::execution::failure::{Failure, said};
use crate::rules::execution::finish::{Cancel, Complete};
use crate::rules::execution::lease::{Progress, Renew};
use crate::rules::execution::newest::Newest;
use crate::rules::execution::priority::ChangePriority;
use crate::rules::execution::reconcile::FindDrift;
use crate::rules::execution::replay::Replay;
use crate::rules::execution::revoke::RevokeLease;
use crate::rules::execution::tags::SetTag;
use crate::rules::execution::take::{ClaimByGrant, ClaimByOperator, ClaimResumed};
use crate::rules::execution::timeline::Timeline;
use crate::rules::execution::unblock::Unblock;
use crate::rules::execution::{listing, read};
use crate::rules::fairness::weight::{
    ListFairnessWeights, RemoveFairnessWeight, SetFairnessWeight,
};
use crate::rules::fence::Fence;
use crate::rules::flow::apply::Apply;
use crate::rules::flow::cancel::{AckMember, CancelFlow, CancelHeader};
use crate::rules::flow::create::CreateFlow;
use crate::rules::flow::dispatch::FindEvent;
use crate::rules::flow::eligibility::Evaluate;
use crate::rules::flow::hop::ByHand;
use crate::rules::flow::key::Places;
use crate::rules::flow::listing::{Edge, Edges};
use crate::rules::flow::member::{AddExecution, CreateMember, Release};
use crate::rules::flow::policy::SetPolicy;
use crate::rules::flow::read::{Describe, Graph};
use crate::rules::flow::siblings::{Drain, GroupKey, Reconcile};
use crate::rules::flow::stage::Stage;
use crate::rules::flow::summary::Summarise;
use crate::rules::flow::tags::{FlowTag, SetFlowTag};
use crate::rules::flow::wait::WaitChildren;
use crate::rules::grant::block::Block;
use crate::rules::grant::eligible::Eligible;
use crate::rules::grant::issue::IssueClaimGrant;
use crate::rules::grant::reclaim::{IssueReclaimGrant, Reclaim};
use crate::rules::grant::redeem::RedeemClaim;
use crate::rules::key::ExecutionKey;
use crate::rules::keyring::{Rotate, Seed};
use crate::rules::lane::{ListLanes, ReadLane, SetLaneState};
use crate::rules::limit::define::{ListLimits, RemoveLimit, SetLimit};
use crate::rules::limit::read::ReadLimit;
use crate::rules::quota::admission::{CheckAdmission, ReleaseAdmission};
use crate::rules::quota::policy::{CreatePolicy, ReadLimits};
use crate::rules::retention::subscriber;
use crate::rules::scan::ScanScope;
use crate::rules::schedule::create::{CreateSchedule, DeleteSchedule, UpdateSchedule};
use crate::rules::schedule::pause::{PauseSchedule, ResumeSchedule};
use crate::rules::schedule::read::{self as read_schedules, ReadSchedule};
use crate::rules::step::read::ReadSteps;
use crate::rules::step::record::RecordStep;
use crate::rules::stream::read::{ReadFrames, ReadSummary};
use crate::rules::suspension::approve::{Approval, Approve};
use crate::rules::suspension::deliver::Deliver;
use crate::rules::suspension::listing::{Signals, Suspended, Token, Waitpoints};
use crate::rules::suspension::suspend::Suspend;
use crate::rules::suspension::timeout::ExpireSuspension;
use crate::rules::suspension::waitpoint::{CloseWaitpoint, CreateWaitpoint};
use crate::rules::suspension::wake::Resume;
use crate::rules::worker::lost::LostWorker;
use crate::rules::worker::registry::{Heartbeat, MarkDead, Register};
use crate::rules::{flow, handle, input, worker};

/// The capabilities of every backend built on [`Executor`].
const SUPPORTS: Supports = {
    let mut supports = Supports::none();
    supports.cancel_execution = true;
    supports.change_priority = true;
    supports.revoke_lease = true;
    supports.replay_execution = true;
    supports.cancel_flow_header = true;
    supports.cancel_flow_wait_timeout = true;
    supports.cancel_flow_wait_indefinite = true;
    supports.ack_cancel_member = true;
    supports.claim_for_worker = true;
    supports.issue_reclaim_grant = true;
    supports.block_execution_for_admission = true;
    supports.prepare = true;
    supports.budget_admin = true;
    supports.read_budget_usage_and_limits = true;
    supports.quota_admin = true;
    supports.read_quota_policy_limits = true;
    supports.release_admission = true;
    supports.read_execution_state = true;
    supports.read_execution_info = true;
    supports.get_execution_result = true;
    supports.list_expired_leases = true;
    supports.register_worker = true;
    supports.heartbeat_worker = true;
    supports.mark_worker_dead = true;
    supports.list_workers = true;
    supports.rotate_waitpoint_hmac_secret_all = true;
    supports.seed_waitpoint_hmac_secret = true;
    supports.list_pending_waitpoints = true;
    supports.stream_durable_summary = true;
    supports.stream_best_effort_live = true;
    supports.subscribe_lease_history = true;
    supports.subscribe_completion = true;
    supports.subscribe_signal_delivery = true;
    supports.subscribe_instance_tags = true;
    supports
};

#[observed]
#[async_trait]
impl<E: Executor> EngineBackend for E {
    async fn create_execution(
        &self,
        args: CreateExecutionArgs,
    ) -> Result<CreateExecutionResult, EngineError> {
        self.process_state().budgeted.note(args.policy.as_ref());
        run(self, &Create::new(args, &self.partitions())?).await
    }

    async fn create_executions(
        &self,
        batch: Vec<CreateExecutionArgs>,
    ) -> Vec<Result<CreateExecutionResult, EngineError>> {
        ff_telemetry::batch(BatchOf::Submission, batch.len());
        join_all(batch.into_iter().map(|args| self.create_execution(args))).await
    }

    async fn progress(
        &self,
        handle: &Handle,
        percent: Option<u8>,
        message: Option<String>,
    ) -> Result<(), EngineError> {
        let payload = handle::open(self.backend_name().tag, handle)?;
        if let Some(over) = percent.filter(|percent| 100 < *percent) {
            return Err(input::invalid(format!("percent: {over} is not in 0..=100")));
        }
        message.as_deref().map_or(Ok(()), |text| input::text("message", text))?;

        run(self, &Progress { fence: Fence::of_handle(&payload)?, percent, message }).await
    }

    async fn complete(&self, handle: &Handle, payload: Option<Vec<u8>>) -> Result<(), EngineError> {
        let fence = Fence::of_handle(&handle::open(self.backend_name().tag, handle)?)?;
        input::body("payload", payload.as_deref().unwrap_or_default())?;
        run(self, &Complete { fence, result: payload, at: None }).await.map(drop)
    }

    async fn fail(
        &self,
        handle: &Handle,
        reason: FailureReason,
        classification: FailureClass,
    ) -> Result<FailOutcome, EngineError> {
        let payload = handle::open(self.backend_name().tag, handle)?;
        let fence = Fence::of_handle(&payload)?;
        let failure = Failure::reported(classification, reason);
        let retry = RetryRule::by_class(classification, payload.retry.as_ref());

        Ok(match run(self, &Fail { fence, failure, retry }).await? {
            Failed::RetryScheduled { delay_until, .. } => {
                FailOutcome::RetryScheduled { delay_until }
            }
            Failed::TerminalFailed => FailOutcome::TerminalFailed,
        })
    }

    async fn cancel(&self, handle: &Handle, reason: &str) -> Result<(), EngineError> {
        let payload = handle::open(self.backend_name().tag, handle)?;
        let fence = Fence::of_handle(&payload)?;
        let (execution_id, reason) = (payload.execution_id, said(reason));
        run(self, &Cancel { fence, execution_id, reason }).await
    }

    async fn delay(&self, handle: &Handle, delay_until: TimestampMs) -> Result<(), EngineError> {
        let fence = Fence::of_handle(&handle::open(self.backend_name().tag, handle)?)?;
        run(self, &Delay { fence, until: delay_until }).await
    }

    async fn complete_execution(
        &self,
        args: CompleteExecutionArgs,
    ) -> Result<CompleteExecutionResult, EngineError> {
        let CompleteExecutionArgs { execution_id, fence, attempt_index, source, .. } = &args;
        let fence = Fence::of_args(execution_id, *attempt_index, fence.as_ref(), source)?;
        input::absent("result_encoding", args.result_encoding.as_ref())?;
        input::body("result_payload", args.result_payload.as_deref().unwrap_or_default())?;

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

        let policy = Fail::policy_of(&args.retry_policy_json)?;
        let unheard = &args.next_attempt_policy_json;
        Fail::no_policy_of_an_attempt("next_attempt_policy_json", unheard)?;
        let policy = policy.filter(|policy| policy.retries_category(&args.failure_category));
        let failure = Failure::of_category(&args.failure_category, args.failure_reason);
        let retry = RetryRule::Given(policy);
        Ok(match run(self, &Fail { fence, failure, retry }).await? {
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

    async fn resume_execution(
        &self,
        args: ResumeExecutionArgs,
    ) -> Result<ResumeExecutionResult, EngineError> {
        run(self, &Resume::new(&args)?).await
    }

    async fn claim_resumed_execution(
        &self,
        args: ClaimResumedExecutionArgs,
    ) -> Result<ClaimResumedExecutionResult, EngineError> {
        let id = args.execution_id.clone();
        let claim = ClaimResumed::new(self.backend_name().tag, args)?;
        claim_named(self, &id, |holdings| claim.clone().with_holdings(holdings)).await
    }

    async fn issue_grant_and_claim(
        &self,
        args: IssueGrantAndClaimArgs,
    ) -> Result<ClaimGrantOutcome, EngineError> {
        run(self, &ClaimByOperator::new(args)?).await
    }

    async fn scan_eligible_executions(
        &self,
        args: ScanEligibleArgs,
    ) -> Result<Vec<ExecutionId>, EngineError> {
        run(self, &Eligible::new(args)?).await
    }

    async fn issue_claim_grant(
        &self,
        args: IssueClaimGrantArgs,
    ) -> Result<IssueClaimGrantOutcome, EngineError> {
        let execution_id = args.execution_id.clone();
        let grant = IssueClaimGrant::new(args)?.with_room(room_of_grants(self).await?);
        run(self, &grant).await?;
        Ok(IssueClaimGrantOutcome::Granted { execution_id })
    }

    async fn claim_execution(
        &self,
        args: ClaimExecutionArgs,
    ) -> Result<ClaimExecutionResult, EngineError> {
        let id = args.execution_id.clone();
        let claim = RedeemClaim::new(self.backend_name().tag, args)?;
        claim_named(self, &id, |holdings| claim.clone().with_holdings(holdings)).await
    }

    async fn claim_for_worker(
        &self,
        args: ClaimForWorkerArgs,
    ) -> Result<ClaimForWorkerOutcome, EngineError> {
        grant_best(self, args).await
    }

    async fn block_route(&self, args: BlockRouteArgs) -> Result<BlockRouteOutcome, EngineError> {
        let execution_id = args.execution_id.clone();
        Ok(run(self, &Block::for_route(args)?).await?.of_route(execution_id))
    }

    async fn block_execution_for_admission(
        &self,
        args: BlockExecutionForAdmissionArgs,
    ) -> Result<BlockExecutionForAdmissionOutcome, EngineError> {
        let (execution_id, reason) = (args.execution_id.clone(), args.reason);
        let blocked = run(self, &Block::for_admission(args)?).await?;
        Ok(blocked.of_admission(execution_id, reason))
    }

    async fn issue_reclaim_grant(
        &self,
        args: IssueReclaimGrantArgs,
    ) -> Result<IssueReclaimGrantOutcome, EngineError> {
        let grant = IssueReclaimGrant::new(self.backend_name().tag, args)?;
        run(self, &grant.with_room(room_of_grants(self).await?)).await
    }

    async fn reclaim_execution(
        &self,
        args: ReclaimExecutionArgs,
    ) -> Result<ReclaimExecutionOutcome, EngineError> {
        let id = args.execution_id.clone();
        let claim = Reclaim::new(self.backend_name().tag, args)?;
        claim_named(self, &id, |holdings| claim.clone().with_holdings(holdings)).await
    }

    async fn claim_from_resume_grant(
        &self,
        token: ResumeToken,
    ) -> Result<Option<Handle>, EngineError> {
        let (id, lease_id) = (token.grant.execution_id.clone(), self.source().uuid());
        let claim = ClaimByGrant::new(self.backend_name().tag, token, lease_id)?;
        claim_named(self, &id, |holdings| claim.clone().with_holdings(holdings)).await
    }

    async fn suspend(
        &self,
        handle: &Handle,
        args: SuspendArgs,
    ) -> Result<SuspendOutcome, EngineError> {
        let tag = self.backend_name().tag;
        let payload = handle::open(tag, handle)?;
        let fence = Fence::of_handle(&payload)?;
        run(self, &Suspend::new(tag, fence, Some(payload), args)?).await
    }

    async fn suspend_by_triple(
        &self,
        exec_id: ExecutionId,
        triple: LeaseFence,
        args: SuspendArgs,
    ) -> Result<SuspendOutcome, EngineError> {
        let index = run(self, &read::attempt_in_hand(&exec_id)?).await?;
        let holder = CancelSource::LeaseHolder;
        let fence = Fence::of_args(&exec_id, index, Some(&triple), &holder)?;
        run(self, &Suspend::new(self.backend_name().tag, fence, None, args)?).await
    }

    async fn create_waitpoint(
        &self,
        handle: &Handle,
        waitpoint_key: &str,
        expires_in: Duration,
    ) -> Result<PendingWaitpoint, EngineError> {
        let payload = handle::open(self.backend_name().tag, handle)?;
        run(self, &CreateWaitpoint::new(&payload, waitpoint_key, expires_in)?).await
    }

    async fn read_waitpoint_token(
        &self,
        partition: PartitionKey,
        waitpoint_id: &WaitpointId,
    ) -> Result<Option<String>, EngineError> {
        run(self, &Token::of(&partition, waitpoint_id)?).await
    }

    async fn observe_signals(&self, handle: &Handle) -> Result<Vec<ResumeSignal>, EngineError> {
        let payload = handle::open(self.backend_name().tag, handle)?;
        run(self, &Signals { key: ExecutionKey::of(&payload.execution_id)? }).await
    }

    async fn deliver_signal(
        &self,
        args: DeliverSignalArgs,
    ) -> Result<DeliverSignalResult, EngineError> {
        input::absent("payload_encoding", args.payload_encoding.as_ref())?;
        run(self, &Deliver::new(args)?).await
    }

    async fn deliver_approval_signal(
        &self,
        args: DeliverApprovalSignalArgs,
    ) -> Result<DeliverSignalResult, EngineError> {
        match run(self, &Approve::new(args)?).await? {
            Approval::Deliver(args) => self.deliver_signal(*args).await,
            Approval::Repeated(existing_signal_id) => {
                Ok(DeliverSignalResult::Duplicate { existing_signal_id })
            }
        }
    }

    async fn list_pending_waitpoints(
        &self,
        args: ListPendingWaitpointsArgs,
    ) -> Result<ListPendingWaitpointsResult, EngineError> {
        run(self, &Waitpoints::of(&args)?).await
    }

    async fn list_suspended(
        &self,
        partition: PartitionKey,
        cursor: Option<ExecutionId>,
        limit: usize,
    ) -> Result<ListSuspendedPage, EngineError> {
        run(self, &Suspended::of(&partition, cursor, limit)?).await
    }

    async fn close_waitpoint(
        &self,
        partition: Partition,
        execution_id: &ExecutionId,
        waitpoint_id: &str,
        now_ms: TimestampMs,
    ) -> Result<(), EngineError> {
        input::same_partition("close_waitpoint", &partition, execution_id)?;
        let id = WaitpointId::parse(waitpoint_id)
            .map_err(|error| input::invalid(format!("waitpoint_id not a UUID: {error}")))?;

        let execution = ExecutionKey::of(execution_id)?;
        run(self, &CloseWaitpoint { execution, id, at: Some(now_ms) }).await.map(drop)
    }

    async fn expire_suspension(
        &self,
        partition: Partition,
        execution_id: &ExecutionId,
        now_ms: TimestampMs,
    ) -> Result<(), EngineError> {
        input::same_partition("expire_suspension", &partition, execution_id)?;
        let (key, at) = (ExecutionKey::of(execution_id)?, Some(now_ms));
        run(self, &ExpireSuspension { key, at }).await.map(drop)
    }

    async fn seed_waitpoint_hmac_secret(
        &self,
        args: SeedWaitpointHmacSecretArgs,
    ) -> Result<SeedOutcome, EngineError> {
        run(self, &Seed::new(args)?).await
    }

    async fn rotate_waitpoint_hmac_secret_all(
        &self,
        args: RotateWaitpointHmacSecretAllArgs,
    ) -> Result<RotateWaitpointHmacSecretAllResult, EngineError> {
        run(self, &Rotate::new(args)?).await
    }

    async fn revoke_lease(&self, args: RevokeLeaseArgs) -> Result<RevokeLeaseResult, EngineError> {
        run(self, &RevokeLease::new(self.backend_name().tag, args)?).await
    }

    async fn replay_execution(
        &self,
        args: ReplayExecutionArgs,
    ) -> Result<ReplayExecutionResult, EngineError> {
        run(self, &Replay::new(&args)?).await
    }

    async fn run_bulk(&self, args: BulkArgs) -> Result<BulkReport, EngineError> {
        bulk::apply(self, &args).await
    }

    async fn preview_bulk(&self, args: BulkArgs) -> Result<BulkPreview, EngineError> {
        bulk::preview(self, &args).await
    }

    async fn create_flow(&self, args: CreateFlowArgs) -> Result<CreateFlowResult, EngineError> {
        run(self, &CreateFlow::new(args, &self.partitions())?).await
    }

    async fn add_execution_to_flow(
        &self,
        args: AddExecutionToFlowArgs,
    ) -> Result<AddExecutionToFlowResult, EngineError> {
        run(self, &AddExecution::new(args, &self.partitions())?).await
    }

    async fn create_flow_members(
        &self,
        flow_id: &FlowId,
        batch: Vec<CreateExecutionArgs>,
    ) -> Vec<Result<CreateExecutionResult, EngineError>> {
        ff_telemetry::batch(BatchOf::Submission, batch.len());
        let partitions = self.partitions();
        let each = batch.into_iter().map(|args| async move {
            self.process_state().budgeted.note(args.policy.as_ref());
            run(self, &CreateMember::new(flow_id, args, &partitions)?).await
        });
        join_all(each).await
    }

    async fn release_flow(&self, flow_id: &FlowId, now: TimestampMs) -> Result<u32, EngineError> {
        let places = Places::of(flow_id, &self.partitions())?;
        let due = run(self, &Release::due(places, now)).await?;
        let delayed = run(self, &Release::delayed(places, now)).await?;
        Ok(due.saturating_add(delayed))
    }

    async fn stage_dependency_edge(
        &self,
        args: StageDependencyEdgeArgs,
    ) -> Result<StageDependencyEdgeResult, EngineError> {
        run(self, &Stage::new(args, &self.partitions())?).await
    }

    async fn apply_dependency_to_child(
        &self,
        args: ApplyDependencyToChildArgs,
    ) -> Result<ApplyDependencyToChildResult, EngineError> {
        run(self, &Apply::new(&args, &self.partitions())?).await
    }

    async fn set_edge_group_policy(
        &self,
        flow_id: &FlowId,
        downstream_execution_id: &ExecutionId,
        policy: EdgeDependencyPolicy,
    ) -> Result<SetEdgeGroupPolicyResult, EngineError> {
        let partitions = self.partitions();
        run(self, &SetPolicy::new(flow_id, downstream_execution_id, policy, &partitions)?).await
    }

    async fn evaluate_flow_eligibility(
        &self,
        args: EvaluateFlowEligibilityArgs,
    ) -> Result<EvaluateFlowEligibilityResult, EngineError> {
        run(self, &Evaluate::of(&args.execution_id)?).await
    }

    async fn resolve_dependency(
        &self,
        args: ResolveDependencyArgs,
    ) -> Result<ResolveDependencyOutcome, EngineError> {
        let by_hand = ByHand::new(&args)?;
        by_hand.outcome(run(self, &by_hand.hop).await?)
    }

    async fn cascade_completion(
        &self,
        payload: &CompletionPayload,
    ) -> Result<CascadeOutcome, EngineError> {
        let event = run(self, &FindEvent::of(payload)?).await?;
        let edges = match event {
            Some(event) => {
                let check_flow = cascade::end_flow_if_over(self, &event);
                cascade::dispatch(self, event, check_flow).await?
            }
            None => None,
        };
        Ok(CascadeOutcome::async_dispatched(edges.unwrap_or(0)))
    }

    // The wait is over at once: one plan cancels the flow and its members.
    async fn cancel_flow(
        &self,
        id: &FlowId,
        policy: CancelFlowPolicy,
        _wait: CancelFlowWait,
    ) -> Result<CancelFlowResult, EngineError> {
        run(self, &CancelFlow::new(id, policy, &self.partitions())?).await
    }

    async fn cancel_flow_header(
        &self,
        args: CancelFlowArgs,
    ) -> Result<CancelFlowHeader, EngineError> {
        run(self, &CancelHeader::new(args, &self.partitions())?).await
    }

    async fn ack_cancel_member(
        &self,
        flow_id: &FlowId,
        execution_id: &ExecutionId,
    ) -> Result<(), EngineError> {
        run(self, &AckMember::new(flow_id, execution_id)?).await
    }

    async fn describe_flow(&self, id: &FlowId) -> Result<Option<FlowSnapshot>, EngineError> {
        run(self, &Describe::of(id, &self.partitions())?).await
    }

    async fn read_flow_graph(&self, id: &FlowId) -> Result<Option<FlowGraph>, EngineError> {
        run(self, &Graph::of(id, &self.partitions())?).await
    }

    async fn set_flow_tag(
        &self,
        flow_id: &FlowId,
        key: &str,
        value: &str,
    ) -> Result<(), EngineError> {
        run(self, &SetFlowTag::new(flow_id, key, value, &self.partitions())?).await
    }

    async fn get_flow_tag(
        &self,
        flow_id: &FlowId,
        key: &str,
    ) -> Result<Option<String>, EngineError> {
        run(self, &FlowTag::new(flow_id, key, &self.partitions())?).await
    }

    async fn list_edges(
        &self,
        flow_id: &FlowId,
        direction: EdgeDirection,
    ) -> Result<Vec<EdgeSnapshot>, EngineError> {
        run(self, &Edges::of(flow_id, direction)?).await
    }

    async fn describe_edge(
        &self,
        flow_id: &FlowId,
        edge_id: &EdgeId,
    ) -> Result<Option<EdgeSnapshot>, EngineError> {
        run(self, &Edge::of(flow_id, edge_id, &self.partitions())?).await
    }

    async fn list_flows(
        &self,
        partition: PartitionKey,
        cursor: Option<FlowId>,
        limit: usize,
    ) -> Result<ListFlowsPage, EngineError> {
        run(self, &flow::listing::flows(&partition, cursor.as_ref(), limit)?).await
    }

    async fn list_flows_by(&self, query: FlowQuery) -> Result<FlowQueryPage, EngineError> {
        run(self, &flow::listing::matching(&query)?).await
    }

    async fn wait_children(&self, handle: &Handle) -> Result<(), EngineError> {
        let fence = Fence::of_handle(&handle::open(self.backend_name().tag, handle)?)?;
        run(self, &WaitChildren { fence }).await
    }

    async fn wait_for_child(
        &self,
        handle: &Handle,
        child: &ExecutionId,
    ) -> Result<ChildWait, EngineError> {
        let fence = Fence::of_handle(&handle::open(self.backend_name().tag, handle)?)?;
        children::wait_for_child(self, fence, child).await
    }

    async fn unblock_execution(
        &self,
        partition: Partition,
        lane_id: &LaneId,
        execution_id: &ExecutionId,
        expected_blocking_reason: &str,
        now_ms: TimestampMs,
    ) -> Result<(), EngineError> {
        input::same_partition("unblock_execution", &partition, execution_id)?;
        input::lane(lane_id)?;
        let unblock = Unblock::new(execution_id, expected_blocking_reason, now_ms)?;
        run(self, &unblock).await.map(drop)
    }

    async fn drain_sibling_cancel_group(
        &self,
        flow_partition: Partition,
        flow_id: &FlowId,
        downstream_eid: &ExecutionId,
    ) -> Result<(), EngineError> {
        let key = GroupKey::of(flow_partition, flow_id, downstream_eid)?;
        run(self, &Drain { key }).await.map(drop)
    }

    async fn reconcile_sibling_cancel_group(
        &self,
        flow_partition: Partition,
        flow_id: &FlowId,
        downstream_eid: &ExecutionId,
    ) -> Result<SiblingCancelReconcileAction, EngineError> {
        let key = GroupKey::of(flow_partition, flow_id, downstream_eid)?;
        run(self, &Reconcile { key }).await
    }

    async fn project_flow_summary(
        &self,
        partition: Partition,
        flow_id: &FlowId,
        now_ms: TimestampMs,
    ) -> Result<bool, EngineError> {
        run(self, &Summarise::new(partition, flow_id, now_ms)?).await
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
        // A claim answers at once, so it can only be asked not to wait.
        input::absent("max_wait", policy.max_wait.filter(|wait| !wait.is_zero()).as_ref())?;
        let scope = policy.scope.clone().within(&self.partitions())?;
        let policy = policy.in_scope(scope);
        let claim = Claim::new(self.backend_name().tag, lane, capabilities, policy, limit)?;
        let handles = claim_with_room(self, claim).await?;
        if !handles.is_empty() {
            ff_telemetry::batch(BatchOf::Claim, handles.len());
        }
        Ok(handles)
    }

    async fn renew(&self, handle: &Handle) -> Result<LeaseRenewal, EngineError> {
        let payload = handle::open(self.backend_name().tag, handle)?;
        let ttl_ms = input::positive_ms("lease_ttl_ms", payload.lease_ttl_ms)?;
        let expires = run(self, &Renew { fence: Fence::of_handle(&payload)?, ttl_ms }).await?;
        Ok(LeaseRenewal::new(expires.0.unsigned_abs(), payload.lease_epoch.0))
    }

    async fn renew_lease(&self, args: RenewLeaseArgs) -> Result<RenewLeaseResult, EngineError> {
        // A renewal has no override: without a fence there is no lease to renew.
        let holder = CancelSource::LeaseHolder;
        let RenewLeaseArgs { execution_id, attempt_index, fence, .. } = &args;
        let fence = Fence::of_args(execution_id, *attempt_index, fence.as_ref(), &holder)?;
        let ttl_ms = input::positive_ms("lease_ttl_ms", args.lease_ttl_ms)?;
        let expires_at = run(self, &Renew { fence, ttl_ms }).await?;
        Ok(RenewLeaseResult::Renewed { expires_at })
    }

    async fn report_usage(
        &self,
        handle: &Handle,
        budget: &BudgetId,
        dimensions: UsageDimensions,
    ) -> Result<ReportUsageResult, EngineError> {
        // The execution need not exist, and a handle that names none reports all the same.
        let tag = self.backend_name().tag;
        handle::of_backend(tag, handle)?;
        let payload = handle::open(tag, handle).ok();
        let fence = payload.as_ref().and_then(|payload| Fence::of_handle(payload).ok());

        let report = Report::of_worker(budget, dimensions, &self.partitions())?;
        let report = report.made_by(payload.as_ref().map(|payload| &payload.execution_id));
        over_run::report(self, &report, fence, payload).await
    }

    async fn report_usage_admin(
        &self,
        budget: &BudgetId,
        args: ReportUsageAdminArgs,
    ) -> Result<ReportUsageResult, EngineError> {
        let report = Report::of_operator(budget, args, &self.partitions())?;
        over_run::report(self, &report, None, None).await
    }

    async fn record_spend(&self, args: RecordSpendArgs) -> Result<ReportUsageResult, EngineError> {
        let (id, holder) = (args.execution_id.clone(), CancelSource::OperatorOverride);
        let fence = Fence::of_args(&id, AttemptIndex(0), None, &holder)?;
        let report = Report::of_execution(args, &self.partitions())?;
        over_run::report(self, &report, Some(fence), None).await
    }

    async fn release_budget(&self, args: ReleaseBudgetArgs) -> Result<(), EngineError> {
        run(self, &ReleaseBudget::new(&args, &self.partitions())?).await
    }

    async fn create_budget(
        &self,
        args: CreateBudgetArgs,
    ) -> Result<CreateBudgetResult, EngineError> {
        run(self, &CreateBudget::new(args, &self.partitions())?).await
    }

    async fn reset_budget(&self, args: ResetBudgetArgs) -> Result<ResetBudgetResult, EngineError> {
        run(self, &ResetBudget::new(&args, &self.partitions())?).await
    }

    async fn get_budget_status(&self, id: &BudgetId) -> Result<BudgetStatus, EngineError> {
        run(self, &ReadStatus::of(id, &self.partitions())?).await
    }

    async fn read_budget_usage_and_limits(
        &self,
        budget_id: &BudgetId,
    ) -> Result<BudgetUsageAndLimits, EngineError> {
        run(self, &ReadUsage::of(budget_id, &self.partitions())?).await
    }

    async fn list_budgets(
        &self,
        cursor: Option<BudgetId>,
        limit: usize,
    ) -> Result<BudgetsPage, EngineError> {
        run(self, &budgets(cursor.as_ref(), limit)).await
    }

    async fn reconcile_budget_counters(
        &self,
        partition: Partition,
        _now_ms: TimestampMs,
    ) -> Result<ReconcileCounts, EngineError> {
        timers::scan_partition(self, Scan::BudgetReconcile, partition).await
    }

    async fn create_quota_policy(
        &self,
        args: CreateQuotaPolicyArgs,
    ) -> Result<CreateQuotaPolicyResult, EngineError> {
        run(self, &CreatePolicy::new(args, &self.partitions())?).await
    }

    async fn read_quota_policy_limits(
        &self,
        quota_policy_id: &QuotaPolicyId,
    ) -> Result<Option<QuotaPolicyLimits>, EngineError> {
        run(self, &ReadLimits::of(quota_policy_id, &self.partitions())?).await
    }

    async fn check_admission(
        &self,
        quota_policy_id: &QuotaPolicyId,
        dimension: &str,
        args: CheckAdmissionArgs,
    ) -> Result<CheckAdmissionResult, EngineError> {
        let partitions = self.partitions();
        let check = CheckAdmission::new(quota_policy_id, dimension, &args, &partitions)?;
        admission::check(self, &check).await
    }

    async fn release_admission(
        &self,
        args: ReleaseAdmissionArgs,
    ) -> Result<ReleaseAdmissionResult, EngineError> {
        run(self, &ReleaseAdmission::new(&args, &self.partitions())?).await?;
        Ok(ReleaseAdmissionResult::Released)
    }

    async fn reconcile_quota_counters(
        &self,
        partition: Partition,
        _now_ms: TimestampMs,
    ) -> Result<ReconcileCounts, EngineError> {
        timers::scan_partition(self, Scan::QuotaReconcile, partition).await
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
        run(self, &ListLanes::new(cursor.as_ref(), limit)?).await
    }

    async fn register_worker(
        &self,
        args: RegisterWorkerArgs,
    ) -> Result<RegisterWorkerOutcome, EngineError> {
        run(self, &Register::new(args)?).await
    }

    async fn heartbeat_worker(
        &self,
        args: HeartbeatWorkerArgs,
    ) -> Result<HeartbeatWorkerOutcome, EngineError> {
        run(self, &Heartbeat::new(&args)?).await
    }

    async fn mark_worker_dead(
        &self,
        args: MarkWorkerDeadArgs,
    ) -> Result<MarkWorkerDeadOutcome, EngineError> {
        let at = self.now();
        let mark = MarkDead::new(args)?;
        let outcome = run(self, &mark).await?;
        if outcome == MarkWorkerDeadOutcome::Marked {
            let worker = LostWorker::Dead(mark.key().clone(), at);
            lost_workers::lapse_leases(self, &worker).await?;
        }
        Ok(outcome)
    }

    async fn list_workers(&self, args: ListWorkersArgs) -> Result<ListWorkersResult, EngineError> {
        run(self, &worker::listing::workers(&args)?).await
    }

    async fn list_leases(&self, args: ListLeasesArgs) -> Result<LeasesPage, EngineError> {
        run(self, &worker::listing::leases(&args)?).await
    }

    async fn set_limit(&self, args: SetLimitArgs) -> Result<(), EngineError> {
        let set = run(self, &SetLimit::new(args, &self.partitions())?).await;
        self.process_state().limits.forget();
        set
    }

    async fn remove_limit(&self, limit_key: &str) -> Result<bool, EngineError> {
        let removed = run(self, &RemoveLimit::new(limit_key, &self.partitions())?).await;
        self.process_state().limits.forget();
        removed
    }

    async fn read_limit(&self, limit_key: &str) -> Result<Option<LimitStatus>, EngineError> {
        run(self, &ReadLimit::new(limit_key, &self.partitions())?).await
    }

    async fn list_limits(
        &self,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<ListLimitsPage, EngineError> {
        run(self, &ListLimits::new(cursor.as_deref(), limit)?).await
    }

    async fn set_fairness_weight(&self, args: SetFairnessWeightArgs) -> Result<(), EngineError> {
        let lane = args.lane_id.clone();
        let set = run(self, &SetFairnessWeight::new(args)?).await;
        self.process_state().lanes.forget(&lane);
        set
    }

    async fn remove_fairness_weight(
        &self,
        lane: &LaneId,
        fairness_key: &str,
    ) -> Result<bool, EngineError> {
        let removed = run(self, &RemoveFairnessWeight::new(lane, fairness_key)?).await;
        self.process_state().lanes.forget(lane);
        removed
    }

    async fn list_fairness_weights(
        &self,
        lane: &LaneId,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<ListFairnessWeightsPage, EngineError> {
        run(self, &ListFairnessWeights::new(lane, cursor.as_deref(), limit)?).await
    }

    async fn set_lane_state(&self, args: SetLaneStateArgs) -> Result<(), EngineError> {
        run(self, &SetLaneState::new(args)?).await
    }

    async fn read_lane(&self, lane: &LaneId) -> Result<Option<LaneInfo>, EngineError> {
        run(self, &ReadLane::new(lane)?).await
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
        run(self, &Newest::new(&query, &self.partitions())?).await
    }

    async fn explain_execution(
        &self,
        args: ExplainExecutionArgs,
    ) -> Result<Explanation, EngineError> {
        run(self, &Explain::new(args)?).await
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

    async fn record_step(
        &self,
        handle: &Handle,
        step: NewStep,
    ) -> Result<RecordStepOutcome, EngineError> {
        let fence = Fence::of_handle(&handle::open(self.backend_name().tag, handle)?)?;
        run(self, &RecordStep::new(fence, step)?).await
    }

    async fn list_steps(
        &self,
        execution_id: &ExecutionId,
        after: Option<u32>,
        limit: u32,
    ) -> Result<Vec<StepRecord>, EngineError> {
        run(self, &ReadSteps::after(execution_id, after, limit)?).await
    }

    async fn fork_execution(
        &self,
        args: ForkExecutionArgs,
    ) -> Result<ForkExecutionResult, EngineError> {
        steps::fork(self, &args).await
    }

    async fn append_frame(
        &self,
        handle: &Handle,
        frame: Frame,
    ) -> Result<AppendFrameOutcome, EngineError> {
        let payload = handle::open(self.backend_name().tag, handle)?;
        frames::append(self, &payload, &frame).await
    }

    async fn read_stream(
        &self,
        execution_id: &ExecutionId,
        attempt_index: AttemptIndex,
        from: StreamCursor,
        to: StreamCursor,
        count_limit: u64,
    ) -> Result<StreamFrames, EngineError> {
        let read = ReadFrames::between(execution_id, attempt_index, &from, &to, count_limit)?;
        run(self, &read).await
    }

    async fn tail_stream(
        &self,
        execution_id: &ExecutionId,
        attempt_index: AttemptIndex,
        after: StreamCursor,
        block_ms: u64,
        count_limit: u64,
        visibility: TailVisibility,
    ) -> Result<StreamFrames, EngineError> {
        let read = ReadFrames::after(execution_id, attempt_index, &after, count_limit, visibility)?;
        frames::tail(self, &read, block_ms).await
    }

    async fn read_summary(
        &self,
        execution_id: &ExecutionId,
        attempt_index: AttemptIndex,
    ) -> Result<Option<SummaryDocument>, EngineError> {
        run(self, &ReadSummary::of(execution_id, attempt_index)?).await
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
        let key = ExecutionKey::of(execution_id)?;
        run(self, &ExpireLease { key, expected: None }).await.map(drop)
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

    async fn create_schedule(
        &self,
        args: CreateScheduleArgs,
    ) -> Result<CreateScheduleResult, EngineError> {
        run(self, &CreateSchedule::new(args, &self.partitions())?).await
    }

    async fn update_schedule(&self, args: UpdateScheduleArgs) -> Result<ScheduleInfo, EngineError> {
        run(self, &UpdateSchedule::new(args, &self.partitions())?).await
    }

    async fn pause_schedule(&self, args: PauseScheduleArgs) -> Result<ScheduleInfo, EngineError> {
        run(self, &PauseSchedule::new(args, &self.partitions())?).await
    }

    async fn resume_schedule(&self, id: &ScheduleId) -> Result<ScheduleInfo, EngineError> {
        run(self, &ResumeSchedule::new(id, &self.partitions())?).await
    }

    async fn delete_schedule(&self, id: &ScheduleId) -> Result<bool, EngineError> {
        run(self, &DeleteSchedule::new(id, &self.partitions())?).await
    }

    async fn get_schedule(&self, id: &ScheduleId) -> Result<Option<ScheduleInfo>, EngineError> {
        run(self, &ReadSchedule::new(id, &self.partitions())?).await
    }

    async fn list_schedules(&self, args: ListSchedulesArgs) -> Result<SchedulesPage, EngineError> {
        run(self, &read_schedules::schedules(&args)?).await
    }

    async fn backfill_schedule(
        &self,
        args: BackfillScheduleArgs,
    ) -> Result<BackfillReport, EngineError> {
        schedules::backfill(self, args).await
    }

    async fn stats(&self, args: StatsArgs) -> Result<Stats, EngineError> {
        run(self, &ReadStats::new(args)?).await
    }

    async fn scan_filtered(
        &self,
        scan: Scan,
        limit: u32,
        filter: &ScannerFilter,
    ) -> Result<ReconcileCounts, EngineError> {
        let scope = ScanScope { filter: filter.clone(), ..ScanScope::default() };
        timers::scan_within(self, scan, limit, &scope).await
    }

    async fn reconcile_execution_index(
        &self,
        partition: Partition,
        lanes: &[LaneId],
        filter: &ScannerFilter,
    ) -> Result<ReconcileCounts, EngineError> {
        let first = FindDrift::new(partition.index, lanes, filter)?;
        reconcile::executions(self, first).await
    }

    async fn trim_retention(
        &self,
        partition: Partition,
        lane_id: &LaneId,
        retention_ms: u64,
        now_ms: TimestampMs,
        batch_size: u32,
        filter: &ScannerFilter,
    ) -> Result<u32, EngineError> {
        let partition = input::partition(partition.index)?;
        let rule = RetentionRule::older_than(retention_ms)
            .in_lane(lane_id.clone())
            .passing(filter.clone());
        retention::trim_partition(self, partition, rule, now_ms, batch_size).await
    }

    async fn trim_step(&self, pass: TrimPass) -> Result<TrimPass, EngineError> {
        retention::step(self, pass).await
    }

    async fn store_subscriber_cursor(
        &self,
        name: &str,
        outbox: OutboxKind,
        event_id: i64,
    ) -> Result<(), EngineError> {
        run(self, &subscriber::Store::new(name, outbox, event_id)?).await
    }

    async fn store_archive_position(
        &self,
        name: &str,
        event_id: i64,
        note: &str,
    ) -> Result<(), EngineError> {
        let store = subscriber::Store::new(name, OutboxKind::Completion, event_id)?;
        run(self, &store.noting(note)?).await
    }

    async fn archive_step(&self, pass: ArchivePass) -> Result<ArchiveStep, EngineError> {
        archive::step(self, pass).await
    }

    async fn begin_import(&self, file: &CheckedFile) -> Result<ImportRun, EngineError> {
        archive::begin_import(self, file).await
    }

    async fn import_record(
        &self,
        import: &ImportRun,
        record: &Record,
    ) -> Result<Imported, EngineError> {
        run(self, &ImportRecord::new(record, import, self.partitions())?).await
    }

    async fn drop_subscriber(&self, name: &str) -> Result<u32, EngineError> {
        run(self, &subscriber::Drop::new(name)?).await
    }

    async fn list_subscriber_cursors(&self) -> Result<Vec<SubscriberCursor>, EngineError> {
        run(self, &subscriber::ListCursors).await
    }

    async fn subscribe_lease_history(
        &self,
        cursor: EventCursor,
        filter: &ScannerFilter,
    ) -> Result<LeaseHistorySubscription, EngineError> {
        subscribe(self, &cursor, filter).await
    }

    async fn subscribe_completion(
        &self,
        cursor: EventCursor,
        filter: &ScannerFilter,
    ) -> Result<CompletionSubscription, EngineError> {
        subscribe(self, &cursor, filter).await
    }

    async fn subscribe_signal_delivery(
        &self,
        cursor: EventCursor,
        filter: &ScannerFilter,
    ) -> Result<SignalDeliverySubscription, EngineError> {
        subscribe(self, &cursor, filter).await
    }

    async fn subscribe_operator_events(
        &self,
        cursor: EventCursor,
        filter: &ScannerFilter,
    ) -> Result<OperatorEventSubscription, EngineError> {
        subscribe(self, &cursor, filter).await
    }

    async fn subscribe_instance_tags(
        &self,
        cursor: EventCursor,
    ) -> Result<InstanceTagSubscription, EngineError> {
        subscribe(self, &cursor, &ScannerFilter::NOOP).await
    }

    async fn has_claimable(
        &self,
        lane: &LaneId,
        capabilities: &CapabilitySet,
    ) -> Result<bool, EngineError> {
        has_claimable(self, lane, capabilities).await
    }

    fn listen(&self, topic: Topic) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let rung = self.bell().listen(topic);
        // After beginning to listen: see there.
        self.ring_for_other_processes();
        Box::pin(rung)
    }

    async fn server_time_ms(&self) -> Result<u64, EngineError> {
        Ok(self.now().0.unsigned_abs())
    }

    async fn ping(&self) -> Result<(), EngineError> {
        self.ping_database().await
    }

    fn backend_label(&self) -> &'static str {
        self.backend_name().family
    }

    async fn database_report(&self) -> Result<DatabaseReport, EngineError> {
        self.inspect_database().await
    }

    fn traffic(&self) -> Traffic {
        self.commands_sent()
    }

    fn as_any(&self) -> &(dyn Any + 'static) {
        self
    }

    fn capabilities(&self) -> Capabilities {
        let identity = BackendIdentity::new(self.backend_name().family, version(), "E-shipped");
        Capabilities::new(identity, SUPPORTS)
    }

    async fn prepare(&self) -> Result<PrepareOutcome, EngineError> {
        self.prepare_database().await
    }

    async fn shutdown_prepare(&self, grace: Duration) -> Result<(), EngineError> {
        self.close_within(grace).await
    }
}

/// This crate's version.
fn version() -> Version {
    let mut numbers = env!("CARGO_PKG_VERSION").split('.').map(|part| part.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    Version::new(next(), next(), next())
}
