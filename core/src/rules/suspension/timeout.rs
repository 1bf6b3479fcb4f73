//! Suspension timeouts: a suspension that is out of time ends as its timeout behavior says.

use serde_json::json;

use crate::contracts::TimeoutBehavior;
use crate::model::error::EngineError;
use crate::model::ids::{SignalId, TimestampMs};
use crate::model::state::{BlockingReason, ClosedSet as _, FailureClass, LifecyclePhase};
use crate::plan::facts::{Facts, Row};
use crate::plan::{Mutation, Plan, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Then, Transition};
use crate::rules::execution::change;
use crate::rules::execution::end::End;
use crate::rules::execution::failure::Failure;
use crate::rules::key::{CORE, ExecutionKey};
use crate::rules::outbox::{self, Reason};
use crate::rules::premise::{execution_row, without_bodies};
use crate::rules::status::Status;
use crate::rules::suspension::close::{closed, waitpoints_of_core};
use crate::rules::suspension::collected::{TIMEOUT_KEY, timed_out};
use crate::rules::suspension::row::{
    SUSPENSION, Suspension, changed, unconditional_suspension_row,
};
use crate::rules::suspension::wake::woken;
use crate::schema::execution::exec_core;
use crate::schema::suspension::{suspension_current, waitpoint_pending};

/// Gives up waiting for signals, where that is due. A wait that something else ended meanwhile only
/// loses its timeout.
#[derive(Clone, Copy, Debug)]
pub struct ExpireSuspension {
    /// The execution.
    pub key: ExecutionKey,
    /// The caller's time, where it gave one.
    pub at: Option<TimestampMs>,
}

impl Transition for ExpireSuspension {
    /// True if a timeout was dealt with.
    type Outcome = bool;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<bool>, EngineError> {
        if !facts.have_rows() {
            let core = execution_row(&self.key, without_bodies(exec_core::REF));
            return Ok(Step::Read(vec![Query::Lookup(vec![
                core,
                unconditional_suspension_row(&self.key),
            ])]));
        }

        let (Some(core), Some(stored)) = (facts.row(CORE), facts.row(SUSPENSION)) else {
            return Ok(Step::Answer(false));
        };

        let due = stored.read(suspension_current::timeout_at_ms)?;
        let at = self.at.unwrap_or(ctx.now);
        if due.is_none_or(|due| at.0 <= due) {
            return Ok(Step::Answer(false));
        }

        let suspension = Suspension::read(stored)?;
        let waits = core.read(exec_core::lifecycle_phase)? == LifecyclePhase::Suspended;
        let plan = if waits {
            self.given_up(&suspension, stored, core, at, ctx)?
        } else {
            over(&suspension, self)
        };
        Ok(Step::Commit(plan, Then::Answer(true)))
    }
}

/// Only clears the timeout: the execution ended or went on by itself.
fn over(suspension: &Suspension, expire: &ExpireSuspension) -> Plan {
    let plan = suspension.pinned(Plan::new("expire_suspension"), &expire.key);
    let set = vec![suspension_current::timeout_at_ms.clear(), suspension_current::version.grow(1)];
    changed(plan, set)
}

impl ExpireSuspension {
    fn given_up(
        &self,
        suspension: &Suspension,
        stored: &Row,
        core: &Row,
        at: TimestampMs,
        ctx: &mut Ctx<'_>,
    ) -> Result<Plan, EngineError> {
        let plan = suspension.ending("expire_suspension", &self.key, core)?;
        let ended = |plan: Plan, end: End, reason: &str| -> Result<Plan, EngineError> {
            Ok(plan.and(closed(given_up_as(end, reason, at), core)?))
        };

        Ok(match suspension.timeout_behavior {
            TimeoutBehavior::Fail => ended(plan, End::FAILED, "suspension_timeout_fail")?,
            TimeoutBehavior::Cancel => ended(plan, End::CANCELLED, "suspension_timeout_cancel")?,
            TimeoutBehavior::Expire => ended(plan, End::EXPIRED, "suspension_timeout_expire")?,
            TimeoutBehavior::AutoResumeWithTimeoutSignal => {
                let signal = timed_out(SignalId::from_uuid(ctx.uuid()), at);
                let delay_ms = suspension.resume_delay_ms(None);
                let (plan, _) = woken(plan, Status::resumable(), delay_ms, at);
                // Signals that cannot be read stay as they are: the wait ends all the same.
                let told = Suspension::collected(stored).and_then(|mut collected| {
                    collected.add(TIMEOUT_KEY, &signal, None)?;
                    Ok(vec![suspension_current::member_map.set(collected.stored())])
                });
                suspension.closed(plan, told.unwrap_or_default())
            }
            TimeoutBehavior::Escalate => escalated(plan, at),
        })
    }
}

fn given_up_as(end: End, reason: &str, at: TimestampMs) -> Vec<Mutation> {
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

/// Keeps the execution suspended for an operator: signals still count, so its waitpoints stay open.
fn escalated(plan: Plan, at: TimestampMs) -> Plan {
    let paused = exec_core::blocking_reason.set(Some(BlockingReason::PausedByOperator));

    let set = vec![
        suspension_current::timeout_at_ms.clear(),
        suspension_current::reason_code.set(Some("waiting_for_operator_review".into())),
        suspension_current::version.grow(1),
    ];

    let plan = changed(plan.and([change::edits([paused], at)]), set);
    plan.update(
        waitpoint_pending::REF,
        waitpoints_of_core(),
        vec![waitpoint_pending::expires_at_ms.clear()],
    )
}
