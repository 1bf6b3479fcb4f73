//! Signals to waitpoints.

use ff_core::EngineError;
use ff_core::backend::{ResumeCondition, ResumePolicy, SignalMatcher};
use ff_core::contracts::DeliverSignalArgs;
use ff_core::crypto::hmac::hmac_sign;
use ff_core::plan::facts::{Facts, Row};
use ff_core::plan::value::Value;
use ff_core::rules::key::CORE;
use ff_core::rules::keystore::KEY;
use ff_core::rules::suspension::collected::{Collected, delivered};
use ff_core::rules::suspension::deliver::Deliver;
use ff_core::rules::suspension::row::{SUSPENSION, WAITPOINT};
use ff_core::schema::admin::waitpoint_hmac;
use ff_core::schema::execution::exec_core;
use ff_core::schema::suspension::{suspension_current, waitpoint_pending};
use ff_core::state::{ClosedSet as _, LifecyclePhase, WaitpointState};
use ff_core::types::{ExecutionId, SignalId, WaitpointId, WaitpointToken};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::marks::{Marks, fault};
use super::{ClientCall, client_call};
use crate::Call;

/// The key under which the waitpoint's signals are collected.
const WAITPOINT_KEY: &str = "waitpoint";
/// The suspension that waits on it.
const SUSPENSION_ID: Uuid = Uuid::from_u128(1);
/// The id of the key that signed the token, and its secret.
const KID: &str = "kid";
const SECRET: &[u8] = b"secret";
/// The delay of an execution that goes on later.
const LATER_MS: i64 = 1_000_000;
/// The time for which an idempotency key counts.
const KEPT_MS: i64 = 2_000_000;

/// The effect of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// The wait goes on.
    Collected,
    /// The wait is over.
    Resumes { later: bool, keeps_waitpoints: bool },
}

pub(super) fn calls() -> Result<Vec<ClientCall>, EngineError> {
    let resumes = |later, keeps_waitpoints| Effect::Resumes { later, keeps_waitpoints };
    let effects = [
        ("signal.collect", "Collects a signal; the wait goes on.", Effect::Collected),
        ("signal.resume", RESUMES, resumes(false, false)),
        ("signal.resume_later", RESUMES, resumes(true, false)),
        ("signal.resume_keeping", RESUMES, resumes(false, true)),
        ("signal.resume_later_keeping", RESUMES, resumes(true, true)),
    ];

    let mut calls = Vec::new();
    for keyed in [false, true] {
        let suffix = if keyed { ".keyed" } else { "" };
        for (name, summary, effect) in effects {
            let name = format!("{name}{suffix}");
            calls.push(client_call(name, summary, |marks| plan(marks, effect, keyed))?);
        }
        calls.push(client_call(format!("signal.facts{suffix}"), FACTS, |marks| {
            let args = args(marks, keyed, Effect::Collected);
            let now = args.now;
            Ok(Call::Query(marks.query(&Deliver::new(args)?, &Facts::default(), now)?))
        })?);
    }
    Ok(calls)
}

const RESUMES: &str = "Collects the signal that ends the wait; the execution goes on.";

const FACTS: &str = "Reads the waitpoint, the key of its token, the execution and its suspension.";

fn plan(marks: &mut Marks, effect: Effect, keyed: bool) -> Result<Call, EngineError> {
    let args = args(marks, keyed, effect);
    let now = args.now;
    let mut collected = Collected::default();
    collected.add(WAITPOINT_KEY, &delivered(&args), None)?;
    marks.note("member_map", Value::Json(collected.stored()));

    let rows = [
        (KEY, key_row()),
        (WAITPOINT, waitpoint_row(&args)),
        (CORE, suspended_row(marks)),
        (SUSPENSION, suspension_row(marks, &args, effect)?),
    ];
    let deliver = Deliver::new(args)?;
    let facts = marks.facts(&deliver, now, &rows)?;
    marks.plan(&deliver, &facts, now)
}

fn args(marks: &mut Marks, keyed: bool, effect: Effect) -> DeliverSignalArgs {
    let now = marks.time("now_ms");
    let partition = marks.number("partition_key");
    let execution_id = ExecutionId::from_parts(partition, marks.uuid("execution_id"));
    let waitpoint_id = WaitpointId::from_uuid(marks.uuid("waitpoint_id"));
    marks.note("kid", Value::Text(KID.to_owned()));
    let later = matches!(effect, Effect::Resumes { later: true, .. });
    if later {
        marks.note("eligible_at_ms", Value::Int(now.0 + LATER_MS));
    }
    if keyed {
        marks.note("key_expires_at_ms", Value::Int(now.0 + KEPT_MS));
    }

    let token = hmac_sign(SECRET, KID, format!("{execution_id}:{waitpoint_id}").as_bytes());
    DeliverSignalArgs {
        execution_id,
        waitpoint_id,
        signal_id: SignalId::from_uuid(marks.uuid("signal_id")),
        signal_name: marks.text("signal_name"),
        signal_category: marks.text("signal_category"),
        source_type: marks.text("source_type"),
        source_identity: marks.text("source_identity"),
        payload: Some(marks.bytes("payload")),
        payload_encoding: None,
        correlation_id: Some(marks.text("correlation_id")),
        idempotency_key: keyed.then(|| marks.text("idempotency_key")),
        target_scope: String::new(),
        created_at: None,
        dedup_ttl_ms: keyed.then_some(KEPT_MS.unsigned_abs()),
        resume_delay_ms: later.then_some(LATER_MS.unsigned_abs()),
        max_signals_per_execution: None,
        signal_maxlen: None,
        waitpoint_token: WaitpointToken(token),
        now,
    }
}

fn key_row() -> Row {
    Row::new(vec![
        (waitpoint_hmac::kid.column(), Value::Text(KID.to_owned())),
        (waitpoint_hmac::secret.column(), Value::Bytes(SECRET.to_vec())),
        (waitpoint_hmac::active.column(), Value::Bool(true)),
    ])
}

fn waitpoint_row(args: &DeliverSignalArgs) -> Row {
    let text = |text: &str| Value::Text(text.to_owned());
    Row::new(vec![
        (waitpoint_pending::execution_id.column(), Value::Uuid(args.execution_id.uuid())),
        (waitpoint_pending::token_kid.column(), text(KID)),
        (waitpoint_pending::token.column(), text(args.waitpoint_token.as_str())),
        (waitpoint_pending::waitpoint_key.column(), text(WAITPOINT_KEY)),
        (waitpoint_pending::state.column(), text(WaitpointState::Active.as_str())),
        (waitpoint_pending::suspension_id.column(), Value::Uuid(SUSPENSION_ID)),
    ])
}

fn suspended_row(marks: &mut Marks) -> Row {
    let phase = Value::Text(LifecyclePhase::Suspended.as_str().to_owned());
    Row::new(vec![
        (exec_core::lifecycle_phase.column(), phase),
        (exec_core::version.column(), Value::Int(marks.number("version").into())),
    ])
}

fn suspension_row(
    marks: &mut Marks,
    args: &DeliverSignalArgs,
    effect: Effect,
) -> Result<Row, EngineError> {
    // A wait that this signal ends, or one that no signal ends.
    let (condition, keeps_waitpoints) = match effect {
        Effect::Collected => (ResumeCondition::OperatorOnly, false),
        Effect::Resumes { keeps_waitpoints, .. } => {
            let matcher = SignalMatcher::ByName(args.signal_name.clone());
            let waitpoint_key = WAITPOINT_KEY.to_owned();
            (ResumeCondition::Single { waitpoint_key, matcher }, keeps_waitpoints)
        }
    };
    let mut policy = ResumePolicy::normal();
    policy.close_waitpoint_on_resume = !keeps_waitpoints;

    let version = Value::Int(marks.number("suspension_version").into());
    Ok(Row::new(vec![
        (suspension_current::suspension_id.column(), Value::Uuid(SUSPENSION_ID)),
        (suspension_current::suspended_at_ms.column(), Value::Int(0)),
        (suspension_current::condition.column(), json_of(&condition)?),
        (suspension_current::member_map.column(), Value::Json(json!({}))),
        (suspension_current::resume_policy.column(), json_of(&policy)?),
        (suspension_current::signal_count.column(), Value::Int(0)),
        (suspension_current::version.column(), version),
    ]))
}

fn json_of(value: &impl Serialize) -> Result<Value, EngineError> {
    serde_json::to_value(value).map(Value::Json).map_err(|error| fault(&error.to_string()))
}
