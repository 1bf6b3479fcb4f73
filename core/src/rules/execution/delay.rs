//! Delays: a worker puts its execution off, and the scanner promotes it when it is due.

use serde_json::json;

use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::model::state::{AttemptOutcome, AttemptState, BlockingReason, LeaseCause};
use crate::plan::Plan;
use crate::plan::facts::Facts;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Then, Transition};
use crate::rules::fence::{Fence, OpenLease};
use crate::rules::key::{CORE, ExecutionKey, held_attempt, held_core};
use crate::rules::outbox;
use crate::rules::premise::{Guarded, Known, Premise};
use crate::rules::status::{Status, but_the_attempt, lease_ended, since_due};
use crate::schema::execution::{attempt, delayed, exec_core};

/// Releases a worker's execution until a point in time. The execution's deadline is untouched.
#[derive(Clone, Debug)]
pub struct Delay {
    /// The fence of the worker that delays.
    pub fence: Fence,
    /// The time from which it may be claimed again.
    pub until: TimestampMs,
}

impl Guarded for Delay {
    type Outcome = ();

    fn name(&self) -> &'static str {
        "delay"
    }

    fn premises(&self, at: TimestampMs) -> Vec<Premise> {
        self.fence.premises(at, OpenLease::Live)
    }

    fn effects(
        &self,
        _: &Known,
        plan: Plan,
        at: TimestampMs,
        _: &mut Ctx<'_>,
    ) -> Result<(Plan, ()), EngineError> {
        let interrupted = AttemptState::AttemptInterrupted;
        let status = Status::delayed(BlockingReason::WaitingForDelay, interrupted, self.until);
        let mut core = status.assignments(at);
        let mutated = json!({ "last_mutation_at": at.0.to_string() });
        core.push(exec_core::raw_fields.merge(mutated));

        let plan = plan.update(exec_core::REF, held_core(), core).update(
            attempt::REF,
            held_attempt(),
            lease_ended(AttemptOutcome::Interrupted),
        );
        Ok((outbox::lease_ended(plan, LeaseCause::Delayed, at), ()))
    }
}

/// Promotes a delayed execution that is due; changes nothing when it is not.
#[derive(Clone, Copy, Debug)]
pub struct Promote {
    /// The execution.
    pub key: ExecutionKey,
    /// The caller's time, where it gave one.
    pub at: Option<TimestampMs>,
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
                Status::waiting(AttemptState::None),
            ),
            1 => (resumes, Status::resumable()),
            _ => return Ok(Step::Answer(false)),
        };

        let at = self.at.unwrap_or(ctx.now);
        let due =
            exec_core::eligible_at_ms.is_null().or(exec_core::eligible_at_ms.at_most(Some(at.0)));
        let mut set = since_due(but_the_attempt(status, at));
        set.push(exec_core::eligible_at_ms.clear());

        let plan = Plan::new("promote_delayed")
            .guard(CORE, exec_core::REF, self.key.core(), delayed().and(due).and(wakes))
            .update(exec_core::REF, held_core(), set);
        Ok(Step::Commit(plan, Then::Answer(true)))
    }
}
