//! Budgets limit spending; quotas limit the rate and the concurrency of executions.
//!
//! A budget is a policy with limits per dimension, one running total per dimension, and what each
//! execution contributed, so that a contribution can be taken back. A quota is a policy with a live
//! count, a sliding window of admissions, and one guard per admitted execution that makes admission
//! repeatable. Rows carry the partition of their budget or quota, not of the execution.

use serde_json::Value as Json;
use uuid::Uuid;

use crate::plan::Predicate;

table! {
    /// One row per budget: its limits, its breaches and when it is next reset.
    budget_policy = "ff_budget_policy" key [partition_key, budget_id] partitioned {
        /// The partition of the budget.
        partition_key: i16,
        /// The budget, as UUID text.
        budget_id: String,
        /// Hard and soft limits by dimension, the reset interval, and what a breach does.
        policy_json: Json,
        /// Creation, Unix ms.
        created_at_ms: i64,
        /// Last change, Unix ms.
        updated_at_ms: i64,
        /// The kind of thing that the budget covers, in the caller's words.
        scope_type: String = Default::Text(""),
        /// The thing that the budget covers, in the caller's words.
        scope_id: String = Default::Text(""),
        /// The enforcement mode, in the caller's words.
        enforcement_mode: String = Default::Text(""),
        /// Hard breaches since creation; a reset leaves them.
        breach_count: i64 = Default::Int(0),
        /// Soft breaches since creation; a reset leaves them.
        soft_breach_count: i64 = Default::Int(0),
        /// Last hard breach since the last reset, Unix ms.
        last_breach_at_ms: Option<i64>,
        /// The dimension of that breach.
        last_breach_dim: Option<String>,
        /// The next reset of the totals, Unix ms; NULL never.
        next_reset_at_ms: Option<i64>,
        /// Grows with every change of the budget, its totals or its contributions.
        version: i64 = Default::Int(0),
        /// The number of resets. A contribution of an earlier period counts nothing any more.
        period: i64 = Default::Int(0),
        /// False for a row without limits that a report made before the budget was defined.
        is_defined: bool = Default::Bool(true),
    }
    indexes [
        "ff_budget_policy_reset_due_idx" (partition_key Ascending, next_reset_at_ms Ascending)
            only budget_resets,
    ]
}

table! {
    /// One row per budget and dimension: the running total.
    budget_usage = "ff_budget_usage" key [partition_key, budget_id, dimensions_key] partitioned {
        /// The partition of the budget.
        partition_key: i16,
        /// The budget, as UUID text.
        budget_id: String,
        /// The dimension's name; `_init` is no dimension and is skipped.
        dimensions_key: String,
        /// Spent since the last reset, in the dimension's own unit; never below 0.
        current_value: i64 = Default::Int(0),
        /// Last reset, Unix ms.
        last_reset_at_ms: Option<i64>,
        /// Last change, Unix ms.
        updated_at_ms: i64,
        /// The amount by which approvals have raised the hard limit.
        overdraft: i64 = Default::Int(0),
    }
    indexes []
}

table! {
    /// One row per execution, budget and dimension: the amount that the execution has reserved and
    /// not used yet. Rows carry the partition of the execution, so that each of its ends finds them
    /// by their key.
    budget_reservation = "ff_budget_reservation"
        key [partition_key, execution_id, budget_id, dimensions_key] partitioned
    {
        /// The partition of the execution.
        partition_key: i16,
        /// The execution.
        execution_id: Uuid,
        /// The budget, as UUID text.
        budget_id: String,
        /// The dimension's name.
        dimensions_key: String,
        /// Reserved and not used yet, in the dimension's own unit.
        amount: i64,
        /// Last change, Unix ms.
        updated_at_ms: i64,
    }
    indexes ["ff_budget_reservation_budget_idx" (budget_id Ascending)]
}

table! {
    /// One row per usage report with an idempotency key: the answer that a repetition gets.
    budget_usage_dedup = "ff_budget_usage_dedup" key [partition_key, dedup_key] partitioned {
        /// The partition of the budget.
        partition_key: i16,
        /// The budget and the caller's key, `<budget>:<key>`.
        dedup_key: String,
        /// The answer of the first call; the empty object while that call is under way.
        outcome_json: Json,
        /// The time of the first call, Unix ms.
        applied_at_ms: i64,
        /// The time from which the row may be removed, Unix ms.
        expires_at_ms: i64,
    }
    indexes [
        "ff_budget_usage_dedup_expires_idx" (partition_key Ascending, expires_at_ms Ascending),
        "ff_budget_usage_dedup_expired_idx" (expires_at_ms Ascending, dedup_key Ascending),
    ]
}

table! {
    /// One row per budget, execution and dimension: what the execution spent, to be given back.
    budget_usage_by_exec = "ff_budget_usage_by_exec"
        key [partition_key, budget_id, execution_id, dimensions_key] partitioned
    {
        /// The partition of the budget.
        partition_key: i16,
        /// The budget, as UUID text.
        budget_id: String,
        /// The execution.
        execution_id: Uuid,
        /// The dimension's name.
        dimensions_key: String,
        /// Spent by the execution in its period, in the dimension's own unit.
        delta_total: i64 = Default::Int(0),
        /// Last change, Unix ms.
        updated_at_ms: i64,
        /// The budget's period in which the execution last spent.
        period: i64 = Default::Int(0),
    }
    indexes ["ff_budget_usage_by_exec_execution_idx" (execution_id Ascending)]
}

table! {
    /// One row per budget that an execution was ever submitted with, and place where it may be; and
    /// a row `estimates`, once an execution with an estimate was submitted, and a row `limited`,
    /// once one with keys of limits was, and a row
    /// `fair:<lane>`, once one with a fairness key was submitted to that lane.
    budget_in_use = "ff_budget_in_use" key [budget_id, partition_key] {
        /// The budget, as UUID text.
        budget_id: String,
        /// The partition of the budget, or 0.
        partition_key: i16,
        /// First submission with the budget, Unix ms.
        registered_at_ms: i64,
    }
    indexes []
}

table! {
    /// One row per quota: its limits and how many executions it admits right now.
    quota_policy = "ff_quota_policy" key [partition_key, quota_policy_id] partitioned {
        /// The partition of the quota.
        partition_key: i16,
        /// The quota, as UUID text.
        quota_policy_id: String,
        /// Length of the window, seconds.
        requests_per_window_seconds: i64,
        /// Admissions allowed per window.
        max_requests_per_window: i64,
        /// Executions allowed at once.
        active_concurrency_cap: i64,
        /// Executions admitted and not yet released; never below 0.
        active_concurrency: i64 = Default::Int(0),
        /// Creation, Unix ms.
        created_at_ms: i64,
        /// Last change, Unix ms.
        updated_at_ms: i64,
        /// Grows with every admission.
        version: i64 = Default::Int(0),
        /// False for a row without limits that an admission made before the policy was defined.
        is_defined: bool = Default::Bool(true),
    }
    indexes []
}

table! {
    /// One row per admission within the current window; older ones are removed as it slides.
    quota_window = "ff_quota_window"
        key [partition_key, quota_policy_id, dimension, admitted_at_ms, execution_id] partitioned
    {
        /// The partition of the quota.
        partition_key: i16,
        /// The quota, as UUID text.
        quota_policy_id: String,
        /// The caller's dimension; each has a window of its own.
        dimension: String = Default::Text(""),
        /// Admission, Unix ms.
        admitted_at_ms: i64,
        /// The execution's full id, `{fp:N}:<uuid>`.
        execution_id: String,
        /// The time from which the row may be removed, Unix ms; NULL in rows of older engines.
        expires_at_ms: Option<i64>,
    }
    indexes [
        "ff_quota_window_expired_idx" (expires_at_ms Ascending, quota_policy_id Ascending)
            only window_expires,
        "ff_quota_window_execution_idx" (execution_id Ascending),
    ]
}

table! {
    /// One row per admitted execution, so that asking again within the window costs nothing.
    quota_admitted = "ff_quota_admitted"
        key [partition_key, quota_policy_id, execution_id] partitioned
    {
        /// The partition of the quota.
        partition_key: i16,
        /// The quota, as UUID text.
        quota_policy_id: String,
        /// The execution's full id, `{fp:N}:<uuid>`.
        execution_id: String,
        /// Admission, Unix ms.
        admitted_at_ms: i64,
        /// Expiry of the admission, Unix ms.
        expires_at_ms: i64,
        /// True if the admission counts in `active_concurrency`.
        holds_slot: bool = Default::Bool(true),
    }
    indexes [
        "ff_quota_admitted_expires_idx" (partition_key Ascending, expires_at_ms Ascending),
        "ff_quota_admitted_expired_idx" (expires_at_ms Ascending, execution_id Ascending),
        "ff_quota_admitted_execution_idx" (execution_id Ascending),
    ]
}

/// Budgets that are reset on a schedule.
#[must_use]
pub fn budget_resets() -> Predicate {
    budget_policy::next_reset_at_ms.is_present()
}

/// Admissions that say when they leave their window.
#[must_use]
pub fn window_expires() -> Predicate {
    quota_window::expires_at_ms.is_present()
}
