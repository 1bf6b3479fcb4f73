//! Suspension timeouts: a suspension that is out of time ends as its timeout behavior says.

use serde_json::json;

use crate::contracts::TimeoutBehavior;
use crate::model::ids::{SignalId, TimestampMs};
use crate::model::state::{BlockingReason, ClosedSet as _, FailureClass, LifecyclePhase};
use crate::plan::facts::{Facts, Row};
use crate::plan::{Guard, Mutation, Predicate};
use crate::rules::changes::Changes;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Verdict};
use crate::rules::execution::change;
use crate::rules::execution::end::End;
use crate::rules::execution::failure::Failure;
use crate::rules::key::{CORE, ExecutionKey};
use crate::rules::outbox::{self, Reason};
use crate::rules::premise::{Condition, Premise, answer, execution_row, unchanged, without_bodies};
use crate::rules::status::Status;
use crate::rules::suspension::close::{close_as_read, waitpoints_of_core};
use crate::rules::suspension::collected::{TIMEOUT_KEY, timed_out};
use crate::rules::suspension::row::{
    SUSPENSION, Suspension, suspension_as_read, suspension_change, unconditional_suspension_row,
};
use crate::rules::suspension::wake::{resume_changes, resume_status};
use crate::schema::execution::exec_core;
use crate::schema::suspension::{suspension_current, waitpoint_pending};

/// Ends a wait for signals that is out of time. A wait that something else ended meanwhile only
/// loses its timeout. Changes nothing when it is not due.
#[derive(Clone, Copy, Debug)]
pub struct ExpireSuspension {
    /// The execution.
    pub key: ExecutionKey,
    /// The caller's time, where it gave one.
    pub at: Option<TimestampMs>,
}

impl ExpireSuspension {
    /// The suspensions that are out of time.
    #[must_use]
    pub fn due(at: TimestampMs) -> Predicate {
        suspension_current::timeout_at_ms.below(Some(at.0))
    }
}

impl Decision for ExpireSuspension {
    /// True if a timeout was dealt with.
    type Outcome = bool;

    const NAME: &'static str = "expire_suspension";

    fn at(&self, ctx: &Ctx<'_>) -> TimestampMs {
        self.at.unwrap_or(ctx.now)
    }

    fn premises(&self, at: TimestampMs) -> Vec<Premise<bool>> {
        let core = execution_row(&self.key, without_bodies(exec_core::REF));
        let due = Condition::new(Self::due(at), answer(false));
        let suspension = unconditional_suspension_row(&self.key);
        vec![
            Premise::read(CORE, core).or_if_absent(answer(false)),
            suspension_as_read(suspension, vec![due]).or_if_absent(answer(false)),
        ]
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, ctx: &mut Ctx<'_>) -> Decided<bool> {
        let (Some(core), Some(stored)) = (facts.row(CORE), facts.row(SUSPENSION)) else {
            return Ok(Verdict::Answer(false));
        };
        let suspension = Suspension::read(stored)?;

        // The execution ended or went on by itself: it is not even held.
        if core.read(exec_core::lifecycle_phase)? != LifecyclePhase::Suspended {
            let cleared =
                [suspension_current::timeout_at_ms.clear(), suspension_current::version.grow(1)];
            return Verdict::change([suspension_change(cleared)], true);
        }

        let ends = |end, reason| close_as_read(end_changes(end, reason, at), core);
        let changes = match suspension.timeout_behavior {
            TimeoutBehavior::Fail => ends(End::FAILED, "suspension_timeout_fail")?,
            TimeoutBehavior::Cancel => ends(End::CANCELLED, "suspension_timeout_cancel")?,
            TimeoutBehavior::Expire => ends(End::EXPIRED, "suspension_timeout_expire")?,
            TimeoutBehavior::AutoResumeWithTimeoutSignal => {
                let id = SignalId::from_uuid(ctx.uuid());
                timeout_signal_changes(&suspension, stored, id, at)
            }
            TimeoutBehavior::Escalate => escalation_changes(at),
        };
        let same = Guard::new(CORE, exec_core::REF, self.key.core(), unchanged(core)?);
        Verdict::change(Changes::of(changes).holding_first([same]), true)
    }
}

/// The changes that end the execution with its wait.
fn end_changes(end: End, reason: &str, at: TimestampMs) -> Vec<Mutation> {
    let failure = Failure::new(FailureClass::Timeout, "suspension_timeout");
    let core = end
        .of_execution(at)
        .set(exec_core::cancellation_reason.set(Some(reason.to_owned())))
        .set(exec_core::raw_fields.merge(json!({
            "last_failure_message": failure.message,
            "last_failure_class": failure.class.map_or("", FailureClass::as_str),
            "current_suspension_id": "",
            "current_waitpoint_id": "",
        })));

    vec![
        core.update(),
        end.record_failed_attempt(&failure, at),
        outbox::completed(end.event, Reason::Failure(&failure), at),
    ]
}

/// The changes with which the execution goes on; the timeout is among its signals.
fn timeout_signal_changes(
    suspension: &Suspension,
    stored: &Row,
    id: SignalId,
    at: TimestampMs,
) -> Vec<Mutation> {
    let signal = timed_out(id, at);
    let delay_ms = suspension.resume_delay_ms(None);
    let status = resume_status(Status::resumable(), delay_ms, at);

    // Signals that cannot be read stay as they are: the wait ends all the same.
    let collected = Suspension::collected(stored).and_then(|mut collected| {
        collected.add(TIMEOUT_KEY, &signal, None)?;
        Ok(vec![suspension_current::member_map.set(collected.stored())])
    });
    resume_changes(suspension, status, collected.unwrap_or_default(), at)
}

/// The changes that keep the execution suspended for an operator: signals still count, so its
/// waitpoints stay open.
fn escalation_changes(at: TimestampMs) -> Vec<Mutation> {
    let paused = exec_core::blocking_reason.set(Some(BlockingReason::PausedByOperator));
    let reviewed = [
        suspension_current::timeout_at_ms.clear(),
        suspension_current::reason_code.set(Some("waiting_for_operator_review".into())),
        suspension_current::version.grow(1),
    ];
    let unlimited = vec![waitpoint_pending::expires_at_ms.clear()];

    vec![
        change::edits([paused], at),
        suspension_change(reviewed),
        Mutation::update(waitpoint_pending::REF, waitpoints_of_core(), unlimited),
    ]
}
