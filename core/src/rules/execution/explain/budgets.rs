//! Budgets: one without room, or without enough room for the execution's estimate.

use std::collections::BTreeSet;

use super::Case;
use crate::contracts::NotRunning;
use crate::model::error::EngineError;
use crate::plan::{List, Query};
use crate::rules::budget::reservation::{Estimate, Fit, reservations_of};
use crate::rules::budget::room::{Shortage, SomeBudgets};
use crate::rules::budget::token::{ESTIMATES, budgets_in, token};
use crate::schema::execution::exec_core;

/// The budgets of an execution, and the estimate that its claim would reserve.
struct Required {
    budgets: SomeBudgets,
    estimate: Option<Estimate>,
}

impl Required {
    fn of(case: &Case<'_>) -> Result<Self, EngineError> {
        let required = case.core.read(exec_core::required_capabilities)?;
        let reserves = required.contains(&token(ESTIMATES));
        let estimate = if reserves { Estimate::of(case.core)? } else { None };

        let mut budgets: BTreeSet<String> = budgets_in(&required).map(str::to_owned).collect();
        budgets.extend(estimate.iter().flat_map(Estimate::budgets).cloned());
        let budgets = SomeBudgets { budgets: budgets.into_iter().collect() };
        Ok(Self { budgets, estimate })
    }
}

/// The requirements that this topic explains: those of room in budgets.
pub(super) fn explained(case: &Case<'_>) -> Result<Vec<String>, EngineError> {
    let Required { budgets, estimate } = Required::of(case)?;
    let tokens = budgets.budgets.iter().map(|budget| token(budget));
    Ok(tokens.chain(estimate.map(|_| token(ESTIMATES))).collect())
}

pub(super) fn asks(case: &Case<'_>) -> Result<Vec<List>, EngineError> {
    let Required { budgets, estimate } = Required::of(case)?;
    if budgets.budgets.is_empty() {
        return Ok(Vec::new());
    }

    let lists = budgets.queries().into_iter().filter_map(|query| match query {
        Query::List(list) => Some(list),
        Query::Lookup(_) | Query::Sums(_) => None,
    });
    Ok(lists.chain(estimate.map(|estimate| reservations_of(estimate.budgets()))).collect())
}

pub(super) fn finds(case: &Case<'_>) -> Result<Vec<NotRunning>, EngineError> {
    let Required { budgets, estimate } = Required::of(case)?;

    let mut shortages = match &estimate {
        Some(estimate) => estimate.shortages(case.facts)?.unwrap_or_default(),
        None => Vec::new(),
    };
    for full in budgets.shortages(case.facts)?.unwrap_or_default() {
        let same =
            |known: &Shortage| known.budget == full.budget && known.dimension == full.dimension;
        if !shortages.iter().any(same) {
            shortages.push(full);
        }
    }

    // An estimate that lacks nothing and yet does not fit meets too many reservations.
    let fit = estimate.as_ref().map(|estimate| estimate.fit(case.facts, case.at)).transpose()?;
    if let (true, Some(Fit::TooLarge(budget_id))) = (shortages.is_empty(), fit) {
        return Ok(vec![NotRunning::TooManyReservations { budget_id }]);
    }
    Ok(shortages.into_iter().map(without_room).collect())
}

fn without_room(shortage: Shortage) -> NotRunning {
    NotRunning::BudgetWithoutRoom {
        budget_id: shortage.budget,
        dimension: shortage.dimension,
        used: shortage.used,
        reserved: shortage.reserved,
        requested: shortage.requested,
        limit: shortage.limit,
    }
}
