//! Words that stored rows hold, in every spelling that an engine on such a database has ever
//! written or its tests have inserted: each of them reads, as one member of its column's set.

use std::fmt::Debug;

use ff_core::plan::facts::Row;
use ff_core::plan::value::{Storable, Value};
use ff_core::schema::execution::{attempt, claim_grant, exec_core};
use ff_core::schema::flow::{flow_core, flow_summary};
use ff_core::schema::outbox::{completion_event, lease_event, operator_event};
use ff_core::schema::suspension::waitpoint_pending;
use ff_core::schema::{Col, TABLES};
use ff_core::state::ClosedSet;

/// Reads each word as it is stored; the canonical spellings that they come to.
#[track_caller]
fn reads<T>(column: Col<T>, words: &str) -> String
where
    T: Storable + Debug,
{
    let read = |word: &str| {
        let row = Row::new(vec![(column.column(), Value::Text(word.into()))]);
        let value = row.read(column).unwrap_or_else(|error| panic!("{error}"));
        match value.into_expr().evaluate(&ff_core::plan::Held::default()) {
            Value::Text(canonical) if canonical == word => word.to_owned(),
            Value::Text(canonical) => format!("{word}={canonical}"),
            other => panic!("{word} reads as {other}"),
        }
    };
    words.split(' ').map(read).collect::<Vec<_>>().join(" ")
}

#[test]
fn every_word_of_an_execution_reads() {
    assert_eq!(
        reads(
            exec_core::lifecycle_phase,
            "submitted runnable active suspended terminal cancelled pending blocked eligible",
        ),
        "submitted runnable active suspended terminal cancelled pending=runnable blocked=runnable \
         eligible=runnable"
    );
    assert_eq!(
        reads(
            exec_core::ownership_state,
            "unowned leased released lease_expired_reclaimable lease_revoked",
        ),
        "unowned leased released=unowned lease_expired_reclaimable lease_revoked"
    );
    assert_eq!(
        reads(
            exec_core::eligibility_state,
            "eligible_now not_eligible_until_time blocked_by_dependencies not_applicable cancelled \
             pending_claim blocked_by_budget blocked_by_quota blocked_by_route blocked_by_lane_state \
             blocked_by_operator",
        ),
        "eligible_now not_eligible_until_time blocked_by_dependencies not_applicable \
         cancelled=not_applicable pending_claim=eligible_now blocked_by_budget blocked_by_quota \
         blocked_by_route blocked_by_lane_state blocked_by_operator"
    );
    assert_eq!(
        reads(
            exec_core::public_state,
            "waiting delayed waiting_children active running suspended resumable completed failed \
             cancelled skipped rate_limited expired pending",
        ),
        "waiting delayed waiting_children active running=active suspended resumable completed failed \
         cancelled skipped rate_limited expired pending=waiting"
    );
    assert_eq!(
        reads(
            exec_core::attempt_state,
            "pending running_attempt attempt_interrupted pending_retry_attempt pending_replay_attempt \
             attempt_terminal cancelled terminal_failed none pending_first_attempt initial \
             pending_claim running",
        ),
        "pending=pending_first_attempt running_attempt attempt_interrupted pending_retry_attempt \
         pending_replay_attempt attempt_terminal cancelled=attempt_terminal \
         terminal_failed=attempt_terminal none pending_first_attempt initial=pending_first_attempt \
         pending_claim=pending_first_attempt running=running_attempt"
    );
    let reasons = "waiting_for_worker waiting_for_retry_backoff waiting_for_resume_delay \
                   waiting_for_delay waiting_for_signal waiting_for_approval waiting_for_callback \
                   waiting_for_tool_result waiting_for_children waiting_for_budget waiting_for_quota \
                   waiting_for_capable_worker waiting_for_locality_match paused_by_operator \
                   paused_by_policy paused_by_flow_cancel";
    assert_eq!(reads(exec_core::blocking_reason, reasons), reasons);
}

#[test]
fn every_word_of_an_attempt_reads() {
    assert_eq!(
        reads(
            attempt::outcome,
            "success retry failed failure interrupted waiting_children attempt_interrupted cancelled \
             interrupted_reclaimed lease_expired_reclaimable expired skipped",
        ),
        "success retry failed failure=failed interrupted waiting_children attempt_interrupted cancelled \
         interrupted_reclaimed lease_expired_reclaimable expired skipped"
    );
    assert_eq!(reads(claim_grant::kind, "claim reclaim"), "claim reclaim");
}

#[test]
fn every_word_of_a_flow_reads() {
    let words = "open cancelled running blocked completed failed terminal active";
    let canonical = "open cancelled running blocked completed failed terminal=failed active=open";
    assert_eq!(reads(flow_core::public_flow_state, words), canonical);
    assert_eq!(reads(flow_summary::public_flow_state, words), canonical);
}

#[test]
fn every_word_of_an_event_or_waitpoint_reads() {
    let words = "success failed cancelled resumable expired skipped failure";
    let canonical = "success failed cancelled resumable expired skipped failure=failed";
    assert_eq!(reads(completion_event::outcome, words), canonical);
    let words = "acquired renewed reclaimed revoked expired";
    assert_eq!(reads(lease_event::event_type, words), words);
    let words =
        "priority_changed replayed flow_cancel_requested cancelled lease_revoked flow_ended";
    assert_eq!(reads(operator_event::event_type, words), words);
    let words = "pending active closed";
    assert_eq!(reads(waitpoint_pending::state, words), words);
}

/// Sets whose columns no older engine has, and so no older word.
const OURS: [&str; 12] = [
    "ff_edge.upstream_outcome",
    "ff_signal_event.effect",
    "ff_instance_tag_event.event_type",
    "ff_attempt.failure_class",
    "ff_completion_event.failure_class",
    "ff_lease_event.cause",
    "ff_lane_registry.state",
    "ff_subscriber_cursor.outbox",
    "ff_schedule.overlap",
    "ff_schedule.catch_up",
    "ff_schedule.skipped_hours",
    "ff_schedule.doubled_hours",
];

#[test]
fn every_column_with_a_closed_set_is_listed_here() {
    let listed = [
        "ff_exec_core.lifecycle_phase",
        "ff_exec_core.ownership_state",
        "ff_exec_core.eligibility_state",
        "ff_exec_core.public_state",
        "ff_exec_core.attempt_state",
        "ff_exec_core.blocking_reason",
        "ff_attempt.outcome",
        "ff_claim_grant.kind",
        "ff_flow_core.public_flow_state",
        "ff_flow_summary.public_flow_state",
        "ff_completion_event.outcome",
        "ff_lease_event.event_type",
        "ff_operator_event.event_type",
        "ff_waitpoint_pending.state",
    ];
    for table in TABLES {
        for column in table.columns {
            let name = format!("{}.{}", table.name, column.name);
            if !(column.spellings)().is_empty() && !OURS.contains(&name.as_str()) {
                assert!(listed.contains(&name.as_str()), "{name} has a closed set");
            }
        }
    }
}

#[test]
fn a_word_of_no_set_is_named_with_its_column() {
    let row = Row::new(vec![(flow_core::public_flow_state.column(), Value::Text("odd".into()))]);
    let error = row.read(flow_core::public_flow_state).unwrap_err().to_string();
    assert!(error.contains("ff_flow_core.public_flow_state"), "{error}");
    assert!(ff_core::state::PublicFlowState::parse("odd").is_none());
}
