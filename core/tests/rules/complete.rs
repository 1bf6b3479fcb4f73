//! Completing, by handle, by fence, and past the fence.

use ff_core::rules::execution::finish::Complete;
use ff_core::rules::fence::{Fence, Style};
use ff_core::rules::status::Status;
use ff_core::schema::execution::{attempt, exec_core};
use ff_core::state::{AttemptState, OwnershipState};
use ff_core::types::{
    AttemptId, AttemptIndex, CancelSource, LeaseEpoch, LeaseFence, LeaseId, TimestampMs,
};
use insta::assert_snapshot;

use crate::stored::{Stored, attempt_row, core_row};
use crate::{ATTEMPT_ID, EPOCH, LEASE_ID, NOW, check, decide, fence, id, overriding};

fn complete(fence: Fence) -> Complete {
    Complete { fence, result: Some(vec![7; 3]), at: None }
}

const DONE: &str = "plan complete Completed";

#[test]
fn completing_ends_execution_attempt_and_lease() {
    assert_snapshot!(decide(&complete(fence(Style::Handle)), &Stored::held()), @r"
    plan complete
      guard core = ff_exec_core[partition_key 7, execution_id 00000000-0000-0000-0000-000000000001]
        where ownership_state not in (lease_revoked) and lifecycle_phase is active and has_waitpoints = false and has_reservations = false
      guard attempt = ff_attempt[partition_key core.partition_key, execution_id core.execution_id, attempt_index 0]
        where lease_epoch = 3 and terminal_at_ms is null and (lease_id is null or lease_id = 00000000-0000-0000-0000-00000000000a) and (attempt_id is null or attempt_id = 00000000-0000-0000-0000-00000000000b) and (lease_expires_at_ms is null or lease_expires_at_ms > 1000000)
      update ff_exec_core[partition_key core.partition_key, execution_id core.execution_id]
        lifecycle_phase := terminal
        ownership_state := unowned
        eligibility_state := not_applicable
        public_state := completed
        attempt_state := attempt_terminal
        blocking_reason := null
        version += 1
        last_changed_at_ms := 1000000
        terminal_at_ms := 1000000
        eligible_at_ms := null
        result := <3 bytes>
      update ff_attempt[partition_key core.partition_key, execution_id core.execution_id, attempt_index attempt.attempt_index]
        worker_instance_id := null
        lease_expires_at_ms := null
        timeout_at_ms := null
        outcome := success
        terminal_at_ms := 1000000
      insert ff_completion_event
        partition_key := core.partition_key
        execution_id := core.execution_id
        flow_id := core.flow_id
        outcome := success
        namespace := core.raw_fields->namespace
        instance_tag := core.raw_fields->tags->cairn.instance_id
        occurred_at_ms := 1000000
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
        cause := completed
        if present: refuse
    answer Completed
    ");
}

#[test]
fn the_fence_may_be_typed_and_the_time_the_callers() {
    let at = Some(TimestampMs(NOW + 5));
    let complete = Complete { fence: fence(Style::Typed), result: None, at };
    assert_snapshot!(decide(&complete, &Stored::held()), @r"
    plan complete
      guard core = ff_exec_core[partition_key 7, execution_id 00000000-0000-0000-0000-000000000001]
        where ownership_state not in (lease_revoked) and lifecycle_phase is active and has_waitpoints = false and has_reservations = false
      guard attempt = ff_attempt[partition_key core.partition_key, execution_id core.execution_id, attempt_index 0]
        where lease_epoch = 3 and terminal_at_ms is null and (lease_id is null or lease_id = 00000000-0000-0000-0000-00000000000a) and (attempt_id is null or attempt_id = 00000000-0000-0000-0000-00000000000b) and (lease_expires_at_ms is null or lease_expires_at_ms > 1000005)
      update ff_exec_core[partition_key core.partition_key, execution_id core.execution_id]
        lifecycle_phase := terminal
        ownership_state := unowned
        eligibility_state := not_applicable
        public_state := completed
        attempt_state := attempt_terminal
        blocking_reason := null
        version += 1
        last_changed_at_ms := 1000005
        terminal_at_ms := 1000005
        eligible_at_ms := null
        result := null
      update ff_attempt[partition_key core.partition_key, execution_id core.execution_id, attempt_index attempt.attempt_index]
        worker_instance_id := null
        lease_expires_at_ms := null
        timeout_at_ms := null
        outcome := success
        terminal_at_ms := 1000005
      insert ff_completion_event
        partition_key := core.partition_key
        execution_id := core.execution_id
        flow_id := core.flow_id
        outcome := success
        namespace := core.raw_fields->namespace
        instance_tag := core.raw_fields->tags->cairn.instance_id
        occurred_at_ms := 1000005
        if present: refuse
      insert ff_lease_event
        execution_id := core.execution_id
        lease_id := attempt.lease_id
        event_type := revoked
        occurred_at_ms := 1000005
        partition_key := core.partition_key
        namespace := core.raw_fields->namespace
        instance_tag := core.raw_fields->tags->cairn.instance_id
        worker_id := attempt.worker_id
        worker_instance_id := attempt.worker_instance_id
        cause := completed
        if present: refuse
    answer Completed
    ");
}

#[test]
fn the_callers_time_decides_about_the_lease() {
    let typed =
        |at| Complete { fence: fence(Style::Typed), result: None, at: Some(TimestampMs(at)) };
    check(&typed(NOW + 999), &Stored::held(), DONE);
    check(&typed(NOW + 1_000), &Stored::held(), "refused state: LeaseExpired");
}

#[test]
fn an_operator_skips_the_fence_but_not_the_lifecycle() {
    assert_snapshot!(decide(&complete(overriding()), &Stored::held()), @r"
    plan complete
      guard core = ff_exec_core[partition_key 7, execution_id 00000000-0000-0000-0000-000000000001]
        where ownership_state not in (lease_revoked) and lifecycle_phase is active and has_waitpoints = false and has_reservations = false
      guard attempt = ff_attempt[partition_key core.partition_key, execution_id core.execution_id, attempt_index core.attempt_index]
      update ff_exec_core[partition_key core.partition_key, execution_id core.execution_id]
        lifecycle_phase := terminal
        ownership_state := unowned
        eligibility_state := not_applicable
        public_state := completed
        attempt_state := attempt_terminal
        blocking_reason := null
        version += 1
        last_changed_at_ms := 1000000
        terminal_at_ms := 1000000
        eligible_at_ms := null
        result := <3 bytes>
      update ff_attempt[partition_key core.partition_key, execution_id core.execution_id, attempt_index attempt.attempt_index]
        worker_instance_id := null
        lease_expires_at_ms := null
        timeout_at_ms := null
        outcome := success
        terminal_at_ms := 1000000
      insert ff_completion_event
        partition_key := core.partition_key
        execution_id := core.execution_id
        flow_id := core.flow_id
        outcome := success
        namespace := core.raw_fields->namespace
        instance_tag := core.raw_fields->tags->cairn.instance_id
        occurred_at_ms := 1000000
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
        cause := completed
        if present: refuse
    answer Completed
    ");
    let lapsed = attempt_row().with(attempt::lease_expires_at_ms, Some(NOW));
    check(&complete(overriding()), &Stored::of(&core_row()).and(&lapsed), DONE);
    let waiting = core_row().in_state(Status::waiting(AttemptState::AttemptInterrupted));
    check(
        &complete(overriding()),
        &Stored::of(&waiting).and(&attempt_row()),
        "refused contention: ExecutionNotActive { terminal_outcome: \"none\", lease_epoch: \"3\", \
         lifecycle_phase: \"runnable\", attempt_id: \"00000000-0000-0000-0000-00000000000b\" }",
    );
    let revoked = core_row().with(exec_core::ownership_state, OwnershipState::LeaseRevoked);
    let stored = Stored::of(&revoked).and(&attempt_row());
    check(&complete(overriding()), &stored, "refused state: LeaseRevoked");
    check(&complete(overriding()), &Stored::of(&core_row()), "refused not found: attempt");
}

#[test]
fn an_operator_ends_the_attempt_that_is_current_whichever_he_names() {
    let core = core_row().with(exec_core::attempt_index, 1);
    let ended = attempt_row().with(attempt::terminal_at_ms, Some(NOW - 1));
    let stored = Stored::of(&core).and(&ended).and(&attempt_row().with(attempt::attempt_index, 1));
    let plan = decide(&complete(overriding()), &stored).to_string();
    let current = "guard attempt = ff_attempt[partition_key core.partition_key, \
                   execution_id core.execution_id, attempt_index core.attempt_index]";
    assert!(plan.contains(current), "{plan}");
    check(&complete(fence(Style::Typed)), &stored, "refused state: StaleLease");
}

#[test]
fn ids_are_compared_only_where_the_row_holds_one() {
    let by_epoch = attempt_row().with(attempt::lease_id, None).with(attempt::attempt_id, None);
    check(&complete(fence(Style::Handle)), &Stored::of(&core_row()).and(&by_epoch), DONE);
    for other in [
        attempt_row().with(attempt::lease_id, Some(ATTEMPT_ID)),
        attempt_row().with(attempt::attempt_id, Some(LEASE_ID)),
        attempt_row().with(attempt::lease_epoch, EPOCH - 1),
        attempt_row().with(attempt::lease_epoch, EPOCH + 1),
        attempt_row().with(attempt::terminal_at_ms, Some(NOW - 1)),
    ] {
        let stored = Stored::of(&core_row()).and(&other);
        check(&complete(fence(Style::Handle)), &stored, "refused contention: LeaseConflict");
        check(&complete(fence(Style::Typed)), &stored, "refused state: StaleLease");
    }
}

#[test]
fn a_second_completion_learns_the_outcome_of_the_first() {
    use ff_core::state::{AttemptOutcome, TerminalOutcome};
    let core = core_row().in_state(Status::terminal(TerminalOutcome::Success));
    let ended = attempt_row().with(attempt::outcome, Some(AttemptOutcome::Success));
    check(
        &complete(fence(Style::Handle)),
        &Stored::of(&core).and(&ended),
        "refused contention: ExecutionNotActive { terminal_outcome: \"success\", \
         lease_epoch: \"3\", lifecycle_phase: \"terminal\", \
         attempt_id: \"00000000-0000-0000-0000-00000000000b\" }",
    );
}

#[test]
fn only_an_operator_comes_without_a_fence() {
    let given = LeaseFence {
        lease_id: LeaseId::from_uuid(LEASE_ID),
        lease_epoch: LeaseEpoch(3),
        attempt_id: AttemptId::from_uuid(ATTEMPT_ID),
    };
    let of = |fence: Option<&LeaseFence>, index: u32, source: CancelSource| {
        Fence::of_args(&id(), AttemptIndex(index), fence, &source)
    };
    assert_eq!(of(Some(&given), 0, CancelSource::LeaseHolder).unwrap(), fence(Style::Typed));
    assert_eq!(of(None, 0, CancelSource::OperatorOverride).unwrap(), overriding());
    for source in
        [CancelSource::LeaseHolder, CancelSource::FlowCascade, CancelSource::SystemTimeout]
    {
        let refused = of(None, u32::MAX, source).unwrap_err().to_string();
        assert_eq!(refused, "validation: InvalidInput: fence_required");
    }
    let far = LeaseFence { lease_epoch: LeaseEpoch(u64::MAX), ..given.clone() };
    assert_snapshot!(of(Some(&far), 0, CancelSource::LeaseHolder).unwrap_err(), @r"validation: InvalidInput: lease_epoch 18446744073709551615 exceeds i64");
    assert_snapshot!(of(Some(&given), u32::MAX, CancelSource::LeaseHolder).unwrap_err(), @r"validation: InvalidInput: attempt_index 4294967295 exceeds 2147483647");
}
