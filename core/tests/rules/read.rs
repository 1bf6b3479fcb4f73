//! Reads of one execution.

use ff_core::plan::value::Value;
use ff_core::rules::execution::read;
use ff_core::rules::status::Status;
use ff_core::schema::execution::{attempt, exec_core};
use ff_core::state::{AttemptOutcome, TerminalOutcome};
use insta::assert_snapshot;
use serde_json::json;
use uuid::Uuid;

use crate::stored::{RowOf, Stored, attempt_row, core_row};
use crate::{NOW, asks, check, decide, id};

fn rich() -> RowOf {
    core_row()
        .with(exec_core::flow_id, Some(Uuid::from_u128(0xC)))
        .with(exec_core::payload, Some(vec![1, 2]))
        .with(exec_core::result, Some(vec![3]))
        .with(exec_core::attempt_index, 0)
        .with(exec_core::total_attempt_count, 4)
        .with(exec_core::started_at_ms, Some(NOW - 400))
        .with(
            exec_core::raw_fields,
            json!({
                "namespace": "acme", "execution_kind": "render", "last_mutation_at": "999000",
                "tags": { "acme.team": "blue", "acme.odd": 3 },
            }),
        )
}

fn stored() -> Stored {
    Stored::of(&rich()).and(&attempt_row())
}

#[test]
fn a_read_asks_only_for_what_it_shows() {
    assert_snapshot!(asks(&read::state(&id()).unwrap()), @r"
    lookup
      core = ff_exec_core[partition_key 7, execution_id 00000000-0000-0000-0000-000000000001]
        read public_state
    ");
    assert_snapshot!(asks(&read::result(&id()).unwrap()), @r"
    lookup
      core = ff_exec_core[partition_key 7, execution_id 00000000-0000-0000-0000-000000000001]
        read result
    ");
    assert_snapshot!(asks(&read::context(&id()).unwrap()), @r"
    lookup
      core = ff_exec_core[partition_key 7, execution_id 00000000-0000-0000-0000-000000000001]
        read payload, raw_fields, attempt_timeout_ms
    ");
}

#[test]
fn single_facts() {
    check(&read::state(&id()).unwrap(), &stored(), "answer Some(Active)");
    check(&read::result(&id()).unwrap(), &stored(), "answer Some([3])");
    check(&read::namespace(&id()).unwrap(), &stored(), "answer Some(\"acme\")");
    check(&read::tags(&id()).unwrap(), &stored(), "answer {\"acme.team\": \"blue\"}");
    check(&read::attempt_index(&id()).unwrap(), &stored(), "answer AttemptIndex(0)");
    check(&read::attempt_count(&id()).unwrap(), &stored(), "answer AttemptIndex(4)");
    let flow = "answer Some(FlowId(00000000-0000-0000-0000-00000000000c))";
    check(&read::flow_id(&id()).unwrap(), &stored(), flow);
}

#[test]
fn an_unknown_execution_is_nothing_or_refused() {
    let none = Stored::nothing();
    check(&read::state(&id()).unwrap(), &none, "answer None");
    check(&read::result(&id()).unwrap(), &none, "answer None");
    check(&read::namespace(&id()).unwrap(), &none, "answer None");
    check(&read::tags(&id()).unwrap(), &none, "answer {}");
    check(&read::flow_id(&id()).unwrap(), &none, "answer None");
    check(&read::info(&id()).unwrap(), &none, "answer None");
    check(&read::snapshot(&id()).unwrap(), &none, "answer None");
    let refused = |operation: &str| {
        format!("refused validation: InvalidInput: {operation}: execution not found: {}", id())
    };
    check(&read::context(&id()).unwrap(), &none, &refused("read_execution_context"));
    check(&read::attempt_index(&id()).unwrap(), &none, &refused("read_current_attempt_index"));
    check(&read::attempt_count(&id()).unwrap(), &none, &refused("read_total_attempt_count"));
}

#[test]
fn the_wide_reads() {
    assert_snapshot!(decide(&read::context(&id()).unwrap(), &stored()), @r#"answer ExecutionContext { input_payload: <2 bytes>, execution_kind: "render", tags: {"acme.team": "blue"}, attempt_timeout_ms: None }"#);
    assert_snapshot!(decide(&read::info(&id()).unwrap(), &stored()), @r#"answer Some(ExecutionInfo { execution_id: ExecutionId { partition: 7, uuid: 00000000-0000-0000-0000-000000000001, text: "{fp:7}:00000000-0000-0000-0000-000000000001" }, namespace: "acme", lane_id: "main", priority: 5, execution_kind: "render", state_vector: StateVector { lifecycle_phase: Active, ownership_state: Leased, eligibility_state: NotApplicable, blocking_reason: None, terminal_outcome: None, attempt_state: RunningAttempt, public_state: Active }, public_state: Active, created_at: "995000", started_at: Some("999600"), completed_at: None, current_attempt_index: 0, flow_id: Some("00000000-0000-0000-0000-00000000000c"), blocking_detail: "", claimable_since: None, last_mutation_at: "999000", last_failure: None, cancellation: None })"#);
    assert_snapshot!(decide(&read::snapshot(&id()).unwrap(), &stored()), @r#"answer Some(ExecutionSnapshot { execution_id: ExecutionId { partition: 7, uuid: 00000000-0000-0000-0000-000000000001, text: "{fp:7}:00000000-0000-0000-0000-000000000001" }, flow_id: Some(FlowId(00000000-0000-0000-0000-00000000000c)), lane_id: LaneId("main"), namespace: Namespace("acme"), public_state: Active, blocking_reason: None, blocking_detail: None, current_attempt: Some(AttemptSummary { attempt_id: AttemptId(00000000-0000-0000-0000-00000000000b), attempt_index: AttemptIndex(0) }), current_lease: Some(LeaseSummary { lease_epoch: LeaseEpoch(3), worker_instance_id: WorkerInstanceId("w1"), expires_at: TimestampMs(1001000), lease_id: LeaseId(00000000-0000-0000-0000-00000000000a), attempt_index: AttemptIndex(0), last_heartbeat_at: None }), current_waitpoint: None, created_at: TimestampMs(995000), last_mutation_at: TimestampMs(999000), total_attempt_count: 4, tags: {"acme.team": "blue"}, claimable_since: None, last_failure: None, cancellation: None })"#);
}

#[test]
fn a_cancelled_phase_reads_as_terminal() {
    let core = rich().in_state(Status::cancelled());
    let ended = attempt_row().with(attempt::outcome, Some(AttemptOutcome::Cancelled));
    let info = decide(&read::info(&id()).unwrap(), &Stored::of(&core).and(&ended)).to_string();
    assert!(info.contains("lifecycle_phase: Terminal"), "{info}");
    assert!(info.contains("terminal_outcome: Cancelled"), "{info}");
}

#[test]
fn an_outcome_is_read_from_the_attempt() {
    for (outcome, expected) in [
        (Some(AttemptOutcome::Success), TerminalOutcome::Success),
        (Some(AttemptOutcome::Failed), TerminalOutcome::Failed),
        (Some(AttemptOutcome::Expired), TerminalOutcome::Expired),
        (Some(AttemptOutcome::Skipped), TerminalOutcome::Skipped),
        (Some(AttemptOutcome::Retry), TerminalOutcome::None),
        (None, TerminalOutcome::None),
    ] {
        let core = rich().in_state(Status::terminal(expected));
        let ended = attempt_row().with(attempt::outcome, outcome);
        let info = decide(&read::info(&id()).unwrap(), &Stored::of(&core).and(&ended)).to_string();
        assert!(info.contains(&format!("terminal_outcome: {expected:?}")), "{info}");
    }
}

#[test]
fn a_word_outside_its_set_is_corruption_where_it_is_read() {
    let limbo = |column| Stored::of(&rich().raw(column, Value::Text("limbo".into())));
    let public = limbo(exec_core::public_state.column());
    let phase = limbo(exec_core::lifecycle_phase.column());
    let refused = |column: &str| {
        format!(
            "refused validation: Corruption: ff_exec_core.{column}: \"limbo\" is not a known value"
        )
    };
    check(&read::state(&id()).unwrap(), &public, &refused("public_state"));
    check(&read::info(&id()).unwrap(), &phase, &refused("lifecycle_phase"));
    check(&read::state(&id()).unwrap(), &phase, "answer Some(Active)");
}

#[test]
fn named_fields_are_texts() {
    let fields = read::fields(&id()).unwrap();
    let reader = crate::outcome(&fields, &stored());
    let names = [
        "lane_id",
        "priority",
        "current_attempt_index",
        "completed_at",
        "cancel_reason",
        "required_capabilities",
        "current_worker_instance_id",
        "budget_ids",
        "nonsense",
        "payload",
    ];
    let mut read: Vec<_> = reader.read(&names).into_iter().collect();
    read.sort();
    insta::assert_debug_snapshot!(read, @r#"
    [
        (
            "budget_ids",
            None,
        ),
        (
            "cancel_reason",
            None,
        ),
        (
            "completed_at",
            None,
        ),
        (
            "current_attempt_index",
            Some(
                "0",
            ),
        ),
        (
            "current_worker_instance_id",
            Some(
                "w1",
            ),
        ),
        (
            "lane_id",
            Some(
                "main",
            ),
        ),
        (
            "nonsense",
            None,
        ),
        (
            "payload",
            None,
        ),
        (
            "priority",
            Some(
                "5",
            ),
        ),
        (
            "required_capabilities",
            Some(
                "",
            ),
        ),
    ]
    "#);
    let nothing = crate::outcome(&fields, &Stored::nothing()).read(&["lane_id"]);
    assert_eq!(nothing["lane_id"], None);
}
