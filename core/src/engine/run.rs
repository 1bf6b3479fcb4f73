//! The loop that runs a decision to its end.

use tracing::Instrument as _;

use super::subject::Subject;
use super::{Commit, Executor, pause_after};
use crate::model::error::{ContentionKind, EngineError};
use crate::plan::Plan;
use crate::plan::facts::{Facts, Questions};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Then, Transition};

/// Runs one operation to its end. The second try waits for its turn among the callers of this
/// process that change the same row. From the third try on it also pauses before reading again, for
/// as long as [`pause_after`] says.
///
/// # Errors
/// The rule's refusal; the backend's error; `Contention(RetryExhausted)` when the rows kept
/// changing until the pauses were used up.
pub async fn run<E, T>(executor: &E, transition: &T) -> Result<T::Outcome, EngineError>
where
    E: Executor + ?Sized,
    T: Transition + ?Sized,
{
    let span = ff_telemetry::decision_span();
    let answer = run_within(executor, transition, &span).instrument(span.clone()).await;
    tracing::debug!(target: "flowfabric", parent: &span, "decided");
    answer
}

async fn run_within<E, T>(
    executor: &E,
    transition: &T,
    span: &tracing::Span,
) -> Result<T::Outcome, EngineError>
where
    E: Executor + ?Sized,
    T: Transition + ?Sized,
{
    let mut subject = Subject::of(span);
    let (mut facts, mut turn) = (Facts::default(), None);
    loop {
        let (plan, then) = match decide(executor, transition, &facts)? {
            Step::Read(queries) => {
                subject.note_queries(&queries);
                let questions = Questions::of(&queries);
                facts.learn(&questions, executor.read(queries).await?);
                continue;
            }
            Step::Answer(outcome) => return Ok(outcome),
            Step::Commit(plan, then) => (plan, then),
        };

        // Only after a refusal: most plans meet no other caller, and waiting would delay them.
        if facts.refusals() != 0
            && turn.is_none()
            && let Some(taken) = executor.process_state().wait_to_change(&plan).await
        {
            turn = Some(taken.turn);
            if taken.waited {
                // The caller before has changed the rows that were read.
                facts = facts.unread();
                continue;
            }
        }

        let name = plan.name.clone();
        subject.note_plan(&plan);
        match executor.commit(plan).await? {
            Commit::Applied(rows) => {
                return match then {
                    Then::Answer(outcome) => Ok(outcome),
                    Then::FromRows(read) => read(rows),
                };
            }
            Commit::Refused => facts = Facts::after_refusals(facts.refusals() + 1),
            Commit::Prevented => facts = Facts::after_prevention(facts.refusals() + 1),
        }
        ff_telemetry::retried(&name);

        let pause = pause_after(facts.refusals(), || executor.source().fraction());
        let Some(pause) = pause else {
            tracing::warn!(plan = %name, tries = facts.refusals(), "the rows kept changing");
            return Err(EngineError::Contention(ContentionKind::RetryExhausted));
        };
        if !pause.is_zero() {
            executor.sleep(pause).await;
        }
    }
}

/// The decision of an operation that is not committed.
#[derive(Clone, Debug, PartialEq)]
pub enum DryRun {
    /// It would commit this plan.
    Plan(Plan),
    /// It would change nothing.
    Answer,
}

/// Decides an operation on the rows as they are, and commits nothing.
///
/// # Errors
/// The rule's refusal; the backend's error.
pub async fn dry_run<E, T>(executor: &E, transition: &T) -> Result<DryRun, EngineError>
where
    E: Executor + ?Sized,
    T: Transition + ?Sized,
{
    // As after a refusal: no premise is taken for granted, every row is read.
    let mut facts = Facts::after_refusals(1);
    loop {
        match decide(executor, transition, &facts)? {
            Step::Read(queries) => {
                let questions = Questions::of(&queries);
                facts.learn(&questions, executor.read(queries).await?);
            }
            Step::Answer(_) => return Ok(DryRun::Answer),
            Step::Commit(plan, _) => return Ok(DryRun::Plan(plan)),
        }
    }
}

// Not async, so that the random source is dropped before the next await.
fn decide<E, T>(
    executor: &E,
    transition: &T,
    facts: &Facts,
) -> Result<Step<T::Outcome>, EngineError>
where
    E: Executor + ?Sized,
    T: Transition + ?Sized,
{
    let mut source = executor.source();
    transition.step(facts, &mut Ctx::new(executor.now(), source.as_mut()))
}
