//! What reports have come to: as their callers know it, and as it is stored.

use std::collections::{BTreeMap, BTreeSet};

use ff_core::types::BudgetId;

use super::{Operation, amounts_of};
use crate::backends::Bench;

/// The amounts of reports that name no execution and have no key, by budget and dimension.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Counted(BTreeMap<(String, String), u64>);

impl Counted {
    /// Notes an operation that was answered so.
    pub(super) fn note(&mut self, operation: &Operation, outcome: &str) {
        if outcome.starts_with("HardBreach") {
            return;
        }
        if let Operation::Report(budget, amounts, None) = operation {
            for (dimension, amount) in amounts {
                self.note_amount(budget, dimension, *amount);
            }
        }
    }

    pub(super) fn note_amount(&mut self, budget: &BudgetId, dimension: &str, amount: u64) {
        *self.0.entry((budget.to_string(), dimension.to_owned())).or_default() += amount;
    }

    pub(super) fn forget_amount(&mut self, budget: &BudgetId, dimension: &str, amount: u64) {
        *self.0.get_mut(&(budget.to_string(), dimension.to_owned())).unwrap() -= amount;
    }

    pub(super) fn add(&mut self, more: &Self) {
        for (of, amount) in &more.0 {
            *self.0.entry(of.clone()).or_default() += amount;
        }
    }

    fn of(&self, budget: &str, dimension: &str) -> u64 {
        self.0.get(&(budget.to_owned(), dimension.to_owned())).copied().unwrap_or(0)
    }
}

/// What is stored of budgets and quotas.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Stored {
    /// By budget and dimension.
    totals: BTreeMap<(String, String), u64>,
    /// The contributions of executions in the current period, by budget and dimension.
    contributions: BTreeMap<(String, String), u64>,
    /// The keys under which an operator's report counted, by budget.
    keys: BTreeSet<(String, u64)>,
    /// The slots in use and the admissions that hold one, by quota.
    slots: BTreeMap<String, (i64, i64)>,
}

impl Stored {
    pub(super) async fn of(bench: &Bench) -> Self {
        let mut stored = Self::default();
        let plain = &bench.plain;
        let amount = |value: Option<i64>| u64::try_from(value.unwrap()).unwrap();
        let of = |row: &crate::plain::Cells| {
            (row.text("budget_id").to_owned(), row.text("dimensions_key").to_owned())
        };
        let mut periods = BTreeMap::new();
        for row in plain.rows("ff_budget_policy").await {
            periods.insert(row.text("budget_id").to_owned(), row.int("period"));
        }
        for row in plain.rows("ff_budget_usage").await {
            stored.totals.insert(of(&row), amount(row.int("current_value")));
        }
        for row in plain.rows("ff_budget_usage_by_exec").await {
            if periods[row.text("budget_id")] == row.int("period") {
                let sum = stored.contributions.entry(of(&row)).or_default();
                *sum += amount(row.int("delta_total"));
            }
        }
        for row in plain.rows("ff_budget_usage_dedup").await {
            let (budget, key) = row.text("dedup_key").split_once(':').unwrap();
            let kind = row.json("outcome_json")["kind"].as_str().unwrap();
            if let Some(key) = key.strip_prefix('r').filter(|_| kind != "HardBreach") {
                stored.keys.insert((budget.to_owned(), key.parse().unwrap()));
            }
        }
        for row in plain.rows("ff_quota_policy").await {
            let in_use = row.int("active_concurrency").unwrap();
            stored.slots.insert(row.text("quota_policy_id").to_owned(), (in_use, 0));
        }
        for row in plain.rows("ff_quota_admitted").await {
            let quota = stored.slots.get_mut(row.text("quota_policy_id")).unwrap();
            quota.1 += i64::from(row.flag("holds_slot"));
        }
        stored
    }

    /// Checks the totals since `before`, when they were zero: each is the sum of what executions
    /// contributed, of each key's amount once, and of reports without a key: at least those that
    /// are known to count, at most those that may.
    pub(super) fn assert_counted(&self, before: &Self, counted: &Counted, may_count: &Counted) {
        for ((budget, dimension), total) in &self.totals {
            let of = (budget.clone(), dimension.clone());
            let contributed = self.contributions.get(&of).copied().unwrap_or(0);
            let new = self.keys.difference(&before.keys).filter(|(of, _)| of == budget);
            let keyed: u64 = new.map(|(_, key)| amounts_of(*key)[dimension]).sum();
            let unkeyed = total.checked_sub(contributed + keyed);
            let may = counted.of(budget, dimension)..=may_count.of(budget, dimension);
            assert!(
                unkeyed.is_some_and(|unkeyed| may.contains(&unkeyed)),
                "{budget} {dimension}: {total} is not {contributed} + {keyed} + {may:?}: {self:#?}"
            );
        }
        for (quota, (in_use, held)) in &self.slots {
            assert_eq!(in_use, held, "{quota}: slots in use and admissions that hold one");
        }
    }
}
