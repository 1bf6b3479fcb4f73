//! Cancelling, by the worker and from outside.

use ff_core::contracts::CancelExecutionArgs;
use ff_core::rules::execution::cancel::CancelExecution;
use ff_core::rules::execution::finish::Cancel;
use ff_core::rules::fence::{Fence, Style};
use ff_core::rules::status::Status;
use ff_core::schema::execution::{attempt, exec_core};
use ff_core::state::{AttemptState, BlockingReason, OwnershipState, TerminalOutcome};
use ff_core::types::{CancelSource, LeaseEpoch, TimestampMs};
use insta::assert_snapshot;

use crate::stored::{RowOf, Stored, attempt_row, core_row};
use crate::{NOW, check, decide, fence, id};

fn by_worker(fence: Fence) -> Cancel {
    Cancel { fence, execution_id: id(), reason: "no longer needed".into() }
}

fn by_id(source: CancelSource, epoch: Option<u64>) -> CancelExecution {
    CancelExecution::new(CancelExecutionArgs {
        execution_id: id(),
        reason: "no longer needed".into(),
        source,
        lease_id: None,
        lease_epoch: epoch.map(LeaseEpoch),
        attempt_id: None,
        now: TimestampMs(NOW + 5),
    })
    .unwrap()
}

fn operator() -> CancelExecution {
    by_id(CancelSource::OperatorOverride, None)
}

fn waiting() -> RowOf {
    core_row().in_state(Status::waiting(AttemptState::PendingFirstAttempt))
}

fn cancelled() -> String {
    let outcome = ff_core::contracts::CancelExecutionResult::Cancelled {
        execution_id: id(),
        public_state: ff_core::state::PublicState::Cancelled,
    };
    format!("{outcome:?}")
}

#[test]
fn a_worker_cancels_what_it_holds() {
    assert_snapshot!(decide(&by_worker(fence(Style::Handle)), &Stored::held()), @r#"
    plan cancel
      guard core = ff_exec_core[partition_key 7, execution_id 00000000-0000-0000-0000-000000000001]
        where version = 9
      guard attempt = ff_attempt[partition_key core.partition_key, execution_id core.execution_id, attempt_index 0]
        where lease_epoch = 3 and terminal_at_ms is null and (lease_id is null or lease_id = 00000000-0000-0000-0000-00000000000a) and (attempt_id is null or attempt_id = 00000000-0000-0000-0000-00000000000b)
      update ff_exec_core[partition_key core.partition_key, execution_id core.execution_id]
        lifecycle_phase := terminal
        ownership_state := unowned
        eligibility_state := not_applicable
        public_state := cancelled
        attempt_state := attempt_terminal
        blocking_reason := null
        version += 1
        last_changed_at_ms := 1000000
        terminal_at_ms := 1000000
        eligible_at_ms := null
        cancellation_reason := "no longer needed"
        cancelled_by := "worker"
      insert ff_attempt
        partition_key := core.partition_key
        execution_id := core.execution_id
        attempt_index := core.attempt_index
        outcome := cancelled
        terminal_at_ms := 1000000
        if present: update
          outcome := inserted
          terminal_at_ms := inserted
          worker_instance_id := null
          lease_expires_at_ms := null
          timeout_at_ms := null
      insert ff_completion_event
        partition_key := core.partition_key
        execution_id := core.execution_id
        flow_id := core.flow_id
        outcome := cancelled
        namespace := core.raw_fields->namespace
        instance_tag := core.raw_fields->tags->cairn.instance_id
        occurred_at_ms := 1000000
        reason := "no longer needed"
        failure_class := null
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
        cause := cancelled
        if present: refuse
    answer ()
    "#);
}

#[test]
fn a_worker_cancels_an_unclaimed_execution() {
    assert_snapshot!(decide(&by_worker(fence(Style::Handle)), &Stored::of(&waiting())), @r#"
    plan cancel
      guard core = ff_exec_core[partition_key 7, execution_id 00000000-0000-0000-0000-000000000001]
        where version = 9
      update ff_exec_core[partition_key core.partition_key, execution_id core.execution_id]
        lifecycle_phase := terminal
        ownership_state := unowned
        eligibility_state := not_applicable
        public_state := cancelled
        attempt_state := attempt_terminal
        blocking_reason := null
        version += 1
        last_changed_at_ms := 1000000
        terminal_at_ms := 1000000
        eligible_at_ms := null
        cancellation_reason := "no longer needed"
        cancelled_by := "worker"
      insert ff_attempt
        partition_key := core.partition_key
        execution_id := core.execution_id
        attempt_index := core.attempt_index
        outcome := cancelled
        terminal_at_ms := 1000000
        if present: update
          outcome := inserted
          terminal_at_ms := inserted
          worker_instance_id := null
          lease_expires_at_ms := null
          timeout_at_ms := null
      insert ff_completion_event
        partition_key := core.partition_key
        execution_id := core.execution_id
        flow_id := core.flow_id
        outcome := cancelled
        namespace := core.raw_fields->namespace
        instance_tag := core.raw_fields->tags->cairn.instance_id
        occurred_at_ms := 1000000
        reason := "no longer needed"
        failure_class := null
        if present: refuse
    answer ()
    "#);
}

#[test]
fn a_worker_cancels_what_it_released_but_not_what_another_claimed() {
    let cancel = by_worker(fence(Style::Handle));
    let delayed = Status::delayed(
        BlockingReason::WaitingForDelay,
        AttemptState::AttemptInterrupted,
        TimestampMs(NOW),
    );
    let core = core_row().in_state(delayed);
    let released = attempt_row()
        .with(attempt::worker_instance_id, None)
        .with(attempt::lease_expires_at_ms, None);
    check(&cancel, &Stored::of(&core).and(&released), "plan cancel ()");
    let bumped = released.clone().with(attempt::lease_epoch, 4);
    check(&cancel, &Stored::of(&core).and(&bumped), "refused contention: LeaseConflict");
    let ended = released.with(attempt::terminal_at_ms, Some(NOW));
    check(&cancel, &Stored::of(&core).and(&ended), "refused contention: LeaseConflict");
}

#[test]
fn a_workers_cancel_is_fenced_while_it_is_active() {
    let cancel = by_worker(fence(Style::Handle));
    let revoked = core_row().with(exec_core::ownership_state, OwnershipState::LeaseRevoked);
    let lapsed = attempt_row().with(attempt::lease_expires_at_ms, Some(NOW));
    let stale = attempt_row().with(attempt::lease_epoch, 2);
    let on = |core: &RowOf, attempt: &RowOf| Stored::of(core).and(attempt);
    check(&cancel, &on(&revoked, &attempt_row()), "refused state: LeaseRevoked");
    check(&cancel, &on(&core_row(), &lapsed), "refused state: LeaseExpired");
    check(&cancel, &on(&core_row(), &stale), "refused contention: LeaseConflict");
    check(&cancel, &Stored::of(&core_row()), "refused not found: attempt");
    check(&cancel, &Stored::nothing(), "refused not found: execution");
}

#[test]
fn what_is_cancelled_stays_so_and_another_end_is_named() {
    let worker = by_worker(fence(Style::Handle));
    let own = core_row().in_state(Status::terminal(TerminalOutcome::Cancelled));
    let outside = core_row().in_state(Status::cancelled());
    for core in [own, outside] {
        check(&worker, &Stored::of(&core), "answer ()");
        check(&operator(), &Stored::of(&core), &format!("answer {}", cancelled()));
    }
    for (outcome, word) in [
        (TerminalOutcome::Success, "completed"),
        (TerminalOutcome::Failed, "failed"),
        (TerminalOutcome::Expired, "expired"),
        (TerminalOutcome::Skipped, "skipped"),
    ] {
        let stored = Stored::of(&core_row().in_state(Status::terminal(outcome)));
        let refused = |operation: &str| {
            format!(
                "refused validation: InvalidInput: {operation}: execution_id={}: already terminal \
                 in state '{word}'",
                id()
            )
        };
        check(&worker, &stored, &refused("cancel"));
        check(&operator(), &stored, &refused("cancel_execution"));
    }
}

#[test]
fn an_operator_breaks_a_lease() {
    assert_snapshot!(decide(&operator(), &Stored::held()), @r#"
    plan cancel_execution
      guard core = ff_exec_core[partition_key 7, execution_id 00000000-0000-0000-0000-000000000001]
        where version = 9
      guard attempt = ff_attempt[partition_key core.partition_key, execution_id core.execution_id, attempt_index core.attempt_index]
        where lease_epoch = 3
      update ff_exec_core[partition_key core.partition_key, execution_id core.execution_id]
        lifecycle_phase := cancelled
        ownership_state := unowned
        eligibility_state := not_applicable
        public_state := cancelled
        attempt_state := attempt_terminal
        blocking_reason := null
        version += 1
        last_changed_at_ms := 1000005
        terminal_at_ms := 1000005
        eligible_at_ms := null
        cancellation_reason keeps its value, else := "no longer needed"
        cancelled_by keeps its value, else := "operator_override"
      update ff_attempt[partition_key core.partition_key, execution_id core.execution_id, attempt_index attempt.attempt_index]
        worker_instance_id := null
        lease_expires_at_ms := null
        timeout_at_ms := null
        outcome := cancelled
        terminal_at_ms := 1000005
        lease_epoch += 1
      insert ff_completion_event
        partition_key := core.partition_key
        execution_id := core.execution_id
        flow_id := core.flow_id
        outcome := cancelled
        namespace := core.raw_fields->namespace
        instance_tag := core.raw_fields->tags->cairn.instance_id
        occurred_at_ms := 1000005
        reason := "no longer needed"
        failure_class := null
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
        cause := cancelled
        if present: refuse
      insert ff_operator_event
        execution_id := core.execution_id
        event_type := cancelled
        details := {"reason":"no longer needed"}
        occurred_at_ms := 1000005
        partition_key := core.partition_key
        namespace := core.raw_fields->namespace
        instance_tag := core.raw_fields->tags->cairn.instance_id
        if present: refuse
    answer Cancelled { execution_id: ExecutionId { partition: 7, uuid: 00000000-0000-0000-0000-000000000001, text: "{fp:7}:00000000-0000-0000-0000-000000000001" }, public_state: Cancelled }
    "#);
}

#[test]
fn an_operator_cancels_an_unleased_execution() {
    assert_snapshot!(decide(&operator(), &Stored::of(&waiting())), @r#"
    plan cancel_execution
      guard core = ff_exec_core[partition_key 7, execution_id 00000000-0000-0000-0000-000000000001]
        where version = 9
      update ff_exec_core[partition_key core.partition_key, execution_id core.execution_id]
        lifecycle_phase := cancelled
        ownership_state := unowned
        eligibility_state := not_applicable
        public_state := cancelled
        attempt_state := attempt_terminal
        blocking_reason := null
        version += 1
        last_changed_at_ms := 1000005
        terminal_at_ms := 1000005
        eligible_at_ms := null
        cancellation_reason keeps its value, else := "no longer needed"
        cancelled_by keeps its value, else := "operator_override"
      insert ff_attempt
        partition_key := core.partition_key
        execution_id := core.execution_id
        attempt_index := core.attempt_index
        outcome := cancelled
        terminal_at_ms := 1000005
        if present: update
          outcome := inserted
          terminal_at_ms := inserted
          worker_instance_id := null
          lease_expires_at_ms := null
          timeout_at_ms := null
      insert ff_completion_event
        partition_key := core.partition_key
        execution_id := core.execution_id
        flow_id := core.flow_id
        outcome := cancelled
        namespace := core.raw_fields->namespace
        instance_tag := core.raw_fields->tags->cairn.instance_id
        occurred_at_ms := 1000005
        reason := "no longer needed"
        failure_class := null
        if present: refuse
      insert ff_operator_event
        execution_id := core.execution_id
        event_type := cancelled
        details := {"reason":"no longer needed"}
        occurred_at_ms := 1000005
        partition_key := core.partition_key
        namespace := core.raw_fields->namespace
        instance_tag := core.raw_fields->tags->cairn.instance_id
        if present: refuse
    answer Cancelled { execution_id: ExecutionId { partition: 7, uuid: 00000000-0000-0000-0000-000000000001, text: "{fp:7}:00000000-0000-0000-0000-000000000001" }, public_state: Cancelled }
    "#);
}

#[test]
fn others_break_a_lease_only_with_its_epoch() {
    let done = format!("plan cancel_execution {}", cancelled());
    let required = format!(
        "refused validation: InvalidInput: cancel_execution: execution_id={}: lease_epoch required \
         when source != operator_override and execution is active",
        id()
    );
    for source in
        [CancelSource::LeaseHolder, CancelSource::FlowCascade, CancelSource::SystemTimeout]
    {
        check(&by_id(source.clone(), None), &Stored::held(), &required);
        check(&by_id(source.clone(), Some(3)), &Stored::held(), &done);
        check(&by_id(source.clone(), Some(2)), &Stored::held(), "refused state: StaleLease");
        check(&by_id(source.clone(), Some(u64::MAX)), &Stored::held(), "refused state: StaleLease");
        // Nobody holds it: there is no lease to break.
        check(&by_id(source.clone(), None), &Stored::of(&waiting()), &done);
        let let_go = attempt_row().with(attempt::worker_instance_id, Some(String::new()));
        check(&by_id(source, None), &Stored::of(&waiting()).and(&let_go), &done);
    }
    check(&operator(), &Stored::nothing(), "refused not found: execution");
}

#[test]
fn arguments_that_cannot_be_stored_are_refused() {
    let args = |reason: &str, source: CancelSource| CancelExecutionArgs {
        execution_id: id(),
        reason: reason.into(),
        source,
        lease_id: None,
        lease_epoch: None,
        attempt_id: None,
        now: TimestampMs(NOW),
    };
    let refused = |args| CancelExecution::new(args).unwrap_err();
    assert_snapshot!(refused(args("a\0", CancelSource::LeaseHolder)), @r"validation: InvalidInput: reason: must not contain NUL (at byte 1)");
    assert_snapshot!(refused(args("a", CancelSource::Custom("\0".into()))), @r"validation: InvalidInput: source: must not contain NUL (at byte 0)");
}
