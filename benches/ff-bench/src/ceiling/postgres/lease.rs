//! The parts of statements that take leases and end them.

use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;

use crate::ceiling::Held;

/// Takes the time, a worker, its instance, and the end of the lease as $2 to $5.
const TAKEN: &str = "
  picked AS MATERIALIZED (
    SELECT core.partition_key, core.execution_id, core.attempt_index, core.attempt_timeout_ms,
           core.raw_fields ->> 'namespace' AS namespace,
           core.raw_fields -> 'tags' ->> 'cairn.instance_id' AS instance_tag,
           gen_random_uuid() AS lease_id, gen_random_uuid() AS attempt_id
    FROM ff_exec_core AS core
    WHERE {which}),
  core AS (
    UPDATE ff_exec_core AS t
    SET lifecycle_phase = 'active', ownership_state = 'leased',
        eligibility_state = 'not_applicable', public_state = 'active',
        attempt_state = 'running_attempt', blocking_reason = NULL, version = t.version + 1,
        last_changed_at_ms = $2, started_at_ms = COALESCE(t.started_at_ms, $2),
        {core} granted_until_ms = NULL, eligible_at_ms = NULL
    FROM picked AS p
    WHERE t.partition_key = p.partition_key AND t.execution_id = p.execution_id),
  attempt AS (
    INSERT INTO ff_attempt (partition_key, execution_id, attempt_index, worker_id,
        worker_instance_id, lease_epoch, lease_expires_at_ms, started_at_ms, lease_id, attempt_id,
        timeout_at_ms)
    SELECT p.partition_key, p.execution_id, p.attempt_index, $3, $4, 1, $5, $2, p.lease_id,
           p.attempt_id, $2 + p.attempt_timeout_ms
    FROM picked AS p
    ON CONFLICT (partition_key, execution_id, attempt_index) DO UPDATE
    SET worker_id = excluded.worker_id, worker_instance_id = excluded.worker_instance_id,
        lease_epoch = ff_attempt.lease_epoch + 1,
        lease_expires_at_ms = excluded.lease_expires_at_ms,
        started_at_ms = excluded.started_at_ms, lease_id = excluded.lease_id, {attempt}
        timeout_at_ms = excluded.timeout_at_ms,
        terminal_at_ms = NULL, outcome = NULL, failure_message = NULL, failure_class = NULL
    RETURNING partition_key, execution_id, lease_epoch, attempt_id),
  event AS (
    INSERT INTO ff_lease_event (execution_id, lease_id, event_type, occurred_at_ms, partition_key,
        namespace, instance_tag, worker_id, worker_instance_id)
    SELECT CAST(p.execution_id AS text), CAST(p.lease_id AS text), 'acquired', $2,
           p.partition_key, p.namespace, p.instance_tag, $3, $4
    FROM picked AS p)";

/// The executions that were taken, as [`super::held`] reads them.
pub(super) const EACH_TAKEN: &str = "
SELECT p.partition_key, p.execution_id, p.attempt_index, attempt.lease_epoch, p.lease_id,
       attempt.attempt_id
FROM picked AS p JOIN attempt USING (partition_key, execution_id)";

/// One execution of which the caller holds the lease, as $1 to $6.
pub(super) const ONE_HELD: &str = "
  input AS (
    SELECT CAST($1 AS smallint) AS partition_key, CAST($2 AS uuid) AS execution_id,
           CAST($3 AS integer) AS attempt_index, CAST($4 AS bigint) AS epoch,
           CAST($5 AS uuid) AS lease_id, CAST($6 AS uuid) AS attempt_id)";

/// Many of them.
pub(super) const MANY_HELD: &str = "
  input AS MATERIALIZED (
    SELECT * FROM unnest(CAST($1 AS smallint[]), CAST($2 AS uuid[]), CAST($3 AS integer[]),
        CAST($4 AS bigint[]), CAST($5 AS uuid[]), CAST($6 AS uuid[]))
      AS i (partition_key, execution_id, attempt_index, epoch, lease_id, attempt_id)
    ORDER BY partition_key, execution_id)";

/// Takes the time as $7.
const FENCE: &str = "
  core AS MATERIALIZED (
    SELECT i.*, core.flow_id, core.namespace, core.instance_tag
    FROM input AS i JOIN LATERAL (
      SELECT core.flow_id, core.raw_fields ->> 'namespace' AS namespace,
             core.raw_fields -> 'tags' ->> 'cairn.instance_id' AS instance_tag
      FROM ff_exec_core AS core
      WHERE core.partition_key = i.partition_key AND core.execution_id = i.execution_id
        AND core.ownership_state <> 'lease_revoked' AND core.lifecycle_phase = 'active'
        AND core.has_waitpoints = FALSE {also}
      FOR NO KEY UPDATE) AS core ON TRUE),
  held AS MATERIALIZED (
    SELECT c.*, attempt.worker_id, attempt.worker_instance_id
    FROM core AS c JOIN LATERAL (
      SELECT attempt.worker_id, attempt.worker_instance_id
      FROM ff_attempt AS attempt
      WHERE attempt.partition_key = c.partition_key AND attempt.execution_id = c.execution_id
        AND attempt.attempt_index = c.attempt_index AND attempt.lease_epoch = c.epoch
        AND attempt.terminal_at_ms IS NULL AND attempt.lease_id = c.lease_id
        AND attempt.attempt_id = c.attempt_id AND attempt.lease_expires_at_ms > $7
      FOR NO KEY UPDATE) AS attempt ON TRUE)";

/// Takes the time as $7.
const ENDED: &str = "
  left_off AS (
    UPDATE ff_attempt AS t
    SET worker_instance_id = NULL, lease_expires_at_ms = NULL, timeout_at_ms = NULL, {attempt}
    FROM held AS h
    WHERE t.partition_key = h.partition_key AND t.execution_id = h.execution_id
      AND t.attempt_index = h.attempt_index),
  lease AS (
    INSERT INTO ff_lease_event (execution_id, lease_id, event_type, occurred_at_ms, partition_key,
        namespace, instance_tag, worker_id, worker_instance_id, cause)
    SELECT CAST(h.execution_id AS text), CAST(h.lease_id AS text), 'revoked', $7,
           h.partition_key, h.namespace, h.instance_tag, h.worker_id, h.worker_instance_id,
           '{cause}'
    FROM held AS h)";

/// The number of executions that were the caller's.
pub(super) const COUNT_HELD: &str = "SELECT count(*) FROM held";

/// Takes leases of those executions, and sets more of their columns and of their attempts'.
pub(super) fn taken(which: &str, core: &str, attempt: &str) -> String {
    TAKEN.replace("{which}", which).replace("{core}", core).replace("{attempt}", attempt)
}

/// Holds the executions of the input that still are the caller's, and of which this is true, too.
pub(super) fn fence(also: &str) -> String {
    FENCE.replace("{also}", also)
}

/// Ends the leases of the held executions, and sets more columns of their attempts.
pub(super) fn ended(attempt: &str, cause: &str) -> String {
    ENDED.replace("{attempt}", attempt).replace("{cause}", cause)
}

/// A statement about one execution that the caller holds: $1 to $6 are bound.
pub(super) fn about<'q>(text: &'static str, held: &Held) -> Query<'q, Postgres, PgArguments> {
    sqlx::query(text)
        .bind(held.partition)
        .bind(held.id)
        .bind(held.attempt_index)
        .bind(held.epoch)
        .bind(held.lease_id)
        .bind(held.attempt_id)
}
