//! What a scanner looks for, and what a pass over it came to.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::ids::Namespace;

/// The executions that a scanner or subscriber handles: those that meet every condition that is
/// set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScannerFilter {
    /// The namespace to match; any when absent.
    pub namespace: Option<Namespace>,
    /// The instance tag to match, as key and value; any when absent.
    pub instance_tag: Option<(String, String)>,
}

impl ScannerFilter {
    /// Lets everything through.
    pub const NOOP: Self = Self { namespace: None, instance_tag: None };

    /// A filter without conditions.
    #[must_use]
    pub const fn new() -> Self {
        Self::NOOP
    }

    /// Restricts the filter to `namespace`.
    #[must_use]
    pub fn with_namespace(mut self, namespace: impl Into<Namespace>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// Restricts the filter to the instance tag `key` = `value`.
    #[must_use]
    pub fn with_instance_tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.instance_tag = Some((key.into(), value.into()));
        self
    }

    /// Returns true if the filter lets everything through.
    #[must_use]
    pub const fn is_noop(&self) -> bool {
        self.namespace.is_none() && self.instance_tag.is_none()
    }

    /// Returns true if the filter lets an execution through: one of `namespace`, with the value
    /// `instance_tag` under the filter's tag key. An absent value meets no condition.
    #[must_use]
    pub fn matches(&self, namespace: Option<&Namespace>, instance_tag: Option<&str>) -> bool {
        self.namespace.as_ref().is_none_or(|wanted| namespace == Some(wanted))
            && self.instance_tag.as_ref().is_none_or(|(_, wanted)| instance_tag == Some(wanted))
    }
}

/// The timers that `EngineBackend::scan` applies. An addition to the common contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scan {
    /// Leases that have lapsed.
    LeaseExpiry,
    /// Attempts that have run too long.
    AttemptTimeout,
    /// Executions past their deadline.
    ExecutionDeadline,
    /// Delayed executions that are due.
    DelayedPromotion,
    /// Completion events of flow members, not yet dispatched to the members that wait for them.
    DependencyDispatch,
    /// Members of a flow that are no longer needed, and are to be cancelled.
    SiblingCancel,
    /// Suspensions past their timeout.
    SuspensionTimeout,
    /// Pending waitpoints past their expiry.
    WaitpointExpiry,
    /// Grants past their expiry: their rows are dropped.
    GrantExpiry,
    /// Workers that are silent for longer than their time to live.
    WorkerTtl,
    /// Budgets that are due to be reset.
    BudgetReset,
    /// Keys of usage reports that have expired.
    UsageKeyExpiry,
    /// Idempotency keys of submissions that have expired.
    IdempotencyKeyExpiry,
    /// Cells of rates that count no more.
    LimitCellExpiry,
    /// Admissions that are over; their slots are given back.
    AdmissionExpiry,
    /// Admissions that have left the window of their quota.
    QuotaWindowExpiry,
    /// Totals of budgets that have drifted from the contributions. Every budget is looked at.
    BudgetReconcile,
    /// Slots in use that have drifted from the admissions. Every quota policy is looked at.
    QuotaReconcile,
    /// Schedules with a tick that is due.
    Schedules,
    /// Rows that statements have added to the counts: each group becomes one row again.
    CountFold,
}

impl Scan {
    /// Every kind of timer.
    pub const ALL: [Self; 20] = [
        Self::LeaseExpiry,
        Self::AttemptTimeout,
        Self::ExecutionDeadline,
        Self::DelayedPromotion,
        Self::DependencyDispatch,
        Self::SiblingCancel,
        Self::SuspensionTimeout,
        Self::WaitpointExpiry,
        Self::GrantExpiry,
        Self::WorkerTtl,
        Self::BudgetReset,
        Self::UsageKeyExpiry,
        Self::IdempotencyKeyExpiry,
        Self::LimitCellExpiry,
        Self::AdmissionExpiry,
        Self::QuotaWindowExpiry,
        Self::BudgetReconcile,
        Self::QuotaReconcile,
        Self::Schedules,
        Self::CountFold,
    ];

    /// Returns true if applying a timer may at once make more of the same kind due: a skipped
    /// member is dispatched to the members that wait for it.
    #[must_use]
    pub const fn feeds_itself(self) -> bool {
        match self {
            Self::DependencyDispatch => true,
            Self::LeaseExpiry
            | Self::AttemptTimeout
            | Self::ExecutionDeadline
            | Self::DelayedPromotion
            | Self::SiblingCancel
            | Self::SuspensionTimeout
            | Self::WaitpointExpiry
            | Self::GrantExpiry
            | Self::WorkerTtl
            | Self::BudgetReset
            | Self::UsageKeyExpiry
            | Self::IdempotencyKeyExpiry
            | Self::LimitCellExpiry
            | Self::AdmissionExpiry
            | Self::QuotaWindowExpiry
            | Self::BudgetReconcile
            | Self::QuotaReconcile
            | Self::Schedules
            | Self::CountFold => false,
        }
    }

    /// The pause between two scans that suits most deployments.
    #[must_use]
    pub const fn usual_pause(self) -> Duration {
        Duration::from_millis(match self {
            Self::WorkerTtl => 1_000,
            Self::LeaseExpiry => 1_500,
            Self::AttemptTimeout | Self::ExecutionDeadline | Self::SuspensionTimeout => 2_000,
            Self::DelayedPromotion => 500,
            Self::DependencyDispatch => 100,
            Self::SiblingCancel => 250,
            Self::WaitpointExpiry | Self::GrantExpiry | Self::AdmissionExpiry => 5_000,
            Self::BudgetReset | Self::Schedules | Self::CountFold => 1_000,
            Self::UsageKeyExpiry
            | Self::IdempotencyKeyExpiry
            | Self::LimitCellExpiry
            | Self::QuotaWindowExpiry => 30_000,
            Self::BudgetReconcile | Self::QuotaReconcile => 300_000,
        })
    }

    /// The name, for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LeaseExpiry => "lease_expiry",
            Self::AttemptTimeout => "attempt_timeout",
            Self::ExecutionDeadline => "execution_deadline",
            Self::DelayedPromotion => "delayed_promotion",
            Self::DependencyDispatch => "dependency_dispatch",
            Self::SiblingCancel => "sibling_cancel",
            Self::SuspensionTimeout => "suspension_timeout",
            Self::WaitpointExpiry => "waitpoint_expiry",
            Self::GrantExpiry => "grant_expiry",
            Self::WorkerTtl => "worker_ttl",
            Self::BudgetReset => "budget_reset",
            Self::UsageKeyExpiry => "usage_key_expiry",
            Self::IdempotencyKeyExpiry => "idempotency_key_expiry",
            Self::LimitCellExpiry => "limit_cell_expiry",
            Self::AdmissionExpiry => "admission_expiry",
            Self::QuotaWindowExpiry => "quota_window_expiry",
            Self::BudgetReconcile => "budget_reconcile",
            Self::QuotaReconcile => "quota_reconcile",
            Self::Schedules => "schedules",
            Self::CountFold => "count_fold",
        }
    }
}

/// The outcome of checking a list of siblings to cancel again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SiblingCancelReconcileAction {
    /// The list was stale and is removed.
    SremmedStale,
    /// All siblings had ended; the list is removed.
    CompletedDrain,
    /// Nothing had to be done.
    NoOp,
}

impl SiblingCancelReconcileAction {
    /// The name, for logs and metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::SremmedStale => "sremmed_stale",
            Self::CompletedDrain => "completed_drain",
            Self::NoOp => "no_op",
        }
    }
}

/// The counts of one pass over many rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReconcileCounts {
    /// The number of rows processed.
    pub processed: u32,
    /// The number of rows that failed.
    pub errors: u32,
}

/// The time limit of an execution that has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpirePhase {
    /// The timeout of the current attempt.
    AttemptTimeout,
    /// The deadline of the whole execution.
    ExecutionDeadline,
}

impl ExpirePhase {
    /// The stored name.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::AttemptTimeout => "attempt_timeout",
            Self::ExecutionDeadline => "execution_deadline",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_wants_all_that_is_set_and_nothing_else() {
        let (ours, theirs) = (Namespace::new("ours"), Namespace::new("theirs"));
        let noop = ScannerFilter::NOOP;
        assert!(noop.is_noop() && noop.matches(None, None));
        assert!(noop.matches(Some(&theirs), Some("x")));

        let namespace = ScannerFilter::new().with_namespace("ours");
        assert!(!namespace.is_noop());
        assert!(namespace.matches(Some(&ours), None));
        assert!(!namespace.matches(Some(&theirs), None));
        assert!(!namespace.matches(None, Some("ours")));

        let tag = ScannerFilter::new().with_instance_tag("cairn.instance_id", "i-1");
        assert!(tag.matches(None, Some("i-1")));
        assert!(!tag.matches(None, Some("i-2")));
        assert!(!tag.matches(Some(&ours), None));

        let both = tag.with_namespace("ours");
        assert!(both.matches(Some(&ours), Some("i-1")));
        assert!(!both.matches(Some(&theirs), Some("i-1")));
        assert!(!both.matches(Some(&ours), Some("i-2")));
    }

    #[test]
    fn names_are_stable() {
        assert_eq!(
            Scan::ALL.map(Scan::as_str),
            [
                "lease_expiry",
                "attempt_timeout",
                "execution_deadline",
                "delayed_promotion",
                "dependency_dispatch",
                "sibling_cancel",
                "suspension_timeout",
                "waitpoint_expiry",
                "grant_expiry",
                "worker_ttl",
                "budget_reset",
                "usage_key_expiry",
                "idempotency_key_expiry",
                "limit_cell_expiry",
                "admission_expiry",
                "quota_window_expiry",
                "budget_reconcile",
                "quota_reconcile",
                "schedules",
                "count_fold",
            ]
        );

        assert_eq!(ExpirePhase::AttemptTimeout.as_str(), "attempt_timeout");
        assert_eq!(ExpirePhase::ExecutionDeadline.as_str(), "execution_deadline");
        assert_eq!(SiblingCancelReconcileAction::SremmedStale.as_str(), "sremmed_stale");
        assert_eq!(SiblingCancelReconcileAction::CompletedDrain.as_str(), "completed_drain");
        assert_eq!(SiblingCancelReconcileAction::NoOp.as_str(), "no_op");
    }
}
