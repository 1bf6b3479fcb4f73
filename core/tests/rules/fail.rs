//! Failing: what is tried again, when, and what ends the execution.

use ff_core::backend::FailureClass;
use ff_core::plan::value::Value;
use ff_core::rules::execution::fail::{Fail, Failed, RetryRule};
use ff_core::rules::execution::failure::Failure;
use ff_core::rules::fence::{Fence, Style};
use ff_core::schema::execution::{attempt, exec_core};
use ff_core::types::{AttemptIndex, TimestampMs};
use insta::assert_snapshot;
use serde_json::json;

use crate::stored::{RowOf, Stored, attempt_row, core_row};
use crate::{NOW, decide, decide_with, fence, overriding};

fn by_class(class: FailureClass) -> Fail {
    Fail {
        fence: fence(Style::Handle),
        failure: Failure::new(class, "printer on fire"),
        retry: RetryRule::ByClass(class, None),
    }
}

fn typed(fence: Fence, policy: &str) -> Fail {
    let retry = RetryRule::Given(Fail::policy_of(policy).unwrap());
    Fail { fence, failure: Failure::of_category("unheard of", "printer on fire"), retry }
}

fn stored(core: &RowOf) -> Stored {
    Stored::of(core).and(&attempt_row())
}

fn retried(count: serde_json::Value) -> RowOf {
    core_row().with(exec_core::raw_fields, json!({ "retry_count": count }))
}

/// After which pause it is tried again, as which attempt; or how it ends.
#[track_caller]
fn check(fail: &Fail, core: &RowOf, fraction: f64, expected: Result<(i64, u32), &str>) {
    let decision = match decide_with(fail, &stored(core), fraction) {
        crate::Decided::Plan(_, answer) => answer.unwrap(),
        decision @ (crate::Decided::Answer(_) | crate::Decided::Refused(_)) => decision.to_string(),
    };
    let expected = match expected {
        Ok((pause, index)) => format!(
            "{:?}",
            Failed::RetryScheduled {
                delay_until: TimestampMs(NOW + pause),
                next_attempt_index: AttemptIndex(index),
            }
        ),
        Err(end) => end.to_owned(),
    };
    assert_eq!(decision, expected);
}

const FINAL: Result<(i64, u32), &str> = Err("TerminalFailed");

#[test]
fn a_final_failure_ends_the_execution_unread() {
    assert_snapshot!(decide(&by_class(FailureClass::Permanent), &Stored::held()), @r#"
    plan fail
      guard core = ff_exec_core[partition_key 7, execution_id 00000000-0000-0000-0000-000000000001]
        where ownership_state not in (lease_revoked) and lifecycle_phase is active and has_waitpoints = false and has_reservations = false
      guard attempt = ff_attempt[partition_key core.partition_key, execution_id core.execution_id, attempt_index 0]
        where lease_epoch = 3 and terminal_at_ms is null and (lease_id is null or lease_id = 00000000-0000-0000-0000-00000000000a) and (attempt_id is null or attempt_id = 00000000-0000-0000-0000-00000000000b) and (lease_expires_at_ms is null or lease_expires_at_ms > 1000000)
      update ff_exec_core[partition_key core.partition_key, execution_id core.execution_id]
        lifecycle_phase := terminal
        ownership_state := unowned
        eligibility_state := not_applicable
        public_state := failed
        attempt_state := attempt_terminal
        blocking_reason := null
        version += 1
        last_changed_at_ms := 1000000
        terminal_at_ms := 1000000
        eligible_at_ms := null
        raw_fields merges {"failure_reason":"printer on fire","last_failure_class":"permanent","last_failure_message":"printer on fire","terminal_outcome":"failed"}
      update ff_attempt[partition_key core.partition_key, execution_id core.execution_id, attempt_index attempt.attempt_index]
        worker_instance_id := null
        lease_expires_at_ms := null
        timeout_at_ms := null
        outcome := failed
        terminal_at_ms := 1000000
        failure_message := "printer on fire"
        failure_class := "permanent"
      insert ff_completion_event
        partition_key := core.partition_key
        execution_id := core.execution_id
        flow_id := core.flow_id
        outcome := failed
        namespace := core.raw_fields->namespace
        instance_tag := core.raw_fields->tags->cairn.instance_id
        occurred_at_ms := 1000000
        reason := "printer on fire"
        failure_class := "permanent"
        if present: refuse
      insert ff_lease_event
        execution_id := core.execution_id
        lease_id := attempt.lease_id
        event_type := revoked
        occurred_at_ms := 1000000
        partition_key := core.partition_key
        namespace := core.raw_fields->namespace
        instance_tag := core.raw_fields->tags->cairn.instance_id
        worker_id := attempt.worker_id
        worker_instance_id := attempt.worker_instance_id
        cause := failed
        if present: refuse
    answer TerminalFailed
    "#);
}

#[test]
fn a_transient_failure_makes_another_attempt() {
    assert_snapshot!(decide(&by_class(FailureClass::Transient), &Stored::held()), @r#"
    plan fail
      guard core = ff_exec_core[partition_key 7, execution_id 00000000-0000-0000-0000-000000000001]
        where ownership_state not in (lease_revoked) and lifecycle_phase is active and version = 9
      guard attempt = ff_attempt[partition_key core.partition_key, execution_id core.execution_id, attempt_index 0]
        where lease_epoch = 3 and terminal_at_ms is null and (lease_id is null or lease_id = 00000000-0000-0000-0000-00000000000a) and (attempt_id is null or attempt_id = 00000000-0000-0000-0000-00000000000b) and (lease_expires_at_ms is null or lease_expires_at_ms > 1000000)
      update ff_exec_core[partition_key core.partition_key, execution_id core.execution_id]
        lifecycle_phase := runnable
        ownership_state := unowned
        eligibility_state := not_eligible_until_time
        public_state := delayed
        attempt_state := pending_retry_attempt
        blocking_reason := waiting_for_retry_backoff
        claimable_since_ms := 1001000
        eligible_at_ms := 1001000
        version += 1
        last_changed_at_ms := 1000000
        attempt_index := 1
        raw_fields merges {"delay_until":"1001000","failure_reason":"printer on fire","last_failure_class":"transient","last_failure_message":"printer on fire","pending_previous_attempt_index":"0","pending_retry_reason":"printer on fire","retry_count":"1"}
      update ff_attempt[partition_key core.partition_key, execution_id core.execution_id, attempt_index attempt.attempt_index]
        worker_instance_id := null
        lease_expires_at_ms := null
        timeout_at_ms := null
        outcome := retry
        terminal_at_ms := 1000000
        failure_message := "printer on fire"
        failure_class := "transient"
      insert ff_attempt
        partition_key := core.partition_key
        execution_id := core.execution_id
        attempt_index := 1
        lease_epoch := attempt.lease_epoch
        if present: ignore
      insert ff_lease_event
        execution_id := core.execution_id
        lease_id := attempt.lease_id
        event_type := revoked
        occurred_at_ms := 1000000
        partition_key := core.partition_key
        namespace := core.raw_fields->namespace
        instance_tag := core.raw_fields->tags->cairn.instance_id
        worker_id := attempt.worker_id
        worker_instance_id := attempt.worker_instance_id
        cause := failed
        if present: refuse
    answer RetryScheduled { delay_until: TimestampMs(1001000), next_attempt_index: AttemptIndex(1) }
    "#);
}

#[test]
fn a_given_policy_makes_another_attempt() {
    let policy = r#"{"max_retries":3,"backoff":{"type":"fixed","delay_ms":0}}"#;
    assert_snapshot!(decide(&typed(fence(Style::Typed), policy), &Stored::held()), @r#"
    plan fail
      guard core = ff_exec_core[partition_key 7, execution_id 00000000-0000-0000-0000-000000000001]
        where ownership_state not in (lease_revoked) and lifecycle_phase is active and version = 9
      guard attempt = ff_attempt[partition_key core.partition_key, execution_id core.execution_id, attempt_index 0]
        where lease_epoch = 3 and terminal_at_ms is null and (lease_id is null or lease_id = 00000000-0000-0000-0000-00000000000a) and (attempt_id is null or attempt_id = 00000000-0000-0000-0000-00000000000b) and (lease_expires_at_ms is null or lease_expires_at_ms > 1000000)
      update ff_exec_core[partition_key core.partition_key, execution_id core.execution_id]
        lifecycle_phase := runnable
        ownership_state := unowned
        eligibility_state := eligible_now
        public_state := waiting
        attempt_state := pending_retry_attempt
        blocking_reason := waiting_for_worker
        claimable_since_ms := 1000000
        version += 1
        last_changed_at_ms := 1000000
        attempt_index := 1
        raw_fields merges {"delay_until":"1000000","failure_reason":"printer on fire","last_failure_class":"","last_failure_message":"printer on fire","pending_previous_attempt_index":"0","pending_retry_reason":"printer on fire","retry_count":"1"}
      update ff_attempt[partition_key core.partition_key, execution_id core.execution_id, attempt_index attempt.attempt_index]
        worker_instance_id := null
        lease_expires_at_ms := null
        timeout_at_ms := null
        outcome := failed
        terminal_at_ms := 1000000
        failure_message := "printer on fire"
        failure_class := null
      insert ff_attempt
        partition_key := core.partition_key
        execution_id := core.execution_id
        attempt_index := 1
        lease_epoch := attempt.lease_epoch
        if present: ignore
      insert ff_lease_event
        execution_id := core.execution_id
        lease_id := attempt.lease_id
        event_type := revoked
        occurred_at_ms := 1000000
        partition_key := core.partition_key
        namespace := core.raw_fields->namespace
        instance_tag := core.raw_fields->tags->cairn.instance_id
        worker_id := attempt.worker_id
        worker_instance_id := attempt.worker_instance_id
        cause := failed
        if present: refuse
    answer RetryScheduled { delay_until: TimestampMs(1000000), next_attempt_index: AttemptIndex(1) }
    "#);
}

#[test]
fn the_class_decides_on_another_attempt() {
    let core = core_row();
    check(&by_class(FailureClass::Transient), &core, 0.5, Ok((1_000, 1)));
    check(&by_class(FailureClass::InfraCrash), &core, 0.5, Ok((1_000, 1)));
    check(&by_class(FailureClass::Permanent), &core, 0.5, FINAL);
    check(&by_class(FailureClass::Timeout), &core, 0.5, FINAL);
    check(&by_class(FailureClass::Cancelled), &core, 0.5, FINAL);
}

#[test]
fn without_a_policy_of_its_own_the_default_applies() {
    for (retries, expected) in [(0, Ok((1_000, 1))), (1, Ok((2_000, 1))), (2, Ok((4_000, 1)))] {
        check(&by_class(FailureClass::Transient), &retried(retries.into()), 0.5, expected);
    }
    check(&by_class(FailureClass::Transient), &retried(json!(3)), 0.5, FINAL);
    let without = core_row().with(exec_core::policy, Some(json!({ "priority": 1 })));
    check(&by_class(FailureClass::Transient), &without, 0.5, Ok((1_000, 1)));
}

#[test]
fn its_own_policy_outranks_the_default() {
    let own = |max: u32| {
        let policy = json!({ "retry_policy": {
            "max_retries": max, "backoff": { "type": "fixed", "delay_ms": 70 },
        }});
        core_row().with(exec_core::policy, Some(policy))
    };
    check(&by_class(FailureClass::Transient), &own(1), 0.5, Ok((70, 1)));
    check(&by_class(FailureClass::Transient), &own(0), 0.5, FINAL);
    check(&by_class(FailureClass::Permanent), &own(9), 0.5, FINAL);
}

#[test]
fn typed_policies_decide_alone() {
    let typed = |policy: &str| typed(fence(Style::Typed), policy);
    let fixed = r#"{"max_retries":2,"backoff":{"type":"fixed","delay_ms":500}}"#;
    check(&typed(""), &core_row(), 0.5, FINAL);
    check(&typed("{}"), &core_row(), 0.5, FINAL);
    check(&typed(r#"{"max_retries":1}"#), &core_row(), 0.5, Ok((1_000, 1)));
    check(&typed(fixed), &core_row(), 0.5, Ok((500, 1)));
    check(&typed(fixed), &retried(json!("1")), 0.5, Ok((500, 1)));
    check(&typed(fixed), &retried(json!("2")), 0.5, FINAL);
    // The execution's own policy has no say.
    let own = json!({ "retry_policy": { "max_retries": 9 } });
    check(&typed(""), &core_row().with(exec_core::policy, Some(own)), 0.5, FINAL);
}

#[test]
fn exponential_pauses_grow_to_their_maximum() {
    let policy = r#"{"max_retries":9,"backoff":{"type":"exponential","initial_delay_ms":100,
        "max_delay_ms":350,"multiplier":2.0}}"#;
    for (retries, pause) in [(0, 100), (1, 200), (2, 350), (8, 350)] {
        check(&typed(fence(Style::Typed), policy), &retried(retries.into()), 0.1, Ok((pause, 1)));
    }
}

#[test]
fn jitter_is_drawn_where_the_policy_asks_for_it() {
    let policy = r#"{"max_retries":9,"backoff":{"type":"exponential","initial_delay_ms":100,
        "max_delay_ms":1000,"multiplier":2.0,"jitter":true}}"#;
    for (fraction, pause) in [(0.0, 50), (0.5, 75), (1.0, 100)] {
        check(&typed(fence(Style::Typed), policy), &core_row(), fraction, Ok((pause, 1)));
    }
}

#[test]
fn retries_are_counted_whatever_the_count_was_stored_as() {
    let policy = r#"{"max_retries":3}"#;
    for count in [json!(null), json!("2"), json!(2), json!(-4)] {
        check(&typed(fence(Style::Typed), policy), &retried(count), 0.5, Ok((1_000, 1)));
    }
    for (count, shown) in [(json!("two"), "\"two\""), (json!([1]), "[1]"), (json!(1.5), "1.5")] {
        let refused = format!(
            "refused validation: Corruption: ff_exec_core.raw_fields: retry_count {shown} is not a \
             count"
        );
        check(&typed(fence(Style::Typed), policy), &retried(count), 0.5, Err(&refused));
    }
}

#[test]
fn a_final_failure_reads_neither_policy_nor_count() {
    let corrupt = retried(json!("two")).with(exec_core::policy, Some(json!("x")));
    check(&by_class(FailureClass::Permanent), &corrupt, 0.5, FINAL);
    check(&typed(overriding(), ""), &corrupt, 0.5, FINAL);
    let refused = match decide(&by_class(FailureClass::Transient), &stored(&corrupt)) {
        crate::Decided::Refused(error) => error.to_string(),
        crate::Decided::Plan(..) | crate::Decided::Answer(_) => panic!("it is refused"),
    };
    let count =
        "validation: Corruption: ff_exec_core.raw_fields: retry_count \"two\" is not a count";
    assert_eq!(refused, count, "a policy that is none is taken for the default");
}

#[test]
fn the_next_attempt_follows_the_one_that_failed() {
    let last = attempt_row().with(attempt::attempt_index, i32::MAX);
    let core = core_row().with(exec_core::attempt_index, i32::MAX);
    let mut fail = typed(fence(Style::Typed), r#"{"max_retries":1}"#);
    fail.fence.attempt_index = i32::MAX;
    let decision = decide(&fail, &Stored::of(&core).and(&last));
    assert_snapshot!(decision, @r"refused validation: InvalidInput: attempt_index: cannot grow any further");
}

#[test]
fn an_operator_fails_the_attempt_that_is_current_whichever_he_names() {
    let core = core_row().with(exec_core::attempt_index, 4);
    let current = attempt_row().with(attempt::attempt_index, 4);
    let stored = Stored::of(&core).and(&attempt_row()).and(&current);
    let plan = decide(&typed(overriding(), r#"{"max_retries":1}"#), &stored).to_string();
    assert!(plan.contains("attempt_index := 5"), "{plan}");
    assert!(plan.contains("next_attempt_index: AttemptIndex(5)"), "{plan}");
}

#[test]
fn wire_policies_that_are_none_are_refused() {
    for text in ["[]", "nope", "{\"max_retries\":-1}", "{\"backoff\":3}"] {
        let refused = Fail::policy_of(text).unwrap_err().to_string();
        let prefix = "validation: InvalidPolicyJson: retry_policy_json: ";
        assert!(refused.starts_with(prefix), "{refused}");
    }
    assert_eq!(Fail::policy_of("").unwrap(), None);
}

#[test]
fn a_stored_row_that_changes_under_the_decision_is_decided_anew() {
    // Whatever was read is pinned by the version of the row that it was read from.
    let plan = decide(&by_class(FailureClass::Transient), &Stored::held()).to_string();
    assert!(plan.contains("version = 9"), "{plan}");
    let moved = core_row().raw(exec_core::version.column(), Value::Int(10));
    let plan = decide(&by_class(FailureClass::Transient), &stored(&moved)).to_string();
    assert!(plan.contains("version = 10"), "{plan}");
}

#[test]
fn what_the_claim_found_saves_the_reading() {
    use ff_core::plan::facts::Facts;
    use ff_core::policy::{BackoffStrategy, RetryPolicy};
    use ff_core::rules::ctx::{Ctx, Seeded};
    use ff_core::rules::decision::{Step, Transition};
    use ff_core::rules::execution::fail::Retries;

    let policy = |max_retries| RetryPolicy {
        max_retries,
        backoff: BackoffStrategy::Fixed { delay_ms: 500 },
        retryable_categories: Vec::new(),
    };
    let informed = |max_retries, count| Fail {
        retry: RetryRule::ByClass(
            FailureClass::Transient,
            Some(Retries { policy: Some(policy(max_retries)), count }),
        ),
        ..by_class(FailureClass::Transient)
    };

    let mut seeded = Seeded::new(1);
    let mut first_step = |fail: &Fail, facts: &Facts| {
        let step = fail.step(facts, &mut Ctx::new(TimestampMs(NOW), &mut seeded)).unwrap();
        match step {
            Step::Commit(plan, _) => plan.to_string(),
            Step::Read(_) => "reads".to_owned(),
            Step::Answer(outcome) => format!("{outcome:?}"),
        }
    };

    let retried = first_step(&informed(3, 1), &Facts::default());
    assert!(retried.contains("attempt_state := pending_retry_attempt"), "{retried}");
    assert!(retried.contains(r#""retry_count":"2""#), "{retried}");
    let ended = first_step(&informed(1, 1), &Facts::default());
    assert!(ended.contains("public_state := failed"), "{ended}");

    // Without facts, or refused once: the rows are read.
    assert_eq!(first_step(&by_class(FailureClass::Transient), &Facts::default()), "reads");
    assert_eq!(first_step(&informed(3, 1), &Facts::after_refusals(1)), "reads");
}

#[test]
fn facts_that_make_no_sense_count_as_none() {
    use ff_core::handle_codec::RetryFacts;
    use ff_core::policy::RetryPolicy;
    use ff_core::rules::execution::fail::Retries;

    let rule = |policy_json, retries| {
        let facts = RetryFacts::new(policy_json, retries);
        RetryRule::by_class(FailureClass::Transient, facts.as_ref())
    };
    let expecting = |policy, count| {
        RetryRule::ByClass(FailureClass::Transient, Some(Retries { policy, count }))
    };

    let five = RetryPolicy { max_retries: 5, ..RetryPolicy::default() };
    assert_eq!(rule(Some(r#"{"max_retries":5}"#), 2), expecting(Some(five), 2));
    assert_eq!(rule(None, 7), expecting(None, 7));
    assert_eq!(rule(Some("null"), u32::MAX), expecting(None, u32::MAX));

    let read = RetryRule::ByClass(FailureClass::Transient, None);
    assert_eq!(rule(Some(r#"{"max_retries":"#), 2), read);
    assert_eq!(RetryRule::by_class(FailureClass::Transient, None), read);
}
