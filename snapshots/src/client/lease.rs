//! Claims, and what a worker does under its lease.

use ff_core::EngineError;
use ff_core::backend::{BackendTag, CapabilitySet, ClaimPolicy, FailureClass};
use ff_core::plan::facts::{Facts, Row};
use ff_core::plan::value::Value;
use ff_core::policy::{BackoffStrategy, RetryPolicy};
use ff_core::rules::decision::Decision;
use ff_core::rules::execution::claim::Claim;
use ff_core::rules::execution::fail::{Fail, Retries, RetryRule};
use ff_core::rules::execution::failure::Failure;
use ff_core::rules::execution::finish::Complete;
use ff_core::rules::execution::lease::Renew;
use ff_core::rules::execution::read;
use ff_core::rules::fence::{Fence, Lease, Style};
use ff_core::rules::key::{ATTEMPT, CORE, ExecutionKey};
use ff_core::schema::execution::{attempt, exec_core};
use ff_core::state::{ClosedSet as _, LifecyclePhase, OwnershipState};
use ff_core::types::{ExecutionId, LaneId, TimestampMs, WorkerId, WorkerInstanceId};
use serde_json::json;

use super::marks::{Marks, drawn, fault};
use super::reasons::reasons_of;
use super::{ClientCall, client_call};
use crate::Call;

pub(super) fn claims() -> Result<Vec<ClientCall>, EngineError> {
    let plain = "Leases the best executions of a lane that require no capabilities.";
    let capable = "Leases the best executions of a lane that require no others than these \
                   capabilities.";
    let context = "Reads the input of an execution, its kind and its tags.";
    Ok(vec![
        client_call("claim", plain, |marks| claim(marks, false))?,
        client_call("claim.capable", capable, |marks| claim(marks, true))?,
        client_call("context", context, |marks| read_by(marks, read::context))?,
        client_call("state", "Reads the state of an execution.", |marks| {
            read_by(marks, read::state)
        })?,
        client_call("result", "Reads the result of an execution.", |marks| {
            read_by(marks, read::result)
        })?,
    ])
}

pub(super) fn ends() -> Result<Vec<ClientCall>, EngineError> {
    let mut calls = vec![
        fenced("renew", "Extends a lease.", renew, false)?,
        fenced("complete", "Ends an execution with its result.", complete, false)?,
        fenced("complete.closing", CLOSING, complete, true)?,
    ];
    for (name, summary, retry) in [
        ("fail.end", "Ends an execution that failed for good.", None),
        ("fail.retry", "Ends a failed attempt; another one may be claimed at once.", Some(false)),
        ("fail.retry_later", "Ends a failed attempt; another one comes later.", Some(true)),
    ] {
        let build = move |marks: &mut Marks| fail(marks, retry);
        calls.push(fenced(name, summary, build, false)?);
        calls.push(fenced(&format!("{name}.closing"), CLOSING, build, true)?);
    }

    let facts = "Reads the execution and the attempt of a lease.";
    calls.push(client_call("lease.facts", facts, |marks| {
        let (complete, now) = complete(marks)?;
        Ok(Call::Query(marks.query(&complete, &Facts::after_refusals(1), now)?))
    })?);
    Ok(calls)
}

const CLOSING: &str = "The same for an execution that was read, and that has waitpoints or \
                       reservations: it closes them.";

/// The statement of a decision under a lease, with the reasons for a refusal.
fn fenced<D: Decision>(
    name: &str,
    summary: &'static str,
    build: impl Fn(&mut Marks) -> Result<(D, TimestampMs), EngineError>,
    closing: bool,
) -> Result<ClientCall, EngineError> {
    let call = client_call(name, summary, |marks| {
        let (decision, now) = build(marks)?;
        let facts = if closing {
            let rows = [(CORE, active(marks)), (ATTEMPT, leased(marks))];
            marks.facts(&decision, now, &rows)?
        } else {
            Facts::default()
        };
        marks.plan(&decision, &facts, now)
    })?;
    Ok(ClientCall { reasons: reasons_of(build)?, ..call })
}

fn claim(marks: &mut Marks, capable: bool) -> Result<Call, EngineError> {
    let now = marks.time("now_ms");
    let lane = LaneId::new(marks.text("lane_id"));
    let ttl_ms = marks.number("lease_ttl_ms");
    marks.note("lease_expires_at_ms", Value::Int(now.0 + i64::from(ttl_ms)));
    let policy = ClaimPolicy::new(
        WorkerId::new(marks.text("worker_id")),
        WorkerInstanceId::new(marks.text("worker_instance_id")),
        ttl_ms.into(),
        None,
    );

    let capabilities: Vec<String> = capable.then(|| marks.text("capability")).into_iter().collect();
    marks.note("capabilities", Value::TextList(capabilities.clone()));
    let limit = marks.call() + 1;
    marks.note("limit", Value::Int(limit.into()));
    // A claim draws two ids for each execution.
    for (name, first) in [("lease_ids", 1), ("attempt_ids", 2)] {
        let ids = (0..limit).map(|row| Value::Uuid(drawn(marks.call(), 2 * row + first)));
        marks.note_each(name, ids.collect());
    }

    let capabilities = CapabilitySet::new(capabilities);
    let claim = Claim::new(BackendTag::Postgres, &lane, &capabilities, policy, limit.into())?;
    marks.plan(&claim, &Facts::default(), now)
}

fn renew(marks: &mut Marks) -> Result<(Renew, TimestampMs), EngineError> {
    let now = marks.time("now_ms");
    let ttl_ms = i64::from(marks.number("lease_ttl_ms"));
    marks.note("lease_expires_at_ms", Value::Int(now.0 + ttl_ms));
    Ok((Renew { fence: fence(marks), ttl_ms }, now))
}

fn complete(marks: &mut Marks) -> Result<(Complete, TimestampMs), EngineError> {
    let now = marks.time("now_ms");
    let fence = fence(marks);
    Ok((Complete { fence, result: Some(marks.bytes("result")), at: None }, now))
}

/// A failure: the end, or another attempt at once or later.
fn fail(marks: &mut Marks, retry: Option<bool>) -> Result<(Fail, TimestampMs), EngineError> {
    let now = marks.time("now_ms");
    let fence = fence(marks);
    let class = if marks.call() == 1 { FailureClass::Transient } else { FailureClass::InfraCrash };
    marks.note("failure_class", Value::Text(class.as_str().to_owned()));
    let failure = Failure::new(class, marks.text("failure_message"));

    let next = i64::from(fence.attempt_index) + 1;
    marks.note("next_attempt_index", Value::Int(next));
    let count = u32::from(marks.call());
    marks.note("next_retry_count", Value::Int(i64::from(count) + 1));
    if retry == Some(true) {
        marks.note("delay_until_ms", Value::Int(now.0 + 1_000_000));
    }

    let policy = retry_policy(retry);
    marks.note("retry_policy", json_of(&policy)?);
    let known = Retries { policy: Some(policy), count };
    Ok((Fail { fence, failure, retry: RetryRule::ByClass(class, Some(known)) }, now))
}

fn retry_policy(retry: Option<bool>) -> RetryPolicy {
    let delay_ms = if retry == Some(true) { 1_000_000 } else { 0 };
    let max_retries = if retry.is_some() { 10 } else { 0 };
    let backoff = BackoffStrategy::Fixed { delay_ms };
    RetryPolicy { max_retries, backoff, retryable_categories: Vec::new() }
}

fn json_of(policy: &RetryPolicy) -> Result<Value, EngineError> {
    serde_json::to_value(policy).map(Value::Json).map_err(|error| fault(&error.to_string()))
}

fn fence(marks: &mut Marks) -> Fence {
    Fence {
        key: key(marks),
        attempt_index: marks.number("attempt_index").into(),
        lease: Some(Lease {
            epoch: marks.number("lease_epoch").into(),
            lease_id: marks.uuid("lease_id"),
            attempt_id: marks.uuid("attempt_id"),
        }),
        style: Style::Typed,
        has_reservations: false,
    }
}

fn key(marks: &mut Marks) -> ExecutionKey {
    let partition = i16::try_from(marks.number("partition_key")).unwrap_or(i16::MAX);
    ExecutionKey { partition, uuid: marks.uuid("execution_id") }
}

/// A row of an active execution that may have something open.
fn active(marks: &mut Marks) -> Row {
    let policy = match marks.value("retry_policy") {
        Value::Json(policy) => Value::Json(json!({ "retry_policy": policy })),
        _ => Value::Null,
    };
    let raw_fields = json!({ "retry_count": marks.call() });
    Row::new(vec![
        (exec_core::lifecycle_phase.column(), word(LifecyclePhase::Active.as_str())),
        (exec_core::ownership_state.column(), word(OwnershipState::Leased.as_str())),
        (exec_core::attempt_index.column(), marks.value("attempt_index")),
        (exec_core::policy.column(), policy),
        (exec_core::raw_fields.column(), Value::Json(raw_fields)),
        (exec_core::has_waitpoints.column(), Value::Bool(true)),
        (exec_core::has_reservations.column(), Value::Bool(false)),
        (exec_core::version.column(), Value::Int(marks.number("version").into())),
    ])
}

/// The row of the attempt that the lease covers.
fn leased(marks: &Marks) -> Row {
    Row::new(vec![
        (attempt::lease_epoch.column(), marks.value("lease_epoch")),
        (attempt::lease_id.column(), marks.value("lease_id")),
        (attempt::attempt_id.column(), marks.value("attempt_id")),
        (attempt::lease_expires_at_ms.column(), Value::Null),
        (attempt::terminal_at_ms.column(), Value::Null),
    ])
}

fn word(word: &str) -> Value {
    Value::Text(word.to_owned())
}

fn read_by<O: Send>(
    marks: &mut Marks,
    by: impl Fn(&ExecutionId) -> Result<read::ReadExecution<O>, EngineError>,
) -> Result<Call, EngineError> {
    let id = key(marks).id();
    Ok(Call::Query(marks.query(&by(&id)?, &Facts::default(), TimestampMs(0))?))
}
