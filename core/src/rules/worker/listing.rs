//! Listings of workers, and of the leases that they hold.

use std::collections::BTreeSet;

use crate::contracts::{
    LIST_WORKERS_DEFAULT_LIMIT, LeaseCursor, LeaseInfo, LeasesPage, ListLeasesArgs,
    ListWorkersArgs, ListWorkersResult, WorkerInfo,
};
use crate::model::error::EngineError;
use crate::model::ids::{
    AttemptIndex, LaneId, LeaseEpoch, Namespace, TimestampMs, WorkerId, WorkerInstanceId,
};
use crate::plan::facts::Row;
use crate::plan::{List, Predicate};
use crate::rules::execution::listing::{Listing, core_of_current_attempt, limit, split};
use crate::rules::input::{self, PAGE_MAX};
use crate::rules::key::ExecutionKey;
use crate::rules::worker::row::WorkerKey;
use crate::schema::Direction::Ascending;
use crate::schema::execution::{attempt, exec_core, leased, running};
use crate::schema::worker::worker_registry;

/// The workers of a namespace, or of all of them, by instance. Silent ones are listed too.
///
/// # Errors
/// `Validation(InvalidInput)` for a namespace or cursor with NUL.
pub fn workers(args: &ListWorkersArgs) -> Result<Listing<ListWorkersResult>, EngineError> {
    let asked = args.limit.unwrap_or(LIST_WORKERS_DEFAULT_LIMIT);
    let page = usize::try_from(asked).unwrap_or(PAGE_MAX);

    let mut predicate = Predicate::Always;
    if let Some(namespace) = &args.namespace {
        input::text("namespace", namespace.as_str())?;
        predicate = worker_registry::namespace.equals(namespace.as_str().to_owned());
    }
    if let Some(after) = &args.after {
        input::text("after", after.as_str())?;
        let past = worker_registry::worker_instance_id.above(after.as_str().to_owned());
        predicate = predicate.and(past);
    }

    let list = List {
        name: "workers".into(),
        table: worker_registry::REF,
        join: None,
        of_each: None,
        columns: worker_registry::REF.columns.to_vec(),
        predicate,
        order: vec![
            (worker_registry::worker_instance_id.column(), Ascending),
            (worker_registry::namespace.column(), Ascending),
        ],
        limit: limit(page),
    };
    Ok(Listing::new(list, page, |rows, page| {
        let workers = rows.iter().map(worker).collect::<Result<Vec<_>, _>>()?;
        Ok(page_of(workers, page))
    }))
}

/// The page, and its last instance as the cursor. An instance that several namespaces know is not
/// divided between two pages, since the cursor names the instance alone.
fn page_of(workers: Vec<WorkerInfo>, page: usize) -> ListWorkersResult {
    let next = workers.get(page).map(|worker| worker.worker_instance_id.clone());
    let (mut workers, more) = split(workers, page);

    let divided = |worker: &WorkerInfo| Some(&worker.worker_instance_id) == next.as_ref();
    if !workers.first().is_none_or(divided) {
        workers.retain(|worker| !divided(worker));
    }

    let last = workers.last().map(|worker| worker.worker_instance_id.clone());
    ListWorkersResult::new(workers, last.filter(|_| more))
}

fn worker(row: &Row) -> Result<WorkerInfo, EngineError> {
    let key = WorkerKey::read(row)?;
    let lanes: BTreeSet<LaneId> =
        row.read(worker_registry::lanes)?.into_iter().map(LaneId::new).collect();
    let capabilities = row.read(worker_registry::capabilities_csv)?;
    let tokens = capabilities.split(',').filter(|token| !token.is_empty());

    let info = WorkerInfo::new(
        WorkerId::new(row.read(worker_registry::worker_id)?),
        WorkerInstanceId::new(key.instance),
        Namespace::new(key.namespace),
        lanes,
        tokens.map(str::to_owned).collect(),
        TimestampMs(row.read(worker_registry::last_heartbeat_ms)?),
        row.read(worker_registry::liveness_ttl_ms)?.unsigned_abs(),
        TimestampMs(row.read(worker_registry::registered_at_ms)?),
    );
    Ok(WorkerInfo { version: row.read(worker_registry::version)?, ..info })
}

/// The leases of running executions, by expiry: along the index of all leases.
///
/// # Errors
/// `Validation(InvalidInput)` for an instance with NUL.
pub fn leases(args: &ListLeasesArgs) -> Result<Listing<LeasesPage>, EngineError> {
    let page = usize::try_from(args.limit).unwrap_or(PAGE_MAX).min(PAGE_MAX);
    let (due, id) = (attempt::lease_expires_at_ms, attempt::execution_id);

    let mut predicate = leased().and(running());
    if let Some(instance) = &args.worker_instance_id {
        input::text("worker_instance_id", instance.as_str())?;
        let own = attempt::worker_instance_id.equals(Some(instance.as_str().to_owned()));
        predicate = predicate.and(own);
    }
    if let Some(at) = args.expired_by {
        predicate = predicate.and(due.at_most(Some(at.0)));
    }
    if let Some(after) = &args.after {
        let past = vec![due.with(Some(after.expires_at.0)), id.with(after.execution_id.uuid())];
        predicate = predicate.and(Predicate::After(past));
    }

    let columns = vec![
        attempt::partition_key.column(),
        id.column(),
        attempt::attempt_index.column(),
        attempt::lease_epoch.column(),
        attempt::worker_id.column(),
        attempt::worker_instance_id.column(),
        due.column(),
        exec_core::lane_id.column(),
    ];
    let list = List {
        name: "leases".into(),
        table: attempt::REF,
        join: Some(core_of_current_attempt()),
        of_each: None,
        columns,
        predicate,
        order: vec![(due.column(), Ascending), (id.column(), Ascending)],
        limit: limit(page),
    };
    Ok(Listing::new(list, page, |rows, page| {
        let leases = rows.iter().map(lease).collect::<Result<Vec<_>, _>>()?;
        let (leases, more) = split(leases, page);
        let last = leases.last().map(|lease| LeaseCursor {
            expires_at: lease.expires_at,
            execution_id: lease.execution_id.clone(),
        });
        Ok(LeasesPage { leases, next_cursor: last.filter(|_| more) })
    }))
}

fn lease(row: &Row) -> Result<LeaseInfo, EngineError> {
    let partition = row.read(attempt::partition_key)?;
    let key = ExecutionKey { partition, uuid: row.read(attempt::execution_id)? };
    let expires = row.read(attempt::lease_expires_at_ms)?;
    let epoch = row.read(attempt::lease_epoch)?;

    Ok(LeaseInfo {
        execution_id: key.id(),
        lane_id: LaneId::new(row.read(exec_core::lane_id)?),
        attempt_index: AttemptIndex(row.read(attempt::attempt_index)?.unsigned_abs()),
        lease_epoch: LeaseEpoch(epoch.unsigned_abs()),
        worker_id: row.read(attempt::worker_id)?.map(WorkerId::new),
        worker_instance_id: row.read(attempt::worker_instance_id)?.map(WorkerInstanceId::new),
        expires_at: TimestampMs(expires.unwrap_or_default()),
    })
}
