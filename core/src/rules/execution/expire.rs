//! Time limits: leases lapse, attempts take too long, executions miss their deadline.
//!
//! Each limit says once when it is `due`: its scan lists such rows, and the transition checks the
//! same predicate before it acts.

use serde_json::json;

use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::model::state::{
    AttemptOutcome, AttemptState, ClosedSet as _, FailureClass, LeaseCause, LifecyclePhase,
};
use crate::plan::facts::Facts;
use crate::plan::{Guard, Mutation, Predicate};
use crate::rules::changes::Changes;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Verdict};
use crate::rules::execution::change;
use crate::rules::execution::end::End;
use crate::rules::execution::fail::{
    Retry, ended, ended_with, next_delay, retry_count, retry_policy,
};
use crate::rules::execution::failure::Failure;
use crate::rules::execution::losses::Losses;
use crate::rules::key::{ATTEMPT, CORE, ExecutionKey, current_attempt};
use crate::rules::outbox::{self, Reason};
use crate::rules::premise::{Condition, Premise, answer, existing, of_a_known_phase};
use crate::rules::status::{Status, lease_ended};
use crate::schema::execution::{attempt, exec_core, running, unfinished};

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

impl ExpireLease {
    /// The attempts with a lease that lapsed.
    #[must_use]
    pub fn due(at: TimestampMs) -> Predicate {
        attempt::lease_expires_at_ms.at_most(Some(at.0))
    }

    /// The rows of a lease that lapses: a running execution, and an attempt for which that holds.
    #[must_use]
    pub fn premises_of(key: &ExecutionKey, lapsed: Predicate) -> Vec<Premise<bool>> {
        let active = Condition::new(running(), of_a_known_phase(answer(false)));
        let lapsed = Condition::new(lapsed, answer(false));
        vec![
            Premise::execution(key, vec![active]).or_if_absent(answer(false)),
            Premise::current_attempt().or_if_absent(answer(false)).guarded_by(vec![lapsed]),
        ]
    }

    /// The changes when the lease lapses for that cause; `None` for an execution of which nothing
    /// is known.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a column that holds what it must not.
    pub fn lapses(
        &self,
        cause: LeaseCause,
        facts: &Facts,
        at: TimestampMs,
    ) -> Result<Option<Changes>, EngineError> {
        let losses = match (facts.row(CORE), self.expected) {
            (Some(core), _) => Losses::read(core)?,
            (None, Some(expected)) => expected,
            (None, None) => return Ok(None),
        };

        let expired = match losses.fatal() {
            Some(failure) => ended_with(&failure, End::FAILED, Some(losses.one_more()), at),
            None => released(losses, at),
        };
        let changes = Changes::of(expired)
            .and([outbox::lease_ended(cause, at)])
            .relying_on(CORE, losses.unchanged());
        changes.closing(facts).map(Some)
    }
}

impl Decision for ExpireLease {
    /// True if it was released or ended.
    type Outcome = bool;

    const NAME: &'static str = "expire_lease";

    fn premises(&self, at: TimestampMs) -> Vec<Premise<bool>> {
        Self::premises_of(&self.key, Self::due(at))
    }

    fn expects(&self) -> bool {
        self.expected.is_some()
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<bool> {
        match self.lapses(LeaseCause::Expired, facts, at)? {
            Some(changes) => Verdict::change(changes, true),
            None => Ok(Verdict::Answer(false)),
        }
    }
}

fn released(losses: Losses, at: TimestampMs) -> Vec<Mutation> {
    let core = change::enters(Status::waiting(AttemptState::AttemptInterrupted), at)
        .noting(json!({ "lease_expired_at_ms": at.0 }))
        .set(losses.one_more());
    let mut lease = lease_ended(AttemptOutcome::LeaseExpiredReclaimable);
    lease.push(attempt::lease_epoch.grow(1));

    vec![core.update(), change::attempt(lease)]
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

impl ExpireAttempt {
    /// The attempts that took too long.
    #[must_use]
    pub fn due(at: TimestampMs) -> Predicate {
        attempt::timeout_at_ms.at_most(Some(at.0))
    }
}

impl Decision for ExpireAttempt {
    /// True if it was ended.
    type Outcome = bool;

    const NAME: &'static str = "expire_attempt";

    fn at(&self, ctx: &Ctx<'_>) -> TimestampMs {
        self.at.unwrap_or(ctx.now)
    }

    fn premises(&self, at: TimestampMs) -> Vec<Premise<bool>> {
        let active = Condition::new(running(), of_a_known_phase(answer(false)));
        let due = Condition::new(Self::due(at), answer(false));
        vec![
            Premise::execution_as_read(&self.key, vec![active]).or_if_absent(answer(false)),
            Premise::current_attempt().or_if_absent(answer(false)).guarded_by(vec![due]),
        ]
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, ctx: &mut Ctx<'_>) -> Decided<bool> {
        let core = existing(facts)?;
        let attempt_index = core.read(exec_core::attempt_index)?;
        let retries = retry_count(core)?;
        let failure = Failure::new(FailureClass::Timeout, "attempt_timeout");
        let policy = retry_policy(core)?.filter(|policy| policy.retries_category(TIMEOUT));

        let ended = match next_delay(policy.as_ref(), retries, ctx) {
            Some(delay_ms) => {
                let outcome = AttemptOutcome::Interrupted;
                let retry = Retry { attempt_index, outcome, retries, delay_ms };
                retry.scheduled(&failure, at)?.0
            }
            None => ended(&failure, End::EXPIRED, at),
        };
        let changes = Changes::of(ended).and([outbox::lease_ended(LeaseCause::TimedOut, at)]);
        Verdict::change(changes.closing(facts)?, true)
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

impl ExpireExecution {
    /// The executions that missed their deadline.
    #[must_use]
    pub fn due(at: TimestampMs) -> Predicate {
        exec_core::deadline_at_ms.at_most(Some(at.0)).and(unfinished())
    }
}

impl Decision for ExpireExecution {
    /// True if it was ended.
    type Outcome = bool;

    const NAME: &'static str = "expire_execution";

    fn at(&self, ctx: &Ctx<'_>) -> TimestampMs {
        self.at.unwrap_or(ctx.now)
    }

    fn premises(&self, at: TimestampMs) -> Vec<Premise<bool>> {
        let due = Condition::new(Self::due(at), answer(false));
        vec![
            Premise::execution_as_read(&self.key, vec![due]).or_if_absent(answer(false)),
            Premise::current_attempt(),
        ]
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<bool> {
        let phase = existing(facts)?.read(exec_core::lifecycle_phase)?;
        let leased = phase == LifecyclePhase::Active && facts.row(ATTEMPT).is_some();

        let end = End::EXPIRED;
        let failure = Failure::new(FailureClass::Timeout, "execution_deadline");
        let core = end.of_execution(at).noting(json!({
            "last_failure_message": failure.message,
            "last_failure_class": failure.class.map_or("", FailureClass::as_str),
            "terminal_outcome": "expired",
        }));
        let changes = Changes::of([
            core.update(),
            end.record_failed_attempt(&failure, at),
            outbox::completed(end.event, Reason::Failure(&failure), at),
        ]);

        if !leased {
            return Verdict::change(changes.closing(facts)?, true);
        }
        // The attempt is held so that the event can name its lease.
        let changes = changes
            .holding([Guard::new(ATTEMPT, attempt::REF, current_attempt(), Predicate::Always)])
            .and([outbox::lease_ended(LeaseCause::Deadline, at)]);
        Verdict::change(changes.closing(facts)?, true)
    }
}
