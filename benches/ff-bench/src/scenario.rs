//! The loads.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// A load, as callers of the engine make it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// Each caller submits executions, 100 in one call.
    Submit,
    /// Each caller claims one execution and completes it.
    Pairs,
    /// Each caller claims 100 executions and completes them together.
    Batches,
    /// Each caller submits an execution, claims it, fails it, claims it again and completes it.
    Retry,
    /// Each caller submits and claims an execution, suspends it, signals it, claims and completes
    /// it.
    Suspend,
    /// Each caller submits a flow of four executions (one, then two, then one), and works and
    /// dispatches until it has ended.
    Flow,
    /// Each caller submits an execution, claims one and completes it.
    Mixed,
    /// Each caller claims from a lane that stays empty.
    EmptyClaim,
}

impl Scenario {
    /// Every scenario, in the order in which they run.
    pub const ALL: [Self; 8] = [
        Self::Submit,
        Self::Pairs,
        Self::Batches,
        Self::Retry,
        Self::Suspend,
        Self::Flow,
        Self::Mixed,
        Self::EmptyClaim,
    ];

    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Pairs => "pairs",
            Self::Batches => "batches",
            Self::Retry => "retry",
            Self::Suspend => "suspend",
            Self::Flow => "flow",
            Self::Mixed => "mixed",
            Self::EmptyClaim => "empty-claim",
        }
    }

    /// The number of callers, unless another is asked for.
    #[must_use]
    pub const fn callers(self) -> usize {
        match self {
            Self::Submit | Self::Batches => 4,
            Self::Pairs | Self::Retry | Self::Suspend | Self::Flow | Self::Mixed => 16,
            Self::EmptyClaim => 1,
        }
    }

    /// True if it works off executions that were submitted before.
    pub(crate) const fn drains(self) -> bool {
        matches!(self, Self::Pairs | Self::Batches)
    }

    /// True if its callers must not take each other's executions.
    pub(crate) const fn parts_callers(self) -> bool {
        matches!(self, Self::Retry | Self::Suspend | Self::Flow)
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|scenario| scenario.name() == text);
        found.ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            format!("there is no scenario {text:?}; try {known}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_is_found_by_its_name() {
        for scenario in Scenario::ALL {
            assert_eq!(scenario.name().parse(), Ok(scenario));
        }
        let unknown = "pears".parse::<Scenario>().unwrap_err();
        assert!(unknown.contains("pears") && unknown.contains("pairs"), "{unknown}");
    }
}
