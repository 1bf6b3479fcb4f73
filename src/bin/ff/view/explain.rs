//! The reasons why an execution is not running, as programs read them.

use ff_core::contracts::{Explanation, NotRunning, Remedy};
use ff_core::state::PublicState;
use ff_core::types::{ExecutionId, LaneId, TimestampMs};
use serde::Serialize;

/// `explain`.
#[derive(Debug, Serialize)]
pub(crate) struct ExplanationView<'a> {
    execution_id: &'a ExecutionId,
    lane_id: &'a LaneId,
    public_state: PublicState,
    at_ms: TimestampMs,
    reasons: Vec<ReasonView<'a>>,
}

/// A reason and what ends it.
#[derive(Debug, Serialize)]
pub(super) struct ReasonView<'a> {
    #[serde(flatten)]
    reason: &'a NotRunning,
    remedy: Remedy,
}

impl<'a> ReasonView<'a> {
    pub(super) fn new(reason: &'a NotRunning, id: &ExecutionId) -> Self {
        ReasonView { reason, remedy: reason.remedy(id) }
    }
}

impl<'a> From<&'a Explanation> for ExplanationView<'a> {
    fn from(explanation: &'a Explanation) -> Self {
        let id = &explanation.execution_id;
        Self {
            execution_id: id,
            lane_id: &explanation.lane_id,
            public_state: explanation.public_state,
            at_ms: explanation.at_ms,
            reasons: explanation.reasons.iter().map(|reason| ReasonView::new(reason, id)).collect(),
        }
    }
}
