//! While a worker holds an execution: renewing, reporting progress.

use ff_core::rules::execution::lease::{Progress, Renew};
use ff_core::rules::fence::Style;
use ff_core::schema::execution::{attempt, exec_core};
use insta::assert_snapshot;

use crate::stored::{Stored, attempt_row, core_row};
use crate::{NOW, check, decide, fence};

fn renew(style: Style) -> Renew {
    Renew { fence: fence(style), ttl_ms: 500 }
}

fn progress(percent: Option<u8>, message: Option<&str>) -> Progress {
    Progress { fence: fence(Style::Handle), percent, message: message.map(str::to_owned) }
}

fn expiring(at: Option<i64>) -> Stored {
    Stored::of(&core_row()).and(&attempt_row().with(attempt::lease_expires_at_ms, at))
}

#[test]
fn a_renewal_pushes_the_expiry_out() {
    assert_snapshot!(decide(&renew(Style::Handle), &Stored::held()), @r"
    plan renew
      guard core = ff_exec_core[partition_key 7, execution_id 00000000-0000-0000-0000-000000000001]
        where ownership_state not in (lease_revoked) and lifecycle_phase is active
      guard attempt = ff_attempt[partition_key core.partition_key, execution_id core.execution_id, attempt_index 0]
        where lease_epoch = 3 and terminal_at_ms is null and (lease_id is null or lease_id = 00000000-0000-0000-0000-00000000000a) and (attempt_id is null or attempt_id = 00000000-0000-0000-0000-00000000000b) and lease_expires_at_ms > 1000000
      update ff_attempt[partition_key core.partition_key, execution_id core.execution_id, attempt_index attempt.attempt_index]
        lease_expires_at_ms := 1000500
      insert ff_lease_event
        execution_id := core.execution_id
        lease_id := attempt.lease_id
        event_type := renewed
        occurred_at_ms := 1000000
        partition_key := core.partition_key
        namespace := core.raw_fields->namespace
        instance_tag := core.raw_fields->tags->cairn.instance_id
        worker_id := attempt.worker_id
        worker_instance_id := attempt.worker_instance_id
        if present: refuse
    answer TimestampMs(1000500)
    ");
}

#[test]
fn a_lease_that_lapsed_or_never_was_cannot_be_renewed() {
    let accepted = "plan renew TimestampMs(1000500)";
    for style in [Style::Handle, Style::Typed] {
        check(&renew(style), &expiring(Some(NOW + 1)), accepted);
        check(&renew(style), &expiring(Some(NOW)), "refused state: LeaseExpired");
        check(&renew(style), &expiring(None), "refused state: LeaseExpired");
    }
}

#[test]
fn a_renewal_cannot_outlive_time() {
    let forever = Renew { fence: fence(Style::Handle), ttl_ms: i64::MAX };
    check(&forever, &Stored::held(), "plan renew TimestampMs(9223372036854775807)");
}

#[test]
fn progress_overwrites_what_is_given() {
    assert_snapshot!(decide(&progress(Some(40), Some("half")), &Stored::held()), @r#"
    plan progress
      guard core = ff_exec_core[partition_key 7, execution_id 00000000-0000-0000-0000-000000000001]
        where ownership_state not in (lease_revoked) and lifecycle_phase is active
      guard attempt = ff_attempt[partition_key core.partition_key, execution_id core.execution_id, attempt_index 0]
        where lease_epoch = 3 and terminal_at_ms is null and (lease_id is null or lease_id = 00000000-0000-0000-0000-00000000000a) and (attempt_id is null or attempt_id = 00000000-0000-0000-0000-00000000000b) and (lease_expires_at_ms is null or lease_expires_at_ms > 1000000)
      update ff_exec_core[partition_key core.partition_key, execution_id core.execution_id]
        raw_fields merges {"progress_message":"half","progress_pct":40}
        version += 1
        last_changed_at_ms := 1000000
    answer ()
    "#);
    assert_snapshot!(decide(&progress(None, Some("half")), &Stored::held()), @r#"
    plan progress
      guard core = ff_exec_core[partition_key 7, execution_id 00000000-0000-0000-0000-000000000001]
        where ownership_state not in (lease_revoked) and lifecycle_phase is active
      guard attempt = ff_attempt[partition_key core.partition_key, execution_id core.execution_id, attempt_index 0]
        where lease_epoch = 3 and terminal_at_ms is null and (lease_id is null or lease_id = 00000000-0000-0000-0000-00000000000a) and (attempt_id is null or attempt_id = 00000000-0000-0000-0000-00000000000b) and (lease_expires_at_ms is null or lease_expires_at_ms > 1000000)
      update ff_exec_core[partition_key core.partition_key, execution_id core.execution_id]
        raw_fields merges {"progress_message":"half"}
        version += 1
        last_changed_at_ms := 1000000
    answer ()
    "#);
}

#[test]
fn progress_is_fenced() {
    let report = progress(Some(1), None);
    check(&report, &expiring(None), "plan progress ()");
    check(&report, &expiring(Some(NOW + 1)), "plan progress ()");
    check(&report, &expiring(Some(NOW)), "refused state: LeaseExpired");
    let moved_on = core_row().with(exec_core::attempt_index, 1);
    let ended = attempt_row().with(attempt::terminal_at_ms, Some(NOW - 1));
    check(&report, &Stored::of(&moved_on).and(&ended), "refused contention: LeaseConflict");
}
