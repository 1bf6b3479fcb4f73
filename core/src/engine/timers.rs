//! Applies due timers row by row. A row that fails is left for the next scan and stops no other
//! row.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, join_all};

use super::scan_executor::ScanExecutor;
use super::{Executor, cascade, lost_workers, run, schedules};
use crate::contracts::{ReconcileCounts, Scan};
use crate::model::error::{ContentionKind, EngineError, StoreClass, StoreError};
use crate::model::partition::Partition;
use crate::rules::budget::dedup::ForgetKey;
use crate::rules::budget::reconcile::ReconcileBudget;
use crate::rules::budget::reset::ResetIfDue;
use crate::rules::execution::delay::Promote;
use crate::rules::execution::expire::{ExpireAttempt, ExpireExecution, ExpireLease};
use crate::rules::execution::unique;
use crate::rules::flow::dispatch::Event;
use crate::rules::flow::key::FlowKey;
use crate::rules::flow::siblings::Drain;
use crate::rules::grant::lapse::DropLapsed;
use crate::rules::input;
use crate::rules::key::ExecutionKey;
use crate::rules::limit::cell::ForgetCell;
use crate::rules::quota::reconcile::ReconcileQuota;
use crate::rules::scan::{Due, DueRow, Overdue, ScanScope};
use crate::rules::suspension::timeout::ExpireSuspension;
use crate::rules::suspension::waitpoint::CloseWaitpoint;

/// The most rows that are listed at once where every row is wanted.
const PAGE: u32 = 1_000;

/// Applies up to `limit` due rows within the scope. A row that fails, or that another scanner has
/// applied, is passed over within the same scan, so that such rows never hide the rows after them.
/// A scan ends once `limit` rows were applied or none is left.
///
/// # Errors
/// The backend's error, when the rows cannot be listed.
pub async fn scan_within(
    executor: &dyn Executor,
    scan: Scan,
    limit: u32,
    scope: &ScanScope,
) -> Result<ReconcileCounts, EngineError> {
    let executor = &ScanExecutor::over(executor);
    let mut counts = ReconcileCounts::default();
    let mut after = None;
    if scan == Scan::WorkerTtl {
        lost_workers::remove_old_events(executor).await?;
    }

    loop {
        let wanted = limit.saturating_sub(counts.processed);
        let due = Due { scan, limit: wanted, after, scope: scope.clone() };
        let due = run(executor, &due).await?;

        let page = apply_page(executor, scan, &due).await;
        counts.processed += page.processed;
        counts.errors += page.errors;

        // Rows that were passed over fill the page too, so a full page may hide due rows after it.
        let full = u32::try_from(due.len()) == Ok(wanted);
        if !full || limit <= counts.processed {
            return Ok(counts);
        }
        after = due.into_iter().next_back();
    }
}

/// Applies every due row of one partition.
///
/// # Errors
/// `Validation(InvalidInput)` for a partition beyond what a row can store; the backend's error.
pub(super) async fn scan_partition(
    executor: &dyn Executor,
    scan: Scan,
    partition: Partition,
) -> Result<ReconcileCounts, EngineError> {
    let partition = Some(input::partition(partition.index)?);
    let scope = ScanScope { partition, ..ScanScope::default() };
    let mut counts = ReconcileCounts::default();

    loop {
        let page = scan_within(executor, scan, PAGE, &scope).await?;
        counts.processed += page.processed;
        counts.errors += page.errors;
        if page.processed < PAGE {
            return Ok(counts);
        }
    }
}

async fn apply_page(executor: &dyn Executor, scan: Scan, due: &[Overdue]) -> ReconcileCounts {
    let mut counts = ReconcileCounts::default();
    let flows = Flows::of(executor, due);
    let results = due.iter().map(|due| apply(executor, scan, &due.row, &flows));

    for (due, result) in due.iter().zip(join_all(results).await) {
        match result {
            Ok(true) => counts.processed += 1,
            Ok(false) => {}
            // Another transaction holds the row or keeps changing it: no failure, the next scan
            // finds it.
            Err(EngineError::Contention(ContentionKind::RetryExhausted)) => {
                let row = due.row.subject();
                tracing::debug!(scan = scan.as_str(), row, "row is held by another transaction");
            }
            Err(error) => {
                counts.errors += 1;
                let row = due.row.subject();
                tracing::warn!(scan = scan.as_str(), row, %error, "row left for later");
            }
        }
    }

    counts
}

/// The flows of the completion events on one page. Each is checked once, however many of its
/// members ended: the page was listed before, so the check sees all of those ends.
struct Flows<'a>(HashMap<FlowKey, FlowCheck<'a>>);

/// The check if a flow is over, with a result that all events of that flow share.
type FlowCheck<'a> = Shared<BoxFuture<'a, Result<(), Arc<EngineError>>>>;

impl<'a> Flows<'a> {
    fn of(executor: &'a dyn Executor, due: &[Overdue]) -> Self {
        let mut flows = HashMap::new();
        for Overdue { row, .. } in due {
            let DueRow::Event(row) = row else { continue };
            let Ok(event) = Event::read(row) else { continue };
            let Some(flow) = event.flow else { continue };

            flows.entry(flow).or_insert_with(|| {
                let check = async move { cascade::end_flow_if_over(executor, &event).await };
                check.map(|checked| checked.map_err(Arc::new)).boxed().shared()
            });
        }
        Self(flows)
    }

    /// Waits for the check of the flow of this event.
    async fn check(&self, event: &Event) -> Result<(), EngineError> {
        let check = event.flow.and_then(|flow| self.0.get(&flow).cloned());
        match check {
            Some(check) => check.await.map_err(|error| of_shared_check(&error)),
            None => Ok(()),
        }
    }
}

/// The error of a shared check, for one of the events. A flow that another transaction holds stays
/// contention: its events are left for the next scan, and count as no failure.
fn of_shared_check(error: &EngineError) -> EngineError {
    if let EngineError::Contention(kind) = error {
        return EngineError::Contention(kind.clone());
    }

    let class = error.store_class().unwrap_or(StoreClass::Permanent);
    let text = format!("the flow could not be checked: {error}");
    StoreError::new(class, text).in_backend("engine")
}

/// Applies one due row. Returns true if that changed something.
async fn apply(
    executor: &dyn Executor,
    scan: Scan,
    row: &DueRow,
    flows: &Flows<'_>,
) -> Result<bool, EngineError> {
    match row {
        DueRow::Event(row) => {
            let event = Event::read(row)?;
            let edges = cascade::dispatch(executor, event, flows.check(&event)).await?;
            Ok(edges.is_some())
        }
        DueRow::Siblings(key) => run(executor, &Drain { key: *key }).await,
        DueRow::Waitpoint(key, id) => {
            let (execution, id) = (*key, id.clone());
            run(executor, &CloseWaitpoint { execution, id, at: None }).await
        }
        DueRow::Grant(key, id) => {
            let (partition, grant_id) = (key.partition, id.clone());
            run(executor, &DropLapsed { partition, grant_id }).await
        }
        DueRow::Lease(key, losses) => {
            run(executor, &ExpireLease { key: *key, expected: *losses }).await
        }
        DueRow::Worker(key, liveness) => lost_workers::sweep(executor, key, *liveness).await,
        DueRow::Execution(key) => apply_to_execution(executor, scan, *key).await,
        DueRow::Schedule(key) => schedules::fire(executor, key).await,
        DueRow::Counts(fold) => run(executor, fold).await,
        DueRow::UsageKey(key) => run(executor, &ForgetKey { key: key.clone() }).await,
        DueRow::IdempotencyKey(row) => run(executor, &unique::ForgetKey { row: row.clone() }).await,
        DueRow::LimitCell(cell) => run(executor, &ForgetCell { cell: cell.clone() }).await,
        DueRow::Admission(lapse) => run(executor, lapse).await,
        DueRow::Window(leave) => run(executor, leave).await,
        DueRow::Budget(key) if scan == Scan::BudgetReset => {
            run(executor, &ResetIfDue { key: key.clone() }).await
        }
        DueRow::Budget(key) => {
            let drifted = run(executor, &ReconcileBudget { key: key.clone() }).await?;
            report_drift(drifted, "budget", &key.id);
            Ok(drifted)
        }
        DueRow::Quota(key) => {
            let drifted = run(executor, &ReconcileQuota { key: key.clone() }).await?;
            report_drift(drifted, "quota policy", &key.id);
            Ok(drifted)
        }
    }
}

/// Reports a counter that was repaired: rows were changed by hand, or restored in parts.
fn report_drift(drifted: bool, kind: &str, id: &str) {
    if drifted {
        tracing::warn!(kind, id, "a counter had drifted from its rows and was repaired");
    }
}

async fn apply_to_execution(
    executor: &dyn Executor,
    scan: Scan,
    key: ExecutionKey,
) -> Result<bool, EngineError> {
    match scan {
        Scan::AttemptTimeout => run(executor, &ExpireAttempt { key, at: None }).await,
        Scan::ExecutionDeadline => run(executor, &ExpireExecution { key, at: None }).await,
        Scan::DelayedPromotion => run(executor, &Promote { key, at: None }).await,
        Scan::SuspensionTimeout => run(executor, &ExpireSuspension { key, at: None }).await,
        // These scans list rows of other kinds.
        Scan::LeaseExpiry
        | Scan::DependencyDispatch
        | Scan::SiblingCancel
        | Scan::WaitpointExpiry
        | Scan::GrantExpiry
        | Scan::WorkerTtl
        | Scan::BudgetReset
        | Scan::UsageKeyExpiry
        | Scan::IdempotencyKeyExpiry
        | Scan::LimitCellExpiry
        | Scan::AdmissionExpiry
        | Scan::QuotaWindowExpiry
        | Scan::BudgetReconcile
        | Scan::QuotaReconcile
        | Scan::Schedules
        | Scan::CountFold => Ok(false),
    }
}
