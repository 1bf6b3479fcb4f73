//! The kind of an error as one word, for metrics: it says nothing about any one call.

use super::EngineError;

impl EngineError {
    /// The broken rule or the failure as one word, such as `stale_lease`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::Validation { kind, .. } => kind.into(),
            Self::Contention(kind) => kind.into(),
            Self::Conflict(kind) => kind.into(),
            Self::State(kind) => kind.into(),
            Self::Bug(kind) => kind.into(),
            Self::Transport { .. } => "transport",
            Self::Unavailable { .. } => "unavailable",
            Self::ResourceExhausted { .. } => "resource_exhausted",
            Self::Timeout { .. } => "timeout",
            Self::StreamDisconnected { .. } => "stream_disconnected",
            Self::StreamBackpressure => "stream_backpressure",
            Self::Contextual { source, .. } => source.kind(),
        }
    }

    /// True if a rule refused the call; false if the database or this system failed.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::NotFound { .. } | Self::Contention(_) | Self::Conflict(_) | Self::State(_) => {
                true
            }
            Self::Validation { kind, .. } => *kind != super::ValidationKind::Corruption,
            Self::Bug(_)
            | Self::Transport { .. }
            | Self::Unavailable { .. }
            | Self::ResourceExhausted { .. }
            | Self::Timeout { .. }
            | Self::StreamDisconnected { .. }
            | Self::StreamBackpressure => false,
            Self::Contextual { source, .. } => source.is_refusal(),
        }
    }
}

#[cfg(feature = "engine")]
impl ff_telemetry::Refusal for EngineError {
    fn outcome(&self) -> ff_telemetry::Outcome {
        if self.is_refusal() {
            ff_telemetry::Outcome::Refused(self.kind())
        } else {
            ff_telemetry::Outcome::Failed(self.kind())
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::model::error::{EngineError, StateKind, backend_context};

    #[test]
    fn a_kind_is_one_word_and_a_context_changes_nothing() {
        let stale = EngineError::State(StateKind::StaleLease);
        let reached =
            EngineError::State(StateKind::LimitReached { limit_key: "of a tenant".into() });
        let down = EngineError::Unavailable { op: "ping" };
        assert_eq!((stale.kind(), stale.is_refusal()), ("stale_lease", true));
        assert_eq!(reached.kind(), "limit_reached");
        let down = backend_context(down, "opening");
        assert_eq!((down.kind(), down.is_refusal()), ("unavailable", false));
    }
}
