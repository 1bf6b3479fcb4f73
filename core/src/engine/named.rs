//! Claims of an execution that the caller names, where it has keys of limits.

use super::in_flight::note;
use super::turns::Turn;
use super::{Executor, run};
use crate::model::error::{ContentionKind, EngineError, StateKind};
use crate::model::ids::ExecutionId;
use crate::rules::decision::Transition;
use crate::rules::execution::reserve::ReadAsking;
use crate::rules::key::ExecutionKey;
use crate::rules::limit::admit::Admission;
use crate::rules::limit::held::Holdings;
use crate::rules::limit::read::ReadHeld;

/// The most times that it is read anew what is left of the limits.
const TRIES: usize = 8;

/// Runs the claim of an execution, with what it takes of the limits of its keys.
///
/// # Errors
/// `State(LimitReached)` while a limit has no room; what the claim itself is refused with.
pub(super) async fn claim_named<T>(
    executor: &dyn Executor,
    execution: &ExecutionId,
    claim: impl Fn(Holdings) -> T,
) -> Result<T::Outcome, EngineError>
where
    T: Transition,
{
    let key = ExecutionKey::of(execution)?;
    for _ in 0..TRIES {
        let (holdings, _turn) = admit(executor, key).await?;
        let is_limited = !holdings.is_empty();
        match run(executor, &claim(holdings)).await {
            Err(EngineError::Contention(ContentionKind::RetryExhausted)) if is_limited => {}
            outcome => return outcome,
        }
    }
    Err(EngineError::Contention(ContentionKind::RetryExhausted))
}

/// What the execution may take, and the turn in which to take it: nothing, and none, without keys
/// of limits.
async fn admit(
    executor: &dyn Executor,
    key: ExecutionKey,
) -> Result<(Holdings, Option<Turn<()>>), EngineError> {
    let state = executor.process_state();
    if !state.budgeted.look(executor, true).await? {
        return Ok((Holdings::default(), None));
    }
    let Some(asking) = run(executor, &ReadAsking(key)).await? else {
        return Ok((Holdings::default(), None));
    };

    let turn = state.wait_to_reserve().await;
    let read = ReadHeld { keys: asking.keys.clone(), partitions: executor.partitions() };
    let in_flight = state.in_flight.holdings();
    let mut held = run(executor, &read).await?;
    note(&mut held, &in_flight);
    match held.admit(&asking, executor.now())? {
        Admission::Admitted(holdings) => Ok((holdings, Some(turn))),
        Admission::Full(limit_key) => {
            Err(EngineError::State(StateKind::LimitReached { limit_key }))
        }
    }
}
