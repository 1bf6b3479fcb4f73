//! Unblocking: an execution held up by a budget, a quota, a missing worker or an operator goes on.

use crate::model::error::EngineError;
use crate::model::ids::{ExecutionId, TimestampMs};
use crate::model::state::{BlockingReason, ClosedSet, EligibilityState, LifecyclePhase};
use crate::plan::Predicate;
use crate::plan::facts::Facts;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Verdict};
use crate::rules::execution::change;
use crate::rules::input;
use crate::rules::key::ExecutionKey;
use crate::rules::premise::{Condition, Premise, answer, existing};
use crate::rules::status::Status;
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
        let blocked = exec_core::lifecycle_phase.is(LifecyclePhase::Runnable).and(
            exec_core::eligibility_state.is_one_of(&[
                EligibilityState::BlockedByBudget,
                EligibilityState::BlockedByQuota,
                EligibilityState::BlockedByRoute,
                EligibilityState::BlockedByOperator,
            ]),
        );

        match self.expected {
            Some(reason) => blocked.and(exec_core::blocking_reason.holds(reason)),
            None => blocked,
        }
    }
}

impl Decision for Unblock {
    /// True if the execution was unblocked.
    type Outcome = bool;

    const NAME: &'static str = "unblock_execution";

    fn premises(&self, _: TimestampMs) -> Vec<Premise<bool>> {
        let applies = Condition::new(self.applies(), answer(false));
        vec![Premise::execution_as_read(&self.key, vec![applies])]
    }

    fn decide(&self, facts: &Facts, now: TimestampMs, _: &mut Ctx<'_>) -> Decided<bool> {
        let eligible_at = existing(facts)?.read(exec_core::eligible_at_ms)?;
        let status = Status::released(eligible_at, self.at, None);
        Verdict::change([change::enters(status, now).update()], true)
    }
}
