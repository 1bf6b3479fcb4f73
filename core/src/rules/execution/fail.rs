//! Failure: tried again by policy, or for good.

use serde_json::{Value as Json, json};

use crate::model::error::{EngineError, ValidationKind};
use crate::model::handle_codec::RetryFacts;
use crate::model::ids::{AttemptIndex, TimestampMs};
use crate::model::policy::RetryPolicy;
use crate::model::state::{
    AttemptOutcome, AttemptState, BlockingReason, ClosedSet as _, FailureClass, LeaseCause,
};
use crate::plan::facts::{Facts, Row};
use crate::plan::value::Storable;
use crate::plan::{Assign, Mutation, OnConflict};
use crate::rules::changes::Changes;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Verdict};
use crate::rules::execution::change;
use crate::rules::execution::end::End;
use crate::rules::execution::failure::Failure;
use crate::rules::fence::{Fence, OpenLease};
use crate::rules::input;
use crate::rules::key::{ATTEMPT, CORE, attempt_of_core};
use crate::rules::outbox::{self, Reason};
use crate::rules::premise::Premise;
use crate::rules::status::{Status, lease_ended};
use crate::schema::ColumnRef;
use crate::schema::execution::{attempt, exec_core};

/// The consequence of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// Another attempt, not before the given time.
    RetryScheduled {
        /// The time from which it may be claimed.
        delay_until: TimestampMs,
        /// Its index.
        next_attempt_index: AttemptIndex,
    },
    /// The end.
    TerminalFailed,
}

/// The policy that decides on another attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum RetryRule {
    /// The execution's own retry policy, or the default one: it says which classes are retried. The
    /// policy and count that the claim found are expected to be unchanged; without them both are
    /// read.
    ByClass(FailureClass, Option<Retries>),
    /// The caller's policy; none means no retry.
    Given(Option<RetryPolicy>),
}

/// The retry policy of an execution, if it has one of its own, and the number of its retries.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Retries {
    /// The policy.
    pub policy: Option<RetryPolicy>,
    /// The retries so far.
    pub count: u32,
}

impl RetryRule {
    /// The rule for a failure of that class, under a handle with these facts. Facts with a policy
    /// that cannot be parsed count as none, so that the policy is read.
    #[must_use]
    pub fn by_class(class: FailureClass, facts: Option<&RetryFacts>) -> Self {
        let retries = facts.and_then(|facts| {
            let policy = facts.policy().ok()?;
            Some(Retries { policy, count: facts.retries() })
        });
        Self::ByClass(class, retries)
    }
}

/// A worker reports that the attempt failed.
#[derive(Clone, Debug)]
pub struct Fail {
    /// The fence of the worker that reports.
    pub fence: Fence,
    /// The failure.
    pub failure: Failure,
    /// The rule that decides on another attempt.
    pub retry: RetryRule,
}

impl Fail {
    /// The retry policy of a wire document.
    ///
    /// # Errors
    /// `Validation(InvalidPolicyJson)` with what is wrong with it: no such document, or a field out
    /// of its bounds.
    pub fn policy_of(text: &str) -> Result<Option<RetryPolicy>, EngineError> {
        const FIELD: &str = "retry_policy_json";
        let refuse = |detail: String| EngineError::Validation {
            kind: ValidationKind::InvalidPolicyJson,
            detail,
        };

        let policy = RetryPolicy::from_wire_json(text)
            .map_err(|error| refuse(format!("{FIELD}: {error}")))?;
        let fault = policy.as_ref().and_then(|policy| policy.check(FIELD).err());
        fault.map_or(Ok(policy), |fault| Err(refuse(fault.to_string())))
    }

    /// Refuses a policy for one attempt: all attempts follow the policy of their execution.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for anything but an empty document.
    pub fn no_policy_of_an_attempt(field: &str, text: &str) -> Result<(), EngineError> {
        if matches!(text.trim(), "" | "{}" | "null") {
            return Ok(());
        }
        Err(input::invalid(format!(
            "{field}: has no effect in this version; the policy of the execution counts for all of \
             its attempts"
        )))
    }

    fn is_final(&self) -> bool {
        match &self.retry {
            RetryRule::ByClass(
                FailureClass::Transient | FailureClass::InfraCrash | FailureClass::Timeout,
                _,
            ) => false,
            RetryRule::ByClass(FailureClass::Permanent | FailureClass::Cancelled, _) => true,
            RetryRule::Given(policy) => policy.is_none(),
        }
    }
}

impl Decision for Fail {
    type Outcome = Failed;

    const NAME: &'static str = "fail";

    fn premises(&self, at: TimestampMs) -> Vec<Premise<Failed>> {
        self.fence.premises(at, OpenLease::Live)
    }

    /// A failure that no policy can turn into a retry needs nothing from the rows, nor does one
    /// with the retry policy and count of its claim at hand.
    fn expects(&self) -> bool {
        self.is_final() || matches!(self.retry, RetryRule::ByClass(_, Some(_)))
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, ctx: &mut Ctx<'_>) -> Decided<Failed> {
        let Retries { policy, count } = self.retries(facts.row(CORE))?;
        let lease_ended = outbox::lease_ended(LeaseCause::Failed, at);

        let Some(usual_ms) = next_delay(policy.as_ref(), count, ctx) else {
            let ends = Changes::of(ended(&self.failure, End::FAILED, at)).and([lease_ended]);
            let ends = ends.closing_under(&self.fence, facts)?;
            return Verdict::change(ends, Failed::TerminalFailed);
        };

        let retry = Retry {
            attempt_index: self.attempt_index(facts)?,
            outcome: self.outcome(),
            retries: count,
            delay_ms: self.failure.retry_after_ms.unwrap_or(usual_ms),
        };
        let (scheduled, outcome) = retry.scheduled(&self.failure, at)?;
        let retries = Changes::of(scheduled).and([lease_ended]);
        Verdict::change(retries.closing_under(&self.fence, facts)?, outcome)
    }
}

impl Fail {
    /// The policy that decides on another attempt, if one may help, and the retries so far.
    fn retries(&self, core: Option<&Row>) -> Result<Retries, EngineError> {
        if self.is_final() {
            return Ok(Retries::default());
        }

        match (&self.retry, core) {
            (RetryRule::Given(policy), core) => {
                let count = core.map(retry_count).transpose()?.unwrap_or(0);
                Ok(Retries { policy: policy.clone(), count })
            }
            (RetryRule::ByClass(class, expected), core) => {
                let Retries { policy, count } = match core {
                    Some(core) => {
                        Retries { policy: retry_policy(core)?, count: retry_count(core)? }
                    }
                    None => expected.clone().unwrap_or_default(),
                };
                let policy = policy.unwrap_or_default();
                Ok(Retries {
                    policy: Some(policy).filter(|policy| policy.retries_class(*class)),
                    count,
                })
            }
        }
    }

    fn attempt_index(&self, facts: &Facts) -> Result<i32, EngineError> {
        let stored = facts.row(CORE).map(|core| core.read(exec_core::attempt_index)).transpose()?;
        Ok(stored.unwrap_or(self.fence.attempt_index))
    }

    /// The outcome of an attempt that another one follows.
    fn outcome(&self) -> AttemptOutcome {
        match self.retry {
            RetryRule::ByClass(..) => AttemptOutcome::Retry,
            RetryRule::Given(_) => AttemptOutcome::Failed,
        }
    }
}

/// The retry policy that an execution was submitted with.
///
/// # Errors
/// `Validation(Corruption)` when the row holds no document.
pub fn retry_policy(core: &Row) -> Result<Option<RetryPolicy>, EngineError> {
    Ok(core.read(exec_core::policy)?.as_ref().and_then(RetryPolicy::of_execution))
}

/// The number of retries that an execution has had.
///
/// # Errors
/// `Validation(Corruption)` when the stored count is not a number.
pub fn retry_count(core: &Row) -> Result<u32, EngineError> {
    let raw = core.read(exec_core::raw_fields)?;
    let count = match raw.get("retry_count") {
        None | Some(Json::Null) => return Ok(0),
        Some(Json::String(text)) => text.parse().ok(),
        Some(number) => number.as_i64().map(|count| count.max(0)),
    };

    count.and_then(|count: i64| u32::try_from(count.max(0)).ok()).ok_or_else(|| {
        EngineError::Validation {
            kind: ValidationKind::Corruption,
            detail: format!(
                "ff_exec_core.raw_fields: retry_count {} is not a count",
                raw.get("retry_count").unwrap_or(&Json::Null)
            ),
        }
    })
}

/// The time to wait before the next attempt, ms; `None` when there is none.
#[must_use]
pub fn next_delay(policy: Option<&RetryPolicy>, retries: u32, ctx: &mut Ctx<'_>) -> Option<u64> {
    let policy = policy.filter(|policy| retries < policy.max_retries)?;
    Some(policy.backoff.delay_ms(retries, Some(ctx.fraction())))
}

/// Another attempt of an execution.
pub struct Retry {
    /// The attempt that ends.
    pub attempt_index: i32,
    /// The outcome of that attempt.
    pub outcome: AttemptOutcome,
    /// The number of retries before this one.
    pub retries: u32,
    /// The time to wait before the next attempt, ms.
    pub delay_ms: u64,
}

impl Retry {
    /// Ends the attempt and puts the next one in its place, with the epoch carried on so that it
    /// never restarts. The attempt that ends keeps the failure.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` when the attempt index cannot grow any further.
    pub fn scheduled(
        &self,
        failure: &Failure,
        at: TimestampMs,
    ) -> Result<(Vec<Mutation>, Failed), EngineError> {
        let Self { attempt_index, outcome, retries, delay_ms } = self;
        let next = attempt_index
            .checked_add(1)
            .ok_or_else(|| input::invalid("attempt_index: cannot grow any further"))?;

        let delay_until = TimestampMs(at.0.saturating_add(input::clamped_ms(*delay_ms)));
        let pending = AttemptState::PendingRetryAttempt;
        let status = match delay_ms {
            0 => Status::waiting(pending),
            _ => Status::delayed(BlockingReason::WaitingForRetryBackoff, pending, delay_until),
        };
        let reason = failure.message.as_str();

        let core =
            change::enters(status, at).set(exec_core::attempt_index.set(next)).noting(json!({
                "pending_retry_reason": reason,
                "failure_reason": reason,
                "last_failure_message": reason,
                "last_failure_class": failure.class.map_or("", FailureClass::as_str),
                "pending_previous_attempt_index": attempt_index.to_string(),
                "retry_count": (u64::from(*retries) + 1).to_string(),
                "delay_until": delay_until.0.to_string(),
            }));

        let mut ended = lease_ended(*outcome);
        ended.push(attempt::terminal_at_ms.set(Some(at.0)));
        ended.extend(failure.of_attempt());
        let mut following = attempt_of_core(next.into_expr());
        following.push(attempt::lease_epoch.with_expr(attempt::lease_epoch.of(ATTEMPT)));

        let begun = Mutation::Insert {
            table: attempt::REF,
            row: following,
            on_conflict: OnConflict::Ignore,
        };
        let next_attempt_index = AttemptIndex(next.unsigned_abs());
        let scheduled = Failed::RetryScheduled { delay_until, next_attempt_index };
        Ok((vec![core.update(), change::attempt(ended), begun], scheduled))
    }
}

/// The end of an execution with its attempt, by this failure.
#[must_use]
pub fn ended(failure: &Failure, end: End, at: TimestampMs) -> Vec<Mutation> {
    ended_with(failure, end, None, at)
}

/// The same; the execution's row takes this change besides.
#[must_use]
pub fn ended_with(
    failure: &Failure,
    end: End,
    besides: Option<(ColumnRef, Assign)>,
    at: TimestampMs,
) -> Vec<Mutation> {
    let mut attempt = end.of_attempt(at);
    attempt.extend(failure.of_attempt());

    vec![
        execution_ended(failure, end, besides, at),
        change::attempt(attempt),
        outbox::completed(end.event, Reason::Failure(failure), at),
    ]
}

/// The end of an execution's row by this failure; it takes this change besides.
#[must_use]
pub fn execution_ended(
    failure: &Failure,
    end: End,
    besides: Option<(ColumnRef, Assign)>,
    at: TimestampMs,
) -> Mutation {
    let core = end.of_execution(at).set_all(besides).noting(json!({
        "failure_reason": failure.message,
        "last_failure_message": failure.message,
        "last_failure_class": failure.class.map_or("", FailureClass::as_str),
        "terminal_outcome": <&'static str>::from(end.outcome),
    }));
    core.update()
}
