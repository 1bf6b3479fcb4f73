//! Budgets as operators and schedulers read them.

use std::collections::{BTreeMap, HashMap};

use crate::contracts::{BudgetStatus, BudgetSummary, BudgetUsageAndLimits, BudgetsPage};
use crate::model::error::{EngineError, ValidationKind};
use crate::model::ids::{BudgetId, TimestampMs};
use crate::model::partition::PartitionConfig;
use crate::plan::facts::{Facts, Row};
use crate::plan::{List, Predicate, Query};
use crate::rules::budget::key::Places;
use crate::rules::budget::reservation::{Reserved, reservations_of};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Transition};
use crate::rules::execution::listing::{self, Listing};
use crate::rules::input::PAGE_MAX;
use crate::schema::Direction::Ascending;
use crate::schema::budget::budget_policy;

/// Reads a budget with its totals.
#[derive(Clone, Debug)]
pub struct ReadStatus {
    places: Places,
}

/// Reads the limits and the totals of a budget; no limits, where it is not defined.
#[derive(Clone, Debug)]
pub struct ReadUsage {
    places: Places,
}

impl ReadStatus {
    /// The status of that budget.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` when the partition is beyond what a row can store.
    pub fn of(budget: &BudgetId, partitions: &PartitionConfig) -> Result<Self, EngineError> {
        Ok(Self { places: Places::of(budget, partitions)? })
    }
}

impl ReadUsage {
    /// The limits and totals of that budget.
    ///
    /// # Errors
    /// As [`ReadStatus::of`].
    pub fn of(budget: &BudgetId, partitions: &PartitionConfig) -> Result<Self, EngineError> {
        Ok(Self { places: Places::of(budget, partitions)? })
    }
}

/// The budgets that are defined, by id. More than 1000 at once is 1000.
#[must_use]
pub fn budgets(after: Option<&BudgetId>, limit: usize) -> Listing<BudgetsPage> {
    let (id, page) = (budget_policy::budget_id, limit.min(PAGE_MAX));
    let defined = budget_policy::is_defined.equals(true);
    let predicate = match after {
        Some(after) => defined.and(Predicate::After(vec![id.with(after.to_string())])),
        None => defined,
    };

    let list = List {
        name: "budgets that are defined".into(),
        table: budget_policy::REF,
        join: None,
        of_each: None,
        columns: vec![
            id.column(),
            budget_policy::scope_type.column(),
            budget_policy::scope_id.column(),
            budget_policy::breach_count.column(),
            budget_policy::soft_breach_count.column(),
            budget_policy::next_reset_at_ms.column(),
        ],
        predicate,
        order: vec![(id.column(), Ascending)],
        limit: listing::limit(page),
    };
    Listing::new(list, page, |rows, page| {
        let budgets = rows.iter().map(summary).collect::<Result<Vec<_>, _>>()?;
        let (budgets, more) = listing::split(budgets, page);
        let last = budgets.last().filter(|_| more);
        Ok(BudgetsPage { next_cursor: last.map(|last| last.budget_id.clone()), budgets })
    })
}

fn summary(row: &Row) -> Result<BudgetSummary, EngineError> {
    let id: String = row.read(budget_policy::budget_id)?;
    let id = BudgetId::parse(&id).map_err(|_| EngineError::Validation {
        kind: ValidationKind::Corruption,
        detail: format!("ff_budget_policy.budget_id: {id:?} is no UUID"),
    })?;

    let scope_type = row.read(budget_policy::scope_type)?;
    let mut summary = BudgetSummary::new(id, scope_type, row.read(budget_policy::scope_id)?);
    summary.breach_count = count(row.read(budget_policy::breach_count)?);
    summary.soft_breach_count = count(row.read(budget_policy::soft_breach_count)?);
    summary.next_reset_at = row.read(budget_policy::next_reset_at_ms)?.map(TimestampMs);
    Ok(summary)
}

fn count(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or(0)
}

impl Transition for ReadStatus {
    type Outcome = BudgetStatus;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<BudgetStatus>, EngineError> {
        let Some(totals) = facts.list(&self.places.usage()) else {
            return Ok(Step::Read(self.places.queries()));
        };

        let head = self.places.head(facts);
        let row = head.defined()?.ok_or(EngineError::NotFound { entity: "budget" })?;
        let limits = head.limits()?;
        let totals = head.totals(totals)?;
        let text = |ms: Option<i64>| ms.map(|ms| ms.to_string());

        Ok(Step::Answer(BudgetStatus {
            budget_id: head.key.id.clone(),
            scope_type: row.read(budget_policy::scope_type)?,
            scope_id: row.read(budget_policy::scope_id)?,
            enforcement_mode: row.read(budget_policy::enforcement_mode)?,
            usage: totals.into_iter().map(|(name, total)| (name, count(total))).collect(),
            hard_limits: limits.hard.into_iter().collect::<HashMap<_, _>>(),
            soft_limits: limits.soft.into_iter().collect(),
            breach_count: count(row.read(budget_policy::breach_count)?),
            soft_breach_count: count(row.read(budget_policy::soft_breach_count)?),
            last_breach_at: text(row.read(budget_policy::last_breach_at_ms)?),
            last_breach_dim: row.read(budget_policy::last_breach_dim)?,
            next_reset_at: text(row.read(budget_policy::next_reset_at_ms)?),
            created_at: text(Some(row.read(budget_policy::created_at_ms)?)),
        }))
    }
}

impl Transition for ReadUsage {
    type Outcome = BudgetUsageAndLimits;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        let id = &self.places.home().id;
        let reservations = reservations_of(std::slice::from_ref(id));
        let Some(totals) = facts.list(&self.places.usage()) else {
            let queries = self.places.queries().into_iter();
            return Ok(Step::Read(queries.chain([Query::List(reservations)]).collect()));
        };

        let head = self.places.head(facts);
        let reserved = facts.list(&reservations).unwrap_or_default();
        let Reserved { others: reserved, .. } = Reserved::of(id, None, reserved)?;
        let limits = head.limits()?;
        let named = |kind: &'static str, limits: BTreeMap<String, u64>| {
            let named = move |(name, limit): (String, u64)| (format!("{kind}:{name}"), limit);
            limits.into_iter().map(named).map(|(name, limit)| (name, limit.to_string()))
        };
        let limits: BTreeMap<_, _> =
            named("hard", limits.hard).chain(named("soft", limits.soft)).collect();

        let counted = |amounts: BTreeMap<String, i64>| {
            amounts.into_iter().map(|(name, amount)| (name, count(amount))).collect()
        };
        let mut answer = BudgetUsageAndLimits::new(limits, counted(head.totals(totals)?));
        answer.reserved = counted(reserved);
        answer.reserved.retain(|_, amount| 0 < *amount);
        answer.overdraft = counted(head.overdrafts(totals)?);
        answer.overdraft.retain(|_, amount| 0 < *amount);
        Ok(Step::Answer(answer))
    }
}
