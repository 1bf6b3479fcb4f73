//! Unblocking: an execution held up by a budget, a quota, a missing worker or an operator goes on.

use crate::model::error::EngineError;
use crate::model::ids::{ExecutionId, TimestampMs};
use crate::model::state::{
    AttemptState, BlockingReason, ClosedSet, EligibilityState, LifecyclePhase,
};
use crate::plan::facts::Facts;
use crate::plan::{Held, Plan, Predicate, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Then, Transition};
use crate::rules::input;
use crate::rules::key::{CORE, ExecutionKey, held_core};
use crate::rules::premise::{execution_row, existing, unmoved, without_bodies};
use crate::rules::status::{Status, but_the_attempt};
use crate::schema::execution::exec_core;

/// Makes an execution claimable that is blocked by something other than its dependencies or the
/// time. Changes nothing when it is not blocked so, or for another reason than expected.
#[derive(Clone, Copy, Debug)]
pub struct Unblock {
    key: ExecutionKey,
    expected: Option<BlockingReason>,
    at: TimestampMs,
}

impl Unblock {
    /// Checks the arguments. An empty reason stands for any.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for an unknown reason, naming the known ones.
    pub fn new(id: &ExecutionId, expected: &str, at: TimestampMs) -> Result<Self, EngineError> {
        let unknown = || {
            let words: Vec<&str> =
                BlockingReason::all().into_iter().map(ClosedSet::as_str).collect();
            let words = words.join(", ");
            input::invalid(format!("expected_blocking_reason: {expected:?} is none of {words}"))
        };

        let expected = match expected {
            "" => None,
            word => Some(BlockingReason::parse(word).ok_or_else(unknown)?),
        };
        Ok(Self { key: ExecutionKey::of(id)?, expected, at })
    }

    fn applies(&self) -> Predicate {
        exec_core::lifecycle_phase.is(LifecyclePhase::Runnable).and(
            exec_core::eligibility_state.is_one_of(&[
                EligibilityState::BlockedByBudget,
                EligibilityState::BlockedByQuota,
                EligibilityState::BlockedByRoute,
                EligibilityState::BlockedByOperator,
            ]),
        )
    }
}

impl Transition for Unblock {
    /// True if the execution was unblocked.
    type Outcome = bool;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<bool>, EngineError> {
        let Some(rows) = facts.rows() else {
            let core = execution_row(&self.key, without_bodies(exec_core::REF));
            return Ok(Step::Read(vec![Query::Lookup(vec![core])]));
        };
        let core = existing(rows)?;

        let reason = core.read(exec_core::blocking_reason)?;
        let expected = self.expected.is_none() || self.expected == reason;
        if !expected || !self.applies().accepts(core, &Held::default()) {
            return Ok(Step::Answer(false));
        }

        let eligible_at = core.read(exec_core::eligible_at_ms)?;
        let status = Status::released(eligible_at, self.at, AttemptState::None);
        let plan = Plan::new("unblock_execution")
            .guard(CORE, exec_core::REF, self.key.core(), unmoved(core)?)
            .update(exec_core::REF, held_core(), but_the_attempt(status, ctx.now));
        Ok(Step::Commit(plan, Then::Answer(true)))
    }
}
