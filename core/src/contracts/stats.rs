//! Counts of executions, which the database keeps.

use serde::{Deserialize, Serialize};

use crate::model::ids::{LaneId, TimestampMs};
use crate::model::state::{FailureClass, PublicState};

/// The executions to count; all of them by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatsArgs {
    /// The only lane.
    pub lane_id: Option<LaneId>,
    /// The only kind.
    pub execution_kind: Option<String>,
}

impl StatsArgs {
    /// All executions.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Those of one lane.
    #[must_use]
    pub fn with_lane(self, lane_id: LaneId) -> Self {
        Self { lane_id: Some(lane_id), ..self }
    }

    /// Those of one kind.
    #[must_use]
    pub fn with_kind(self, kind: impl Into<String>) -> Self {
        Self { execution_kind: Some(kind.into()), ..self }
    }
}

/// The counts of one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stats {
    /// The time of the database at that moment.
    pub at: TimestampMs,
    /// Executions by lane, kind and state, in this order; only counts above 0.
    pub counts: Vec<StateCount>,
    /// Executions that failed for good in the last hour and are failed still, by lane, kind and
    /// class, in this order. The hour is the current minute and the 59 before it.
    pub failures: Vec<FailureCount>,
    /// The longest waiting execution of each lane in which one can be claimed; none of them where
    /// only one kind was asked for.
    pub oldest_waiting: Vec<OldestWaiting>,
}

impl Stats {
    /// The counts of that moment.
    #[must_use]
    pub fn new(
        at: TimestampMs,
        counts: Vec<StateCount>,
        failures: Vec<FailureCount>,
        oldest_waiting: Vec<OldestWaiting>,
    ) -> Self {
        Self { at, counts, failures, oldest_waiting }
    }

    /// The number of executions in that state.
    #[must_use]
    pub fn in_state(&self, state: PublicState) -> u64 {
        self.counts.iter().filter(|count| count.state == state).map(|count| count.count).sum()
    }
}

/// The number of executions of one lane, kind and state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateCount {
    /// The lane.
    pub lane_id: LaneId,
    /// The kind; empty where the executions have none.
    pub execution_kind: String,
    /// The state.
    pub state: PublicState,
    /// The number of executions.
    pub count: u64,
}

/// The number of executions of one lane and kind that failed in one way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureCount {
    /// The lane.
    pub lane_id: LaneId,
    /// The kind; empty where the executions have none.
    pub execution_kind: String,
    /// The class of the failure; `None` where none is known.
    pub failure_class: Option<FailureClass>,
    /// The number of executions.
    pub count: u64,
}

/// The longest wait of a lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldestWaiting {
    /// The lane.
    pub lane_id: LaneId,
    /// The time since which its longest waiting execution can be claimed.
    pub since: TimestampMs,
}
