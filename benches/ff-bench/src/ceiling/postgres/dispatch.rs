//! The ends of members, applied to the edges from them, all in one statement.

use std::sync::LazyLock;

use super::flow::OVER;
use super::fused;

/// Takes the number of events and the time.
const EVENTS: &str = "
  event AS MATERIALIZED (
    SELECT e.partition_key, e.event_id, e.flow_id, e.execution_id FROM ff_completion_event AS e
    WHERE e.dispatched_at_ms IS NULL AND e.flow_id IS NOT NULL AND e.outcome = 'success'
    ORDER BY e.event_id LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED),
  dispatched AS (
    UPDATE ff_completion_event AS t SET dispatched_at_ms = $2
    FROM event
    WHERE t.partition_key = event.partition_key AND t.event_id = event.event_id)";

/// Takes the time as $2.
const HOPS: &str = "
  hop AS (
    UPDATE ff_edge AS t
    SET upstream_outcome = 'success', upstream_event_id = event.event_id, version = t.version + 1
    FROM event
    WHERE t.partition_key = event.partition_key AND t.flow_id = event.flow_id
      AND t.upstream_eid = event.execution_id AND t.upstream_event_id IS NULL
    RETURNING t.partition_key, t.flow_id, t.downstream_eid),
  counted AS (
    UPDATE ff_edge_group AS t
    SET success_count = t.success_count + h.ended, running_count = t.running_count - h.ended,
        version = t.version + h.ended
    FROM (
      SELECT hop.partition_key, hop.flow_id, hop.downstream_eid,
             CAST(count(*) AS integer) AS ended
      FROM hop GROUP BY hop.partition_key, hop.flow_id, hop.downstream_eid) AS h
    WHERE t.partition_key = h.partition_key AND t.flow_id = h.flow_id
      AND t.downstream_eid = h.downstream_eid
    RETURNING t.partition_key, t.downstream_eid, t.k_target <= t.success_count AS is_satisfied),
  waiting AS MATERIALIZED (
    SELECT core.partition_key, core.execution_id
    FROM counted AS c JOIN LATERAL (
      SELECT core.partition_key, core.execution_id
      FROM ff_exec_core AS core
      WHERE core.partition_key = c.partition_key AND core.execution_id = c.downstream_eid
        AND core.eligibility_state = 'blocked_by_dependencies'
      FOR NO KEY UPDATE) AS core ON TRUE
    WHERE c.is_satisfied),
  released AS (
    UPDATE ff_exec_core AS t
    SET lifecycle_phase = 'runnable', ownership_state = 'unowned',
        eligibility_state = 'eligible_now', public_state = 'waiting',
        blocking_reason = 'waiting_for_worker', claimable_since_ms = $2,
        version = t.version + 1, last_changed_at_ms = $2
    FROM waiting AS w
    WHERE t.partition_key = w.partition_key AND t.execution_id = w.execution_id)";

/// Takes the time as $2. An unfinished member is looked up for each flow, whatever the planner
/// knows of the table.
const FLOWS: &str = "
  flow AS (
    UPDATE ff_flow_core AS t
    SET public_flow_state = 'completed', terminal_at_ms = COALESCE(t.terminal_at_ms, $2),
        raw_fields = t.raw_fields || '{\"ended_by\":\"members\"}', version = t.version + 1
    FROM (SELECT DISTINCT event.partition_key, event.flow_id FROM event) AS f
    WHERE t.partition_key = f.partition_key AND t.flow_id = f.flow_id
      AND t.public_flow_state NOT IN {over}
      AND (
        SELECT m.execution_id FROM ff_exec_core AS m
        WHERE m.partition_key = f.partition_key AND m.flow_id = f.flow_id
          AND m.is_unfinished_member IS NOT NULL
        ORDER BY m.execution_id LIMIT 1) IS NULL
    RETURNING t.partition_key, t.flow_id, t.raw_fields ->> 'namespace' AS namespace),
  flow_event AS (
    INSERT INTO ff_operator_event (execution_id, event_type, details, occurred_at_ms,
        partition_key, namespace)
    SELECT CAST(flow.flow_id AS text), 'flow_ended',
           jsonb_build_object('flow_id', CAST(flow.flow_id AS text), 'public_flow_state',
             'completed'),
           $2, flow.partition_key, flow.namespace
    FROM flow)";

pub(super) static DISPATCH: LazyLock<String> = LazyLock::new(|| {
    fused(&[EVENTS, HOPS, &FLOWS.replace("{over}", OVER)], "SELECT count(*) FROM event")
});
