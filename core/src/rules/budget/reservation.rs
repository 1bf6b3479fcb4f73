//! Reservations: the amounts that running executions are expected to use.
//!
//! An execution may carry an estimate. Its claim reserves the amounts in each of its budgets, and
//! is made only where they fit. A report of the execution turns what is reserved into what is used,
//! and whatever ends the attempt gives the rest back: [`released`] is part of every such plan.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::plan::facts::{Facts, Row};
use crate::plan::value::{ColumnType, Storable as _};
use crate::plan::{Assign, Expr, Guard, List, Mutation, OnConflict, OnTaken, Predicate, Query};
use crate::rules::budget::key::{BUDGET, BudgetKey, Head};
use crate::rules::budget::room::{Shortage, SomeBudgets, budgets_of_policy};
use crate::rules::key::CORE;
use crate::rules::row_list::items;
use crate::schema::ColumnRef;
use crate::schema::Direction::Ascending;
use crate::schema::budget::{budget_policy, budget_reservation, budget_usage};
use crate::schema::execution::exec_core;

/// The most reservations that are read at once. A claim that would make more finds no room, so a
/// report sees all of its budget.
const READ_MAX: usize = 10_000;

/// The amounts that are reserved of one budget, by dimension.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reserved {
    /// By the execution that the question is about.
    pub own: BTreeMap<String, i64>,
    /// By all others.
    pub others: BTreeMap<String, i64>,
}

impl Reserved {
    /// Sorts the listed reservations of that budget by their execution.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a column of another type.
    pub fn of(budget: &str, own: Option<Uuid>, rows: &[Row]) -> Result<Self, EngineError> {
        let mut reserved = Self::default();
        for row in rows {
            if row.read(budget_reservation::budget_id)? != budget {
                continue;
            }
            let is_own = Some(row.read(budget_reservation::execution_id)?) == own;
            let of = if is_own { &mut reserved.own } else { &mut reserved.others };
            let sum = of.entry(row.read(budget_reservation::dimensions_key)?).or_default();
            *sum = sum.saturating_add(row.read(budget_reservation::amount)?.max(0));
        }
        Ok(reserved)
    }

    /// What is taken beside the total once that amount is used: it comes out of the execution's own
    /// reservation first.
    #[must_use]
    pub fn with(&self, dimension: &str, amount: i64) -> i64 {
        let of = |reserved: &BTreeMap<String, i64>| reserved.get(dimension).copied().unwrap_or(0);
        of(&self.others).saturating_add(of(&self.own).max(amount))
    }

    /// What is left of the execution's own reservation once these amounts are used, in the
    /// dimensions where that changes it.
    #[must_use]
    pub fn settled(&self, used: &BTreeMap<String, i64>) -> BTreeMap<String, i64> {
        let used = |dimension: &str| used.get(dimension).copied().unwrap_or(0).max(0);
        let left = self.own.iter().map(|(dimension, own)| {
            (dimension.clone(), own.saturating_sub(used(dimension)).max(0), *own)
        });
        let changed = left.filter(|(_, left, own)| left < own);
        changed.map(|(dimension, left, _)| (dimension, left)).collect()
    }
}

/// The list of the reservations of these budgets.
#[must_use]
pub fn reservations_of(budgets: &[String]) -> List {
    let (execution, budget) = (budget_reservation::execution_id, budget_reservation::budget_id);
    let dimension = budget_reservation::dimensions_key.column();
    List {
        name: "reservations of budgets".into(),
        table: budget_reservation::REF,
        join: None,
        of_each: None,
        columns: vec![
            execution.column(),
            budget.column(),
            dimension,
            budget_reservation::amount.column(),
        ],
        predicate: Predicate::Among(budget.column(), budgets.to_vec().into_expr()),
        order: [budget.column(), execution.column(), dimension].map(|by| (by, Ascending)).into(),
        limit: Expr::int(READ_MAX.try_into().unwrap_or(i64::MAX)),
    }
}

/// The change that writes these amounts as the reservations of the held execution.
///
/// # Errors
/// `Validation(InvalidInput)` for a text that cannot be stored.
pub fn reserved(
    amounts: impl IntoIterator<Item = (String, String, i64)>,
    at: TimestampMs,
) -> Result<Mutation, EngineError> {
    let mut row = of_core();
    row.extend([
        budget_reservation::budget_id.with_expr(Expr::item(ColumnType::Text, "budget")),
        budget_reservation::dimensions_key.with_expr(Expr::item(ColumnType::Text, "dimension")),
        budget_reservation::amount.with_expr(Expr::item(ColumnType::BigInt, "amount")),
        budget_reservation::updated_at_ms.with(at.0),
    ]);
    let anew = OnConflict::Update(vec![
        (budget_reservation::amount.column(), OnTaken::Overwrite),
        (budget_reservation::updated_at_ms.column(), OnTaken::Overwrite),
    ]);
    let amount = |(budget, dimension, amount): (String, String, i64)| json!({ "budget": budget, "dimension": dimension, "amount": amount });
    let amounts: Vec<Json> = amounts.into_iter().map(amount).collect();
    Ok(Mutation::insert_each(budget_reservation::REF, items(&amounts)?, row, anew))
}

/// The change that gives back whatever the held execution has reserved.
#[must_use]
pub fn released() -> Mutation {
    Mutation::delete(budget_reservation::REF, of_core())
}

fn of_core() -> Vec<(ColumnRef, Expr)> {
    vec![
        budget_reservation::partition_key.with_expr(exec_core::partition_key.of(CORE)),
        budget_reservation::execution_id.with_expr(exec_core::execution_id.of(CORE)),
    ]
}

/// The mark on an execution's row once it may have reserved something.
#[must_use]
pub fn some_reserved() -> (ColumnRef, Assign) {
    exec_core::has_reservations.set(true)
}

/// The change that takes the mark away.
#[must_use]
pub fn none_reserved() -> (ColumnRef, Assign) {
    exec_core::has_reservations.set(false)
}

/// The amounts that an execution is expected to use of each of its budgets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Estimate {
    execution: Uuid,
    budgets: SomeBudgets,
    amounts: BTreeMap<String, i64>,
}

/// The answer to an estimate.
pub enum Fit {
    /// The rows of the budgets are not read yet.
    NotRead(Vec<Query>),
    /// It does not fit into that budget.
    TooLarge(String),
    /// It fits, while these guards hold. The changes reserve it.
    Fits(Vec<Guard>, Vec<Mutation>),
}

impl Estimate {
    /// The estimate of an execution, if it carries one.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a column of another type.
    pub fn of(core: &Row) -> Result<Option<Self>, EngineError> {
        let Some(policy) = core.read(exec_core::policy)? else { return Ok(None) };
        let estimate = policy.get("budget_estimate").and_then(Json::as_object);
        let amounts = estimate.into_iter().flatten();
        let amounts = amounts.filter_map(|(name, amount)| Some((name.clone(), amount.as_i64()?)));
        let amounts: BTreeMap<String, i64> = amounts.filter(|(_, amount)| 0 < *amount).collect();
        if amounts.is_empty() {
            return Ok(None);
        }

        let budgets: BTreeSet<String> = budgets_of_policy(&policy).collect();
        let budgets = SomeBudgets { budgets: budgets.into_iter().collect() };
        Ok(Some(Self { execution: core.read(exec_core::execution_id)?, budgets, amounts }))
    }

    /// Compares the estimate with what is left of each budget. An earlier reservation of the
    /// execution counts as given back.
    ///
    /// # Errors
    /// `Validation(Corruption)` naming the column that holds what it must not.
    pub fn fit(&self, facts: &Facts, at: TimestampMs) -> Result<Fit, EngineError> {
        let reservations = reservations_of(&self.budgets.budgets);
        let read = (self.budgets.rows(facts), facts.list(&reservations));
        let (Some((heads, totals)), Some(reservations)) = read else {
            let queries = self.budgets.queries().into_iter();
            return Ok(Fit::NotRead(queries.chain([Query::List(reservations)]).collect()));
        };

        let (mut guards, mut changes, mut amounts) = (Vec::new(), Vec::new(), Vec::new());
        let is_crowded = READ_MAX < reservations.len().saturating_add(self.amounts.len());
        for budget in &self.budgets.budgets {
            if is_crowded {
                return Ok(Fit::TooLarge(budget.clone()));
            }
            let Some(head) = head_among(heads, budget)? else { continue };
            let totals = of_budget(totals, budget);
            let reserved = Reserved::of(budget, Some(self.execution), reservations)?;
            if !self.lacks(&head, &totals, &reserved)?.is_empty() {
                return Ok(Fit::TooLarge(budget.clone()));
            }

            // Named by its place, so that all budgets have one shape.
            let row = format!("{BUDGET} {}", guards.len()).into();
            guards.extend(head.guard()?.map(|guard| Guard { row, ..guard }));
            changes.push(head.change(Vec::new(), at));
        }

        for budget in &self.budgets.budgets {
            let own = self.amounts.iter();
            amounts.extend(own.map(|(name, amount)| (budget.clone(), name.clone(), *amount)));
        }
        changes.push(reserved(amounts, at)?);
        Ok(Fit::Fits(guards, changes))
    }

    /// What its budgets lack; `None` until their rows are read.
    ///
    /// # Errors
    /// As [`Self::fit`].
    pub fn shortages(&self, facts: &Facts) -> Result<Option<Vec<Shortage>>, EngineError> {
        let reservations = facts.list(&reservations_of(&self.budgets.budgets));
        let (Some((heads, totals)), Some(reservations)) = (self.budgets.rows(facts), reservations)
        else {
            return Ok(None);
        };

        let mut shortages = Vec::new();
        for budget in &self.budgets.budgets {
            let Some(head) = head_among(heads, budget)? else { continue };
            let reserved = Reserved::of(budget, Some(self.execution), reservations)?;
            shortages.extend(self.lacks(&head, &of_budget(totals, budget), &reserved)?);
        }
        Ok(Some(shortages))
    }

    /// The budgets that it reserves from.
    #[must_use]
    pub fn budgets(&self) -> &[String] {
        &self.budgets.budgets
    }

    /// What a budget lacks for the amounts, by dimension.
    fn lacks(
        &self,
        head: &Head<'_>,
        totals: &[Row],
        reserved: &Reserved,
    ) -> Result<Vec<Shortage>, EngineError> {
        let limits = head.limits()?.with_overdrafts(&head.overdrafts(totals)?);
        let totals = head.totals(totals)?;

        let shortage = |(dimension, limit): (&str, u64)| {
            let used = totals.get(dimension).copied().unwrap_or(0).max(0);
            let others = reserved.others.get(dimension).copied().unwrap_or(0);
            let taken = used.saturating_add(others).unsigned_abs();
            let amount = self.amounts.get(dimension).map(|amount| amount.unsigned_abs());
            let fits = match amount {
                Some(amount) => taken.saturating_add(amount) <= limit,
                None => taken < limit,
            };
            (!fits).then(|| Shortage {
                budget: head.key.id.clone(),
                dimension: dimension.to_owned(),
                used: used.unsigned_abs(),
                reserved: others.unsigned_abs(),
                requested: amount.unwrap_or(0),
                limit,
            })
        };
        Ok(limits.enforced().filter_map(shortage).collect())
    }
}

/// The totals of that budget among these.
fn of_budget(totals: &[Row], budget: &str) -> Vec<Row> {
    let own = |row: &&Row| row.read(budget_usage::budget_id).is_ok_and(|id| id == budget);
    totals.iter().filter(own).cloned().collect()
}

/// The head of that budget among these: the one at home, where there are two.
fn head_among<'a>(heads: &'a [Row], budget: &str) -> Result<Option<Head<'a>>, EngineError> {
    let mut found: Option<Head<'a>> = None;
    for row in heads {
        let partition = row.read(budget_policy::partition_key)?;
        let is_home = found.as_ref().is_none_or(|head| head.key.partition < partition);
        if row.read(budget_policy::budget_id)? == budget && is_home {
            let key = BudgetKey { partition, id: budget.to_owned() };
            found = Some(Head { key, row: Some(row) });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amounts(of: &[(&str, i64)]) -> BTreeMap<String, i64> {
        of.iter().map(|(name, amount)| ((*name).to_owned(), *amount)).collect()
    }

    #[test]
    fn usage_comes_out_of_the_own_reservation_first() {
        let reserved =
            Reserved { own: amounts(&[("a", 5), ("b", 1)]), others: amounts(&[("a", 7)]) };
        assert_eq!(reserved.with("a", 3), 12);
        assert_eq!(reserved.with("a", 6), 13);
        assert_eq!(reserved.with("c", 2), 2);

        assert_eq!(reserved.settled(&amounts(&[("a", 3)])), amounts(&[("a", 2)]));
        assert_eq!(reserved.settled(&amounts(&[("a", 9), ("c", 1)])), amounts(&[("a", 0)]));
        assert_eq!(reserved.settled(&amounts(&[("b", 0)])), amounts(&[]));
    }
}
