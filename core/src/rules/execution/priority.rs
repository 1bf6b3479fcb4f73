//! Reordering what waits: an operator gives an execution another priority.

use serde_json::json;

use crate::contracts::ChangePriorityArgs;
use crate::model::error::{ContentionKind, EngineError};
use crate::model::ids::TimestampMs;
use crate::model::state::OperatorEventType;
use crate::plan::Plan;
use crate::rules::ctx::Ctx;
use crate::rules::input;
use crate::rules::key::{CORE, ExecutionKey, held_core};
use crate::rules::outbox;
use crate::rules::premise::{Condition, Guarded, Known, Premise, Refusal};
use crate::rules::status::changed;
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

impl Guarded for ChangePriority {
    type Outcome = ();

    fn name(&self) -> &'static str {
        "change_priority"
    }

    fn at(&self, _: &Ctx<'_>) -> TimestampMs {
        self.at
    }

    fn premises(&self, _: TimestampMs) -> Vec<Premise> {
        let not_eligible: Refusal =
            Box::new(|_| EngineError::Contention(ContentionKind::ExecutionNotEligible));
        let conditions = vec![Condition { holds: claimable(), refusal: not_eligible }];
        vec![Premise::execution(&self.key, conditions)]
    }

    /// Returns false: the event names the old priority, which has to be read.
    fn predicted(&self) -> bool {
        false
    }

    fn effects(
        &self,
        known: &Known,
        plan: Plan,
        at: TimestampMs,
        _: &mut Ctx<'_>,
    ) -> Result<(Plan, ()), EngineError> {
        let old = known.read(CORE, exec_core::priority)?;
        let mut set = vec![
            exec_core::priority.set(self.priority),
            exec_core::raw_fields.merge(json!({ "last_mutation_at": at.0.to_string() })),
        ];
        set.extend(changed(at));
        let plan = plan.update(exec_core::REF, held_core(), set);

        let details = json!({ "old_priority": old, "new_priority": self.priority });
        let event = OperatorEventType::PriorityChanged;
        Ok((outbox::operator_acted(plan, event, details, at), ()))
    }
}
