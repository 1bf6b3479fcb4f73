//! The rows that are due: lists for the scanners, a bounded batch at a time, the longest overdue
//! first.

mod grants;
mod keys;
mod limits;
mod money;
mod schedules;
mod scope;

use uuid::Uuid;

use crate::contracts::Scan;
use crate::model::error::EngineError;
use crate::model::ids::{TimestampMs, WaitpointId};
use crate::plan::facts::{Facts, Row};
use crate::plan::{Expr, List, Predicate, Query};
use crate::rules::budget::dedup::Dedup;
use crate::rules::budget::key::BudgetKey;
use crate::rules::count::fold::{self, Fold};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Transition};
use crate::rules::execution::delay::Promote;
use crate::rules::execution::expire::{ExpireAttempt, ExpireExecution, ExpireLease};
use crate::rules::execution::listing::core_of_current_attempt;
use crate::rules::execution::losses::Losses;
use crate::rules::execution::unique::KeyRow;
use crate::rules::flow::dispatch::Event;
use crate::rules::flow::siblings::{GroupKey, pending_cancel_of};
use crate::rules::key::ExecutionKey;
use crate::rules::limit::cell::Cell;
use crate::rules::quota::key::QuotaKey;
use crate::rules::quota::lapse::{Lapse, LeaveWindow};
use crate::rules::schedule::key::ScheduleKey;
use crate::rules::suspension::timeout::ExpireSuspension;
use crate::rules::suspension::waitpoint::CloseWaitpoint;
use crate::rules::worker::lost::due_for_sweep;
use crate::rules::worker::row::{Liveness, WorkerKey};
use crate::schema::Direction::Ascending;
use crate::schema::execution::{attempt, exec_core, has_live_deadline, leased, running, timed};
use crate::schema::flow::pending_cancel_groups;
use crate::schema::outbox::{completion_event, undispatched};
use crate::schema::suspension::{
    suspension_current, suspension_times_out, waitpoint_expires, waitpoint_pending,
};
use crate::schema::worker::worker_registry;
use crate::schema::{Col, ColumnRef, TableRef};

pub use scope::ScanScope;
pub(super) use scope::passes;

/// Lists the rows that a scan has to look at.
#[derive(Clone, Debug)]
pub struct Due {
    /// The kind of row.
    pub scan: Scan,
    /// The most rows to list.
    pub limit: u32,
    /// The row after which the list begins: past rows that could not be dealt with.
    pub after: Option<Overdue>,
    /// The part of the due rows that is listed.
    pub scope: ScanScope,
}

/// A row that is due, and since when.
#[derive(Clone, Debug, PartialEq)]
pub struct Overdue {
    /// The row.
    pub row: DueRow,
    /// The time when it became due, Unix ms; `None` where no time was stored.
    pub since: Option<i64>,
}

/// A due row, by kind.
#[derive(Clone, Debug, PartialEq)]
pub enum DueRow {
    /// Something about an execution.
    Execution(ExecutionKey),
    /// A lapsed lease of an execution, and the workers that it has lost before, where they can be
    /// read.
    Lease(ExecutionKey, Option<Losses>),
    /// A completion event to dispatch, as a row that [`Event::read`] accepts or rejects.
    Event(Row),
    /// A group with upstreams that have to be cancelled.
    Siblings(GroupKey),
    /// A waitpoint of an execution.
    Waitpoint(ExecutionKey, WaitpointId),
    /// A grant of an execution, by its id.
    Grant(ExecutionKey, Vec<u8>),
    /// A worker instance that may be silent, and its last sign of life.
    Worker(WorkerKey, Liveness),
    /// A budget.
    Budget(BudgetKey),
    /// The key of a usage report.
    UsageKey(Dedup),
    /// The row of an idempotency key.
    IdempotencyKey(KeyRow),
    /// A cell of a rate.
    LimitCell(Cell),
    /// An admission that is over.
    Admission(Lapse),
    /// An admission that has left its window.
    Window(LeaveWindow),
    /// A quota policy.
    Quota(QuotaKey),
    /// A schedule.
    Schedule(ScheduleKey),
    /// Rows of the counts.
    Counts(Fold),
}

impl DueRow {
    /// The execution that it is about; `None` for a row of something else.
    #[must_use]
    pub fn execution(&self) -> Option<ExecutionKey> {
        Some(match self {
            Self::Execution(key)
            | Self::Lease(key, _)
            | Self::Waitpoint(key, _)
            | Self::Grant(key, _) => *key,
            Self::Event(row) => ExecutionKey {
                partition: row.read(completion_event::partition_key).unwrap_or_default(),
                uuid: row.read(completion_event::execution_id).unwrap_or_default(),
            },
            Self::Siblings(group) => group.flow.member(group.downstream),
            Self::Worker(..)
            | Self::Budget(_)
            | Self::UsageKey(_)
            | Self::IdempotencyKey(_)
            | Self::LimitCell(_)
            | Self::Admission(_)
            | Self::Window(_)
            | Self::Quota(_)
            | Self::Schedule(_)
            | Self::Counts(_) => return None,
        })
    }

    /// The id of what it is about, for logs.
    #[must_use]
    pub fn subject(&self) -> String {
        match self {
            Self::Worker(worker, _) => worker.instance.clone(),
            Self::Budget(budget) => budget.id.clone(),
            Self::UsageKey(key) => key.key.clone(),
            Self::IdempotencyKey(key) => key.digest.clone(),
            Self::LimitCell(row) => row.key.text.clone(),
            Self::Admission(Lapse { policy, .. }) | Self::Window(LeaveWindow { policy, .. }) => {
                policy.id.clone()
            }
            Self::Quota(policy) => policy.id.clone(),
            Self::Schedule(schedule) => schedule.name.clone(),
            Self::Counts(fold) => fold.subject(),
            Self::Execution(_)
            | Self::Lease(..)
            | Self::Event(_)
            | Self::Siblings(_)
            | Self::Waitpoint(..)
            | Self::Grant(..) => {
                self.execution().map(|key| key.id().to_string()).unwrap_or_default()
            }
        }
    }
}

impl Transition for Due {
    type Outcome = Vec<Overdue>;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        let list = self.scope.narrow(self.scan, self.list(ctx.now), ctx.now)?;
        let Some(rows) = facts.list(&list) else {
            return Ok(Step::Read(vec![Query::List(list)]));
        };

        let read: fn(&Row) -> Result<Overdue, EngineError> = match self.scan {
            // What has to be done with a row depends on the others.
            Scan::CountFold => return Ok(Step::Answer(counts(rows, ctx.now)?)),
            Scan::LeaseExpiry => lease,
            Scan::AttemptTimeout => |row| timed_out(row, attempt::timeout_at_ms),
            Scan::ExecutionDeadline => |row| execution(row, exec_core::deadline_at_ms),
            Scan::DelayedPromotion => |row| execution(row, exec_core::eligible_at_ms),
            Scan::DependencyDispatch => event,
            Scan::SiblingCancel => siblings,
            Scan::SuspensionTimeout => suspension,
            Scan::WaitpointExpiry => waitpoint,
            Scan::GrantExpiry => grants::grant,
            Scan::WorkerTtl => worker,
            Scan::BudgetReset => money::budget_to_reset,
            Scan::UsageKeyExpiry => money::usage_key,
            Scan::IdempotencyKeyExpiry => keys::idempotency_key,
            Scan::LimitCellExpiry => limits::cell,
            Scan::AdmissionExpiry => money::admission,
            Scan::QuotaWindowExpiry => money::window,
            Scan::BudgetReconcile => money::budget,
            Scan::QuotaReconcile => money::quota,
            Scan::Schedules => schedules::schedule,
        };
        Ok(Step::Answer(rows.iter().map(read).collect::<Result<Vec<_>, _>>()?))
    }
}

fn counts(rows: &[Row], now: TimestampMs) -> Result<Vec<Overdue>, EngineError> {
    let folds = fold::folds(rows, now)?;
    let overdue = |fold| Overdue { row: DueRow::Counts(fold), since: None };
    Ok(folds.into_iter().map(overdue).collect())
}

impl Due {
    fn list(&self, now: TimestampMs) -> List {
        match self.scan {
            Scan::LeaseExpiry => self.of_attempts(
                "lapsed leases",
                attempt::lease_expires_at_ms,
                leased().and(ExpireLease::due(now)).and(running()),
                &Losses::columns(),
            ),
            Scan::AttemptTimeout => self.of_attempts(
                "attempts out of time",
                attempt::timeout_at_ms,
                timed().and(ExpireAttempt::due(now)).and(running()),
                &[],
            ),
            Scan::ExecutionDeadline => self.of_executions(
                "executions past their deadline",
                exec_core::deadline_at_ms,
                has_live_deadline().and(ExpireExecution::due(now)),
            ),
            Scan::DelayedPromotion => self.of_executions(
                "delayed executions that are due",
                exec_core::eligible_at_ms,
                Promote::due(now),
            ),
            Scan::DependencyDispatch => self.of_events(),
            Scan::SiblingCancel => self.of_groups(),
            Scan::SuspensionTimeout => self.of_suspensions(now),
            Scan::WaitpointExpiry => self.of_waitpoints(now),
            Scan::GrantExpiry => self.of_grants(now),
            Scan::WorkerTtl => self.of_workers(now),
            Scan::BudgetReset => self.of_resets(now),
            Scan::UsageKeyExpiry => self.of_usage_keys(now),
            Scan::IdempotencyKeyExpiry => self.of_idempotency_keys(now),
            Scan::LimitCellExpiry => self.of_limit_cells(now),
            Scan::AdmissionExpiry => self.of_admissions(now),
            Scan::QuotaWindowExpiry => self.of_windows(now),
            Scan::BudgetReconcile => self.of_budgets(),
            Scan::QuotaReconcile => self.of_quotas(),
            Scan::Schedules => self.of_schedules(now),
            Scan::CountFold => fold::rows(),
        }
    }

    fn of_suspensions(&self, now: TimestampMs) -> List {
        let (due, id) = (suspension_current::timeout_at_ms, suspension_current::execution_id);
        let predicate = suspension_times_out().and(ExpireSuspension::due(now));

        List {
            name: "suspensions out of time".into(),
            table: suspension_current::REF,
            join: None,
            of_each: None,
            columns: vec![suspension_current::partition_key.column(), id.column(), due.column()],
            predicate: self.past(due, id, predicate),
            order: vec![(due.column(), Ascending), (id.column(), Ascending)],
            limit: Expr::int(i64::from(self.limit)),
        }
    }

    fn of_waitpoints(&self, now: TimestampMs) -> List {
        let (due, id) = (waitpoint_pending::expires_at_ms, waitpoint_pending::waitpoint_id);
        let mut predicate = waitpoint_expires().and(CloseWaitpoint::due(now));
        if let Some(Overdue { row: DueRow::Waitpoint(_, after), since }) = &self.after {
            predicate = predicate.and(Predicate::After(vec![due.with(*since), id.with(after.0)]));
        }

        List {
            name: "waitpoints out of time".into(),
            table: waitpoint_pending::REF,
            join: None,
            of_each: None,
            columns: vec![
                waitpoint_pending::partition_key.column(),
                id.column(),
                waitpoint_pending::execution_id.column(),
                due.column(),
            ],
            predicate,
            order: vec![(due.column(), Ascending), (id.column(), Ascending)],
            limit: Expr::int(i64::from(self.limit)),
        }
    }

    /// All workers that have given no sign of life this instant, page by page: the times to live
    /// differ, so each row is judged by itself.
    fn of_workers(&self, now: TimestampMs) -> List {
        let last = worker_registry::last_heartbeat_ms;
        let (namespace, instance) =
            (worker_registry::namespace, worker_registry::worker_instance_id);

        let mut predicate = last.below(now.0).and(due_for_sweep(now));
        if let Some(Overdue { row: DueRow::Worker(key, _), .. }) = &self.after {
            let past =
                vec![namespace.with(key.namespace.clone()), instance.with(key.instance.clone())];
            predicate = predicate.and(Predicate::After(past));
        }

        List {
            name: "workers that may be silent".into(),
            table: worker_registry::REF,
            join: None,
            of_each: None,
            columns: vec![
                worker_registry::partition_key.column(),
                namespace.column(),
                instance.column(),
                last.column(),
                worker_registry::liveness_ttl_ms.column(),
                worker_registry::swept_at_ms.column(),
            ],
            predicate,
            order: vec![(namespace.column(), Ascending), (instance.column(), Ascending)],
            limit: Expr::int(i64::from(self.limit)),
        }
    }

    fn of_events(&self) -> List {
        let id = completion_event::event_id;
        let after = match &self.after {
            Some(Overdue { row: DueRow::Event(row), .. }) => row.read(id).unwrap_or_default(),
            Some(_) | None => 0,
        };

        List {
            name: "completion events to dispatch".into(),
            table: completion_event::REF,
            join: None,
            of_each: None,
            columns: Event::columns(),
            predicate: undispatched().and(id.above(after)),
            order: vec![(id.column(), Ascending)],
            limit: Expr::int(i64::from(self.limit)),
        }
    }

    fn of_groups(&self) -> List {
        let since = pending_cancel_groups::enqueued_at_ms;
        let (flow, downstream) =
            (pending_cancel_groups::flow_id, pending_cancel_groups::downstream_eid);

        let predicate = match &self.after {
            Some(Overdue { row: DueRow::Siblings(group), since: Some(at) }) => {
                Predicate::After(vec![
                    since.with(*at),
                    flow.with(group.flow.uuid),
                    downstream.with(group.downstream),
                ])
            }
            Some(_) | None => Predicate::Always,
        };

        List {
            name: "siblings to cancel".into(),
            table: pending_cancel_groups::REF,
            join: None,
            of_each: None,
            columns: pending_cancel_groups::REF.columns.to_vec(),
            predicate,
            order: vec![
                (since.column(), Ascending),
                (flow.column(), Ascending),
                (downstream.column(), Ascending),
            ],
            limit: Expr::int(i64::from(self.limit)),
        }
    }

    fn of_attempts(
        &self,
        name: &'static str,
        due: Col<Option<i64>>,
        predicate: Predicate,
        besides: &[ColumnRef],
    ) -> List {
        let id = attempt::execution_id;
        let own = [attempt::partition_key.column(), id.column(), due.column()];

        List {
            name: name.into(),
            table: attempt::REF,
            join: Some(core_of_current_attempt()),
            of_each: None,
            columns: own.iter().chain(besides).copied().collect(),
            predicate: self.past(due, id, predicate),
            order: vec![(due.column(), Ascending), (id.column(), Ascending)],
            limit: Expr::int(i64::from(self.limit)),
        }
    }

    fn of_executions(
        &self,
        name: &'static str,
        due: Col<Option<i64>>,
        predicate: Predicate,
    ) -> List {
        let id = exec_core::execution_id;
        List {
            name: name.into(),
            table: exec_core::REF,
            join: None,
            of_each: None,
            columns: vec![exec_core::partition_key.column(), id.column(), due.column()],
            predicate: self.past(due, id, predicate),
            order: vec![(due.column(), Ascending), (id.column(), Ascending)],
            limit: Expr::int(i64::from(self.limit)),
        }
    }

    /// The whole rows of one table, in that ascending order.
    fn rows_of(
        &self,
        name: &'static str,
        table: TableRef,
        predicate: Predicate,
        order: &[ColumnRef],
    ) -> List {
        List {
            name: name.into(),
            table,
            join: None,
            of_each: None,
            columns: table.columns.to_vec(),
            predicate,
            order: order.iter().map(|column| (*column, Ascending)).collect(),
            limit: Expr::int(i64::from(self.limit)),
        }
    }

    fn past(&self, due: Col<Option<i64>>, id: Col<Uuid>, predicate: Predicate) -> Predicate {
        let after = self.after.as_ref();
        match after.and_then(|after| Some((after.row.execution()?, after.since))) {
            None => predicate,
            Some((ExecutionKey { uuid, .. }, since)) => {
                predicate.and(Predicate::After(vec![due.with(since), id.with(uuid)]))
            }
        }
    }
}

fn execution(row: &Row, due: Col<Option<i64>>) -> Result<Overdue, EngineError> {
    let key = ExecutionKey::in_row(row)?;
    Ok(Overdue { row: DueRow::Execution(key), since: row.read(due)? })
}

/// Leaves losses that cannot be read to the row's own transition, so that one bad row hides no
/// other.
fn lease(row: &Row) -> Result<Overdue, EngineError> {
    let since = row.read(attempt::lease_expires_at_ms)?;
    Ok(Overdue { row: DueRow::Lease(of_attempt(row)?, Losses::read(row).ok()), since })
}

fn timed_out(row: &Row, due: Col<Option<i64>>) -> Result<Overdue, EngineError> {
    Ok(Overdue { row: DueRow::Execution(of_attempt(row)?), since: row.read(due)? })
}

fn of_attempt(row: &Row) -> Result<ExecutionKey, EngineError> {
    let partition = row.read(attempt::partition_key)?;
    Ok(ExecutionKey { partition, uuid: row.read(attempt::execution_id)? })
}

fn suspension(row: &Row) -> Result<Overdue, EngineError> {
    let partition = row.read(suspension_current::partition_key)?;
    let key = ExecutionKey { partition, uuid: row.read(suspension_current::execution_id)? };
    let since = row.read(suspension_current::timeout_at_ms)?;
    Ok(Overdue { row: DueRow::Execution(key), since })
}

fn waitpoint(row: &Row) -> Result<Overdue, EngineError> {
    let partition = row.read(waitpoint_pending::partition_key)?;
    let key = ExecutionKey { partition, uuid: row.read(waitpoint_pending::execution_id)? };
    let id = WaitpointId::from_uuid(row.read(waitpoint_pending::waitpoint_id)?);
    let since = row.read(waitpoint_pending::expires_at_ms)?;
    Ok(Overdue { row: DueRow::Waitpoint(key, id), since })
}

fn worker(row: &Row) -> Result<Overdue, EngineError> {
    let (key, liveness) = (WorkerKey::read(row)?, Liveness::read(row)?);
    Ok(Overdue { row: DueRow::Worker(key, liveness), since: Some(liveness.last_ms) })
}

fn event(row: &Row) -> Result<Overdue, EngineError> {
    Ok(Overdue { row: DueRow::Event(row.clone()), since: None })
}

fn siblings(row: &Row) -> Result<Overdue, EngineError> {
    let (group, since) = pending_cancel_of(row)?;
    Ok(Overdue { row: DueRow::Siblings(group), since: Some(since.0) })
}
