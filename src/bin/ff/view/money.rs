//! Budgets and quotas.

use std::collections::BTreeMap;

use ff_core::contracts::{BudgetStatus, BudgetSummary, BudgetUsageAndLimits, BudgetsPage};
use ff_core::types::{BudgetId, ExecutionId, QuotaPolicyId};
use serde::Serialize;

/// `budget show`.
#[derive(Debug, Serialize)]
pub(crate) struct BudgetView<'a> {
    pub(crate) budget_id: &'a str,
    pub(crate) scope_type: &'a str,
    pub(crate) scope_id: &'a str,
    pub(crate) usage: BTreeMap<&'a str, u64>,
    pub(crate) reserved: &'a BTreeMap<String, u64>,
    pub(crate) overdraft: &'a BTreeMap<String, u64>,
    pub(crate) hard_limits: BTreeMap<&'a str, u64>,
    pub(crate) soft_limits: BTreeMap<&'a str, u64>,
    pub(crate) breach_count: u64,
    pub(crate) soft_breach_count: u64,
    pub(crate) last_breach_at_ms: Option<i64>,
    pub(crate) last_breach_dimension: Option<&'a str>,
    pub(crate) next_reset_at_ms: Option<i64>,
    pub(crate) created_at_ms: Option<i64>,
}

impl<'a> BudgetView<'a> {
    /// The view of a status and the totals beside it.
    pub(crate) fn of(status: &'a BudgetStatus, totals: &'a BudgetUsageAndLimits) -> Self {
        let sorted = |of: &'a std::collections::HashMap<String, u64>| {
            of.iter().map(|(name, amount)| (name.as_str(), *amount)).collect()
        };
        let time = |text: &Option<String>| text.as_ref().and_then(|text| text.parse().ok());

        Self {
            budget_id: &status.budget_id,
            scope_type: &status.scope_type,
            scope_id: &status.scope_id,
            usage: sorted(&status.usage),
            reserved: &totals.reserved,
            overdraft: &totals.overdraft,
            hard_limits: sorted(&status.hard_limits),
            soft_limits: sorted(&status.soft_limits),
            breach_count: status.breach_count,
            soft_breach_count: status.soft_breach_count,
            last_breach_at_ms: time(&status.last_breach_at),
            last_breach_dimension: status.last_breach_dim.as_deref(),
            next_reset_at_ms: time(&status.next_reset_at),
            created_at_ms: time(&status.created_at),
        }
    }
}

/// `budget ls`.
#[derive(Debug, Serialize)]
pub(crate) struct BudgetsView<'a> {
    pub(crate) budgets: Vec<BudgetRowView<'a>>,
    pub(crate) next_cursor: Option<&'a BudgetId>,
}

/// A budget in a list.
#[derive(Debug, Serialize)]
pub(crate) struct BudgetRowView<'a> {
    budget_id: &'a BudgetId,
    scope_type: &'a str,
    scope_id: &'a str,
    breach_count: u64,
    soft_breach_count: u64,
    next_reset_at_ms: Option<i64>,
}

impl<'a> BudgetsView<'a> {
    /// The view of a page.
    pub(crate) fn of(page: &'a BudgetsPage) -> Self {
        let row = |budget: &'a BudgetSummary| BudgetRowView {
            budget_id: &budget.budget_id,
            scope_type: &budget.scope_type,
            scope_id: &budget.scope_id,
            breach_count: budget.breach_count,
            soft_breach_count: budget.soft_breach_count,
            next_reset_at_ms: budget.next_reset_at.map(|next| next.0),
        };
        let budgets = page.budgets.iter().map(row).collect();
        Self { budgets, next_cursor: page.next_cursor.as_ref() }
    }
}

/// `budget create`, `budget reset` and `budget release`.
#[derive(Debug, Serialize)]
pub(crate) struct BudgetChangedView<'a> {
    pub(crate) budget_id: &'a BudgetId,
    /// `created`, `already_defined`, `reset` or `released`.
    pub(crate) outcome: &'static str,
    pub(crate) next_reset_at_ms: Option<i64>,
}

/// `budget report`.
#[derive(Debug, Serialize)]
pub(crate) struct BudgetReportView<'a> {
    pub(crate) budget_id: &'a BudgetId,
    /// `ok`, `soft_breach` or `already_applied`.
    pub(crate) outcome: &'static str,
    pub(crate) dimension: Option<String>,
    pub(crate) total: Option<u64>,
    pub(crate) limit: Option<u64>,
}

impl<'a> BudgetReportView<'a> {
    /// A report with that outcome, which exceeds no limit.
    pub(crate) fn of(budget_id: &'a BudgetId, outcome: &'static str) -> Self {
        Self { budget_id, outcome, dimension: None, total: None, limit: None }
    }
}

/// `quota create`.
#[derive(Debug, Serialize)]
pub(crate) struct QuotaDefinedView<'a> {
    pub(crate) quota_policy_id: &'a QuotaPolicyId,
    /// `created` or `already_defined`.
    pub(crate) outcome: &'static str,
}

/// `quota show`.
#[derive(Debug, Serialize)]
pub(crate) struct QuotaView<'a> {
    pub(crate) quota_policy_id: &'a QuotaPolicyId,
    pub(crate) window_ms: u64,
    pub(crate) max_requests_per_window: u64,
    pub(crate) max_concurrent: u64,
}

/// `quota check` and `quota release`.
#[derive(Debug, Serialize)]
pub(crate) struct AdmissionView<'a> {
    pub(crate) execution_id: &'a ExecutionId,
    /// `admitted`, `already_admitted` or `released`.
    pub(crate) outcome: &'static str,
}
