//! The reservation: a grant keeps the execution for its holder.

use super::Case;
use crate::contracts::NotRunning;
use crate::model::error::EngineError;
use crate::model::ids::{TimestampMs, WorkerId, WorkerInstanceId};
use crate::model::state::GrantKind;
use crate::plan::List;
use crate::rules::execution::claim::unreserved;
use crate::rules::grant::row::Grant;
use crate::schema::execution::{claim_grant, exec_core};

/// The grants of the execution, the latest one first.
fn grants(case: &Case<'_>) -> List {
    let mut list = Grant::list("grant that reserves an execution", GrantKind::Claim, case.key);
    list.columns.push(claim_grant::worker_instance_id.column());
    list
}

pub(super) fn asks(case: &Case<'_>) -> Result<Vec<List>, EngineError> {
    let reserved = !case.meets(&unreserved(case.at));
    Ok(reserved.then(|| grants(case)).into_iter().collect())
}

pub(super) fn finds(case: &Case<'_>) -> Result<Vec<NotRunning>, EngineError> {
    if case.meets(&unreserved(case.at)) {
        return Ok(Vec::new());
    }

    let until = case.core.read(exec_core::granted_until_ms)?.unwrap_or_default();
    let grant = case.facts.list(&grants(case)).and_then(<[_]>::first);
    let worker_id = grant.map(|row| row.read(claim_grant::worker_id)).transpose()?;
    let instance = grant.map(|row| row.read(claim_grant::worker_instance_id)).transpose()?;

    Ok(vec![NotRunning::Reserved {
        worker_id: worker_id.map(WorkerId::new),
        worker_instance_id: instance.map(WorkerInstanceId::new),
        until_ms: TimestampMs(until),
    }])
}
