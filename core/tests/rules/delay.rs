//! Putting off, and waking what is due.

use ff_core::rules::execution::delay::{Delay, Promote};
use ff_core::rules::fence::Style;
use ff_core::rules::status::Status;
use ff_core::schema::execution::{attempt, exec_core};
use ff_core::state::{AttemptState, BlockingReason, ClosedSet, EligibilityState, LifecyclePhase};
use ff_core::types::TimestampMs;
use insta::assert_snapshot;

use crate::stored::{RowOf, Stored, attempt_row, core_row};
use crate::{NOW, check, decide, fence, key};

fn delay() -> Delay {
    Delay { fence: fence(Style::Handle), until: TimestampMs(NOW + 60) }
}

fn promote() -> Promote {
    Promote { key: key(), at: None }
}

fn delayed(until: Option<i64>) -> RowOf {
    let reason = BlockingReason::WaitingForRetryBackoff;
    core_row()
        .in_state(Status::delayed(reason, AttemptState::PendingRetryAttempt, TimestampMs(NOW)))
        .with(exec_core::eligible_at_ms, until)
}

#[test]
fn a_delay_releases_the_lease_and_keeps_the_deadline() {
    let core = core_row().with(exec_core::deadline_at_ms, Some(NOW + 9));
    assert_snapshot!(decide(&delay(), &Stored::of(&core).and(&attempt_row())), @r"
    plan delay
      guard core = ff_exec_core[partition_key 7, execution_id 00000000-0000-0000-0000-000000000001]
        where ownership_state not in (lease_revoked) and lifecycle_phase is active
      guard attempt = ff_attempt[partition_key core.partition_key, execution_id core.execution_id, attempt_index 0]
        where lease_epoch = 3 and terminal_at_ms is null and (lease_id is null or lease_id = 00000000-0000-0000-0000-00000000000a) and (attempt_id is null or attempt_id = 00000000-0000-0000-0000-00000000000b) and (lease_expires_at_ms is null or lease_expires_at_ms > 1000000)
      update ff_exec_core[partition_key core.partition_key, execution_id core.execution_id]
        lifecycle_phase := runnable
        ownership_state := unowned
        eligibility_state := not_eligible_until_time
        public_state := delayed
        attempt_state := attempt_interrupted
        blocking_reason := waiting_for_delay
        claimable_since_ms := 1000060
        eligible_at_ms := 1000060
        version += 1
        last_changed_at_ms := 1000000
      update ff_attempt[partition_key core.partition_key, execution_id core.execution_id, attempt_index attempt.attempt_index]
        worker_instance_id := null
        lease_expires_at_ms := null
        timeout_at_ms := null
        outcome := interrupted
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
        cause := delayed
        if present: refuse
      delete ff_limit_permit[execution_partition core.partition_key, execution_id core.execution_id]
    answer ()
    ");
}

#[test]
fn a_delay_is_fenced() {
    let lapsed = attempt_row().with(attempt::lease_expires_at_ms, Some(NOW));
    let stale = attempt_row().with(attempt::lease_epoch, 4);
    check(&delay(), &Stored::held(), "plan delay ()");
    check(&delay(), &Stored::of(&core_row()).and(&lapsed), "refused state: LeaseExpired");
    check(&delay(), &Stored::of(&core_row()).and(&stale), "refused contention: LeaseConflict");
    check(&delay(), &Stored::of(&core_row()), "refused not found: attempt");
    check(&delay(), &Stored::nothing(), "refused not found: execution");
}

#[test]
fn what_is_due_is_woken_with_its_attempt_untouched() {
    assert_snapshot!(decide(&promote(), &Stored::of(&delayed(Some(NOW)))), @r"
    plan promote_delayed
      guard core = ff_exec_core[partition_key 7, execution_id 00000000-0000-0000-0000-000000000001]
        where lifecycle_phase in (runnable, pending, eligible, blocked) and eligibility_state is not_eligible_until_time and (eligible_at_ms is null or eligible_at_ms <= 1000000) and (blocking_reason is null or blocking_reason not in (waiting_for_resume_delay))
      update ff_exec_core[partition_key core.partition_key, execution_id core.execution_id]
        lifecycle_phase := runnable
        ownership_state := unowned
        eligibility_state := eligible_now
        public_state := waiting
        blocking_reason := waiting_for_worker
        version += 1
        last_changed_at_ms := 1000000
        claimable_since_ms := greatest(core.claimable_since_ms, core.eligible_at_ms)
        eligible_at_ms := null
    answer true
    ");
}

#[test]
fn only_what_is_due_is_woken() {
    check(&promote(), &Stored::of(&delayed(Some(NOW - 1))), "plan promote_delayed true");
    check(&promote(), &Stored::of(&delayed(Some(NOW))), "plan promote_delayed true");
    check(&promote(), &Stored::of(&delayed(None)), "plan promote_delayed true");
    check(&promote(), &Stored::of(&delayed(Some(NOW + 1))), "answer false");
    check(&promote(), &Stored::nothing(), "answer false");
    let at = |at| Promote { key: key(), at: Some(TimestampMs(at)) };
    check(&at(NOW + 1), &Stored::of(&delayed(Some(NOW + 1))), "plan promote_delayed true");
    check(&at(NOW - 1), &Stored::of(&delayed(Some(NOW))), "answer false");
}

#[test]
fn only_what_waits_for_its_time_is_woken() {
    for phase in LifecyclePhase::all() {
        for eligibility in EligibilityState::all() {
            let row = delayed(Some(NOW))
                .with(exec_core::lifecycle_phase, phase)
                .with(exec_core::eligibility_state, eligibility);
            let waits = phase == LifecyclePhase::Runnable
                && eligibility == EligibilityState::NotEligibleUntilTime;
            let expected = if waits { "plan promote_delayed true" } else { "answer false" };
            check(&promote(), &Stored::of(&row), expected);
        }
    }
}
