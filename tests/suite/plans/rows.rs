//! Tables filled by plain SQL, so many rows at a time.

use ff_core::partition::{PartitionConfig, flow_partition};
use ff_core::types::{EdgeId, ExecutionId, FlowId};
use uuid::Uuid;

use crate::backends::{Bench, START};
use crate::plain::PlainSql;

/// How a database says what filling takes.
pub(super) struct Words {
    /// A table `t` of one column `n`, which counts from 1.
    pub(super) series: fn(i64) -> String,
    /// A fresh UUID.
    pub(super) random: &'static str,
    /// The UUID of a number, as [`uuid_of`] makes it.
    pub(super) uuid: fn(&str) -> String,
    /// A list without texts, and one of a single text.
    pub(super) no_list: &'static str,
    pub(super) list_of_gpu: &'static str,
}

pub(super) fn words(plain: &PlainSql) -> Words {
    match plain {
        PlainSql::Postgres(_) => Words {
            series: |count| format!("generate_series(1, {count}) AS t(n)"),
            random: "gen_random_uuid()",
            uuid: |number| {
                format!("encode(convert_to(lpad(({number})::text, 16, '0'), 'UTF8'), 'hex')::uuid")
            },
            no_list: "'{}'::text[]",
            list_of_gpu: "'{gpu}'::text[]",
        },
        PlainSql::MariaDb(_) => Words {
            series: |count| format!("(SELECT seq AS n FROM seq_1_to_{count}) AS t"),
            random: "UNHEX(REPLACE(UUID(), '-', ''))",
            uuid: |number| format!("CAST(LPAD({number}, 16, '0') AS BINARY)"),
            no_list: "'[]'",
            list_of_gpu: "'[\"gpu\"]'",
        },
        PlainSql::Sqlite(_) | PlainSql::Memory(_) => Words {
            series: |count| {
                format!(
                    "(WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < {count}) \
                     SELECT n FROM t) AS t"
                )
            },
            random: "randomblob(16)",
            uuid: |number| format!("CAST(printf('%016d', {number}) AS BLOB)"),
            no_list: "'[]'",
            list_of_gpu: "'[\"gpu\"]'",
        },
    }
}

/// The UUID whose bytes are the number's sixteen decimal digits: every database can make it.
pub(super) fn uuid_of(number: i64) -> Uuid {
    let digits = format!("{number:016}");
    Uuid::from_slice(digits.as_bytes()).unwrap()
}

/// A layer of a flow; each execution waits for two of the layer before.
pub(super) const LAYER: i64 = 20;

/// Flows are this far apart in the numbers that their ids are made of.
const APART: i64 = 1_000_000;

/// A flow of layers.
#[derive(Clone, Copy)]
pub(super) struct Layered {
    number: i64,
    pub(super) members: i64,
}

impl Layered {
    pub(super) fn new(number: i64, members: i64) -> Self {
        Self { number, members }
    }

    pub(super) fn id(&self) -> FlowId {
        FlowId::from_uuid(uuid_of(self.number * APART))
    }

    pub(super) fn partition(&self) -> u16 {
        flow_partition(&self.id(), &PartitionConfig::default()).index
    }

    /// Its members, counted from 1, layer after layer.
    pub(super) fn member(&self, number: i64) -> ExecutionId {
        ExecutionId::from_parts(self.partition(), uuid_of(self.number * APART + number))
    }

    /// The first and the second edge from a member that has a layer after it.
    pub(super) fn edge(&self, from: i64, second: bool) -> EdgeId {
        EdgeId::from_uuid(uuid_of(self.number * APART + from * 2 - 1 + i64::from(second)))
    }

    pub(super) fn edges(&self) -> i64 {
        (self.members - LAYER) * 2
    }

    /// Adds the flow with all that belongs to it. If it `ended`, everything is over and dispatched;
    /// else its first layer has just ended, nothing is dispatched, and all others wait.
    pub(super) async fn insert(&self, bench: &Bench, ended: bool) {
        let Words { series, uuid, .. } = words(&bench.plain);
        let (place, base) = (self.partition(), self.number * APART);
        let flow = uuid(&base.to_string());
        let of_flow = |number: &str| uuid(&format!("{base} + {number}"));
        let (state, first) = if ended { ("completed", self.members) } else { ("open", LAYER) };
        let last = self.members - first;
        let member = of_flow("n");
        let blocked = of_flow(&format!("n + {first}"));
        let child = of_flow(&format!("n + {LAYER}"));
        let (edges, waiting) = (self.edges(), self.members - LAYER);
        // The n-th edge leads from member (n + 1) / 2 to the one below it, or below its neighbour.
        let (edge, up) = (of_flow("n"), of_flow("(n + 1) / 2"));
        let below = format!("((n + 1) / 2 - 1) % {LAYER}");
        let start_of_layer = format!("(n + 1) / 2 - {below} + {LAYER}");
        let down = of_flow(&format!("{start_of_layer} + ({below} + n % 2) % {LAYER}"));
        let (dispatched, applied, running) =
            if ended { ("1", "'success'", 0) } else { ("NULL", "NULL", 2) };
        let success = 2 - running;
        let core = "partition_key, execution_id, flow_id, lane_id, created_at_ms, lifecycle_phase, \
                    ownership_state, eligibility_state, public_state, attempt_state, blocking_reason, \
                    terminal_at_ms";
        for sql in [
            format!(
                "INSERT INTO ff_flow_core (partition_key, flow_id, graph_revision, public_flow_state, \
                 created_at_ms, node_count, edge_count) VALUES ({place}, {flow}, 7, '{state}', \
                 {START} + {base}, {}, {edges})",
                self.members
            ),
            format!(
                "INSERT INTO ff_exec_core ({core}) SELECT {place}, {member}, {flow}, 'work', {START}, \
                 'terminal', 'unowned', 'not_applicable', 'completed', 'attempt_terminal', NULL, 1 \
                 FROM {}",
                series(first)
            ),
            format!(
                "INSERT INTO ff_attempt (partition_key, execution_id, attempt_index, lease_epoch, \
                 outcome) SELECT {place}, {member}, 0, 1, 'success' FROM {}",
                series(first)
            ),
            format!(
                "INSERT INTO ff_completion_event (partition_key, execution_id, flow_id, outcome, \
                 occurred_at_ms, committed_at_ms, dispatched_at_ms) SELECT {place}, {member}, {flow}, \
                 'success', {START}, {START}, {dispatched} FROM {}",
                series(first)
            ),
            format!(
                "INSERT INTO ff_exec_core ({core}) SELECT {place}, {blocked}, {flow}, 'work', {START}, \
                 'runnable', 'unowned', 'blocked_by_dependencies', 'waiting_children', \
                 'pending_first_attempt', 'waiting_for_children', NULL FROM {} WHERE {last} > 0",
                series(last)
            ),
            format!(
                "INSERT INTO ff_edge (partition_key, flow_id, edge_id, upstream_eid, downstream_eid, \
                 policy, upstream_outcome) SELECT {place}, {flow}, {edge}, {up}, {down}, \
                 '{{\"dependency_kind\":\"success_only\",\"edge_state\":\"applied\",\"applied_at_ms\":1}}', {applied} \
                 FROM {}",
                series(edges)
            ),
            format!(
                "INSERT INTO ff_edge_group (partition_key, flow_id, downstream_eid, policy, k_target, \
                 success_count, running_count, dependency_count) SELECT {place}, {flow}, {child}, \
                 '{{\"kind\":\"all_of\"}}', 2, {success}, {running}, 2 FROM {}",
                series(waiting)
            ),
        ] {
            bench.plain.execute(&sql).await;
        }
    }
}

/// Flows without executions, and what is owed or was counted of as many: the tables that have one
/// row per flow are as large as after some time. Executions of no flow that wait, with a waitpoint
/// each.
pub(super) async fn insert_waits(bench: &Bench, count: i64) {
    let Words { series, random, .. } = words(&bench.plain);
    let rows = series(count);
    for (table, columns, values) in [
        (
            "ff_suspension_current",
            "suspension_id, suspended_at_ms, condition",
            format!("{random}, {START} - n, '{{}}'"),
        ),
        (
            "ff_waitpoint_pending",
            "waitpoint_id, token_kid, token, created_at_ms, state",
            format!("{random}, 'k', 'k:00', {START} - n, 'active'"),
        ),
    ] {
        let sql = format!(
            "INSERT INTO {table} (partition_key, execution_id, {columns}) \
             SELECT n % 256, {random}, {values} FROM {rows}"
        );
        bench.plain.execute(&sql).await;
    }
}

pub(super) async fn insert_headers(bench: &Bench, count: i64) {
    let Words { series, random, .. } = words(&bench.plain);
    let rows = series(count);
    for (table, columns, values) in [
        ("ff_flow_core", "public_flow_state, created_at_ms", format!("'open', {START} - n")),
        (
            "ff_flow_summary",
            "public_flow_state, last_summary_update_at",
            format!("'open', {START} - n"),
        ),
        (
            "ff_cancel_backlog",
            "cancellation_policy, requested_at_ms",
            format!("'cancel_all', {START} - n"),
        ),
        ("ff_cancel_backlog_member", "execution_id", "'{fp:1}:' || n".to_owned()),
        (
            "ff_pending_cancel_groups",
            "downstream_eid, enqueued_at_ms",
            format!("{random}, {START} - n"),
        ),
    ] {
        let sql = format!(
            "INSERT INTO {table} (partition_key, flow_id, {columns}) SELECT n % 256, {random}, {values} \
             FROM {rows}"
        );
        bench.plain.execute(&sql).await;
    }
}
