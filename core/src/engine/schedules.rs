//! Schedules that are due, and the past ticks that a caller asks for.

use super::{Executor, run};
use crate::contracts::{
    BackfillReport, BackfillScheduleArgs, CancelExecutionArgs, CreateExecutionResult,
};
use crate::engine::operations::EngineBackend;
use crate::model::error::{EngineError, ValidationKind};
use crate::model::ids::{CancelSource, ExecutionId};
use crate::rules::execution::cancel::CancelExecution;
use crate::rules::schedule::backfill::Backfill;
use crate::rules::schedule::fire::{Fire, Fired};
use crate::rules::schedule::key::ScheduleKey;

/// The most steps that one scan takes with one schedule, so that none holds up the others.
const STEPS_MAX: usize = 100;

/// Deals with the ticks of a schedule that are due. Returns true if something changed.
pub(super) async fn fire(executor: &dyn Executor, key: &ScheduleKey) -> Result<bool, EngineError> {
    let fire = Fire { key: key.clone(), partitions: executor.partitions() };
    let mut changed = false;

    for _ in 0..STEPS_MAX {
        match run(executor, &fire).await? {
            Fired::Moved => changed = true,
            Fired::Nothing => break,
            Fired::CancelFirst(before) => cancel(executor, before, key).await?,
        }
    }
    Ok(changed)
}

/// Cancels the execution of the tick before. The next step reads what became of it.
async fn cancel(
    executor: &dyn Executor,
    execution_id: ExecutionId,
    key: &ScheduleKey,
) -> Result<(), EngineError> {
    let args = CancelExecutionArgs {
        execution_id,
        reason: format!("the next tick of schedule {} is due", key.name),
        source: CancelSource::OperatorOverride,
        lease_id: None,
        lease_epoch: None,
        attempt_id: None,
        now: executor.now(),
    };

    match run(executor, &CancelExecution::new(args)?).await {
        // It ended by itself meanwhile.
        Ok(_)
        | Err(
            EngineError::NotFound { .. }
            | EngineError::Validation { kind: ValidationKind::InvalidInput, .. },
        ) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Submits the executions of past ticks.
pub(super) async fn backfill<B: EngineBackend + Executor>(
    backend: &B,
    args: BackfillScheduleArgs,
) -> Result<BackfillReport, EngineError> {
    let submissions = run(backend, &Backfill::new(args, &backend.partitions())?).await?;
    let mut report = BackfillReport::default();

    for result in backend.create_executions(submissions).await {
        match result? {
            CreateExecutionResult::Created { execution_id, .. } => {
                report.created.push(execution_id);
            }
            CreateExecutionResult::Duplicate { execution_id } => {
                report.existing.push(execution_id);
            }
        }
    }
    Ok(report)
}
