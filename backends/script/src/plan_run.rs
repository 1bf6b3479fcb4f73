//! Applies one plan on a connection that is inside a transaction.

use ff_codegen::ScriptRuns;
use ff_codegen::runs::{Isolation, Part, PartKind, Run};
use ff_core::EngineError;
use ff_core::engine::Commit;
use ff_core::engine_error::ValidationKind;
use ff_core::plan::Bindings;

use crate::connection::{Failure, PartResult, ScriptConnection};
use crate::found::{FoundRow, Sources};
use crate::group::Outcome;

/// Applies the plan, or leaves the transaction as it was.
///
/// A plan that is [`Isolation::Alone`] and does not apply leaves its changes: the caller rolls
/// back.
///
/// # Errors
/// The failure that broke the transaction, of which nothing can be kept.
pub(crate) async fn apply<C: ScriptConnection>(
    connection: &mut C,
    runs: &ScriptRuns,
    bindings: &Bindings,
    isolation: Isolation,
) -> Result<Outcome<C::Error>, C::Error> {
    let mut plan = PlanRun { connection, runs, isolation, saved: false };
    let outcome = match plan.run_all(bindings).await {
        // The database undid only this statement, but the plan is refused as a whole.
        Err(Failure::Database(error)) if C::is_unique_violation(&error) => Ok(Commit::Refused),
        outcome => outcome,
    };

    if !plan.saved {
        return match outcome {
            Err(Failure::Database(error)) if !plan.connection.is_in_transaction().await => {
                Err(error)
            }
            Ok(_) | Err(_) => Ok(outcome),
        };
    }

    match outcome {
        Ok(Commit::Applied(_)) => plan.release().await?,
        Ok(Commit::Refused) | Err(_) => {
            if let Err(broken) = plan.undo().await {
                // The database rolled back the whole transaction by itself; the first failure is
                // the cause.
                return Err(match outcome {
                    Err(Failure::Database(first)) => first,
                    Ok(_) | Err(Failure::Value(_)) => broken,
                });
            }
        }
    }

    Ok(outcome)
}

struct PlanRun<'a, C> {
    connection: &'a mut C,
    runs: &'a ScriptRuns,
    isolation: Isolation,
    /// True if the plan's savepoint is open.
    saved: bool,
}

impl<'a, C: ScriptConnection> PlanRun<'a, C> {
    async fn run_all(&mut self, bindings: &Bindings) -> Outcome<C::Error> {
        let runs = self.runs;
        let sequence = runs.sequence(self.isolation);
        let mut picks: Vec<FoundRow<'a>> = Vec::new();
        let mut sources = Sources { bindings, item: 0, picked: 0, once: &[], own: Vec::new() };

        for run in &sequence.once {
            if !self.run(run, &mut sources, &mut picks).await? {
                return Ok(Commit::Refused);
            }
            sources.picked = picks.len();
        }

        if !runs.picks {
            return Ok(Commit::Applied(vec![sources.returns(&runs.returns)]));
        }

        let isolated = self.isolation == Isolation::Grouped && !self.saved;
        if isolated && !picks.is_empty() && !sequence.each.is_empty() {
            self.open().await.map_err(Failure::Database)?;
        }

        let (once, picked) = (sources.own, picks.len());
        let mut applied = Vec::with_capacity(picked);
        for (item, pick) in picks.into_iter().enumerate() {
            let mut sources = Sources { bindings, item, picked, once: &once, own: vec![pick] };
            for run in &sequence.each {
                if !self.run(run, &mut sources, &mut Vec::new()).await? {
                    return Ok(Commit::Refused);
                }
            }
            applied.push(sources.returns(&runs.returns));
        }

        Ok(Commit::Applied(applied))
    }

    /// Runs the statements and keeps what they find; `false` if one of them refuses the plan.
    async fn run(
        &mut self,
        run: &'a Run,
        sources: &mut Sources<'a, '_>,
        picks: &mut Vec<FoundRow<'a>>,
    ) -> Result<bool, Failure<C::Error>> {
        let values = sources.values(run);
        self.saved |= run.opens;
        let results = self.connection.run(run, &values).await?;
        drop(values);

        if results.len() != run.parts.len() {
            return Err(Failure::Value(uneven(run, &results)));
        }
        let holds = run.parts.iter().zip(&results).all(|(part, result)| passes(part, result));

        for (part, result) in run.parts.iter().zip(results) {
            let found = result.rows.into_iter().map(|cells| FoundRow { part, cells });
            match part.kind {
                PartKind::Pick => picks.extend(found),
                PartKind::Guard | PartKind::Write { .. } | PartKind::Savepoint => {
                    sources.own.extend(found);
                }
            }
        }

        self.saved &= !run.closes;
        Ok(holds)
    }

    async fn open(&mut self) -> Result<(), C::Error> {
        let control = self.connection.transaction_control();
        self.connection.control(control.open_savepoint).await?;
        self.saved = true;
        Ok(())
    }

    async fn release(&mut self) -> Result<(), C::Error> {
        let control = self.connection.transaction_control();
        self.connection.control(control.release_savepoint).await
    }

    async fn undo(&mut self) -> Result<(), C::Error> {
        let control = self.connection.transaction_control();
        self.connection.control(control.roll_back_to_savepoint).await?;
        self.release().await
    }
}

fn passes(part: &Part, result: &PartResult) -> bool {
    match part.kind {
        PartKind::Guard => !result.rows.is_empty(),
        PartKind::Write { must_write: true } if part.yields.is_empty() => result.changed != 0,
        PartKind::Write { must_write: true } => !result.rows.is_empty(),
        PartKind::Write { must_write: false } | PartKind::Pick | PartKind::Savepoint => true,
    }
}

fn uneven(run: &Run, results: &[PartResult]) -> EngineError {
    let (sent, answered) = (run.parts.len(), results.len());
    EngineError::Validation {
        kind: ValidationKind::Corruption,
        detail: format!("{sent} statements were sent, {answered} have a result"),
    }
}
