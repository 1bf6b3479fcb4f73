//! Time running out: of a lease, of an attempt, of an execution.

use ff_core::rules::execution::expire::{ExpireAttempt, ExpireExecution, ExpireLease};
use ff_core::rules::status::Status;
use ff_core::schema::execution::{attempt, exec_core};
use ff_core::state::{AttemptState, ClosedSet, LifecyclePhase, OwnershipState, TerminalOutcome};
use ff_core::types::TimestampMs;
use insta::assert_snapshot;
use serde_json::json;

use crate::stored::{RowOf, Stored, attempt_row, core_row};
use crate::{NOW, check, decide, key};

const LEASE: ExpireLease = ExpireLease { key: KEY, expected: None };
const ATTEMPT: ExpireAttempt = ExpireAttempt { key: KEY, at: None };
const EXECUTION: ExpireExecution = ExpireExecution { key: KEY, at: None };
const KEY: ff_core::rules::key::ExecutionKey =
    ff_core::rules::key::ExecutionKey { partition: 7, uuid: uuid::Uuid::from_u128(1) };

fn lapsed(at: Option<i64>) -> RowOf {
    attempt_row().with(attempt::lease_expires_at_ms, at)
}

fn timing_out(at: Option<i64>) -> RowOf {
    attempt_row().with(attempt::timeout_at_ms, at)
}

fn due(at: Option<i64>) -> RowOf {
    core_row().with(exec_core::deadline_at_ms, at)
}

fn retrying(max: u32) -> RowOf {
    let policy = json!({ "retry_policy": {
        "max_retries": max, "backoff": { "type": "fixed", "delay_ms": 70 },
    }});
    core_row().with(exec_core::policy, Some(policy))
}

#[test]
fn a_lapsed_lease_releases_its_execution_and_moves_the_epoch_on() {
    assert_eq!(KEY, key());
    assert_snapshot!(decide(&LEASE, &Stored::of(&core_row()).and(&lapsed(Some(NOW)))), @r#"
    plan expire_lease
      guard core = ff_exec_core[partition_key 7, execution_id 00000000-0000-0000-0000-000000000001]
        where lifecycle_phase is active and lease_reclaim_count = 0 and version = 9
      guard attempt = ff_attempt[partition_key core.partition_key, execution_id core.execution_id, attempt_index core.attempt_index]
        where lease_expires_at_ms <= 1000000
      update ff_exec_core[partition_key core.partition_key, execution_id core.execution_id]
        lifecycle_phase := runnable
        ownership_state := unowned
        eligibility_state := eligible_now
        public_state := waiting
        attempt_state := attempt_interrupted
        blocking_reason := waiting_for_worker
        claimable_since_ms := 1000000
        version += 1
        last_changed_at_ms := 1000000
        raw_fields merges {"lease_expired_at_ms":1000000}
        lease_reclaim_count := 1
      update ff_attempt[partition_key core.partition_key, execution_id core.execution_id, attempt_index attempt.attempt_index]
        worker_instance_id := null
        lease_expires_at_ms := null
        timeout_at_ms := null
        outcome := lease_expired_reclaimable
        lease_epoch += 1
      insert ff_lease_event
        execution_id := core.execution_id
        lease_id := attempt.lease_id
        event_type := expired
        occurred_at_ms := 1000000
        partition_key := core.partition_key
        namespace := core.raw_fields->namespace
        instance_tag := core.raw_fields->tags->cairn.instance_id
        worker_id := attempt.worker_id
        worker_instance_id := attempt.worker_instance_id
        cause := expired
        if present: refuse
    answer true
    "#);
}

#[test]
fn only_a_lapsed_lease_of_an_active_execution_is_released() {
    let on = |core: &RowOf, attempt: &RowOf| Stored::of(core).and(attempt);
    check(&LEASE, &on(&core_row(), &lapsed(Some(NOW - 1))), "plan expire_lease true");
    check(&LEASE, &on(&core_row(), &lapsed(Some(NOW))), "plan expire_lease true");
    check(&LEASE, &on(&core_row(), &lapsed(Some(NOW + 1))), "answer false");
    check(&LEASE, &on(&core_row(), &lapsed(None)), "answer false");
    check(&LEASE, &Stored::of(&core_row()), "answer false");
    check(&LEASE, &Stored::nothing(), "answer false");
    for phase in LifecyclePhase::all() {
        let core = core_row().with(exec_core::lifecycle_phase, phase);
        let expected = match phase {
            LifecyclePhase::Active => "plan expire_lease true",
            LifecyclePhase::Submitted
            | LifecyclePhase::Runnable
            | LifecyclePhase::Suspended
            | LifecyclePhase::Terminal
            | LifecyclePhase::Cancelled => "answer false",
        };
        check(&LEASE, &on(&core, &lapsed(Some(NOW))), expected);
    }
    // Only the current attempt's lease counts.
    let moved_on = core_row().with(exec_core::attempt_index, 1);
    check(&LEASE, &on(&moved_on, &lapsed(Some(NOW))), "answer false");
    // A revoked lease that lapsed is released as well: nothing else would.
    let revoked = core_row().with(exec_core::ownership_state, OwnershipState::LeaseRevoked);
    check(&LEASE, &on(&revoked, &lapsed(Some(NOW))), "plan expire_lease true");
}

#[test]
fn an_attempt_that_ran_too_long_is_tried_again_by_policy() {
    let stored = Stored::of(&retrying(1)).and(&timing_out(Some(NOW)));
    assert_snapshot!(decide(&ATTEMPT, &stored), @r#"
    plan expire_attempt
      guard core = ff_exec_core[partition_key 7, execution_id 00000000-0000-0000-0000-000000000001]
        where version = 9
      guard attempt = ff_attempt[partition_key core.partition_key, execution_id core.execution_id, attempt_index core.attempt_index]
        where timeout_at_ms <= 1000000
      update ff_exec_core[partition_key core.partition_key, execution_id core.execution_id]
        lifecycle_phase := runnable
        ownership_state := unowned
        eligibility_state := not_eligible_until_time
        public_state := delayed
        attempt_state := pending_retry_attempt
        blocking_reason := waiting_for_retry_backoff
        claimable_since_ms := 1000070
        eligible_at_ms := 1000070
        version += 1
        last_changed_at_ms := 1000000
        attempt_index := 1
        raw_fields merges {"delay_until":"1000070","failure_reason":"attempt_timeout","last_failure_class":"timeout","last_failure_message":"attempt_timeout","pending_previous_attempt_index":"0","pending_retry_reason":"attempt_timeout","retry_count":"1"}
      update ff_attempt[partition_key core.partition_key, execution_id core.execution_id, attempt_index attempt.attempt_index]
        worker_instance_id := null
        lease_expires_at_ms := null
        timeout_at_ms := null
        outcome := interrupted
        terminal_at_ms := 1000000
        failure_message := "attempt_timeout"
        failure_class := "timeout"
      insert ff_attempt
        partition_key := core.partition_key
        execution_id := core.execution_id
        attempt_index := 1
        lease_epoch := attempt.lease_epoch
        if present: ignore
      insert ff_lease_event
        execution_id := core.execution_id
        lease_id := attempt.lease_id
        event_type := expired
        occurred_at_ms := 1000000
        partition_key := core.partition_key
        namespace := core.raw_fields->namespace
        instance_tag := core.raw_fields->tags->cairn.instance_id
        worker_id := attempt.worker_id
        worker_instance_id := attempt.worker_instance_id
        cause := timed_out
        if present: refuse
    answer true
    "#);
}

#[test]
fn an_attempt_that_ran_too_long_ends_an_execution_without_policy() {
    let stored = Stored::of(&core_row()).and(&timing_out(Some(NOW)));
    assert_snapshot!(decide(&ATTEMPT, &stored), @r#"
    plan expire_attempt
      guard core = ff_exec_core[partition_key 7, execution_id 00000000-0000-0000-0000-000000000001]
        where version = 9
      guard attempt = ff_attempt[partition_key core.partition_key, execution_id core.execution_id, attempt_index core.attempt_index]
        where timeout_at_ms <= 1000000
      update ff_exec_core[partition_key core.partition_key, execution_id core.execution_id]
        lifecycle_phase := terminal
        ownership_state := unowned
        eligibility_state := not_applicable
        public_state := expired
        attempt_state := attempt_terminal
        blocking_reason := null
        version += 1
        last_changed_at_ms := 1000000
        terminal_at_ms := 1000000
        eligible_at_ms := null
        raw_fields merges {"failure_reason":"attempt_timeout","last_failure_class":"timeout","last_failure_message":"attempt_timeout","terminal_outcome":"expired"}
      update ff_attempt[partition_key core.partition_key, execution_id core.execution_id, attempt_index attempt.attempt_index]
        worker_instance_id := null
        lease_expires_at_ms := null
        timeout_at_ms := null
        outcome := expired
        terminal_at_ms := 1000000
        failure_message := "attempt_timeout"
        failure_class := "timeout"
      insert ff_completion_event
        partition_key := core.partition_key
        execution_id := core.execution_id
        flow_id := core.flow_id
        outcome := expired
        namespace := core.raw_fields->namespace
        instance_tag := core.raw_fields->tags->cairn.instance_id
        occurred_at_ms := 1000000
        reason := "attempt_timeout"
        failure_class := "timeout"
        if present: refuse
      insert ff_lease_event
        execution_id := core.execution_id
        lease_id := attempt.lease_id
        event_type := expired
        occurred_at_ms := 1000000
        partition_key := core.partition_key
        namespace := core.raw_fields->namespace
        instance_tag := core.raw_fields->tags->cairn.instance_id
        worker_id := attempt.worker_id
        worker_instance_id := attempt.worker_instance_id
        cause := timed_out
        if present: refuse
    answer true
    "#);
}

#[test]
fn only_an_attempt_that_is_due_times_out() {
    let on = |core: &RowOf, attempt: &RowOf| Stored::of(core).and(attempt);
    let at = |at| ExpireAttempt { key: KEY, at: Some(TimestampMs(at)) };
    check(&ATTEMPT, &on(&core_row(), &timing_out(Some(NOW))), "plan expire_attempt true");
    check(&ATTEMPT, &on(&core_row(), &timing_out(Some(NOW + 1))), "answer false");
    check(&at(NOW + 1), &on(&core_row(), &timing_out(Some(NOW + 1))), "plan expire_attempt true");
    check(&at(NOW - 1), &on(&core_row(), &timing_out(Some(NOW))), "answer false");
    check(&ATTEMPT, &on(&core_row(), &timing_out(None)), "answer false");
    check(&ATTEMPT, &Stored::of(&core_row()), "answer false");
    check(&ATTEMPT, &Stored::nothing(), "answer false");
    let waiting = core_row().in_state(Status::waiting(AttemptState::AttemptInterrupted));
    check(&ATTEMPT, &on(&waiting, &timing_out(Some(NOW))), "answer false");
    let used_up = retrying(1).with(exec_core::raw_fields, json!({ "retry_count": "1" }));
    let ended = decide(&ATTEMPT, &on(&used_up, &timing_out(Some(NOW)))).to_string();
    assert!(ended.contains("public_state := expired"), "{ended}");
}

#[test]
fn a_missed_deadline_ends_what_runs() {
    let stored = Stored::of(&due(Some(NOW))).and(&attempt_row());
    assert_snapshot!(decide(&EXECUTION, &stored), @r#"
    plan expire_execution
      guard core = ff_exec_core[partition_key 7, execution_id 00000000-0000-0000-0000-000000000001]
        where version = 9
      guard attempt = ff_attempt[partition_key core.partition_key, execution_id core.execution_id, attempt_index core.attempt_index]
      update ff_exec_core[partition_key core.partition_key, execution_id core.execution_id]
        lifecycle_phase := terminal
        ownership_state := unowned
        eligibility_state := not_applicable
        public_state := expired
        attempt_state := attempt_terminal
        blocking_reason := null
        version += 1
        last_changed_at_ms := 1000000
        terminal_at_ms := 1000000
        eligible_at_ms := null
        raw_fields merges {"last_failure_class":"timeout","last_failure_message":"execution_deadline","terminal_outcome":"expired"}
      insert ff_attempt
        partition_key := core.partition_key
        execution_id := core.execution_id
        attempt_index := core.attempt_index
        outcome := expired
        terminal_at_ms := 1000000
        failure_message := "execution_deadline"
        failure_class := "timeout"
        if present: update
          outcome := inserted
          terminal_at_ms := inserted
          worker_instance_id := null
          lease_expires_at_ms := null
          timeout_at_ms := null
          failure_message := inserted
          failure_class := inserted
      insert ff_completion_event
        partition_key := core.partition_key
        execution_id := core.execution_id
        flow_id := core.flow_id
        outcome := expired
        namespace := core.raw_fields->namespace
        instance_tag := core.raw_fields->tags->cairn.instance_id
        occurred_at_ms := 1000000
        reason := "execution_deadline"
        failure_class := "timeout"
        if present: refuse
      insert ff_lease_event
        execution_id := core.execution_id
        lease_id := attempt.lease_id
        event_type := expired
        occurred_at_ms := 1000000
        partition_key := core.partition_key
        namespace := core.raw_fields->namespace
        instance_tag := core.raw_fields->tags->cairn.instance_id
        worker_id := attempt.worker_id
        worker_instance_id := attempt.worker_instance_id
        cause := deadline
        if present: refuse
    answer true
    "#);
}

#[test]
fn a_missed_deadline_ends_what_was_never_claimed() {
    let waiting = due(Some(NOW)).in_state(Status::waiting(AttemptState::PendingFirstAttempt));
    assert_snapshot!(decide(&EXECUTION, &Stored::of(&waiting)), @r#"
    plan expire_execution
      guard core = ff_exec_core[partition_key 7, execution_id 00000000-0000-0000-0000-000000000001]
        where version = 9
      update ff_exec_core[partition_key core.partition_key, execution_id core.execution_id]
        lifecycle_phase := terminal
        ownership_state := unowned
        eligibility_state := not_applicable
        public_state := expired
        attempt_state := attempt_terminal
        blocking_reason := null
        version += 1
        last_changed_at_ms := 1000000
        terminal_at_ms := 1000000
        eligible_at_ms := null
        raw_fields merges {"last_failure_class":"timeout","last_failure_message":"execution_deadline","terminal_outcome":"expired"}
      insert ff_attempt
        partition_key := core.partition_key
        execution_id := core.execution_id
        attempt_index := core.attempt_index
        outcome := expired
        terminal_at_ms := 1000000
        failure_message := "execution_deadline"
        failure_class := "timeout"
        if present: update
          outcome := inserted
          terminal_at_ms := inserted
          worker_instance_id := null
          lease_expires_at_ms := null
          timeout_at_ms := null
          failure_message := inserted
          failure_class := inserted
      insert ff_completion_event
        partition_key := core.partition_key
        execution_id := core.execution_id
        flow_id := core.flow_id
        outcome := expired
        namespace := core.raw_fields->namespace
        instance_tag := core.raw_fields->tags->cairn.instance_id
        occurred_at_ms := 1000000
        reason := "execution_deadline"
        failure_class := "timeout"
        if present: refuse
    answer true
    "#);
}

#[test]
fn only_what_is_due_and_not_over_expires() {
    let at = |at| ExpireExecution { key: KEY, at: Some(TimestampMs(at)) };
    check(&EXECUTION, &Stored::of(&due(Some(NOW))), "plan expire_execution true");
    check(&EXECUTION, &Stored::of(&due(Some(NOW + 1))), "answer false");
    check(&at(NOW + 1), &Stored::of(&due(Some(NOW + 1))), "plan expire_execution true");
    check(&at(NOW - 1), &Stored::of(&due(Some(NOW))), "answer false");
    check(&EXECUTION, &Stored::of(&due(None)), "answer false");
    check(&EXECUTION, &Stored::nothing(), "answer false");
    for over in [Status::terminal(TerminalOutcome::Success), Status::cancelled()] {
        check(&EXECUTION, &Stored::of(&due(Some(NOW)).in_state(over)), "answer false");
    }
}
