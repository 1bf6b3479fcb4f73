//! Refusals: the state of an execution in words, and the command that helps.

use std::sync::Arc;

use ff_core::EngineError;
use ff_core::engine_backend::EngineBackend;
use ff_core::engine_error::{ContentionKind, StateKind, ValidationKind};
use ff_core::state::PublicState;
use ff_core::types::ExecutionId;

use super::failure::Failure;
use super::tail::is_over;

/// An action that an operator asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OperatorAction {
    Cancel,
    Replay,
    Resume,
    Reprioritise,
    Signal,
    Read,
}

impl OperatorAction {
    const fn verb(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Replay => "replay",
            Self::Resume => "resume",
            Self::Reprioritise => "change the priority of",
            Self::Signal => "signal",
            Self::Read => "read",
        }
    }

    /// The failure of the action, with the execution's present state.
    pub(super) async fn failure(
        self,
        engine: &Arc<dyn EngineBackend>,
        id: &ExecutionId,
        error: &EngineError,
    ) -> Failure {
        // The refusal is reported even if the state cannot be read.
        let state = match error {
            EngineError::Contention(_) | EngineError::State(_) | EngineError::Validation { .. } => {
                engine.read_execution_state(id).await.ok().flatten()
            }
            _ => None,
        };
        self.failure_in(id, error, state)
    }

    fn failure_in(
        self,
        id: &ExecutionId,
        error: &EngineError,
        state: Option<PublicState>,
    ) -> Failure {
        if matches!(error, EngineError::NotFound { entity: "execution" }) {
            return missing(id);
        }

        let sentence = match error {
            EngineError::Contention(ContentionKind::ExecutionNotActive { .. })
                if state.is_some_and(is_over) =>
            {
                "it has ended".to_owned()
            }
            EngineError::Validation { .. }
                if self == Self::Cancel && state.is_some_and(is_over) =>
            {
                "it has ended".to_owned()
            }
            other => other.sentence(),
        };
        // The sentence may name the state already.
        let is_named = state.is_none_or(|state| sentence.contains(state.as_str()));
        let state_text = match state {
            Some(state) if !is_named => format!("; it is {}", state.as_str()),
            Some(_) | None => String::new(),
        };

        let failure = Failure::new(format!("cannot {} {id}: {sentence}{state_text}", self.verb()));
        match self.help(id, error, state) {
            Some(help) => failure.with_help(help),
            None => failure,
        }
    }

    fn help(
        self,
        id: &ExecutionId,
        error: &EngineError,
        state: Option<PublicState>,
    ) -> Option<String> {
        let has_ended = state.is_some_and(is_over);

        Some(match error {
            EngineError::Contention(ContentionKind::RetryExhausted)
            | EngineError::Timeout { .. }
            | EngineError::ResourceExhausted { .. } => "try again".to_owned(),
            EngineError::NotFound { entity: "waitpoint" | "suspension" }
            | EngineError::Contention(ContentionKind::WaitpointNotFound)
            | EngineError::State(StateKind::WaitpointClosed | StateKind::WaitpointNotOpen)
            | EngineError::Validation {
                kind:
                    ValidationKind::InvalidToken
                    | ValidationKind::InvalidWaitpointForExecution
                    | ValidationKind::InvalidWaitpointKey,
                ..
            } => format!("ff waitpoints '{id}' lists where it waits"),
            _ if has_ended && self != Self::Replay => {
                format!("ff replay '{id}' lets it run again")
            }
            EngineError::State(StateKind::ExecutionNotTerminal) => {
                format!("ff cancel '{id}' ends it")
            }
            EngineError::Contention(_) | EngineError::State(_) => {
                format!("ff show '{id}' tells its state")
            }
            _ => return None,
        })
    }
}

/// The failure for an id that no execution has.
pub(super) fn missing(id: &ExecutionId) -> Failure {
    Failure::new(format!("there is no execution {id}"))
        .with_help("ff ls lists executions; a bare UUID means one of the lane that --lane names")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One refusal of each sort that operators meet.
    #[test]
    fn refusals_say_the_state_and_what_helps() {
        let id = ExecutionId::parse("{fp:7}:550e8400-e29b-41d4-a716-446655440000").unwrap();
        let active = ContentionKind::ExecutionNotActive {
            terminal_outcome: "success".to_owned(),
            lease_epoch: "1".to_owned(),
            lifecycle_phase: "terminal".to_owned(),
            attempt_id: String::new(),
        };
        let invalid =
            |kind, detail: &str| EngineError::Validation { kind, detail: detail.to_owned() };
        use PublicState::{Active, Completed, Suspended, Waiting};
        let messages = [
            (OperatorAction::Cancel, EngineError::Contention(active), Some(Completed)),
            (OperatorAction::Cancel, EngineError::NotFound { entity: "execution" }, None),
            (
                OperatorAction::Replay,
                EngineError::State(StateKind::ExecutionNotTerminal),
                Some(Active),
            ),
            (
                OperatorAction::Replay,
                EngineError::State(StateKind::MaxReplaysExhausted),
                Some(Completed),
            ),
            (
                OperatorAction::Resume,
                EngineError::State(StateKind::ExecutionNotSuspended),
                Some(Waiting),
            ),
            (
                OperatorAction::Reprioritise,
                EngineError::Contention(ContentionKind::ExecutionNotEligible),
                Some(Active),
            ),
            (
                OperatorAction::Signal,
                invalid(ValidationKind::InvalidToken, "wrong"),
                Some(Suspended),
            ),
            (
                OperatorAction::Signal,
                EngineError::State(StateKind::WaitpointClosed),
                Some(Completed),
            ),
            (OperatorAction::Signal, EngineError::NotFound { entity: "waitpoint" }, None),
            (
                OperatorAction::Cancel,
                EngineError::Contention(ContentionKind::RetryExhausted),
                Some(Waiting),
            ),
            (
                OperatorAction::Read,
                EngineError::Transport { backend: "postgres", source: "connection reset".into() },
                None,
            ),
        ]
        .map(|(action, error, state)| {
            action.failure_in(&id, &error, state).to_string().replace(id.as_str(), "ID")
        });
        insta::assert_snapshot!(messages.join("\n"));
    }
}
