//! Refusals of a call's content, which every repetition meets again.

use super::{ConflictKind, EngineError, StateKind, ValidationKind};

impl EngineError {
    /// Returns true if the call is refused for its content, so that every repetition is refused
    /// again, by any caller: a text with NUL, a policy out of bounds, a result larger than the
    /// database takes, a closed waitpoint. A worker that gets such a refusal of a report reports a
    /// failure instead.
    ///
    /// Returns false for refusals that concern the caller's right to report (a lost lease, an ended
    /// attempt), stored data, or the moment.
    #[must_use]
    pub fn is_refused_for_content(&self) -> bool {
        match self {
            Self::Validation { kind, .. } => kind.is_about_content(),
            Self::Conflict(kind) => kind.is_about_content(),
            Self::State(kind) => kind.is_about_content(),
            Self::NotFound { entity } => *entity == "waitpoint",
            Self::Contextual { source, .. } => source.is_refused_for_content(),
            Self::Contention(_)
            | Self::Bug(_)
            | Self::Transport { .. }
            | Self::Unavailable { .. }
            | Self::ResourceExhausted { .. }
            | Self::Timeout { .. }
            | Self::StreamDisconnected { .. }
            | Self::StreamBackpressure => false,
        }
    }

    /// The refusal of a value by a database: too large for it, or no text of its kind. `said` must
    /// show no value.
    #[must_use]
    pub fn refused_by_database(backend: &str, said: impl std::fmt::Display) -> Self {
        Self::Validation {
            kind: ValidationKind::PayloadTooLarge,
            detail: format!("{backend} cannot store this: {said}"),
        }
    }
}

impl ValidationKind {
    const fn is_about_content(&self) -> bool {
        match self {
            Self::InvalidInput
            | Self::InvalidCapabilities
            | Self::InvalidPolicyJson
            | Self::PayloadTooLarge
            | Self::InvalidWaitpointKey
            | Self::InvalidToken
            | Self::RetentionLimitExceeded
            | Self::InvalidDependency
            | Self::InvalidWaitpointForExecution
            | Self::InvalidBlockingReason
            | Self::InvalidOffset
            | Self::InvalidBudgetScope
            | Self::InvalidQuotaSpec
            | Self::InvalidKid
            | Self::InvalidSecretHex
            | Self::InvalidGraceMs
            | Self::InvalidTagKey
            | Self::InvalidFrameType => true,
            // These depend on the caller, on stored data or on the execution's progress.
            Self::CapabilityMismatch
            | Self::SignalLimitExceeded
            | Self::WaitpointNotTokenBound
            | Self::InvalidLeaseForSuspend
            | Self::Unauthorized
            | Self::BudgetOverrideNotAllowed
            | Self::Corruption
            | Self::HandleFromOtherBackend => false,
        }
    }
}

impl ConflictKind {
    const fn is_about_content(&self) -> bool {
        match self {
            Self::DependencyAlreadyExists { .. }
            | Self::CycleDetected
            | Self::SelfReferencingEdge
            | Self::ExecutionAlreadyInFlow
            | Self::WaitpointAlreadyExists
            | Self::BudgetAttachConflict
            | Self::QuotaAttachConflict
            | Self::RotationConflict(_) => true,
            Self::ActiveAttemptExists => false,
        }
    }
}

impl StateKind {
    /// True for a waitpoint that the call named and that is over: it stays so.
    const fn is_about_content(&self) -> bool {
        match self {
            Self::WaitpointClosed | Self::WaitpointNotPending | Self::PendingWaitpointExpired => {
                true
            }
            Self::StaleLease
            | Self::LeaseExpired
            | Self::LeaseRevoked
            | Self::ExecutionNotSuspended
            | Self::AlreadySuspended
            | Self::TargetNotSignalable
            | Self::DuplicateSignal
            | Self::ResumeConditionNotMet
            | Self::WaitpointNotOpen
            | Self::ExecutionNotTerminal
            | Self::MaxReplaysExhausted
            | Self::StreamClosed
            | Self::StaleOwnerCannotAppend
            | Self::GrantAlreadyExists
            | Self::ExecutionNotInFlow
            | Self::FlowAlreadyTerminal
            | Self::DepsNotSatisfied
            | Self::NotBlockedByDeps
            | Self::NotRunnable
            | Self::Terminal
            | Self::BudgetExceeded
            | Self::BudgetSoftExceeded
            | Self::OkAlreadyApplied
            | Self::AttemptNotStarted
            | Self::AttemptAlreadyTerminal
            | Self::ExecutionNotEligibleForAttempt
            | Self::ReplayNotAllowed
            | Self::MaxRetriesExhausted
            | Self::StreamAlreadyClosed
            | Self::AlreadySatisfied
            | Self::LaneClosed { .. }
            | Self::LimitReached { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::error::{ContentionKind, backend_context};

    #[test]
    fn errors_of_content_differ_from_errors_of_caller_and_time() {
        let validation = |kind| EngineError::Validation { kind, detail: String::new() };

        for refused in [
            validation(ValidationKind::InvalidInput),
            validation(ValidationKind::InvalidPolicyJson),
            EngineError::refused_by_database("postgres", "SQLSTATE 54000"),
            EngineError::Conflict(ConflictKind::WaitpointAlreadyExists),
            EngineError::State(StateKind::PendingWaitpointExpired),
            EngineError::NotFound { entity: "waitpoint" },
        ] {
            assert!(refused.is_refused_for_content(), "{refused}");
            let nested = EngineError::Contextual { source: Box::new(refused), context: "c".into() };
            assert!(nested.is_refused_for_content(), "{nested}");
        }

        let lost = EngineError::Transport { backend: "postgres", source: "reset".into() };
        for other in [
            validation(ValidationKind::Corruption),
            validation(ValidationKind::HandleFromOtherBackend),
            EngineError::State(StateKind::LeaseExpired),
            EngineError::State(StateKind::StaleLease),
            EngineError::Contention(ContentionKind::LeaseConflict),
            EngineError::NotFound { entity: "execution" },
            backend_context(lost, "complete"),
        ] {
            assert!(!other.is_refused_for_content(), "{other}");
        }
    }
}
