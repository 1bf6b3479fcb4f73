//! Every way in which an operation is refused or fails.
//!
//! A refusal is a value: its variant names the broken rule, and [`EngineError::class`] says what
//! the caller should do about it. Texts never carry secrets.

mod class;
mod content;
mod kind;
mod sentence;
mod store;

use std::time::Duration;

use strum::IntoStaticStr;

use crate::model::cursor::StreamCursor;
use crate::model::edge::EdgeSnapshot;
use crate::model::state::LaneState;

pub use class::ErrorClass;
pub use store::{StoreClass, StoreError};

/// The reason why an engine operation did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The thing asked for does not exist.
    #[error("not found: {entity}")]
    NotFound {
        /// The kind of thing, such as `execution`.
        entity: &'static str,
    },
    /// An argument, or a stored value, breaks a rule.
    #[error("validation: {kind:?}: {detail}")]
    Validation {
        /// The broken rule.
        kind: ValidationKind,
        /// The offending argument or value.
        detail: String,
    },
    /// Another worker or transaction came first; the same call may succeed later.
    #[error("contention: {0:?}")]
    Contention(ContentionKind),
    /// Stored data contradicts the call.
    #[error("conflict: {0:?}")]
    Conflict(ConflictKind),
    /// The state forbids the call, or makes it needless.
    #[error("state: {0:?}")]
    State(StateKind),
    /// A defect of this system.
    #[error("bug: {0:?}")]
    Bug(BugKind),
    /// The store failed, or could not be reached.
    #[error("transport ({backend}): {source}")]
    Transport {
        /// The backend.
        backend: &'static str,
        /// The failure: a [`StoreError`] in every error that a backend of this project returns.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The backend does not offer this operation.
    #[error("unavailable: {op}")]
    Unavailable {
        /// The operation.
        op: &'static str,
    },
    /// A bounded pool is used up.
    #[error("resource exhausted: pool={pool} max={max}")]
    ResourceExhausted {
        /// The pool.
        pool: &'static str,
        /// Its size.
        max: u32,
        /// The time to wait before the next try, in milliseconds, where known.
        retry_after_ms: Option<u32>,
    },
    /// The operation took too long; whether it took effect is unknown.
    #[error("timeout: op={op} elapsed={elapsed:?}")]
    Timeout {
        /// The operation.
        op: &'static str,
        /// The time it ran.
        elapsed: Duration,
    },
    /// A subscription lost its connection.
    #[error("stream disconnected: subscribe again from the cursor")]
    StreamDisconnected {
        /// The cursor that a new subscription continues from.
        cursor: StreamCursor,
    },
    /// A subscriber reads too slowly.
    #[error("stream backpressure: the subscriber falls behind")]
    StreamBackpressure,
    /// Another error, with the operation that failed; see [`backend_context`].
    #[error("{context}: {source}")]
    Contextual {
        /// The error.
        source: Box<EngineError>,
        /// The operation that failed, in words.
        context: String,
    },
}

impl EngineError {
    /// The class of the error: the caller's next step.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::NotFound { .. }
            | Self::Validation { .. }
            | Self::Conflict(_)
            | Self::Transport { .. }
            | Self::Unavailable { .. }
            | Self::Timeout { .. }
            | Self::StreamDisconnected { .. } => ErrorClass::Terminal,
            Self::Contention(_) | Self::ResourceExhausted { .. } => ErrorClass::Retryable,
            Self::State(kind) => kind.class(),
            Self::Bug(_) => ErrorClass::Bug,
            Self::StreamBackpressure => ErrorClass::Informational,
            Self::Contextual { source, .. } => source.class(),
        }
    }
}

/// Adds the failed operation as context to a backend's failure. Only failures of the backend take a
/// context (transport, unavailable, resource exhausted, timeout, and those that have one); a
/// refusal is returned as it is, since its kind says everything.
#[must_use]
pub fn backend_context(err: EngineError, context: impl Into<String>) -> EngineError {
    match err {
        EngineError::Transport { .. }
        | EngineError::Unavailable { .. }
        | EngineError::ResourceExhausted { .. }
        | EngineError::Timeout { .. }
        | EngineError::Contextual { .. } => {
            EngineError::Contextual { source: Box::new(err), context: context.into() }
        }
        EngineError::NotFound { .. }
        | EngineError::Validation { .. }
        | EngineError::Contention(_)
        | EngineError::Conflict(_)
        | EngineError::State(_)
        | EngineError::Bug(_)
        | EngineError::StreamDisconnected { .. }
        | EngineError::StreamBackpressure => err,
    }
}

/// The rule that an argument or a stored value breaks.
#[derive(Clone, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[non_exhaustive]
pub enum ValidationKind {
    /// An argument breaks a rule of the operation.
    InvalidInput,
    /// The worker lacks capabilities; the detail is the sorted list of them, separated by commas.
    CapabilityMismatch,
    /// The capability list itself is malformed.
    InvalidCapabilities,
    /// A policy is no valid JSON of its shape.
    InvalidPolicyJson,
    /// A payload exceeds its limit.
    PayloadTooLarge,
    /// The execution has received all the signals it may.
    SignalLimitExceeded,
    /// The waitpoint key is malformed or not the waitpoint's.
    InvalidWaitpointKey,
    /// The waitpoint token is malformed or wrong.
    InvalidToken,
    /// The waitpoint has no token to check against.
    WaitpointNotTokenBound,
    /// The wanted retention exceeds the allowed one.
    RetentionLimitExceeded,
    /// The lease does not allow the execution to be suspended.
    InvalidLeaseForSuspend,
    /// The dependency is malformed or not of this flow.
    InvalidDependency,
    /// The waitpoint belongs to another execution.
    InvalidWaitpointForExecution,
    /// The reason is no blocking reason.
    InvalidBlockingReason,
    /// The stream offset is malformed.
    InvalidOffset,
    /// The caller may not do this.
    Unauthorized,
    /// The budget scope is malformed.
    InvalidBudgetScope,
    /// The budget does not allow overrides.
    BudgetOverrideNotAllowed,
    /// The quota specification is malformed.
    InvalidQuotaSpec,
    /// The key id is empty or holds a colon.
    InvalidKid,
    /// The secret is not hex of the required length.
    InvalidSecretHex,
    /// The grace period is out of range.
    InvalidGraceMs,
    /// The tag key is malformed.
    InvalidTagKey,
    /// The frame type is malformed.
    InvalidFrameType,
    /// Stored bytes cannot be decoded; a retry does not help.
    Corruption,
    /// The handle was made by another backend.
    HandleFromOtherBackend,
}

/// The race that was lost; the same call may succeed later.
#[derive(Clone, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[non_exhaustive]
pub enum ContentionKind {
    /// The execution was resumed: claim it with the operation for that.
    UseClaimResumedExecution,
    /// The execution was not resumed: claim it the ordinary way.
    NotAResumedExecution,
    /// The execution cannot be leased now.
    ExecutionNotLeaseable,
    /// Another worker holds the lease, or another transaction came first.
    LeaseConflict,
    /// The grant is unknown, spent or issued to another worker.
    InvalidClaimGrant,
    /// The grant has lapsed.
    ClaimGrantExpired,
    /// There is nothing to claim.
    NoEligibleExecution,
    /// The waitpoint does not exist yet.
    WaitpointNotFound,
    /// The waitpoint is not open yet: signals for it are buffered.
    WaitpointPendingUseBufferScript,
    /// The flow's graph has changed since it was read.
    StaleGraphRevision,
    /// No worker holds the execution.
    ExecutionNotActive {
        /// The outcome; empty while it has not ended.
        terminal_outcome: String,
        /// The epoch of its last lease, in decimal.
        lease_epoch: String,
        /// The phase that it is in.
        lifecycle_phase: String,
        /// Its current attempt; empty when none is recorded.
        attempt_id: String,
    },
    /// The execution is not eligible for this.
    ExecutionNotEligible,
    /// The execution has left the set of claimable ones.
    ExecutionNotInEligibleSet,
    /// The lease neither lapsed nor was revoked.
    ExecutionNotReclaimable,
    /// There is no lease to act upon.
    NoActiveLease,
    /// The quota's rate is used up.
    RateLimitExceeded,
    /// The quota's slots are taken.
    ConcurrencyLimitExceeded,
    /// The transaction kept losing to others until its tries were used up.
    RetryExhausted,
    /// The transaction of the caller conflicts with another one: roll it back, and run all of it
    /// again.
    TransactionConflict,
}

/// The stored data that contradicts the call.
#[derive(Clone, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[non_exhaustive]
pub enum ConflictKind {
    /// The edge exists already, as described.
    DependencyAlreadyExists {
        /// The edge as it is stored.
        existing: EdgeSnapshot,
    },
    /// The edge would close a cycle.
    CycleDetected,
    /// The edge leads from an execution to itself.
    SelfReferencingEdge,
    /// The execution belongs to a flow already.
    ExecutionAlreadyInFlow,
    /// The waitpoint exists already.
    WaitpointAlreadyExists,
    /// The execution is attached to another budget.
    BudgetAttachConflict,
    /// The execution is attached to another quota.
    QuotaAttachConflict,
    /// The key id exists with another secret; carries a description of the clash.
    RotationConflict(String),
    /// An attempt is running already.
    ActiveAttemptExists,
}

/// The state that forbids the call, or makes it needless.
#[derive(Clone, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[non_exhaustive]
pub enum StateKind {
    /// The fence is not that of the current lease.
    StaleLease,
    /// The lease has lapsed.
    LeaseExpired,
    /// The lease was revoked.
    LeaseRevoked,
    /// The execution is not suspended.
    ExecutionNotSuspended,
    /// The execution is suspended already.
    AlreadySuspended,
    /// The waitpoint takes no more signals.
    WaitpointClosed,
    /// The execution cannot receive signals in its state.
    TargetNotSignalable,
    /// The signal was delivered before.
    DuplicateSignal,
    /// The signals so far do not satisfy the condition.
    ResumeConditionNotMet,
    /// The waitpoint is not pending.
    WaitpointNotPending,
    /// The pending waitpoint has lapsed.
    PendingWaitpointExpired,
    /// The waitpoint is not open.
    WaitpointNotOpen,
    /// The execution has not ended.
    ExecutionNotTerminal,
    /// The execution was replayed as often as it may be.
    MaxReplaysExhausted,
    /// The stream takes no more frames.
    StreamClosed,
    /// The worker no longer owns the stream.
    StaleOwnerCannotAppend,
    /// The execution is granted already.
    GrantAlreadyExists,
    /// The execution does not belong to the flow.
    ExecutionNotInFlow,
    /// The flow has ended.
    FlowAlreadyTerminal,
    /// Dependencies are still open.
    DepsNotSatisfied,
    /// The execution does not wait for dependencies.
    NotBlockedByDeps,
    /// The execution is not runnable.
    NotRunnable,
    /// The execution has ended.
    Terminal,
    /// The budget's hard limit is reached; the worker should stop.
    BudgetExceeded,
    /// The budget's soft limit is reached.
    BudgetSoftExceeded,
    /// The effect is already there.
    OkAlreadyApplied,
    /// The attempt has not started.
    AttemptNotStarted,
    /// The attempt has ended already.
    AttemptAlreadyTerminal,
    /// The execution cannot have another attempt now.
    ExecutionNotEligibleForAttempt,
    /// The execution must not be replayed.
    ReplayNotAllowed,
    /// The execution was retried as often as it may be.
    MaxRetriesExhausted,
    /// The stream is closed already.
    StreamAlreadyClosed,
    /// The condition is satisfied already.
    AlreadySatisfied,
    /// The lane takes no submissions.
    LaneClosed {
        /// The lane.
        lane_id: String,
        /// The state that an operator set.
        state: LaneState,
        /// The operator's reason, where one was given.
        reason: Option<String>,
    },
    /// The limit of a key that the execution names has no room; the claim may be tried again.
    LimitReached {
        /// The key.
        limit_key: String,
    },
}

/// A defect of this system.
#[derive(Clone, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[non_exhaustive]
pub enum BugKind {
    /// A fresh attempt was found in another state than created.
    AttemptNotInCreatedState,
}

impl StateKind {
    const fn class(&self) -> ErrorClass {
        match self {
            Self::BudgetExceeded | Self::LimitReached { .. } => ErrorClass::Cooperative,
            Self::ExecutionNotSuspended
            | Self::AlreadySuspended
            | Self::AlreadySatisfied
            | Self::WaitpointClosed
            | Self::DuplicateSignal
            | Self::GrantAlreadyExists
            | Self::OkAlreadyApplied
            | Self::AttemptAlreadyTerminal
            | Self::StreamAlreadyClosed
            | Self::BudgetSoftExceeded
            | Self::WaitpointNotOpen
            | Self::WaitpointNotPending
            | Self::PendingWaitpointExpired
            | Self::NotBlockedByDeps
            | Self::DepsNotSatisfied => ErrorClass::Informational,
            Self::StaleLease
            | Self::LeaseExpired
            | Self::LeaseRevoked
            | Self::TargetNotSignalable
            | Self::ResumeConditionNotMet
            | Self::ExecutionNotTerminal
            | Self::MaxReplaysExhausted
            | Self::StreamClosed
            | Self::StaleOwnerCannotAppend
            | Self::ExecutionNotInFlow
            | Self::FlowAlreadyTerminal
            | Self::NotRunnable
            | Self::Terminal
            | Self::AttemptNotStarted
            | Self::ExecutionNotEligibleForAttempt
            | Self::ReplayNotAllowed
            | Self::MaxRetriesExhausted
            | Self::LaneClosed { .. } => ErrorClass::Terminal,
        }
    }
}

/// The reason why a backend could not be opened or reached.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// The database or its driver reports a failure.
    #[error("backend error ({}): {message}", kind.as_stable_str())]
    Database {
        /// The kind of failure.
        kind: BackendErrorKind,
        /// The driver's message.
        message: String,
    },
    /// The reference's store or its client reports a failure. No backend here does.
    #[error("backend error ({}): {message}", kind.as_stable_str())]
    Valkey {
        /// The kind of failure.
        kind: BackendErrorKind,
        /// The client's message.
        message: String,
    },
    /// The embedded backend may run in development mode only, and that mode is off.
    #[error("{REQUIRES_DEV_MODE}")]
    RequiresDevMode,
}

const REQUIRES_DEV_MODE: &str = "SqliteBackend requires FF_DEV_MODE=1; see docs/dev-harness.md";

impl BackendError {
    /// The kind of failure.
    #[must_use]
    pub const fn kind(&self) -> BackendErrorKind {
        match self {
            Self::Database { kind, .. } | Self::Valkey { kind, .. } => *kind,
            Self::RequiresDevMode => BackendErrorKind::Protocol,
        }
    }

    /// The message, without the kind.
    #[must_use]
    pub fn message(&self) -> &str {
        match self {
            Self::Database { message, .. } | Self::Valkey { message, .. } => message,
            Self::RequiresDevMode => REQUIRES_DEV_MODE,
        }
    }
}

/// The kind of failure that a backend reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackendErrorKind {
    /// The connection failed.
    Transport,
    /// The client and the store disagree about the protocol.
    Protocol,
    /// The store took too long.
    Timeout,
    /// The store refused the credentials.
    Auth,
    /// The store's cluster is changing.
    Cluster,
    /// The store is still starting.
    BusyLoading,
    /// The store lost a prepared script.
    ScriptNotLoaded,
    /// Anything else.
    Other,
}

impl BackendErrorKind {
    /// A name that never changes, for logs and metrics.
    #[must_use]
    pub const fn as_stable_str(&self) -> &'static str {
        match self {
            Self::Transport => "transport",
            Self::Protocol => "protocol",
            Self::Timeout => "timeout",
            Self::Auth => "auth",
            Self::Cluster => "cluster",
            Self::BusyLoading => "busy_loading",
            Self::ScriptNotLoaded => "script_not_loaded",
            Self::Other => "other",
        }
    }

    /// Returns true if the same call may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Transport | Self::Timeout | Self::Cluster | Self::BusyLoading => true,
            Self::Protocol | Self::Auth | Self::ScriptNotLoaded | Self::Other => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    fn transport() -> EngineError {
        EngineError::Transport { backend: "postgres", source: "connection reset".into() }
    }

    fn not_active() -> ContentionKind {
        ContentionKind::ExecutionNotActive {
            terminal_outcome: "success".to_owned(),
            lease_epoch: "1".to_owned(),
            lifecycle_phase: "terminal".to_owned(),
            attempt_id: String::new(),
        }
    }

    /// Every variant with its text, its class, and whether it takes a context.
    fn samples() -> Vec<(EngineError, &'static str, ErrorClass, bool)> {
        use ErrorClass::{Bug, Informational, Retryable, Terminal};
        let cursor = StreamCursor::empty();
        let invalid = ValidationKind::InvalidInput;
        let exhausted =
            EngineError::ResourceExhausted { pool: "conn", max: 8, retry_after_ms: None };
        let elapsed = Duration::from_millis(1500);
        let nested = backend_context(transport(), "claim");

        vec![
            (EngineError::NotFound { entity: "flow" }, "not found: flow", Terminal, false),
            (
                EngineError::Validation { kind: invalid, detail: "fence_required".to_owned() },
                "validation: InvalidInput: fence_required",
                Terminal,
                false,
            ),
            (
                EngineError::Contention(not_active()),
                concat!(
                    r#"contention: ExecutionNotActive { terminal_outcome: "success", "#,
                    r#"lease_epoch: "1", lifecycle_phase: "terminal", attempt_id: "" }"#,
                ),
                Retryable,
                false,
            ),
            (
                EngineError::Conflict(ConflictKind::RotationConflict("k".to_owned())),
                r#"conflict: RotationConflict("k")"#,
                Terminal,
                false,
            ),
            (EngineError::State(StateKind::StaleLease), "state: StaleLease", Terminal, false),
            (
                EngineError::Bug(BugKind::AttemptNotInCreatedState),
                "bug: AttemptNotInCreatedState",
                Bug,
                false,
            ),
            (transport(), "transport (postgres): connection reset", Terminal, true),
            (EngineError::Unavailable { op: "x" }, "unavailable: x", Terminal, true),
            (exhausted, "resource exhausted: pool=conn max=8", Retryable, true),
            (
                EngineError::Timeout { op: "claim", elapsed },
                "timeout: op=claim elapsed=1.5s",
                Terminal,
                true,
            ),
            (
                EngineError::StreamDisconnected { cursor },
                "stream disconnected: subscribe again from the cursor",
                Terminal,
                false,
            ),
            (
                EngineError::StreamBackpressure,
                "stream backpressure: the subscriber falls behind",
                Informational,
                false,
            ),
            (nested, "claim: transport (postgres): connection reset", Terminal, true),
        ]
    }

    #[test]
    fn texts_classes_and_contexts() {
        for (error, text, class, takes_context) in samples() {
            assert_eq!(error.to_string(), text);
            assert_eq!(error.class(), class, "{text}");
            let wrapped = backend_context(error, "ctx");
            let expected = if takes_context { format!("ctx: {text}") } else { text.to_owned() };
            assert_eq!(wrapped.to_string(), expected);
            assert_eq!(wrapped.class(), class, "{text}");
            assert_eq!(matches!(wrapped, EngineError::Contextual { .. }), takes_context);
        }
    }

    #[test]
    fn sentences_name_no_type() {
        for (error, text, _, _) in samples() {
            let sentence = error.sentence();
            let type_name = |word: &str| word.chars().skip(1).any(char::is_uppercase);
            assert!(!sentence.split_whitespace().any(type_name), "{text}: {sentence}");
            assert!(
                !sentence.contains(['{', '_']) || text.contains("fence_required"),
                "{sentence}"
            );
        }

        assert_eq!(
            EngineError::State(StateKind::StaleLease).sentence(),
            "its lease has passed to another worker"
        );
        let active = EngineError::Contention(not_active()).sentence();
        assert_eq!(active, "no worker is running it; it is terminal");
        let nested = backend_context(transport(), "claim").sentence();
        assert_eq!(nested, "the database failed: connection reset");
    }

    #[test]
    fn sources_are_kept() {
        assert_eq!(transport().source().unwrap().to_string(), "connection reset");
        let wrapped = backend_context(transport(), "claim");
        assert!(wrapped.source().unwrap().to_string().starts_with("transport (postgres)"));
    }

    #[test]
    fn states_that_need_no_repair_are_informational() {
        assert_eq!(StateKind::BudgetExceeded.class(), ErrorClass::Cooperative);
        assert_eq!(StateKind::BudgetSoftExceeded.class(), ErrorClass::Informational);
        assert_eq!(StateKind::AlreadySatisfied.class(), ErrorClass::Informational);
        assert_eq!(StateKind::LeaseExpired.class(), ErrorClass::Terminal);
        assert_eq!(StateKind::Terminal.class(), ErrorClass::Terminal);
    }

    #[test]
    fn backend_errors_name_kind_and_message() {
        let (kind, message) = (BackendErrorKind::BusyLoading, "loading".to_owned());
        for error in [
            BackendError::Database { kind, message: message.clone() },
            BackendError::Valkey { kind, message },
        ] {
            assert_eq!(error.to_string(), "backend error (busy_loading): loading");
            assert_eq!((error.kind(), error.message()), (BackendErrorKind::BusyLoading, "loading"));
        }

        let refused = BackendError::RequiresDevMode;
        assert_eq!(refused.kind(), BackendErrorKind::Protocol);
        assert!(refused.to_string().contains("SqliteBackend requires FF_DEV_MODE=1"));
        assert!(refused.to_string().contains("docs/dev-harness.md"));
        assert_eq!(refused.message(), refused.to_string());
    }

    #[test]
    fn backend_error_kinds_have_stable_names() {
        let kinds = [
            (BackendErrorKind::Transport, "transport", true),
            (BackendErrorKind::Protocol, "protocol", false),
            (BackendErrorKind::Timeout, "timeout", true),
            (BackendErrorKind::Auth, "auth", false),
            (BackendErrorKind::Cluster, "cluster", true),
            (BackendErrorKind::BusyLoading, "busy_loading", true),
            (BackendErrorKind::ScriptNotLoaded, "script_not_loaded", false),
            (BackendErrorKind::Other, "other", false),
        ];

        for (kind, name, retryable) in kinds {
            assert_eq!((kind.as_stable_str(), kind.is_retryable()), (name, retryable));
        }
    }
}
