//! Limits by key: one with all permits held, or with no cell left of its rate.

use super::Case;
use crate::contracts::{EXPLANATION_LISTS_MAX, NotRunning};
use crate::model::error::EngineError;
use crate::model::partition::PartitionConfig;
use crate::plan::List;
use crate::rules::budget::token::{fairness_key_in, fairness_token, limit_token};
use crate::rules::execution::reserve::asking;
use crate::rules::key::ExecutionKey;
use crate::rules::limit::admit::{Asking, Shortage};
use crate::rules::limit::read::ReadHeld;
use crate::schema::execution::exec_core;

fn of(case: &Case<'_>) -> Result<Asking, EngineError> {
    let required = case.core.read(exec_core::required_capabilities)?;
    asking(*case.key, &required, case.core)
}

fn read(asking: &Asking) -> ReadHeld {
    // Nothing is taken, so the partitions of keys play no part.
    ReadHeld { keys: asking.keys.clone(), partitions: PartitionConfig::default() }
}

/// The requirements that this topic explains: those of room in limits. A fairness key is no reason
/// to wait: it has its turn, as every execution has its place in the lane.
pub(super) fn explained(case: &Case<'_>) -> Result<Vec<String>, EngineError> {
    let required = case.core.read(exec_core::required_capabilities)?;
    let fair = fairness_key_in(&required).map(fairness_token);
    Ok(of(case)?.keys.iter().map(|key| limit_token(key)).chain(fair).collect())
}

pub(super) fn asks(case: &Case<'_>) -> Result<Vec<List>, EngineError> {
    let asking = of(case)?;
    let is_limited = !asking.keys.is_empty();
    Ok(if is_limited { read(&asking).unread(case.facts, case.at) } else { Vec::new() })
}

pub(super) fn finds(case: &Case<'_>) -> Result<Vec<NotRunning>, EngineError> {
    let asking = of(case)?;
    if asking.keys.is_empty() {
        return Ok(Vec::new());
    }

    let shortages = read(&asking).held(case.facts)?.shortages(&asking, case.at)?;
    Ok(shortages.into_iter().map(without_room).collect())
}

fn without_room(shortage: Shortage) -> NotRunning {
    match shortage {
        Shortage::Permits { key, limit, max, holders } => NotRunning::LimitReached {
            limit_key: key,
            limit,
            max_running: max.max(0).unsigned_abs(),
            running: holders.len() as u64,
            holders: holders.iter().map(ExecutionKey::id).take(EXPLANATION_LISTS_MAX).collect(),
        },
        Shortage::Cells { key, limit, next_start } => {
            NotRunning::RateReached { limit_key: key, limit, next_start_ms: next_start }
        }
    }
}
