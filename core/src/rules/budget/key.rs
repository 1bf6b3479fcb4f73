//! The rows of a budget, and the partition that they are on.
//!
//! A budget lives on the partition that its id hashes to. SQLite databases of older engines keep
//! every budget on partition 0 instead, so a budget that is not at home is looked for there.

use std::collections::BTreeMap;

use serde_json::json;
use uuid::Uuid;

use crate::model::error::EngineError;
use crate::model::ids::{BudgetId, TimestampMs};
use crate::model::partition::{PartitionConfig, budget_partition};
pub use crate::model::policy::check::DIMENSIONS_MAX;
use crate::plan::facts::{Facts, Row};
use crate::plan::{Assign, Expr, Guard, List, Lookup, Mutation, OnConflict, Predicate, Query};
use crate::rules::budget::limits::Limits;
use crate::rules::input;
use crate::rules::premise::{Premise, lookup};
use crate::schema::Direction::Ascending;
use crate::schema::budget::{budget_policy, budget_usage, budget_usage_by_exec};
use crate::schema::{Col, ColumnRef};

/// The name that every plan gives a budget's head.
pub const BUDGET: &str = "budget";
/// The name of the head on partition 0.
const AT_ZERO: &str = "at_zero";

/// The most rows of one budget that are read at once: more than it has dimensions.
const ROWS_MAX: i64 = 1_000;

/// The row that some older engines keep beside a budget's dimensions.
const NO_DIMENSION: &str = "_init";

/// The stored form of a budget's id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BudgetKey {
    /// Its partition.
    pub partition: i16,
    /// Its UUID, as text.
    pub id: String,
}

impl BudgetKey {
    /// The key of its head.
    #[must_use]
    pub fn head(&self) -> Vec<(ColumnRef, Expr)> {
        vec![
            budget_policy::partition_key.with(self.partition),
            budget_policy::budget_id.with(self.id.clone()),
        ]
    }

    /// The leading part of the key of each of its totals.
    #[must_use]
    pub fn usage(&self) -> Vec<(ColumnRef, Expr)> {
        vec![
            budget_usage::partition_key.with(self.partition),
            budget_usage::budget_id.with(self.id.clone()),
        ]
    }

    /// The leading part of the key of each contribution of that execution.
    #[must_use]
    pub fn contributions_of(&self, execution: Uuid) -> Vec<(ColumnRef, Expr)> {
        vec![
            budget_usage_by_exec::partition_key.with(self.partition),
            budget_usage_by_exec::budget_id.with(self.id.clone()),
            budget_usage_by_exec::execution_id.with(execution),
        ]
    }
}

/// The places where a budget may be, best first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    home: BudgetKey,
}

impl Places {
    /// The places of a budget.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` when the partition is beyond what a row can store.
    pub fn of(budget: &BudgetId, partitions: &PartitionConfig) -> Result<Self, EngineError> {
        let partition = input::partition(budget_partition(budget, partitions).index)?;
        Ok(Self { home: BudgetKey { partition, id: budget.to_string() } })
    }

    /// The place of a budget that was found there.
    #[must_use]
    pub fn at(key: BudgetKey) -> Self {
        Self { home: key }
    }

    /// The key where the budget should be.
    #[must_use]
    pub fn home(&self) -> &BudgetKey {
        &self.home
    }

    fn other(&self) -> BudgetKey {
        BudgetKey { partition: 0, ..self.home.clone() }
    }

    /// The look-ups of the head in both places.
    #[must_use]
    pub fn lookups(&self) -> Vec<Lookup> {
        let head = |row, key: &BudgetKey| lookup(row, budget_policy::REF, key.head());
        vec![head(BUDGET, &self.home), head(AT_ZERO, &self.other())]
    }

    /// The head in both places; only read.
    #[must_use]
    pub fn premises<O>(&self) -> Vec<Premise<O>> {
        let named = [BUDGET, AT_ZERO].into_iter().zip(self.lookups());
        named.map(|(row, lookup)| Premise::read(row, lookup)).collect()
    }

    /// The head that was read.
    #[must_use]
    pub fn head<'a>(&self, facts: &'a Facts) -> Head<'a> {
        let at_zero = || facts.row(AT_ZERO).map(|row| (self.other(), row));
        let found = facts.row(BUDGET).map(|row| (self.home.clone(), row)).or_else(at_zero);
        match found {
            Some((key, row)) => Head { key, row: Some(row) },
            None => Head { key: self.home.clone(), row: None },
        }
    }

    /// The totals of the budget, wherever they are.
    #[must_use]
    pub fn usage(&self) -> List {
        let dimension = budget_usage::dimensions_key.column();
        let budget = budget_usage::budget_id.equals(self.home.id.clone());
        List {
            name: "totals of a budget".into(),
            table: budget_usage::REF,
            join: None,
            of_each: None,
            columns: vec![
                budget_usage::partition_key.column(),
                dimension,
                budget_usage::current_value.column(),
                budget_usage::overdraft.column(),
            ],
            predicate: self.either(budget_usage::partition_key).and(budget),
            order: vec![(dimension, Ascending)],
            limit: Expr::int(ROWS_MAX),
        }
    }

    /// The contributions of that execution to the budget, wherever they are.
    #[must_use]
    pub fn contributions_of(&self, execution: Uuid) -> List {
        let dimension = budget_usage_by_exec::dimensions_key.column();
        let budget = budget_usage_by_exec::budget_id.equals(self.home.id.clone());
        let own = budget_usage_by_exec::execution_id.equals(execution);
        List {
            name: "contributions of an execution".into(),
            table: budget_usage_by_exec::REF,
            join: None,
            of_each: None,
            columns: vec![
                budget_usage_by_exec::partition_key.column(),
                dimension,
                budget_usage_by_exec::delta_total.column(),
                budget_usage_by_exec::period.column(),
            ],
            predicate: self.either(budget_usage_by_exec::partition_key).and(budget).and(own),
            order: vec![(dimension, Ascending)],
            limit: Expr::int(ROWS_MAX),
        }
    }

    fn either(&self, partition: Col<i16>) -> Predicate {
        partition.equals(self.home.partition).or(partition.equals(0))
    }

    /// The look-ups and the list of totals, as one read.
    #[must_use]
    pub fn queries(&self) -> Vec<Query> {
        vec![Query::Lookup(self.lookups()), Query::List(self.usage())]
    }
}

/// A budget's head, and where it is: where it should be, if there is none.
#[derive(Clone, Debug)]
pub struct Head<'a> {
    /// Its key.
    pub key: BudgetKey,
    /// The row, if there is one.
    pub row: Option<&'a Row>,
}

impl<'a> Head<'a> {
    /// The row, if the budget is defined.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a column of another type.
    pub fn defined(&self) -> Result<Option<&'a Row>, EngineError> {
        let Some(row) = self.row else { return Ok(None) };
        Ok(row.read(budget_policy::is_defined)?.then_some(row))
    }

    /// The limits; none where there is no row.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a policy that is no JSON.
    pub fn limits(&self) -> Result<Limits, EngineError> {
        self.row.map_or(Ok(Limits::default()), Limits::read)
    }

    /// The budget's current period.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a column of another type.
    pub fn period(&self) -> Result<i64, EngineError> {
        self.row.map_or(Ok(0), |row| row.read(budget_policy::period))
    }

    /// The guard that the head is as it was read. Of an absent head, [`Self::change`] is the guard.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a column of another type.
    pub fn guard(&self) -> Result<Option<Guard>, EngineError> {
        let Some(row) = self.row else { return Ok(None) };
        let same = budget_policy::version.equals(row.read(budget_policy::version)?);
        Ok(Some(Guard::new(BUDGET, budget_policy::REF, self.key.head(), same)))
    }

    /// The change of the head by one change of the budget. An absent head is inserted, without
    /// limits and as not defined.
    #[must_use]
    pub fn change(&self, set: Vec<(ColumnRef, Assign)>, at: TimestampMs) -> Mutation {
        if self.row.is_some() {
            let set = [budget_policy::version.grow(1)].into_iter().chain(set).collect();
            return Mutation::update(budget_policy::REF, self.key.head(), set);
        }

        let mut row = self.key.head();
        row.extend([
            budget_policy::policy_json.with(json!({})),
            budget_policy::created_at_ms.with(at.0),
            budget_policy::updated_at_ms.with(at.0),
            budget_policy::is_defined.with(false),
        ]);
        Mutation::insert(budget_policy::REF, row, OnConflict::Refuse)
    }

    /// The totals of the budget among those that were listed.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a column of another type.
    pub fn totals(&self, rows: &[Row]) -> Result<BTreeMap<String, i64>, EngineError> {
        self.by_dimension(rows, budget_usage::current_value)
    }

    /// The overdrafts of the budget, among the totals that were listed.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a column of another type.
    pub fn overdrafts(&self, rows: &[Row]) -> Result<BTreeMap<String, i64>, EngineError> {
        self.by_dimension(rows, budget_usage::overdraft)
    }

    fn by_dimension(
        &self,
        rows: &[Row],
        value: Col<i64>,
    ) -> Result<BTreeMap<String, i64>, EngineError> {
        let mut values = BTreeMap::new();
        for row in rows {
            let dimension: String = row.read(budget_usage::dimensions_key)?;
            let here = row.read(budget_usage::partition_key)? == self.key.partition;
            if here && dimension != NO_DIMENSION {
                values.insert(dimension, row.read(value)?);
            }
        }
        Ok(values)
    }

    /// What an execution contributed in the current period, among the listed contributions.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a column of another type.
    pub fn contributed(&self, rows: &[Row]) -> Result<BTreeMap<String, i64>, EngineError> {
        let period = self.period()?;
        let mut contributed = BTreeMap::new();
        for row in rows {
            let here = row.read(budget_usage_by_exec::partition_key)? == self.key.partition;
            if here && row.read(budget_usage_by_exec::period)? == period {
                let dimension = row.read(budget_usage_by_exec::dimensions_key)?;
                contributed.insert(dimension, row.read(budget_usage_by_exec::delta_total)?);
            }
        }
        Ok(contributed)
    }
}

/// Checks the name of a dimension.
///
/// # Errors
/// `Validation(InvalidInput)` naming the field: an empty name, one with NUL, one that is too long,
/// one that means no dimension.
pub fn dimension(field: &str, name: &str) -> Result<(), EngineError> {
    if name.is_empty() || name == NO_DIMENSION {
        return Err(input::invalid(format!("{field}: {name:?} is no name of a dimension")));
    }
    input::name(field, name)
}
