//! Forks executions.

use super::{Executor, run};
use crate::contracts::{ForkExecutionArgs, ForkExecutionResult, StepRecord};
use crate::model::error::EngineError;
use crate::model::ids::ExecutionId;
use crate::rules::input::PAGE_MAX;
use crate::rules::step::fork::{Fork, ReadSource};
use crate::rules::step::read::ReadSteps;

/// Submits an execution like another one, with the steps before the one that it begins from. Steps
/// never change, so it need not hold them.
pub(super) async fn fork(
    executor: &dyn Executor,
    args: &ForkExecutionArgs,
) -> Result<ForkExecutionResult, EngineError> {
    let submission = run(executor, &ReadSource::new(args)?).await?;
    let steps = match &args.from_step {
        None => Vec::new(),
        Some(_) => all_steps(executor, &args.source).await?,
    };

    executor.process_state().budgeted.note(submission.policy.as_ref());
    run(executor, &Fork::new(args, submission, steps, &executor.partitions())?).await
}

async fn all_steps(
    executor: &dyn Executor,
    id: &ExecutionId,
) -> Result<Vec<StepRecord>, EngineError> {
    let page = u32::try_from(PAGE_MAX).unwrap_or(u32::MAX);
    let (mut steps, mut after) = (Vec::new(), None);
    loop {
        let more = run(executor, &ReadSteps::after(id, after, page)?).await?;
        let is_last = more.len() < PAGE_MAX;
        after = more.last().map(|step| step.position);
        steps.extend(more);
        if is_last {
            return Ok(steps);
        }
    }
}
