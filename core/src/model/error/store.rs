//! Failures of the database behind the engine, classified the same way by every backend.

use std::error::Error;
use std::fmt;

use super::EngineError;

/// The meaning of a failure of the store for the call that met it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreClass {
    /// Nothing was changed, and the same call may succeed later: a lost race, a lock, a restart.
    Retryable,
    /// The connection was lost while a change was on its way: it may or may not be durable. The
    /// call may be repeated: every operation recognises its own repetition or refuses it.
    OutcomeUnknown,
    /// Nothing was changed, and the same call fails again: a missing table, a wrong password, a
    /// defect.
    Permanent,
    /// Nothing was changed; the disk has no room for it. The same call succeeds once an operator
    /// has made room.
    Full,
    /// The stored data is damaged.
    Corrupt,
}

impl StoreClass {
    /// The class in words, for logs and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retryable => "retryable",
            Self::OutcomeUnknown => "outcome unknown",
            Self::Permanent => "permanent",
            Self::Full => "disk full",
            Self::Corrupt => "corrupt",
        }
    }

    /// True if the same call may succeed later without a change to the caller or the database
    /// schema.
    #[must_use]
    pub const fn may_pass(self) -> bool {
        match self {
            Self::Retryable | Self::OutcomeUnknown | Self::Full => true,
            Self::Permanent | Self::Corrupt => false,
        }
    }
}

impl fmt::Display for StoreClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A classified failure of the store: the source of every [`EngineError::Transport`] that a backend
/// returns.
#[derive(Debug)]
pub struct StoreError {
    class: StoreClass,
    source: Box<dyn Error + Send + Sync>,
}

impl StoreError {
    /// A failure of this class; `source` is the error of the database driver or of the backend.
    #[must_use]
    pub fn new(class: StoreClass, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { class, source: source.into() }
    }

    /// The class.
    #[must_use]
    pub const fn class(&self) -> StoreClass {
        self.class
    }

    /// The error behind it, if it is of this type.
    #[must_use]
    pub fn source_as<E: Error + 'static>(&self) -> Option<&E> {
        self.source.downcast_ref()
    }

    /// The engine's error for it, with the name of the backend.
    #[must_use]
    pub fn in_backend(self, backend: &'static str) -> EngineError {
        EngineError::Transport { backend, source: Box::new(self) }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.class, self.source)
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.source.as_ref())
    }
}

impl EngineError {
    /// The failure of the store behind this error, if it is one.
    #[must_use]
    pub fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Transport { source, .. } => source.downcast_ref(),
            Self::Contextual { source, .. } => source.store_error(),
            Self::NotFound { .. }
            | Self::Validation { .. }
            | Self::Contention(_)
            | Self::Conflict(_)
            | Self::State(_)
            | Self::Bug(_)
            | Self::Unavailable { .. }
            | Self::ResourceExhausted { .. }
            | Self::Timeout { .. }
            | Self::StreamDisconnected { .. }
            | Self::StreamBackpressure => None,
        }
    }

    /// The class of the store's failure behind this error; `None` for refusals, and for a
    /// `Transport` that no backend of this project made.
    #[must_use]
    pub fn store_class(&self) -> Option<StoreClass> {
        self.store_error().map(StoreError::class)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::error::backend_context;

    #[test]
    fn a_context_hides_no_class() {
        let lost = StoreError::new(StoreClass::OutcomeUnknown, "reset").in_backend("postgres");
        let error = backend_context(lost, "completing");
        assert_eq!(error.store_class(), Some(StoreClass::OutcomeUnknown));
        assert!(error.to_string().contains("outcome unknown: reset"), "{error}");
    }

    #[test]
    fn only_failures_of_a_store_have_a_class() {
        let foreign = EngineError::Transport { backend: "mine", source: "reset".into() };
        assert_eq!(foreign.store_class(), None);
        assert_eq!(EngineError::NotFound { entity: "flow" }.store_class(), None);
    }
}
