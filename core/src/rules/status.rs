//! Writing a state: all of its columns together, with the public state derived from them.

use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::model::state::{
    AttemptOutcome, AttemptState, BlockingReason, EligibilityState, LifecyclePhase, OwnershipState,
    PublicState, StateVector, TerminalOutcome, derive_public_state,
};
use crate::plan::facts::Row;
use crate::plan::{Assign, Expr};
use crate::rules::key::CORE;
use crate::schema::ColumnRef;
use crate::schema::execution::{attempt, exec_core};

/// A complete state to write. Rules build one of the named states below; nothing sets single
/// columns, so the dimensions cannot drift apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The phase of the execution's life.
    pub phase: LifecyclePhase,
    /// The ownership: held by a worker, or not.
    pub ownership: OwnershipState,
    /// The eligibility: claimable now, later, or not.
    pub eligibility: EligibilityState,
    /// The reason that it waits, if it waits.
    pub blocking: Option<BlockingReason>,
    /// The outcome; [`TerminalOutcome::None`] before the end.
    pub outcome: TerminalOutcome,
    /// The state of its current attempt; `None` leaves it: a pending retry is still one after its
    /// wait is over.
    pub attempt: Option<AttemptState>,
    /// True if the wait of a suspension has just ended: shown to users until the next claim.
    pub resumable: bool,
    /// The time from which it may be claimed, while it waits for that time.
    pub due: Option<TimestampMs>,
}

impl Status {
    /// Claimable now.
    #[must_use]
    pub fn waiting(attempt: impl Into<Option<AttemptState>>) -> Self {
        Self {
            phase: LifecyclePhase::Runnable,
            ownership: OwnershipState::Unowned,
            eligibility: EligibilityState::EligibleNow,
            blocking: Some(BlockingReason::WaitingForWorker),
            outcome: TerminalOutcome::None,
            attempt: attempt.into(),
            resumable: false,
            due: None,
        }
    }

    /// Claimable now, and shown as resumable: the wait of its suspension is over.
    #[must_use]
    pub fn resumable() -> Self {
        Self { resumable: true, ..Self::waiting(AttemptState::AttemptInterrupted) }
    }

    /// Waits for signals.
    #[must_use]
    pub fn suspended(reason: BlockingReason) -> Self {
        Self {
            phase: LifecyclePhase::Suspended,
            eligibility: EligibilityState::NotApplicable,
            blocking: Some(reason),
            ..Self::waiting(AttemptState::AttemptInterrupted)
        }
    }

    /// Claimable at that time.
    #[must_use]
    pub fn delayed(
        reason: BlockingReason,
        attempt: impl Into<Option<AttemptState>>,
        until: TimestampMs,
    ) -> Self {
        Self {
            eligibility: EligibilityState::NotEligibleUntilTime,
            blocking: Some(reason),
            due: Some(until),
            ..Self::waiting(attempt)
        }
    }

    /// Not claimable before other executions of its flow have ended.
    #[must_use]
    pub fn waiting_for_dependencies(attempt: impl Into<Option<AttemptState>>) -> Self {
        Self {
            eligibility: EligibilityState::BlockedByDependencies,
            blocking: Some(BlockingReason::WaitingForChildren),
            ..Self::waiting(attempt)
        }
    }

    /// Not claimable before its flow is complete.
    #[must_use]
    pub fn held_back(attempt: impl Into<Option<AttemptState>>) -> Self {
        Self {
            eligibility: EligibilityState::BlockedByOperator,
            blocking: Some(BlockingReason::PausedByPolicy),
            ..Self::waiting(attempt)
        }
    }

    /// Not claimable before it is unblocked.
    #[must_use]
    pub fn blocked(eligibility: EligibilityState, reason: BlockingReason) -> Self {
        Self { eligibility, blocking: Some(reason), ..Self::waiting(None) }
    }

    /// Claimable now, or at the row's own time where that lies ahead.
    #[must_use]
    pub fn released(
        eligible_at_ms: Option<i64>,
        at: TimestampMs,
        attempt: impl Into<Option<AttemptState>>,
    ) -> Self {
        match eligible_at_ms {
            Some(time) if at.0 < time => {
                Self::delayed(BlockingReason::WaitingForDelay, attempt, TimestampMs(time))
            }
            Some(_) | None => Self::waiting(attempt),
        }
    }

    /// Held by a worker.
    #[must_use]
    pub fn active() -> Self {
        Self {
            phase: LifecyclePhase::Active,
            ownership: OwnershipState::Leased,
            eligibility: EligibilityState::NotApplicable,
            blocking: None,
            outcome: TerminalOutcome::None,
            attempt: Some(AttemptState::RunningAttempt),
            resumable: false,
            due: None,
        }
    }

    /// Over, with this outcome.
    #[must_use]
    pub fn terminal(outcome: TerminalOutcome) -> Self {
        Self {
            phase: LifecyclePhase::Terminal,
            ownership: OwnershipState::Unowned,
            eligibility: EligibilityState::NotApplicable,
            blocking: None,
            outcome,
            attempt: Some(AttemptState::AttemptTerminal),
            resumable: false,
            due: None,
        }
    }

    /// Cancelled from outside. A worker that cancels its own execution ends it as
    /// [`Status::terminal`] instead; both read as cancelled.
    #[must_use]
    pub fn cancelled() -> Self {
        let phase = LifecyclePhase::Cancelled;
        Self { phase, ..Self::terminal(TerminalOutcome::Cancelled) }
    }

    /// The public state that callers see.
    #[must_use]
    pub fn public(&self) -> PublicState {
        derive_public_state(self.phase, self.eligibility, self.outcome, self.resumable)
    }

    /// The time from which a row that enters this status at `at` is claimable. `None` where it is
    /// not: the row then keeps the last such time.
    fn claimable_since(&self, at: TimestampMs) -> Option<TimestampMs> {
        match self.eligibility {
            EligibilityState::EligibleNow => Some(at),
            EligibilityState::NotEligibleUntilTime => self.due,
            EligibilityState::NotApplicable
            | EligibilityState::BlockedByDependencies
            | EligibilityState::BlockedByBudget
            | EligibilityState::BlockedByQuota
            | EligibilityState::BlockedByRoute
            | EligibilityState::BlockedByLaneState
            | EligibilityState::BlockedByOperator => None,
        }
    }

    /// The columns of the execution row in this status: its states, since when it is or will be
    /// claimable, and that it changed at `at`.
    #[must_use]
    pub fn assignments(&self, at: TimestampMs) -> Vec<(ColumnRef, Assign)> {
        let mut set = vec![
            exec_core::lifecycle_phase.set(self.phase),
            exec_core::ownership_state.set(self.ownership),
            exec_core::eligibility_state.set(self.eligibility),
            exec_core::public_state.set(self.public()),
        ];
        set.extend(self.attempt.map(|attempt| exec_core::attempt_state.set(attempt)));
        set.push(exec_core::blocking_reason.set(self.blocking));

        let since = self.claimable_since(at);
        set.extend(since.map(|since| exec_core::claimable_since_ms.set(since.0)));
        set.extend(self.due.map(|due| exec_core::eligible_at_ms.set(Some(due.0))));
        set.extend(changed(at));

        set
    }

    /// The same columns of a new execution row.
    #[must_use]
    pub fn row(&self, at: TimestampMs) -> Vec<(ColumnRef, Expr)> {
        let since = self.claimable_since(at).unwrap_or(TimestampMs(0));
        vec![
            exec_core::lifecycle_phase.with(self.phase),
            exec_core::ownership_state.with(self.ownership),
            exec_core::eligibility_state.with(self.eligibility),
            exec_core::public_state.with(self.public()),
            exec_core::attempt_state.with(self.attempt.unwrap_or(AttemptState::None)),
            exec_core::blocking_reason.with(self.blocking),
            exec_core::claimable_since_ms.with(since.0),
            exec_core::last_changed_at_ms.with(at.0),
        ]
    }
}

/// The columns that every change of an execution row writes, whatever else it changes: the version
/// that decisions are pinned to, and the time of the change.
#[must_use]
pub fn changed(at: TimestampMs) -> [(ColumnRef, Assign); 2] {
    [exec_core::version.grow(1), exec_core::last_changed_at_ms.set(at.0)]
}

/// The columns of a status that a row which is due enters: claimable since its due time, not since
/// the scanner looked.
#[must_use]
pub fn since_due(status: Status, at: TimestampMs) -> Vec<(ColumnRef, Assign)> {
    let since = exec_core::claimable_since_ms;
    let mut set = status.assignments(at);
    set.retain(|(column, _)| *column != since.column());
    set.push(since.set_expr(since.of(CORE).or_later(exec_core::eligible_at_ms.of(CORE))));
    set
}

/// The columns of the attempt row that end its lease: no instance owns it, and no time limit runs.
#[must_use]
pub fn lease_ended(outcome: AttemptOutcome) -> Vec<(ColumnRef, Assign)> {
    vec![
        attempt::worker_instance_id.clear(),
        attempt::lease_expires_at_ms.clear(),
        attempt::timeout_at_ms.clear(),
        attempt::outcome.set(Some(outcome)),
    ]
}

/// The outcome of an execution: its phase says cancelled, or its current attempt's outcome decides.
///
/// # Errors
/// `Validation(Corruption)` for a stored word outside its set.
pub fn terminal_outcome(
    core: &Row,
    current_attempt: Option<&Row>,
) -> Result<TerminalOutcome, EngineError> {
    match core.read(exec_core::lifecycle_phase)? {
        LifecyclePhase::Submitted
        | LifecyclePhase::Runnable
        | LifecyclePhase::Active
        | LifecyclePhase::Suspended => return Ok(TerminalOutcome::None),
        LifecyclePhase::Cancelled => return Ok(TerminalOutcome::Cancelled),
        LifecyclePhase::Terminal => {}
    }

    let outcome = current_attempt.map(|row| row.read(attempt::outcome)).transpose()?.flatten();
    Ok(match outcome {
        Some(AttemptOutcome::Success) => TerminalOutcome::Success,
        // An attempt that lost its worker, and the last one that the execution was allowed.
        Some(AttemptOutcome::Failed | AttemptOutcome::InterruptedReclaimed) => {
            TerminalOutcome::Failed
        }
        Some(AttemptOutcome::Cancelled) => TerminalOutcome::Cancelled,
        Some(AttemptOutcome::Expired) => TerminalOutcome::Expired,
        Some(AttemptOutcome::Skipped) => TerminalOutcome::Skipped,
        Some(
            AttemptOutcome::Retry
            | AttemptOutcome::Interrupted
            | AttemptOutcome::LeaseExpiredReclaimable
            | AttemptOutcome::AttemptInterrupted
            | AttemptOutcome::WaitingChildren,
        )
        | None => TerminalOutcome::None,
    })
}

/// The state of a stored row.
///
/// # Errors
/// `Validation(Corruption)` for a stored word outside its set.
pub fn vector(core: &Row, current_attempt: Option<&Row>) -> Result<StateVector, EngineError> {
    let stored = core.read(exec_core::public_state)?;
    let mut vector = StateVector {
        lifecycle_phase: core.read(exec_core::lifecycle_phase)?,
        ownership_state: core.read(exec_core::ownership_state)?,
        eligibility_state: core.read(exec_core::eligibility_state)?,
        blocking_reason: core.read(exec_core::blocking_reason)?.unwrap_or(BlockingReason::None),
        terminal_outcome: terminal_outcome(core, current_attempt)?,
        attempt_state: core.read(exec_core::attempt_state)?,
        public_state: stored,
    };

    if vector.lifecycle_phase == LifecyclePhase::Cancelled {
        // Callers know only the terminal phase; the outcome says that it was cancelled.
        vector.lifecycle_phase = LifecyclePhase::Terminal;
    }

    Ok(vector)
}
