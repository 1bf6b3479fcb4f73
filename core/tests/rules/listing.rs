//! Pages.

use ff_core::contracts::{ExecutionQuery, ExpiredLeasesCursor, ListExpiredLeasesArgs};
use ff_core::partition::{PartitionConfig, PartitionKey};
use ff_core::plan::facts::Row;
use ff_core::plan::value::Value;
use ff_core::rules::decision::Transition;
use ff_core::rules::execution::listing;
use ff_core::rules::execution::timeline::Timeline;
use ff_core::rules::lane::ListLanes;
use ff_core::schema::admin::lane_registry;
use ff_core::schema::execution::{attempt, exec_core};
use ff_core::schema::outbox::{completion_event, lease_event};
use ff_core::state::{CompletionKind, LeaseEventType, PublicState};
use ff_core::types::{ExecutionId, LaneId, Namespace, TimestampMs};
use insta::assert_snapshot;
use uuid::Uuid;

use crate::stored::{attempt_row, core_row};
use crate::{EPOCH, NOW, answers, asks, id};

fn key_of(text: &str) -> PartitionKey {
    serde_json::from_value(text.into()).unwrap()
}

fn partition() -> PartitionKey {
    key_of("{fp:7}")
}

fn cores(count: u128) -> Vec<Row> {
    let one = |n| core_row().with(exec_core::execution_id, Uuid::from_u128(n)).row();
    (1..=count).map(one).collect()
}

fn lanes(names: &[&str]) -> Vec<Row> {
    let lane = |name: &&str| {
        Row::new(vec![
            (lane_registry::lane_id.column(), Value::Text((*name).into())),
            (lane_registry::registered_at_ms.column(), Value::Int(1)),
            (lane_registry::state.column(), Value::Text("active".into())),
        ])
    };
    names.iter().map(lane).collect()
}

#[track_caller]
fn empty<T: Transition>(listing: &T) -> T::Outcome {
    answers(listing, vec![]).expect("a page of nothing asks nothing")
}

#[test]
fn executions_of_a_partition() {
    let cursor = ExecutionId::from_parts(7, Uuid::from_u128(9));
    let page = |limit| listing::executions(&partition(), None, limit).unwrap();
    assert_snapshot!(asks(&page(2)), @r"
    list executions of a partition
      from ff_exec_core
        read partition_key, execution_id
        where partition_key = 7
        order execution_id
        limit 3
    ");
    assert_snapshot!(asks(&listing::executions(&partition(), Some(&cursor), 9_999).unwrap()), @r"
    list executions of a partition
      from ff_exec_core
        read partition_key, execution_id
        where partition_key = 7 and execution_id > 00000000-0000-0000-0000-000000000009
        order execution_id
        limit 1001
    ");
    let exact = answers(&page(2), vec![cores(2)]).unwrap();
    assert_eq!((exact.executions.len(), exact.next_cursor), (2, None));
    let more = answers(&page(2), vec![cores(3)]).unwrap();
    assert_eq!(more.executions.len(), 2);
    assert_eq!(more.next_cursor, more.executions.last().cloned());
    assert_eq!(empty(&page(0)).executions, []);
    let bad = listing::executions(&key_of("7"), None, 1);
    assert_snapshot!(bad.err().unwrap(), @r"validation: InvalidInput: list_executions: partition: '7': partition key is not wrapped in braces");
}

#[test]
fn executions_that_match() {
    let mut query = ExecutionQuery::new(3).with_lane_id(LaneId::new("main"));
    query.public_state = Some(PublicState::Active);
    query.namespace = Some(Namespace::new("acme"));
    query.after = Some(id());
    assert_snapshot!(asks(&listing::matching(&query, &PartitionConfig::default()).unwrap()), @r#"
    list executions matching a query
      from ff_exec_core
        read partition_key, execution_id, lane_id, public_state, priority, attempt_index, total_attempt_count, created_at_ms, raw_fields
        where lane_id = "main" and after[partition_key 7, execution_id 00000000-0000-0000-0000-000000000001] and public_state among ["active", "running"] and created_at_ms <= 9223372036854775807 and raw_fields contains {"namespace":"acme"}
        order partition_key, execution_id
        limit 4
    "#);
    assert_snapshot!(asks(&listing::matching(&ExecutionQuery::new(3), &PartitionConfig::default()).unwrap()), @r#"
    list executions matching a query
      from ff_exec_core
        read partition_key, execution_id, lane_id, public_state, priority, attempt_index, total_attempt_count, created_at_ms, raw_fields
        where public_state among ["waiting", "pending", "delayed", "rate_limited", "waiting_children", "active", "running", "suspended", "resumable", "completed", "success", "failed", "cancelled", "expired", "skipped"] and created_at_ms <= 9223372036854775807 and raw_fields contains {}
        order partition_key, execution_id
        limit 4
    "#);
    let page = answers(
        &listing::matching(&ExecutionQuery::new(1), &PartitionConfig::default()).unwrap(),
        vec![cores(2)],
    );
    insta::assert_debug_snapshot!(page.unwrap(), @r#"
    ExecutionQueryPage {
        executions: [
            ExecutionRow {
                execution_id: ExecutionId {
                    partition: 7,
                    uuid: 00000000-0000-0000-0000-000000000001,
                    text: "{fp:7}:00000000-0000-0000-0000-000000000001",
                },
                lane_id: LaneId(
                    "main",
                ),
                execution_kind: "render",
                public_state: Active,
                priority: 5,
                attempt_index: AttemptIndex(
                    0,
                ),
                total_attempt_count: 1,
                created_at: TimestampMs(
                    995000,
                ),
                tags: {},
            },
        ],
        next_cursor: Some(
            ExecutionId {
                partition: 7,
                uuid: 00000000-0000-0000-0000-000000000001,
                text: "{fp:7}:00000000-0000-0000-0000-000000000001",
            },
        ),
    }
    "#);
    query.namespace = Some(Namespace::new("a\0"));
    assert_snapshot!(listing::matching(&query, &PartitionConfig::default()).err().unwrap(), @r"validation: InvalidInput: namespace: must not contain NUL (at byte 1)");
    query.lane_id = Some(LaneId::new(""));
    assert_snapshot!(listing::matching(&query, &PartitionConfig::default()).err().unwrap(), @r"validation: InvalidInput: lane_id: lane id is empty");
}

#[test]
fn lanes_by_name() {
    let page = |limit| ListLanes::new(Some(&LaneId::new("a")), limit).unwrap();
    assert_snapshot!(asks(&page(1)), @r#"
    list lanes
      from ff_lane_registry
        read lane_id, registered_at_ms, registered_by, state, state_reason, state_by, state_since_ms, state_until_ms
        where lane_id > "a"
        order lane_id
        limit 2
    "#);
    let more = answers(&page(1), vec![lanes(&["b", "c"])]).unwrap();
    assert_eq!((more.lanes, more.next_cursor), (vec![LaneId::new("b")], Some(LaneId::new("b"))));
    assert_eq!(empty(&page(0)).lanes, []);
    assert_snapshot!(answers(&page(1), vec![lanes(&[""])]).unwrap_err(), @r#"validation: Corruption: ff_lane_registry.lane_id: "": lane id is empty"#);
    assert_snapshot!(ListLanes::new(Some(&LaneId::new("\0")), 1).err().unwrap(), @r"validation: InvalidInput: cursor: must not contain NUL (at byte 0)");
}

#[test]
fn leases_that_lapsed() {
    let mut args = ListExpiredLeasesArgs::new(TimestampMs(NOW));
    args.limit = Some(1);
    args.namespace = Some(Namespace::new("acme"));
    args.after = Some(ExpiredLeasesCursor::new(TimestampMs(NOW - 9), id()));
    let listing = listing::expired_leases(&args).unwrap();
    assert_snapshot!(asks(&listing), @r#"
    list expired leases
      from ff_attempt join ff_exec_core
        read partition_key, execution_id, attempt_index, lease_id, lease_epoch, worker_instance_id, lease_expires_at_ms
        where lease_expires_at_ms is present and lease_expires_at_ms <= 1000000 and worker_instance_id is present and lifecycle_phase is active and raw_fields->namespace = "acme" and after[lease_expires_at_ms 999991, execution_id 00000000-0000-0000-0000-000000000001]
        order lease_expires_at_ms, execution_id
        limit 2
    "#);
    let unnamed = attempt_row().with(attempt::lease_id, None).row();
    let page = answers(&listing, vec![vec![unnamed, attempt_row().row()]]).unwrap();
    assert_eq!((page.entries.len(), page.entries[0].lease_epoch.0), (1, EPOCH as u64));
    let synthetic = page.entries[0].lease_id.0.as_u128();
    assert_eq!(synthetic, 1 ^ (3 << 64), "execution, epoch and attempt make the lease's id");
    assert!(page.cursor.is_some());
}

#[test]
fn a_timeline_is_ordered_by_time_and_then_by_outbox() {
    let timeline = Timeline::of(&id()).unwrap();
    assert_snapshot!(asks(&timeline), @r#"
    list attempts
      from ff_attempt
        read partition_key, execution_id, attempt_index, worker_id, worker_instance_id, lease_epoch, lease_expires_at_ms, started_at_ms, terminal_at_ms, outcome, usage, policy, raw_fields, lease_id, attempt_id, timeout_at_ms, failure_message, failure_class
        where partition_key = 7 and execution_id = 00000000-0000-0000-0000-000000000001
        order attempt_index
        limit 1000
    list lease events
      from ff_lease_event
        read transaction_id, event_id, execution_id, lease_id, event_type, occurred_at_ms, partition_key, namespace, instance_tag, cause, worker_id, worker_instance_id
        where partition_key = 7 and execution_id = "00000000-0000-0000-0000-000000000001"
        order occurred_at_ms, event_id
        limit 1000
    list completion events
      from ff_completion_event
        read transaction_id, partition_key, event_id, execution_id, flow_id, outcome, namespace, instance_tag, occurred_at_ms, committed_at_ms, dispatched_at_ms, reason, failure_class
        where partition_key = 7 and execution_id = 00000000-0000-0000-0000-000000000001
        order occurred_at_ms, event_id
        limit 1000
    list operator events
      from ff_operator_event
        read transaction_id, event_id, execution_id, event_type, details, occurred_at_ms, partition_key, namespace, instance_tag
        where partition_key = 7 and execution_id = "00000000-0000-0000-0000-000000000001"
        order occurred_at_ms, event_id
        limit 1000
    list signal events
      from ff_signal_event
        read transaction_id, event_id, execution_id, signal_id, waitpoint_id, source_identity, effect, delivered_at_ms, partition_key, namespace, instance_tag
        where partition_key = 7 and execution_id = "00000000-0000-0000-0000-000000000001"
        order delivered_at_ms, event_id
        limit 1000
    "#);
    let lease = |at: i64, event: LeaseEventType, number: i64| {
        Row::new(vec![
            (lease_event::event_id.column(), Value::Int(number)),
            (lease_event::event_type.column(), Value::Text(<&str>::from(event).into())),
            (lease_event::occurred_at_ms.column(), Value::Int(at)),
        ])
    };
    let completed = Row::new(vec![
        (completion_event::event_id.column(), Value::Int(1)),
        (completion_event::outcome.column(), Value::Text("success".into())),
        (completion_event::occurred_at_ms.column(), Value::Int(NOW)),
    ]);
    assert_eq!(<&str>::from(CompletionKind::Success), "success");
    let leases =
        vec![lease(NOW - 5, LeaseEventType::Acquired, 1), lease(NOW, LeaseEventType::Revoked, 2)];
    let lists = vec![vec![attempt_row().row()], leases, vec![completed], vec![], vec![]];
    insta::assert_debug_snapshot!(answers(&timeline, lists).unwrap(), @r#"
    ExecutionTimeline {
        attempts: [
            AttemptRecord {
                attempt_index: AttemptIndex(
                    0,
                ),
                worker_id: Some(
                    WorkerId(
                        "pool",
                    ),
                ),
                worker_instance_id: Some(
                    WorkerInstanceId(
                        "w1",
                    ),
                ),
                lease_epoch: LeaseEpoch(
                    3,
                ),
                lease_expires_at: Some(
                    TimestampMs(
                        1001000,
                    ),
                ),
                started_at: Some(
                    TimestampMs(
                        999000,
                    ),
                ),
                ended_at: None,
                outcome: None,
                failure: None,
            },
        ],
        events: [
            TimelineEvent {
                at: TimestampMs(
                    999995,
                ),
                outbox: Lease,
                event: "acquired",
                event_id: 1,
                reason: None,
                failure_class: None,
                cause: None,
                worker_id: None,
                worker_instance_id: None,
                details: None,
            },
            TimelineEvent {
                at: TimestampMs(
                    1000000,
                ),
                outbox: Lease,
                event: "revoked",
                event_id: 2,
                reason: None,
                failure_class: None,
                cause: None,
                worker_id: None,
                worker_instance_id: None,
                details: None,
            },
            TimelineEvent {
                at: TimestampMs(
                    1000000,
                ),
                outbox: Completion,
                event: "success",
                event_id: 1,
                reason: None,
                failure_class: None,
                cause: None,
                worker_id: None,
                worker_instance_id: None,
                details: None,
            },
        ],
    }
    "#);
}
