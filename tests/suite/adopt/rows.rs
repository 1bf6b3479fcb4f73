//! Rows as the reference writes them, in every table.

use ff_core::plan::value::Value;
use ff_core::types::{ExecutionId, FlowId};
use serde_json::json;
use sqlx::{PgPool, SqlitePool};
use uuid::Uuid;

use crate::backends::{Bench, START};
use crate::bench::{INSTANCE, LANE, NAMESPACE, id_in};
use crate::plain::{Given, int, text};

/// What was written.
pub(super) struct Written {
    pub(super) partition: u16,
    /// Needs the capability `gpu`.
    pub(super) capable: ExecutionId,
    /// Was claimed by a typed operation, whose lease has lapsed.
    pub(super) claimed: ExecutionId,
    /// Is to be tried again in 5 s.
    pub(super) retried: ExecutionId,
    /// Was put off by its worker for 5 s.
    pub(super) delayed: ExecutionId,
    pub(super) suspended: ExecutionId,
    pub(super) flow: Uuid,
    upstream: ExecutionId,
    /// Waits for two others, of which one has ended.
    pub(super) downstream: ExecutionId,
}

impl Written {
    /// What has not ended.
    pub(super) fn open(&self) -> [&ExecutionId; 7] {
        [
            &self.capable,
            &self.claimed,
            &self.retried,
            &self.delayed,
            &self.suspended,
            &self.upstream,
            &self.downstream,
        ]
    }
}

fn raw() -> serde_json::Value {
    json!({
        "namespace": NAMESPACE,
        "execution_kind": "job",
        "total_attempt_count": "0",
        "tags": { "cairn.instance_id": INSTANCE },
    })
}

fn with(mut object: serde_json::Value, name: &str, value: &str) -> Value {
    object[name] = json!(value);
    Value::Json(object)
}

/// Executions and flows.
pub(super) async fn write_rows(bench: &Bench, partition: u16) -> Written {
    let id = || id_in(partition);
    let flow = FlowId(Uuid::new_v4());
    let written = Written {
        partition,
        capable: id(),
        claimed: id(),
        retried: id(),
        delayed: id(),
        suspended: id(),
        flow: flow.0,
        upstream: id(),
        downstream: id(),
    };
    let core = async |id: &ExecutionId, states: &str, more: Given<'_>| {
        let mut cells = vec![("raw_fields", Value::Json(raw()))];
        cells.extend(more);
        bench.insert_core(id, states, cells).await;
    };
    let submitted = "submitted unowned eligible_now waiting pending -";
    let member = || ("flow_id", Value::Uuid(flow.0));

    core(&written.capable, submitted, vec![]).await;
    let active = "active leased not_applicable active running_attempt -";
    core(&written.claimed, active, vec![("attempt_index", int(1))]).await;
    let lease = vec![
        ("worker_id", text("w")),
        ("worker_instance_id", text("w-1")),
        ("lease_expires_at_ms", int(START - 1)),
    ];
    bench.insert_attempt(&written.claimed, 0, 1, lease).await;
    let retry = "runnable unowned not_eligible_until_time delayed pending_retry_attempt -";
    let until = (START + 5_000).to_string();
    core(&written.retried, retry, vec![("raw_fields", with(raw(), "delay_until", &until))]).await;
    bench.insert_attempt(&written.retried, 0, 1, vec![("outcome", text("failure"))]).await;
    let put_off = "runnable unowned not_eligible_until_time active attempt_interrupted -";
    core(&written.delayed, put_off, vec![("deadline_at_ms", int(START + 5_000))]).await;
    bench.insert_attempt(&written.delayed, 0, 1, vec![("outcome", text("interrupted"))]).await;
    let suspended = "suspended released not_applicable suspended attempt_interrupted -";
    core(&written.suspended, suspended, vec![]).await;
    let interrupted = vec![("outcome", text("attempt_interrupted"))];
    bench.insert_attempt(&written.suspended, 0, 2, interrupted).await;

    // The reference's revision counts members and edges.
    let raw = json!({ "namespace": NAMESPACE, "flow_kind": "f", "node_count": 3 });
    bench.insert_flow(&flow, partition, "open", raw).await;
    let key = vec![("partition_key", int(i64::from(partition))), ("flow_id", Value::Uuid(flow.0))];
    bench.plain.set("ff_flow_core", key, vec![("graph_revision", int(5))]).await;
    let done = id();
    let completed = "terminal unowned not_applicable completed attempt_terminal -";
    core(&done, completed, vec![member(), ("terminal_at_ms", int(START))]).await;
    bench.insert_attempt(&done, 0, 1, vec![("outcome", text("success"))]).await;
    core(&written.upstream, submitted, vec![member()]).await;
    let blocked =
        "runnable unowned blocked_by_dependencies waiting_children pending_first_attempt -";
    core(&written.downstream, blocked, vec![member()]).await;
    for upstream in [&done, &written.upstream] {
        bench.insert_edge(&flow, upstream, &written.downstream).await;
    }
    // Only the reference's Postgres backend tells edges of an end.
    let dispatched = partition != 0;
    let counts = if dispatched { [1, 0, 0, 1] } else { [0, 0, 0, 2] };
    bench.insert_group(&flow, &written.downstream, json!({ "kind": "all_of" }), counts).await;
    let event = vec![
        ("partition_key", int(i64::from(partition))),
        ("execution_id", Value::Uuid(done.uuid())),
        ("flow_id", Value::Uuid(flow.0)),
        ("outcome", text("success")),
        ("namespace", text(NAMESPACE)),
        ("instance_tag", text(INSTANCE)),
        ("occurred_at_ms", int(START)),
        ("dispatched_at_ms", if dispatched { int(START) } else { Value::Null }),
    ];
    bench.plain.insert("ff_completion_event", event).await;
    write_others(bench, &written).await;
    written
}

/// One row in each of the other tables that are alike on both databases.
async fn write_others(bench: &Bench, written: &Written) {
    let partition = int(i64::from(written.partition));
    let at = || ("partition_key", partition.clone());
    let of = |id: &ExecutionId| ("execution_id", Value::Uuid(id.uuid()));
    let (one, other) = (&written.suspended, Uuid::new_v4());
    let flow = || ("flow_id", Value::Uuid(other));
    let child = || ("downstream_eid", Value::Uuid(other));
    let budget = || ("budget_id", text("b"));
    let quota = || ("quota_policy_id", text("q"));
    let bytes = |bytes: &[u8]| Value::Bytes(bytes.to_vec());
    let (waitpoint, condition) =
        (Uuid::new_v4(), json!({ "Single": { "waitpoint_key": "wpk:a", "matcher": "Wildcard" } }));
    let bare = text(&one.uuid().to_string());
    let rows: Vec<(&str, Given<'_>)> = vec![
        (
            "ff_waitpoint_hmac",
            vec![("kid", text("k1")), ("secret", bytes(&[7; 32])), ("rotated_at_ms", int(1))],
        ),
        (
            "ff_lane_registry",
            vec![
                ("lane_id", text(LANE)),
                ("registered_at_ms", int(1)),
                ("registered_by", text("create_execution")),
            ],
        ),
        (
            "ff_claim_grant",
            vec![
                at(),
                ("grant_id", bytes(&[1; 16])),
                of(&written.claimed),
                ("kind", text("claim")),
                ("worker_id", text("w")),
                ("worker_instance_id", text("w-1")),
                ("grant_ttl_ms", int(0)),
                ("issued_at_ms", int(1)),
                ("expires_at_ms", int(2)),
            ],
        ),
        (
            "ff_cancel_dispatch_outbox",
            vec![
                at(),
                flow(),
                child(),
                ("target_exec_id", Value::Uuid(other)),
                ("reason", text("r")),
                ("enqueued_at_ms", int(1)),
            ],
        ),
        ("ff_pending_cancel_groups", vec![at(), flow(), child(), ("enqueued_at_ms", int(1))]),
        (
            "ff_cancel_backlog",
            vec![
                at(),
                flow(),
                ("requested_at_ms", int(1)),
                ("cancellation_policy", text("cancel_all")),
            ],
        ),
        ("ff_cancel_backlog_member", vec![at(), flow(), ("execution_id", text(&one.to_string()))]),
        (
            "ff_suspension_current",
            vec![
                at(),
                of(one),
                ("suspension_id", Value::Uuid(other)),
                ("suspended_at_ms", int(START)),
                ("condition", Value::Json(condition)),
            ],
        ),
        (
            "ff_waitpoint_pending",
            vec![
                at(),
                ("waitpoint_id", Value::Uuid(waitpoint)),
                of(one),
                ("token_kid", text("k1")),
                ("token", text("k1:00")),
                ("created_at_ms", int(START)),
                ("waitpoint_key", text("wpk:a")),
                ("state", text("active")),
                ("activated_at_ms", int(START)),
            ],
        ),
        (
            "ff_suspend_dedup",
            vec![
                at(),
                ("idempotency_key", text("i")),
                ("outcome_json", Value::Json(json!({}))),
                ("created_at_ms", int(1)),
            ],
        ),
        (
            "ff_stream_frame",
            vec![
                at(),
                of(one),
                ("attempt_index", int(0)),
                ("ts_ms", int(1)),
                ("seq", int(0)),
                ("fields", Value::Json(json!({ "payload": "x" }))),
                ("mode", text("durable")),
                ("created_at_ms", int(1)),
            ],
        ),
        (
            "ff_stream_summary",
            vec![
                at(),
                of(one),
                ("attempt_index", int(0)),
                ("document_json", Value::Json(json!({}))),
                ("last_updated_ms", int(1)),
                ("first_applied_ms", int(1)),
            ],
        ),
        (
            "ff_stream_meta",
            vec![at(), of(one), ("attempt_index", int(0)), ("ema_rate_hz", Value::Float(0.5))],
        ),
        (
            "ff_lease_event",
            vec![
                ("execution_id", bare.clone()),
                ("event_type", text("acquired")),
                ("occurred_at_ms", int(1)),
                at(),
                ("namespace", text(NAMESPACE)),
                ("instance_tag", text(INSTANCE)),
            ],
        ),
        (
            "ff_signal_event",
            vec![
                ("execution_id", bare.clone()),
                ("signal_id", text("s")),
                ("delivered_at_ms", int(1)),
                at(),
            ],
        ),
        (
            "ff_operator_event",
            vec![
                ("execution_id", bare),
                ("event_type", text("replayed")),
                ("occurred_at_ms", int(1)),
                at(),
            ],
        ),
        (
            "ff_budget_policy",
            vec![
                at(),
                budget(),
                ("policy_json", Value::Json(json!({}))),
                ("created_at_ms", int(1)),
                ("updated_at_ms", int(1)),
            ],
        ),
        (
            "ff_budget_usage",
            vec![at(), budget(), ("dimensions_key", text("d")), ("updated_at_ms", int(1))],
        ),
        (
            "ff_budget_usage_dedup",
            vec![
                at(),
                ("dedup_key", text("d")),
                ("outcome_json", Value::Json(json!({ "kind": "Ok" }))),
                ("applied_at_ms", int(1)),
                ("expires_at_ms", int(2)),
            ],
        ),
        (
            "ff_quota_policy",
            vec![
                at(),
                quota(),
                ("requests_per_window_seconds", int(1)),
                ("max_requests_per_window", int(1)),
                ("active_concurrency_cap", int(1)),
                ("created_at_ms", int(1)),
                ("updated_at_ms", int(1)),
            ],
        ),
        (
            "ff_quota_window",
            vec![
                at(),
                quota(),
                ("admitted_at_ms", int(1)),
                ("execution_id", text(&one.to_string())),
            ],
        ),
        (
            "ff_quota_admitted",
            vec![
                at(),
                quota(),
                ("execution_id", text(&one.to_string())),
                ("admitted_at_ms", int(1)),
                ("expires_at_ms", int(2)),
            ],
        ),
    ];
    for (table, cells) in rows {
        bench.plain.insert(table, cells).await;
    }
}

const BUDGETED: &str = "6f000000-0000-4000-8000-00000000000a";

/// What the reference's SQLite backend writes in its own form.
pub(super) async fn write_sqlite_rows(pool: &SqlitePool, written: &Written) {
    sqlx::query("INSERT INTO ff_execution_capabilities VALUES (?1, 'gpu')")
        .bind(written.capable.uuid())
        .execute(pool)
        .await
        .unwrap();
    sqlx::raw_sql(
        "INSERT INTO ff_budget_usage_by_exec VALUES \
             (0, 'b', '6f000000-0000-4000-8000-00000000000a', 'd', 3, 1); \
         INSERT INTO ff_worker_registry VALUES ('n', 'w-1', 'w', 'a,b', 'gpu', 1, 2, 3), \
             ('n', 'w-2', 'w', '', '', 1, 2, 3); \
         INSERT INTO ff_worker_registry_event VALUES ('n', 'w-1', 'registered', 1, NULL); \
         INSERT INTO ff_operator_event (event_id, execution_id, event_type, occurred_at_ms, \
             partition_key) VALUES (90, 'e', 'replayed', 1, 0); \
         DELETE FROM ff_operator_event WHERE event_id = 90;",
    )
    .execute(pool)
    .await
    .unwrap();
}

pub(super) async fn assert_sqlite_rows(pool: &SqlitePool) {
    let workers: Vec<(i64, String, String)> = sqlx::query_as(
        "SELECT partition_key, worker_instance_id, lanes FROM ff_worker_registry ORDER BY 2",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    for ((partition, instance, lanes), expected) in workers.iter().zip(["[\"a\",\"b\"]", "[]"]) {
        let worker = i64::from(ff_core::hash::fnv1a_u16_mod(instance, 256));
        assert_eq!((*partition, lanes.as_str()), (worker, expected), "{instance}");
    }
    let budgeted: Uuid = sqlx::query_scalar("SELECT execution_id FROM ff_budget_usage_by_exec")
        .fetch_one(pool)
        .await
        .unwrap();
    assert_eq!(budgeted.to_string(), BUDGETED);
    let capabilities: i64 = sqlx::query_scalar("SELECT count(*) FROM ff_execution_capabilities")
        .fetch_one(pool)
        .await
        .unwrap();
    assert_eq!((workers.len(), capabilities), (2, 0));
    // The numbers of removed events are not given again.
    let next: i64 = sqlx::query_scalar(
        "INSERT INTO ff_operator_event (execution_id, event_type, occurred_at_ms, partition_key) \
         VALUES ('e', 'replayed', 1, 0) RETURNING event_id",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!(next, 91);
}

/// What the reference's Postgres backend writes in its own form.
pub(super) async fn write_postgres_rows(pool: &PgPool, written: &Written) {
    sqlx::query("UPDATE ff_exec_core SET required_capabilities = '{gpu}' WHERE execution_id = $1")
        .bind(written.capable.uuid())
        .execute(pool)
        .await
        .unwrap();
    sqlx::raw_sql(
        "INSERT INTO ff_budget_usage_by_exec VALUES \
             (7, 'b', '6f000000-0000-4000-8000-00000000000a', 'd', 3, 1); \
         INSERT INTO ff_worker_registry VALUES (9, 'n', 'w-1', 'w', '{a,b}', 'gpu', 1, 2, 3); \
         INSERT INTO ff_worker_registry_event VALUES (9, 'n', 'w-1', 'registered', 1, NULL); \
         INSERT INTO ff_flow_summary (partition_key, flow_id, public_flow_state, \
             last_summary_update_at) VALUES (7, '6f000000-0000-4000-8000-00000000000a', 'open', 1); \
         SELECT setval('ff_operator_event_event_id_seq', 90);",
    )
    .execute(pool)
    .await
    .unwrap();
}

pub(super) async fn assert_postgres_rows(pool: &PgPool) {
    let next: i64 = sqlx::query_scalar(
        "INSERT INTO ff_operator_event (execution_id, event_type, occurred_at_ms, partition_key) \
         VALUES ('e', 'replayed', 1, 0) RETURNING event_id",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!(next, 91);
    let split: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_inherits WHERE inhparent = to_regclass('ff_exec_core')",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!(split, 256);
    let detail: String =
        sqlx::query_scalar("SELECT detail FROM ff_schema_ledger").fetch_one(pool).await.unwrap();
    assert_eq!(detail, "partitions=256");
}
