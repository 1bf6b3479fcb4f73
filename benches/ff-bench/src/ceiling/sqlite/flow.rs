//! A flow: created, staged, released.

use std::sync::LazyLock;

use ff_core::types::TimestampMs;
use rusqlite::params;

use super::SqliteByHand;
use super::dispatch::dispatch_events;
use super::life::submitted;
use crate::ceiling::{FlowByHand, NewEdge, NewExecution, NewFlow};
use crate::error::BenchError;

const CREATE: &str = "
    INSERT INTO ff_flow_core (partition_key, flow_id, public_flow_state, created_at_ms, raw_fields)
    VALUES (?1, ?2, 'open', ?3, ?4) ON CONFLICT DO NOTHING";

const GROW: &str = "
    UPDATE ff_flow_core
    SET graph_revision = graph_revision + ?3, node_count = node_count + ?3,
        version = version + ?3, raw_fields = json_set(raw_fields, '$.last_mutation_at_ms', ?4)
    WHERE partition_key = ?1 AND flow_id = ?2
      AND public_flow_state NOT IN ('completed', 'failed', 'terminal', 'cancelled')
    RETURNING graph_revision";

const ADD_EDGE: &str = "
    UPDATE ff_flow_core
    SET graph_revision = graph_revision + 1, edge_count = edge_count + 1,
        raw_fields = json_set(raw_fields, '$.last_mutation_at_ms', ?4)
    WHERE partition_key = ?1 AND flow_id = ?2 AND graph_revision = ?3
      AND public_flow_state NOT IN ('completed', 'failed', 'terminal', 'cancelled')";

const EDGE: &str = "
    INSERT INTO ff_edge (partition_key, flow_id, edge_id, upstream_eid, downstream_eid, policy)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

const APPLY: &str = "
    UPDATE ff_edge
    SET policy = json_set(policy, '$.applied_at_ms', ?4, '$.edge_state', 'applied'),
        version = version + 1
    WHERE partition_key = ?1 AND flow_id = ?2 AND edge_id = ?3
      AND json_extract(policy, '$.edge_state') = 'pending'
      AND EXISTS (
        SELECT 1 FROM ff_exec_core AS upstream
        WHERE upstream.partition_key = ff_edge.partition_key
          AND upstream.execution_id = ff_edge.upstream_eid
          AND upstream.lifecycle_phase NOT IN ('terminal', 'cancelled'))
      AND EXISTS (
        SELECT 1 FROM ff_exec_core AS core
        WHERE core.partition_key = ff_edge.partition_key
          AND core.execution_id = ff_edge.downstream_eid
          AND core.eligibility_state IN ('blocked_by_operator', 'blocked_by_dependencies'))";

const BLOCK: &str = "
    UPDATE ff_exec_core
    SET lifecycle_phase = 'runnable', ownership_state = 'unowned',
        eligibility_state = 'blocked_by_dependencies', public_state = 'waiting_children',
        blocking_reason = 'waiting_for_children', version = version + 1, last_changed_at_ms = ?3
    WHERE partition_key = ?1 AND execution_id = ?2";

const GROUP: &str = "
    INSERT INTO ff_edge_group (partition_key, flow_id, downstream_eid, policy, k_target,
        running_count, dependency_count, version)
    VALUES (?1, ?2, ?3, '{\"kind\":\"all_of\"}', 1, 1, 1, 1)
    ON CONFLICT (partition_key, flow_id, downstream_eid) DO UPDATE
    SET k_target = dependency_count + 1, running_count = running_count + 1,
        dependency_count = dependency_count + 1, version = version + 1";

const RELEASE: &str = "
    UPDATE ff_exec_core
    SET lifecycle_phase = 'runnable', ownership_state = 'unowned',
        eligibility_state = 'eligible_now', public_state = 'waiting',
        blocking_reason = 'waiting_for_worker', claimable_since_ms = ?3, version = version + 1,
        last_changed_at_ms = ?3
    WHERE partition_key = ?1 AND flow_id = ?2 AND lifecycle_phase = 'runnable'
      AND eligibility_state = 'blocked_by_operator' AND blocking_reason = 'paused_by_policy'
      AND (eligible_at_ms IS NULL OR eligible_at_ms <= ?3)";

static HELD_BACK: LazyLock<String> =
    LazyLock::new(|| submitted("'blocked_by_operator'", "'paused_by_policy'", "0"));

impl FlowByHand for SqliteByHand {
    async fn create_flow(&mut self, flow: &NewFlow) -> Result<(), BenchError> {
        let row = params![flow.partition, flow.id.as_bytes(), flow.now_ms, flow.raw_fields];
        self.step(|begun| begun.prepare_cached(CREATE)?.execute(row).map(drop))
    }

    async fn create_members(
        &mut self,
        flow: &NewFlow,
        members: &[NewExecution],
    ) -> Result<u64, BenchError> {
        let (id, count) = (flow.id.as_bytes(), i64::try_from(members.len()).unwrap_or(i64::MAX));
        let now_ms = members.iter().map(|member| member.now_ms).max();
        self.step(|begun| {
            let grown = params![flow.partition, id, count, now_ms];
            let revision: i64 = begun.prepare_cached(GROW)?.query_row(grown, |row| row.get(0))?;
            for member in members {
                member.insert(begun, &HELD_BACK, Some(id))?;
            }
            Ok(revision.unsigned_abs())
        })
    }

    async fn stage(&mut self, edge: &NewEdge) -> Result<bool, BenchError> {
        let NewEdge { partition, revision, now_ms, policy, .. } = edge;
        let (flow, id) = (edge.flow.as_bytes(), edge.id.as_bytes());
        let (upstream, downstream) = (edge.upstream.as_bytes(), edge.downstream.as_bytes());
        self.step(|begun| {
            let seen = params![partition, flow, revision, now_ms];
            if begun.prepare_cached(ADD_EDGE)?.execute(seen)? == 0 {
                return Ok(false);
            }
            let row = params![partition, flow, id, upstream, downstream, policy];
            begun.prepare_cached(EDGE)?.execute(row)?;
            Ok(true)
        })
    }

    async fn apply(&mut self, edge: &NewEdge) -> Result<bool, BenchError> {
        let NewEdge { partition, now_ms, .. } = edge;
        let (flow, id, downstream) =
            (edge.flow.as_bytes(), edge.id.as_bytes(), edge.downstream.as_bytes());
        self.step(|begun| {
            let staged = params![partition, flow, id, now_ms];
            if begun.prepare_cached(APPLY)?.execute(staged)? == 0 {
                return Ok(false);
            }
            begun.prepare_cached(BLOCK)?.execute(params![partition, downstream, now_ms])?;
            begun.prepare_cached(GROUP)?.execute(params![partition, flow, downstream])?;
            Ok(true)
        })
    }

    async fn release(&mut self, flow: &NewFlow, now: TimestampMs) -> Result<u64, BenchError> {
        let held_back = params![flow.partition, flow.id.as_bytes(), now.0];
        let released = self.step(|begun| begun.prepare_cached(RELEASE)?.execute(held_back))?;
        Ok(released as u64)
    }

    async fn dispatch(&mut self, limit: u32, now: TimestampMs) -> Result<u64, BenchError> {
        self.step(|begun| dispatch_events(begun, limit, now))
    }
}
