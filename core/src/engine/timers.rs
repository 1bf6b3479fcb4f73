//! What is due is looked at again, row by row; one that fails is left for later and stops no other.

use futures_util::future::join_all;

use super::{Executor, cascade, run};
use crate::EngineError;
use crate::engine_backend::{ReconcileCounts, Scan};
use crate::rules::delay::Promote;
use crate::rules::expire::{ExpireAttempt, ExpireExecution, ExpireLease};
use crate::rules::flow::dispatch::Event;
use crate::rules::flow::siblings::Drain;
use crate::rules::key::ExecutionKey;
use crate::rules::scan::{Due, DueRow, Overdue, ScanScope};
use crate::rules::suspension::timeout::ExpireSuspension;
use crate::rules::suspension::waitpoint::CloseWaitpoint;

/// Applies up to `limit` due rows within the scope. A row that fails, or
/// that somebody else has dealt with, is passed by within the same look, so that no number of them
/// hides what comes after: a look ends once `limit` rows were applied or none is left.
///
/// # Errors
/// The backend's error, when the rows cannot be listed.
pub async fn scan_within<E: Executor>(
    executor: &E,
    scan: Scan,
    limit: u32,
    scope: &ScanScope,
) -> Result<ReconcileCounts, EngineError> {
    let mut counts = ReconcileCounts::default();
    let mut after = None;
    loop {
        let wanted = limit.saturating_sub(counts.processed);
        let due = Due { scan, limit: wanted, after, scope: scope.clone() };
        let due = run(executor, &due).await?;

        let page = resolve_all(executor, scan, &due).await;
        counts.processed += page.processed;
        counts.errors += page.errors;

        let full = u32::try_from(due.len()) == Ok(wanted);
        if !full || limit <= counts.processed {
            return Ok(counts);
        }
        after = due.into_iter().next_back();
    }
}

async fn resolve_all<E: Executor>(executor: &E, scan: Scan, due: &[Overdue]) -> ReconcileCounts {
    let mut counts = ReconcileCounts::default();
    let looks = due.iter().map(|due| resolve(executor, scan, &due.row));
    for (due, result) in due.iter().zip(join_all(looks).await) {
        match result {
            Ok(true) => counts.processed += 1,
            Ok(false) => {}
            Err(error) => {
                counts.errors += 1;
                let execution = due.row.execution().id();
                tracing::warn!(scan = scan.as_str(), %execution, %error, "row left for later");
            }
        }
    }
    counts
}

/// Looks again at one row that a scan found.
async fn resolve<E: Executor>(executor: &E, scan: Scan, row: &DueRow) -> Result<bool, EngineError> {
    match row {
        DueRow::Event(row) => Ok(cascade::dispatch(executor, Event::read(row)?).await?.is_some()),
        DueRow::Siblings(key) => run(executor, &Drain { key: *key }).await,
        DueRow::Waitpoint(key, id) => {
            let (execution, id) = (*key, id.clone());
            run(executor, &CloseWaitpoint { execution, id, at: None }).await
        }
        DueRow::Lease(key, losses) => {
            run(executor, &ExpireLease { key: *key, expected: *losses }).await
        }
        DueRow::Execution(key) => of_execution(executor, scan, *key).await,
    }
}

async fn of_execution<E: Executor>(
    executor: &E,
    scan: Scan,
    key: ExecutionKey,
) -> Result<bool, EngineError> {
    match scan {
        Scan::AttemptTimeout => run(executor, &ExpireAttempt { key, at: None }).await,
        Scan::ExecutionDeadline => run(executor, &ExpireExecution { key, at: None }).await,
        Scan::DelayedPromotion => run(executor, &Promote { key, at: None }).await,
        Scan::SuspensionTimeout => run(executor, &ExpireSuspension { key, at: None }).await,
        // These list rows of their own.
        Scan::LeaseExpiry
        | Scan::DependencyDispatch
        | Scan::SiblingCancel
        | Scan::WaitpointExpiry => Ok(false),
    }
}
