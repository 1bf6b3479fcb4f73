//! The statement of each shape, rendered once.
//!
//! The text comes from the generator alone. This module keeps it with the data for binding it and
//! for reading its result.

use std::sync::Arc;

use ff_codegen::dialect::{Dialect as _, TransactionControl};
use ff_codegen::{Arity, Bind, Fused, Param, Postgres};
use ff_core::EngineError;
use ff_core::engine::{Commit, Rings, Topic, Topics};
use ff_core::plan::value::{ColumnType, Value};
use ff_core::plan::{Bindings, Expr, Pairing, Query, QueryShape, Selection, Shape};
use ff_core::schema::TableRef;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

use crate::bind::{self, Items};
use crate::error::{corrupt, unrenderable};
use crate::row_keys::RowKeys;

/// The relation of a fused statement's result rows to its items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answers {
    /// One row for every plan that applied.
    OnePerPlan,
    /// At least one row for every plan that applied; a NULL in the first column says that no row
    /// was picked.
    SomePerPlan,
    /// One row for each picked row, plan after plan.
    OnePerPick(Wanted),
}

/// The number of rows that a plan wants to pick, by a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The value of the slot.
    Limit(usize),
    /// One for each value of the slot, which names the row.
    Named(usize),
}

impl Wanted {
    fn of(selection: &Selection) -> Option<Self> {
        match (&selection.pairing, selection.naming()) {
            (Pairing::UpTo { limit: Expr::Slot(_, slot), .. }, _) => Some(Self::Limit(*slot)),
            (Pairing::Named(_), Some(Expr::Slot(_, slot))) => Some(Self::Named(*slot)),
            (Pairing::UpTo { .. } | Pairing::Named(_) | Pairing::Every, _) => None,
        }
    }

    /// The slot of the number, if there is one.
    fn limit(self) -> Option<usize> {
        match self {
            Self::Limit(slot) => Some(slot),
            Self::Named(_) => None,
        }
    }
}

/// The fused statement of a plan's shape.
pub(crate) struct PlanStatement {
    pub(crate) name: String,
    pub(crate) sql: SqlStr,
    /// The same statement without waiting for locked rows, if it has guards. A plan with a held row
    /// then has the same result as a refused one.
    pub(crate) beside_locks: Option<SqlStr>,
    pub(crate) params: Vec<Param>,
    pub(crate) yields: Vec<ColumnType>,
    pub(crate) answers: Answers,
    pub(crate) row_keys: RowKeys,
    /// The topics to ring once it is durable.
    pub(crate) rings: Rings,
}

impl PlanStatement {
    /// Renders the shape.
    ///
    /// # Errors
    /// `Transport` around the generator's refusal.
    pub(crate) fn render(shape: &Shape) -> Result<Self, EngineError> {
        let Fused { sql, beside_locks, params, yields, presence } =
            ff_codegen::render(&Postgres, shape)
                .and_then(|rendered| rendered.into_fused(&Postgres))
                .map_err(unrenderable)?;

        let plan = shape.plan();
        let answers = match plan.selection.as_ref().and_then(Wanted::of) {
            Some(wanted) => Answers::OnePerPick(wanted),
            None if presence => Answers::SomePerPlan,
            None => Answers::OnePerPlan,
        };

        Ok(Self {
            name: plan.name.to_string(),
            beside_locks: beside_locks.map(generated),
            sql: generated(sql),
            params,
            yields,
            answers,
            row_keys: RowKeys::of(plan),
            rings: Rings::of(plan),
        })
    }

    /// The number of items of a plan: the rows that it wants if it picks rows, else one.
    ///
    /// # Errors
    /// `Validation(Corruption)` when the number of rows is not a count.
    pub(crate) fn size(&self, bindings: &Bindings) -> Result<usize, EngineError> {
        let limit = match self.answers {
            Answers::OnePerPick(Wanted::Limit(limit)) => limit,
            Answers::OnePerPick(Wanted::Named(slot)) => return Ok(bindings.count(slot)),
            Answers::OnePerPlan | Answers::SomePerPlan => return Ok(1),
        };

        let Value::Int(count) = bindings.value(limit, 0) else {
            return Err(corrupt(format!(
                "{}: the number of rows to pick is no integer",
                self.name
            )));
        };
        usize::try_from(*count)
            .map_err(|_| corrupt(format!("{}: a negative number of rows to pick", self.name)))
    }

    /// The arguments of a statement for these plans, each with its number of items.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a value that is not of its slot's type, or too large to send.
    pub(crate) fn arguments(&self, plans: &[SizedPlan<'_>]) -> Result<PgArguments, EngineError> {
        if let Answers::OnePerPick(wanted) = self.answers {
            return bind::fused(&self.params, Items::Picks { plans, limit: wanted.limit() });
        }

        let plans: Vec<&Bindings> = plans.iter().map(|(plan, _)| *plan).collect();
        bind::fused(&self.params, Items::Plans(&plans))
    }

    /// Checks that the plan's values fit the statement, so that a misfit refuses its own plan and
    /// not the whole batch.
    ///
    /// # Errors
    /// `Validation(Corruption)` naming the first slot that does not fit.
    pub(crate) fn check(&self, plan: SizedPlan<'_>) -> Result<(), EngineError> {
        match self.answers {
            Answers::OnePerPick(wanted) => {
                bind::check(&self.params, Items::Picks { plans: &[plan], limit: wanted.limit() })
            }
            Answers::OnePerPlan | Answers::SomePerPlan => {
                bind::check(&self.params, Items::Plans(&[plan.0]))
            }
        }
    }

    /// True if two plans pick rows by the same selection and may share a statement. Every value
    /// that holds for the whole statement must be equal, except for the number of wanted rows, and
    /// for bounds, of which the least holds.
    pub(crate) fn selects_alike(&self, one: &Bindings, other: &Bindings) -> bool {
        let Answers::OnePerPick(wanted) = self.answers else { return true };
        let shared = self.params.iter().filter(|param| param.arity == Arity::Once);
        shared
            .filter(|param| wanted.limit() != Some(param.slot))
            .all(|param| one.value(param.slot, 0) == other.value(param.slot, 0))
    }
}

/// A plan's values and its number of items.
pub(crate) type SizedPlan<'a> = (&'a Bindings, usize);

impl PlanStatement {
    /// The outcome of each plan, in order, by the result rows. A plan without a row was refused.
    pub(crate) fn outcomes(
        &self,
        plans: &[SizedPlan<'_>],
        rows: &[PgRow],
    ) -> Vec<Result<Commit, EngineError>> {
        if let Answers::OnePerPick(_) = self.answers {
            return self.picked_rows(plans, rows);
        }

        let plans = plans.len();
        let mut outcomes: Vec<_> = (0..plans).map(|_| Ok(Commit::Refused)).collect();

        for row in rows {
            match self.decode(row) {
                Ok((ord, values)) => {
                    let at = usize::try_from(ord.unsigned_abs()).unwrap_or(0).checked_sub(1);
                    match at.and_then(|at| outcomes.get_mut(at)) {
                        Some(outcome) if ord < 0 => *outcome = Ok(Commit::Prevented),
                        Some(outcome) => report(outcome, values),
                        None => {}
                    }
                }
                // The row cannot be read, so its ordinal cannot be trusted either.
                Err(error) => {
                    let detail = error.to_string();
                    return (0..plans).map(|_| Err(corrupt(detail.clone()))).collect();
                }
            }
        }

        outcomes
    }

    /// The picked rows, distributed to the plans in order: the best rows go to the first, or each
    /// to the plan that names it.
    fn picked_rows(
        &self,
        plans: &[SizedPlan<'_>],
        rows: &[PgRow],
    ) -> Vec<Result<Commit, EngineError>> {
        let decoded: Result<Vec<_>, _> = rows.iter().map(|row| self.decode(row)).collect();
        let mut picked = match decoded {
            Ok(picked) => picked,
            Err(error) => {
                let detail = error.to_string();
                return plans.iter().map(|_| Err(corrupt(detail.clone()))).collect();
            }
        };

        picked.sort_by_key(|(ord, _)| *ord);
        let (mut picked, mut last) = (picked.into_iter().peekable(), 0);

        let next_rows = |(_, count): &SizedPlan<'_>| {
            last += i64::try_from(*count).unwrap_or(i64::MAX);
            let own = std::iter::from_fn(|| picked.next_if(|(ord, _)| *ord <= last));
            Ok(Commit::Applied(own.filter_map(|(_, values)| values).collect()))
        };
        plans.iter().map(next_rows).collect()
    }

    /// The ordinal of the row's item (negative if a row prevents it), and the values that the row
    /// reports, if any.
    fn decode(&self, row: &PgRow) -> Result<(i64, Option<Vec<Value>>), EngineError> {
        let ord = match bind::decode(row, 0, ColumnType::Int)? {
            Value::Int(ord) => ord,
            _ => 0,
        };

        let mut columns = self.yields.iter().copied().zip(1..);
        if self.answers == Answers::SomePerPlan
            && let Some((ty, index)) = columns.next()
            && bind::decode(row, index, ty)?.is_null()
        {
            return Ok((ord, None));
        }

        let values = columns.map(|(ty, index)| bind::decode(row, index, ty));
        Ok((ord, Some(values.collect::<Result<_, _>>()?)))
    }
}

fn report(outcome: &mut Result<Commit, EngineError>, values: Option<Vec<Value>>) {
    match outcome {
        Ok(Commit::Applied(rows)) => rows.extend(values),
        Ok(Commit::Refused) => *outcome = Ok(Commit::Applied(values.into_iter().collect())),
        Ok(Commit::Prevented) | Err(_) => {}
    }
}

/// The statement of a query's shape.
pub(crate) struct ReadStatement {
    pub(crate) sql: SqlStr,
    pub(crate) binds: Vec<Bind>,
    /// The query, for the columns of its rows.
    pub(crate) query: Query,
}

impl ReadStatement {
    /// Renders the shape.
    ///
    /// # Errors
    /// `Transport` around the generator's refusal.
    pub(crate) fn render(shape: &QueryShape) -> Result<Self, EngineError> {
        let statement = ff_codegen::query(&Postgres, shape).map_err(unrenderable)?;
        Ok(Self {
            sql: generated(statement.sql),
            binds: statement.binds,
            query: shape.query().clone(),
        })
    }
}

/// The statement that reads the database's clock.
pub(crate) fn database_time() -> SqlStr {
    generated(ff_codegen::now_ms(&Postgres))
}

/// The two statements that have a table count on behind a number, if the database numbers its rows.
pub(crate) fn counting_on(table: TableRef) -> Option<[SqlStr; 2]> {
    Postgres.counting_on(table).map(|texts| texts.map(generated))
}

/// The texts that an operation within a transaction of the caller sends around its own.
pub(crate) mod around {
    use super::*;

    fn control() -> TransactionControl {
        Postgres.transaction_control()
    }

    /// Tells the place of the session.
    pub(crate) fn place() -> SqlStr {
        generated(Postgres.place())
    }

    /// Opens the savepoint and tells the place of the session.
    pub(crate) fn open_and_place() -> SqlStr {
        generated(format!("{}; {}", control().open_savepoint, Postgres.place()))
    }

    /// Opens the savepoint.
    pub(crate) fn open() -> SqlStr {
        generated(control().open_savepoint.to_owned())
    }

    /// Undoes all since the savepoint, which stays open.
    pub(crate) fn undo() -> SqlStr {
        generated(control().roll_back_to_savepoint.to_owned())
    }

    /// Releases the savepoint, and notifies the listeners of these topics of the commit.
    pub(crate) fn release(topics: Topics) -> SqlStr {
        let mut text = control().release_savepoint.to_owned();
        for channel in topics.iter().map(Topic::channel) {
            text = format!("{}; {text}", Postgres.notify(channel));
        }
        generated(text)
    }
}

/// Vouches for a generated text, the only one that is not a literal of this crate. The generator
/// writes it from a shape: values are placeholders, and constants are members of closed sets.
pub(crate) fn generated(sql: String) -> SqlStr {
    AssertSqlSafe(Arc::<str>::from(sql)).into_sql_str()
}
