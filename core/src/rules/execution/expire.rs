//! Time limits: leases lapse, attempts take too long, executions miss their deadline.

use serde_json::json;

use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::model::state::{
    AttemptOutcome, AttemptState, ClosedSet as _, FailureClass, LeaseCause, LifecyclePhase,
};
use crate::plan::facts::Facts;
use crate::plan::{Held, Plan, Predicate, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Then, Transition};
use crate::rules::execution::fail::{
    Retry, ended, ended_with, next_delay, retry_count, retry_policy,
};
use crate::rules::execution::failure::Failure;
use crate::rules::execution::finish::End;
use crate::rules::execution::losses::Losses;
use crate::rules::key::{ATTEMPT, CORE, ExecutionKey, current_attempt, held_attempt, held_core};
use crate::rules::outbox::{self, Reason};
use crate::rules::premise::{Known, row_and_attempt, unmoved};
use crate::rules::status::{Status, lease_ended};
use crate::rules::suspension::close::{closed, closed_if_read};
use crate::schema::execution::{attempt, exec_core};

/// Releases an execution after its lease lapsed: it can be claimed again at once, and the epoch
/// grows, so that its old worker can change nothing any more. One loss more than its policy allows
/// ends it as failed. Changes nothing when the lease is live.
#[derive(Clone, Copy, Debug)]
pub struct ExpireLease {
    /// The execution.
    pub key: ExecutionKey,
    /// The losses that a scan has read, where one did; expected to be unchanged.
    pub expected: Option<Losses>,
}

impl Transition for ExpireLease {
    /// True if it was released or ended.
    type Outcome = bool;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<bool>, EngineError> {
        let (key, at) = (&self.key, ctx.now);
        let lapsed = attempt::lease_expires_at_ms.at_most(Some(at.0));

        let (losses, known) = match (self.expected, facts.rows()) {
            // The first try after a scan expects the losses that the scan has read.
            (Some(expected), _) if facts.refusals() == 0 => (expected, Known::default()),
            (_, None) => return Ok(Step::Read(vec![Query::Lookup(row_and_attempt(key))])),
            (_, Some(rows)) => {
                let (Some(core), Some(current)) = (rows.row(CORE), rows.row(ATTEMPT)) else {
                    return Ok(Step::Answer(false));
                };
                let active = core.read(exec_core::lifecycle_phase)? == LifecyclePhase::Active;
                if !active || !lapsed.accepts(current, &Held::default()) {
                    return Ok(Step::Answer(false));
                }
                (Losses::read(core)?, Known::of(rows))
            }
        };

        let pinned = known.row(CORE).map(unmoved).transpose()?.unwrap_or(Predicate::Always);
        let active = exec_core::lifecycle_phase.is(LifecyclePhase::Active);
        let active = active.and(losses.unmoved()).and(pinned);
        let plan = Plan::new("expire_lease").guard(CORE, exec_core::REF, key.core(), active).guard(
            ATTEMPT,
            attempt::REF,
            current_attempt(),
            lapsed,
        );

        let plan = match losses.fatal() {
            Some(failure) => ended_with(plan, &failure, End::FAILED, vec![losses.one_more()], at),
            None => released(plan, losses, at),
        };
        let plan = outbox::lease_ended(plan, LeaseCause::Expired, at);
        Ok(Step::Commit(closed_if_read(plan, &known)?, Then::Answer(true)))
    }
}

fn released(plan: Plan, losses: Losses, at: TimestampMs) -> Plan {
    let mut core = Status::waiting(AttemptState::AttemptInterrupted).assignments(at);
    let expired = json!({ "lease_expired_at_ms": at.0, "last_mutation_at": at.0.to_string() });
    core.push(exec_core::raw_fields.merge(expired));
    core.push(losses.one_more());
    let mut lease = lease_ended(AttemptOutcome::LeaseExpiredReclaimable);
    lease.push(attempt::lease_epoch.grow(1));

    plan.update(exec_core::REF, held_core(), core).update(attempt::REF, held_attempt(), lease)
}

/// The category under which a retry policy lists an attempt that took too long.
const TIMEOUT: &str = "timeout";

/// Ends an attempt that ran longer than its execution allows: retried by policy, else the
/// execution expires. Changes nothing when it is not due.
#[derive(Clone, Copy, Debug)]
pub struct ExpireAttempt {
    /// The execution.
    pub key: ExecutionKey,
    /// The caller's time, where it gave one.
    pub at: Option<TimestampMs>,
}

impl Transition for ExpireAttempt {
    /// True if it was ended.
    type Outcome = bool;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<bool>, EngineError> {
        let (key, at) = (&self.key, self.at.unwrap_or(ctx.now));
        let Some(rows) = facts.rows() else {
            return Ok(Step::Read(vec![Query::Lookup(row_and_attempt(key))]));
        };
        let (Some(core), Some(current)) = (rows.row(CORE), rows.row(ATTEMPT)) else {
            return Ok(Step::Answer(false));
        };

        let due = attempt::timeout_at_ms.at_most(Some(at.0));
        let is_due = due.accepts(current, &Held::default());
        if core.read(exec_core::lifecycle_phase)? != LifecyclePhase::Active || !is_due {
            return Ok(Step::Answer(false));
        }

        let version = unmoved(core)?;
        let plan = Plan::new("expire_attempt")
            .guard(CORE, exec_core::REF, key.core(), version)
            .guard(ATTEMPT, attempt::REF, current_attempt(), due);

        let attempt_index = core.read(exec_core::attempt_index)?;
        let retries = retry_count(core)?;
        let failure = Failure::new(FailureClass::Timeout, "attempt_timeout");
        let policy = retry_policy(core)?.filter(|policy| policy.retries_category(TIMEOUT));

        let plan = match next_delay(policy.as_ref(), retries, ctx) {
            Some(delay_ms) => {
                let outcome = AttemptOutcome::Interrupted;
                let retry = Retry { attempt_index, outcome, retries, delay_ms };
                retry.scheduled(plan, &failure, at)?.0
            }
            None => ended(plan, &failure, End::EXPIRED, at),
        };

        let plan = outbox::lease_ended(plan, LeaseCause::TimedOut, at);
        Ok(Step::Commit(closed(plan, core)?, Then::Answer(true)))
    }
}

/// Ends an execution that missed its deadline, whether it runs or waits. Changes nothing when it is
/// not due.
#[derive(Clone, Copy, Debug)]
pub struct ExpireExecution {
    /// The execution.
    pub key: ExecutionKey,
    /// The caller's time, where it gave one.
    pub at: Option<TimestampMs>,
}

impl Transition for ExpireExecution {
    /// True if it was ended.
    type Outcome = bool;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<bool>, EngineError> {
        let (key, at) = (&self.key, self.at.unwrap_or(ctx.now));
        let Some(rows) = facts.rows() else {
            return Ok(Step::Read(vec![Query::Lookup(row_and_attempt(key))]));
        };
        let Some(core) = rows.row(CORE) else {
            return Ok(Step::Answer(false));
        };

        let phase = core.read(exec_core::lifecycle_phase)?;
        let deadline = core.read(exec_core::deadline_at_ms)?;
        let due = deadline.is_some_and(|deadline| deadline <= at.0);
        if phase.is_terminal() || !due {
            return Ok(Step::Answer(false));
        }

        let version = unmoved(core)?;
        let failure = Failure::new(FailureClass::Timeout, "execution_deadline");
        let mut set = End::EXPIRED.of_core(at);
        set.push(exec_core::raw_fields.merge(json!({
            "last_failure_message": failure.message,
            "last_failure_class": failure.class.map_or("", FailureClass::as_str),
            "terminal_outcome": "expired",
            "last_mutation_at": at.0.to_string(),
        })));

        let plan = Plan::new("expire_execution").guard(CORE, exec_core::REF, key.core(), version);
        let leased = phase == LifecyclePhase::Active && rows.row(ATTEMPT).is_some();
        let plan = if leased {
            // Held so that the event can name the lease.
            let any = Predicate::Always;
            plan.guard(ATTEMPT, attempt::REF, current_attempt(), any)
        } else {
            plan
        };

        let plan = plan.update(exec_core::REF, held_core(), set);
        let plan = End::EXPIRED.record_failed_attempt(plan, &failure, at);
        let plan = outbox::completed(plan, End::EXPIRED.event, Reason::Failure(&failure), at);
        let plan = if leased { outbox::lease_ended(plan, LeaseCause::Deadline, at) } else { plan };
        Ok(Step::Commit(closed(plan, core)?, Then::Answer(true)))
    }
}
