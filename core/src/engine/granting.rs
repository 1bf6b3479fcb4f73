//! Grants by a scheduler, which pass over executions with a full limit.

use super::budgeted::room_of_grants;
use super::{Executor, run};
use crate::contracts::{ClaimForWorkerArgs, ClaimForWorkerOutcome};
use crate::model::error::EngineError;
use crate::rules::grant::schedule::{Schedule, Scheduled};

/// The most times that executions are listed: each time, those with a key that turned out to be
/// full are passed over from then on.
const ROUNDS: usize = 16;

/// Grants the best execution that the worker can run, if there is one.
pub(super) async fn grant_best<E: Executor + ?Sized>(
    executor: &E,
    args: ClaimForWorkerArgs,
) -> Result<ClaimForWorkerOutcome, EngineError> {
    let schedule = Schedule::new(executor.backend_name().tag, executor.partitions(), args)?;
    let mut schedule = schedule.with_room(room_of_grants(executor).await?);
    for _ in 0..ROUNDS {
        match run(executor, &schedule).await? {
            Scheduled::Ended(outcome) => return Ok(outcome),
            Scheduled::Full(tokens) => schedule = schedule.passing_over(tokens),
        }
    }
    Ok(ClaimForWorkerOutcome::no_work())
}
