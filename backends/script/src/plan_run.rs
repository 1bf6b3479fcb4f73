//! Applies one plan on a connection that is inside a transaction.

use ff_codegen::{Script, ScriptStep};
use ff_core::engine::Commit;
use ff_core::plan::Bindings;

use crate::connection::{Failure, ScriptConnection, StepResult};
use crate::found::{FoundRow, Sources, sums};
use crate::group::{BoundPlan, Outcome};

/// The end of a plan within its transaction.
pub(crate) struct PlanEnd<E> {
    pub(crate) outcome: Outcome<E>,
    /// True if the plan may have changed rows, and has not applied.
    pub(crate) leaves_changes: bool,
}

/// Applies the plan. If it does not apply, it may leave changes.
///
/// # Errors
/// The failure that broke the transaction, of which nothing can be kept.
pub(crate) async fn apply<C: ScriptConnection>(
    connection: &mut C,
    (script, bindings): BoundPlan<'_>,
) -> Result<PlanEnd<C::Error>, C::Error> {
    let mut plan = PlanRun { connection, script, has_written: false };
    let outcome = match plan.run_all(bindings).await {
        // The database undid only this statement, but the plan is refused as a whole.
        Err(Failure::Database(error)) if C::is_unique_violation(&error) => Ok(Commit::Refused),
        outcome => outcome,
    };
    let written = plan.has_written;
    let outcome = match outcome {
        Ok(Commit::Refused) => plan.refusal(bindings).await,
        outcome => outcome,
    };

    match outcome {
        Err(Failure::Database(error)) if !connection.is_in_transaction().await => Err(error),
        Ok(Commit::Applied(_)) => Ok(PlanEnd { outcome, leaves_changes: false }),
        Ok(Commit::Refused | Commit::Prevented) | Err(_) => {
            Ok(PlanEnd { outcome, leaves_changes: written })
        }
    }
}

/// Applies the plan on a connection that is inside a transaction, or leaves the transaction as it
/// was.
///
/// # Errors
/// The failure that broke the transaction, of which nothing can be kept.
pub async fn apply_behind_savepoint<C: ScriptConnection>(
    connection: &mut C,
    plan: BoundPlan<'_>,
) -> Result<Outcome<C::Error>, C::Error> {
    let control = connection.transaction_control();
    connection.control(control.open_savepoint).await?;

    let end = apply(connection, plan).await?;
    if end.leaves_changes {
        connection.control(control.roll_back_to_savepoint).await?;
    }

    connection.control(control.release_savepoint).await?;
    Ok(end.outcome)
}

/// A picked row, with the number of the values that it takes.
type Pick<'a> = (usize, FoundRow<'a>);

struct PlanRun<'a, C> {
    connection: &'a mut C,
    script: &'a Script,
    /// True if a statement has changed rows, or may have.
    has_written: bool,
}

impl<'a, C: ScriptConnection> PlanRun<'a, C> {
    async fn run_all(&mut self, bindings: &Bindings) -> Outcome<C::Error> {
        let script = self.script;
        let mut picks: Vec<Pick<'a>> = Vec::new();
        let mut sources = Sources::of(bindings);

        for step in &script.once {
            if let ScriptStep::Pick { named_by, .. } = step {
                picks = self.pick(step, *named_by, &mut sources).await?;
                sources.picked = picks.len();
                sources.sums = sums(picks.iter().map(|(_, row)| row));
            } else if !self.run(step, &mut sources).await? {
                return Ok(Commit::Refused);
            }
        }

        if !script.picks() {
            return Ok(Commit::Applied(vec![sources.returns(&script.returns)]));
        }

        let (once, sums, picked) = (sources.own, sources.sums, picks.len());
        let mut applied = Vec::with_capacity(picked);
        for (item, pick) in picks {
            let (sums, own) = (sums.clone(), vec![pick]);
            let mut sources = Sources { bindings, item, picked, sums, once: &once, own };
            for step in &script.each {
                if !self.run(step, &mut sources).await? {
                    return Ok(Commit::Refused);
                }
            }
            applied.push(sources.returns(&script.returns));
        }

        Ok(Commit::Applied(applied))
    }

    /// The sort of refusal, once a guard or the first insert has refused the plan.
    async fn refusal(&mut self, bindings: &Bindings) -> Outcome<C::Error> {
        let Some(step) = &self.script.prevents else { return Ok(Commit::Refused) };

        let mut sources = Sources::of(bindings);
        let prevented = self.run(step, &mut sources).await?;
        Ok(if prevented { Commit::Prevented } else { Commit::Refused })
    }

    /// The picked rows: all that one select finds, or one of each select that names a row.
    async fn pick(
        &mut self,
        step: &'a ScriptStep,
        named_by: Option<usize>,
        sources: &mut Sources<'a, '_>,
    ) -> Result<Vec<Pick<'a>>, Failure<C::Error>> {
        let mut picks = Vec::new();
        let selects = named_by.map_or(1, |slot| sources.bindings.count(slot));
        for item in 0..selects {
            sources.item = item;
            let values = sources.values(&step.statement().binds);
            let result = self.connection.run(step, &values).await?;
            let found = result.rows.into_iter().map(|cells| FoundRow { step, cells });
            match named_by {
                Some(_) => picks.extend(found.map(|row| (item, row))),
                None => picks.extend(found.enumerate()),
            }
        }
        sources.item = 0;
        Ok(picks)
    }

    /// Runs the statement and keeps what it finds; `false` if it refuses the plan.
    async fn run(
        &mut self,
        step: &'a ScriptStep,
        sources: &mut Sources<'a, '_>,
    ) -> Result<bool, Failure<C::Error>> {
        let values = sources.values(&step.statement().binds);
        let result = self.connection.run(step, &values).await;
        drop(values);
        // A value of a row that was written may be unreadable: then the row has changed.
        let unread = matches!(result, Err(Failure::Value(_)));
        self.has_written |= unread && matches!(step, ScriptStep::Write { .. });
        let result = result?;

        let holds = passes(step, &result);
        let found = result.rows.into_iter().map(|cells| FoundRow { step, cells });
        match step {
            ScriptStep::Guard { .. } | ScriptStep::Pick { .. } => sources.own.extend(found),
            ScriptStep::Write { .. } => {
                let returned = sources.own.len();
                sources.own.extend(found);
                self.has_written |= result.changed != 0 || returned < sources.own.len();
            }
        }

        Ok(holds)
    }
}

fn passes(step: &ScriptStep, result: &StepResult) -> bool {
    match step {
        ScriptStep::Guard { .. } => !result.rows.is_empty(),
        ScriptStep::Write { must_write: true, statement, .. } if statement.yields.is_empty() => {
            result.changed != 0
        }
        ScriptStep::Write { must_write: true, .. } => !result.rows.is_empty(),
        ScriptStep::Write { must_write: false, .. } | ScriptStep::Pick { .. } => true,
    }
}
