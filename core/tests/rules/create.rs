//! Submitting.

use std::collections::BTreeSet;

use ff_core::EngineError;
use ff_core::contracts::CreateExecutionArgs;
use ff_core::partition::PartitionConfig;
use ff_core::policy::check::LIMIT_MAX_MS;
use ff_core::policy::{ExecutionPolicy, RoutingRequirements, TimeoutPolicy};
use ff_core::rules::execution::create::Create;
use ff_core::types::{ExecutionId, LaneId, Namespace, TimestampMs};
use insta::assert_snapshot;
use uuid::Uuid;

use crate::stored::{Stored, core_row};
use crate::{NOW, check, decide, id};

fn args() -> CreateExecutionArgs {
    CreateExecutionArgs {
        execution_id: id(),
        namespace: Namespace::new("acme"),
        lane_id: LaneId::new("main"),
        execution_kind: "render".into(),
        input_payload: vec![1, 2, 3],
        payload_encoding: None,
        priority: 5,
        creator_identity: "tester".into(),
        idempotency_key: None,
        tags: [("cairn.instance_id".to_owned(), "i1".to_owned())].into(),
        policy: None,
        delay_until: None,
        execution_deadline_at: None,
        partition_id: 7,
        now: TimestampMs(NOW - 1),
    }
}

fn requiring(tokens: impl IntoIterator<Item = String>) -> ExecutionPolicy {
    let routing = RoutingRequirements {
        required_capabilities: tokens.into_iter().collect::<BTreeSet<_>>(),
        ..RoutingRequirements::default()
    };
    ExecutionPolicy { routing_requirements: Some(routing), ..ExecutionPolicy::default() }
}

#[track_caller]
fn refused(args: CreateExecutionArgs, expected: &str) {
    assert_eq!(Create::new(args, &PartitionConfig::default()).unwrap_err().to_string(), expected);
}

#[test]
fn a_submission_is_claimable_at_once() {
    let create = Create::new(args(), &PartitionConfig::default()).unwrap();
    assert_snapshot!(decide(&create, &Stored::nothing()), @r#"
    plan create_execution
      unless lane = ff_lane_registry[lane_id "main"]
        where state in (draining, disabled) and (state_until_ms is null or state_until_ms > 1000000)
      insert ff_exec_core
        partition_key := 7
        execution_id := 00000000-0000-0000-0000-000000000001
        lane_id := "main"
        required_capabilities := []
        priority := 5
        created_at_ms := 1000000
        deadline_at_ms := null
        eligible_at_ms := null
        attempt_timeout_ms := null
        payload := <3 bytes>
        policy := null
        raw_fields := {"creator_identity":"tester","execution_kind":"render","namespace":"acme","tags":{"cairn.instance_id":"i1"}}
        has_waitpoints := false
        lifecycle_phase := runnable
        ownership_state := unowned
        eligibility_state := eligible_now
        public_state := waiting
        attempt_state := pending_first_attempt
        blocking_reason := waiting_for_worker
        claimable_since_ms := 1000000
        last_changed_at_ms := 1000000
        if present: refuse
      insert ff_lane_registry
        lane_id := "main"
        registered_at_ms := 1000000
        registered_by := "create_execution"
        if present: ignore
      insert ff_instance_tag_event
        execution_id := "00000000-0000-0000-0000-000000000001"
        event_type := attached
        occurred_at_ms := 1000000
        partition_key := 7
        namespace := "acme"
        instance_tag := "i1"
        if present: refuse
    answer Created { execution_id: ExecutionId { partition: 7, uuid: 00000000-0000-0000-0000-000000000001, text: "{fp:7}:00000000-0000-0000-0000-000000000001" }, public_state: Waiting }
    "#);
}

#[test]
fn a_policy_sets_capabilities_delay_deadline_and_timeout() {
    let timeouts = TimeoutPolicy {
        attempt_timeout_ms: Some(50),
        execution_deadline_ms: Some(700),
        max_reclaim_count: 2,
    };
    let policy = ExecutionPolicy {
        delay_until: Some(TimestampMs(NOW + 1)),
        timeout_policy: Some(timeouts),
        ..requiring(["gpu".into(), "avx".into()])
    };
    let args = CreateExecutionArgs { policy: Some(policy), ..args() };
    let create = Create::new(args, &PartitionConfig::default()).unwrap();
    assert_snapshot!(decide(&create, &Stored::nothing()), @r#"
    plan create_execution
      unless lane = ff_lane_registry[lane_id "main"]
        where state in (draining, disabled) and (state_until_ms is null or state_until_ms > 1000000)
      insert ff_exec_core
        partition_key := 7
        execution_id := 00000000-0000-0000-0000-000000000001
        lane_id := "main"
        required_capabilities := ["avx", "gpu"]
        priority := 5
        created_at_ms := 1000000
        deadline_at_ms := 1000700
        eligible_at_ms := 1000001
        attempt_timeout_ms := 50
        payload := <3 bytes>
        policy := {"budget_ids":[],"delay_until":1000001,"max_reclaim_count":100,"max_replay_count":10,"max_signals_per_execution":10000,"priority":0,"routing_requirements":{"required_capabilities":["avx","gpu"]},"timeout_policy":{"attempt_timeout_ms":50,"execution_deadline_ms":700,"max_reclaim_count":2}}
        raw_fields := {"creator_identity":"tester","execution_kind":"render","namespace":"acme","tags":{"cairn.instance_id":"i1"}}
        has_waitpoints := false
        lifecycle_phase := runnable
        ownership_state := unowned
        eligibility_state := not_eligible_until_time
        public_state := delayed
        attempt_state := pending_first_attempt
        blocking_reason := waiting_for_delay
        claimable_since_ms := 1000001
        last_changed_at_ms := 1000000
        if present: refuse
      insert ff_lane_registry
        lane_id := "main"
        registered_at_ms := 1000000
        registered_by := "create_execution"
        if present: ignore
      insert ff_instance_tag_event
        execution_id := "00000000-0000-0000-0000-000000000001"
        event_type := attached
        occurred_at_ms := 1000000
        partition_key := 7
        namespace := "acme"
        instance_tag := "i1"
        if present: refuse
    answer Created { execution_id: ExecutionId { partition: 7, uuid: 00000000-0000-0000-0000-000000000001, text: "{fp:7}:00000000-0000-0000-0000-000000000001" }, public_state: Delayed }
    "#);
}

#[test]
fn arguments_of_the_call_outrank_the_policy() {
    let timeouts = TimeoutPolicy {
        attempt_timeout_ms: None,
        execution_deadline_ms: Some(LIMIT_MAX_MS),
        max_reclaim_count: 2,
    };
    let policy = ExecutionPolicy {
        delay_until: Some(TimestampMs(NOW + 1)),
        timeout_policy: Some(timeouts),
        ..ExecutionPolicy::default()
    };
    let args = CreateExecutionArgs {
        policy: Some(policy),
        delay_until: Some(TimestampMs(NOW)),
        execution_deadline_at: Some(TimestampMs(NOW + 9)),
        ..args()
    };
    let create = Create::new(args, &PartitionConfig::default());
    let plan = decide(&create.unwrap(), &Stored::nothing()).to_string();
    assert!(plan.contains("deadline_at_ms := 1000009"), "{plan}");
    assert!(plan.contains("eligible_at_ms := null"), "a delay until now is none: {plan}");
    assert!(plan.contains("public_state := waiting"), "{plan}");
}

#[test]
fn the_first_submission_of_an_id_wins() {
    let other = CreateExecutionArgs { priority: 99, ..args() };
    let duplicate = "answer Duplicate { execution_id: ExecutionId { partition: 7, uuid: \
                     00000000-0000-0000-0000-000000000001, \
                     text: \"{fp:7}:00000000-0000-0000-0000-000000000001\" } }";
    check(
        &Create::new(other, &PartitionConfig::default()).unwrap(),
        &Stored::of(&core_row()),
        duplicate,
    );
}

#[test]
fn arguments_that_cannot_be_stored_are_refused() {
    let far = ExecutionId::from_parts(40_000, Uuid::nil());
    let refused_input = |field: &str| {
        format!("validation: InvalidInput: {field}: must not contain NUL (at byte 1)")
    };
    refused(
        CreateExecutionArgs { execution_id: far, ..args() },
        "validation: InvalidInput: partition index 40000 exceeds i16 range (max 32767)",
    );
    refused(
        CreateExecutionArgs { lane_id: LaneId::new(""), ..args() },
        "validation: InvalidInput: lane_id: lane id is empty",
    );
    refused(
        CreateExecutionArgs { namespace: Namespace::new("a\0"), ..args() },
        &refused_input("namespace"),
    );
    refused(
        CreateExecutionArgs { execution_kind: "a\0".into(), ..args() },
        &refused_input("execution_kind"),
    );
    refused(
        CreateExecutionArgs { creator_identity: "a\0".into(), ..args() },
        &refused_input("creator_identity"),
    );
    refused(
        CreateExecutionArgs { payload_encoding: Some("a\0".into()), ..args() },
        &refused_input("payload_encoding"),
    );
    refused(
        CreateExecutionArgs { idempotency_key: Some("a\0".into()), ..args() },
        &refused_input("idempotency_key"),
    );
    let tags = [("k".to_owned(), "a\0".to_owned())].into();
    refused(CreateExecutionArgs { tags, ..args() }, &refused_input("tags"));
}

#[test]
fn capabilities_are_bounded() {
    let with = |tokens: Vec<String>| {
        let args = CreateExecutionArgs { policy: Some(requiring(tokens)), ..args() };
        Create::new(args, &PartitionConfig::default()).map(drop)
    };
    let detail = |result: Result<(), EngineError>| result.unwrap_err().to_string();
    let tokens = |count: usize| (0..count).map(|n| format!("c{n}")).collect::<Vec<_>>();
    assert!(with(tokens(256)).is_ok());
    assert_snapshot!(detail(with(tokens(257))), @r"validation: InvalidCapabilities: policy.routing_requirements.required_capabilities: 257 tokens exceed 256");
    assert!(with(vec!["x".repeat(4096)]).is_ok());
    assert_snapshot!(detail(with(vec!["x".repeat(4097)])), @r"validation: InvalidCapabilities: policy.routing_requirements.required_capabilities: 4097 bytes exceed 4096");
    assert_snapshot!(detail(with(vec![String::new()])), @r#"validation: InvalidCapabilities: policy.routing_requirements.required_capabilities: token "" is empty or contains NUL"#);
    assert_snapshot!(detail(with(vec!["a\0".into()])), @r#"validation: InvalidCapabilities: policy.routing_requirements.required_capabilities: token "a\0" is empty or contains NUL"#);
}
