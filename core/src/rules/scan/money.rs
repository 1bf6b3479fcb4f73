//! The due rows of budgets and quotas.

use super::{Due, DueRow, Overdue};
use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::plan::facts::Row;
use crate::plan::{List, Predicate};
use crate::rules::budget::dedup::Dedup;
use crate::rules::budget::key::BudgetKey;
use crate::rules::quota::key::QuotaKey;
use crate::rules::quota::lapse::{Lapse, LeaveWindow};
use crate::schema::budget::{
    budget_policy, budget_resets, budget_usage_dedup, quota_admitted, quota_policy, quota_window,
    window_expires,
};

impl Due {
    pub(super) fn of_resets(&self, now: TimestampMs) -> List {
        let (due, id) = (budget_policy::next_reset_at_ms, budget_policy::budget_id);
        let mut predicate = budget_resets().and(due.at_most(Some(now.0)));
        if let Some(Overdue { row: DueRow::Budget(budget), since }) = &self.after {
            let after = vec![due.with(*since), id.with(budget.id.clone())];
            predicate = predicate.and(Predicate::After(after));
        }
        let order = [due.column(), id.column()];
        self.rows_of("budgets to reset", budget_policy::REF, predicate, &order)
    }

    pub(super) fn of_usage_keys(&self, now: TimestampMs) -> List {
        let (due, id) = (budget_usage_dedup::expires_at_ms, budget_usage_dedup::dedup_key);
        let mut predicate = due.at_most(now.0);
        if let Some(Overdue { row: DueRow::UsageKey(key), since: Some(since) }) = &self.after {
            let after = vec![due.with(*since), id.with(key.key.clone())];
            predicate = predicate.and(Predicate::After(after));
        }
        let order = [due.column(), id.column()];
        self.rows_of("expired keys of reports", budget_usage_dedup::REF, predicate, &order)
    }

    pub(super) fn of_admissions(&self, now: TimestampMs) -> List {
        let (due, id) = (quota_admitted::expires_at_ms, quota_admitted::execution_id);
        let policy = quota_admitted::quota_policy_id;
        let mut predicate = due.at_most(now.0);
        if let Some(Overdue { row: DueRow::Admission(lapse), since: Some(since) }) = &self.after {
            predicate = predicate.and(Predicate::After(vec![
                due.with(*since),
                id.with(lapse.execution.clone()),
                policy.with(lapse.policy.id.clone()),
            ]));
        }
        let order = [due.column(), id.column(), policy.column()];
        self.rows_of("lapsed admissions", quota_admitted::REF, predicate, &order)
    }

    pub(super) fn of_windows(&self, now: TimestampMs) -> List {
        let due = quota_window::expires_at_ms;
        let mut predicate = window_expires().and(due.at_most(Some(now.0)));
        if let Some(Overdue { row: DueRow::Window(leave), since }) = &self.after {
            predicate = predicate.and(Predicate::After(vec![
                due.with(*since),
                quota_window::quota_policy_id.with(leave.policy.id.clone()),
                quota_window::dimension.with(leave.dimension.clone()),
                quota_window::admitted_at_ms.with(leave.admitted_at_ms),
                quota_window::execution_id.with(leave.execution.clone()),
            ]));
        }
        let order = [
            due.column(),
            quota_window::quota_policy_id.column(),
            quota_window::dimension.column(),
            quota_window::admitted_at_ms.column(),
            quota_window::execution_id.column(),
        ];
        self.rows_of("admissions past their window", quota_window::REF, predicate, &order)
    }

    pub(super) fn of_budgets(&self) -> List {
        let id = budget_policy::budget_id;
        let predicate = match &self.after {
            Some(Overdue { row: DueRow::Budget(budget), .. }) => {
                Predicate::After(vec![id.with(budget.id.clone())])
            }
            Some(_) | None => Predicate::Always,
        };
        self.rows_of("budgets", budget_policy::REF, predicate, &[id.column()])
    }

    pub(super) fn of_quotas(&self) -> List {
        let id = quota_policy::quota_policy_id;
        let predicate = match &self.after {
            Some(Overdue { row: DueRow::Quota(policy), .. }) => {
                Predicate::After(vec![id.with(policy.id.clone())])
            }
            Some(_) | None => Predicate::Always,
        };
        self.rows_of("quota policies", quota_policy::REF, predicate, &[id.column()])
    }
}

pub(super) fn budget_to_reset(row: &Row) -> Result<Overdue, EngineError> {
    Ok(Overdue { since: row.read(budget_policy::next_reset_at_ms)?, ..budget(row)? })
}

pub(super) fn budget(row: &Row) -> Result<Overdue, EngineError> {
    let partition = row.read(budget_policy::partition_key)?;
    let key = BudgetKey { partition, id: row.read(budget_policy::budget_id)? };
    Ok(Overdue { row: DueRow::Budget(key), since: None })
}

pub(super) fn usage_key(row: &Row) -> Result<Overdue, EngineError> {
    let partition = row.read(budget_usage_dedup::partition_key)?;
    let key = Dedup { partition, key: row.read(budget_usage_dedup::dedup_key)? };
    let since = Some(row.read(budget_usage_dedup::expires_at_ms)?);
    Ok(Overdue { row: DueRow::UsageKey(key), since })
}

pub(super) fn admission(row: &Row) -> Result<Overdue, EngineError> {
    let since = Some(row.read(quota_admitted::expires_at_ms)?);
    Ok(Overdue { row: DueRow::Admission(Lapse::read(row)?), since })
}

pub(super) fn window(row: &Row) -> Result<Overdue, EngineError> {
    let since = row.read(quota_window::expires_at_ms)?;
    Ok(Overdue { row: DueRow::Window(LeaveWindow::read(row)?), since })
}

pub(super) fn quota(row: &Row) -> Result<Overdue, EngineError> {
    let partition = row.read(quota_policy::partition_key)?;
    let key = QuotaKey { partition, id: row.read(quota_policy::quota_policy_id)? };
    Ok(Overdue { row: DueRow::Quota(key), since: None })
}
