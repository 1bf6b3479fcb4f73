//! Repairs the executions and the flows of a partition that have drifted, page by page.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::scan_executor::ScanExecutor;
use super::{Executor, run};
use crate::contracts::ReconcileCounts;
use crate::model::error::{ContentionKind, EngineError};
use crate::model::ids::LaneId;
use crate::rules::execution::reconcile::{FindDrift, Page, Repair};
use crate::rules::flow::end::EndFlow;
use crate::rules::flow::key::FlowKey;
use crate::rules::flow::reconcile::{HasMembers, OpenFlows, PAGE};
use crate::rules::lane::RegisterLane;

/// Repairs what is derived in the rows of executions, and registers their lanes. Where all of the
/// partition is meant, ends the open flows without an unfinished member, too. Counts the repairs
/// and the rows that could not be read or repaired, and logs each of them.
///
/// # Errors
/// The backend's error, when the rows cannot be listed.
pub(super) async fn executions(
    executor: &dyn Executor,
    first: FindDrift,
) -> Result<ReconcileCounts, EngineError> {
    let executor = &ScanExecutor::over(executor);
    let mut pass = Pass::default();
    let whole = first.whole_partition();
    let mut find = first;

    loop {
        let page = run(executor, &find).await?;
        let last = page.last;
        pass.repair(executor, page).await;
        match last {
            Some(last) => find = find.after(last),
            None => break,
        }
    }

    if let Some(partition) = whole {
        pass.end_flows(executor, partition).await?;
    }
    Ok(pass.counts)
}

/// A pass over a partition so far.
#[derive(Default)]
struct Pass {
    counts: ReconcileCounts,
    /// The lanes that were looked at.
    lanes: BTreeSet<LaneId>,
}

impl Pass {
    async fn repair(&mut self, executor: &dyn Executor, page: Page) {
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

    async fn end_flows(
        &mut self,
        executor: &dyn Executor,
        partition: i16,
    ) -> Result<(), EngineError> {
        let mut after = Uuid::nil();
        loop {
            let flows = run(executor, &OpenFlows { partition, after }).await?;
            for flow in &flows {
                let ended = end_if_over(executor, *flow).await;
                self.count("flow", &flow.id().to_string(), ended);
            }
            match flows.last() {
                Some(last) if flows.len() == PAGE => after = last.uuid,
                Some(_) | None => return Ok(()),
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

/// Ends a flow if it has members and all of them are over. Returns true if it has ended now.
async fn end_if_over(executor: &dyn Executor, flow: FlowKey) -> Result<bool, EngineError> {
    if run(executor, &HasMembers(flow)).await? {
        run(executor, &EndFlow { flow }).await
    } else {
        Ok(false)
    }
}
