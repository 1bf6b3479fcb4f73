//! The effect of an over-run on the execution that reported it.
//!
//! The report is refused first, so nothing of it is lost or half-applied. Then the worker's
//! execution ends or waits, under the fence of the report. A worker that has lost its lease
//! meanwhile changes nothing.

use super::{Executor, run};
use crate::contracts::ReportUsageResult;
use crate::model::error::EngineError;
use crate::model::handle_codec::HandlePayload;
use crate::model::state::FailureClass;
use crate::rules::budget::over_run::{OnHardLimit, OverRun};
use crate::rules::budget::report::{Report, Reported};
use crate::rules::execution::fail::{Fail, RetryRule};
use crate::rules::execution::failure::Failure;
use crate::rules::execution::finish::Cancel;
use crate::rules::fence::Fence;
use crate::rules::suspension::await_room::AwaitRoom;

/// Runs a report, and what the budget does about an over-run. The fence is that of the worker that
/// reports, or of whichever worker runs the execution.
pub(super) async fn report(
    executor: &dyn Executor,
    report: &Report,
    fence: Option<Fence>,
    presented: Option<HandlePayload>,
) -> Result<ReportUsageResult, EngineError> {
    let Reported { result, over_run } = run(executor, report).await?;
    if let (Some(over_run), Some(fence)) = (over_run, fence) {
        match stop(executor, over_run, fence, presented).await {
            // The lease is gone, or the execution has ended: it spends nothing any more.
            Ok(()) | Err(EngineError::Contention(_) | EngineError::State(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(result)
}

async fn stop(
    executor: &dyn Executor,
    over_run: OverRun,
    fence: Fence,
    presented: Option<HandlePayload>,
) -> Result<(), EngineError> {
    let reason = over_run.to_string();
    match over_run.action {
        OnHardLimit::Refuse | OnHardLimit::Warn => Ok(()),
        OnHardLimit::Fail => {
            let class = FailureClass::Permanent;
            let failure = Failure::new(class, &reason);
            let retry = RetryRule::ByClass(class, None);
            run(executor, &Fail { fence, failure, retry }).await.map(drop)
        }
        OnHardLimit::Cancel => {
            let execution_id = fence.key.id();
            run(executor, &Cancel { fence, execution_id, reason }).await
        }
        OnHardLimit::Suspend => {
            let tag = executor.backend_name().tag;
            let raise = over_run.raise;
            run(executor, &AwaitRoom { tag, fence, presented, raise }).await.map(drop)
        }
    }
}
