//! The paths of the reference, each with everything that it names. What a caller of the reference
//! writes in `use` stays valid here; see `core/src/paths.rs`.
#![allow(unused_imports, reason = "to name a path is all that is asked of it")]

mod methods;
mod unserved;

mod backend {
    use ff_core::backend::{
        AppendFrameOutcome, BackendConfig, BackendConnection, BackendRetry, BackendTag,
        BackendTimeouts, BestEffortLiveConfig, CancelFlowPolicy, CancelFlowWait, CapabilitySet,
        ClaimPolicy, CompletionPayload, CompositeBody, FailOutcome, FailureClass, FailureReason,
        Frame, FrameKind, Handle, HandleKind, HandleOpaque, IdempotencyKey, LeaseRenewal,
        Namespace, PatchKind, PendingWaitpoint, PostgresConnection, PrepareOutcome,
        ResumeCondition, ResumePolicy, ResumeSignal, ResumeTarget, ResumeToken,
        SUMMARY_NULL_SENTINEL, ScannerFilter, SignalMatcher, StreamMode, SummaryDocument,
        SuspendArgs, SuspendOutcome, SuspendOutcomeDetails, SuspensionReasonCode,
        SuspensionRequester, TailVisibility, TimeoutBehavior, UsageDimensions, ValkeyConnection,
        WaitpointBinding, WaitpointHmac, WaitpointKind, WaitpointSpec, stub_handle_fresh,
        stub_handle_resumed,
    };
}

mod capability {
    use ff_core::capability::{BackendIdentity, Capabilities, Supports, Version};
}

mod caps {
    use ff_core::caps::{CapabilityRequirement, matches, matches_csv};
}

mod completion_backend {
    use ff_core::completion_backend::{CompletionBackend, CompletionStream};
}

mod contracts {
    use ff_core::contracts::{
        AddExecutionToFlowArgs, AddExecutionToFlowResult, AdditionalWaitpointBinding,
        AppendFrameArgs, AppendFrameResult, ApplyDependencyToChildArgs,
        ApplyDependencyToChildResult, AttemptRecord, AttemptSummary, BlockExecutionArgs,
        BlockExecutionForAdmissionArgs, BlockExecutionForAdmissionOutcome, BlockExecutionResult,
        BlockRouteArgs, BlockRouteOutcome, BlockingReason, BudgetStatus, BudgetUsageAndLimits,
        BufferSignalArgs, BufferSignalResult, BulkAction, BulkArgs, BulkRefusal, BulkReport,
        CancelExecutionArgs, CancelExecutionResult, CancelFlowArgs, CancelFlowHeader,
        CancelFlowResult, CancellationSummary, CascadeOutcome, ChangePriorityArgs,
        ChangePriorityResult, CheckAdmissionArgs, CheckAdmissionResult, ClaimExecutionArgs,
        ClaimExecutionResult, ClaimForWorkerArgs, ClaimForWorkerOutcome, ClaimGrant,
        ClaimGrantOutcome, ClaimResumedExecutionArgs, ClaimResumedExecutionResult,
        ClaimedExecution, ClaimedResumedExecution, CloseWaitpointArgs, CloseWaitpointResult,
        CompleteExecutionArgs, CompleteExecutionResult, CompositeBody, CompositeValidationError,
        CountKind, CreateBudgetArgs, CreateBudgetResult, CreateExecutionArgs,
        CreateExecutionResult, CreateFlowArgs, CreateFlowResult, CreatePendingWaitpointArgs,
        CreatePendingWaitpointResult, CreateQuotaPolicyArgs, CreateQuotaPolicyResult,
        DelayExecutionArgs, DelayExecutionResult, DeliverApprovalSignalArgs, DeliverSignalArgs,
        DeliverSignalResult, EdgeDependencyPolicy, EdgeDirection, EdgeGroupSnapshot,
        EdgeGroupState, EdgeSnapshot, EvaluateFlowEligibilityArgs, EvaluateFlowEligibilityResult,
        ExecutionContext, ExecutionInfo, ExecutionQuery, ExecutionQueryPage, ExecutionRow,
        ExecutionSnapshot, ExecutionSummary, ExecutionTimeline, ExpireExecutionArgs,
        ExpireExecutionResult, ExpireSuspensionArgs, ExpireSuspensionResult, ExpiredLeaseInfo,
        ExpiredLeasesCursor, FailExecutionArgs, FailExecutionResult, FailureSummary, FlowCursor,
        FlowGraph, FlowQuery, FlowQueryPage, FlowRow, FlowSnapshot, FlowStatus, FlowSummary,
        HeartbeatWorkerArgs, HeartbeatWorkerOutcome, IdempotencyKey, IssueClaimGrantArgs,
        IssueClaimGrantOutcome, IssueClaimGrantResult, IssueGrantAndClaimArgs,
        IssueReclaimGrantArgs, IssueReclaimGrantOutcome, IssueReclaimGrantResult,
        LIST_EXPIRED_LEASES_DEFAULT_LIMIT, LIST_EXPIRED_LEASES_DEFAULT_MAX_PARTITIONS,
        LIST_EXPIRED_LEASES_MAX_LIMIT, LeaseSummary, ListExecutionsPage, ListExecutionsResult,
        ListExpiredLeasesArgs, ListExpiredLeasesResult, ListFlowsPage, ListLanesPage,
        ListPendingWaitpointsArgs, ListPendingWaitpointsResult, ListSuspendedPage,
        ListWaitpointHmacKidsArgs, ListWorkersArgs, ListWorkersResult,
        MARK_WORKER_DEAD_REASON_MAX_BYTES, MAX_COMPOSITE_DEPTH, MarkLeaseExpiredArgs,
        MarkLeaseExpiredResult, MarkWorkerDeadArgs, MarkWorkerDeadOutcome,
        MoveToWaitingChildrenArgs, MoveToWaitingChildrenResult, OnSatisfied, Outbox,
        PendingWaitpointInfo, PromoteBlockedToEligibleArgs, PromoteBlockedToEligibleResult,
        QuotaPolicyLimits, ReadFramesArgs, ReadFramesResult, ReclaimExecutionArgs,
        ReclaimExecutionOutcome, ReclaimExecutionResult, ReclaimGrant, RecordSpendArgs,
        RegisterWorkerArgs, RegisterWorkerOutcome, ReleaseAdmissionArgs, ReleaseAdmissionResult,
        ReleaseBudgetArgs, RenewLeaseArgs, RenewLeaseResult, ReplayExecutionArgs,
        ReplayExecutionResult, ReportUsageAdminArgs, ReportUsageArgs, ReportUsageResult,
        ResetBudgetArgs, ResetBudgetResult, ResolveDependencyArgs, ResolveDependencyOutcome,
        ResolveDependencyResult, ResumeCondition, ResumeExecutionArgs, ResumeExecutionResult,
        ResumeGrant, ResumePolicy, ResumeTarget, RevokeLeaseArgs, RevokeLeaseResult,
        RotateWaitpointHmacSecretAllArgs, RotateWaitpointHmacSecretAllEntry,
        RotateWaitpointHmacSecretAllResult, RotateWaitpointHmacSecretArgs,
        RotateWaitpointHmacSecretOutcome, STREAM_READ_HARD_CAP, ScanEligibleArgs, SeedOutcome,
        SeedWaitpointHmacSecretArgs, SetEdgeGroupPolicyArgs, SetEdgeGroupPolicyResult,
        SetExecutionTagsArgs, SetExecutionTagsResult, SetFlowTagsArgs, SetFlowTagsResult,
        SignalMatcher, StageDependencyEdgeArgs, StageDependencyEdgeResult, StateSummary,
        StreamCursor, StreamCursorParseError, StreamFrame, StreamFrames, SuspendArgs,
        SuspendExecutionArgs, SuspendExecutionResult, SuspendOutcome, SuspendOutcomeDetails,
        SuspendedExecutionEntry, SuspensionReasonCode, SuspensionRequester, TimelineEvent,
        TimeoutBehavior, UnblockExecutionArgs, UnblockExecutionResult, UpdateProgressArgs,
        UpdateProgressResult, VerifyingKid, WaitpointBinding, WaitpointHmacKids, WorkerInfo,
    };
}

mod contracts_decode {
    use ff_core::contracts::decode::{
        EDGE_KNOWN_FIELDS, FLOW_CORE_KNOWN_FIELDS, build_edge_snapshot, build_execution_snapshot,
        build_flow_snapshot,
    };
}

mod crypto {
    use ff_core::crypto::constant_time_eq;
}

mod crypto_hmac {
    use ff_core::crypto::hmac::{HmacVerifyError, hmac_sign, hmac_verify};
}

mod engine_backend {
    use ff_core::engine_backend::{
        EngineBackend, ExpirePhase, ReconcileCounts, Scan, SiblingCancelReconcileAction,
        cancel_flow_wait_deadline, validate_tag_key, wait_for_flow_cancellation,
    };
}

mod engine_error {
    use ff_core::engine_error::{
        BackendError, BackendErrorKind, BugKind, ConflictKind, ContentionKind, EngineError,
        StateKind, ValidationKind, backend_context,
    };
}

mod error {
    use ff_core::error::ErrorClass;
}

mod handle_codec {
    use ff_core::handle_codec::{DecodedHandle, HandleDecodeError, HandlePayload, decode, encode};
}

mod hash {
    use ff_core::hash::{fnv1a_u16_mod, fnv1a_u64, fnv1a_xor8hex};
}

mod partition {
    use ff_core::partition::{
        Crc16SoloPartitioner, Partition, PartitionConfig, PartitionFamily, PartitionKey,
        PartitionKeyParseError, SoloPartitioner, budget_partition, execution_partition,
        flow_partition, quota_partition, solo_partition, solo_partition_with,
    };
}

mod policy {
    use ff_core::policy::{
        BackoffStrategy, CAPS_MAX_BYTES, CAPS_MAX_TOKENS, ExecutionPolicy, FallbackPolicy,
        FallbackTier, RetryPolicy, RoutingRequirements, StreamPolicy, SuspensionPolicy,
        TimeoutPolicy,
    };
}

mod policy_check {
    use ff_core::policy::check::{
        COUNT_MAX, LIMIT_MAX_MS, MULTIPLIER_MAX, PAUSE_MAX_MS, PolicyFault, RETRIES_MAX,
        RETRIES_WITHOUT_PAUSE_MAX, RETRYABLE_CATEGORIES, SIGNALS_MAX, TIME_MAX,
    };
}

mod policy_stored {
    use ff_core::policy::stored::{
        max_reclaim_count, max_replay_count, max_signals, suspension_timeout,
    };
}

mod state {
    use ff_core::state::{
        AttemptLifecycle, AttemptOutcome, AttemptState, AttemptType, BlockingReason, ClosedSet,
        CompletionKind, EligibilityState, FailureClass, GrantKind, InstanceTagEventType, LaneState,
        LeaseCause, LeaseEventType, LifecyclePhase, OperatorEventType, OwnershipState,
        PublicFlowState, PublicState, SignalEffect, StateVector, TerminalOutcome, WaitpointState,
        derive_public_state,
    };
}

mod stream_events {
    use ff_core::stream_events::{
        CompletionEvent, CompletionOutcome, CompletionSubscription, InstanceTagEvent,
        InstanceTagSubscription, LeaseHistoryEvent, LeaseHistorySubscription, OperatorEvent,
        OperatorEventSubscription, SignalDeliveryEffect, SignalDeliveryEvent,
        SignalDeliverySubscription,
    };
}

mod stream_subscribe {
    use ff_core::stream_subscribe::{
        POSTGRES_CURSOR_PREFIX, StreamCursor, VALKEY_CURSOR_PREFIX, decode_postgres_event_cursor,
        decode_valkey_cursor, encode_postgres_event_cursor, encode_valkey_cursor,
    };
}

mod types {
    use ff_core::types::{
        AttemptId, AttemptIndex, BudgetId, CancelSource, EdgeId, ExecutionId,
        ExecutionIdParseError, FlowId, LANE_ID_MAX_BYTES, LaneId, LaneIdError, LeaseEpoch,
        LeaseFence, LeaseId, Namespace, QuotaPolicyId, SignalId, SuspensionId, TimestampMs,
        WaitpointId, WaitpointKey, WaitpointToken, WorkerId, WorkerInstanceId,
    };
}

mod waitpoint_hmac {
    use ff_core::waitpoint_hmac::{
        ListWaitpointHmacKidsArgs, RotateWaitpointHmacSecretAllArgs,
        RotateWaitpointHmacSecretAllEntry, RotateWaitpointHmacSecretAllResult,
        RotateWaitpointHmacSecretArgs, RotateWaitpointHmacSecretOutcome, VerifyingKid,
        WaitpointHmac, WaitpointHmacKids,
    };
}

mod root {
    use ff_core::{BackendError, BackendErrorKind, EngineError, ScannerFilter};
}

/// The compiler has checked the paths; this says so where tests are counted.
#[test]
fn every_path_of_the_reference_is_valid() {}
