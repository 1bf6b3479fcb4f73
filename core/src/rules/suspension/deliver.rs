//! Delivering a signal to a waitpoint; the signal that completes the condition wakes the execution.

use crate::contracts::{
    DeliverApprovalSignalArgs, DeliverSignalArgs, DeliverSignalResult, ResumeSignal,
};
use crate::model::crypto::constant_time_eq;
use crate::model::crypto::hmac::HmacVerifyError;
use crate::model::error::{EngineError, StateKind, ValidationKind};
use crate::model::ids::{SignalId, TimestampMs, WaitpointToken};
use crate::model::policy::stored::max_signals;
use crate::model::state::{LifecyclePhase, SignalEffect, WaitpointState};
use crate::plan::facts::{Facts, Row};
use crate::plan::{Expr, Lookup, OnConflict, OnTaken, Plan, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Then, Transition};
use crate::rules::input;
use crate::rules::key::{CORE, ExecutionKey};
use crate::rules::keystore::{KEY, TokenKey, kid_of, refused};
use crate::rules::outbox;
use crate::rules::premise::{execution_row, existing, without_bodies};
use crate::rules::status::Status;
use crate::rules::suspension::repeat::REPEATED;
use crate::rules::suspension::row::{
    SUSPENSION, Suspension, WAITPOINT, changed, lookup, suspension_row,
};
use crate::rules::suspension::satisfied::satisfied;
use crate::rules::suspension::waitpoint;
use crate::rules::suspension::wake::woken;
use crate::schema::ColumnRef;
use crate::schema::execution::exec_core;
use crate::schema::suspension::{signal_dedup, suspension_current, waitpoint_pending};

/// The answer to a signal that wakes its execution.
const WOKE: &str = "resume_condition_satisfied";
/// The answer to a signal that is kept for later.
const KEPT: &str = "appended_to_waitpoint";

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

    fn reads(&self) -> Vec<Lookup> {
        let waitpoint = waitpoint::key(self.key.partition, &self.args.waitpoint_id);
        let mut rows = vec![
            lookup(WAITPOINT, waitpoint_pending::REF, waitpoint),
            TokenKey::lookup(self.kid()),
            execution_row(&self.key, without_bodies(exec_core::REF)),
            suspension_row(&self.key),
        ];

        let repeated = self.args.idempotency_key.as_deref();
        rows.extend(repeated.map(|key| dedup_row(&self.key, key)));
        rows
    }
}

/// The look-up of the signal that came first under an idempotency key.
fn dedup_row(execution: &ExecutionKey, key: &str) -> Lookup {
    lookup(REPEATED, signal_dedup::REF, dedup_key(execution, key))
}

fn dedup_key(execution: &ExecutionKey, key: &str) -> Vec<(ColumnRef, Expr)> {
    vec![
        signal_dedup::partition_key.with(execution.partition),
        signal_dedup::execution_id.with(execution.uuid),
        signal_dedup::idempotency_key.with(key.to_owned()),
    ]
}

/// The signal that came first, while its key is remembered.
fn first(row: Option<&Row>, at: TimestampMs) -> Result<Option<SignalId>, EngineError> {
    let Some(row) = row else { return Ok(None) };
    let forgotten = row.read(signal_dedup::expires_at_ms)?.is_some_and(|until| until <= at.0);
    let signal = row.read(signal_dedup::signal_id)?;
    Ok((!forgotten).then(|| SignalId::from_uuid(signal)))
}

impl Transition for Deliver {
    type Outcome = DeliverSignalResult;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        let at = self.args.now;
        if !facts.have_rows() {
            return Ok(Step::Read(vec![Query::Lookup(self.reads())]));
        }
        let (key, repeated) = (facts.row(KEY), facts.row(REPEATED));
        let first = first(repeated, at)?;
        let duplicate = |existing_signal_id| {
            Ok(Step::Answer(DeliverSignalResult::Duplicate { existing_signal_id }))
        };

        let Some(door) = facts.row(WAITPOINT) else {
            // The signal that completes a condition closes its waitpoint; its sender still has the
            // token, and may repeat it.
            let known = repeated.map(|row| row.read(signal_dedup::waitpoint_id)).transpose()?;
            return match first {
                Some(first) if known == Some(self.args.waitpoint_id.0) => {
                    self.verify(key, self.kid(), ctx.now)?;
                    duplicate(first)
                }
                Some(_) | None => Err(EngineError::NotFound { entity: "waitpoint" }),
            };
        };

        self.authorise(door, key, ctx.now)?;
        if let Some(first) = first {
            return duplicate(first);
        }

        self.open(door)?;
        let Some(stored) = facts.row(SUSPENSION) else {
            return Err(EngineError::NotFound { entity: "suspension" });
        };
        let core = existing(facts)?;
        if core.read(exec_core::lifecycle_phase)? != LifecyclePhase::Suspended {
            return Err(EngineError::State(StateKind::TargetNotSignalable));
        }

        let suspension = Suspension::read(stored)?;
        waitpoint::check_bound(door, &suspension)?;
        self.capped(&suspension, core)?;

        let waitpoint_key = door.read(waitpoint_pending::waitpoint_key)?;
        let (plan, effect) = self.recorded(stored, &suspension, core, &waitpoint_key)?;
        let signal_id = self.args.signal_id.clone();
        let accepted = DeliverSignalResult::Accepted { signal_id, effect: effect.into() };
        Ok(Step::Commit(plan, Then::Answer(accepted)))
    }
}

impl Deliver {
    /// Checks that the sender may signal here: the token is the one that was handed out, and its
    /// key still counts.
    fn authorise(
        &self,
        door: &Row,
        key: Option<&Row>,
        now: TimestampMs,
    ) -> Result<(), EngineError> {
        if door.read(waitpoint_pending::execution_id)? != self.key.uuid {
            return Err(input::invalid("waitpoint belongs to a different execution"));
        }

        let stored_kid = door.read(waitpoint_pending::token_kid)?;
        self.verify(key, &stored_kid, now)?;

        let stored = door.read(waitpoint_pending::token)?;
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

    fn open(&self, door: &Row) -> Result<(), EngineError> {
        let state = door.read(waitpoint_pending::state)?;
        let until = door.read(waitpoint_pending::expires_at_ms)?;
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
    fn capped(&self, suspension: &Suspension, core: &Row) -> Result<(), EngineError> {
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

    fn recorded(
        &self,
        stored: &Row,
        suspension: &Suspension,
        core: &Row,
        waitpoint_key: &str,
    ) -> Result<(Plan, &'static str), EngineError> {
        let at = self.args.now;
        let condition = Suspension::condition(stored)?;
        let mut collected = Suspension::collected(stored)?;
        collected.add(waitpoint_key, &self.signal(), self.keep)?;

        let told = vec![
            suspension_current::member_map.set(collected.stored()),
            suspension_current::signal_count.grow(1),
        ];

        let (plan, effect, answer) = if satisfied(&condition, &collected.by_key()) {
            let plan = suspension.ending("deliver_signal", &self.key, core)?;
            let delay_ms = suspension.resume_delay_ms(self.args.resume_delay_ms);
            let (plan, _) = woken(plan, Status::resumable(), delay_ms, at);
            (suspension.closed(plan, told), SignalEffect::Satisfied, WOKE)
        } else {
            // The suspension is pinned; of the execution only the phase matters.
            let waits = exec_core::lifecycle_phase.is(LifecyclePhase::Suspended);
            let plan =
                Plan::new("deliver_signal").guard(CORE, exec_core::REF, self.key.core(), waits);
            let mut set = told;
            set.push(suspension_current::version.grow(1));
            (changed(suspension.pinned(plan, &self.key), set), SignalEffect::Buffered, KEPT)
        };

        let plan = plan.and([outbox::signal_delivered(&self.args, effect)]);
        Ok((self.remembered(plan), answer))
    }

    fn signal(&self) -> ResumeSignal {
        let args = self.args.clone();
        ResumeSignal {
            signal_id: args.signal_id,
            signal_name: args.signal_name,
            signal_category: args.signal_category,
            source_type: args.source_type,
            source_identity: args.source_identity,
            correlation_id: args.correlation_id.unwrap_or_default(),
            accepted_at: args.now,
            payload: args.payload,
        }
    }

    /// Remembers the idempotency key for as long as the sender asks, or without end.
    fn remembered(&self, plan: Plan) -> Plan {
        let Some(key) = self.args.idempotency_key.as_deref() else { return plan };
        let at = self.args.now.0;
        let until = self.args.dedup_ttl_ms.map(|ttl| at.saturating_add(input::span_ms(ttl)));

        let mut row = dedup_key(&self.key, key);
        row.extend([
            signal_dedup::signal_id.with(self.args.signal_id.0),
            signal_dedup::waitpoint_id.with(self.args.waitpoint_id.0),
            signal_dedup::accepted_at_ms.with(at),
            signal_dedup::expires_at_ms.with(until),
        ]);

        // A forgotten key is taken anew; of two at once, the suspension's version lets one through.
        let taken = [
            signal_dedup::signal_id.column(),
            signal_dedup::waitpoint_id.column(),
            signal_dedup::accepted_at_ms.column(),
            signal_dedup::expires_at_ms.column(),
        ];
        let settle = taken.into_iter().map(|column| (column, OnTaken::Overwrite)).collect();
        plan.insert(signal_dedup::REF, row, OnConflict::Update(settle))
    }
}

/// Delivers an operator's approval or rejection with the stored token, which the caller never sees.
#[derive(Clone, Debug)]
pub struct Approve {
    args: DeliverApprovalSignalArgs,
    key: ExecutionKey,
}

/// The decision on an approval.
pub enum Approval {
    /// This signal is to be delivered.
    Deliver(Box<DeliverSignalArgs>),
    /// It was given before.
    Repeated(SignalId),
}

impl Approve {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for text with NUL.
    pub fn new(args: DeliverApprovalSignalArgs) -> Result<Self, EngineError> {
        input::text("signal_name", &args.signal_name)?;
        input::text("idempotency_suffix", &args.idempotency_suffix)?;
        let approve = Self { key: ExecutionKey::of(&args.execution_id)?, args };
        input::name("signal_name and idempotency_suffix", &approve.idempotency_key())?;
        Ok(approve)
    }

    fn idempotency_key(&self) -> String {
        format!("approval:{}:{}", self.args.signal_name, self.args.idempotency_suffix)
    }
}

impl Transition for Approve {
    type Outcome = Approval;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<Approval>, EngineError> {
        if !facts.have_rows() {
            let waitpoint = waitpoint::key(self.key.partition, &self.args.waitpoint_id);
            return Ok(Step::Read(vec![Query::Lookup(vec![
                execution_row(&self.key, vec![exec_core::lane_id.column()]),
                lookup(WAITPOINT, waitpoint_pending::REF, waitpoint),
                dedup_row(&self.key, &self.idempotency_key()),
            ])]));
        }

        let core = existing(facts)?;
        let (given, stored) = (self.args.lane_id.as_str(), core.read(exec_core::lane_id)?);
        if given != stored {
            return Err(input::invalid(format!(
                "lane_mismatch: args.lane_id={given} exec_core.lane_id={stored}"
            )));
        }

        let token = match facts.row(WAITPOINT) {
            Some(door) => door.read(waitpoint_pending::token)?,
            None => String::new(),
        };
        if token.is_empty() {
            return match first(facts.row(REPEATED), ctx.now)? {
                Some(first) => Ok(Step::Answer(Approval::Repeated(first))),
                None => Err(EngineError::NotFound { entity: "waitpoint" }),
            };
        }

        let args = self.args.clone();
        Ok(Step::Answer(Approval::Deliver(Box::new(DeliverSignalArgs {
            execution_id: args.execution_id,
            waitpoint_id: args.waitpoint_id,
            signal_id: SignalId::from_uuid(ctx.uuid()),
            signal_name: args.signal_name,
            signal_category: "approval".into(),
            source_type: "operator".into(),
            source_identity: String::new(),
            payload: None,
            payload_encoding: None,
            correlation_id: None,
            idempotency_key: Some(self.idempotency_key()),
            target_scope: "execution".into(),
            created_at: Some(ctx.now),
            dedup_ttl_ms: Some(args.signal_dedup_ttl_ms),
            resume_delay_ms: None,
            max_signals_per_execution: args.max_signals_per_execution,
            signal_maxlen: args.maxlen,
            waitpoint_token: WaitpointToken::new(token),
            now: ctx.now,
        }))))
    }
}
