//! Refusals in order of precedence: rows that break several rules at once get the most important.

use ff_core::backend::{BackendTag, FailureClass, Frame, FrameKind, StreamMode};
use ff_core::contracts::{
    ResumeCondition, ResumePolicy, SuspendArgs, SuspensionReasonCode, WaitpointBinding,
};
use ff_core::handle_codec::HandlePayload;
use ff_core::plan::value::{Secret, Value};
use ff_core::rules::decision::Transition;
use ff_core::rules::execution::delay::Delay;
use ff_core::rules::execution::fail::{Fail, RetryRule};
use ff_core::rules::execution::failure::Failure;
use ff_core::rules::execution::finish::Complete;
use ff_core::rules::execution::lease::{Progress, Renew};
use ff_core::rules::fence::Style;
use ff_core::rules::status::Status;
use ff_core::rules::stream::append::Append;
use ff_core::rules::suspension::suspend::Suspend;
use ff_core::rules::suspension::waitpoint::CreateWaitpoint;
use ff_core::schema::admin::waitpoint_hmac;
use ff_core::schema::execution::{attempt, exec_core};
use ff_core::state::{AttemptState, OwnershipState};
use ff_core::types::{
    AttemptId, AttemptIndex, LeaseEpoch, LeaseId, SuspensionId, TimestampMs, WaitpointId,
    WorkerInstanceId,
};
use uuid::Uuid;

use crate::stored::{RowOf, Stored, attempt_row, blank, core_row};
use crate::{Decided, NOW, decide, fence};

/// Each row breaks its own rule and all the rules after it.
fn ladder() -> Vec<(Stored, &'static str, &'static str)> {
    let lapsed = attempt_row().with(attempt::lease_expires_at_ms, Some(NOW));
    let stale = lapsed.clone().with(attempt::lease_epoch, 4);
    let runnable = core_row().in_state(Status::waiting(AttemptState::AttemptInterrupted));
    let revoked = runnable.clone().with(exec_core::ownership_state, OwnershipState::LeaseRevoked);
    let not_active = "contention: ExecutionNotActive";
    vec![
        (Stored::nothing().and(&stale), "not found: execution", "not found: execution"),
        (Stored::of(&revoked), "state: LeaseRevoked", "state: LeaseRevoked"),
        (Stored::of(&revoked).and(&stale), "state: LeaseRevoked", "state: LeaseRevoked"),
        (Stored::of(&runnable), not_active, not_active),
        (Stored::of(&runnable).and(&stale), not_active, not_active),
        (Stored::of(&core_row()), "not found: attempt", "not found: attempt"),
        (Stored::of(&core_row()).and(&stale), "contention: LeaseConflict", "state: StaleLease"),
        (Stored::of(&core_row()).and(&lapsed), "state: LeaseExpired", "state: LeaseExpired"),
    ]
}

/// What a handle of the stored lease stands for.
fn payload() -> HandlePayload {
    HandlePayload::new(
        crate::id(),
        AttemptIndex(0),
        AttemptId::from_uuid(crate::ATTEMPT_ID),
        LeaseId::from_uuid(crate::LEASE_ID),
        LeaseEpoch(3),
        1_000,
        "main".into(),
        WorkerInstanceId::new("w1"),
    )
}

fn suspension() -> SuspendArgs {
    let door = WaitpointBinding::fresh_with(WaitpointId::from_uuid(Uuid::nil()));
    SuspendArgs::new(
        SuspensionId::from_uuid(Uuid::nil()),
        door,
        ResumeCondition::OperatorOnly,
        ResumePolicy::new(),
        SuspensionReasonCode::ManualPause,
        TimestampMs(NOW),
    )
}

/// The key that signs.
fn signing_key() -> RowOf {
    blank()
        .with(waitpoint_hmac::kid, "k1".into())
        .with(waitpoint_hmac::secret, Secret(vec![1; 32]))
        .with(waitpoint_hmac::rotated_at_ms, 1)
        .with(waitpoint_hmac::active, true)
        .with(waitpoint_hmac::verifies_until_ms, None)
}

#[track_caller]
fn check<T: Transition>(operation: impl Fn(Style) -> T)
where
    T::Outcome: std::fmt::Debug,
{
    for (rung, (stored, by_handle, typed)) in ladder().into_iter().enumerate() {
        for (style, expected) in [(Style::Handle, by_handle), (Style::Typed, typed)] {
            let refused = match decide(&operation(style), &stored.clone().with(&signing_key())) {
                Decided::Refused(error) => error.to_string(),
                decision @ (Decided::Plan(..) | Decided::Answer(_)) => decision.to_string(),
            };
            assert!(refused.starts_with(expected), "rung {rung}, {style:?}: {refused}");
        }
    }
    let held = Stored::held().with(&signing_key());
    let accepted = decide(&operation(Style::Handle), &held);
    assert!(matches!(accepted, Decided::Plan(..)), "{accepted}");
}

#[test]
fn every_fenced_operation_refuses_in_the_same_order() {
    check(|style| Renew { fence: fence(style), ttl_ms: 5 });
    check(|style| Progress { fence: fence(style), percent: None, message: None });
    check(|style| Complete { fence: fence(style), result: None, at: None });
    check(|style| Delay { fence: fence(style), until: TimestampMs(NOW + 5) });
    for mode in
        [StreamMode::durable(), StreamMode::durable_summary(), StreamMode::best_effort_live(1)]
    {
        let frame = Frame::new(b"{}".to_vec(), FrameKind::Event).with_mode(mode);
        for begun in [false, true] {
            check(|style| Append::new(fence(style), &frame, begun).unwrap());
        }
    }
    check(|style| {
        Suspend::new(BackendTag::Memory, fence(style), Some(payload()), suspension()).unwrap()
    });
    check(|style| CreateWaitpoint {
        fence: fence(style),
        execution: crate::id(),
        key: "a".into(),
        expires_in_ms: 5,
    });
    let fail = |retry: RetryRule| {
        move |style| Fail {
            fence: fence(style),
            failure: Failure::new(FailureClass::Permanent, "r"),
            retry: retry.clone(),
        }
    };
    check(fail(RetryRule::ByClass(FailureClass::Transient, None)));
    check(fail(RetryRule::ByClass(FailureClass::Permanent, None)));
    check(fail(RetryRule::Given(None)));
    check(fail(RetryRule::Given(Some(ff_core::policy::RetryPolicy::default()))));
}

#[test]
fn a_word_outside_its_set_does_not_hide_the_refusal() {
    let core = core_row()
        .raw(exec_core::lifecycle_phase.column(), Value::Text("limbo".into()))
        .raw(exec_core::attempt_state.column(), Value::Text("limbo".into()));
    let complete = Complete { fence: fence(Style::Handle), result: None, at: None };
    crate::check(
        &complete,
        &Stored::of(&core).and(&attempt_row()),
        "refused contention: ExecutionNotActive { terminal_outcome: \"\", lease_epoch: \"3\", \
         lifecycle_phase: \"limbo\", attempt_id: \"00000000-0000-0000-0000-00000000000b\" }",
    );
}

#[test]
fn a_column_that_the_rule_does_not_read_may_hold_anything() {
    let core = core_row()
        .raw(exec_core::attempt_state.column(), Value::Text("limbo".into()))
        .raw(exec_core::public_state.column(), Value::Text("limbo".into()))
        .raw(exec_core::blocking_reason.column(), Value::Text("limbo".into()));
    let complete = Complete { fence: fence(Style::Handle), result: None, at: None };
    crate::check(&complete, &Stored::of(&core).and(&attempt_row()), "plan complete Completed");
}
