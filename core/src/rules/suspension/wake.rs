//! Waking: an execution goes on after its wait, at once or after a delay.

use crate::contracts::{ResumeExecutionArgs, ResumeExecutionResult};
use crate::model::error::{EngineError, StateKind};
use crate::model::ids::TimestampMs;
use crate::model::state::{AttemptState, BlockingReason, LifecyclePhase, WaitpointState};
use crate::plan::facts::Facts;
use crate::plan::{Assign, Mutation};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Verdict};
use crate::rules::execution::change;
use crate::rules::input;
use crate::rules::key::ExecutionKey;
use crate::rules::outbox;
use crate::rules::premise::{Condition, Premise, of_a_known_phase, refuse};
use crate::rules::status::Status;
use crate::rules::suspension::close;
use crate::rules::suspension::row::{
    SUSPENSION, Suspension, suspension_as_read, suspension_change, unconditional_suspension_row,
    waits_no_more,
};
use crate::schema::ColumnRef;
use crate::schema::execution::exec_core;
use crate::schema::suspension::{suspension_current, waitpoint_pending};

/// The status of an execution that goes on: put off by a delay, ms, and without one `otherwise`.
#[must_use]
pub fn resume_status(otherwise: Status, delay_ms: i64, at: TimestampMs) -> Status {
    match delay_ms {
        0 => otherwise,
        delay => {
            let until = TimestampMs(at.0.saturating_add(delay));
            let interrupted = AttemptState::AttemptInterrupted;
            Status::delayed(BlockingReason::WaitingForResumeDelay, interrupted, until)
        }
    }
}

/// The changes with which the held execution enters that status, and its wait ends: no timeout any
/// more, and its waitpoints closed, or retained for its next suspension where the policy says so.
/// The suspension's row takes these columns besides.
#[must_use]
pub fn resume_changes(
    suspension: &Suspension,
    status: Status,
    besides: Vec<(ColumnRef, Assign)>,
    at: TimestampMs,
) -> Vec<Mutation> {
    let closes = suspension.policy.close_waitpoint_on_resume;
    let core = change::enters(status, at)
        .set_all(status.due.is_none().then(|| exec_core::eligible_at_ms.clear()))
        .set(waits_no_more())
        .set_all(closes.then(close::none_open));
    let waitpoints = if closes { close::delete_waitpoints() } else { retain_waitpoints() };

    let ended = [suspension_current::timeout_at_ms.clear(), suspension_current::version.grow(1)];
    vec![
        core.update(),
        outbox::resumable(at),
        suspension_change(ended.into_iter().chain(besides)),
        waitpoints,
    ]
}

/// The change that retains the waitpoints of the held execution for its next suspension.
fn retain_waitpoints() -> Mutation {
    let set = vec![
        waitpoint_pending::state.set(WaitpointState::Pending),
        waitpoint_pending::activated_at_ms.clear(),
        waitpoint_pending::expires_at_ms.clear(),
    ];
    Mutation::update(waitpoint_pending::REF, close::waitpoints_of_core(), set)
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

impl Decision for Resume {
    type Outcome = ResumeExecutionResult;

    const NAME: &'static str = "resume_execution";

    fn premises(&self, _: TimestampMs) -> Vec<Premise<Self::Outcome>> {
        let suspended = exec_core::lifecycle_phase.is(LifecyclePhase::Suspended);
        let waits = Condition::new(suspended, of_a_known_phase(refuse(not_suspended)));
        let suspension = suspension_as_read(unconditional_suspension_row(&self.key), Vec::new());
        vec![
            Premise::execution_as_read(&self.key, vec![waits]),
            suspension.or_if_absent(refuse(not_suspended)),
        ]
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<Self::Outcome> {
        let Some(row) = facts.row(SUSPENSION) else { return Err(not_suspended(facts)) };
        let suspension = Suspension::read(row)?;

        let interrupted = Status::waiting(AttemptState::AttemptInterrupted);
        let status = resume_status(interrupted, self.delay_ms, at);
        let changes = resume_changes(&suspension, status, Vec::new(), at);
        Verdict::change(changes, ResumeExecutionResult::Resumed { public_state: status.public() })
    }
}

fn not_suspended(_: &Facts) -> EngineError {
    EngineError::State(StateKind::ExecutionNotSuspended)
}
