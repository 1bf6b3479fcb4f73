//! The interface of a backend: the only one between the engine and its callers.

use std::any::Any;
use std::collections::HashMap;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use futures_core::Stream;

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
    CompleteExecutionResult, CompletionEvent, CompletionPayload, CreateBudgetArgs,
    CreateBudgetResult, CreateExecutionArgs, CreateExecutionResult, CreateFlowArgs,
    CreateFlowResult, CreateQuotaPolicyArgs, CreateQuotaPolicyResult, CreateScheduleArgs,
    CreateScheduleResult, DeliverApprovalSignalArgs, DeliverSignalArgs, DeliverSignalResult,
    EdgeDependencyPolicy, EdgeDirection, EdgeSnapshot, EvaluateFlowEligibilityArgs,
    EvaluateFlowEligibilityResult, ExecutionContext, ExecutionInfo, ExecutionQuery,
    ExecutionQueryPage, ExecutionSnapshot, ExecutionTimeline, ExpirePhase, ExplainExecutionArgs,
    Explanation, FailExecutionArgs, FailExecutionResult, FailOutcome, FailureReason, FlowGraph,
    FlowQuery, FlowQueryPage, FlowSnapshot, ForkExecutionArgs, ForkExecutionResult, Frame,
    HeartbeatWorkerArgs, HeartbeatWorkerOutcome, ImportRun, Imported, InstanceTagEvent,
    IssueClaimGrantArgs, IssueClaimGrantOutcome, IssueGrantAndClaimArgs, IssueReclaimGrantArgs,
    IssueReclaimGrantOutcome, LaneInfo, LeaseHistoryEvent, LeaseRenewal, LeasesPage, LimitStatus,
    ListExecutionsPage, ListExpiredLeasesArgs, ListExpiredLeasesResult, ListFairnessWeightsPage,
    ListFlowsPage, ListLanesPage, ListLeasesArgs, ListLimitsPage, ListPendingWaitpointsArgs,
    ListPendingWaitpointsResult, ListSchedulesArgs, ListSuspendedPage, ListWorkersArgs,
    ListWorkersResult, MarkWorkerDeadArgs, MarkWorkerDeadOutcome, NewStep, OperatorEvent,
    PauseScheduleArgs, PendingWaitpoint, PrepareOutcome, QuotaPolicyLimits, ReclaimExecutionArgs,
    ReclaimExecutionOutcome, ReconcileCounts, RecordSpendArgs, RecordStepOutcome,
    RegisterWorkerArgs, RegisterWorkerOutcome, ReleaseAdmissionArgs, ReleaseAdmissionResult,
    ReleaseBudgetArgs, RenewLeaseArgs, RenewLeaseResult, ReplayExecutionArgs,
    ReplayExecutionResult, ReportUsageAdminArgs, ReportUsageResult, ResetBudgetArgs,
    ResetBudgetResult, ResolveDependencyArgs, ResolveDependencyOutcome, ResumeExecutionArgs,
    ResumeExecutionResult, ResumeSignal, ResumeToken, RevokeLeaseArgs, RevokeLeaseResult,
    RotateWaitpointHmacSecretAllArgs, RotateWaitpointHmacSecretAllResult, Scan, ScanEligibleArgs,
    ScannerFilter, ScheduleId, ScheduleInfo, SchedulesPage, SeedOutcome,
    SeedWaitpointHmacSecretArgs, SetEdgeGroupPolicyResult, SetFairnessWeightArgs, SetLaneStateArgs,
    SetLimitArgs, SiblingCancelReconcileAction, SignalDeliveryEvent, StageDependencyEdgeArgs,
    StageDependencyEdgeResult, Stats, StatsArgs, StepRecord, StreamCursor, StreamFrames,
    SubscriberCursor, SummaryDocument, SuspendArgs, SuspendOutcome, TailVisibility, TrimPass,
    UpdateScheduleArgs, UsageDimensions,
};
use crate::engine::{BulkPreview, DatabaseReport, Topic, Traffic};
use crate::model::cursor::StreamCursor as EventCursor;
use crate::model::error::EngineError;
use crate::model::handle::Handle;
use crate::model::ids::{
    AttemptIndex, BudgetId, EdgeId, ExecutionId, FlowId, LaneId, LeaseFence, QuotaPolicyId,
    TimestampMs, WaitpointId,
};
use crate::model::partition::{Partition, PartitionKey};
use crate::model::state::{FailureClass, OutboxKind, PublicState};
use crate::rules::archive::check::CheckedFile;
use crate::rules::archive::record::Record;

/// The answer of an operation that the backend does not offer.
macro_rules! unavailable {
    ($op:literal) => {
        Err(EngineError::Unavailable { op: $op })
    };
}

/// Every operation on executions, flows, budgets and all that belongs to them.
///
/// An operation that a backend does not override answers [`EngineError::Unavailable`] with the
/// operation's name, unless its description says otherwise.
// The default bodies ignore their arguments.
#[allow(unused_variables)]
#[async_trait]
pub trait EngineBackend: Send + Sync + 'static {
    // Executions.

    /// Records a new execution and its lane. Repeating the call with the same id changes nothing.
    async fn create_execution(
        &self,
        args: CreateExecutionArgs,
    ) -> Result<CreateExecutionResult, EngineError> {
        unavailable!("create_execution")
    }

    /// Overwrites the progress that the holder last reported; a `None` leaves that part alone.
    async fn progress(
        &self,
        handle: &Handle,
        percent: Option<u8>,
        message: Option<String>,
    ) -> Result<(), EngineError> {
        unavailable!("progress")
    }

    /// Completes the execution, storing a result if there is one.
    async fn complete(&self, handle: &Handle, payload: Option<Vec<u8>>) -> Result<(), EngineError> {
        unavailable!("complete")
    }

    /// Fails the attempt; its classification decides whether another one follows.
    async fn fail(
        &self,
        handle: &Handle,
        reason: FailureReason,
        classification: FailureClass,
    ) -> Result<FailOutcome, EngineError> {
        unavailable!("fail")
    }

    /// Cancels the execution that the handle's lease is for.
    async fn cancel(&self, handle: &Handle, reason: &str) -> Result<(), EngineError> {
        unavailable!("cancel")
    }

    /// Releases the lease and delays the execution until `delay_until`.
    async fn delay(&self, handle: &Handle, delay_until: TimestampMs) -> Result<(), EngineError> {
        unavailable!("delay")
    }

    /// Releases the lease; the execution waits until its dependencies are resolved.
    async fn wait_children(&self, handle: &Handle) -> Result<(), EngineError> {
        unavailable!("wait_children")
    }

    /// Releases the lease; the execution waits until another one on its partition has ended, in
    /// whichever way. Both become members of a flow, unless that one is a member of one already.
    /// `Conflict(CycleDetected)` refuses a wait for an execution that waits for this one, itself or
    /// through others. A dependency counts once it is applied. `Validation(InvalidInput)`,
    /// `waits_too_deep`, refuses a wait that more than 100 flows would have to be searched for.
    async fn wait_for_child(
        &self,
        handle: &Handle,
        child: &ExecutionId,
    ) -> Result<ChildWait, EngineError> {
        unavailable!("wait_for_child")
    }

    /// Like [`Self::complete`], for callers with a fence instead of a handle. Only an operator may
    /// omit the fence.
    async fn complete_execution(
        &self,
        args: CompleteExecutionArgs,
    ) -> Result<CompleteExecutionResult, EngineError> {
        unavailable!("complete_execution")
    }

    /// Like [`Self::fail`], for callers with a fence instead of a handle.
    async fn fail_execution(
        &self,
        args: FailExecutionArgs,
    ) -> Result<FailExecutionResult, EngineError> {
        unavailable!("fail_execution")
    }

    /// Makes a suspended execution claimable again, at once or after a delay.
    async fn resume_execution(
        &self,
        args: ResumeExecutionArgs,
    ) -> Result<ResumeExecutionResult, EngineError> {
        unavailable!("resume_execution")
    }

    // Leases, claims and reclaims.

    /// Leases the best execution of a lane that the capabilities cover; `None` when there is
    /// nothing to do.
    async fn claim(
        &self,
        lane: &LaneId,
        capabilities: &CapabilitySet,
        policy: ClaimPolicy,
    ) -> Result<Option<Handle>, EngineError> {
        unavailable!("claim")
    }

    /// Extends the handle's lease.
    async fn renew(&self, handle: &Handle) -> Result<LeaseRenewal, EngineError> {
        unavailable!("renew")
    }

    /// Like [`Self::renew`], for callers with a fence instead of a handle. No caller may omit the
    /// fence.
    async fn renew_lease(&self, args: RenewLeaseArgs) -> Result<RenewLeaseResult, EngineError> {
        unavailable!("renew_lease")
    }

    /// Turns a resume token into a handle on the same attempt; `None` while the old lease still
    /// holds.
    async fn claim_from_resume_grant(
        &self,
        token: ResumeToken,
    ) -> Result<Option<Handle>, EngineError> {
        unavailable!("claim_from_resume_grant")
    }

    /// Leases an execution after its resume condition holds: the attempt stays, the epoch grows.
    async fn claim_resumed_execution(
        &self,
        args: ClaimResumedExecutionArgs,
    ) -> Result<ClaimResumedExecutionResult, EngineError> {
        unavailable!("claim_resumed_execution")
    }

    /// Grants the reclaim of an execution after its lease lapsed or was revoked.
    async fn issue_reclaim_grant(
        &self,
        args: IssueReclaimGrantArgs,
    ) -> Result<IssueReclaimGrantOutcome, EngineError> {
        unavailable!("issue_reclaim_grant")
    }

    /// Spends a reclaim grant: ends the old attempt as interrupted and leases a new one.
    async fn reclaim_execution(
        &self,
        args: ReclaimExecutionArgs,
    ) -> Result<ReclaimExecutionOutcome, EngineError> {
        unavailable!("reclaim_execution")
    }

    /// Finds work for one worker and grants its claim, or reports that there is none.
    async fn claim_for_worker(
        &self,
        args: ClaimForWorkerArgs,
    ) -> Result<ClaimForWorkerOutcome, EngineError> {
        unavailable!("claim_for_worker")
    }

    /// Spends a claim grant: opens the attempt and leases it to the caller.
    async fn claim_execution(
        &self,
        args: ClaimExecutionArgs,
    ) -> Result<ClaimExecutionResult, EngineError> {
        unavailable!("claim_execution")
    }

    /// Grants and claims an execution in one step, for operators.
    async fn issue_grant_and_claim(
        &self,
        args: IssueGrantAndClaimArgs,
    ) -> Result<ClaimGrantOutcome, EngineError> {
        unavailable!("issue_grant_and_claim")
    }

    /// Lists the claimable executions of a lane in one partition, the most urgent ones first.
    async fn scan_eligible_executions(
        &self,
        args: ScanEligibleArgs,
    ) -> Result<Vec<ExecutionId>, EngineError> {
        unavailable!("scan_eligible_executions")
    }

    /// Grants the claim of one execution to one worker.
    async fn issue_claim_grant(
        &self,
        args: IssueClaimGrantArgs,
    ) -> Result<IssueClaimGrantOutcome, EngineError> {
        unavailable!("issue_claim_grant")
    }

    /// Blocks an execution that no worker is able to run.
    async fn block_route(&self, args: BlockRouteArgs) -> Result<BlockRouteOutcome, EngineError> {
        unavailable!("block_route")
    }

    // Suspensions, waitpoints and signals.

    /// Suspends the handle's execution until a condition holds and opens the bound waitpoints.
    async fn suspend(
        &self,
        handle: &Handle,
        args: SuspendArgs,
    ) -> Result<SuspendOutcome, EngineError> {
        unavailable!("suspend")
    }

    /// Like [`Self::suspend`], for callers with a fence instead of a handle.
    async fn suspend_by_triple(
        &self,
        exec_id: ExecutionId,
        triple: LeaseFence,
        args: SuspendArgs,
    ) -> Result<SuspendOutcome, EngineError> {
        unavailable!("suspend_by_triple")
    }

    /// Creates a pending waitpoint and the token that lets its bearer signal it.
    async fn create_waitpoint(
        &self,
        handle: &Handle,
        waitpoint_key: &str,
        expires_in: Duration,
    ) -> Result<PendingWaitpoint, EngineError> {
        unavailable!("create_waitpoint")
    }

    /// The stored token of a waitpoint; `None` when there is none.
    async fn read_waitpoint_token(
        &self,
        partition: PartitionKey,
        waitpoint_id: &WaitpointId,
    ) -> Result<Option<String>, EngineError> {
        unavailable!("read_waitpoint_token")
    }

    /// The signals recorded for the handle's suspension, without consuming them.
    async fn observe_signals(&self, handle: &Handle) -> Result<Vec<ResumeSignal>, EngineError> {
        unavailable!("observe_signals")
    }

    /// Checks the token, records the signal and resumes the execution when its condition holds.
    async fn deliver_signal(
        &self,
        args: DeliverSignalArgs,
    ) -> Result<DeliverSignalResult, EngineError> {
        unavailable!("deliver_signal")
    }

    /// Like [`Self::deliver_signal`], for operators: the token is read here and the caller never
    /// sees it.
    async fn deliver_approval_signal(
        &self,
        args: DeliverApprovalSignalArgs,
    ) -> Result<DeliverSignalResult, EngineError> {
        unavailable!("deliver_approval_signal")
    }

    /// A page of the open waitpoints of one execution, without their tokens.
    async fn list_pending_waitpoints(
        &self,
        args: ListPendingWaitpointsArgs,
    ) -> Result<ListPendingWaitpointsResult, EngineError> {
        unavailable!("list_pending_waitpoints")
    }

    /// Installs a new key for signing tokens, everywhere; the old one verifies for a grace period.
    async fn rotate_waitpoint_hmac_secret_all(
        &self,
        args: RotateWaitpointHmacSecretAllArgs,
    ) -> Result<RotateWaitpointHmacSecretAllResult, EngineError> {
        unavailable!("rotate_waitpoint_hmac_secret_all")
    }

    /// Installs the first key for signing tokens; never overwrites one.
    async fn seed_waitpoint_hmac_secret(
        &self,
        args: SeedWaitpointHmacSecretArgs,
    ) -> Result<SeedOutcome, EngineError> {
        unavailable!("seed_waitpoint_hmac_secret")
    }

    // Flows and edges.

    /// Records a flow. Repeating the call with the same id changes nothing.
    async fn create_flow(&self, args: CreateFlowArgs) -> Result<CreateFlowResult, EngineError> {
        unavailable!("create_flow")
    }

    /// Makes an existing execution a member of a flow.
    async fn add_execution_to_flow(
        &self,
        args: AddExecutionToFlowArgs,
    ) -> Result<AddExecutionToFlowResult, EngineError> {
        unavailable!("add_execution_to_flow")
    }

    /// Records an edge between two members, provided that the graph is as the caller has seen it.
    async fn stage_dependency_edge(
        &self,
        args: StageDependencyEdgeArgs,
    ) -> Result<StageDependencyEdgeResult, EngineError> {
        unavailable!("stage_dependency_edge")
    }

    /// Makes a staged edge take effect on the member that waits.
    async fn apply_dependency_to_child(
        &self,
        args: ApplyDependencyToChildArgs,
    ) -> Result<ApplyDependencyToChildResult, EngineError> {
        unavailable!("apply_dependency_to_child")
    }

    /// Fixes how many of its dependencies a member needs, before the first of them is staged.
    async fn set_edge_group_policy(
        &self,
        flow_id: &FlowId,
        downstream_execution_id: &ExecutionId,
        policy: EdgeDependencyPolicy,
    ) -> Result<SetEdgeGroupPolicyResult, EngineError> {
        unavailable!("set_edge_group_policy")
    }

    /// Returns whether an execution's dependencies let it run; changes nothing.
    async fn evaluate_flow_eligibility(
        &self,
        args: EvaluateFlowEligibilityArgs,
    ) -> Result<EvaluateFlowEligibilityResult, EngineError> {
        unavailable!("evaluate_flow_eligibility")
    }

    /// Resolves one edge after its upstream member has ended.
    async fn resolve_dependency(
        &self,
        args: ResolveDependencyArgs,
    ) -> Result<ResolveDependencyOutcome, EngineError> {
        unavailable!("resolve_dependency")
    }

    /// Applies the end of one execution to the executions that wait for it.
    async fn cascade_completion(
        &self,
        payload: &CompletionPayload,
    ) -> Result<CascadeOutcome, EngineError> {
        unavailable!("cascade_completion")
    }

    /// Cancels a flow and the members that the policy covers; waits for their ends if asked to.
    async fn cancel_flow(
        &self,
        id: &FlowId,
        policy: CancelFlowPolicy,
        wait: CancelFlowWait,
    ) -> Result<CancelFlowResult, EngineError> {
        unavailable!("cancel_flow")
    }

    /// Cancels only the flow itself and lists the members that are left to cancel.
    async fn cancel_flow_header(
        &self,
        args: CancelFlowArgs,
    ) -> Result<CancelFlowHeader, EngineError> {
        unavailable!("cancel_flow_header")
    }

    /// Removes one member from the list of those left to cancel; does nothing if it is not on the
    /// list.
    async fn ack_cancel_member(
        &self,
        flow_id: &FlowId,
        execution_id: &ExecutionId,
    ) -> Result<(), EngineError> {
        unavailable!("ack_cancel_member")
    }

    // Operators.

    /// Cancels an execution by id. For a running one, any caller but an operator needs the lease.
    async fn cancel_execution(
        &self,
        args: CancelExecutionArgs,
    ) -> Result<CancelExecutionResult, EngineError> {
        unavailable!("cancel_execution")
    }

    /// Changes the priority of an execution that may be claimed.
    async fn change_priority(
        &self,
        args: ChangePriorityArgs,
    ) -> Result<ChangePriorityResult, EngineError> {
        unavailable!("change_priority")
    }

    /// Replays an execution that has ended.
    async fn replay_execution(
        &self,
        args: ReplayExecutionArgs,
    ) -> Result<ReplayExecutionResult, EngineError> {
        unavailable!("replay_execution")
    }

    /// Revokes the holder's lease and makes the execution claimable again.
    async fn revoke_lease(&self, args: RevokeLeaseArgs) -> Result<RevokeLeaseResult, EngineError> {
        unavailable!("revoke_lease")
    }

    // Budgets and quotas.

    /// Reports what the handle's execution used of a budget.
    async fn report_usage(
        &self,
        handle: &Handle,
        budget: &BudgetId,
        dimensions: UsageDimensions,
    ) -> Result<ReportUsageResult, EngineError> {
        unavailable!("report_usage")
    }

    /// Like [`Self::report_usage`], without a lease.
    async fn report_usage_admin(
        &self,
        budget: &BudgetId,
        args: ReportUsageAdminArgs,
    ) -> Result<ReportUsageResult, EngineError> {
        unavailable!("report_usage_admin")
    }

    /// Records what one execution spent of a budget. Repeating the call with the same key changes
    /// nothing.
    async fn record_spend(&self, args: RecordSpendArgs) -> Result<ReportUsageResult, EngineError> {
        unavailable!("record_spend")
    }

    /// Releases everything that one execution spent of a budget.
    async fn release_budget(&self, args: ReleaseBudgetArgs) -> Result<(), EngineError> {
        unavailable!("release_budget")
    }

    /// Defines a budget. Repeating the call with the same id changes nothing.
    async fn create_budget(
        &self,
        args: CreateBudgetArgs,
    ) -> Result<CreateBudgetResult, EngineError> {
        unavailable!("create_budget")
    }

    /// Sets all counters of a budget to zero and moves its next reset forward.
    async fn reset_budget(&self, args: ResetBudgetArgs) -> Result<ResetBudgetResult, EngineError> {
        unavailable!("reset_budget")
    }

    /// The definition, limits, usage and breaches of a budget.
    async fn get_budget_status(&self, id: &BudgetId) -> Result<BudgetStatus, EngineError> {
        unavailable!("get_budget_status")
    }

    /// Defines how many executions are admitted. Repeating the call with the same id changes
    /// nothing.
    async fn create_quota_policy(
        &self,
        args: CreateQuotaPolicyArgs,
    ) -> Result<CreateQuotaPolicyResult, EngineError> {
        unavailable!("create_quota_policy")
    }

    /// Tests one admission against a quota policy and records it, in one step.
    async fn check_admission(
        &self,
        quota_policy_id: &QuotaPolicyId,
        dimension: &str,
        args: CheckAdmissionArgs,
    ) -> Result<CheckAdmissionResult, EngineError> {
        unavailable!("check_admission")
    }

    /// Undoes an admission after a failed claim.
    async fn release_admission(
        &self,
        args: ReleaseAdmissionArgs,
    ) -> Result<ReleaseAdmissionResult, EngineError> {
        unavailable!("release_admission")
    }

    /// The limits of a quota policy; `None` when there is no such policy.
    async fn read_quota_policy_limits(
        &self,
        quota_policy_id: &QuotaPolicyId,
    ) -> Result<Option<QuotaPolicyLimits>, EngineError> {
        unavailable!("read_quota_policy_limits")
    }

    /// The usage and the limits of a budget as they are stored.
    async fn read_budget_usage_and_limits(
        &self,
        budget_id: &BudgetId,
    ) -> Result<BudgetUsageAndLimits, EngineError> {
        unavailable!("read_budget_usage_and_limits")
    }

    /// Marks an execution as blocked because it was not admitted.
    async fn block_execution_for_admission(
        &self,
        args: BlockExecutionForAdmissionArgs,
    ) -> Result<BlockExecutionForAdmissionOutcome, EngineError> {
        unavailable!("block_execution_for_admission")
    }

    // Reads and listings.

    /// One execution as it stands; `None` when it is unknown.
    async fn describe_execution(
        &self,
        id: &ExecutionId,
    ) -> Result<Option<ExecutionSnapshot>, EngineError> {
        unavailable!("describe_execution")
    }

    /// The data that a worker needs to start on an execution that it has claimed.
    async fn read_execution_context(
        &self,
        execution_id: &ExecutionId,
    ) -> Result<ExecutionContext, EngineError> {
        unavailable!("read_execution_context")
    }

    /// The execution's current attempt.
    async fn read_current_attempt_index(
        &self,
        execution_id: &ExecutionId,
    ) -> Result<AttemptIndex, EngineError> {
        unavailable!("read_current_attempt_index")
    }

    /// The number of times the execution was claimed.
    async fn read_total_attempt_count(
        &self,
        execution_id: &ExecutionId,
    ) -> Result<AttemptIndex, EngineError> {
        unavailable!("read_total_attempt_count")
    }

    /// Everything that operators read about an execution; `None` when it is unknown.
    async fn read_execution_info(
        &self,
        id: &ExecutionId,
    ) -> Result<Option<ExecutionInfo>, EngineError> {
        unavailable!("read_execution_info")
    }

    /// The execution's public state; `None` when it is unknown.
    async fn read_execution_state(
        &self,
        id: &ExecutionId,
    ) -> Result<Option<PublicState>, EngineError> {
        unavailable!("read_execution_state")
    }

    /// The stored result; `None` when there is none.
    async fn get_execution_result(&self, id: &ExecutionId) -> Result<Option<Vec<u8>>, EngineError> {
        unavailable!("get_execution_result")
    }

    /// The tenant that the execution belongs to; `None` when there is none.
    async fn get_execution_namespace(
        &self,
        execution_id: &ExecutionId,
    ) -> Result<Option<String>, EngineError> {
        unavailable!("get_execution_namespace")
    }

    /// Writes one tag of an execution; [`crate::contracts::validate_tag_key`] says which keys are
    /// allowed.
    async fn set_execution_tag(
        &self,
        execution_id: &ExecutionId,
        key: &str,
        value: &str,
    ) -> Result<(), EngineError> {
        unavailable!("set_execution_tag")
    }

    /// One tag of an execution; `None` when there is no such tag or execution.
    async fn get_execution_tag(
        &self,
        execution_id: &ExecutionId,
        key: &str,
    ) -> Result<Option<String>, EngineError> {
        unavailable!("get_execution_tag")
    }

    /// One flow as it stands; `None` when it is unknown.
    async fn describe_flow(&self, id: &FlowId) -> Result<Option<FlowSnapshot>, EngineError> {
        unavailable!("describe_flow")
    }

    /// Writes one tag of a flow; [`crate::contracts::validate_tag_key`] says which keys are
    /// allowed.
    async fn set_flow_tag(
        &self,
        flow_id: &FlowId,
        key: &str,
        value: &str,
    ) -> Result<(), EngineError> {
        unavailable!("set_flow_tag")
    }

    /// One tag of a flow; `None` when there is no such tag or flow.
    async fn get_flow_tag(
        &self,
        flow_id: &FlowId,
        key: &str,
    ) -> Result<Option<String>, EngineError> {
        unavailable!("get_flow_tag")
    }

    /// The edges that leave or enter one execution.
    async fn list_edges(
        &self,
        flow_id: &FlowId,
        direction: EdgeDirection,
    ) -> Result<Vec<EdgeSnapshot>, EngineError> {
        unavailable!("list_edges")
    }

    /// One edge of a flow; `None` when it is unknown.
    async fn describe_edge(
        &self,
        flow_id: &FlowId,
        edge_id: &EdgeId,
    ) -> Result<Option<EdgeSnapshot>, EngineError> {
        unavailable!("describe_edge")
    }

    /// The flow that an execution belongs to, if any.
    async fn resolve_execution_flow_id(
        &self,
        eid: &ExecutionId,
    ) -> Result<Option<FlowId>, EngineError> {
        unavailable!("resolve_execution_flow_id")
    }

    /// A page of a partition's flows by ascending id, after `cursor`.
    async fn list_flows(
        &self,
        partition: PartitionKey,
        cursor: Option<FlowId>,
        limit: usize,
    ) -> Result<ListFlowsPage, EngineError> {
        unavailable!("list_flows")
    }

    /// A page of the known lanes by name, after `cursor`, each with its state.
    async fn list_lanes(
        &self,
        cursor: Option<LaneId>,
        limit: usize,
    ) -> Result<ListLanesPage, EngineError> {
        unavailable!("list_lanes")
    }

    /// A page of the leases of running executions, the first to expire first. An addition.
    async fn list_leases(&self, args: ListLeasesArgs) -> Result<LeasesPage, EngineError> {
        unavailable!("list_leases")
    }

    /// Sets the limit of a key, or of a family of keys such as `tenant/*`, in place of the one that
    /// it has: of the executions that name the key in `policy.limit_keys`, so many run at once, and
    /// so many start in a time. What runs already goes on. An addition.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field: a key that is empty or too long, a number out
    /// of its bounds, text with NUL.
    async fn set_limit(&self, args: SetLimitArgs) -> Result<(), EngineError> {
        unavailable!("set_limit")
    }

    /// Removes the limit of a key or a family of keys. Returns false if it has none. An addition.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for a key that is empty or too long, or that holds NUL.
    async fn remove_limit(&self, limit_key: &str) -> Result<bool, EngineError> {
        unavailable!("remove_limit")
    }

    /// Reads the limit of a key, its own or that of its family, and what holds it. `None` for a key
    /// without a limit. An addition.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for a key that is empty or too long, or that holds NUL;
    /// `Validation(Corruption)` for a stored number out of its range.
    async fn read_limit(&self, limit_key: &str) -> Result<Option<LimitStatus>, EngineError> {
        unavailable!("read_limit")
    }

    /// Lists the limits by key, behind a cursor; at most 1,000. An addition.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for a cursor with NUL.
    async fn list_limits(
        &self,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<ListLimitsPage, EngineError> {
        unavailable!("list_limits")
    }

    /// Gives a fairness key a weight in a lane: of the executions that wait there, those with the
    /// key get so many starts for each start of one with a key of weight 1. An addition.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field: a lane that is no lane name, a key that is too
    /// long, a weight out of its bounds, text with NUL.
    async fn set_fairness_weight(&self, args: SetFairnessWeightArgs) -> Result<(), EngineError> {
        unavailable!("set_fairness_weight")
    }

    /// Removes the weight of a fairness key in a lane, which then counts as 1. Returns false if it
    /// has none. An addition.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field: a lane that is no lane name, a key that is too
    /// long or holds NUL.
    async fn remove_fairness_weight(
        &self,
        lane: &LaneId,
        fairness_key: &str,
    ) -> Result<bool, EngineError> {
        unavailable!("remove_fairness_weight")
    }

    /// Lists the weights of the fairness keys of a lane by key, behind a cursor; at most 1,000. An
    /// addition.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for a lane that is no lane name, or a cursor with NUL;
    /// `Validation(Corruption)` for a stored number out of its range.
    async fn list_fairness_weights(
        &self,
        lane: &LaneId,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<ListFairnessWeightsPage, EngineError> {
        unavailable!("list_fairness_weights")
    }

    /// Sets the state of a lane. Claims from a paused or disabled lane find nothing; submissions to
    /// a draining or disabled one are refused. Claims of an execution that the caller names go on
    /// in every state. Work that runs is not stopped. An addition.
    async fn set_lane_state(&self, args: SetLaneStateArgs) -> Result<(), EngineError> {
        unavailable!("set_lane_state")
    }

    /// A lane and its state; `None` for one that no operation has named. An addition.
    async fn read_lane(&self, lane: &LaneId) -> Result<Option<LaneInfo>, EngineError> {
        unavailable!("read_lane")
    }

    /// A page of a partition's suspended executions, after `cursor`.
    async fn list_suspended(
        &self,
        partition: PartitionKey,
        cursor: Option<ExecutionId>,
        limit: usize,
    ) -> Result<ListSuspendedPage, EngineError> {
        unavailable!("list_suspended")
    }

    /// A page of a partition's executions, after `cursor`.
    async fn list_executions(
        &self,
        partition: PartitionKey,
        cursor: Option<ExecutionId>,
        limit: usize,
    ) -> Result<ListExecutionsPage, EngineError> {
        unavailable!("list_executions")
    }

    /// The named fields of an execution as text; an unknown field is `None`.
    async fn read_exec_core_fields(
        &self,
        partition: Partition,
        execution_id: &ExecutionId,
        fields: &[&str],
    ) -> Result<HashMap<String, Option<String>>, EngineError> {
        unavailable!("read_exec_core_fields")
    }

    // Steps.

    /// Records a step of the work under the fence of the handle's lease. What is recorded at that
    /// place already stays as it is, and is the answer. The steps of an execution outlive its
    /// attempts.
    async fn record_step(
        &self,
        handle: &Handle,
        step: NewStep,
    ) -> Result<RecordStepOutcome, EngineError> {
        unavailable!("record_step")
    }

    /// Up to `limit` steps of an execution behind the place `after`, in their order; at most 1,000.
    /// An unknown execution has none.
    async fn list_steps(
        &self,
        execution_id: &ExecutionId,
        after: Option<u32>,
        limit: u32,
    ) -> Result<Vec<StepRecord>, EngineError> {
        unavailable!("list_steps")
    }

    /// Submits an execution like another one, which begins with the steps of that one before a
    /// named step. It has no idempotency key, delay or deadline, and belongs to no flow.
    async fn fork_execution(
        &self,
        args: ForkExecutionArgs,
    ) -> Result<ForkExecutionResult, EngineError> {
        unavailable!("fork_execution")
    }

    // Streams.

    /// Appends one frame to the stream of the handle's attempt; the frame's mode says how it is
    /// kept. Frames are numbered within the attempt from 0, and their times never run backwards.
    /// NUL and bytes that are not UTF-8 are stored as U+FFFD. The append is fenced: an attempt that
    /// has ended, or that another worker holds, takes no frames.
    async fn append_frame(
        &self,
        handle: &Handle,
        frame: Frame,
    ) -> Result<AppendFrameOutcome, EngineError> {
        unavailable!("append_frame")
    }

    /// The frames of an attempt from one cursor to another, both inclusive, oldest first; at most
    /// [`crate::contracts::STREAM_READ_HARD_CAP`]. An unknown attempt has none. A stream is closed
    /// once its attempt has ended, and carries the time and the outcome of that end.
    async fn read_stream(
        &self,
        execution_id: &ExecutionId,
        attempt_index: AttemptIndex,
        from: StreamCursor,
        to: StreamCursor,
        count_limit: u64,
    ) -> Result<StreamFrames, EngineError> {
        unavailable!("read_stream")
    }

    /// The frames of an attempt after a cursor. Waits up to `block_ms` for the first of them or for
    /// the end of the attempt. The end is reported at the latest with the first answer that has no
    /// frames. A waiting caller holds no connection.
    async fn tail_stream(
        &self,
        execution_id: &ExecutionId,
        attempt_index: AttemptIndex,
        after: StreamCursor,
        block_ms: u64,
        count_limit: u64,
        visibility: TailVisibility,
    ) -> Result<StreamFrames, EngineError> {
        unavailable!("tail_stream")
    }

    /// The merged summary of an attempt's frames; `None` when none was written.
    async fn read_summary(
        &self,
        execution_id: &ExecutionId,
        attempt_index: AttemptIndex,
    ) -> Result<Option<SummaryDocument>, EngineError> {
        unavailable!("read_summary")
    }

    // Subscriptions.

    /// Subscribes to lease events, from a cursor on.
    async fn subscribe_lease_history(
        &self,
        cursor: EventCursor,
        filter: &ScannerFilter,
    ) -> Result<LeaseHistorySubscription, EngineError> {
        unavailable!("subscribe_lease_history")
    }

    /// Subscribes to completion events, from a cursor on.
    async fn subscribe_completion(
        &self,
        cursor: EventCursor,
        filter: &ScannerFilter,
    ) -> Result<CompletionSubscription, EngineError> {
        unavailable!("subscribe_completion")
    }

    /// Subscribes to signal deliveries, from a cursor on.
    async fn subscribe_signal_delivery(
        &self,
        cursor: EventCursor,
        filter: &ScannerFilter,
    ) -> Result<SignalDeliverySubscription, EngineError> {
        unavailable!("subscribe_signal_delivery")
    }

    /// Subscribes to operator events, from a cursor on.
    async fn subscribe_operator_events(
        &self,
        cursor: EventCursor,
        filter: &ScannerFilter,
    ) -> Result<OperatorEventSubscription, EngineError> {
        unavailable!("subscribe_operator_events")
    }

    /// Subscribes to changes of instance tags, from a cursor on.
    async fn subscribe_instance_tags(
        &self,
        cursor: EventCursor,
    ) -> Result<InstanceTagSubscription, EngineError> {
        unavailable!("subscribe_instance_tags")
    }

    // Workers.

    /// Registers a worker instance, or refreshes its registration.
    async fn register_worker(
        &self,
        args: RegisterWorkerArgs,
    ) -> Result<RegisterWorkerOutcome, EngineError> {
        unavailable!("register_worker")
    }

    /// Records that a registered worker is alive.
    async fn heartbeat_worker(
        &self,
        args: HeartbeatWorkerArgs,
    ) -> Result<HeartbeatWorkerOutcome, EngineError> {
        unavailable!("heartbeat_worker")
    }

    /// Removes a worker, for operators.
    async fn mark_worker_dead(
        &self,
        args: MarkWorkerDeadArgs,
    ) -> Result<MarkWorkerDeadOutcome, EngineError> {
        unavailable!("mark_worker_dead")
    }

    /// A page of the leases that have lapsed, by expiry.
    async fn list_expired_leases(
        &self,
        args: ListExpiredLeasesArgs,
    ) -> Result<ListExpiredLeasesResult, EngineError> {
        unavailable!("list_expired_leases")
    }

    /// A page of the registered workers, by instance.
    async fn list_workers(&self, args: ListWorkersArgs) -> Result<ListWorkersResult, EngineError> {
        unavailable!("list_workers")
    }

    // Schedules: additions.

    /// Creates a schedule; its first tick lies in the future. The first definition of a name wins.
    async fn create_schedule(
        &self,
        args: CreateScheduleArgs,
    ) -> Result<CreateScheduleResult, EngineError> {
        unavailable!("create_schedule")
    }

    /// Replaces what a schedule does, from now on.
    async fn update_schedule(&self, args: UpdateScheduleArgs) -> Result<ScheduleInfo, EngineError> {
        unavailable!("update_schedule")
    }

    /// Pauses a schedule: its ticks make no executions. A paused one stays as it is.
    async fn pause_schedule(&self, args: PauseScheduleArgs) -> Result<ScheduleInfo, EngineError> {
        unavailable!("pause_schedule")
    }

    /// Goes on with a paused schedule, from the first tick after now.
    async fn resume_schedule(&self, id: &ScheduleId) -> Result<ScheduleInfo, EngineError> {
        unavailable!("resume_schedule")
    }

    /// Deletes a schedule; its executions stay. False if there was none.
    async fn delete_schedule(&self, id: &ScheduleId) -> Result<bool, EngineError> {
        unavailable!("delete_schedule")
    }

    /// A schedule and how far it has come; `None` if there is none.
    async fn get_schedule(&self, id: &ScheduleId) -> Result<Option<ScheduleInfo>, EngineError> {
        unavailable!("get_schedule")
    }

    /// A page of the schedules, by namespace and name.
    async fn list_schedules(&self, args: ListSchedulesArgs) -> Result<SchedulesPage, EngineError> {
        unavailable!("list_schedules")
    }

    /// Submits the executions of past ticks. A tick that has an execution keeps it, so a repeated
    /// call submits nothing more.
    async fn backfill_schedule(
        &self,
        args: BackfillScheduleArgs,
    ) -> Result<BackfillReport, EngineError> {
        unavailable!("backfill_schedule")
    }

    // Counts: additions.

    /// The number of executions by lane, kind and state, those that failed in the last hour by
    /// class, and the longest wait of each lane. The counts are those of one moment, and the work
    /// does not grow with the number of executions.
    async fn stats(&self, args: StatsArgs) -> Result<Stats, EngineError> {
        unavailable!("stats")
    }

    // Scans and repairs.

    /// Releases the lease of one execution if it has lapsed.
    async fn mark_lease_expired_if_due(
        &self,
        partition: Partition,
        execution_id: &ExecutionId,
    ) -> Result<(), EngineError> {
        unavailable!("mark_lease_expired_if_due")
    }

    /// Makes one delayed execution claimable if its delay has passed.
    async fn promote_delayed(
        &self,
        partition: Partition,
        lane: &LaneId,
        execution_id: &ExecutionId,
        now_ms: TimestampMs,
    ) -> Result<(), EngineError> {
        unavailable!("promote_delayed")
    }

    /// Closes one pending waitpoint if it has lapsed.
    async fn close_waitpoint(
        &self,
        partition: Partition,
        execution_id: &ExecutionId,
        waitpoint_id: &str,
        now_ms: TimestampMs,
    ) -> Result<(), EngineError> {
        unavailable!("close_waitpoint")
    }

    /// Applies an attempt's timeout or an execution's deadline if it has passed.
    async fn expire_execution(
        &self,
        partition: Partition,
        execution_id: &ExecutionId,
        phase: ExpirePhase,
        now_ms: TimestampMs,
    ) -> Result<(), EngineError> {
        unavailable!("expire_execution")
    }

    /// Applies a suspension's timeout if it has passed.
    async fn expire_suspension(
        &self,
        partition: Partition,
        execution_id: &ExecutionId,
        now_ms: TimestampMs,
    ) -> Result<(), EngineError> {
        unavailable!("expire_suspension")
    }

    /// Makes one blocked execution claimable if it is blocked for the expected reason.
    async fn unblock_execution(
        &self,
        partition: Partition,
        lane_id: &LaneId,
        execution_id: &ExecutionId,
        expected_blocking_reason: &str,
        now_ms: TimestampMs,
    ) -> Result<(), EngineError> {
        unavailable!("unblock_execution")
    }

    /// Deletes one execution's list of siblings to cancel, once all of them are cancelled.
    async fn drain_sibling_cancel_group(
        &self,
        flow_partition: Partition,
        flow_id: &FlowId,
        downstream_eid: &ExecutionId,
    ) -> Result<(), EngineError> {
        unavailable!("drain_sibling_cancel_group")
    }

    /// Checks one execution's list of siblings to cancel again.
    async fn reconcile_sibling_cancel_group(
        &self,
        flow_partition: Partition,
        flow_id: &FlowId,
        downstream_eid: &ExecutionId,
    ) -> Result<SiblingCancelReconcileAction, EngineError> {
        unavailable!("reconcile_sibling_cancel_group")
    }

    /// Repairs what is derived in the rows of a partition's executions that have not ended, and
    /// registers their lanes. Without lanes, those of every lane that pass the filter.
    async fn reconcile_execution_index(
        &self,
        partition: Partition,
        lanes: &[LaneId],
        filter: &ScannerFilter,
    ) -> Result<ReconcileCounts, EngineError> {
        unavailable!("reconcile_execution_index")
    }

    /// Repairs the counters of a partition's budgets.
    async fn reconcile_budget_counters(
        &self,
        partition: Partition,
        now_ms: TimestampMs,
    ) -> Result<ReconcileCounts, EngineError> {
        unavailable!("reconcile_budget_counters")
    }

    /// Repairs the counters of a partition's quota policies.
    async fn reconcile_quota_counters(
        &self,
        partition: Partition,
        now_ms: TimestampMs,
    ) -> Result<ReconcileCounts, EngineError> {
        unavailable!("reconcile_quota_counters")
    }

    /// Writes the summary of a flow's members; `false` when there was nothing to write.
    async fn project_flow_summary(
        &self,
        partition: Partition,
        flow_id: &FlowId,
        now_ms: TimestampMs,
    ) -> Result<bool, EngineError> {
        unavailable!("project_flow_summary")
    }

    /// Deletes some executions of a lane that ended before the retention window; returns their
    /// number.
    async fn trim_retention(
        &self,
        partition: Partition,
        lane_id: &LaneId,
        retention_ms: u64,
        now_ms: TimestampMs,
        batch_size: u32,
        filter: &ScannerFilter,
    ) -> Result<u32, EngineError> {
        unavailable!("trim_retention")
    }

    /// Takes a pass of retention one step further: looks at one page of ended executions and
    /// removes those that its rules remove and nothing holds back. An addition to the common
    /// contract.
    async fn trim_step(&self, pass: TrimPass) -> Result<TrimPass, EngineError> {
        unavailable!("trim_step")
    }

    /// Stores the position of a named subscriber in an outbox; retention keeps what comes after it.
    /// An addition to the common contract.
    async fn store_subscriber_cursor(
        &self,
        name: &str,
        outbox: OutboxKind,
        event_id: i64,
    ) -> Result<(), EngineError> {
        unavailable!("store_subscriber_cursor")
    }

    /// Drops a named subscriber; returns the number of positions that it had. An addition to the
    /// common contract.
    async fn drop_subscriber(&self, name: &str) -> Result<u32, EngineError> {
        unavailable!("drop_subscriber")
    }

    /// The positions of all named subscribers, by name. An addition to the common contract.
    async fn list_subscriber_cursors(&self) -> Result<Vec<SubscriberCursor>, EngineError> {
        unavailable!("list_subscriber_cursors")
    }

    /// Stores the position of an archive among the completion events, with a note about its file.
    /// An addition to the common contract.
    async fn store_archive_position(
        &self,
        name: &str,
        event_id: i64,
        note: &str,
    ) -> Result<(), EngineError> {
        unavailable!("store_archive_position")
    }

    /// Takes a run of an archive one step further: the lines of some ended executions and flows. An
    /// addition to the common contract.
    async fn archive_step(&self, pass: ArchivePass) -> Result<ArchiveStep, EngineError> {
        unavailable!("archive_step")
    }

    /// Begins the import of a file that was checked: from now on, no new event takes a number of
    /// it. An addition to the common contract.
    async fn begin_import(&self, file: &CheckedFile) -> Result<ImportRun, EngineError> {
        unavailable!("begin_import")
    }

    /// Adds the rows of one line, or none if its execution or flow is there. An addition to the
    /// common contract.
    async fn import_record(
        &self,
        run: &ImportRun,
        record: &Record,
    ) -> Result<Imported, EngineError> {
        unavailable!("import_record")
    }

    /// The backend's time, in Unix milliseconds.
    async fn server_time_ms(&self) -> Result<u64, EngineError> {
        unavailable!("server_time_ms")
    }

    // The backend itself.

    /// Checks that the store can be reached.
    async fn ping(&self) -> Result<(), EngineError> {
        unavailable!("ping")
    }

    /// The kind of store, for logs and metrics.
    fn backend_label(&self) -> &'static str {
        "unknown"
    }

    /// The commands that the backend has sent to its database so far, for metrics; none where it
    /// does not count them.
    fn traffic(&self) -> Traffic {
        Traffic::default()
    }

    /// A report about the database, for operators. A backend names what it finds, and judges
    /// nothing. An addition.
    async fn database_report(&self) -> Result<DatabaseReport, EngineError> {
        unavailable!("database_report")
    }

    /// The backend as `Any`, for downcasts to its own type; a unit value unless the backend opts
    /// in.
    fn as_any(&self) -> &(dyn Any + 'static) {
        &()
    }

    /// The backend's identity and the operations it supports; none unless the backend overrides
    /// this.
    fn capabilities(&self) -> Capabilities {
        Capabilities::new(
            BackendIdentity::new("unknown", Version::new(0, 0, 0), "unknown"),
            Supports::none(),
        )
    }

    /// Prepares the store once before use; does nothing unless the backend needs it.
    async fn prepare(&self) -> Result<PrepareOutcome, EngineError> {
        Ok(PrepareOutcome::NoOp)
    }

    /// Lets running work end within `grace` before shutdown; does nothing unless the backend has
    /// such work.
    async fn shutdown_prepare(&self, grace: Duration) -> Result<(), EngineError> {
        Ok(())
    }

    // Additions to the common contract.

    /// Creates many executions; the answers come in the order of the batch. An addition. The
    /// default creates them one by one.
    async fn create_executions(
        &self,
        batch: Vec<CreateExecutionArgs>,
    ) -> Vec<Result<CreateExecutionResult, EngineError>> {
        let mut results = Vec::with_capacity(batch.len());
        for args in batch {
            results.push(self.create_execution(args).await);
        }
        results
    }

    /// Like [`Self::claim`], for up to `limit` executions at once. An addition.
    async fn claim_many(
        &self,
        lane: &LaneId,
        capabilities: &CapabilitySet,
        policy: ClaimPolicy,
        limit: u32,
    ) -> Result<Vec<Handle>, EngineError> {
        unavailable!("claim_many")
    }

    /// Returns true if a lane has an execution that a worker with these capabilities could claim
    /// now, leaving aside locks of other sessions and reservations for other workers. An addition.
    async fn has_claimable(
        &self,
        lane: &LaneId,
        capabilities: &CapabilitySet,
    ) -> Result<bool, EngineError> {
        unavailable!("has_claimable")
    }

    /// Listens for a topic, from this call on and not only from the first poll: ready once there
    /// may be something new. A notification is a hint. It may be superfluous and it may get lost,
    /// so a caller reads first and also polls from time to time. The default is never ready. An
    /// addition.
    fn listen(&self, topic: Topic) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let _ = topic;
        Box::pin(std::future::pending())
    }

    /// Applies up to `limit` due timers of one kind. An addition.
    async fn scan(&self, scan: Scan, limit: u32) -> Result<ReconcileCounts, EngineError> {
        self.scan_filtered(scan, limit, &ScannerFilter::NOOP).await
    }

    /// Applies up to `limit` due timers of one kind, of the executions that `filter` lets through,
    /// so that several engines can share one database's timers. The filter's tag is compared by key
    /// and value with the execution's tags; for sibling cancellations, with those of the waiting
    /// execution. An addition.
    async fn scan_filtered(
        &self,
        scan: Scan,
        limit: u32,
        filter: &ScannerFilter,
    ) -> Result<ReconcileCounts, EngineError> {
        unavailable!("scan")
    }

    /// A page of the executions that match a query. An addition.
    async fn list_executions_by(
        &self,
        query: ExecutionQuery,
    ) -> Result<ExecutionQueryPage, EngineError> {
        unavailable!("list_executions_by")
    }

    /// The history of one execution: its attempts and its events. An addition.
    async fn execution_timeline(
        &self,
        execution_id: &ExecutionId,
    ) -> Result<ExecutionTimeline, EngineError> {
        unavailable!("execution_timeline")
    }

    /// Every reason why an execution is not running, by the predicates that a claim uses. Without a
    /// reason, a claim of the worker takes the execution once its turn comes. Changes nothing. An
    /// addition.
    async fn explain_execution(
        &self,
        args: ExplainExecutionArgs,
    ) -> Result<Explanation, EngineError> {
        unavailable!("explain_execution")
    }

    /// Creates executions as members of a flow, each held back until [`Self::release_flow`] or
    /// until a dependency of it is applied, so that none runs before its flow is complete. The
    /// answers come in the order of the batch; repeating the call changes nothing. An addition.
    async fn create_flow_members(
        &self,
        flow_id: &FlowId,
        batch: Vec<CreateExecutionArgs>,
    ) -> Vec<Result<CreateExecutionResult, EngineError>> {
        batch.iter().map(|_| unavailable!("create_flow_members")).collect()
    }

    /// Releases the members that were held back and wait for no other; returns their number. An
    /// addition.
    async fn release_flow(&self, flow_id: &FlowId, now: TimestampMs) -> Result<u32, EngineError> {
        unavailable!("release_flow")
    }

    /// A page of the budgets that are defined, by id, after `cursor`. An addition.
    async fn list_budgets(
        &self,
        cursor: Option<BudgetId>,
        limit: usize,
    ) -> Result<BudgetsPage, EngineError> {
        unavailable!("list_budgets")
    }

    /// A page of the flows of all partitions, newest first. An addition.
    async fn list_flows_by(&self, query: FlowQuery) -> Result<FlowQueryPage, EngineError> {
        unavailable!("list_flows_by")
    }

    /// A flow with all of its executions and edges. An addition.
    async fn read_flow_graph(&self, id: &FlowId) -> Result<Option<FlowGraph>, EngineError> {
        unavailable!("read_flow_graph")
    }

    /// Applies an action to one batch of the executions that match a query. Each is changed by its
    /// own plan, with its own events. An addition.
    async fn run_bulk(&self, args: BulkArgs) -> Result<BulkReport, EngineError> {
        unavailable!("run_bulk")
    }

    /// Reports the effect that a bulk action would have; changes nothing. An addition.
    async fn preview_bulk(&self, args: BulkArgs) -> Result<BulkPreview, EngineError> {
        unavailable!("preview_bulk")
    }
}

/// The longest wait for a flow's cancellation, even where the caller asks for no bound.
const CANCEL_FLOW_LONGEST_WAIT: Duration = Duration::from_secs(300);

/// The longest wait for a flow's cancellation; `None` means no wait.
#[must_use]
pub fn cancel_flow_wait_deadline(wait: CancelFlowWait) -> Option<Duration> {
    match wait {
        CancelFlowWait::NoWait => None,
        CancelFlowWait::WaitTimeout(limit) => Some(limit),
        CancelFlowWait::WaitIndefinite => Some(CANCEL_FLOW_LONGEST_WAIT),
    }
}

/// Lease events as they happen.
pub type LeaseHistorySubscription =
    Pin<Box<dyn Stream<Item = Result<LeaseHistoryEvent, EngineError>> + Send>>;

/// Finished executions as they finish.
pub type CompletionSubscription =
    Pin<Box<dyn Stream<Item = Result<CompletionEvent, EngineError>> + Send>>;

/// Signals as they are delivered.
pub type SignalDeliverySubscription =
    Pin<Box<dyn Stream<Item = Result<SignalDeliveryEvent, EngineError>> + Send>>;

/// Instance tags as they are set and cleared.
pub type InstanceTagSubscription =
    Pin<Box<dyn Stream<Item = Result<InstanceTagEvent, EngineError>> + Send>>;

/// Interventions of operators, as they happen.
pub type OperatorEventSubscription =
    Pin<Box<dyn Stream<Item = Result<OperatorEvent, EngineError>> + Send>>;

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    struct Bare;

    impl EngineBackend for Bare {}

    fn now<T>(future: impl Future<Output = T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("a default body waits"),
        }
    }

    #[test]
    fn a_bare_backend_offers_nothing() {
        let backend: &dyn EngineBackend = &Bare;

        let capabilities = backend.capabilities();
        assert_eq!(capabilities.identity.family, "unknown");
        assert_eq!(capabilities.identity.version, Version::new(0, 0, 0));
        assert_eq!(capabilities.identity.rfc017_stage, "unknown");
        assert_eq!(capabilities.supports, Supports::none());
        assert_eq!(backend.backend_label(), "unknown");
        assert!(backend.as_any().is::<()>());

        assert!(matches!(now(backend.ping()), Err(EngineError::Unavailable { op: "ping" })));
        assert!(matches!(
            now(backend.scan(Scan::LeaseExpiry, 1)),
            Err(EngineError::Unavailable { op: "scan" })
        ));

        assert!(matches!(now(backend.prepare()), Ok(PrepareOutcome::NoOp)));
        assert!(now(backend.shutdown_prepare(Duration::ZERO)).is_ok());
        assert!(now(backend.create_executions(Vec::new())).is_empty());
    }

    #[test]
    fn waits_for_cancellation_are_bounded() {
        let wait = Duration::from_secs(7);
        for (mode, expected) in [
            (CancelFlowWait::NoWait, None),
            (CancelFlowWait::WaitTimeout(wait), Some(wait)),
            (CancelFlowWait::WaitIndefinite, Some(Duration::from_secs(300))),
        ] {
            assert_eq!(cancel_flow_wait_deadline(mode), expected);
        }
    }
}
