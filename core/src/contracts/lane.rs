//! The states of lanes: setting one, and reading it.

use crate::model::ids::{LaneId, TimestampMs};
use crate::model::state::LaneState;

/// The longest reason for the state of a lane, in bytes.
pub const LANE_REASON_MAX_BYTES: usize = 256;

/// Sets the state of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetLaneStateArgs {
    /// The lane.
    pub lane_id: LaneId,
    /// The new state.
    pub state: LaneState,
    /// The reason, which refused submissions are told.
    pub reason: Option<String>,
    /// The operator that sets the state.
    pub actor: String,
    /// The time from which the lane is active again; without end when absent. An active lane has
    /// none.
    pub until: Option<TimestampMs>,
}

impl SetLaneStateArgs {
    /// That state, without a reason and without end.
    #[must_use]
    pub fn new(lane_id: LaneId, state: LaneState, actor: impl Into<String>) -> Self {
        Self { lane_id, state, reason: None, actor: actor.into(), until: None }
    }

    /// The same with a reason.
    #[must_use]
    pub fn with_reason(self, reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), ..self }
    }

    /// The same until a time.
    #[must_use]
    pub fn with_until(self, until: TimestampMs) -> Self {
        Self { until: Some(until), ..self }
    }
}

/// A lane and its state.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LaneInfo {
    /// The lane.
    pub lane_id: LaneId,
    /// The time when an operation first named it.
    pub registered_at: TimestampMs,
    /// The state at the time of the answer: active, once the time of another state is over.
    pub state: LaneState,
    /// The reason for the state, where an operator gave one.
    pub reason: Option<String>,
    /// The operator that set the state; `None` while none has.
    pub actor: Option<String>,
    /// The time when the operator set it.
    pub since: Option<TimestampMs>,
    /// The time from which the lane is active again.
    pub until: Option<TimestampMs>,
}

impl LaneInfo {
    /// An active lane that no operator has touched.
    #[must_use]
    pub fn new(lane_id: LaneId, registered_at: TimestampMs) -> Self {
        Self {
            lane_id,
            registered_at,
            state: LaneState::Active,
            reason: None,
            actor: None,
            since: None,
            until: None,
        }
    }
}
