//! The paths by which callers of the reference name things; each is another name for an item that
//! lives on one of the floors.

pub use crate::contracts::{ScannerFilter, capability, caps};
pub use crate::model::cursor as stream_subscribe;
pub use crate::model::error as engine_error;
pub use crate::model::error::{
    BackendError, BackendErrorKind, EngineError, StoreClass, StoreError,
};
pub use crate::model::ids as types;
pub use crate::model::{crypto, handle_codec, hash, partition, policy, state};

#[cfg(feature = "engine")]
pub use crate::engine::completions as completion_backend;

/// What workers and backends exchange: handles, frames, failures, budgets' usage, connections.
pub mod backend {
    pub use crate::contracts::{
        AppendFrameOutcome, BackendConfig, BackendConnection, BackendRetry, BackendTimeouts,
        BestEffortLiveConfig, CancelFlowPolicy, CancelFlowWait, CapabilitySet, ClaimPolicy,
        CompletionPayload, CompositeBody, FailOutcome, FailureReason, Frame, FrameKind,
        IdempotencyKey, LeaseRenewal, PatchKind, PendingWaitpoint, PostgresConnection,
        PrepareOutcome, ResumeCondition, ResumePolicy, ResumeSignal, ResumeTarget, ResumeToken,
        SUMMARY_NULL_SENTINEL, ScannerFilter, SignalMatcher, StreamMode, SummaryDocument,
        SuspendArgs, SuspendOutcome, SuspendOutcomeDetails, SuspensionReasonCode,
        SuspensionRequester, TailVisibility, TimeoutBehavior, UsageDimensions, ValkeyConnection,
        WaitpointBinding, WaitpointHmac, WaitpointKind, WaitpointSpec,
    };
    pub use crate::model::handle::{
        BackendTag, Handle, HandleKind, HandleOpaque, stub_handle_fresh, stub_handle_resumed,
    };
    pub use crate::model::ids::Namespace;
    pub use crate::model::state::FailureClass;
}

/// The trait that callers use, and the words of its answers.
#[cfg(feature = "engine")]
pub mod engine_backend {
    pub use crate::contracts::{
        ExpirePhase, ReconcileCounts, Scan, SiblingCancelReconcileAction, validate_tag_key,
    };
    pub use crate::engine::BulkPreview;
    pub use crate::engine::operations::{EngineBackend, cancel_flow_wait_deadline};
    #[cfg(feature = "generate")]
    pub use crate::engine::wait_for_flow_cancellation;
    pub use crate::rules::schedule::preview::planned_ticks;
}

/// How an error should be acted upon, independent of what went wrong.
pub mod error {
    pub use crate::model::error::ErrorClass;
}

/// What the event subscriptions deliver.
pub mod stream_events {
    pub use crate::contracts::{
        CompletionEvent, CompletionOutcome, InstanceTagEvent, LeaseHistoryEvent, OperatorEvent,
        SignalDeliveryEffect, SignalDeliveryEvent,
    };
    #[cfg(feature = "engine")]
    pub use crate::engine::operations::{
        CompletionSubscription, InstanceTagSubscription, LeaseHistorySubscription,
        OperatorEventSubscription, SignalDeliverySubscription,
    };
}

/// The types around a waitpoint's signed token, gathered under one path.
pub mod waitpoint_hmac {
    pub use crate::contracts::{
        ListWaitpointHmacKidsArgs, RotateWaitpointHmacSecretAllArgs,
        RotateWaitpointHmacSecretAllEntry, RotateWaitpointHmacSecretAllResult,
        RotateWaitpointHmacSecretArgs, RotateWaitpointHmacSecretOutcome, VerifyingKid,
        WaitpointHmac, WaitpointHmacKids,
    };
}
