//! The lane: closed to claims by an operator.

use super::Case;
use crate::contracts::NotRunning;
use crate::model::error::EngineError;
use crate::plan::{Held, List, Lookup};
use crate::rules::execution::read;
use crate::rules::key::CORE;
use crate::rules::lane::{LANE, closed_to_claims, info};
use crate::rules::premise::lookup;
use crate::schema::admin::lane_registry;
use crate::schema::execution::exec_core;

/// The look-up of the lane of the execution before it.
pub(super) fn row() -> Lookup {
    let key = vec![lane_registry::lane_id.with_expr(exec_core::lane_id.of(CORE))];
    lookup(LANE, lane_registry::REF, key)
}

pub(super) fn asks(_: &Case<'_>) -> Result<Vec<List>, EngineError> {
    Ok(Vec::new())
}

pub(super) fn finds(case: &Case<'_>) -> Result<Vec<NotRunning>, EngineError> {
    let closed = closed_to_claims(&read::lane(case.core)?, case.at.0).holds;
    let row = case.facts.row(LANE).filter(|row| closed.accepts(row, &Held::default()));

    let closed = |row| {
        let lane = info(row, case.at)?;
        Ok(NotRunning::LaneClosed {
            lane_id: lane.lane_id,
            state: lane.state,
            actor: lane.actor,
            reason: lane.reason,
            since_ms: lane.since,
            until_ms: lane.until,
        })
    };
    row.map(closed).into_iter().collect()
}
