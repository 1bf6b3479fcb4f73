//! Budgets, quotas and admission.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::partition::Partition;
use crate::types::{BudgetId, ExecutionId, LaneId, QuotaPolicyId, TimestampMs};

/// Defines a budget; the lists run in parallel, one entry per dimension.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CreateBudgetArgs {
    /// The id of the new budget.
    pub budget_id: BudgetId,
    /// The kind of thing that the budget covers.
    pub scope_type: String,
    /// The thing that the budget covers.
    pub scope_id: String,
    /// How strictly limits apply.
    pub enforcement_mode: String,
    /// What happens at a hard limit.
    pub on_hard_limit: String,
    /// What happens at a soft limit.
    pub on_soft_limit: String,
    /// How often usage starts over, in milliseconds; zero for never.
    pub reset_interval_ms: u64,
    /// What is counted.
    pub dimensions: Vec<String>,
    /// The hard limits; zero for none.
    pub hard_limits: Vec<u64>,
    /// The soft limits; zero for none.
    pub soft_limits: Vec<u64>,
    /// The time of the call.
    pub now: TimestampMs,
}

/// What came of defining a budget.
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
    /// How strictly limits apply.
    pub enforcement_mode: String,
    /// What was used, by dimension.
    pub usage: HashMap<String, u64>,
    /// The hard limits, by dimension.
    pub hard_limits: HashMap<String, u64>,
    /// The soft limits, by dimension.
    pub soft_limits: HashMap<String, u64>,
    /// How often a hard limit was hit.
    pub breach_count: u64,
    /// How often a soft limit was hit.
    pub soft_breach_count: u64,
    /// When a hard limit was last hit, in Unix milliseconds.
    pub last_breach_at: Option<String>,
    /// Which hard limit was last hit.
    pub last_breach_dim: Option<String>,
    /// When usage starts over, in Unix milliseconds.
    pub next_reset_at: Option<String>,
    /// When the budget was defined, in Unix milliseconds.
    pub created_at: Option<String>,
}

/// Reports usage; the lists run in parallel.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReportUsageArgs {
    /// What was used.
    pub dimensions: Vec<String>,
    /// How much of each.
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
    /// What was used.
    pub dimensions: Vec<String>,
    /// How much of each.
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

/// What came of a usage report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ReportUsageResult {
    /// The usage is recorded, within all limits.
    Ok,
    /// The usage is recorded and a soft limit is exceeded.
    SoftBreach {
        /// Which one.
        dimension: String,
        /// The usage now.
        current_usage: u64,
        /// The limit.
        soft_limit: u64,
    },
    /// The usage is not recorded, since a hard limit would be exceeded.
    HardBreach {
        /// Which one.
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
    /// How much, by dimension.
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

/// Gives back all that one execution spent of a budget.
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

/// Starts the usage of a budget over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ResetBudgetArgs {
    /// The budget.
    pub budget_id: BudgetId,
    /// The time of the call.
    pub now: TimestampMs,
}

/// What came of starting over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResetBudgetResult {
    /// All usage is zero.
    Reset {
        /// When usage starts over next.
        next_reset_at: TimestampMs,
    },
}

/// The limits and the usage of a budget, as stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BudgetUsageAndLimits {
    /// The limits in decimal, under `hard:<dimension>` and `soft:<dimension>`.
    pub limits: BTreeMap<String, String>,
    /// What was used, by dimension.
    pub usage: BTreeMap<String, u64>,
}

impl BudgetUsageAndLimits {
    /// Limits and usage.
    #[must_use]
    pub fn new(limits: BTreeMap<String, String>, usage: BTreeMap<String, u64>) -> Self {
        Self { limits, usage }
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
    /// How many admissions a window allows; zero for any number.
    pub max_requests_per_window: u64,
    /// How many admitted executions may run at once; zero for any number.
    pub max_concurrent: u64,
    /// The time of the call.
    pub now: TimestampMs,
}

/// What came of defining a quota policy.
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
    /// How many admissions a window allows; zero for any number.
    pub max_requests_per_window: u64,
    /// The length of the sliding window, in seconds.
    pub requests_per_window_seconds: u64,
    /// How many admitted executions may run at once; zero for any number.
    pub active_concurrency_cap: u64,
    /// How much a retry is spread out, in milliseconds.
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

    /// Whether the policy limits nothing.
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
    /// How many admissions a window allows; zero for any number.
    pub rate_limit: u64,
    /// How many admitted executions may run at once; zero for any number.
    pub concurrency_cap: u64,
    /// How much a retry is spread out, in milliseconds.
    #[serde(default)]
    pub jitter_ms: Option<u64>,
}

/// What a quota policy answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CheckAdmissionResult {
    /// The execution is admitted.
    Admitted,
    /// The execution was admitted before.
    AlreadyAdmitted,
    /// The window is full.
    RateExceeded {
        /// How long to wait, in milliseconds.
        retry_after_ms: u64,
    },
    /// Too many admitted executions run.
    ConcurrencyExceeded,
}

/// Gives back an admission.
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

/// What came of giving back an admission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ReleaseAdmissionResult {
    /// The admission is given back, or there was none.
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
    /// What it waits for.
    pub reason: BlockingReason,
    /// What exactly.
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

/// Why the scheduler blocks an execution; [`crate::state::BlockingReason`] has every reason there is.
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

/// What came of blocking an execution.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlockExecutionForAdmissionOutcome {
    /// The execution is blocked.
    Blocked {
        /// The execution.
        execution_id: ExecutionId,
        /// What it waits for.
        reason: BlockingReason,
    },
    /// The store refused.
    LuaRejected {
        /// Why.
        message: String,
    },
}

/// Blocks an execution.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BlockExecutionArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// What it waits for.
    pub blocking_reason: String,
    /// What exactly.
    #[serde(default)]
    pub blocking_detail: Option<String>,
    /// The time of the call.
    pub now: TimestampMs,
}

/// What came of blocking an execution.
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
    /// What it must be waiting for, to be unblocked.
    #[serde(default)]
    pub expected_blocking_reason: Option<String>,
}

/// What came of unblocking an execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UnblockExecutionResult {
    /// The execution is no longer blocked.
    Unblocked,
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
