//! Fairness between the keys of a lane: setting the weight of a key, and listing weights.

use crate::model::ids::{LaneId, TimestampMs};

/// The greatest weight of a fairness key; inclusive. The least is 1, which is also the weight of a
/// key that was given none.
pub const FAIRNESS_WEIGHT_MAX: u32 = 1_000;

/// The weights of one lane that claims look at, by key.
pub const FAIRNESS_WEIGHTS_MAX: u32 = 10_000;

/// Gives a fairness key a weight in a lane, in place of the one that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetFairnessWeightArgs {
    /// The lane.
    pub lane_id: LaneId,
    /// The key, as executions name it in `fairness_key` of their policy; empty for executions
    /// without one.
    pub fairness_key: String,
    /// Its weight, 1 to [`FAIRNESS_WEIGHT_MAX`]: a key of weight 3 gets three times as many starts
    /// as one of weight 1, while both wait.
    pub weight: u32,
    /// The operator that sets it.
    pub actor: String,
}

impl SetFairnessWeightArgs {
    /// That weight of that key in that lane.
    #[must_use]
    pub fn new(
        lane_id: LaneId,
        fairness_key: impl Into<String>,
        weight: u32,
        actor: impl Into<String>,
    ) -> Self {
        let (fairness_key, actor) = (fairness_key.into(), actor.into());
        Self { lane_id, fairness_key, weight, actor }
    }
}

/// The weight of a fairness key in a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FairnessWeight {
    /// The lane.
    pub lane_id: LaneId,
    /// The key; empty for executions without one.
    pub fairness_key: String,
    /// Its weight.
    pub weight: u32,
    /// The operator that set it.
    pub set_by: String,
    /// The time when it was set.
    pub set_at: TimestampMs,
}

/// A page of the weights of a lane, by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListFairnessWeightsPage {
    /// The weights.
    pub weights: Vec<FairnessWeight>,
    /// The key after which the next page begins; `None` on the last.
    pub next_cursor: Option<String>,
}
