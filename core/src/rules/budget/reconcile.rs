//! Totals that have drifted from what executions contributed.
//!
//! A total counts contributions and reports that name no execution, so it is never below the sum of
//! the contributions. A database that was restored in parts, or changed by hand, may break this.

use std::collections::BTreeMap;

use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::plan::facts::{Facts, Row};
use crate::plan::{Expr, List, OnTaken, Plan, Predicate, Query};
use crate::rules::budget::key::{BudgetKey, Head, Places};
use crate::rules::budget::report::change_totals;
use crate::rules::changes::Changes;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Then, Transition};
use crate::rules::input::PAGE_MAX;
use crate::schema::Direction::Ascending;
use crate::schema::budget::budget_usage_by_exec;

const CONTRIBUTIONS: &str = "contributions to a budget";

/// Raises each total that is below the sum of the contributions, or below zero.
#[derive(Clone, Debug)]
pub struct ReconcileBudget {
    /// The budget.
    pub key: BudgetKey,
}

impl ReconcileBudget {
    /// The contributions after that row.
    fn page(&self, after: Option<&Row>) -> Result<List, EngineError> {
        let (execution, dimension) =
            (budget_usage_by_exec::execution_id, budget_usage_by_exec::dimensions_key);
        let mut predicate = budget_usage_by_exec::partition_key
            .equals(self.key.partition)
            .and(budget_usage_by_exec::budget_id.equals(self.key.id.clone()));
        if let Some(row) = after {
            predicate = predicate.and(Predicate::After(vec![
                execution.with(row.read(execution)?),
                dimension.with(row.read(dimension)?),
            ]));
        }

        Ok(List {
            name: CONTRIBUTIONS.into(),
            table: budget_usage_by_exec::REF,
            join: None,
            of_each: None,
            columns: budget_usage_by_exec::REF.columns.to_vec(),
            predicate,
            order: vec![(execution.column(), Ascending), (dimension.column(), Ascending)],
            limit: Expr::int(PAGE_MAX.try_into().unwrap_or(i64::MAX)),
        })
    }

    /// The totals that are too low, as they must be.
    fn drifted(
        head: &Head<'_>,
        totals: &[Row],
        contributions: &[&Row],
    ) -> Result<BTreeMap<String, i64>, EngineError> {
        let period = head.period()?;
        let mut least: BTreeMap<String, i64> = BTreeMap::new();
        for row in contributions {
            if row.read(budget_usage_by_exec::period)? == period {
                let sum = least.entry(row.read(budget_usage_by_exec::dimensions_key)?).or_default();
                *sum = sum.saturating_add(row.read(budget_usage_by_exec::delta_total)?.max(0));
            }
        }

        let totals = head.totals(totals)?;
        for dimension in totals.keys() {
            least.entry(dimension.clone()).or_default();
        }
        let total = |dimension: &String| totals.get(dimension).copied();
        least.retain(|dimension, least| total(dimension).is_none_or(|total| total < *least));
        Ok(least)
    }

    fn plan(
        head: &Head<'_>,
        raised: &BTreeMap<String, i64>,
        at: TimestampMs,
        facts: &Facts,
    ) -> Result<Plan, EngineError> {
        let raised = change_totals(&head.key, raised, OnTaken::Overwrite, at)?;
        let changes = Changes::of([head.change(Vec::new(), at), raised]).holding(head.guard()?);
        changes.planned::<bool>("reconcile_budget", Vec::new(), facts)
    }
}

impl Transition for ReconcileBudget {
    /// True if a total was raised.
    type Outcome = bool;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<bool>, EngineError> {
        let places = Places::at(self.key.clone());
        let Some(totals) = facts.list(&places.usage()) else {
            let first = Query::List(self.page(None)?);
            return Ok(Step::Read(places.queries().into_iter().chain([first]).collect()));
        };
        let last = facts.pages(CONTRIBUTIONS).last().unwrap_or_default();
        if PAGE_MAX <= last.len() {
            return Ok(Step::Read(vec![Query::List(self.page(last.last())?)]));
        }

        let head = places.head(facts);
        let contributions: Vec<&Row> = facts.pages(CONTRIBUTIONS).flatten().collect();
        let raised = Self::drifted(&head, totals, &contributions)?;
        if raised.is_empty() {
            return Ok(Step::Answer(false));
        }
        Ok(Step::Commit(Self::plan(&head, &raised, ctx.now, facts)?, Then::Answer(true)))
    }
}
