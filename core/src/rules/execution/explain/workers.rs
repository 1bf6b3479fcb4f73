//! Workers: the given one, or those that are registered and alive.

use super::{Case, Claimer, budgets, limits};
use crate::contracts::NotRunning;
use crate::model::error::EngineError;
use crate::plan::facts::Row;
use crate::plan::{Expr, List};
use crate::rules::budget::token::{capabilities_of, requirement};
use crate::rules::execution::claim::sufficient;
use crate::rules::execution::read;
use crate::rules::worker::row::{Liveness, is_registered};
use crate::schema::Direction::Ascending;
use crate::schema::execution::exec_core;
use crate::schema::worker::worker_registry;

/// The most registered workers that are looked at.
const WORKERS_MAX: i64 = 10_000;

fn registered() -> List {
    List {
        name: "registered workers".into(),
        table: worker_registry::REF,
        join: None,
        of_each: None,
        columns: vec![
            worker_registry::lanes.column(),
            worker_registry::capabilities_csv.column(),
            worker_registry::last_heartbeat_ms.column(),
            worker_registry::liveness_ttl_ms.column(),
            worker_registry::swept_at_ms.column(),
        ],
        predicate: is_registered(),
        order: vec![
            (worker_registry::namespace.column(), Ascending),
            (worker_registry::worker_instance_id.column(), Ascending),
        ],
        limit: Expr::int(WORKERS_MAX),
    }
}

pub(super) fn asks(case: &Case<'_>) -> Result<Vec<List>, EngineError> {
    Ok(if case.worker.is_some() { Vec::new() } else { vec![registered()] })
}

pub(super) fn finds(case: &Case<'_>) -> Result<Vec<NotRunning>, EngineError> {
    match case.worker {
        Some(worker) => of_worker(case, worker),
        None => of_fleet(case),
    }
}

fn of_worker(case: &Case<'_>, worker: &Claimer) -> Result<Vec<NotRunning>, EngineError> {
    let mut reasons = Vec::new();

    let lane_id = read::lane(case.core)?;
    if lane_id != worker.lane {
        reasons.push(NotRunning::AnotherLane { lane_id, worker_lane_id: worker.lane.clone() });
    }
    if let Some(missing) = missing(case, worker.offered.clone())? {
        reasons.push(NotRunning::MissingCapabilities { missing });
    }
    Ok(reasons)
}

fn of_fleet(case: &Case<'_>) -> Result<Vec<NotRunning>, EngineError> {
    let lane_id = read::lane(case.core)?;
    let (mut live_in_lane, mut fewest) = (0, None);

    for row in case.facts.list(&registered()).unwrap_or_default() {
        let lanes = row.read(worker_registry::lanes)?;
        let claims_here = lanes.iter().any(|lane| lane == lane_id.as_str());
        if !claims_here || !Liveness::read(row)?.is_alive(case.at) {
            continue;
        }

        live_in_lane += 1;
        let Some(missing) = missing(case, offered(row)?)? else { return Ok(Vec::new()) };
        let fewer = |known: &Vec<String>| missing.len() < known.len();
        if fewest.as_ref().is_none_or(fewer) {
            fewest = Some(missing);
        }
    }

    let missing = match fewest {
        Some(missing) => missing,
        None => missing(case, Vec::new())?.unwrap_or_default(),
    };
    Ok(vec![NotRunning::NoLiveWorker { lane_id, live_in_lane, missing }])
}

/// The requirements that a registered worker's capabilities meet.
fn offered(row: &Row) -> Result<Vec<String>, EngineError> {
    let capabilities = row.read(worker_registry::capabilities_csv)?;
    let tokens = capabilities.split(',').filter(|token| !token.is_empty());
    Ok(tokens.map(requirement).collect())
}

/// The capabilities that these offered ones lack, leaving room in budgets and limits aside; `None`
/// where they suffice.
fn missing(case: &Case<'_>, mut offered: Vec<String>) -> Result<Option<Vec<String>>, EngineError> {
    offered.extend(budgets::explained(case)?);
    offered.extend(limits::explained(case)?);
    if case.meets(&sufficient(&offered)) {
        return Ok(None);
    }

    let mut required = case.core.read(exec_core::required_capabilities)?;
    required.retain(|token| !offered.contains(token));
    let capabilities = capabilities_of(required.clone());
    // A requirement that is no capability was stored by hand.
    Ok(Some(if capabilities.is_empty() { required } else { capabilities }))
}
