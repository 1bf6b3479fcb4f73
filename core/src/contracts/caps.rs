//! Matching of workers and executions by capability tokens.
//!
//! Tokens are compared verbatim: no trimming, no case folding, no hierarchy.

use std::collections::BTreeSet;

/// The capability tokens that a worker must offer to run an execution.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CapabilityRequirement {
    /// The required tokens; none of them is empty when built with [`Self::new`].
    pub tokens: BTreeSet<String>,
}

impl CapabilityRequirement {
    /// A requirement for every token of `tokens`; empty tokens are dropped.
    #[must_use]
    pub fn new<I, S>(tokens: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        let tokens = tokens.into_iter().map(Into::into).filter(|token| !token.is_empty()).collect();
        Self { tokens }
    }

    /// A requirement read from comma-separated tokens; empty ones are dropped.
    #[must_use]
    pub fn from_csv(csv: &str) -> Self {
        Self::new(csv.split(','))
    }

    /// Returns true if nothing is required, so that any worker satisfies this.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }
}

/// Returns true if `offered` holds every token that `required` names; always, if none is required.
#[must_use]
pub fn matches(required: &CapabilityRequirement, offered: &CapabilitySet) -> bool {
    required.tokens.iter().all(|token| offered.tokens.contains(token))
}

/// Returns true if `worker_caps` holds every non-empty token of the comma-separated `required_csv`.
#[must_use]
pub fn matches_csv(required_csv: &str, worker_caps: &BTreeSet<String>) -> bool {
    required_csv
        .split(',')
        .filter(|token| !token.is_empty())
        .all(|token| worker_caps.contains(token))
}

/// The capability tokens that a worker offers.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CapabilitySet {
    /// The tokens, as given.
    pub tokens: Vec<String>,
}

impl CapabilitySet {
    /// The tokens in their order, repeats and empty ones included.
    #[must_use]
    pub fn new<I, S>(tokens: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        Self { tokens: tokens.into_iter().map(Into::into).collect() }
    }

    /// Returns true if there are no tokens.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_required_token_must_be_offered_verbatim() {
        let offered = CapabilitySet::new(["gpu", "cuda"]);
        let worker: BTreeSet<String> = ["gpu".to_owned(), "cuda".to_owned()].into();

        let cases = [
            ("", true),
            (",,", true),
            ("gpu", true),
            ("cuda,gpu", true),
            ("gpu,tpu", false),
            ("GPU", false),
            (" gpu", false),
        ];

        for (csv, expected) in cases {
            assert_eq!(
                matches(&CapabilityRequirement::from_csv(csv), &offered),
                expected,
                "{csv:?}"
            );
            assert_eq!(matches_csv(csv, &worker), expected, "{csv:?}");
        }
    }

    #[test]
    fn empty_tokens_are_no_requirement() {
        assert!(CapabilityRequirement::new(["", ""]).is_empty());
        assert!(CapabilityRequirement::default().is_empty());
        assert!(!CapabilityRequirement::from_csv(",gpu,").is_empty());
    }
}
