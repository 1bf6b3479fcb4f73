//! The kinds of operations in a history, and how often each comes.

use ff_core::engine_backend::Scan;

/// What can be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Create,
    Claim,
    ClaimMany,
    Renew,
    Progress,
    Append,
    Step,
    Suspend,
    Signal,
    Resume,
    Grant,
    Schedule,
    Redeem,
    GrantReclaim,
    Reclaim,
    Block,
    Unblock,
    Complete,
    Fail,
    Delay,
    Cancel,
    TypedComplete,
    TypedFail,
    TypedRenew,
    CompleteUnfenced,
    FailUnfenced,
    CancelExecution,
    SetTag,
    ScanLeaseExpiry,
    ScanAttemptTimeout,
    ScanExecutionDeadline,
    ScanDelayedPromotion,
    ScanSuspensionTimeout,
    ScanWaitpointExpiry,
    ScanGrantExpiry,
    ChangePriority,
    Revoke,
    Replay,
    TakeOver,
    ClaimResumed,
    Trim,
    Archive,
    Reconcile,
    SetLane,
    Register,
    Heartbeat,
    MarkDead,
    ScanWorkerTtl,
    CreateBudget,
    Report,
    ReportByOperator,
    Spend,
    ReleaseBudget,
    ResetBudget,
    CreateQuota,
    CheckAdmission,
    ReleaseAdmission,
    SetLimit,
    SetWeight,
    ScanMoney,
    Cron,
    ScanSchedules,
    ExpireLease,
    Promote,
    ExpireAttempt,
    ExpireExecution,
    Advance,
}

/// Every kind and its weight. Some are drawn only while there is something for them.
pub(super) const KINDS: [(Kind, usize); 67] = [
    (Kind::Create, 12),
    (Kind::Claim, 18),
    (Kind::ClaimMany, 8),
    (Kind::Renew, 4),
    (Kind::Progress, 4),
    (Kind::Append, 9),
    (Kind::Step, 4),
    (Kind::Suspend, 26),
    (Kind::Signal, 40),
    (Kind::Resume, 14),
    (Kind::Grant, 9),
    (Kind::Schedule, 5),
    (Kind::Redeem, 20),
    (Kind::GrantReclaim, 40),
    (Kind::Reclaim, 40),
    (Kind::Block, 2),
    (Kind::Unblock, 3),
    (Kind::Complete, 3),
    (Kind::Fail, 6),
    (Kind::Delay, 4),
    (Kind::Cancel, 3),
    (Kind::TypedComplete, 3),
    (Kind::TypedFail, 5),
    (Kind::TypedRenew, 4),
    (Kind::CompleteUnfenced, 3),
    (Kind::FailUnfenced, 4),
    (Kind::CancelExecution, 1),
    (Kind::SetTag, 3),
    (Kind::ScanLeaseExpiry, 3),
    (Kind::ScanAttemptTimeout, 3),
    (Kind::ScanExecutionDeadline, 2),
    (Kind::ScanDelayedPromotion, 4),
    (Kind::ScanSuspensionTimeout, 3),
    (Kind::ScanWaitpointExpiry, 3),
    (Kind::ScanGrantExpiry, 2),
    (Kind::ChangePriority, 2),
    (Kind::Revoke, 3),
    (Kind::Replay, 4),
    (Kind::TakeOver, 2),
    (Kind::ClaimResumed, 50),
    (Kind::Trim, 2),
    (Kind::Archive, 2),
    (Kind::Reconcile, 1),
    (Kind::SetLane, 4),
    (Kind::Register, 6),
    (Kind::Heartbeat, 4),
    (Kind::MarkDead, 3),
    (Kind::ScanWorkerTtl, 4),
    (Kind::CreateBudget, 6),
    (Kind::Report, 5),
    (Kind::ReportByOperator, 5),
    (Kind::Spend, 5),
    (Kind::ReleaseBudget, 3),
    (Kind::ResetBudget, 5),
    (Kind::CreateQuota, 2),
    (Kind::CheckAdmission, 6),
    (Kind::ReleaseAdmission, 3),
    (Kind::SetLimit, 6),
    (Kind::SetWeight, 2),
    (Kind::ScanMoney, 4),
    (Kind::Cron, 6),
    (Kind::ScanSchedules, 6),
    (Kind::ExpireLease, 3),
    (Kind::Promote, 3),
    (Kind::ExpireAttempt, 2),
    (Kind::ExpireExecution, 2),
    (Kind::Advance, 10),
];

/// What scanners do about budgets, quotas and keys.
pub(super) const MONEY_SCANS: [Scan; 8] = [
    Scan::BudgetReset,
    Scan::UsageKeyExpiry,
    Scan::IdempotencyKeyExpiry,
    Scan::LimitCellExpiry,
    Scan::AdmissionExpiry,
    Scan::QuotaWindowExpiry,
    Scan::BudgetReconcile,
    Scan::QuotaReconcile,
];

/// What a history may be about, besides submissions, claims and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Theme {
    Suspensions,
    Grants,
    Operators,
    Fleet,
    Money,
    Schedules,
}

impl Theme {
    pub(super) const ALL: [Self; 6] = [
        Self::Suspensions,
        Self::Grants,
        Self::Operators,
        Self::Fleet,
        Self::Money,
        Self::Schedules,
    ];
}

impl Kind {
    /// The theme that it belongs to; `None` if it comes in every history.
    pub(super) const fn theme(self) -> Option<Theme> {
        Some(match self {
            Self::Suspend
            | Self::Signal
            | Self::Resume
            | Self::ClaimResumed
            | Self::ScanSuspensionTimeout
            | Self::ScanWaitpointExpiry => Theme::Suspensions,
            Self::Grant
            | Self::Schedule
            | Self::Redeem
            | Self::GrantReclaim
            | Self::Reclaim
            | Self::Block
            | Self::Unblock
            | Self::ScanGrantExpiry => Theme::Grants,
            Self::ChangePriority
            | Self::Revoke
            | Self::Replay
            | Self::TakeOver
            | Self::Trim
            | Self::Archive
            | Self::Reconcile
            | Self::CompleteUnfenced
            | Self::FailUnfenced => Theme::Operators,
            Self::SetLane
            | Self::Register
            | Self::Heartbeat
            | Self::MarkDead
            | Self::ScanWorkerTtl => Theme::Fleet,
            Self::CreateBudget
            | Self::Report
            | Self::ReportByOperator
            | Self::Spend
            | Self::ReleaseBudget
            | Self::ResetBudget
            | Self::CreateQuota
            | Self::CheckAdmission
            | Self::ReleaseAdmission
            | Self::SetLimit
            | Self::SetWeight
            | Self::ScanMoney => Theme::Money,
            Self::Cron | Self::ScanSchedules => Theme::Schedules,
            _ => return None,
        })
    }
}
