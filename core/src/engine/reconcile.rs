//! Repairs the executions of a partition that have drifted, page by page.

use std::collections::BTreeSet;

use super::scan_executor::ScanExecutor;
use super::{Executor, run};
use crate::contracts::ReconcileCounts;
use crate::model::error::{ContentionKind, EngineError};
use crate::model::ids::LaneId;
use crate::rules::execution::reconcile::{FindDrift, Page, Repair};
use crate::rules::lane::RegisterLane;

/// Repairs what is derived in the rows of executions, and registers their lanes. Counts the repairs
/// and the rows that could not be read or repaired, and logs each of them.
///
/// # Errors
/// The backend's error, when the rows cannot be listed.
pub(super) async fn executions<E: Executor>(
    executor: &E,
    first: FindDrift,
) -> Result<ReconcileCounts, EngineError> {
    let executor = &ScanExecutor::over(executor);
    let mut pass = Pass::default();
    let mut find = first;

    loop {
        let page = run(executor, &find).await?;
        let last = page.last;
        pass.repair(executor, page).await;
        match last {
            Some(last) => find = find.after(last),
            None => return Ok(pass.counts),
        }
    }
}

/// A pass over a partition so far.
#[derive(Default)]
struct Pass {
    counts: ReconcileCounts,
    /// The lanes that were looked at.
    lanes: BTreeSet<LaneId>,
}

impl Pass {
    async fn repair<E: Executor>(&mut self, executor: &E, page: Page) {
        for (key, error) in page.unreadable {
            self.count("execution", &key.id().to_string(), Err(error));
        }

        for drifted in page.drifted {
            let repaired = run(executor, &Repair(drifted)).await;
            self.count("execution", &drifted.key.id().to_string(), repaired);
        }

        for lane in page.lanes {
            if self.lanes.insert(lane.clone()) {
                let registered = run(executor, &RegisterLane(lane.clone())).await;
                self.count("lane", lane.as_str(), registered);
            }
        }
    }

    fn count(&mut self, kind: &str, id: &str, result: Result<bool, EngineError>) {
        match result {
            Ok(true) => {
                self.counts.processed += 1;
                tracing::warn!(kind, id, "a row had drifted and was repaired");
            }
            Ok(false) => {}
            // Another transaction holds the row, and leaves it as it must be; if not, the next
            // pass finds it.
            Err(EngineError::Contention(ContentionKind::RetryExhausted)) => {
                tracing::debug!(kind, id, "row is held by another transaction");
            }
            Err(error) => {
                self.counts.errors += 1;
                tracing::warn!(kind, id, %error, "row could not be reconciled");
            }
        }
    }
}
