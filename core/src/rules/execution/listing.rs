//! Pages of things, each with an exact, exclusive cursor: one row more than the page is read, and
//! the cursor is the page's last entry exactly when there was one more.

use serde_json::{Map, json};

use crate::contracts::{
    CapabilitySet, ExecutionQuery, ExecutionRow, ExpiredLeaseInfo, ExpiredLeasesCursor,
    LIST_EXPIRED_LEASES_DEFAULT_LIMIT, LIST_EXPIRED_LEASES_MAX_LIMIT, ListExecutionsPage,
    ListExpiredLeasesArgs, ListExpiredLeasesResult, validate_tag_key,
};
use crate::model::error::EngineError;
use crate::model::ids::{
    AttemptIndex, ExecutionId, LaneId, LeaseEpoch, LeaseId, TimestampMs, WorkerInstanceId,
};
use crate::model::partition::{PartitionConfig, PartitionKey};
use crate::model::state::{ClosedSet, LifecyclePhase, PublicState};
use crate::plan::facts::{Facts, Row};
use crate::plan::value::{ColumnType, Value};
use crate::plan::{Compare, Expr, Join, List, Predicate, Query};
use crate::rules::budget::token;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Transition};
use crate::rules::execution::claim::{best_first, sufficient};
use crate::rules::execution::read::{tags_of, text};
use crate::rules::flow::key::Places;
use crate::rules::input::{self, PAGE_MAX};
use crate::rules::key::ExecutionKey;
use crate::schema::Direction::Ascending;
use crate::schema::execution::{BADLY, attempt, badly_ended, claimable, exec_core};
use crate::schema::{Col, ColumnRef, Direction};

/// Reads one list and makes a page of it.
pub struct Listing<O> {
    list: List,
    page: usize,
    read: fn(&[Row], usize) -> Result<O, EngineError>,
}

impl<O> Listing<O> {
    /// A list with a limit of one row more than the page.
    #[must_use]
    pub fn new(list: List, page: usize, read: fn(&[Row], usize) -> Result<O, EngineError>) -> Self {
        Self { list, page, read }
    }
}

impl<O: Send> Transition for Listing<O> {
    type Outcome = O;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<O>, EngineError> {
        if self.page == 0 {
            return (self.read)(&[], 0).map(Step::Answer);
        }
        match facts.list(&self.list) {
            None => Ok(Step::Read(vec![Query::List(self.list.clone())])),
            Some(rows) => (self.read)(rows, self.page).map(Step::Answer),
        }
    }
}

/// One row more than the page, which says whether there is more.
#[must_use]
pub fn limit(page: usize) -> Expr {
    Expr::int(i64::try_from(page).unwrap_or(i64::MAX).saturating_add(1))
}

/// The page of the entries that were read, and true if there are more.
#[must_use]
pub fn split<T>(mut entries: Vec<T>, page: usize) -> (Vec<T>, bool) {
    let more = page < entries.len();
    entries.truncate(page);
    (entries, more)
}

/// The id of a row that carries its key.
///
/// # Errors
/// `Validation(Corruption)` naming the column that holds what it must not.
pub fn execution_id(row: &Row) -> Result<ExecutionId, EngineError> {
    Ok(ExecutionKey::in_row(row)?.id())
}

/// True if a lane holds a claimable execution that these capabilities suffice for, even if it is
/// locked or reserved at the moment.
///
/// # Errors
/// `Validation(InvalidInput)` for a lane that is no lane name, or a capability with NUL.
pub fn claimable_by(
    lane: &LaneId,
    capabilities: &CapabilitySet,
    room: Vec<String>,
) -> Result<Listing<bool>, EngineError> {
    input::lane(lane)?;
    let mut offered = token::offered("capabilities", &capabilities.tokens)?;
    offered.extend(room);

    let predicate = exec_core::lane_id
        .equals(lane.as_str().to_owned())
        .and(claimable())
        .and(sufficient(&offered));

    let list = List {
        name: "claimable by capabilities".into(),
        table: exec_core::REF,
        join: None,
        of_each: None,
        columns: vec![exec_core::execution_id.column()],
        predicate,
        // That of the index of claims: any total order would do, but this one need not be sorted.
        order: best_first(),
        limit: Expr::int(1),
    };
    Ok(Listing { list, page: 1, read: |rows, _| Ok(!rows.is_empty()) })
}

/// The executions of a partition by ascending UUID. A limit of 0 is an empty page; more than 1000
/// counts as 1000.
///
/// # Errors
/// `Validation(InvalidInput)` for an invalid partition key.
pub fn executions(
    partition: &PartitionKey,
    cursor: Option<&ExecutionId>,
    limit_given: usize,
) -> Result<Listing<ListExecutionsPage>, EngineError> {
    let partition = input::partition_key("list_executions", partition)?;
    let page = limit_given.min(PAGE_MAX);

    let mut predicate = exec_core::partition_key.equals(partition);
    if let Some(cursor) = cursor {
        predicate = predicate.and(exec_core::execution_id.above(cursor.uuid()));
    }

    let list = List {
        name: "executions of a partition".into(),
        table: exec_core::REF,
        join: None,
        of_each: None,
        columns: vec![exec_core::partition_key.column(), exec_core::execution_id.column()],
        predicate,
        order: vec![(exec_core::execution_id.column(), Ascending)],
        limit: limit(page),
    };

    Ok(Listing {
        list,
        page,
        read: |rows, page| {
            let ids = rows.iter().map(execution_id).collect::<Result<Vec<_>, _>>()?;
            let (ids, more) = split(ids, page);
            let cursor = more.then(|| ids.last().cloned()).flatten();
            Ok(ListExecutionsPage::new(ids, cursor))
        },
    })
}

/// The executions that a query lets through, wherever its page begins, joined as [`with_attempt`]
/// says. Filters that no index serves
/// are always there, with a value that lets everything through where none is given: so that they do
/// not double the number of shapes each.
///
/// # Errors
/// `Validation(InvalidInput)` for a lane, namespace, tag, kind, key or worker that cannot be one.
pub fn filters(
    query: &ExecutionQuery,
    partitions: &PartitionConfig,
) -> Result<Predicate, EngineError> {
    let mut predicate = Predicate::Always;

    if let Some(lane) = &query.lane_id {
        input::lane(lane)?;
        predicate = predicate.and(exec_core::lane_id.equals(lane.as_str().to_owned()));
    }
    if let Some(flow) = &query.flow_id {
        let places = Places::of(flow, partitions)?;
        let partition = exec_core::partition_key;
        let anywhere = partition
            .equals(places.home().partition)
            .or(partition.equals(places.other().partition));
        predicate = predicate.and(anywhere).and(exec_core::flow_id.equals(Some(flow.0)));
    }
    let mut members = Map::new();
    if let Some(namespace) = &query.namespace {
        input::text("namespace", namespace.as_str())?;
        members.insert("namespace".into(), namespace.as_str().into());
    }
    if let Some((name, value)) = &query.tag {
        validate_tag_key(name)?;
        input::text("tag", value)?;
        members.insert("tags".into(), json!({ name: value }));
    }
    for (name, text) in
        [("execution_kind", &query.execution_kind), ("idempotency_key", &query.idempotency_key)]
    {
        if let Some(text) = text {
            input::text(name, text)?;
            members.insert(name.into(), text.as_str().into());
        }
    }
    if let Some(class) = query.failure_class {
        members.insert("last_failure_class".into(), class.as_str().into());
    }
    if let Some(worker) = &query.worker {
        input::text("worker", worker)?;
        let named = Some(worker.clone());
        let of_worker = attempt::worker_id.equals(named.clone());
        predicate = predicate.and(of_worker.or(attempt::worker_instance_id.equals(named)));
    }

    let states = match query.public_state {
        Some(state) => vec![state],
        None => PublicState::all(),
    };

    Ok(predicate
        .and(exec_core::public_state.is_one_of_chosen(&states))
        .and(created_within(exec_core::created_at_ms, query.created_since, query.created_by))
        .and(exec_core::raw_fields.contains(members.into())))
}

/// The rows created since one time and by another. A single bound stands alone: a planner without
/// statistics takes two for a narrow range, and would sort all of it for one page.
#[must_use]
pub fn created_within(
    created: Col<i64>,
    since: Option<TimestampMs>,
    by: Option<TimestampMs>,
) -> Predicate {
    let since = since.map(|at| created.above(at.0.saturating_sub(1)));
    let by = by.map(|at| created.at_most(at.0));
    match (since, by) {
        (Some(since), Some(by)) => since.and(by),
        (Some(since), None) => since,
        (None, by) => by.unwrap_or_else(|| created.at_most(i64::MAX)),
    }
}

/// The current attempt of each listed execution, where the query asks for its worker. Executions
/// that were never claimed have none.
#[must_use]
pub fn with_attempt(query: &ExecutionQuery) -> Option<Join> {
    query.worker.as_ref().map(|_| Join {
        table: attempt::REF,
        on: core_of_current_attempt().on.into_iter().map(|(own, core)| (core, own)).collect(),
    })
}

/// The same filters, where they ask for bad ends: those are few, and have an index of their own.
#[must_use]
pub fn few(query: &ExecutionQuery, filters: Predicate) -> Predicate {
    let asks_for_bad_ends = query.public_state.as_ref().is_some_and(|state| BADLY.contains(state));
    if asks_for_bad_ends { filters.and(badly_ended()) } else { filters }
}

/// The order by partition and UUID.
#[must_use]
pub fn by_id() -> Vec<(ColumnRef, Direction)> {
    vec![
        (exec_core::partition_key.column(), Ascending),
        (exec_core::execution_id.column(), Ascending),
    ]
}

/// The columns that [`execution_row`] needs.
#[must_use]
pub fn execution_columns() -> Vec<ColumnRef> {
    vec![
        exec_core::partition_key.column(),
        exec_core::execution_id.column(),
        exec_core::lane_id.column(),
        exec_core::public_state.column(),
        exec_core::priority.column(),
        exec_core::attempt_index.column(),
        exec_core::total_attempt_count.column(),
        exec_core::created_at_ms.column(),
        exec_core::raw_fields.column(),
    ]
}

/// The execution of a stored row.
///
/// # Errors
/// `Validation(Corruption)` naming the column that holds what it must not.
pub fn execution_row(row: &Row) -> Result<ExecutionRow, EngineError> {
    let raw = row.read(exec_core::raw_fields)?;
    Ok(ExecutionRow {
        execution_id: execution_id(row)?,
        lane_id: LaneId::new(row.read(exec_core::lane_id)?),
        execution_kind: text(&raw, "execution_kind").unwrap_or_default(),
        public_state: row.read(exec_core::public_state)?,
        priority: row.read(exec_core::priority)?,
        attempt_index: AttemptIndex(row.read(exec_core::attempt_index)?.unsigned_abs()),
        total_attempt_count: row.read(exec_core::total_attempt_count)?.unsigned_abs(),
        created_at: TimestampMs(row.read(exec_core::created_at_ms)?),
        tags: tags_of(&raw),
    })
}

fn namespace_is(namespace: &str) -> Predicate {
    let path = exec_core::raw_fields.text_at(&["namespace"]);
    let value = Expr::Value(ColumnType::Text, vec![Value::Text(namespace.to_owned())]);
    Predicate::Compare(path, Compare::Equal, value)
}

/// Leases of active executions that lapsed by `as_of`, by expiry and execution.
///
/// # Errors
/// `Validation(InvalidInput)` for a namespace with NUL.
pub fn expired_leases(
    args: &ListExpiredLeasesArgs,
) -> Result<Listing<ListExpiredLeasesResult>, EngineError> {
    let asked = args.limit.unwrap_or(LIST_EXPIRED_LEASES_DEFAULT_LIMIT);
    let page = usize::try_from(asked.min(LIST_EXPIRED_LEASES_MAX_LIMIT)).unwrap_or(PAGE_MAX);

    let mut predicate = lapsed_leases(args.as_of);
    if let Some(namespace) = &args.namespace {
        input::text("namespace", namespace.as_str())?;
        predicate = predicate.and(namespace_is(namespace.as_str()));
    }
    if let Some(after) = &args.after {
        predicate = predicate.and(Predicate::After(vec![
            attempt::lease_expires_at_ms.with(Some(after.expires_at_ms.0)),
            attempt::execution_id.with(after.execution_id.uuid()),
        ]));
    }

    let columns = [
        attempt::partition_key.column(),
        attempt::execution_id.column(),
        attempt::attempt_index.column(),
        attempt::lease_id.column(),
        attempt::lease_epoch.column(),
        attempt::worker_instance_id.column(),
        attempt::lease_expires_at_ms.column(),
    ];

    let list = List {
        name: "expired leases".into(),
        table: attempt::REF,
        join: Some(core_of_current_attempt()),
        of_each: None,
        columns: columns.to_vec(),
        predicate,
        order: by_expiry(),
        limit: limit(page),
    };

    Ok(Listing {
        list,
        page,
        read: |rows, page| {
            let leases = rows.iter().map(expired_lease).collect::<Result<Vec<_>, _>>()?;
            let (leases, more) = split(leases, page);
            let last = more.then(|| leases.last()).flatten();
            let cursor = last.map(|lease| {
                ExpiredLeasesCursor::new(lease.expires_at_ms, lease.execution_id.clone())
            });
            Ok(ListExpiredLeasesResult::new(leases, cursor))
        },
    })
}

/// Owned leases of active executions that lapsed by `as_of`.
fn lapsed_leases(as_of: TimestampMs) -> Predicate {
    attempt::lease_expires_at_ms
        .is_present()
        .and(attempt::lease_expires_at_ms.at_most(Some(as_of.0)))
        .and(attempt::worker_instance_id.is_present())
        .and(exec_core::lifecycle_phase.is(LifecyclePhase::Active))
}

/// Joins an attempt to its execution, where it is the current attempt.
#[must_use]
pub fn core_of_current_attempt() -> Join {
    Join {
        table: exec_core::REF,
        on: vec![
            (attempt::partition_key.column(), exec_core::partition_key.column()),
            (attempt::execution_id.column(), exec_core::execution_id.column()),
            (attempt::attempt_index.column(), exec_core::attempt_index.column()),
        ],
    }
}

/// The order by expiry, the earliest first.
fn by_expiry() -> Vec<(ColumnRef, Direction)> {
    vec![
        (attempt::lease_expires_at_ms.column(), Ascending),
        (attempt::execution_id.column(), Ascending),
    ]
}

fn expired_lease(row: &Row) -> Result<ExpiredLeaseInfo, EngineError> {
    let partition = row.read(attempt::partition_key)?;
    let uuid = row.read(attempt::execution_id)?;
    let epoch = row.read(attempt::lease_epoch)?.unsigned_abs();
    let index = row.read(attempt::attempt_index)?.unsigned_abs();
    let stored = row.read(attempt::lease_id)?;

    // A lease that was taken without recording an id still has one identity: execution, attempt and
    // epoch, folded into a UUID.
    let synthetic = || {
        let folded = (u128::from(epoch) << 64) | (u128::from(index) << 32);
        uuid::Uuid::from_u128(uuid.as_u128() ^ folded)
    };

    Ok(ExpiredLeaseInfo::new(
        ExecutionKey { partition, uuid }.id(),
        LeaseId::from_uuid(stored.unwrap_or_else(synthetic)),
        LeaseEpoch(epoch),
        WorkerInstanceId::new(row.read(attempt::worker_instance_id)?.unwrap_or_default()),
        TimestampMs(row.read(attempt::lease_expires_at_ms)?.unwrap_or_default()),
        AttemptIndex(index),
    ))
}
