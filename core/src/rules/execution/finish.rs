//! The ends of an execution: completed, cancelled by its worker, and the columns that all ends
//! share.

use serde_json::json;

use crate::model::error::{EngineError, StateKind};
use crate::model::ids::{ExecutionId, TimestampMs};
use crate::model::state::{
    AttemptOutcome, CompletionKind, LeaseCause, LifecyclePhase, OwnershipState, PublicState,
    TerminalOutcome,
};
use crate::plan::facts::{Facts, Row};
use crate::plan::{Assign, Expr, Held, OnConflict, OnTaken, Plan, Predicate, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Then, Transition};
use crate::rules::execution::failure::Failure;
use crate::rules::fence::{self, Fence, OpenLease};
use crate::rules::input;
use crate::rules::key::{ATTEMPT, CORE, current_attempt, held_attempt, held_core};
use crate::rules::outbox::{self, Reason};
use crate::rules::premise::{Guarded, Known, Premise, check, existing, lookups, unmoved};
use crate::rules::status::{Status, lease_ended};
use crate::rules::suspension::close::{closed, closed_if_read};
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

    /// The columns of the execution row that this end sets; each operation adds its own.
    #[must_use]
    pub fn of_core(&self, at: TimestampMs) -> Vec<(ColumnRef, Assign)> {
        self.as_status(Status::terminal(self.outcome), at)
    }

    /// The same, where the end is written as a status of its own.
    #[must_use]
    pub fn as_status(&self, status: Status, at: TimestampMs) -> Vec<(ColumnRef, Assign)> {
        let mut set = status.assignments(at);
        set.push(exec_core::terminal_at_ms.set(Some(at.0)));
        set.push(exec_core::eligible_at_ms.clear());
        set
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
    pub fn record_attempt(&self, plan: Plan, at: TimestampMs) -> Plan {
        let settle = OnConflict::Update(settled_attempt());
        plan.insert(attempt::REF, self.attempt_row(at), settle)
    }

    /// The same; the attempt also records the failure.
    #[must_use]
    pub fn record_failed_attempt(&self, plan: Plan, failure: &Failure, at: TimestampMs) -> Plan {
        let (mut row, mut settle) = (self.attempt_row(at), settled_attempt());
        let says = failure.row();
        settle.extend(says.iter().map(|(column, _)| (*column, OnTaken::Overwrite)));
        row.extend(says);
        plan.insert(attempt::REF, row, OnConflict::Update(settle))
    }

    /// Ends the attempt as [`End::record_attempt`] does, and grows the epoch, so that the worker
    /// that held the lease can change nothing. An insert also finds the attempt of a claim that
    /// went through meanwhile, where an update would miss it.
    #[must_use]
    pub fn break_attempt(&self, plan: Plan, at: TimestampMs) -> Plan {
        let (mut row, mut settle) = (self.attempt_row(at), settled_attempt());
        row.push(attempt::lease_epoch.with(1));
        settle.push((attempt::lease_epoch.column(), OnTaken::Add));
        plan.insert(attempt::REF, row, OnConflict::Update(settle))
    }

    fn attempt_row(&self, at: TimestampMs) -> Vec<(ColumnRef, Expr)> {
        let mut row = current_attempt();
        row.push(attempt::outcome.with(Some(self.attempt)));
        row.push(attempt::terminal_at_ms.with(Some(at.0)));
        row
    }
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

/// A worker's success. Result bytes are stored as given; none stores none.
#[derive(Clone, Debug)]
pub struct Complete {
    /// The fence of the worker that completes.
    pub fence: Fence,
    /// The result.
    pub result: Option<Vec<u8>>,
    /// The caller's time, where it gave one.
    pub at: Option<TimestampMs>,
}

impl Guarded for Complete {
    /// Always [`PublicState::Completed`].
    type Outcome = PublicState;

    fn name(&self) -> &'static str {
        "complete"
    }

    fn at(&self, ctx: &Ctx<'_>) -> TimestampMs {
        self.at.unwrap_or(ctx.now)
    }

    fn premises(&self, at: TimestampMs) -> Vec<Premise> {
        self.fence.premises(at, OpenLease::Live)
    }

    fn effects(
        &self,
        known: &Known,
        plan: Plan,
        at: TimestampMs,
        _: &mut Ctx<'_>,
    ) -> Result<(Plan, PublicState), EngineError> {
        let end = End::SUCCESS;
        let mut core = end.of_core(at);
        core.push(exec_core::result.set(self.result.clone()));
        core.push(exec_core::raw_fields.merge(json!({
            "terminal_outcome": "success",
            "last_mutation_at": at.0.to_string(),
        })));

        let plan = plan.update(exec_core::REF, held_core(), core).update(
            attempt::REF,
            held_attempt(),
            end.of_attempt(at),
        );

        let plan = outbox::completed(plan, end.event, Reason::None, at);
        let plan = outbox::lease_ended(plan, LeaseCause::Completed, at);
        Ok((closed_if_read(plan, known)?, PublicState::Completed))
    }
}

/// A worker gives up its execution for good. Cancelling what is cancelled already changes nothing;
/// any other end is an error that names it.
///
/// The fence is compared with the attempt row where there is one: a worker may cancel an execution
/// that was never claimed, but not one with a lease that went elsewhere.
#[derive(Clone, Debug)]
pub struct Cancel {
    /// The fence of the worker that cancels.
    pub fence: Fence,
    /// The execution's id, for messages.
    pub execution_id: ExecutionId,
    /// The reason.
    pub reason: String,
}

impl Transition for Cancel {
    type Outcome = ();

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<()>, EngineError> {
        let at = ctx.now;
        let premises = self.fence.premises(at, OpenLease::Live);
        let Some(rows) = facts.rows() else {
            return Ok(Step::Read(vec![Query::Lookup(lookups(&premises))]));
        };

        let known = Known::of(rows);
        let core = existing(rows)?;

        if core.read(exec_core::lifecycle_phase)?.is_terminal() {
            already_ended("cancel", &self.execution_id, core)?;
            return Ok(Step::Answer(()));
        }

        if core.read(exec_core::ownership_state)? == OwnershipState::LeaseRevoked {
            return Err(EngineError::State(StateKind::LeaseRevoked));
        }

        let claimed = known.row(ATTEMPT).is_some();
        let active = core.read(exec_core::lifecycle_phase)? == LifecyclePhase::Active;
        if active {
            check(&premises, &known)?;
        } else if let (Some(row), Some(lease)) = (known.row(ATTEMPT), self.fence.lease)
            && !fence::is_current(lease).accepts(row, &Held::default())
        {
            return Err((self.fence.mismatch())(&known));
        }

        let version = unmoved(core)?;
        let plan = Plan::new("cancel").guard(CORE, exec_core::REF, self.fence.key.core(), version);
        let plan = if claimed {
            let current = self.fence.lease.map_or(Predicate::Always, fence::is_current);
            plan.guard(ATTEMPT, attempt::REF, self.fence.attempt_key(), current)
        } else {
            plan
        };

        let plan = closed(self.effects(plan, active && claimed, at), core)?;
        Ok(Step::Commit(plan, Then::Answer(())))
    }
}

impl Cancel {
    fn effects(&self, plan: Plan, leased: bool, at: TimestampMs) -> Plan {
        let end = End::CANCELLED;
        let mut core = end.of_core(at);
        core.push(exec_core::cancellation_reason.set(Some(self.reason.clone())));
        core.push(exec_core::cancelled_by.set(Some("worker".into())));
        let mutated = json!({ "last_mutation_at": at.0.to_string() });
        core.push(exec_core::raw_fields.merge(mutated));

        let plan = plan.update(exec_core::REF, held_core(), core);
        let plan = end.record_attempt(plan, at);
        let plan = outbox::completed(plan, end.event, Reason::Given(&self.reason), at);
        if leased { outbox::lease_ended(plan, LeaseCause::Cancelled, at) } else { plan }
    }
}

/// Checks that an execution that has ended may be cancelled again: only one that was cancelled.
///
/// # Errors
/// `Validation(InvalidInput)` naming the execution and the state it ended in.
pub fn already_ended(operation: &str, id: &ExecutionId, core: &Row) -> Result<(), EngineError> {
    match core.read(exec_core::public_state)? {
        PublicState::Cancelled => Ok(()),
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
    }
}
