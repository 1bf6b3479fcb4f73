//! Applies one plan on a connection that is inside a transaction.

use std::borrow::Cow;

use ff_codegen::{Bind, BindSource};
use ff_core::engine::Commit;
use ff_core::plan::value::Value;
use ff_core::plan::{Bindings, Name, Path};
use futures_util::TryStreamExt;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteQueryResult, SqliteRow};
use sqlx::{Either, Executor};

use crate::bind;
use crate::error::{Failure, SqliteError};
use crate::statements::{
    Isolation, Kind, OPEN, Part, Prepared, RELEASE, ROLLBACK_TO, Run, statement,
};

/// The result of a plan within its transaction. Any other failure breaks the transaction.
pub(crate) type Outcome = Result<Commit, Failure>;

/// Applies the plan, or leaves the transaction as it was.
///
/// A plan that is [`Isolation::Alone`] and does not apply leaves its changes: the caller rolls
/// back.
///
/// # Errors
/// The failure that broke the transaction, of which nothing can be kept.
pub(crate) async fn apply(
    connection: &mut SqliteConnection,
    prepared: &Prepared,
    bindings: &Bindings,
    isolation: Isolation,
) -> Result<Outcome, SqliteError> {
    let mut attempt = Attempt { connection, prepared, isolation, saved: false };
    let outcome = match attempt.whole(bindings).await {
        // SQLite undid only this statement, but the plan is refused as a whole.
        Err(Failure::Database(error)) if error.is_unique_violation() => Ok(Commit::Refused),
        outcome => outcome,
    };

    if !attempt.saved {
        return match outcome {
            Err(Failure::Database(error)) if !attempt.is_inside().await => Err(error),
            Ok(_) | Err(_) => Ok(outcome),
        };
    }

    match outcome {
        Ok(Commit::Applied(_)) => attempt.control(RELEASE).await?,
        Ok(Commit::Refused) | Err(_) => {
            let undone = attempt.undo().await;
            if let Err(broken) = undone {
                // SQLite rolled back the whole transaction by itself; the first failure is the
                // cause.
                return Err(match outcome {
                    Err(Failure::Database(first)) => first,
                    Ok(_) | Err(Failure::Value(_)) => broken,
                });
            }
        }
    }

    Ok(outcome)
}

struct Attempt<'a> {
    connection: &'a mut SqliteConnection,
    prepared: &'a Prepared,
    isolation: Isolation,
    /// True if the plan's savepoint is open.
    saved: bool,
}

/// The values that the statements so far have found, with their names.
type Found<'a> = Vec<(&'a Name, &'a Path, Value)>;

/// The sources of bound values.
struct Scope<'a, 's> {
    bindings: &'s Bindings,
    item: usize,
    picked: usize,
    /// The values found by the runs that happen once.
    once: &'s [(&'a Name, &'a Path, Value)],
    /// The values found by this scope's own runs, after those of the picked row, if there is one.
    own: Found<'a>,
}

impl Scope<'_, '_> {
    fn value(&self, source: &BindSource) -> Cow<'_, Value> {
        match source {
            BindSource::Slot(slot) => Cow::Borrowed(self.bindings.value(*slot, self.item)),
            BindSource::PickedCount => {
                Cow::Owned(Value::Int(i64::try_from(self.picked).unwrap_or(i64::MAX)))
            }
            BindSource::Held(row, path) => {
                let mut found = self.once.iter().chain(&self.own);
                let cell = found.find(|(held, at, _)| *held == row && *at == path);
                cell.map_or(Cow::Owned(Value::Null), |(_, _, value)| Cow::Borrowed(value))
            }
        }
    }

    fn returns(&self, returns: &[Bind]) -> Vec<Value> {
        returns.iter().map(|bind| self.value(&bind.source).into_owned()).collect()
    }
}

impl<'a> Attempt<'a> {
    async fn whole(&mut self, bindings: &Bindings) -> Outcome {
        let prepared = self.prepared;
        let sequence = prepared.sequence(self.isolation);
        let mut picks: Vec<Found<'a>> = Vec::new();
        let mut scope = Scope { bindings, item: 0, picked: 0, once: &[], own: Vec::new() };

        for run in &sequence.once {
            if !self.run(run, &mut scope, &mut picks).await? {
                return Ok(Commit::Refused);
            }
            scope.picked = picks.len();
        }

        if !prepared.picks {
            return Ok(Commit::Applied(vec![scope.returns(&prepared.returns)]));
        }

        let isolated = self.isolation == Isolation::Grouped && !self.saved;
        if isolated && !picks.is_empty() && !sequence.each.is_empty() {
            self.control(OPEN).await?;
            self.saved = true;
        }

        let (once, picked) = (scope.own, picks.len());
        let mut applied = Vec::with_capacity(picked);
        for (item, own) in picks.into_iter().enumerate() {
            let mut scope = Scope { bindings, item, picked, once: &once, own };
            for run in &sequence.each {
                if !self.run(run, &mut scope, &mut Vec::new()).await? {
                    return Ok(Commit::Refused);
                }
            }
            applied.push(scope.returns(&prepared.returns));
        }

        Ok(Commit::Applied(applied))
    }

    /// Runs the statements and keeps what they find; `false` if one of them refuses the plan.
    async fn run(
        &mut self,
        run: &'a Run,
        scope: &mut Scope<'a, '_>,
        picks: &mut Vec<Found<'a>>,
    ) -> Result<bool, Failure> {
        let mut arguments = SqliteArguments::default();
        for bind in run.parts.iter().flat_map(|part| &part.binds) {
            bind::push(&mut arguments, &scope.value(&bind.source), bind.ty)?;
        }

        self.saved |= run.opens;
        let mut items = self.connection.fetch_many(statement(&run.sql, arguments));

        let mut parts = run.parts.iter();
        let mut part = parts.next();
        let (mut rows, mut holds) = (0, true);
        while let Some(item) = items.try_next().await.map_err(SqliteError::write)? {
            let Some(current) = part else { break };
            match item {
                Either::Right(row) => {
                    rows += 1;
                    let found = cells(current, &row)?;
                    match current.kind {
                        Kind::Pick => picks.push(found),
                        Kind::Guard | Kind::Write { .. } | Kind::Savepoint => {
                            scope.own.extend(found);
                        }
                    }
                }
                Either::Left(done) => {
                    holds &= passes(current, rows, &done);
                    (part, rows) = (parts.next(), 0);
                }
            }
        }

        drop(items);
        self.saved &= !run.closes;
        Ok(holds)
    }

    /// True if the transaction still exists. Some failures make SQLite roll it back by itself, and
    /// later statements would then commit on their own. Inside a transaction no other can begin.
    async fn is_inside(&mut self) -> bool {
        self.control("BEGIN").await.is_err()
    }

    async fn undo(&mut self) -> Result<(), SqliteError> {
        self.control(ROLLBACK_TO).await?;
        self.control(RELEASE).await
    }

    async fn control(&mut self, text: &'static str) -> Result<(), SqliteError> {
        let done = sqlx::query(text).execute(&mut *self.connection).await;
        done.map(drop).map_err(SqliteError::write)
    }
}

fn passes(part: &Part, rows: usize, done: &SqliteQueryResult) -> bool {
    match part.kind {
        Kind::Guard => rows != 0,
        Kind::Write { must_write: true } if part.yields.is_empty() => done.rows_affected() != 0,
        Kind::Write { must_write: true } => rows != 0,
        Kind::Write { must_write: false } | Kind::Pick | Kind::Savepoint => true,
    }
}

fn cells<'a>(part: &'a Part, row: &SqliteRow) -> Result<Found<'a>, Failure> {
    let columns = part.holds.iter().zip(&part.yields).enumerate();
    let cell = |(index, (path, ty)): (usize, (&'a Path, &_))| {
        Ok((&part.row, path, bind::read(row, index, path.column, *ty)?))
    };
    columns.map(cell).collect()
}
