//! Delays: a worker puts its execution off, and the scanner promotes it when it is due.

use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::model::state::{AttemptOutcome, AttemptState, BlockingReason, LeaseCause};
use crate::plan::facts::Facts;
use crate::plan::{Plan, Predicate};
use crate::rules::changes::Changes;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Step, Then, Transition, Verdict};
use crate::rules::execution::change;
use crate::rules::fence::{Fence, OpenLease};
use crate::rules::key::{CORE, ExecutionKey, held_core};
use crate::rules::outbox;
use crate::rules::premise::Premise;
use crate::rules::status::{Status, lease_ended, since_due};
use crate::schema::execution::{delayed, exec_core};

/// Releases a worker's execution until a point in time. The execution's deadline is untouched.
#[derive(Clone, Debug)]
pub struct Delay {
    /// The fence of the worker that delays.
    pub fence: Fence,
    /// The time from which it may be claimed again.
    pub until: TimestampMs,
}

impl Decision for Delay {
    type Outcome = ();

    const NAME: &'static str = "delay";

    fn premises(&self, at: TimestampMs) -> Vec<Premise<()>> {
        self.fence.premises(at, OpenLease::Live)
    }

    fn expects(&self) -> bool {
        true
    }

    fn decide(&self, _: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<()> {
        let interrupted = AttemptState::AttemptInterrupted;
        // A time that has passed counts as now: it puts the execution before no other.
        let until = self.until.max(at);
        let status = Status::delayed(BlockingReason::WaitingForDelay, interrupted, until);

        let changes = Changes::of([
            change::enters(status, at).update(),
            change::attempt(lease_ended(AttemptOutcome::Interrupted)),
            outbox::lease_ended(LeaseCause::Delayed, at),
        ]);
        Verdict::change(changes.giving_back_permits(), ())
    }
}

/// Promotes a delayed execution that is due; changes nothing when it is not.
///
/// A [`Transition`] by itself: it never reads. What the row must hold depends on the try.
#[derive(Clone, Copy, Debug)]
pub struct Promote {
    /// The execution.
    pub key: ExecutionKey,
    /// The caller's time, where it gave one.
    pub at: Option<TimestampMs>,
}

impl Promote {
    /// The executions that are due.
    #[must_use]
    pub fn due(at: TimestampMs) -> Predicate {
        let due = exec_core::eligible_at_ms.at_most(Some(at.0));
        delayed().and(exec_core::eligible_at_ms.is_null().or(due))
    }
}

impl Transition for Promote {
    /// True if it was promoted.
    type Outcome = bool;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<bool>, EngineError> {
        // An execution with a delayed resume is promoted as resumable. A plan cannot branch: the
        // first try guards against that reason, the second requires it.
        let resumes = exec_core::blocking_reason.holds(BlockingReason::WaitingForResumeDelay);
        let (wakes, status) = match facts.refusals() {
            0 => (
                exec_core::blocking_reason.is_null().or(exec_core::blocking_reason
                    .holds_another_than(BlockingReason::WaitingForResumeDelay)),
                Status::waiting(None),
            ),
            1 => (resumes, Status { attempt: None, ..Status::resumable() }),
            _ => return Ok(Step::Answer(false)),
        };

        let at = self.at.unwrap_or(ctx.now);
        let mut set = since_due(status, at);
        set.push(exec_core::eligible_at_ms.clear());

        let plan = Plan::new("promote_delayed")
            .guard(CORE, exec_core::REF, self.key.core(), Self::due(at).and(wakes))
            .update(exec_core::REF, held_core(), set);
        Ok(Step::Commit(plan, Then::Answer(true)))
    }
}
