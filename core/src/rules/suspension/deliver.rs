//! Delivering a signal to a waitpoint; the signal that completes the condition wakes the execution.

use crate::contracts::{DeliverSignalArgs, DeliverSignalResult};
use crate::model::crypto::constant_time_eq;
use crate::model::crypto::hmac::HmacVerifyError;
use crate::model::error::{EngineError, StateKind, ValidationKind};
use crate::model::ids::TimestampMs;
use crate::model::policy::stored::max_signals;
use crate::model::state::{LifecyclePhase, SignalEffect, WaitpointState};
use crate::plan::facts::{Facts, Row};
use crate::plan::{Assign, Guard, Predicate};
use crate::rules::budget::over_run::Raise;
use crate::rules::changes::Changes;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Verdict};
use crate::rules::input;
use crate::rules::key::{CORE, ExecutionKey};
use crate::rules::keystore::{KEY, TokenKey, kid_of, refused};
use crate::rules::outbox;
use crate::rules::premise::{
    Premise, execution_row, existing, lookup, refuse, unchanged, without_bodies,
};
use crate::rules::status::Status;
use crate::rules::suspension::collected::{Collected, delivered};
use crate::rules::suspension::dedup::{dedup_row, first_signal, record_signal};
use crate::rules::suspension::repeat::REPEATED;
use crate::rules::suspension::row::{
    SUSPENSION, Suspension, WAITPOINT, suspension_as_read, suspension_change, suspension_row,
};
use crate::rules::suspension::satisfied::satisfied;
use crate::rules::suspension::waitpoint::{check_bound, waitpoint_key};
use crate::rules::suspension::wake::{resume_changes, resume_status};
use crate::schema::ColumnRef;
use crate::schema::execution::exec_core;
use crate::schema::suspension::{signal_dedup, suspension_current, waitpoint_pending};

/// The answer to a signal that completes the condition.
const SATISFIED: &str = "resume_condition_satisfied";
/// The answer to a signal that is kept for later.
const BUFFERED: &str = "appended_to_waitpoint";

/// Delivers one signal.
#[derive(Clone, Debug)]
pub struct Deliver {
    args: DeliverSignalArgs,
    key: ExecutionKey,
    /// The number of signals that the waitpoint keeps.
    keep: Option<usize>,
}

impl Deliver {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation` for text with NUL, a name or a payload that is too long, and a waitpoint that
    /// would keep no signal.
    pub fn new(args: DeliverSignalArgs) -> Result<Self, EngineError> {
        for (field, text) in [
            ("signal_name", args.signal_name.as_str()),
            ("signal_category", &args.signal_category),
            ("source_type", &args.source_type),
            ("source_identity", &args.source_identity),
            ("correlation_id", args.correlation_id.as_deref().unwrap_or_default()),
        ] {
            input::text(field, text)?;
        }

        input::name("idempotency_key", args.idempotency_key.as_deref().unwrap_or_default())?;
        input::body("payload", args.payload.as_deref().unwrap_or_default())?;

        let keep = match args.signal_maxlen {
            None => None,
            Some(0) => return Err(input::invalid("signal_maxlen: must be positive")),
            Some(keep) => Some(usize::try_from(keep).unwrap_or(usize::MAX)),
        };

        Ok(Self { key: ExecutionKey::of(&args.execution_id)?, args, keep })
    }

    fn kid(&self) -> &str {
        kid_of(self.args.waitpoint_token.as_str()).unwrap_or_default()
    }
}

impl Decision for Deliver {
    type Outcome = DeliverSignalResult;

    const NAME: &'static str = "deliver_signal";

    fn at(&self, _: &Ctx<'_>) -> TimestampMs {
        self.args.now
    }

    /// Only the waitpoint is a condition: a sender learns what else is missing only once its token
    /// was checked.
    fn premises(&self, _: TimestampMs) -> Vec<Premise<Self::Outcome>> {
        let waitpoint = waitpoint_key(self.key.partition, &self.args.waitpoint_id);
        let key = self.args.idempotency_key.as_deref();
        let premises = [
            Premise::read(WAITPOINT, lookup(WAITPOINT, waitpoint_pending::REF, waitpoint))
                .or_if_absent(refuse(|_| EngineError::NotFound { entity: "waitpoint" })),
            Premise::read(KEY, TokenKey::lookup(self.kid())),
            Premise::read(CORE, execution_row(&self.key, without_bodies(exec_core::REF))),
            suspension_as_read(suspension_row(&self.key), Vec::new()),
        ];

        let repeated = key.map(|key| Premise::read(REPEATED, dedup_row(&self.key, key)));
        premises.into_iter().chain(repeated).collect()
    }

    /// The signal that completes a condition closes its waitpoint; its sender still has the token,
    /// and may repeat it.
    fn repeated(
        &self,
        facts: &Facts,
        ctx: &Ctx<'_>,
    ) -> Result<Option<DeliverSignalResult>, EngineError> {
        let (key, row) = (facts.row(KEY), facts.row(REPEATED));
        let Some(existing_signal_id) = first_signal(row, self.args.now)? else { return Ok(None) };

        match facts.row(WAITPOINT) {
            Some(waitpoint) => self.authorise(waitpoint, key, ctx.now)?,
            None => {
                let signalled = row.map(|row| row.read(signal_dedup::waitpoint_id)).transpose()?;
                if signalled != Some(self.args.waitpoint_id.0) {
                    return Ok(None);
                }
                self.verify(key, self.kid(), ctx.now)?;
            }
        }
        Ok(Some(DeliverSignalResult::Duplicate { existing_signal_id }))
    }

    fn decide(&self, facts: &Facts, _: TimestampMs, ctx: &mut Ctx<'_>) -> Decided<Self::Outcome> {
        let absent = |entity| EngineError::NotFound { entity };
        let waitpoint = facts.row(WAITPOINT).ok_or_else(|| absent("waitpoint"))?;
        self.authorise(waitpoint, facts.row(KEY), ctx.now)?;
        self.check_open(waitpoint)?;

        let stored = facts.row(SUSPENSION).ok_or_else(|| absent("suspension"))?;
        let core = existing(facts)?;
        if core.read(exec_core::lifecycle_phase)? != LifecyclePhase::Suspended {
            return Err(EngineError::State(StateKind::TargetNotSignalable));
        }

        let suspension = Suspension::read(stored)?;
        check_bound(waitpoint, &suspension)?;
        self.check_cap(&suspension, core)?;

        let waitpoint_key = waitpoint.read(waitpoint_pending::waitpoint_key)?;
        let condition = Suspension::condition(stored)?;
        let mut collected = Suspension::collected(stored)?;
        collected.add(&waitpoint_key, &delivered(&self.args), self.keep)?;

        let (changes, effect) = if satisfied(&condition, &collected.by_key()) {
            let raises = Raise::of_suspension(stored)?.map(|raise| raise.change(self.args.now));
            (self.satisfied_changes(&suspension, &collected, core)?.and(raises), SATISFIED)
        } else {
            (self.buffered_changes(&collected), BUFFERED)
        };
        let signal_id = self.args.signal_id.clone();
        Verdict::change(
            changes.and(record_signal(&self.key, &self.args)),
            DeliverSignalResult::Accepted { signal_id, effect: effect.into() },
        )
    }
}

impl Deliver {
    /// Checks that the sender may signal here: the token is the one that was handed out, and its
    /// key still counts.
    fn authorise(
        &self,
        waitpoint: &Row,
        key: Option<&Row>,
        now: TimestampMs,
    ) -> Result<(), EngineError> {
        if waitpoint.read(waitpoint_pending::execution_id)? != self.key.uuid {
            return Err(input::invalid("waitpoint belongs to a different execution"));
        }

        let stored_kid = waitpoint.read(waitpoint_pending::token_kid)?;
        self.verify(key, &stored_kid, now)?;

        let stored = waitpoint.read(waitpoint_pending::token)?;
        let given = self.args.waitpoint_token.as_str();
        if !constant_time_eq(stored.as_bytes(), given.as_bytes()) {
            return Err(input::invalid("waitpoint_token does not match minted token"));
        }
        Ok(())
    }

    fn verify(&self, key: Option<&Row>, kid: &str, now: TimestampMs) -> Result<(), EngineError> {
        let token = self.args.waitpoint_token.as_str();
        match kid_of(token) {
            None => Err(refused(&HmacVerifyError::Malformed)),
            Some(given) if given != kid => Err(refused(&HmacVerifyError::WrongKid {
                expected: kid.to_owned(),
                actual: given.to_owned(),
            })),
            Some(_) => {
                let (execution, waitpoint) = (&self.args.execution_id, &self.args.waitpoint_id);
                TokenKey::verifying(key, kid, now)?.verify(execution, waitpoint, token)
            }
        }
    }

    fn check_open(&self, waitpoint: &Row) -> Result<(), EngineError> {
        let state = waitpoint.read(waitpoint_pending::state)?;
        let until = waitpoint.read(waitpoint_pending::expires_at_ms)?;
        let lapsed = until.is_some_and(|until| until < self.args.now.0);

        match state {
            WaitpointState::Closed => Err(EngineError::State(StateKind::WaitpointClosed)),
            WaitpointState::Active if lapsed => Err(EngineError::State(StateKind::WaitpointClosed)),
            WaitpointState::Pending if lapsed => {
                Err(EngineError::State(StateKind::PendingWaitpointExpired))
            }
            WaitpointState::Active | WaitpointState::Pending => Ok(()),
        }
    }

    /// The sender and the execution's policy may both set a cap; the lower one counts.
    fn check_cap(&self, suspension: &Suspension, core: &Row) -> Result<(), EngineError> {
        let received = suspension.signal_count.unsigned_abs();
        let most = u64::from(max_signals(core.read(exec_core::policy)?.as_ref()));
        let most = self.args.max_signals_per_execution.map_or(most, |given| given.min(most));

        if received < most {
            return Ok(());
        }
        Err(EngineError::Validation {
            kind: ValidationKind::SignalLimitExceeded,
            detail: format!("max_signals_per_execution: {received} of {most} received"),
        })
    }

    /// The changes with which the execution goes on: its condition holds.
    fn satisfied_changes(
        &self,
        suspension: &Suspension,
        collected: &Collected,
        core: &Row,
    ) -> Result<Changes, EngineError> {
        let at = self.args.now;
        let delay_ms = suspension.resume_delay_ms(self.args.resume_delay_ms);
        let status = resume_status(Status::resumable(), delay_ms, at);

        let changes = resume_changes(suspension, status, collected_columns(collected), at);
        Ok(Changes::of(changes)
            .and([outbox::signal_delivered(&self.args, SignalEffect::Satisfied)])
            .holding_first([self.held_core(unchanged(core)?)]))
    }

    /// The changes that only collect the signal. The suspension is pinned; of the execution only
    /// the phase matters.
    fn buffered_changes(&self, collected: &Collected) -> Changes {
        let mut columns = collected_columns(collected);
        columns.push(suspension_current::version.grow(1));

        let waits = exec_core::lifecycle_phase.is(LifecyclePhase::Suspended);
        Changes::of([
            suspension_change(columns),
            outbox::signal_delivered(&self.args, SignalEffect::Buffered),
        ])
        .holding_first([self.held_core(waits)])
    }

    fn held_core(&self, holds: Predicate) -> Guard {
        Guard::new(CORE, exec_core::REF, self.key.core(), holds)
    }
}

/// The columns of a suspension that collected one signal more.
fn collected_columns(collected: &Collected) -> Vec<(ColumnRef, Assign)> {
    vec![
        suspension_current::member_map.set(collected.stored()),
        suspension_current::signal_count.grow(1),
    ]
}
