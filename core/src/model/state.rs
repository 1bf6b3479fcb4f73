//! The closed sets of words that rows may hold, and the one function that sums them up.
//!
//! Only the canonical spellings are ever written. Old spellings are accepted on read, as strum
//! aliases of the variant that they mean; anything else is corruption, which the caller reports.

use std::fmt;

use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumMessage, EnumString, IntoEnumIterator, IntoStaticStr};

/// A closed set of words: each variant has one canonical spelling and maybe older ones.
pub trait ClosedSet: Copy + Eq + fmt::Debug + Send + Sync + 'static {
    /// The name of the set, as columns and error messages use it.
    const NAME: &'static str;

    /// The canonical spelling: the only one that is written.
    #[must_use]
    fn as_str(self) -> &'static str;

    /// Every accepted spelling, the canonical one first.
    #[must_use]
    fn spellings(self) -> Vec<&'static str>;

    /// The variant that `text` spells; `None` for a word outside the set.
    #[must_use]
    fn parse(text: &str) -> Option<Self>;

    /// Every variant, in order of declaration.
    #[must_use]
    fn all() -> Vec<Self>;
}

/// Declares a closed set: an enum with variants spelled in snake case, and with the code that
/// reads, writes and lists them.
macro_rules! closed_set {
    (
        $(#[$about:meta])*
        pub enum $set:ident = $name:literal {
            $($(#[$detail:meta])* $variant:ident,)+
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[derive(EnumString, IntoStaticStr, EnumIter, EnumMessage)]
        #[serde(rename_all = "snake_case")]
        #[strum(serialize_all = "snake_case")]
        pub enum $set {
            $($(#[$detail])* $variant,)+
        }

        impl ClosedSet for $set {
            const NAME: &'static str = $name;

            fn as_str(self) -> &'static str {
                self.into()
            }

            fn spellings(self) -> Vec<&'static str> {
                let canonical: &'static str = self.into();
                let accepted = self.get_serializations().iter().copied();
                let older = accepted.filter(|word| *word != canonical);
                std::iter::once(canonical).chain(older).collect()
            }

            fn parse(text: &str) -> Option<Self> {
                text.parse().ok()
            }

            fn all() -> Vec<Self> {
                Self::iter().collect()
            }
        }
    };
}

closed_set! {
    /// The phase of an execution's life.
    pub enum LifecyclePhase = "lifecycle_phase" {
        /// Recorded, not yet resolved to runnable.
        Submitted,
        /// May run now or later; see [`EligibilityState`].
        #[strum(
            to_string = "runnable",
            serialize = "pending",
            serialize = "eligible",
            serialize = "blocked"
        )]
        Runnable,
        /// Held by a worker.
        Active,
        /// Waiting for signals.
        Suspended,
        /// Finished; see [`TerminalOutcome`].
        Terminal,
        /// Finished by an operator's or a flow's cancellation.
        Cancelled,
    }
}

impl LifecyclePhase {
    /// Returns true if only a replay can make the execution runnable again.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Terminal | Self::Cancelled => true,
            Self::Submitted | Self::Runnable | Self::Active | Self::Suspended => false,
        }
    }
}

closed_set! {
    /// The holder of an execution.
    pub enum OwnershipState = "ownership_state" {
        /// No worker.
        #[strum(to_string = "unowned", serialize = "released")]
        Unowned,
        /// A worker, by a lease.
        Leased,
        /// A worker until its lease lapsed; others may reclaim.
        LeaseExpiredReclaimable,
        /// A worker until an operator revoked its lease; others may reclaim.
        LeaseRevoked,
    }
}

closed_set! {
    /// The answer to whether a runnable execution may be claimed; if not, the thing it waits for.
    pub enum EligibilityState = "eligibility_state" {
        /// May be claimed.
        #[strum(to_string = "eligible_now", serialize = "pending_claim")]
        EligibleNow,
        /// Waits until a time.
        NotEligibleUntilTime,
        /// Waits for other executions of its flow.
        BlockedByDependencies,
        /// Waits for a budget.
        BlockedByBudget,
        /// Waits for a quota.
        BlockedByQuota,
        /// Waits for a worker that is able to run it.
        BlockedByRoute,
        /// Waits for its lane to open.
        BlockedByLaneState,
        /// Waits for an operator.
        BlockedByOperator,
        /// The question does not arise: it runs, is suspended or has ended.
        #[strum(to_string = "not_applicable", serialize = "cancelled")]
        NotApplicable,
    }
}

closed_set! {
    /// The reason why an execution does not proceed, for people.
    pub enum BlockingReason = "blocking_reason" {
        /// It is not blocked. An empty column means this as well.
        #[strum(to_string = "none", serialize = "")]
        None,
        /// Any worker may take it.
        WaitingForWorker,
        /// The pause before the next attempt.
        WaitingForRetryBackoff,
        /// The pause after a satisfied suspension.
        WaitingForResumeDelay,
        /// A delay that the submitter or the worker asked for.
        WaitingForDelay,
        /// A signal.
        WaitingForSignal,
        /// An approval.
        WaitingForApproval,
        /// A callback.
        WaitingForCallback,
        /// The result of a tool.
        WaitingForToolResult,
        /// Other executions of its flow.
        WaitingForChildren,
        /// Room in a budget.
        WaitingForBudget,
        /// Room in a quota.
        WaitingForQuota,
        /// A worker with the required capabilities.
        WaitingForCapableWorker,
        /// A worker in the preferred locality.
        WaitingForLocalityMatch,
        /// An operator paused it.
        PausedByOperator,
        /// A policy paused it.
        PausedByPolicy,
        /// The cancellation of its flow paused it.
        PausedByFlowCancel,
    }
}

closed_set! {
    /// The outcome of a finished execution.
    pub enum TerminalOutcome = "terminal_outcome" {
        /// It has not ended.
        None,
        /// It completed.
        Success,
        /// It failed for good.
        Failed,
        /// It was cancelled.
        Cancelled,
        /// It ran out of time.
        Expired,
        /// A dependency made it pointless.
        Skipped,
    }
}

closed_set! {
    /// The state of an execution's current attempt.
    pub enum AttemptState = "attempt_state" {
        /// There is no attempt.
        None,
        /// The first attempt is still to come.
        #[strum(
            to_string = "pending_first_attempt",
            serialize = "pending",
            serialize = "initial",
            serialize = "pending_claim"
        )]
        PendingFirstAttempt,
        /// An attempt is running.
        #[strum(to_string = "running_attempt", serialize = "running")]
        RunningAttempt,
        /// An attempt is interrupted and may continue.
        AttemptInterrupted,
        /// A retry is still to come.
        PendingRetryAttempt,
        /// A replay is still to come.
        PendingReplayAttempt,
        /// The last attempt has ended.
        #[strum(
            to_string = "attempt_terminal",
            serialize = "terminated",
            serialize = "cancelled",
            serialize = "terminal_failed"
        )]
        AttemptTerminal,
    }
}

closed_set! {
    /// The state that users see. Always derived from the others by [`derive_public_state`].
    #[derive(Display)]
    #[non_exhaustive]
    pub enum PublicState = "public_state" {
        /// Waits to be claimed.
        #[strum(to_string = "waiting", serialize = "pending")]
        Waiting,
        /// Waits until a time.
        Delayed,
        /// Waits for a budget or a quota.
        RateLimited,
        /// Waits for other executions of its flow.
        WaitingChildren,
        /// Runs.
        #[strum(to_string = "active", serialize = "running")]
        Active,
        /// Waits for signals.
        Suspended,
        /// Its resume condition holds; it waits to be claimed again.
        Resumable,
        /// Ended well.
        #[strum(to_string = "completed", serialize = "success")]
        Completed,
        /// Ended badly.
        Failed,
        /// Was cancelled.
        Cancelled,
        /// Ran out of time.
        Expired,
        /// Was skipped.
        Skipped,
    }
}

impl PublicState {
    /// The canonical spelling.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

closed_set! {
    /// The phase of one attempt's life.
    pub enum AttemptLifecycle = "attempt_lifecycle" {
        /// Recorded, not yet started.
        Created,
        /// Running.
        Started,
        /// Suspended with its execution.
        Suspended,
        /// Ended well.
        EndedSuccess,
        /// Ended badly.
        EndedFailure,
        /// Was cancelled.
        EndedCancelled,
        /// Lost its worker; another attempt follows.
        InterruptedReclaimed,
    }
}

impl AttemptLifecycle {
    /// Returns true if the attempt can never run again.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::EndedSuccess
            | Self::EndedFailure
            | Self::EndedCancelled
            | Self::InterruptedReclaimed => true,
            Self::Created | Self::Started | Self::Suspended => false,
        }
    }
}

closed_set! {
    /// The reason for an attempt.
    pub enum AttemptType = "attempt_type" {
        /// The first one.
        Initial,
        /// The one before failed.
        Retry,
        /// The one before lost its worker.
        Reclaim,
        /// An operator asked for the execution to run again.
        Replay,
        /// The next tier of a fallback policy.
        Fallback,
    }
}

closed_set! {
    /// The outcome of one attempt, or the reason why it stopped.
    pub enum AttemptOutcome = "attempt_outcome" {
        /// It completed.
        Success,
        /// It failed, and the execution with it.
        #[strum(to_string = "failed", serialize = "failure")]
        Failed,
        /// It failed; another attempt follows.
        Retry,
        /// It was interrupted.
        Interrupted,
        /// It was cancelled.
        Cancelled,
        /// It ran out of time.
        Expired,
        /// It was never run: a dependency made it pointless.
        Skipped,
        /// It lost its worker; another attempt follows.
        InterruptedReclaimed,
        /// Its lease lapsed; it may be reclaimed.
        LeaseExpiredReclaimable,
        /// It is suspended and continues later.
        AttemptInterrupted,
        /// It waits for other executions of its flow.
        WaitingChildren,
    }
}

impl AttemptOutcome {
    /// The outcome of an execution after its last attempt ended this way; `None` where the attempt
    /// did not end the execution.
    #[must_use]
    pub const fn terminal_outcome(self) -> TerminalOutcome {
        match self {
            Self::Success => TerminalOutcome::Success,
            Self::Failed => TerminalOutcome::Failed,
            Self::Cancelled => TerminalOutcome::Cancelled,
            Self::Expired => TerminalOutcome::Expired,
            Self::Skipped => TerminalOutcome::Skipped,
            Self::Retry
            | Self::Interrupted
            | Self::InterruptedReclaimed
            | Self::LeaseExpiredReclaimable
            | Self::AttemptInterrupted
            | Self::WaitingChildren => TerminalOutcome::None,
        }
    }
}

closed_set! {
    /// The submissions and claims that a lane takes.
    pub enum LaneState = "lane_state" {
        /// Takes submissions and claims.
        Active,
        /// Takes submissions; claims find nothing.
        Paused,
        /// Takes no submission; claims go on.
        Draining,
        /// Takes neither submissions nor claims.
        Disabled,
    }
}

closed_set! {
    /// The course of a schedule at a tick while the execution of the tick before has not ended.
    pub enum Overlap = "overlap" {
        /// The tick is skipped.
        Skip,
        /// The tick waits until that execution has ended.
        Queue,
        /// That execution is cancelled first.
        CancelRunning,
    }
}

closed_set! {
    /// The ticks that a schedule makes up for, of those that it missed.
    pub enum CatchUpPolicy = "catch_up" {
        /// None.
        SkipMissed,
        /// The last one, unless a tick is due by now.
        Latest,
        /// The last ones, up to a number.
        All,
    }
}

closed_set! {
    /// The ticks at local times that do not exist, because the clock goes forward over them.
    pub enum SkippedHours = "skipped_hours" {
        /// There are none.
        Skip,
        /// One tick stands for them, at the moment when the clock goes forward.
        Shift,
    }
}

closed_set! {
    /// The ticks at local times that exist twice, because the clock goes back over them.
    pub enum DoubledHours = "doubled_hours" {
        /// At the first of the two moments.
        First,
        /// At the second of the two moments.
        Second,
        /// At both moments.
        Both,
    }
}

closed_set! {
    /// The effect of a signal.
    pub enum SignalEffect = "signal_effect" {
        /// The condition holds with it: the execution can resume.
        Satisfied,
        /// It is kept: the condition does not hold yet.
        Buffered,
        /// It had been delivered before.
        Deduped,
    }
}

closed_set! {
    /// The state of a waitpoint.
    pub enum WaitpointState = "waitpoint_state" {
        /// Created ahead of the suspension that will use it.
        Pending,
        /// A suspension waits at it.
        Active,
        /// It takes no more signals.
        Closed,
    }
}

closed_set! {
    /// A change of a lease.
    pub enum LeaseEventType = "lease_event_type" {
        /// A worker took it.
        Acquired,
        /// Its holder extended it.
        Renewed,
        /// It lapsed.
        Expired,
        /// Another worker reclaimed the execution.
        Reclaimed,
        /// It ended before its time, by its holder or by others.
        Revoked,
    }
}

closed_set! {
    /// The cause of a lease's end.
    pub enum LeaseCause = "lease_cause" {
        /// Its holder completed the execution.
        Completed,
        /// Its holder reported a failure, whether or not another attempt follows.
        Failed,
        /// Its holder suspended the execution.
        Suspended,
        /// Its holder delayed the execution.
        Delayed,
        /// Its holder released the execution until others of its flow have ended.
        WaitingChildren,
        /// The end of a dependency made the execution pointless.
        Skipped,
        /// The execution was cancelled, by its holder or from outside.
        Cancelled,
        /// An operator revoked the lease.
        Operator,
        /// It lapsed: its holder did not renew it in time.
        Expired,
        /// It lapsed: its holder was declared dead, or was silent for too long.
        WorkerLost,
        /// The attempt ran longer than its execution allows.
        TimedOut,
        /// The execution missed its deadline.
        Deadline,
    }
}

closed_set! {
    /// The class of a failure: the answer to whether another attempt may help.
    #[non_exhaustive]
    pub enum FailureClass = "failure_class" {
        /// It may help: the cause was transient.
        Transient,
        /// It will not help.
        Permanent,
        /// It may help: the worker broke, not the work.
        InfraCrash,
        /// It will not help by default: the attempt ran out of time.
        Timeout,
        /// It will not help: the work is no longer wanted.
        Cancelled,
    }
}

closed_set! {
    /// A change of an execution's instance tag.
    pub enum InstanceTagEventType = "instance_tag_event_type" {
        /// It was set.
        Attached,
        /// It was cleared.
        Cleared,
    }
}

closed_set! {
    /// The kind of a completion event.
    pub enum CompletionKind = "completion_kind" {
        /// The execution completed.
        Success,
        /// The execution failed.
        #[strum(to_string = "failed", serialize = "failure")]
        Failed,
        /// The execution was cancelled.
        Cancelled,
        /// The execution ran out of time.
        Expired,
        /// The execution was skipped.
        Skipped,
        /// The execution's resume condition holds: it can be claimed again.
        Resumable,
    }
}

closed_set! {
    /// The state of a flow.
    #[non_exhaustive]
    pub enum PublicFlowState = "public_flow_state" {
        /// It has not ended.
        #[strum(to_string = "open", serialize = "active")]
        Open,
        /// It has not ended; a worker holds one of its executions.
        Running,
        /// It has not ended; every unfinished execution of it is waiting.
        Blocked,
        /// Every execution of it ended well or was skipped.
        Completed,
        /// Every execution of it ended, not every one well.
        #[strum(to_string = "failed", serialize = "terminal")]
        Failed,
        /// It was cancelled.
        Cancelled,
    }
}

impl PublicFlowState {
    /// The states of a flow that is over.
    pub const OVER: [Self; 3] = [Self::Completed, Self::Failed, Self::Cancelled];

    /// Returns true if the flow is over.
    #[must_use]
    pub fn is_over(self) -> bool {
        Self::OVER.contains(&self)
    }
}

closed_set! {
    /// The type of an operator event.
    pub enum OperatorEventType = "operator_event_type" {
        /// Changed the priority of an execution.
        PriorityChanged,
        /// Replayed a finished execution.
        Replayed,
        /// Asked for a flow to be cancelled.
        FlowCancelRequested,
        /// Cancelled an execution.
        Cancelled,
        /// Took a lease away.
        LeaseRevoked,
        /// No operator did anything: a flow ended with its members.
        FlowEnded,
    }
}

/// The state of one execution in every dimension.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateVector {
    /// The phase of its life.
    pub lifecycle_phase: LifecyclePhase,
    /// The holder.
    pub ownership_state: OwnershipState,
    /// The answer to whether it may be claimed.
    pub eligibility_state: EligibilityState,
    /// The reason why it does not proceed.
    pub blocking_reason: BlockingReason,
    /// The outcome.
    pub terminal_outcome: TerminalOutcome,
    /// The state of its current attempt.
    pub attempt_state: AttemptState,
    /// The public state, derived from the others.
    pub public_state: PublicState,
}

impl StateVector {
    /// The public state that follows from the other dimensions. A stored `Resumable` is itself the
    /// marker that the execution continues after a suspension.
    #[must_use]
    pub fn derive_public_state(&self) -> PublicState {
        let resumable = self.public_state == PublicState::Resumable;
        derive_public_state(
            self.lifecycle_phase,
            self.eligibility_state,
            self.terminal_outcome,
            resumable,
        )
    }

    /// Returns true if the stored public state is the derived one.
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        self.public_state == self.derive_public_state()
    }
}

/// The state that users see. `resumable` is the marker set when a suspension is satisfied and
/// cleared by the next claim; it matters only while the execution may be claimed.
#[must_use]
pub const fn derive_public_state(
    phase: LifecyclePhase,
    eligibility: EligibilityState,
    outcome: TerminalOutcome,
    resumable: bool,
) -> PublicState {
    match phase {
        LifecyclePhase::Submitted => PublicState::Waiting,
        LifecyclePhase::Runnable => match eligibility {
            EligibilityState::EligibleNow if resumable => PublicState::Resumable,
            EligibilityState::EligibleNow
            | EligibilityState::BlockedByRoute
            | EligibilityState::BlockedByLaneState
            | EligibilityState::BlockedByOperator
            | EligibilityState::NotApplicable => PublicState::Waiting,
            EligibilityState::NotEligibleUntilTime => PublicState::Delayed,
            EligibilityState::BlockedByDependencies => PublicState::WaitingChildren,
            EligibilityState::BlockedByBudget | EligibilityState::BlockedByQuota => {
                PublicState::RateLimited
            }
        },
        LifecyclePhase::Active => PublicState::Active,
        LifecyclePhase::Suspended => PublicState::Suspended,
        LifecyclePhase::Terminal => match outcome {
            TerminalOutcome::Success => PublicState::Completed,
            TerminalOutcome::None | TerminalOutcome::Failed => PublicState::Failed,
            TerminalOutcome::Cancelled => PublicState::Cancelled,
            TerminalOutcome::Expired => PublicState::Expired,
            TerminalOutcome::Skipped => PublicState::Skipped,
        },
        LifecyclePhase::Cancelled => PublicState::Cancelled,
    }
}

closed_set! {
    /// An outbox: the kind of events that it holds.
    pub enum OutboxKind = "outbox_kind" {
        /// Executions that ended or may resume.
        Completion,
        /// Leases that changed.
        Lease,
        /// Signals that were accepted.
        Signal,
        /// Interventions of operators.
        Operator,
        /// Instance tags that were attached or cleared.
        Tag,
    }
}

closed_set! {
    /// The operation that a claim grant permits.
    pub enum GrantKind = "grant_kind" {
        /// Claiming an execution that no worker holds.
        Claim,
        /// Reclaiming an execution after its worker was lost.
        Reclaim,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::de::DeserializeOwned;

    use super::*;

    fn check_set<S: ClosedSet + Serialize + DeserializeOwned>() -> String {
        let mut owners = BTreeMap::new();
        let mut aliases = Vec::new();

        for variant in S::all() {
            let spellings = variant.spellings();
            assert_eq!(spellings.first(), Some(&variant.as_str()));
            for spelling in &spellings {
                assert_eq!(S::parse(spelling), Some(variant), "{}: {spelling}", S::NAME);
                let other = owners.insert(*spelling, variant);
                assert_eq!(other, None, "{}: {spelling} belongs to two variants", S::NAME);
            }

            let json = serde_json::to_value(variant).unwrap();
            assert_eq!(json, variant.as_str(), "{}: the JSON form is canonical", S::NAME);
            assert_eq!(serde_json::from_value::<S>(json).unwrap(), variant);
            aliases.extend(
                spellings[1..].iter().map(|alias| format!("{alias:?}={}", variant.as_str())),
            );
        }

        assert_eq!(S::parse("no such word"), None);
        format!("{} {}: {}", S::NAME, S::all().len(), aliases.join(" "))
    }

    #[test]
    fn every_spelling_means_one_variant() {
        let report = [
            check_set::<LifecyclePhase>(),
            check_set::<OwnershipState>(),
            check_set::<EligibilityState>(),
            check_set::<BlockingReason>(),
            check_set::<TerminalOutcome>(),
            check_set::<AttemptState>(),
            check_set::<PublicState>(),
            check_set::<AttemptLifecycle>(),
            check_set::<AttemptType>(),
            check_set::<AttemptOutcome>(),
            check_set::<LaneState>(),
            check_set::<LeaseEventType>(),
            check_set::<LeaseCause>(),
            check_set::<FailureClass>(),
            check_set::<InstanceTagEventType>(),
            check_set::<CompletionKind>(),
            check_set::<PublicFlowState>(),
            check_set::<OperatorEventType>(),
        ];

        assert_eq!(
            report,
            [
                r#"lifecycle_phase 6: "pending"=runnable "eligible"=runnable "blocked"=runnable"#,
                r#"ownership_state 4: "released"=unowned"#,
                r#"eligibility_state 9: "pending_claim"=eligible_now "cancelled"=not_applicable"#,
                r#"blocking_reason 17: ""=none"#,
                "terminal_outcome 6: ",
                concat!(
                    r#"attempt_state 7: "pending"=pending_first_attempt "#,
                    r#""initial"=pending_first_attempt "pending_claim"=pending_first_attempt "#,
                    r#""running"=running_attempt "terminated"=attempt_terminal "#,
                    r#""cancelled"=attempt_terminal "terminal_failed"=attempt_terminal"#,
                ),
                r#"public_state 12: "pending"=waiting "running"=active "success"=completed"#,
                "attempt_lifecycle 7: ",
                "attempt_type 5: ",
                r#"attempt_outcome 11: "failure"=failed"#,
                "lane_state 4: ",
                "lease_event_type 5: ",
                "lease_cause 12: ",
                "failure_class 5: ",
                "instance_tag_event_type 2: ",
                r#"completion_kind 6: "failure"=failed"#,
                r#"public_flow_state 6: "active"=open "terminal"=failed"#,
                "operator_event_type 6: ",
            ]
        );
    }

    #[test]
    fn canonical_words_are_pinned() {
        assert_eq!(LifecyclePhase::Cancelled.as_str(), "cancelled");
        assert_eq!(ClosedSet::as_str(PublicState::Active), "active");
        assert_eq!(PublicState::RateLimited.to_string(), "rate_limited");
        assert_eq!(PublicState::Completed.as_str(), "completed");
        assert_eq!(AttemptState::RunningAttempt.as_str(), "running_attempt");
        assert_eq!(OperatorEventType::FlowCancelRequested.as_str(), "flow_cancel_requested");
    }

    #[test]
    fn terminal_means_ended() {
        let ended: Vec<_> = LifecyclePhase::iter().filter(|phase| phase.is_terminal()).collect();
        assert_eq!(ended, [LifecyclePhase::Terminal, LifecyclePhase::Cancelled]);

        let running: Vec<_> =
            AttemptLifecycle::iter().filter(|state| !state.is_terminal()).collect();
        assert_eq!(
            running,
            [AttemptLifecycle::Created, AttemptLifecycle::Started, AttemptLifecycle::Suspended]
        );

        for outcome in AttemptOutcome::iter() {
            let execution = outcome.terminal_outcome();
            assert!(execution == TerminalOutcome::None || execution.as_str() == outcome.as_str());
        }
    }

    /// The rules in words, `*` for any; the first line that fits decides.
    const TABLE: &[(&str, &str, &str, &str, &str)] = &[
        ("cancelled", "*", "*", "*", "cancelled"),
        ("terminal", "*", "success", "*", "completed"),
        ("terminal", "*", "failed", "*", "failed"),
        ("terminal", "*", "cancelled", "*", "cancelled"),
        ("terminal", "*", "expired", "*", "expired"),
        ("terminal", "*", "skipped", "*", "skipped"),
        ("terminal", "*", "none", "*", "failed"),
        ("suspended", "*", "*", "*", "suspended"),
        ("active", "*", "*", "*", "active"),
        ("runnable", "eligible_now", "*", "true", "resumable"),
        ("runnable", "eligible_now", "*", "false", "waiting"),
        ("runnable", "blocked_by_route", "*", "*", "waiting"),
        ("runnable", "blocked_by_lane_state", "*", "*", "waiting"),
        ("runnable", "blocked_by_operator", "*", "*", "waiting"),
        ("runnable", "not_applicable", "*", "*", "waiting"),
        ("runnable", "not_eligible_until_time", "*", "*", "delayed"),
        ("runnable", "blocked_by_dependencies", "*", "*", "waiting_children"),
        ("runnable", "blocked_by_budget", "*", "*", "rate_limited"),
        ("runnable", "blocked_by_quota", "*", "*", "rate_limited"),
        ("submitted", "*", "*", "*", "waiting"),
    ];

    #[test]
    fn the_public_state_follows_the_table_for_every_combination() {
        let fits = |pattern: &str, word: &str| pattern == "*" || pattern == word;

        for phase in LifecyclePhase::iter() {
            for eligibility in EligibilityState::iter() {
                for outcome in TerminalOutcome::iter() {
                    for resumable in [false, true] {
                        let derived = derive_public_state(phase, eligibility, outcome, resumable);
                        let lines: Vec<_> = TABLE
                            .iter()
                            .filter(|line| fits(line.0, phase.as_str()))
                            .filter(|line| fits(line.1, eligibility.as_str()))
                            .filter(|line| fits(line.2, outcome.as_str()))
                            .filter(|line| fits(line.3, &resumable.to_string()))
                            .collect();
                        assert_eq!(lines.len(), 1, "{phase:?} {eligibility:?} {outcome:?}");
                        assert_eq!(
                            derived.as_str(),
                            lines[0].4,
                            "{phase:?} {eligibility:?} {outcome:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_vector_is_consistent_when_its_public_state_is_the_derived_one() {
        let mut vector = StateVector {
            lifecycle_phase: LifecyclePhase::Runnable,
            ownership_state: OwnershipState::Unowned,
            eligibility_state: EligibilityState::EligibleNow,
            blocking_reason: BlockingReason::None,
            terminal_outcome: TerminalOutcome::None,
            attempt_state: AttemptState::AttemptInterrupted,
            public_state: PublicState::Resumable,
        };

        assert!(vector.is_consistent());

        vector.public_state = PublicState::Active;
        assert!(!vector.is_consistent());
        assert_eq!(vector.derive_public_state(), PublicState::Waiting);

        vector.lifecycle_phase = LifecyclePhase::Active;
        assert!(vector.is_consistent());

        assert_eq!(
            serde_json::to_string(&vector).unwrap(),
            concat!(
                r#"{"lifecycle_phase":"active","ownership_state":"unowned","#,
                r#""eligibility_state":"eligible_now","blocking_reason":"none","#,
                r#""terminal_outcome":"none","attempt_state":"attempt_interrupted","#,
                r#""public_state":"active"}"#,
            )
        );
    }
}
