//! Room in budgets: which executions a claim may take.
//!
//! A budget has room while each of its hard limits is above the total. One that is not defined has
//! room. [`OpenBudgets`] asks about every budget that executions name, for a claim of many
//! executions; [`SomeBudgets`] about the budgets of a few ([`budgets_of`]), for a scheduler.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

use crate::model::error::EngineError;
use crate::model::ids::{LaneId, TimestampMs};
use crate::model::partition::{PartitionConfig, budget_partition};
use crate::model::policy::ExecutionPolicy;
use crate::plan::facts::{Facts, Row};
use crate::plan::value::{ColumnType, Storable as _};
use crate::plan::{Expr, Join, List, Mutation, OnConflict, Predicate, Query};
use crate::rules::budget::limits::{Limits, raised};
use crate::rules::budget::token::{ESTIMATES, LIMITED, fair_lane, lane_of_fair, token};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Transition};
use crate::rules::input;
use crate::rules::row_list::items;
use crate::schema::Direction::{self, Ascending};
use crate::schema::budget::{budget_in_use, budget_policy, budget_usage};
use crate::schema::execution::exec_core;
use crate::schema::{Col, ColumnRef, TableRef};

/// The most rows that are read at once.
const PAGE: usize = 5_000;

/// The budgets of an execution: those of its policy, and those that a plain row names, separated by
/// commas, in its raw fields.
///
/// # Errors
/// `Validation(Corruption)` for a column of another type.
pub fn budgets_of(core: &Row) -> Result<Vec<String>, EngineError> {
    let policy = core.read(exec_core::policy)?.unwrap_or_default();
    let listed = budgets_of_policy(&policy);

    let raw = core.read(exec_core::raw_fields)?;
    let named = raw.get("budget_ids").and_then(Json::as_str).unwrap_or_default();
    let named = named.split(',').map(str::trim);
    let named = named.filter(|budget| !budget.is_empty()).map(str::to_owned);

    let all: BTreeSet<String> = listed.chain(named).collect();
    Ok(all.into_iter().collect())
}

/// The budgets that a stored policy lists, as it lists them.
pub(super) fn budgets_of_policy(policy: &Json) -> impl Iterator<Item = String> {
    let listed = policy.get("budget_ids").and_then(Json::as_array).into_iter().flatten();
    listed.filter_map(|budget| budget.as_str().map(str::to_owned))
}

/// The change that notes that an execution with that policy names its budgets, wherever they are,
/// that it has keys of limits, and that its lane has a fairness key; none without any of these.
///
/// # Errors
/// `Validation(InvalidInput)` when a partition is beyond what a row can store.
pub fn register_in_use(
    policy: &ExecutionPolicy,
    lane: &LaneId,
    partitions: &PartitionConfig,
    at: TimestampMs,
) -> Result<Option<Mutation>, EngineError> {
    let mut places = BTreeSet::new();
    for budget in &policy.budget_ids {
        let home = input::partition(budget_partition(budget, partitions).index)?;
        places.extend([(budget.to_string(), home), (budget.to_string(), 0)]);
    }
    if !policy.budget_estimate.is_empty() {
        places.insert((ESTIMATES.to_owned(), 0));
    }
    if !policy.limit_keys.is_empty() {
        places.insert((LIMITED.to_owned(), 0));
    }
    if policy.fairness_key.is_some() {
        places.insert((fair_lane(lane.as_str()), 0));
    }
    if places.is_empty() {
        return Ok(None);
    }
    let place = |(budget, partition)| json!({ "budget": budget, "partition": partition });
    let places: Vec<_> = places.into_iter().map(place).collect();

    let row = vec![
        budget_in_use::budget_id.with_expr(Expr::item(ColumnType::Text, "budget")),
        budget_in_use::partition_key.with_expr(Expr::item(ColumnType::SmallInt, "partition")),
        budget_in_use::registered_at_ms.with(at.0),
    ];
    let (table, known) = (budget_in_use::REF, OnConflict::Ignore);
    Ok(Some(Mutation::insert_each(table, items(&places)?, row, known)))
}

/// The query that finds a budget in use, if there is one.
#[must_use]
pub fn any_in_use() -> Query {
    Query::List(List { limit: Expr::int(1), ..Pages::IN_USE.page(Predicate::Always) })
}

/// Finds the budgets that executions name and that have room.
#[derive(Clone, Copy, Debug)]
pub struct OpenBudgets;

/// The room that claims can offer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// The tokens of the budgets with room.
    pub tokens: Vec<String>,
    /// True if there are executions with an estimate.
    pub has_estimates: bool,
    /// True if there are executions with keys of limits.
    pub has_limits: bool,
    /// The lanes with fairness keys.
    pub fair_lanes: BTreeSet<LaneId>,
}

impl Room {
    /// True if any claim of that lane takes its executions, with no more than the tokens.
    #[must_use]
    pub fn is_plain(&self, lane: &LaneId) -> bool {
        !(self.has_estimates || self.has_limits || self.fair_lanes.contains(lane))
    }

    /// True if there are executions with keys of limits, or of fairness.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        self.has_limits || !self.fair_lanes.is_empty()
    }
}

impl Transition for OpenBudgets {
    type Outcome = Room;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Room>, EngineError> {
        let mut next = Vec::new();
        for pages in [Pages::IN_USE, Pages::LIMITS, Pages::TOTALS] {
            next.extend(pages.next(facts)?.map(Query::List));
        }
        if !next.is_empty() {
            return Ok(Step::Read(next));
        }

        let budget = budget_in_use::budget_id;
        let rows = |pages: Pages| facts.pages(pages.name).flatten().map(move |row| (budget, row));
        let full = budgets_short(shortages(rows(Pages::LIMITS), rows(Pages::TOTALS))?);
        let mut open = BTreeSet::new();
        for row in facts.pages(Pages::IN_USE.name).flatten() {
            open.insert(row.read(budget)?);
        }
        let has_estimates = open.remove(ESTIMATES);
        let has_limits = open.remove(LIMITED);
        let mut fair_lanes = BTreeSet::new();
        open.retain(|name| {
            let lane = lane_of_fair(name);
            fair_lanes.extend(lane.map(LaneId::new));
            lane.is_none()
        });
        let tokens = open.difference(&full).map(|budget| token(budget)).collect();
        Ok(Step::Answer(Room { tokens, has_estimates, has_limits, fair_lanes }))
    }
}

/// The room that a budget lacks in one dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// The budget.
    pub budget: String,
    /// The dimension.
    pub dimension: String,
    /// The amount used.
    pub used: u64,
    /// The amount that others have reserved, where reservations count.
    pub reserved: u64,
    /// The amount that would be reserved.
    pub requested: u64,
    /// The hard limit, with what approvals have added to it.
    pub limit: u64,
}

/// Some budgets, of which a scheduler must know if they have room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SomeBudgets {
    /// The budgets, as rows store them.
    pub budgets: Vec<String>,
}

impl SomeBudgets {
    /// The reads that [`Self::full`] needs.
    #[must_use]
    pub fn queries(&self) -> Vec<Query> {
        vec![Query::List(self.limits()), Query::List(self.totals())]
    }

    /// The limits and the totals, once they are read.
    #[must_use]
    pub fn rows<'a>(&self, facts: &'a Facts) -> Option<(&'a [Row], &'a [Row])> {
        facts.list(&self.limits()).zip(facts.list(&self.totals()))
    }

    /// Those without room; `None` until their rows are read.
    ///
    /// # Errors
    /// `Validation(Corruption)` naming the column that holds what it must not.
    pub fn full(&self, facts: &Facts) -> Result<Option<BTreeSet<String>>, EngineError> {
        Ok(self.shortages(facts)?.map(budgets_short))
    }

    /// What those without room lack; `None` until their rows are read.
    ///
    /// # Errors
    /// As [`Self::full`].
    pub fn shortages(&self, facts: &Facts) -> Result<Option<Vec<Shortage>>, EngineError> {
        if self.budgets.is_empty() {
            return Ok(Some(Vec::new()));
        }

        let Some((limits, totals)) = self.rows(facts) else { return Ok(None) };
        let limits = limits.iter().map(|row| (budget_policy::budget_id, row));
        let totals = totals.iter().map(|row| (budget_usage::budget_id, row));
        shortages(limits, totals).map(Some)
    }

    fn limits(&self) -> List {
        let budget = budget_policy::budget_id.column();
        let columns = vec![
            budget_policy::partition_key.column(),
            budget,
            budget_policy::policy_json.column(),
            budget_policy::version.column(),
        ];
        let order = vec![(budget, Ascending)];
        self.list("limits of some budgets", budget_policy::REF, budget, columns, order)
    }

    fn totals(&self) -> List {
        let (budget, dimension) =
            (budget_usage::budget_id.column(), budget_usage::dimensions_key.column());
        let columns = vec![
            budget_usage::partition_key.column(),
            budget,
            dimension,
            budget_usage::current_value.column(),
            budget_usage::overdraft.column(),
        ];
        let order = vec![(budget, Ascending), (dimension, Ascending)];
        self.list("totals of some budgets", budget_usage::REF, budget, columns, order)
    }

    fn list(
        &self,
        name: &'static str,
        table: TableRef,
        budget: ColumnRef,
        columns: Vec<ColumnRef>,
        order: Vec<(ColumnRef, Direction)>,
    ) -> List {
        List {
            name: name.into(),
            table,
            join: None,
            of_each: None,
            columns,
            predicate: Predicate::Among(budget, self.budgets.clone().into_expr()),
            order,
            limit: Expr::int(PAGE.try_into().unwrap_or(i64::MAX)),
        }
    }
}

/// A list over budgets in use, page by page: of them alone, or with rows that belong to them.
struct Pages {
    name: &'static str,
    joined: Option<JoinedRows>,
}

/// Rows that belong to a budget in use.
struct JoinedRows {
    table: TableRef,
    partition: Col<i16>,
    budget: Col<String>,
    /// Orders the rows of one budget.
    by: Option<Col<String>>,
    /// The columns that are read besides.
    values: &'static [ColumnRef],
}

impl Pages {
    const IN_USE: Self = Self { name: "budgets in use", joined: None };

    const LIMITS: Self = Self {
        name: "limits of budgets in use",
        joined: Some(JoinedRows {
            table: budget_policy::REF,
            partition: budget_policy::partition_key,
            budget: budget_policy::budget_id,
            by: None,
            values: &[budget_policy::policy_json.column()],
        }),
    };

    const TOTALS: Self = Self {
        name: "totals of budgets in use",
        joined: Some(JoinedRows {
            table: budget_usage::REF,
            partition: budget_usage::partition_key,
            budget: budget_usage::budget_id,
            by: Some(budget_usage::dimensions_key),
            values: &[budget_usage::current_value.column(), budget_usage::overdraft.column()],
        }),
    };

    /// The next page; `None` once the last is read.
    fn next(&self, facts: &Facts) -> Result<Option<List>, EngineError> {
        match facts.pages(self.name).last() {
            None => Ok(Some(self.page(Predicate::Always))),
            Some(page) if page.len() < PAGE => Ok(None),
            Some(page) => self.after(page.last()).map(|after| Some(self.page(after))),
        }
    }

    fn order(&self) -> Vec<ColumnRef> {
        let own = [budget_in_use::budget_id.column(), budget_in_use::partition_key.column()];
        let by = self.joined.as_ref().and_then(|joined| joined.by);
        own.into_iter().chain(by.map(Col::column)).collect()
    }

    fn after(&self, row: Option<&Row>) -> Result<Predicate, EngineError> {
        let Some(row) = row else { return Ok(Predicate::Always) };
        let (partition, budget) = (budget_in_use::partition_key, budget_in_use::budget_id);
        let mut after = vec![budget.with(row.read(budget)?), partition.with(row.read(partition)?)];
        if let Some(by) = self.joined.as_ref().and_then(|joined| joined.by) {
            after.push(by.with(row.read(by)?));
        }
        Ok(Predicate::After(after))
    }

    fn page(&self, predicate: Predicate) -> List {
        let (partition, budget) = (budget_in_use::partition_key, budget_in_use::budget_id);
        let order = self.order();
        let join = |joined: &JoinedRows| Join {
            table: joined.table,
            on: vec![
                (partition.column(), joined.partition.column()),
                (budget.column(), joined.budget.column()),
            ],
        };
        let values = self.joined.as_ref().map_or(&[][..], |joined| joined.values);

        List {
            name: self.name.into(),
            table: budget_in_use::REF,
            join: self.joined.as_ref().map(join),
            of_each: None,
            columns: order.iter().chain(values).copied().collect(),
            predicate,
            order: order.into_iter().map(|column| (column, Ascending)).collect(),
            limit: Expr::int(PAGE.try_into().unwrap_or(i64::MAX)),
        }
    }
}

/// What the budgets with these limits and totals lack, by budget and dimension. Each row comes with
/// the column that names its budget.
fn shortages<'a>(
    limits: impl Iterator<Item = (Col<String>, &'a Row)>,
    totals: impl Iterator<Item = (Col<String>, &'a Row)>,
) -> Result<Vec<Shortage>, EngineError> {
    let mut used: BTreeMap<(String, String), (i64, i64)> = BTreeMap::new();
    for (budget, row) in totals {
        let key = (row.read(budget)?, row.read(budget_usage::dimensions_key)?);
        let total = row.read(budget_usage::current_value)?;
        used.insert(key, (total, row.read(budget_usage::overdraft)?));
    }

    let mut shortages = Vec::new();
    for (budget, row) in limits {
        let budget = row.read(budget)?;
        for (dimension, limit) in Limits::read(row)?.enforced() {
            let key = (budget.clone(), dimension.to_owned());
            let (used, overdraft) = used.get(&key).copied().unwrap_or_default();
            let (used, limit) = (used.max(0).unsigned_abs(), raised(limit, overdraft));
            if limit <= used {
                let (budget, dimension) = key;
                shortages.push(Shortage {
                    budget,
                    dimension,
                    used,
                    reserved: 0,
                    requested: 0,
                    limit,
                });
            }
        }
    }
    Ok(shortages)
}

/// The budgets that lack something.
fn budgets_short(shortages: Vec<Shortage>) -> BTreeSet<String> {
    shortages.into_iter().map(|shortage| shortage.budget).collect()
}
