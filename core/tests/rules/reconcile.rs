//! What is derived in an execution's row, and what is done where it has drifted.

use ff_core::backend::ScannerFilter;
use ff_core::plan::value::Value;
use ff_core::rules::execution::reconcile::{Drifted, FindDrift, Page, Repair};
use ff_core::rules::lane::RegisterLane;
use ff_core::rules::status::Status;
use ff_core::schema::execution::exec_core;
use ff_core::state::{BlockingReason, PublicState};
use ff_core::types::{LaneId, TimestampMs};
use insta::assert_snapshot;

use crate::stored::{RowOf, Stored, core_row};
use crate::{NOW, answers, asks, decide, key};

fn find(lanes: &[LaneId], filter: &ScannerFilter) -> FindDrift {
    FindDrift::new(7, lanes, filter).unwrap()
}

fn page(row: &RowOf) -> Page {
    answers(&find(&[], &ScannerFilter::NOOP), vec![vec![row.row()]]).unwrap()
}

fn drifted(row: &RowOf) -> Option<(PublicState, i64)> {
    let page = page(row);
    assert!(page.unreadable.is_empty(), "{:?}", page.unreadable);
    assert_eq!(page.lanes, [LaneId::new("main")].into());
    page.drifted.first().map(|Drifted { public, since_ms, .. }| (*public, *since_ms))
}

#[test]
fn a_pass_reads_what_has_not_ended_in_the_order_of_its_ids() {
    assert_snapshot!(asks(&find(&[], &ScannerFilter::NOOP)), @r"
    list executions that may have drifted
      from ff_exec_core
        read execution_id, lane_id, lifecycle_phase, eligibility_state, public_state, created_at_ms, eligible_at_ms, claimable_since_ms, version
        where partition_key = 7 and execution_id > 00000000-0000-0000-0000-000000000000 and lifecycle_phase not in (terminal, cancelled)
        order execution_id
        limit 500
    ");
    let chosen = ScannerFilter::new().with_namespace("acme");
    assert_snapshot!(asks(&find(&[LaneId::new("main")], &chosen).after(key().uuid)), @r#"
    list executions that may have drifted
      from ff_exec_core
        read execution_id, lane_id, lifecycle_phase, eligibility_state, public_state, created_at_ms, eligible_at_ms, claimable_since_ms, version
        where partition_key = 7 and execution_id > 00000000-0000-0000-0000-000000000001 and lifecycle_phase not in (terminal, cancelled) and lane_id among ["main"] and raw_fields contains {"namespace":"acme"}
        order execution_id
        limit 500
    "#);
}

#[test]
fn a_row_has_drifted_if_what_is_derived_does_not_follow() {
    let since = NOW - 4_000;
    let delay = BlockingReason::WaitingForDelay;
    for (status, public) in [
        (Status::active(), PublicState::Active),
        (Status::waiting(None), PublicState::Waiting),
        (Status::resumable(), PublicState::Resumable),
        (Status::delayed(delay, None, TimestampMs(NOW)), PublicState::Delayed),
        (Status::suspended(BlockingReason::WaitingForSignal), PublicState::Suspended),
        (Status::waiting_for_dependencies(None), PublicState::WaitingChildren),
    ] {
        let row = core_row().in_state(status);
        assert_eq!(drifted(&row), None, "{public:?}");
        let wrong = row.with(exec_core::public_state, PublicState::Completed);
        let repaired = if public == PublicState::Resumable { PublicState::Waiting } else { public };
        assert_eq!(drifted(&wrong), Some((repaired, since)));
        let odd = wrong.raw(exec_core::public_state.column(), Value::Text("odd".into()));
        assert_eq!(drifted(&odd), Some((repaired, since)));
    }
}

#[test]
fn only_a_row_that_can_be_claimed_must_say_since_when() {
    let silent = |status| core_row().in_state(status).with(exec_core::claimable_since_ms, 0);
    let created = Some((PublicState::Waiting, NOW - 5_000));
    assert_eq!(drifted(&silent(Status::waiting(None))), created);
    assert_eq!(drifted(&silent(Status::active())), None);

    let delay = BlockingReason::WaitingForDelay;
    let delayed = silent(Status::delayed(delay, None, TimestampMs(NOW)));
    let due = delayed.clone().with(exec_core::eligible_at_ms, Some(NOW + 9));
    assert_eq!(drifted(&due), Some((PublicState::Delayed, NOW + 9)));
    assert_eq!(drifted(&delayed), None, "it has no due time");
}

#[test]
fn a_row_that_cannot_be_read_is_reported() {
    let odd = Value::Text("odd".into());
    for row in [
        core_row().raw(exec_core::lifecycle_phase.column(), odd.clone()),
        core_row().raw(exec_core::eligibility_state.column(), odd),
        core_row().with(exec_core::lane_id, String::new()),
    ] {
        let page = page(&row);
        assert_eq!((page.unreadable.len(), page.unreadable[0].0), (1, key()));
        assert!(page.drifted.is_empty());
    }
}

#[test]
fn a_repair_is_pinned_to_the_version_that_was_looked_at() {
    let drifted = Drifted { key: key(), version: 9, public: PublicState::Active, since_ms: 7 };
    assert_snapshot!(decide(&Repair(drifted), &Stored::of(&core_row())), @r#"
    plan reconcile_execution_index
      guard core = ff_exec_core[partition_key 7, execution_id 00000000-0000-0000-0000-000000000001]
        where version = 9
      update ff_exec_core[partition_key core.partition_key, execution_id core.execution_id]
        public_state := "active"
        claimable_since_ms := 7
        version += 1
        last_changed_at_ms := 1000000
    answer true
    "#);
    let changed = Stored::of(&core_row().with(exec_core::version, 10));
    assert_snapshot!(decide(&Repair(drifted), &changed), @"answer false");
    assert_snapshot!(decide(&Repair(drifted), &Stored::default()), @"answer false");
}

#[test]
fn a_lane_is_looked_up_before_it_is_registered() {
    assert_snapshot!(asks(&RegisterLane(LaneId::new("main"))), @r#"
    lookup
      lane = ff_lane_registry[lane_id "main"]
        read lane_id, registered_at_ms, registered_by, state, state_reason, state_by, state_since_ms, state_until_ms
    "#);
}
