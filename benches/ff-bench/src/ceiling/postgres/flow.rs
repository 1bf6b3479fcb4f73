//! A flow: created, staged, released.

use std::sync::LazyLock;

use ff_core::types::TimestampMs;
use sqlx::Row as _;

use super::life::{submission, submitted};
use super::{PostgresByHand, dispatch, fused};
use crate::ceiling::{FlowByHand, NewEdge, NewExecution, NewFlow};
use crate::error::BenchError;

/// The states of a flow that is over.
pub(super) const OVER: &str = "('completed', 'failed', 'terminal', 'cancelled')";

const CREATE: &str = "
INSERT INTO ff_flow_core (partition_key, flow_id, public_flow_state, created_at_ms, raw_fields)
VALUES ($1, $2, 'open', $3, CAST($4 AS jsonb))
ON CONFLICT DO NOTHING";

/// Takes many executions as $1 to $9, then the flow and its partition.
const NEW_MEMBERS: &str = "
  flow AS MATERIALIZED (
    SELECT f.partition_key, f.flow_id FROM ff_flow_core AS f
    WHERE f.partition_key = $11 AND f.flow_id = $10 AND f.public_flow_state NOT IN {over}
    FOR NO KEY UPDATE),
  input AS MATERIALIZED (
    SELECT i.*, flow.flow_id
    FROM flow, unnest(CAST($1 AS smallint[]), CAST($2 AS uuid[]), CAST($3 AS text[]),
        CAST($4 AS bytea[]), CAST($5 AS text[]), CAST($6 AS text[]), CAST($7 AS text[]),
        CAST($8 AS text[]), CAST($9 AS bigint[]))
      AS i (partition_key, execution_id, lane_id, payload, policy, raw_fields, namespace,
            instance_tag, now_ms))";

const GROWN: &str = "
UPDATE ff_flow_core AS t
SET graph_revision = t.graph_revision + n.members, node_count = t.node_count + n.members,
    version = t.version + n.members,
    raw_fields = t.raw_fields || jsonb_build_object('last_mutation_at_ms', n.now_ms)
FROM flow, (SELECT CAST(count(*) AS integer) AS members, max(now_ms) AS now_ms FROM new) AS n
WHERE t.partition_key = flow.partition_key AND t.flow_id = flow.flow_id
RETURNING t.graph_revision";

/// Takes the flow's partition, the flow, the revision, the time, the edge, its ends and its policy.
const STAGE: &str = "
WITH flow AS (
  UPDATE ff_flow_core AS t
  SET graph_revision = t.graph_revision + 1, edge_count = t.edge_count + 1,
      raw_fields = t.raw_fields || jsonb_build_object('last_mutation_at_ms', CAST($4 AS bigint))
  WHERE t.partition_key = $1 AND t.flow_id = $2 AND t.graph_revision = $3
    AND t.public_flow_state NOT IN {over}
  RETURNING t.partition_key, t.flow_id)
INSERT INTO ff_edge (partition_key, flow_id, edge_id, upstream_eid, downstream_eid, policy)
SELECT flow.partition_key, flow.flow_id, $5, $6, $7, CAST($8 AS jsonb) FROM flow";

/// Takes the flow's partition, the flow, the edge and the time.
const APPLY: &str = "
WITH staged AS MATERIALIZED (
  SELECT e.partition_key, e.flow_id, e.edge_id, e.upstream_eid, e.downstream_eid
  FROM ff_edge AS e
  WHERE e.partition_key = $1 AND e.flow_id = $2 AND e.edge_id = $3
    AND e.policy ->> 'edge_state' = 'pending'
  FOR NO KEY UPDATE),
ready AS MATERIALIZED (
  SELECT s.* FROM staged AS s
  JOIN ff_exec_core AS upstream
    ON upstream.partition_key = s.partition_key AND upstream.execution_id = s.upstream_eid
      AND upstream.lifecycle_phase NOT IN ('terminal', 'cancelled')
  JOIN LATERAL (
    SELECT core.execution_id FROM ff_exec_core AS core
    WHERE core.partition_key = s.partition_key AND core.execution_id = s.downstream_eid
      AND core.eligibility_state IN ('blocked_by_operator', 'blocked_by_dependencies')
    FOR NO KEY UPDATE) AS core ON TRUE),
edge AS (
  UPDATE ff_edge AS t
  SET policy = t.policy || jsonb_build_object(
        'applied_at_ms', CAST($4 AS bigint), 'edge_state', 'applied'),
      version = t.version + 1
  FROM ready AS r
  WHERE t.partition_key = r.partition_key AND t.flow_id = r.flow_id AND t.edge_id = r.edge_id),
core AS (
  UPDATE ff_exec_core AS t
  SET lifecycle_phase = 'runnable', ownership_state = 'unowned',
      eligibility_state = 'blocked_by_dependencies', public_state = 'waiting_children',
      blocking_reason = 'waiting_for_children', version = t.version + 1, last_changed_at_ms = $4
  FROM ready AS r
  WHERE t.partition_key = r.partition_key AND t.execution_id = r.downstream_eid)
INSERT INTO ff_edge_group AS t (partition_key, flow_id, downstream_eid, policy, k_target,
    running_count, dependency_count, version)
SELECT r.partition_key, r.flow_id, r.downstream_eid, '{\"kind\":\"all_of\"}', 1, 1, 1, 1
FROM ready AS r
ON CONFLICT (partition_key, flow_id, downstream_eid) DO UPDATE
SET k_target = t.dependency_count + 1, running_count = t.running_count + 1,
    dependency_count = t.dependency_count + 1, version = t.version + 1";

/// Takes the flow's partition, the flow and the time.
const RELEASE: &str = "
UPDATE ff_exec_core AS t
SET lifecycle_phase = 'runnable', ownership_state = 'unowned', eligibility_state = 'eligible_now',
    public_state = 'waiting', blocking_reason = 'waiting_for_worker', claimable_since_ms = $3,
    version = t.version + 1, last_changed_at_ms = $3
WHERE t.partition_key = $1 AND t.flow_id = $2 AND t.lifecycle_phase = 'runnable'
  AND t.eligibility_state = 'blocked_by_operator' AND t.blocking_reason = 'paused_by_policy'
  AND (t.eligible_at_ms IS NULL OR t.eligible_at_ms <= $3)";

static ADD_MEMBERS: LazyLock<String> = LazyLock::new(|| {
    let held_back = submitted("'blocked_by_operator'", "'paused_by_policy'", "0");
    fused(&[&NEW_MEMBERS.replace("{over}", OVER), &held_back], GROWN)
});
static STAGE_ONE: LazyLock<String> = LazyLock::new(|| STAGE.replace("{over}", OVER));

impl FlowByHand for PostgresByHand {
    async fn create_flow(&mut self, flow: &NewFlow) -> Result<(), BenchError> {
        let query = sqlx::query(CREATE)
            .bind(flow.partition)
            .bind(flow.id)
            .bind(flow.now_ms)
            .bind(flow.raw_fields.as_str());
        query.execute(&mut self.connection).await?;
        Ok(())
    }

    async fn create_members(
        &mut self,
        flow: &NewFlow,
        members: &[NewExecution],
    ) -> Result<u64, BenchError> {
        let query = submission(ADD_MEMBERS.as_str(), members).bind(flow.id).bind(flow.partition);
        let revision: i64 = query.fetch_one(&mut self.connection).await?.try_get(0)?;
        Ok(revision.unsigned_abs())
    }

    async fn stage(&mut self, edge: &NewEdge) -> Result<bool, BenchError> {
        let query = sqlx::query(STAGE_ONE.as_str())
            .bind(edge.partition)
            .bind(edge.flow)
            .bind(edge.revision)
            .bind(edge.now_ms)
            .bind(edge.id)
            .bind(edge.upstream)
            .bind(edge.downstream)
            .bind(edge.policy.as_str());
        Ok(query.execute(&mut self.connection).await?.rows_affected() == 1)
    }

    async fn apply(&mut self, edge: &NewEdge) -> Result<bool, BenchError> {
        let query =
            sqlx::query(APPLY).bind(edge.partition).bind(edge.flow).bind(edge.id).bind(edge.now_ms);
        Ok(query.execute(&mut self.connection).await?.rows_affected() == 1)
    }

    async fn release(&mut self, flow: &NewFlow, now: TimestampMs) -> Result<u64, BenchError> {
        let query = sqlx::query(RELEASE).bind(flow.partition).bind(flow.id).bind(now.0);
        Ok(query.execute(&mut self.connection).await?.rows_affected())
    }

    async fn dispatch(&mut self, limit: u32, now: TimestampMs) -> Result<u64, BenchError> {
        let query = sqlx::query(dispatch::DISPATCH.as_str()).bind(i64::from(limit)).bind(now.0);
        let dispatched: i64 = query.fetch_one(&mut self.connection).await?.try_get(0)?;
        Ok(dispatched.unsigned_abs())
    }
}
