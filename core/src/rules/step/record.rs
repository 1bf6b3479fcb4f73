//! Recording a step, which a worker that holds the attempt's lease may do.

use crate::contracts::{NewStep, RecordStepOutcome, STEPS_MAX};
use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::plan::facts::Facts;
use crate::plan::{Lookup, Mutation, OnConflict};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Verdict};
use crate::rules::fence::{Fence, OpenLease};
use crate::rules::input;
use crate::rules::key::{ATTEMPT, CORE};
use crate::rules::premise::{Premise, lookup};
use crate::rules::step::read::record_in;
use crate::schema::execution::{attempt, exec_core};
use crate::schema::step::step;

/// The name that every plan gives the row of a step.
const STEP: &str = "step";

/// Records a step of the held attempt, unless one is recorded at its place.
#[derive(Clone, Debug)]
pub struct RecordStep {
    fence: Fence,
    step: NewStep,
    position: i32,
}

impl RecordStep {
    /// Checks the step.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for a position beyond [`STEPS_MAX`], or a name that is empty, too
    /// long or holds NUL; `Validation(PayloadTooLarge)` for too many bytes.
    pub fn new(fence: Fence, step: NewStep) -> Result<Self, EngineError> {
        let position = position("step.position", step.position)?;
        name("step.name", &step.name)?;
        input::body("step.value", &step.value)?;
        Ok(Self { fence, step, position })
    }

    fn recorded(&self) -> Lookup {
        let key = self.fence.key;
        let row = vec![
            step::partition_key.with(key.partition),
            step::execution_id.with(key.uuid),
            step::position.with(self.position),
        ];
        lookup(STEP, step::REF, row)
    }
}

impl Decision for RecordStep {
    type Outcome = RecordStepOutcome;

    const NAME: &'static str = "record_step";

    /// Another change of the execution refuses no step.
    fn premises(&self, at: TimestampMs) -> Vec<Premise<RecordStepOutcome>> {
        let fenced = self.fence.premises(at, OpenLease::Live);
        let fenced = fenced.into_iter().map(Premise::in_any_version);
        fenced.chain([Premise::read(STEP, self.recorded())]).collect()
    }

    /// Most steps are recorded once.
    fn expects(&self) -> bool {
        true
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<Self::Outcome> {
        if let Some(row) = facts.row(STEP) {
            return Ok(Verdict::Answer(RecordStepOutcome::Found(record_in(row)?)));
        }

        let row = vec![
            step::partition_key.with_expr(exec_core::partition_key.of(CORE)),
            step::execution_id.with_expr(exec_core::execution_id.of(CORE)),
            step::position.with(self.position),
            step::name.with(self.step.name.clone()),
            step::value.with(self.step.value.clone()),
            step::attempt_index.with_expr(attempt::attempt_index.of(ATTEMPT)),
            step::lease_epoch.with_expr(attempt::lease_epoch.of(ATTEMPT)),
            step::recorded_at_ms.with(at.0),
        ];
        let insert = Mutation::insert(step::REF, row, OnConflict::Refuse);
        Verdict::change([insert], RecordStepOutcome::Recorded)
    }
}

/// Checks the place of a step.
///
/// # Errors
/// `Validation(InvalidInput)` naming the field, from [`STEPS_MAX`] on.
pub fn position(field: &str, position: u32) -> Result<i32, EngineError> {
    if STEPS_MAX <= position {
        let detail = format!("{field}: {position} is not below {STEPS_MAX}, the most steps");
        return Err(input::invalid(detail));
    }
    i32::try_from(position).map_err(|_| input::invalid(format!("{field}: is out of range")))
}

/// Checks the name of a step.
///
/// # Errors
/// `Validation(InvalidInput)` naming the field: a name that is empty or too long, or with NUL.
pub fn name(field: &str, name: &str) -> Result<(), EngineError> {
    if name.is_empty() {
        return Err(input::invalid(format!("{field}: must not be empty")));
    }
    input::name(field, name)
}
