//! The execution's own state: ended, running, suspended, waiting for a time or for others, blocked.

use uuid::Uuid;

use super::Case;
use crate::contracts::{
    AwaitedWaitpoint, EXPLANATION_LISTS_MAX, ListPendingWaitpointsArgs, NotRunning, Scan,
    UnmetDependency,
};
use crate::model::error::EngineError;
use crate::model::ids::{
    AttemptIndex, FlowId, LeaseEpoch, TimestampMs, WaitpointId, WorkerId, WorkerInstanceId,
};
use crate::model::state::{CompletionKind, EligibilityState, LifecyclePhase};
use crate::plan::facts::Row;
use crate::plan::{Expr, Held, List};
use crate::rules::execution::claim::due;
use crate::rules::execution::read::text;
use crate::rules::flow::await_child::{is_satisfied_by_any_end, waits_in};
use crate::rules::flow::edges::{edges, with_upstreams};
use crate::rules::flow::key::FlowKey;
use crate::rules::key::{ATTEMPT, ExecutionKey};
use crate::rules::suspension::listing::Waitpoints;
use crate::rules::suspension::row::SUSPENSION;
use crate::schema::Col;
use crate::schema::execution::{attempt, claimable, exec_core, finished};
use crate::schema::flow::edge;
use crate::schema::suspension::{suspension_current, waitpoint_pending};

/// The state of an edge that counts for the execution that waits.
const APPLIED: &str = "applied";

pub(super) fn asks(case: &Case<'_>) -> Result<Vec<List>, EngineError> {
    let lists = match case.core.read(exec_core::lifecycle_phase)? {
        LifecyclePhase::Suspended => vec![open_waitpoints(case)?],
        LifecyclePhase::Submitted | LifecyclePhase::Runnable => unmet_dependencies(case)?,
        LifecyclePhase::Active | LifecyclePhase::Terminal | LifecyclePhase::Cancelled => Vec::new(),
    };
    Ok(lists)
}

pub(super) fn finds(case: &Case<'_>) -> Result<Vec<NotRunning>, EngineError> {
    // A claim asks for no more than this.
    if case.meets(&claimable().or(due(case.at))) {
        return Ok(Vec::new());
    }

    match case.core.read(exec_core::lifecycle_phase)? {
        LifecyclePhase::Terminal | LifecyclePhase::Cancelled => ended(case),
        LifecyclePhase::Active => running(case),
        LifecyclePhase::Suspended => suspended(case),
        LifecyclePhase::Submitted | LifecyclePhase::Runnable => waiting(case),
    }
}

fn ended(case: &Case<'_>) -> Result<Vec<NotRunning>, EngineError> {
    Ok(vec![NotRunning::Ended {
        outcome: case.core.read(exec_core::public_state)?,
        ended_at_ms: case.core.read(exec_core::terminal_at_ms)?.map(TimestampMs),
    }])
}

fn running(case: &Case<'_>) -> Result<Vec<NotRunning>, EngineError> {
    let index = case.core.read(exec_core::attempt_index)?;
    let row = case.facts.row(ATTEMPT);
    let at = |column| read(row, column).map(Option::flatten);
    let worker_id = read(row, attempt::worker_id)?.flatten();
    let instance = read(row, attempt::worker_instance_id)?.flatten();
    let (expires, timeout) = (at(attempt::lease_expires_at_ms)?, at(attempt::timeout_at_ms)?);

    let runs = NotRunning::Running {
        worker_id: worker_id.map(WorkerId::new),
        worker_instance_id: instance.map(WorkerInstanceId::new),
        attempt_index: AttemptIndex(index.unsigned_abs()),
        lease_epoch: LeaseEpoch(read(row, attempt::lease_epoch)?.unwrap_or(0).unsigned_abs()),
        lease_expires_at_ms: expires.map(TimestampMs),
    };
    let scans = [scan(case, Scan::LeaseExpiry, expires), scan(case, Scan::AttemptTimeout, timeout)];
    Ok(std::iter::once(runs).chain(scans.into_iter().flatten()).collect())
}

fn suspended(case: &Case<'_>) -> Result<Vec<NotRunning>, EngineError> {
    let rows = case.facts.list(&open_waitpoints(case)?).unwrap_or_default();
    let suspension = case.facts.row(SUSPENSION);
    let timeout = read(suspension, suspension_current::timeout_at_ms)?.flatten();

    let waits = NotRunning::Suspended {
        blocking_reason: case.core.read(exec_core::blocking_reason)?,
        waitpoints: rows.iter().map(waitpoint).collect::<Result<_, _>>()?,
        timeout_at_ms: timeout.map(TimestampMs),
    };
    let scan = scan(case, Scan::SuspensionTimeout, timeout);
    Ok(std::iter::once(waits).chain(scan).collect())
}

fn waiting(case: &Case<'_>) -> Result<Vec<NotRunning>, EngineError> {
    let core = case.core;
    let flow_id = core.read(exec_core::flow_id)?.map(FlowId::from_uuid);
    let blocking_reason = core.read(exec_core::blocking_reason)?;
    let eligibility = core.read(exec_core::eligibility_state)?;
    let until = core.read(exec_core::eligible_at_ms)?;

    match (eligibility, until, flow_id) {
        (EligibilityState::BlockedByDependencies, _, flow_id) => dependencies(case, flow_id),
        (EligibilityState::NotEligibleUntilTime, Some(until), _) => {
            Ok(vec![NotRunning::Delayed { until_ms: TimestampMs(until), blocking_reason }])
        }
        (EligibilityState::BlockedByOperator, _, Some(flow_id)) => {
            Ok(vec![NotRunning::HeldBack { flow_id }])
        }
        (
            EligibilityState::NotApplicable
            | EligibilityState::EligibleNow
            | EligibilityState::NotEligibleUntilTime
            | EligibilityState::BlockedByBudget
            | EligibilityState::BlockedByQuota
            | EligibilityState::BlockedByRoute
            | EligibilityState::BlockedByLaneState
            | EligibilityState::BlockedByOperator,
            _,
            _,
        ) => {
            let raw = core.read(exec_core::raw_fields)?;
            let detail = text(&raw, "blocking_detail").filter(|detail| !detail.is_empty());
            Ok(vec![NotRunning::Blocked { eligibility, blocking_reason, detail }])
        }
    }
}

fn dependencies(case: &Case<'_>, flow_id: Option<FlowId>) -> Result<Vec<NotRunning>, EngineError> {
    let lists = unmet_dependencies(case)?;
    let rows = lists.iter().flat_map(|list| case.facts.list(list).unwrap_or_default());

    let (mut unmet, mut dispatched_late) = (Vec::new(), None);
    for row in rows {
        let has_ended = row.read(edge::upstream_outcome)?.is_some();
        if has_ended && is_satisfied_by_any_end(row)? {
            continue;
        }
        unmet.push(dependency(case, row)?);
        if waits_for_dispatch(row)? {
            let ended = row.read(exec_core::terminal_at_ms)?;
            dispatched_late = dispatched_late.or(ended);
        }
    }

    let waits = NotRunning::WaitingForDependencies { flow_id, unmet };
    let scan = scan(case, Scan::DependencyDispatch, dispatched_late);
    Ok(std::iter::once(waits).chain(scan).collect())
}

/// The edges into the execution with an upstream that has not ended well: those of its own flow,
/// and that of a wait for an execution of another flow.
fn unmet_dependencies(case: &Case<'_>) -> Result<Vec<List>, EngineError> {
    let eligibility = case.core.read(exec_core::eligibility_state)?;
    if eligibility != EligibilityState::BlockedByDependencies {
        return Ok(Vec::new());
    }

    let own = case.core.read(exec_core::flow_id)?;
    let other = waits_in(&case.core.read(exec_core::raw_fields)?)?.filter(|it| Some(*it) != own);
    let flows = [(own, "unmet dependencies"), (other, "unmet dependencies of another flow")];
    let lists = flows.into_iter().filter_map(|(flow, name)| Some(unmet_in(case, flow?, name)));
    Ok(lists.collect())
}

/// The edges of that flow into the execution with an upstream that has not ended well.
fn unmet_in(case: &Case<'_>, uuid: Uuid, name: &'static str) -> List {
    let outcome = edge::upstream_outcome;
    let unmet = outcome.is_null().or(outcome.holds_another_than(CompletionKind::Success));
    let columns = vec![
        edge::upstream_eid.column(),
        edge::policy.column(),
        outcome.column(),
        exec_core::lifecycle_phase.column(),
        exec_core::public_state.column(),
        exec_core::terminal_at_ms.column(),
    ];

    let flow = FlowKey { partition: case.key.partition, uuid };
    let into = edge::downstream_eid.equals(case.key.uuid).and(unmet);
    let list = edges(name, flow, into, edge::upstream_eid, columns);
    List { limit: most_listed(), ..with_upstreams(list) }
}

fn dependency(case: &Case<'_>, row: &Row) -> Result<UnmetDependency, EngineError> {
    let key = ExecutionKey { partition: case.key.partition, uuid: row.read(edge::upstream_eid)? };
    Ok(UnmetDependency {
        execution_id: key.id(),
        public_state: row.read(exec_core::public_state)?,
        outcome: row.read(edge::upstream_outcome)?,
    })
}

/// True if the upstream of an edge has ended, and its end is not applied to the edge yet.
fn waits_for_dispatch(row: &Row) -> Result<bool, EngineError> {
    let applied = text(&row.read(edge::policy)?, "edge_state").is_some_and(|it| it == APPLIED);
    let over = finished().accepts(row, &Held::default());
    Ok(applied && over && row.read(edge::upstream_outcome)?.is_none())
}

fn open_waitpoints(case: &Case<'_>) -> Result<List, EngineError> {
    let columns = vec![
        waitpoint_pending::waitpoint_id.column(),
        waitpoint_pending::waitpoint_key.column(),
        waitpoint_pending::required_signal_names.column(),
    ];
    let open = Waitpoints::of(&ListPendingWaitpointsArgs::new(case.key.id()))?.list();
    let name = "waitpoints of a suspended execution".into();
    Ok(List { name, columns, limit: most_listed(), ..open })
}

fn waitpoint(row: &Row) -> Result<AwaitedWaitpoint, EngineError> {
    Ok(AwaitedWaitpoint {
        waitpoint_id: WaitpointId::from_uuid(row.read(waitpoint_pending::waitpoint_id)?),
        waitpoint_key: row.read(waitpoint_pending::waitpoint_key)?,
        required_signal_names: row.read(waitpoint_pending::required_signal_names)?,
    })
}

fn most_listed() -> Expr {
    Expr::int(i64::try_from(EXPLANATION_LISTS_MAX).unwrap_or(i64::MAX))
}

/// The scan that is due since that time, if the time has come.
fn scan(case: &Case<'_>, scan: Scan, due_at_ms: Option<i64>) -> Option<NotRunning> {
    let since = due_at_ms.filter(|due| *due <= case.at.0)?;
    Some(NotRunning::ScanDue { scan, since_ms: TimestampMs(since) })
}

/// A column of a row that may be absent.
fn read<T: crate::plan::value::Storable>(
    row: Option<&Row>,
    column: Col<T>,
) -> Result<Option<T>, EngineError> {
    row.map(|row| row.read(column)).transpose()
}
