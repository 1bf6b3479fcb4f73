//! The statement of each shape, rendered once.
//!
//! Text comes from the generator alone; this module keeps it next to what is needed to bind it and
//! to read its result.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, PoisonError, RwLock};

use ff_codegen::{Bind, Fused, Param, Postgres};
use ff_core::EngineError;
use ff_core::engine::Commit;
use ff_core::plan::{Bindings, Expr, Pairing, Query, QueryShape, Selection, Shape};
use ff_core::value::{ColumnType, Value};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

use crate::bind::{self, Items};
use crate::error::{corrupt, unrenderable};
use crate::identity::Identities;

/// Values by shape, made on first use.
pub(crate) struct ByShape<K, V>(RwLock<HashMap<K, Arc<V>>>);

impl<K: Eq + Hash, V> ByShape<K, V> {
    pub(crate) fn new() -> Self {
        Self(RwLock::new(HashMap::new()))
    }

    /// What belongs to `shape`.
    ///
    /// # Errors
    /// Those of `make`.
    pub(crate) fn find(
        &self,
        shape: K,
        make: impl FnOnce(&K) -> Result<V, EngineError>,
    ) -> Result<Arc<V>, EngineError> {
        // A map that a panicking thread left behind is still a map: entries go in whole.
        if let Some(found) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&shape) {
            return Ok(Arc::clone(found));
        }
        let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = map.get(&shape) {
            return Ok(Arc::clone(found));
        }
        let made = Arc::new(make(&shape)?);
        map.insert(shape, Arc::clone(&made));
        Ok(made)
    }
}

/// How the result rows of a fused statement belong to its items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answers {
    /// One row for every plan that applied.
    OnePerPlan,
    /// At least one row for every plan that applied; the first column says by NULL that nothing was
    /// picked.
    SomePerPlan,
    /// Every row belongs to the one plan, one for each slot that was filled; this slot bounds them.
    OnePerSlot(usize),
}

/// The fused statement of a plan's shape.
pub(crate) struct PlanStatement {
    pub(crate) name: String,
    pub(crate) sql: SqlStr,
    pub(crate) params: Vec<Param>,
    pub(crate) yields: Vec<ColumnType>,
    pub(crate) answers: Answers,
    pub(crate) identities: Identities,
}

impl PlanStatement {
    /// Renders the shape.
    ///
    /// # Errors
    /// `Transport` around the generator's refusal.
    pub(crate) fn render(shape: &Shape) -> Result<Self, EngineError> {
        let Fused { sql, params, yields, presence } =
            ff_codegen::fused(&Postgres, shape).map_err(unrenderable)?;
        let plan = shape.plan();
        let answers = match &plan.selection {
            Some(Selection { pairing: Pairing::Slots(Expr::Slot(_, limit)), .. }) => {
                Answers::OnePerSlot(*limit)
            }
            Some(_) | None if presence => Answers::SomePerPlan,
            Some(_) | None => Answers::OnePerPlan,
        };
        Ok(Self {
            name: plan.name.to_string(),
            sql: generated(sql),
            params,
            yields,
            answers,
            identities: Identities::of(plan),
        })
    }

    /// The items of a statement for one plan.
    ///
    /// # Errors
    /// `Validation(Corruption)` when the number of slots is none.
    pub(crate) fn items<'a>(&self, plan: &'a [&'a Bindings]) -> Result<Items<'a>, EngineError> {
        let (Answers::OnePerSlot(limit), [bindings]) = (self.answers, plan) else {
            return Ok(Items::Plans(plan));
        };
        match bindings.value(limit, 0) {
            Value::Int(count) => match usize::try_from(*count) {
                Ok(count) => Ok(Items::Slots(bindings, count)),
                Err(_) => Err(corrupt(format!("{}: a negative number of slots", self.name))),
            },
            Value::Null
            | Value::Bool(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::Bytes(_)
            | Value::Uuid(_)
            | Value::Json(_)
            | Value::TextList(_) => {
                Err(corrupt(format!("{}: the number of slots is no integer", self.name)))
            }
        }
    }
}

impl PlanStatement {
    /// What the result rows say about each of so many plans, in order. A plan without a row was
    /// refused.
    pub(crate) fn outcomes(
        &self,
        plans: usize,
        rows: &[PgRow],
    ) -> Vec<Result<Commit, EngineError>> {
        if let Answers::OnePerSlot(_) = self.answers {
            let decoded: Result<Vec<_>, _> = rows.iter().map(|row| self.decode(row)).collect();
            return vec![decoded.map(|mut picked| {
                picked.sort_by_key(|(ord, _)| *ord);
                Commit::Applied(picked.into_iter().filter_map(|(_, values)| values).collect())
            })];
        }
        let mut outcomes: Vec<_> = (0..plans).map(|_| Ok(Commit::Refused)).collect();
        for row in rows {
            match self.decode(row) {
                Ok((ord, values)) => {
                    if let Some(outcome) = ord.checked_sub(1).and_then(|at| outcomes.get_mut(at)) {
                        report(outcome, values);
                    }
                }
                // Not even the ordinal may be trusted.
                Err(error) => {
                    let detail = error.to_string();
                    return (0..plans).map(|_| Err(corrupt(detail.clone()))).collect();
                }
            }
        }
        outcomes
    }

    /// The ordinal of the row's item, and what the row reports, if it reports anything.
    fn decode(&self, row: &PgRow) -> Result<(usize, Option<Vec<Value>>), EngineError> {
        let ord = match bind::decode(row, 0, ColumnType::Int)? {
            Value::Int(ord) => usize::try_from(ord).unwrap_or(0),
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
        Err(_) => {}
    }
}

/// The statement of a query's shape.
pub(crate) struct ReadStatement {
    pub(crate) sql: SqlStr,
    pub(crate) binds: Vec<Bind>,
    pub(crate) yields: Vec<ColumnType>,
    /// The query it answers, for the columns of its rows.
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
            yields: statement.yields,
            query: shape.query().clone(),
        })
    }
}

/// The only text that is not a literal of this crate: the generator writes it from a shape, in which
/// values are placeholders and constants are members of closed sets.
fn generated(sql: String) -> SqlStr {
    AssertSqlSafe(Arc::<str>::from(sql)).into_sql_str()
}
