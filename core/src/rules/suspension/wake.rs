//! Waking: an execution goes on after its wait, at once or after a delay.

use crate::contracts::{ResumeExecutionArgs, ResumeExecutionResult};
use crate::model::error::{EngineError, StateKind};
use crate::model::ids::TimestampMs;
use crate::model::state::{AttemptState, BlockingReason, LifecyclePhase};
use crate::plan::facts::Facts;
use crate::plan::{Plan, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Then, Transition};
use crate::rules::input;
use crate::rules::key::{ExecutionKey, held_core};
use crate::rules::outbox;
use crate::rules::premise::{execution_row, existing, without_bodies};
use crate::rules::status::Status;
use crate::rules::suspension::row::{
    SUSPENSION, Suspension, unconditional_suspension_row, waits_no_more,
};
use crate::schema::execution::exec_core;

/// Makes the held execution claimable again and announces it. A delay puts that off; `otherwise` is
/// its status without one.
#[must_use]
pub fn woken(plan: Plan, otherwise: Status, delay_ms: i64, at: TimestampMs) -> (Plan, Status) {
    let interrupted = AttemptState::AttemptInterrupted;
    let status = match delay_ms {
        0 => otherwise,
        delay => {
            let until = TimestampMs(at.0.saturating_add(delay));
            Status::delayed(BlockingReason::WaitingForResumeDelay, interrupted, until)
        }
    };

    let mut core = status.assignments(at);
    if status.due.is_none() {
        core.push(exec_core::eligible_at_ms.clear());
    }
    core.push(waits_no_more());
    (plan.update(exec_core::REF, held_core(), core).and([outbox::resumable(at)]), status)
}

/// Ends a suspension for an operator. The signals stay readable; the waitpoints close.
#[derive(Clone, Debug)]
pub struct Resume {
    key: ExecutionKey,
    delay_ms: i64,
}

impl Resume {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for a trigger type with NUL.
    pub fn new(args: &ResumeExecutionArgs) -> Result<Self, EngineError> {
        input::text("trigger_type", &args.trigger_type)?;
        let delay_ms = input::span_ms(args.resume_delay_ms);
        Ok(Self { key: ExecutionKey::of(&args.execution_id)?, delay_ms })
    }
}

impl Transition for Resume {
    type Outcome = ResumeExecutionResult;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        if !facts.have_rows() {
            let core = execution_row(&self.key, without_bodies(exec_core::REF));
            return Ok(Step::Read(vec![Query::Lookup(vec![
                core,
                unconditional_suspension_row(&self.key),
            ])]));
        }

        let core = existing(facts)?;

        let not_suspended = EngineError::State(StateKind::ExecutionNotSuspended);
        let Some(suspension) = facts.row(SUSPENSION) else { return Err(not_suspended) };
        if core.read(exec_core::lifecycle_phase)? != LifecyclePhase::Suspended {
            return Err(not_suspended);
        }

        let suspension = Suspension::read(suspension)?;
        let plan = suspension.ending("resume_execution", &self.key, core)?;
        let otherwise = Status::waiting(AttemptState::AttemptInterrupted);
        let (plan, status) = woken(plan, otherwise, self.delay_ms, ctx.now);
        let plan = suspension.closed(plan, Vec::new());

        let resumed = ResumeExecutionResult::Resumed { public_state: status.public() };
        Ok(Step::Commit(plan, Then::Answer(resumed)))
    }
}
