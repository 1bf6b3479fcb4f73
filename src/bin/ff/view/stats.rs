//! Counts.

use ff_core::contracts::{FailureCount, OldestWaiting, StateCount, Stats};
use ff_core::state::{ClosedSet as _, FailureClass};
use serde::Serialize;

/// `stats`.
#[derive(Debug, Serialize)]
pub(crate) struct StatsView<'a> {
    at_ms: i64,
    counts: Vec<CountView<'a>>,
    failures: Vec<FailedView<'a>>,
    oldest_waiting: Vec<WaitView<'a>>,
}

/// One count of `stats`.
#[derive(Debug, Serialize)]
struct CountView<'a> {
    lane_id: &'a str,
    execution_kind: &'a str,
    public_state: &'static str,
    count: u64,
}

/// The failures of one class in `stats`.
#[derive(Debug, Serialize)]
struct FailedView<'a> {
    lane_id: &'a str,
    execution_kind: &'a str,
    failure_class: Option<&'static str>,
    count: u64,
}

/// The longest wait of a lane in `stats`.
#[derive(Debug, Serialize)]
struct WaitView<'a> {
    lane_id: &'a str,
    since_ms: i64,
}

impl<'a> StatsView<'a> {
    pub(crate) fn of(stats: &'a Stats) -> Self {
        let count = |count: &'a StateCount| CountView {
            lane_id: count.lane_id.as_str(),
            execution_kind: &count.execution_kind,
            public_state: count.state.as_str(),
            count: count.count,
        };
        let failed = |failed: &'a FailureCount| FailedView {
            lane_id: failed.lane_id.as_str(),
            execution_kind: &failed.execution_kind,
            failure_class: failed.failure_class.map(FailureClass::as_str),
            count: failed.count,
        };
        let wait = |oldest: &'a OldestWaiting| WaitView {
            lane_id: oldest.lane_id.as_str(),
            since_ms: oldest.since.0,
        };

        Self {
            at_ms: stats.at.0,
            counts: stats.counts.iter().map(count).collect(),
            failures: stats.failures.iter().map(failed).collect(),
            oldest_waiting: stats.oldest_waiting.iter().map(wait).collect(),
        }
    }
}
