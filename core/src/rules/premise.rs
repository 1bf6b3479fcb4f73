//! Rows that a decision relies on, and what must hold of them, in order of precedence.
//!
//! One list serves three readers: the plan's guards, the check that explains a refusal once the
//! rows are loaded, and the decision table. A condition that does not hold refuses the operation,
//! or answers it: an execution that is already cancelled, a timer that is not due.

use crate::model::error::EngineError;
use crate::plan::facts::{Facts, Row};
use crate::plan::{Expr, Guard, Held, Lookup, Predicate};
use crate::rules::key::{ATTEMPT, CORE, ExecutionKey, current_attempt};
use crate::schema::execution::{attempt, exec_core};
use crate::schema::{Col, ColumnRef, TableRef};

/// A row that a decision names.
pub struct Premise<O> {
    /// The name that the facts and the plan give the row.
    row: &'static str,
    /// Its table.
    table: TableRef,
    /// Its key.
    key: Vec<(ColumnRef, Expr)>,
    /// The columns that are read of it.
    columns: Vec<ColumnRef>,
    /// The consequence of its absence; `None` for a row that may be absent: then nothing of it is
    /// guarded.
    absent: Option<Otherwise<O>>,
    /// The conditions that must hold, most important first.
    conditions: Vec<Condition<O>>,
    guarded: Guarded,
}

/// What a plan guards of a row.
#[derive(Clone, Copy)]
enum Guarded {
    /// The conditions. An execution that was read is also pinned to what was read.
    Conditions,
    /// The conditions alone: another change of an execution that was read refuses nothing.
    ConditionsAlone,
    /// The version that was read, in this column: each change of the row grows it, so it stands
    /// for every condition on the row.
    Version(Col<i64>),
    /// Nothing: the row is only read.
    Nothing,
}

/// Something that must hold of a row.
pub struct Condition<O> {
    /// The predicate.
    holds: Predicate,
    /// The consequence when it does not hold.
    otherwise: Otherwise<O>,
}

/// The consequence of a premise that does not hold: an answer, or a refusal, from the rows.
pub type Otherwise<O> = Box<dyn Fn(&Facts) -> Result<O, EngineError> + Send + Sync>;

/// Refuses the operation.
pub fn refuse<O>(refusal: impl Fn(&Facts) -> EngineError + Send + Sync + 'static) -> Otherwise<O> {
    Box::new(move |facts| Err(refusal(facts)))
}

/// Answers the operation, which then changes nothing.
pub fn answer<O: Clone + Send + Sync + 'static>(outcome: O) -> Otherwise<O> {
    Box::new(move |_| Ok(outcome.clone()))
}

/// The same consequence, where the phase can be read. A phase outside its set is reported instead:
/// such a row may be in any state.
pub fn of_a_known_phase<O: 'static>(otherwise: Otherwise<O>) -> Otherwise<O> {
    Box::new(move |facts| {
        existing(facts)?.read(exec_core::lifecycle_phase)?;
        otherwise(facts)
    })
}

impl<O> Condition<O> {
    /// The condition, and the consequence when it does not hold.
    #[must_use]
    pub fn new(holds: Predicate, otherwise: Otherwise<O>) -> Self {
        Self { holds, otherwise }
    }
}

impl<O> Premise<O> {
    /// The row of a look-up, if there is one; only read.
    #[must_use]
    pub fn read(row: &'static str, lookup: Lookup) -> Self {
        let Lookup { table, key, columns, .. } = lookup;
        let (absent, conditions, guarded) = (None, Vec::new(), Guarded::Nothing);
        Self { row, table, key, columns, absent, conditions, guarded }
    }

    /// An execution that must exist, guarded by these conditions.
    #[must_use]
    pub fn execution(key: &ExecutionKey, conditions: Vec<Condition<O>>) -> Self {
        let absent = refuse(|_| EngineError::NotFound { entity: "execution" });
        Self::read(CORE, execution_row(key, without_bodies(exec_core::REF)))
            .or_if_absent(absent)
            .guarded_by(conditions)
    }

    /// An execution that must exist, read before the decision and pinned to what was read.
    #[must_use]
    pub fn execution_as_read(key: &ExecutionKey, conditions: Vec<Condition<O>>) -> Self {
        Self::execution(key, conditions).pinned_to(exec_core::version)
    }

    /// The current attempt of the execution before it, if there is one; only read.
    #[must_use]
    pub fn current_attempt() -> Self {
        Self::read(ATTEMPT, current_attempt_row())
    }

    /// The same premise of the row with that key.
    #[must_use]
    pub fn keyed(self, key: Vec<(ColumnRef, Expr)>) -> Self {
        Self { key, ..self }
    }

    /// The same premise with another consequence of the row's absence.
    #[must_use]
    pub fn or_if_absent(self, otherwise: Otherwise<O>) -> Self {
        Self { absent: Some(otherwise), ..self }
    }

    /// The same premise with these conditions, which the plan guards.
    #[must_use]
    pub fn guarded_by(self, conditions: Vec<Condition<O>>) -> Self {
        Self { conditions, guarded: Guarded::Conditions, ..self }
    }

    /// The same premise, of which the plan guards the conditions alone.
    #[must_use]
    pub fn in_any_version(self) -> Self {
        Self { guarded: Guarded::ConditionsAlone, ..self }
    }

    /// The same premise, pinned to the version that was read in that column.
    #[must_use]
    pub fn pinned_to(self, version: Col<i64>) -> Self {
        Self { guarded: Guarded::Version(version), ..self }
    }
}

/// The answer that the premises give in place of the decision; `None` while they hold.
///
/// # Errors
/// The refusal of the first that does not hold.
pub fn unmet<O>(premises: &[Premise<O>], facts: &Facts) -> Result<Option<O>, EngineError> {
    for premise in premises {
        let Some(row) = facts.row(premise.row) else {
            match &premise.absent {
                Some(otherwise) => return otherwise(facts).map(Some),
                None => continue,
            }
        };

        for condition in &premise.conditions {
            if !condition.holds.accepts(row, &Held::default()) {
                return (condition.otherwise)(facts).map(Some);
            }
        }
    }
    Ok(None)
}

/// Something that must hold of a row, or its existence, and the refusal where it does not.
#[derive(Debug)]
pub struct Reason {
    /// The condition, as a guard by itself.
    pub guard: Guard,
    /// The refusal; one that tells what was read of a row tells nothing here.
    pub refusal: EngineError,
}

/// The reasons for which these premises may refuse, in order of precedence.
#[must_use]
pub fn reasons<O>(premises: &[Premise<O>]) -> Vec<Reason> {
    let mut reasons = Vec::new();
    for Premise { row, table, key, absent, conditions, .. } in premises {
        let existence = absent.iter().map(|otherwise| (Predicate::Always, otherwise));
        let conditions = conditions.iter().map(|one| (one.holds.clone(), &one.otherwise));

        for (holds, otherwise) in existence.chain(conditions) {
            if let Err(refusal) = otherwise(&Facts::default()) {
                reasons
                    .push(Reason { guard: Guard::new(row, *table, key.clone(), holds), refusal });
            }
        }
    }
    reasons
}

/// The guards of the premises, with what is `relied` on of their rows besides; a row with a version
/// is pinned to what was read of it.
///
/// # Errors
/// `Validation(Corruption)` when the stored version is no number.
pub fn guards<O>(
    premises: Vec<Premise<O>>,
    relied: &[(&'static str, Predicate)],
    facts: &Facts,
) -> Result<Vec<Guard>, EngineError> {
    let mut guards = Vec::new();
    for Premise { row, table, key, absent, conditions, guarded, .. } in premises {
        let read = facts.row(row);
        if absent.is_none() && read.is_none() {
            continue;
        }
        let (conditions, version) = match guarded {
            Guarded::Nothing => continue,
            Guarded::Version(version) => (Vec::new(), Some(version)),
            Guarded::Conditions if row == CORE => (conditions, Some(exec_core::version)),
            Guarded::Conditions | Guarded::ConditionsAlone => (conditions, None),
        };

        let conditions = conditions.into_iter().map(|condition| condition.holds);
        let relied = relied.iter().filter(|(of, _)| *of == row).map(|(_, holds)| holds.clone());
        let pinned = version.zip(read).map(|(version, read)| same(version, read)).transpose()?;

        let all = conditions.chain(relied).chain(pinned);
        let holds = all.fold(Predicate::Always, Predicate::and);
        guards.push(Guard::new(row, table, key, holds));
    }
    Ok(guards)
}

/// The predicate that an execution row is unchanged since it was read: its version is the same.
///
/// # Errors
/// `Validation(Corruption)` when the stored version is no number.
pub fn unchanged(core: &Row) -> Result<Predicate, EngineError> {
    same(exec_core::version, core)
}

fn same(version: Col<i64>, read: &Row) -> Result<Predicate, EngineError> {
    Ok(version.equals(read.read(version)?))
}

/// The look-ups of the premises' rows.
#[must_use]
pub fn lookups<O>(premises: &[Premise<O>]) -> Vec<Lookup> {
    let lookup = |premise: &Premise<O>| Lookup {
        row: premise.row.into(),
        table: premise.table,
        key: premise.key.clone(),
        columns: premise.columns.clone(),
    };
    premises.iter().map(lookup).collect()
}

/// Every column but the input and output bytes, which no decision reads.
#[must_use]
pub fn without_bodies(table: TableRef) -> Vec<ColumnRef> {
    let bodies = [exec_core::payload.column(), exec_core::result.column()];
    table.columns.iter().copied().filter(|column| !bodies.contains(column)).collect()
}

/// The look-up of a whole row.
#[must_use]
pub fn lookup(row: &'static str, table: TableRef, key: Vec<(ColumnRef, Expr)>) -> Lookup {
    Lookup { row: row.into(), table, key, columns: table.columns.to_vec() }
}

/// The execution's row.
///
/// # Errors
/// `NotFound` for an execution that does not exist.
pub fn existing(facts: &Facts) -> Result<&Row, EngineError> {
    facts.row(CORE).ok_or(EngineError::NotFound { entity: "execution" })
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
