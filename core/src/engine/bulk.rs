//! One action on a batch of executions, each execution with a plan of its own.

use futures_util::future::join_all;
use serde::Serialize;

use super::{DryRun, Executor, dry_run, run};
use crate::contracts::{BulkArgs, BulkRefusal, BulkReport};
use crate::model::error::EngineError;
use crate::model::ids::{ExecutionId, LaneId};
use crate::plan::Plan;
use crate::rules::execution::bulk::{Matching, Single};

/// Applies the action to one batch.
pub(super) async fn apply(
    executor: &dyn Executor,
    args: &BulkArgs,
) -> Result<BulkReport, EngineError> {
    let batch = run(executor, &Matching::new(args, &executor.partitions())?).await?;

    let each = batch.found.iter().map(|(id, lane)| apply_to_one(executor, args, id, lane));
    let mut report = BulkReport {
        matched: u32::try_from(batch.found.len()).unwrap_or(u32::MAX),
        next_cursor: batch.next,
        ..BulkReport::default()
    };

    for ((id, _), done) in batch.found.iter().zip(join_all(each).await) {
        match done {
            Ok(()) => report.applied += 1,
            Err(error) => report.refused.push(refusal(id, &error)),
        }
    }

    Ok(report)
}

/// Counts the executions that the action matches, and plans the first batch.
pub(super) async fn preview(
    executor: &dyn Executor,
    args: &BulkArgs,
) -> Result<BulkPreview, EngineError> {
    let mut preview = BulkPreview::default();
    let mut args = args.clone();
    let mut first = true;

    loop {
        let batch = run(executor, &Matching::new(&args, &executor.partitions())?).await?;
        preview.matched += u64::try_from(batch.found.len()).unwrap_or(u64::MAX);

        if first {
            for (id, lane) in &batch.found {
                match dry_run_on_one(executor, &args, id, lane).await {
                    Ok(DryRun::Plan(plan)) => preview.plans.push(plan),
                    Ok(DryRun::Answer) => {}
                    Err(error) => preview.refused.push(refusal(id, &error)),
                }
            }
        }
        first = false;

        match batch.next {
            Some(next) => args.query.after = Some(next),
            None => return Ok(preview),
        }
    }
}

async fn apply_to_one(
    executor: &dyn Executor,
    args: &BulkArgs,
    id: &ExecutionId,
    lane: &LaneId,
) -> Result<(), EngineError> {
    match Single::new(&args.action, id.clone(), lane.clone(), args.now)? {
        Single::Cancel(cancel) => run(executor, &cancel).await.map(drop),
        Single::Replay(replay) => run(executor, &replay).await.map(drop),
        Single::Reprioritise(change) => run(executor, &change).await,
    }
}

async fn dry_run_on_one(
    executor: &dyn Executor,
    args: &BulkArgs,
    id: &ExecutionId,
    lane: &LaneId,
) -> Result<DryRun, EngineError> {
    match Single::new(&args.action, id.clone(), lane.clone(), args.now)? {
        Single::Cancel(cancel) => dry_run(executor, &cancel).await,
        Single::Replay(replay) => dry_run(executor, &replay).await,
        Single::Reprioritise(change) => dry_run(executor, &change).await,
    }
}

fn refusal(id: &ExecutionId, error: &EngineError) -> BulkRefusal {
    BulkRefusal { execution_id: id.clone(), error: error.sentence() }
}

/// The effect that a bulk action would have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BulkPreview {
    /// The number of executions it would find, in all batches.
    pub matched: u64,
    /// The plans of the first batch, as they would be committed now.
    pub plans: Vec<Plan>,
    /// The executions of the first batch that the action could not be applied to.
    pub refused: Vec<BulkRefusal>,
}
