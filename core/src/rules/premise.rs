//! Rows that a decision relies on, and what must hold of them, in order of precedence.
//!
//! One list serves three readers: the plan's guards, the check that explains a refusal once the
//! rows are loaded, and the decision table. An operation that knows beforehand what its rows must
//! look like commits on that expectation in one round trip; only when the guards refuse does it
//! load the rows and let the same list say which condition failed.

use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::plan::facts::{Facts, Row, Rows};
use crate::plan::value::Storable;
use crate::plan::{Expr, Held, Lookup, Name, Plan, Predicate, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Then, Transition};
use crate::rules::key::{ATTEMPT, CORE, ExecutionKey, current_attempt};
use crate::schema::execution::{attempt, exec_core};
use crate::schema::{Col, ColumnRef, TableRef};

/// A row that a decision relies on.
pub struct Premise {
    /// The name that the plan gives the row.
    pub row: &'static str,
    /// Its table.
    pub table: TableRef,
    /// Its key.
    pub key: Vec<(ColumnRef, Expr)>,
    /// The refusal when it does not exist.
    pub absent: Refusal,
    /// The conditions that must hold, most important first.
    pub conditions: Vec<Condition>,
}

impl Premise {
    /// An execution that exists and holds these conditions.
    #[must_use]
    pub fn execution(key: &ExecutionKey, conditions: Vec<Condition>) -> Self {
        let absent: Refusal = Box::new(|_| EngineError::NotFound { entity: "execution" });
        Self { row: CORE, table: exec_core::REF, key: key.core(), absent, conditions }
    }
}

/// Something that must hold of a row.
pub struct Condition {
    /// The predicate.
    pub holds: Predicate,
    /// The refusal when it does not hold.
    pub refusal: Refusal,
}

/// Makes the error of a refused operation from the rows that are known.
pub type Refusal = Box<dyn Fn(&Known) -> EngineError + Send + Sync>;

/// The rows that were loaded; none while a decision rests on an expectation.
#[derive(Clone, Debug, Default)]
pub struct Known {
    rows: Vec<(Name, Option<Row>)>,
}

impl Known {
    /// The rows that were looked up.
    #[must_use]
    pub fn of(rows: Rows<'_>) -> Self {
        Self { rows: rows.all().to_vec() }
    }

    /// The loaded row of that name.
    #[must_use]
    pub fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|(held, _)| held == name).and_then(|(_, row)| row.as_ref())
    }

    /// A column of a loaded row; `None` when the row is absent or was not loaded.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a stored value that is not of the column's type.
    pub fn read<T: Storable>(&self, row: &str, column: Col<T>) -> Result<Option<T>, EngineError> {
        self.row(row).map(|row| row.read(column)).transpose()
    }
}

/// An operation on rows that it can name.
pub trait Guarded: Sync {
    /// The answer to the caller.
    type Outcome: Send;

    /// The operation's name.
    fn name(&self) -> &'static str;

    /// The time it happens at: the caller's, where the arguments carry one, else the backend's.
    fn at(&self, ctx: &Ctx<'_>) -> TimestampMs {
        ctx.now
    }

    /// The rows and conditions that the operation relies on.
    fn premises(&self, at: TimestampMs) -> Vec<Premise>;

    /// Returns true if the operation can decide before anything is loaded, as most can.
    fn predicted(&self) -> bool {
        true
    }

    /// Adds the changes to the guarded plan, and returns it with the outcome.
    ///
    /// # Errors
    /// A refusal that depends on loaded facts.
    fn effects(
        &self,
        known: &Known,
        plan: Plan,
        at: TimestampMs,
        ctx: &mut Ctx<'_>,
    ) -> Result<(Plan, Self::Outcome), EngineError>;
}

impl<G: Guarded> Transition for G {
    type Outcome = G::Outcome;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<G::Outcome>, EngineError> {
        let at = self.at(ctx);
        let premises = self.premises(at);

        let Some(rows) = facts.rows() else {
            // The first try commits on the expectation; only a refused plan loads the rows.
            if facts.refusals() == 0 && self.predicted() {
                return commit(self, premises, &Known::default(), at, ctx);
            }
            return Ok(Step::Read(vec![Query::Lookup(lookups(&premises))]));
        };

        let known = Known::of(rows);
        check(&premises, &known)?;
        commit(self, premises, &known, at, ctx)
    }
}

fn commit<G: Guarded>(
    operation: &G,
    premises: Vec<Premise>,
    known: &Known,
    at: TimestampMs,
    ctx: &mut Ctx<'_>,
) -> Result<Step<G::Outcome>, EngineError> {
    let plan = guard_all(Plan::new(operation.name()), premises, known)?;

    let (plan, outcome) = operation.effects(known, plan, at, ctx)?;
    Ok(Step::Commit(plan, Then::Answer(outcome)))
}

/// Adds the premises as guards; an execution that was read is pinned to what was read.
///
/// # Errors
/// `Validation(Corruption)` when the stored version is no number.
pub fn guard_all(
    mut plan: Plan,
    premises: Vec<Premise>,
    known: &Known,
) -> Result<Plan, EngineError> {
    for Premise { row, table, key, conditions, .. } in premises {
        let core = known.row(CORE).filter(|_| row == CORE);
        let pinned = core.map(unmoved).transpose()?;
        let holds = conditions.into_iter().map(|condition| condition.holds).chain(pinned);
        plan = plan.guard(row, table, key, holds.fold(Predicate::Always, Predicate::and));
    }
    Ok(plan)
}

/// The predicate that an execution row is unchanged since it was read: its version is the same.
///
/// # Errors
/// `Validation(Corruption)` when the stored version is no number.
pub fn unmoved(core: &Row) -> Result<Predicate, EngineError> {
    Ok(exec_core::version.equals(core.read(exec_core::version)?))
}

/// Checks every premise in order of precedence.
///
/// # Errors
/// The refusal of the first that does not hold.
pub fn check(premises: &[Premise], known: &Known) -> Result<(), EngineError> {
    for premise in premises {
        let Some(row) = known.row(premise.row) else {
            return Err((premise.absent)(known));
        };
        for condition in &premise.conditions {
            if !condition.holds.accepts(row, &Held::default()) {
                return Err((condition.refusal)(known));
            }
        }
    }
    Ok(())
}

/// The look-ups of the premises' rows, each without its input and output bytes.
#[must_use]
pub fn lookups(premises: &[Premise]) -> Vec<Lookup> {
    let lookup = |premise: &Premise| Lookup {
        row: premise.row.into(),
        table: premise.table,
        key: premise.key.clone(),
        columns: without_bodies(premise.table),
    };
    premises.iter().map(lookup).collect()
}

/// Every column but the input and output bytes, which no decision reads.
#[must_use]
pub fn without_bodies(table: TableRef) -> Vec<ColumnRef> {
    let bodies = [exec_core::payload.column(), exec_core::result.column()];
    table.columns.iter().copied().filter(|column| !bodies.contains(column)).collect()
}

/// The execution's row.
///
/// # Errors
/// `NotFound` for an execution that does not exist.
pub fn existing<'a>(rows: Rows<'a>) -> Result<&'a Row, EngineError> {
    rows.row(CORE).ok_or(EngineError::NotFound { entity: "execution" })
}

/// The look-ups of an execution's row and its current attempt.
#[must_use]
pub fn row_and_attempt(key: &ExecutionKey) -> Vec<Lookup> {
    vec![execution_row(key, without_bodies(exec_core::REF)), current_attempt_row()]
}

/// The look-up of an execution's row, by these columns.
#[must_use]
pub fn execution_row(key: &ExecutionKey, columns: Vec<ColumnRef>) -> Lookup {
    Lookup { row: CORE.into(), table: exec_core::REF, key: key.core(), columns }
}

/// The look-up of the current attempt of the execution before it.
#[must_use]
pub fn current_attempt_row() -> Lookup {
    let columns = attempt::REF.columns.to_vec();
    Lookup { row: ATTEMPT.into(), table: attempt::REF, key: current_attempt(), columns }
}
