//! Refusals and failures as sentences for people, about the thing that the call was for ("it").
//! They repeat neither its id nor any name of this crate's types.

use crate::model::state::ClosedSet as _;

use super::{BugKind, ConflictKind, ContentionKind, EngineError, StateKind, ValidationKind};

impl EngineError {
    /// The refusal as the second half of a sentence: `cannot replay X: it has not ended`.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Self::NotFound { entity } => format!("there is no such {entity}"),
            Self::Validation { kind, detail } => match kind.sentence() {
                None => detail.clone(),
                Some(rule) if detail.is_empty() => rule.to_owned(),
                Some(rule) => format!("{rule} ({detail})"),
            },
            Self::Contention(ContentionKind::ExecutionNotActive { lifecycle_phase, .. })
                if !lifecycle_phase.is_empty() =>
            {
                format!("no worker is running it; it is {lifecycle_phase}")
            }
            Self::Contention(kind) => kind.sentence().to_owned(),
            Self::Conflict(ConflictKind::RotationConflict(clash)) => {
                format!("the key is there already, with another secret ({clash})")
            }
            Self::Conflict(kind) => kind.sentence().to_owned(),
            Self::State(StateKind::LaneClosed { lane_id, state, reason }) => {
                let state = state.as_str();
                let reason = reason.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
                format!("lane {lane_id} is {state} and takes no submissions{reason}")
            }
            Self::State(StateKind::LimitReached { limit_key }) => {
                format!("the limit of {limit_key} has no room; try again once work of it has ended")
            }
            Self::State(kind) => kind.sentence().to_owned(),
            Self::Bug(BugKind::AttemptNotInCreatedState) => {
                "a defect of this program: a new attempt has been started already".to_owned()
            }
            Self::Transport { source, .. } => format!("the database failed: {source}"),
            Self::Unavailable { op } => format!("this is not available: {op}"),
            Self::ResourceExhausted { max, .. } => {
                format!("all {max} connections to the database are in use")
            }
            Self::Timeout { elapsed, .. } => format!(
                "the database did not answer within {} s; the change may have been made",
                elapsed.as_secs_f64()
            ),
            Self::StreamDisconnected { .. } => "the connection was lost".to_owned(),
            Self::StreamBackpressure => "the reader is too slow".to_owned(),
            Self::Contextual { source, .. } => source.sentence(),
        }
    }
}

impl ValidationKind {
    /// The broken rule; `None` where the detail alone says it.
    const fn sentence(&self) -> Option<&'static str> {
        Some(match self {
            Self::InvalidInput => return None,
            Self::CapabilityMismatch => "the worker lacks capabilities",
            Self::InvalidCapabilities => "the list of capabilities is malformed",
            Self::InvalidPolicyJson => "the policy is malformed",
            Self::PayloadTooLarge => "the payload is too large",
            Self::SignalLimitExceeded => "it has received all the signals that it may",
            Self::InvalidWaitpointKey => "the key is not the waitpoint's",
            Self::InvalidToken => "the token is malformed or not the waitpoint's",
            Self::WaitpointNotTokenBound => "the waitpoint has no token",
            Self::RetentionLimitExceeded => "the retention is longer than allowed",
            Self::InvalidLeaseForSuspend => "its lease does not allow a suspension",
            Self::InvalidDependency => "the dependency is malformed or of another flow",
            Self::InvalidWaitpointForExecution => "the waitpoint belongs to another execution",
            Self::InvalidBlockingReason => "the blocking reason is unknown",
            Self::InvalidOffset => "the place in the stream is malformed",
            Self::Unauthorized => "the caller may not do this",
            Self::InvalidBudgetScope => "the budget's scope is malformed",
            Self::BudgetOverrideNotAllowed => "the budget cannot be overridden",
            Self::InvalidQuotaSpec => "the quota is malformed",
            Self::InvalidKid => "the key's name is not allowed",
            Self::InvalidSecretHex => "the secret is not 64 hex digits",
            Self::InvalidGraceMs => "the grace period is out of range",
            Self::InvalidTagKey => "the tag's key is malformed",
            Self::InvalidFrameType => "the frame's type is malformed",
            Self::Corruption => "what is stored cannot be understood",
            Self::HandleFromOtherBackend => "the lease was given by another database",
        })
    }
}

impl ContentionKind {
    const fn sentence(&self) -> &'static str {
        match self {
            Self::UseClaimResumedExecution => "it was resumed and is claimed in another way",
            Self::NotAResumedExecution => "it was not resumed and is claimed in another way",
            Self::ExecutionNotLeaseable => "no worker can lease it now",
            Self::LeaseConflict => "another worker holds its lease, or changed it first",
            Self::InvalidClaimGrant => "the grant is unknown, used, or another worker's",
            Self::ClaimGrantExpired => "the grant has expired",
            Self::NoEligibleExecution => "there is nothing to claim",
            Self::WaitpointNotFound => "there is no such waitpoint",
            Self::WaitpointPendingUseBufferScript => "the waitpoint is not open yet",
            Self::StaleGraphRevision => "the flow's graph has changed meanwhile",
            Self::ExecutionNotActive { .. } => "no worker is running it",
            Self::ExecutionNotEligible => "it is not waiting for a worker",
            Self::ExecutionNotInEligibleSet => "it is no longer waiting for a worker",
            Self::ExecutionNotReclaimable => "its lease has neither expired nor been revoked",
            Self::NoActiveLease => "no worker holds a lease on it",
            Self::RateLimitExceeded => "the quota's rate is used up",
            Self::ConcurrencyLimitExceeded => "the quota's slots are taken",
            Self::RetryExhausted => "others kept changing it at the same time",
            Self::TransactionConflict => "another transaction came first: run this one again",
        }
    }
}

impl ConflictKind {
    const fn sentence(&self) -> &'static str {
        match self {
            Self::DependencyAlreadyExists { .. } => "the dependency exists already, as another one",
            Self::CycleDetected => "the dependency would close a cycle",
            Self::SelfReferencingEdge => "an execution cannot wait for itself",
            Self::ExecutionAlreadyInFlow => "it belongs to a flow already",
            Self::WaitpointAlreadyExists => "the waitpoint exists already",
            Self::BudgetAttachConflict => "it is attached to another budget",
            Self::QuotaAttachConflict => "it is attached to another quota",
            Self::RotationConflict(_) => "the key is there already, with another secret",
            Self::ActiveAttemptExists => "an attempt is running already",
        }
    }
}

impl StateKind {
    const fn sentence(&self) -> &'static str {
        match self {
            Self::StaleLease => "its lease has passed to another worker",
            Self::LeaseExpired => "its lease has expired",
            Self::LeaseRevoked => "its lease was revoked",
            Self::ExecutionNotSuspended => "it is not suspended",
            Self::AlreadySuspended => "it is suspended already",
            Self::WaitpointClosed => "the waitpoint takes no more signals",
            Self::TargetNotSignalable => "it cannot receive signals now",
            Self::DuplicateSignal => "the signal was delivered before",
            Self::ResumeConditionNotMet => "the signals so far do not satisfy its condition",
            Self::WaitpointNotPending => "the waitpoint is not pending",
            Self::PendingWaitpointExpired => "the pending waitpoint has expired",
            Self::WaitpointNotOpen => "the waitpoint is not open",
            Self::ExecutionNotTerminal => "it has not ended",
            Self::MaxReplaysExhausted => "it was replayed as often as it may be",
            Self::StreamClosed => "the stream takes no more frames",
            Self::StaleOwnerCannotAppend => "the stream has passed to another worker",
            Self::GrantAlreadyExists => "it is granted to a worker already",
            Self::ExecutionNotInFlow => "it does not belong to the flow",
            Self::FlowAlreadyTerminal => "the flow has ended",
            Self::DepsNotSatisfied => "it still waits for others of its flow",
            Self::NotBlockedByDeps => "it does not wait for others of its flow",
            Self::NotRunnable => "it is not runnable",
            Self::Terminal => "it has ended",
            Self::BudgetExceeded => "the budget's hard limit is reached",
            Self::BudgetSoftExceeded => "the budget's soft limit is reached",
            Self::OkAlreadyApplied => "this was done before",
            Self::AttemptNotStarted => "its attempt has not started",
            Self::AttemptAlreadyTerminal => "its attempt has ended already",
            Self::ExecutionNotEligibleForAttempt => "it cannot have another attempt now",
            Self::ReplayNotAllowed => "it must not be replayed",
            Self::MaxRetriesExhausted => "it was retried as often as it may be",
            Self::StreamAlreadyClosed => "the stream is closed already",
            Self::AlreadySatisfied => "its condition is satisfied already",
            Self::LaneClosed { .. } => "the lane takes no submissions",
            Self::LimitReached { .. } => "the limit of a key has no room",
        }
    }
}
