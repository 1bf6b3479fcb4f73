//! Reordering what waits: an operator gives an execution another priority.

use serde_json::json;

use crate::contracts::ChangePriorityArgs;
use crate::model::error::{ContentionKind, EngineError};
use crate::model::ids::TimestampMs;
use crate::model::state::OperatorEventType;
use crate::plan::facts::Facts;
use crate::rules::changes::Changes;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Verdict};
use crate::rules::execution::change;
use crate::rules::input;
use crate::rules::key::ExecutionKey;
use crate::rules::outbox;
use crate::rules::premise::{Condition, Premise, existing, refuse};
use crate::schema::execution::{claimable, exec_core};

/// Priorities that an operator may set; beyond them the nearest one is taken.
const PRIORITY_RANGE: std::ops::RangeInclusive<i32> = 0..=9000;

/// Gives a claimable execution another priority.
#[derive(Clone, Debug)]
pub struct ChangePriority {
    key: ExecutionKey,
    priority: i32,
    at: TimestampMs,
}

impl ChangePriority {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field.
    pub fn new(args: &ChangePriorityArgs) -> Result<Self, EngineError> {
        input::lane(&args.lane_id)?;
        let priority = args.new_priority.clamp(*PRIORITY_RANGE.start(), *PRIORITY_RANGE.end());
        Ok(Self { key: ExecutionKey::of(&args.execution_id)?, priority, at: args.now })
    }
}

impl Decision for ChangePriority {
    type Outcome = ();

    const NAME: &'static str = "change_priority";

    fn at(&self, _: &Ctx<'_>) -> TimestampMs {
        self.at
    }

    fn premises(&self, _: TimestampMs) -> Vec<Premise<()>> {
        let not_eligible =
            refuse(|_| EngineError::Contention(ContentionKind::ExecutionNotEligible));
        vec![Premise::execution(&self.key, vec![Condition::new(claimable(), not_eligible)])]
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<()> {
        // The event names the old priority, so the row is always read.
        let old = existing(facts)?.read(exec_core::priority)?;
        let priority = exec_core::priority.set(self.priority);
        let details = json!({ "old_priority": old, "new_priority": self.priority });

        let changes = Changes::of([
            change::edits([priority], at),
            outbox::operator_acted(OperatorEventType::PriorityChanged, details, at),
        ]);
        Verdict::change(changes, ())
    }
}
