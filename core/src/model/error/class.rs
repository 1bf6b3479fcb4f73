//! The reaction to an error, independent of its cause.

use serde::{Deserialize, Serialize};

/// The next step for the caller of a failed operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// Give up: the same call fails again.
    Terminal,
    /// Try the same call again, later or against other work.
    Retryable,
    /// The system asks the worker to stop of its own accord.
    Cooperative,
    /// Nothing to repair: the wanted effect is already there or not needed.
    Informational,
    /// A hint that may be ignored.
    Advisory,
    /// A defect in this system, to be reported.
    Bug,
    /// Part of normal operation.
    Expected,
    /// Degraded but usable.
    SoftError,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_form_is_snake_case() {
        assert_eq!(serde_json::to_string(&ErrorClass::SoftError).unwrap(), r#""soft_error""#);
    }
}
