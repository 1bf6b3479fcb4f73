//! Budgets, quotas and admission.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::model::ids::{BudgetId, ExecutionId, LaneId, QuotaPolicyId, TimestampMs};
use crate::model::partition::Partition;

/// Defines a budget; the lists run in parallel, one entry per dimension.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CreateBudgetArgs {
    /// The id of the new budget.
    pub budget_id: BudgetId,
    /// The kind of thing that the budget covers.
    pub scope_type: String,
    /// The thing that the budget covers.
    pub scope_id: String,
    /// The enforcement mode of the limits.
    pub enforcement_mode: String,
    /// The action at a hard limit.
    pub on_hard_limit: String,
    /// The action at a soft limit.
    pub on_soft_limit: String,
    /// The interval at which usage is reset, in milliseconds; zero for never.
    pub reset_interval_ms: u64,
    /// The dimensions that are counted.
    pub dimensions: Vec<String>,
    /// The hard limits; zero for none.
    pub hard_limits: Vec<u64>,
    /// The soft limits; zero for none.
    pub soft_limits: Vec<u64>,
    /// The time of the call.
    pub now: TimestampMs,
}

/// The outcome of defining a budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CreateBudgetResult {
    /// The budget exists now.
    Created {
        /// The budget.
        budget_id: BudgetId,
    },
    /// The budget existed before.
    AlreadySatisfied {
        /// The budget.
        budget_id: BudgetId,
    },
}

/// A budget as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetStatus {
    /// The budget.
    pub budget_id: String,
    /// The kind of thing that the budget covers.
    pub scope_type: String,
    /// The thing that the budget covers.
    pub scope_id: String,
    /// The enforcement mode of the limits.
    pub enforcement_mode: String,
    /// The usage, by dimension.
    pub usage: HashMap<String, u64>,
    /// The hard limits, by dimension.
    pub hard_limits: HashMap<String, u64>,
    /// The soft limits, by dimension.
    pub soft_limits: HashMap<String, u64>,
    /// The number of hard limit breaches.
    pub breach_count: u64,
    /// The number of soft limit breaches.
    pub soft_breach_count: u64,
    /// The time of the last hard limit breach, in Unix milliseconds.
    pub last_breach_at: Option<String>,
    /// The dimension of the last hard limit breach.
    pub last_breach_dim: Option<String>,
    /// The next reset of the usage, in Unix milliseconds.
    pub next_reset_at: Option<String>,
    /// The time at which the budget was defined, in Unix milliseconds.
    pub created_at: Option<String>,
}

/// A budget in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BudgetSummary {
    /// The budget.
    pub budget_id: BudgetId,
    /// The kind of thing that the budget covers.
    pub scope_type: String,
    /// The thing that the budget covers.
    pub scope_id: String,
    /// The number of hard limit breaches.
    pub breach_count: u64,
    /// The number of soft limit breaches.
    pub soft_breach_count: u64,
    /// The next reset of the usage.
    pub next_reset_at: Option<TimestampMs>,
}

impl BudgetSummary {
    /// A budget without breaches that is not reset by itself.
    #[must_use]
    pub fn new(budget_id: BudgetId, scope_type: String, scope_id: String) -> Self {
        Self {
            budget_id,
            scope_type,
            scope_id,
            breach_count: 0,
            soft_breach_count: 0,
            next_reset_at: None,
        }
    }
}

/// A page of the budgets, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BudgetsPage {
    /// The budgets.
    pub budgets: Vec<BudgetSummary>,
    /// The budget that the next page begins after; `None` on the last page.
    pub next_cursor: Option<BudgetId>,
}

/// Reports usage; the lists run in parallel.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReportUsageArgs {
    /// The dimensions that were used.
    pub dimensions: Vec<String>,
    /// The amount used of each dimension.
    pub deltas: Vec<u64>,
    /// The time of the call.
    pub now: TimestampMs,
    /// Makes the report repeatable.
    #[serde(default)]
    pub dedup_key: Option<String>,
}

/// Reports usage without a lease; the lists run in parallel.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReportUsageAdminArgs {
    /// The dimensions that were used.
    pub dimensions: Vec<String>,
    /// The amount used of each dimension.
    pub deltas: Vec<u64>,
    /// Makes the report repeatable.
    pub dedup_key: Option<String>,
    /// The time of the call.
    pub now: TimestampMs,
}

impl ReportUsageAdminArgs {
    /// A report that counts each time it is made.
    #[must_use]
    pub fn new(dimensions: Vec<String>, deltas: Vec<u64>, now: TimestampMs) -> Self {
        Self { dimensions, deltas, dedup_key: None, now }
    }

    /// Makes the report repeatable under `key`.
    #[must_use]
    pub fn with_dedup_key(mut self, key: String) -> Self {
        self.dedup_key = Some(key);
        self
    }
}

/// The outcome of a usage report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ReportUsageResult {
    /// The usage is recorded, within all limits.
    Ok,
    /// The usage is recorded and a soft limit is exceeded.
    SoftBreach {
        /// The dimension of that limit.
        dimension: String,
        /// The usage now.
        current_usage: u64,
        /// The limit.
        soft_limit: u64,
    },
    /// The usage is not recorded, since a hard limit would be exceeded.
    HardBreach {
        /// The dimension of that limit.
        dimension: String,
        /// The usage, unchanged.
        current_usage: u64,
        /// The limit.
        hard_limit: u64,
    },
    /// The same report was recorded before.
    AlreadyApplied,
}

/// Records what one execution spends of a budget.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RecordSpendArgs {
    /// The budget.
    pub budget_id: BudgetId,
    /// The execution.
    pub execution_id: ExecutionId,
    /// The amounts, by dimension.
    pub deltas: BTreeMap<String, u64>,
    /// Makes the record repeatable.
    pub idempotency_key: String,
}

impl RecordSpendArgs {
    /// A record made of all its parts.
    #[must_use]
    pub fn new(
        budget_id: BudgetId,
        execution_id: ExecutionId,
        deltas: BTreeMap<String, u64>,
        idempotency_key: impl Into<String>,
    ) -> Self {
        Self { budget_id, execution_id, deltas, idempotency_key: idempotency_key.into() }
    }
}

/// Releases everything that one execution spent of a budget.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReleaseBudgetArgs {
    /// The budget.
    pub budget_id: BudgetId,
    /// The execution.
    pub execution_id: ExecutionId,
}

impl ReleaseBudgetArgs {
    /// The budget and the execution.
    #[must_use]
    pub fn new(budget_id: BudgetId, execution_id: ExecutionId) -> Self {
        Self { budget_id, execution_id }
    }
}

/// Resets the usage of a budget.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ResetBudgetArgs {
    /// The budget.
    pub budget_id: BudgetId,
    /// The time of the call.
    pub now: TimestampMs,
}

/// The outcome of a reset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResetBudgetResult {
    /// All usage is zero.
    Reset {
        /// The time of the next reset.
        next_reset_at: TimestampMs,
    },
}

/// The limits and the usage of a budget, as stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BudgetUsageAndLimits {
    /// The limits in decimal, under `hard:<dimension>` and `soft:<dimension>`.
    pub limits: BTreeMap<String, String>,
    /// The usage, by dimension.
    pub usage: BTreeMap<String, u64>,
    /// The amounts that running executions have reserved and not used yet, by dimension. An
    /// addition to the common contract.
    #[serde(default)]
    pub reserved: BTreeMap<String, u64>,
    /// The amounts by which approvals have raised hard limits, by dimension; the limits are without
    /// them. An addition to the common contract.
    #[serde(default)]
    pub overdraft: BTreeMap<String, u64>,
}

impl BudgetUsageAndLimits {
    /// Limits and usage; nothing reserved, and no limit raised.
    #[must_use]
    pub fn new(limits: BTreeMap<String, String>, usage: BTreeMap<String, u64>) -> Self {
        Self { limits, usage, reserved: BTreeMap::new(), overdraft: BTreeMap::new() }
    }

    /// No limits and no usage.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// Dimension, usage and limit for each hard limit that is a number above zero.
    pub fn hard_limits_with_usage(&self) -> impl Iterator<Item = (&str, u64, u64)> {
        self.limits.iter().filter_map(|(key, limit)| {
            let dimension = key.strip_prefix("hard:")?;
            let limit = limit.parse().ok().filter(|limit: &u64| 0 < *limit)?;
            let used = self.usage.get(dimension).copied().unwrap_or(0);
            Some((dimension, used, limit))
        })
    }
}

/// Defines a quota policy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CreateQuotaPolicyArgs {
    /// The id of the new policy.
    pub quota_policy_id: QuotaPolicyId,
    /// The length of the sliding window, in seconds.
    pub window_seconds: u64,
    /// The most admissions per window; zero for any number.
    pub max_requests_per_window: u64,
    /// The most admitted executions at once; zero for any number.
    pub max_concurrent: u64,
    /// The time of the call.
    pub now: TimestampMs,
}

/// The outcome of defining a quota policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CreateQuotaPolicyResult {
    /// The policy exists now.
    Created {
        /// The policy.
        quota_policy_id: QuotaPolicyId,
    },
    /// The policy existed before.
    AlreadySatisfied {
        /// The policy.
        quota_policy_id: QuotaPolicyId,
    },
}

/// The limits of a quota policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct QuotaPolicyLimits {
    /// The most admissions per window; zero for any number.
    pub max_requests_per_window: u64,
    /// The length of the sliding window, in seconds.
    pub requests_per_window_seconds: u64,
    /// The most admitted executions at once; zero for any number.
    pub active_concurrency_cap: u64,
    /// The jitter of a retry, in milliseconds.
    pub jitter_ms: u64,
}

impl QuotaPolicyLimits {
    /// Limits made of all their parts.
    #[must_use]
    pub fn new(
        max_requests_per_window: u64,
        requests_per_window_seconds: u64,
        active_concurrency_cap: u64,
        jitter_ms: u64,
    ) -> Self {
        Self {
            max_requests_per_window,
            requests_per_window_seconds,
            active_concurrency_cap,
            jitter_ms,
        }
    }

    /// Returns true if the policy limits nothing.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        self.max_requests_per_window == 0 && self.active_concurrency_cap == 0
    }
}

/// Asks a quota policy to admit an execution.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckAdmissionArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The time of the call.
    pub now: TimestampMs,
    /// The length of the sliding window, in seconds.
    pub window_seconds: u64,
    /// The most admissions per window; zero for any number.
    pub rate_limit: u64,
    /// The most admitted executions at once; zero for any number.
    pub concurrency_cap: u64,
    /// The jitter of a retry, in milliseconds.
    #[serde(default)]
    pub jitter_ms: Option<u64>,
}

/// The answer of a quota policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CheckAdmissionResult {
    /// The execution is admitted.
    Admitted,
    /// The execution was admitted before.
    AlreadyAdmitted,
    /// The window is full.
    RateExceeded {
        /// The time to wait before asking again, in milliseconds.
        retry_after_ms: u64,
    },
    /// Too many admitted executions run.
    ConcurrencyExceeded,
}

/// Releases an admission.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReleaseAdmissionArgs {
    /// The policy.
    pub quota_policy_id: QuotaPolicyId,
    /// The execution.
    pub execution_id: ExecutionId,
}

impl ReleaseAdmissionArgs {
    /// The policy and the execution.
    #[must_use]
    pub fn new(quota_policy_id: QuotaPolicyId, execution_id: ExecutionId) -> Self {
        Self { quota_policy_id, execution_id }
    }
}

/// The outcome of releasing an admission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ReleaseAdmissionResult {
    /// The admission is released, or there was none.
    Released,
}

/// Blocks an execution that the scheduler cannot admit.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BlockExecutionForAdmissionArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The lane of the execution.
    pub lane_id: LaneId,
    /// The partition of the execution.
    pub partition: Partition,
    /// The thing that the execution waits for.
    pub reason: BlockingReason,
    /// Details of the reason.
    pub reason_detail: Option<String>,
    /// The time of the call.
    pub now: TimestampMs,
}

impl BlockExecutionForAdmissionArgs {
    /// Arguments made of all their parts.
    #[must_use]
    pub fn new(
        execution_id: ExecutionId,
        lane_id: LaneId,
        partition: Partition,
        reason: BlockingReason,
        reason_detail: Option<String>,
        now: TimestampMs,
    ) -> Self {
        Self { execution_id, lane_id, partition, reason, reason_detail, now }
    }
}

/// The scheduler's reason for blocking an execution. [`crate::model::state::BlockingReason`] lists
/// every reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlockingReason {
    /// A budget is used up.
    WaitingForBudget,
    /// A quota is used up.
    WaitingForQuota,
    /// No worker has the capabilities.
    WaitingForCapableWorker,
}

impl BlockingReason {
    /// The name as it is stored and sent.
    #[must_use]
    pub fn reason_code(&self) -> &'static str {
        match self {
            Self::WaitingForBudget => "waiting_for_budget",
            Self::WaitingForQuota => "waiting_for_quota",
            Self::WaitingForCapableWorker => "waiting_for_capable_worker",
        }
    }
}

/// The outcome of blocking an execution.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlockExecutionForAdmissionOutcome {
    /// The execution is blocked.
    Blocked {
        /// The execution.
        execution_id: ExecutionId,
        /// The thing that the execution waits for.
        reason: BlockingReason,
    },
    /// The store refused.
    LuaRejected {
        /// The reason.
        message: String,
    },
}

/// Blocks an execution.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BlockExecutionArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The thing that the execution waits for.
    pub blocking_reason: String,
    /// Details of the reason.
    #[serde(default)]
    pub blocking_detail: Option<String>,
    /// The time of the call.
    pub now: TimestampMs,
}

/// The outcome of blocking an execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BlockExecutionResult {
    /// The execution is blocked.
    Blocked,
}

/// Unblocks an execution.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UnblockExecutionArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The time of the call.
    pub now: TimestampMs,
    /// The reason that must hold for the execution to be unblocked.
    #[serde(default)]
    pub expected_blocking_reason: Option<String>,
}

/// The outcome of unblocking an execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UnblockExecutionResult {
    /// The execution is no longer blocked.
    Unblocked,
}

/// The resources that an attempt used.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct UsageDimensions {
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// Time, in milliseconds.
    pub wall_ms: Option<u64>,
    /// Anything else, by its dimension.
    pub custom: BTreeMap<String, u64>,
    /// Reports with the same key count once.
    pub dedup_key: Option<String>,
}

impl UsageDimensions {
    /// Nothing used.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the tokens read.
    #[must_use]
    pub const fn with_input_tokens(mut self, input_tokens: u64) -> Self {
        self.input_tokens = input_tokens;
        self
    }

    /// Sets the tokens written.
    #[must_use]
    pub const fn with_output_tokens(mut self, output_tokens: u64) -> Self {
        self.output_tokens = output_tokens;
        self
    }

    /// Sets the time, in milliseconds.
    #[must_use]
    pub const fn with_wall_ms(mut self, wall_ms: u64) -> Self {
        self.wall_ms = Some(wall_ms);
        self
    }

    /// Makes the report count once per `dedup_key`.
    #[must_use]
    pub fn with_dedup_key(mut self, dedup_key: impl Into<String>) -> Self {
        self.dedup_key = Some(dedup_key.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hard_limits_above_zero_are_listed() {
        let limits = [
            ("hard:cost", "10"),
            ("hard:none", "0"),
            ("hard:text", "x"),
            ("hard:tokens", "7"),
            ("soft:cost", "5"),
            ("cost", "3"),
        ];
        let budget = BudgetUsageAndLimits::new(
            limits.map(|(key, limit)| (key.to_owned(), limit.to_owned())).into(),
            [("cost".to_owned(), 4), ("other".to_owned(), 9)].into(),
        );

        let listed: Vec<_> = budget.hard_limits_with_usage().collect();
        assert_eq!(listed, [("cost", 4, 10), ("tokens", 0, 7)]);
        assert_eq!(BudgetUsageAndLimits::empty().hard_limits_with_usage().count(), 0);
    }

    #[test]
    fn a_quota_without_limits_is_unlimited() {
        assert!(QuotaPolicyLimits::new(0, 60, 0, 5).is_unlimited());
        assert!(!QuotaPolicyLimits::new(1, 60, 0, 5).is_unlimited());
        assert!(!QuotaPolicyLimits::new(0, 60, 1, 5).is_unlimited());
    }
}
