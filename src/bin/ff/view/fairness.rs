//! Fairness as JSON.

use ff_core::contracts::FairnessWeight;
use ff_core::types::LaneId;
use serde::Serialize;

/// A weight: `fairness set`, and one of `fairness ls`.
#[derive(Debug, Serialize)]
pub(crate) struct FairnessWeightView<'a> {
    lane_id: &'a LaneId,
    fairness_key: &'a str,
    weight: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    set_by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    set_at_ms: Option<i64>,
}

impl<'a> FairnessWeightView<'a> {
    pub(crate) const fn of(lane_id: &'a LaneId, fairness_key: &'a str, weight: u32) -> Self {
        Self { lane_id, fairness_key, weight, set_by: None, set_at_ms: None }
    }

    pub(crate) fn set_by(self, weight: &'a FairnessWeight) -> Self {
        Self { set_by: Some(&weight.set_by), set_at_ms: Some(weight.set_at.0), ..self }
    }
}

/// `fairness ls`.
#[derive(Debug, Serialize)]
pub(crate) struct FairnessWeightsView<'a> {
    pub(crate) weights: Vec<FairnessWeightView<'a>>,
}

/// `fairness rm`.
#[derive(Debug, Serialize)]
pub(crate) struct FairnessWeightRemovedView<'a> {
    pub(crate) lane_id: &'a LaneId,
    pub(crate) fairness_key: &'a str,
    pub(crate) removed: bool,
}
