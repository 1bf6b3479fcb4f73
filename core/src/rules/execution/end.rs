//! Ends: the columns and words that every way of ending an execution shares.

use crate::model::ids::{ExecutionId, TimestampMs};
use crate::model::state::{AttemptOutcome, CompletionKind, PublicState, TerminalOutcome};
use crate::plan::{Assign, Expr, Mutation, OnConflict, OnTaken};
use crate::rules::execution::change::{self, ExecutionChange};
use crate::rules::execution::failure::Failure;
use crate::rules::input;
use crate::rules::key::current_attempt;
use crate::rules::premise::{Otherwise, existing};
use crate::rules::status::{Status, lease_ended};
use crate::schema::ColumnRef;
use crate::schema::execution::{attempt, exec_core};

/// A terminal outcome, as the execution, the attempt and the completion event spell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The execution's outcome.
    pub outcome: TerminalOutcome,
    /// The attempt's outcome.
    pub attempt: AttemptOutcome,
    /// The word of the completion event.
    pub event: CompletionKind,
}

impl End {
    /// The work succeeded.
    pub const SUCCESS: Self = Self {
        outcome: TerminalOutcome::Success,
        attempt: AttemptOutcome::Success,
        event: CompletionKind::Success,
    };
    /// Failed for good.
    pub const FAILED: Self = Self {
        outcome: TerminalOutcome::Failed,
        attempt: AttemptOutcome::Failed,
        event: CompletionKind::Failed,
    };
    /// Cancelled.
    pub const CANCELLED: Self = Self {
        outcome: TerminalOutcome::Cancelled,
        attempt: AttemptOutcome::Cancelled,
        event: CompletionKind::Cancelled,
    };
    /// It ran out of time.
    pub const EXPIRED: Self = Self {
        outcome: TerminalOutcome::Expired,
        attempt: AttemptOutcome::Expired,
        event: CompletionKind::Expired,
    };

    /// Never run: its dependencies made it pointless.
    pub const SKIPPED: Self = Self {
        outcome: TerminalOutcome::Skipped,
        attempt: AttemptOutcome::Skipped,
        event: CompletionKind::Skipped,
    };

    /// The change of the held execution; each operation adds its own columns.
    #[must_use]
    pub fn of_execution(&self, at: TimestampMs) -> ExecutionChange {
        self.as_status(Status::terminal(self.outcome), at)
    }

    /// The same, where the end is written as a status of its own.
    #[must_use]
    pub fn as_status(&self, status: Status, at: TimestampMs) -> ExecutionChange {
        change::enters(status, at)
            .set(exec_core::terminal_at_ms.set(Some(at.0)))
            .set(exec_core::eligible_at_ms.clear())
    }

    /// The columns of the attempt row that this end sets.
    #[must_use]
    pub fn of_attempt(&self, at: TimestampMs) -> Vec<(ColumnRef, Assign)> {
        let mut set = lease_ended(self.attempt);
        set.push(attempt::terminal_at_ms.set(Some(at.0)));
        set
    }

    /// Ends the current attempt, or records the outcome as an attempt of its own where none was
    /// ever claimed: an execution's outcome is always found on its attempt.
    #[must_use]
    pub fn record_attempt(&self, at: TimestampMs) -> Mutation {
        recorded(self.attempt_row(at), settled_attempt())
    }

    /// The same; the attempt also records the failure.
    #[must_use]
    pub fn record_failed_attempt(&self, failure: &Failure, at: TimestampMs) -> Mutation {
        let (mut row, mut settle) = (self.attempt_row(at), settled_attempt());
        let says = failure.row();
        settle.extend(says.iter().map(|(column, _)| (*column, OnTaken::Overwrite)));
        row.extend(says);
        recorded(row, settle)
    }

    /// Ends the attempt as [`End::record_attempt`] does, and grows the epoch, so that the worker
    /// that held the lease can change nothing. An insert also finds the attempt of a claim that
    /// went through meanwhile, where an update would miss it.
    #[must_use]
    pub fn break_attempt(&self, at: TimestampMs) -> Mutation {
        let (mut row, mut settle) = (self.attempt_row(at), settled_attempt());
        row.push(attempt::lease_epoch.with(1));
        settle.push((attempt::lease_epoch.column(), OnTaken::Add));
        recorded(row, settle)
    }

    fn attempt_row(&self, at: TimestampMs) -> Vec<(ColumnRef, Expr)> {
        let mut row = current_attempt();
        row.push(attempt::outcome.with(Some(self.attempt)));
        row.push(attempt::terminal_at_ms.with(Some(at.0)));
        row
    }
}

fn recorded(row: Vec<(ColumnRef, Expr)>, settle: Vec<(ColumnRef, OnTaken)>) -> Mutation {
    Mutation::Insert { table: attempt::REF, row, on_conflict: OnConflict::Update(settle) }
}

/// The conflict clause of an end: an attempt that is there already ends, whichever worker holds it.
fn settled_attempt() -> Vec<(ColumnRef, OnTaken)> {
    vec![
        (attempt::outcome.column(), OnTaken::Overwrite),
        (attempt::terminal_at_ms.column(), OnTaken::Overwrite),
        (attempt::worker_instance_id.column(), OnTaken::Clear),
        (attempt::lease_expires_at_ms.column(), OnTaken::Clear),
        (attempt::timeout_at_ms.column(), OnTaken::Clear),
    ]
}

/// The answer to a cancellation of what has ended: `outcome` if it was cancelled. Any other end
/// refuses with `Validation(InvalidInput)`, naming the execution and the state it ended in.
pub fn already_ended<O: Clone + Send + Sync + 'static>(
    operation: &'static str,
    id: ExecutionId,
    outcome: O,
) -> Otherwise<O> {
    Box::new(move |facts| match existing(facts)?.read(exec_core::public_state)? {
        PublicState::Cancelled => Ok(outcome.clone()),
        ended @ (PublicState::Waiting
        | PublicState::Delayed
        | PublicState::RateLimited
        | PublicState::WaitingChildren
        | PublicState::Active
        | PublicState::Suspended
        | PublicState::Resumable
        | PublicState::Completed
        | PublicState::Failed
        | PublicState::Expired
        | PublicState::Skipped) => Err(input::invalid(format!(
            "{operation}: execution_id={id}: already terminal in state '{}'",
            ended.as_str()
        ))),
    })
}
