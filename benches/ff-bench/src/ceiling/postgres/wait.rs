//! A wait: suspended, signalled, claimed again.

use std::sync::LazyLock;

use ff_core::types::{ExecutionId, TimestampMs};
use sqlx::Row as _;

use super::lease::{COUNT_HELD, EACH_TAKEN, ONE_HELD, about, ended, fence, taken};
use super::{PostgresByHand, fused, held};
use crate::ceiling::{Held, NewSignal, NewWait, Terms, WaitByHand};
use crate::error::BenchError;
use crate::wait::{KID, SIGNAL};

/// Takes the time as $7; the suspension, its waitpoint, the condition, the policy, the name of the
/// waitpoint and of its signal, the key's id and the token from $8 on.
const SUSPENDED: &str = "
  suspended AS (
    UPDATE ff_exec_core AS t
    SET lifecycle_phase = 'suspended', ownership_state = 'unowned',
        eligibility_state = 'not_applicable', public_state = 'suspended',
        attempt_state = 'attempt_interrupted', blocking_reason = 'waiting_for_signal',
        version = t.version + 1, last_changed_at_ms = $7, has_waitpoints = TRUE,
        raw_fields = t.raw_fields || jsonb_build_object(
          'current_suspension_id', CAST(CAST($8 AS uuid) AS text),
          'current_waitpoint_id', CAST(CAST($9 AS uuid) AS text))
    FROM held AS h
    WHERE t.partition_key = h.partition_key AND t.execution_id = h.execution_id),
  suspension AS (
    INSERT INTO ff_suspension_current (partition_key, execution_id, suspension_id, suspended_at_ms,
        reason_code, condition, satisfied_set, member_map, timeout_behavior, resume_policy,
        requested_by, version)
    SELECT h.partition_key, h.execution_id, $8, $7, 'waiting_for_signal', CAST($10 AS jsonb), '[]',
           '{}', 'fail', CAST($11 AS jsonb), 'worker', 1
    FROM held AS h
    ON CONFLICT (partition_key, execution_id) DO UPDATE
    SET suspension_id = excluded.suspension_id, suspended_at_ms = excluded.suspended_at_ms,
        timeout_at_ms = NULL, reason_code = excluded.reason_code, condition = excluded.condition,
        satisfied_set = excluded.satisfied_set, member_map = excluded.member_map,
        timeout_behavior = excluded.timeout_behavior, resume_policy = excluded.resume_policy,
        requested_by = excluded.requested_by, continuation_metadata_pointer = NULL, raises = NULL,
        version = ff_suspension_current.version + 1),
  waitpoint AS (
    INSERT INTO ff_waitpoint_pending (partition_key, waitpoint_id, execution_id, token_kid, token,
        created_at_ms, waitpoint_key, state, required_signal_names, activated_at_ms, suspension_id)
    SELECT h.partition_key, $9, h.execution_id, $13, $14, $7, $12, 'active',
           ARRAY[CAST($12 AS text)], $7, $8
    FROM held AS h)";

/// Takes a partition, a waitpoint, the token, the name of the signal, its id, its sender, the
/// signal to keep, the time, and the execution. The condition asks for one signal, so this one
/// fulfils it.
const SIGNALLED: &str = "
  waitpoint AS MATERIALIZED (
    SELECT w.partition_key, w.execution_id, w.waitpoint_key
    FROM ff_waitpoint_pending AS w
    WHERE w.partition_key = $1 AND w.waitpoint_id = $2 AND w.execution_id = $9 AND w.token = $3
      AND w.state = 'active' AND $4 = ANY (w.required_signal_names)),
  core AS MATERIALIZED (
    SELECT w.*, core.namespace, core.instance_tag
    FROM waitpoint AS w JOIN LATERAL (
      SELECT core.raw_fields ->> 'namespace' AS namespace,
             core.raw_fields -> 'tags' ->> 'cairn.instance_id' AS instance_tag
      FROM ff_exec_core AS core
      WHERE core.partition_key = w.partition_key AND core.execution_id = w.execution_id
        AND core.lifecycle_phase = 'suspended'
      FOR NO KEY UPDATE) AS core ON TRUE),
  resumable AS (
    UPDATE ff_exec_core AS t
    SET lifecycle_phase = 'runnable', ownership_state = 'unowned',
        eligibility_state = 'eligible_now', public_state = 'resumable',
        attempt_state = 'attempt_interrupted', blocking_reason = 'waiting_for_worker',
        claimable_since_ms = $8, version = t.version + 1, last_changed_at_ms = $8,
        eligible_at_ms = NULL, has_waitpoints = FALSE,
        raw_fields = t.raw_fields || '{\"current_suspension_id\":\"\",\"current_waitpoint_id\":\"\"}'
    FROM core AS c
    WHERE t.partition_key = c.partition_key AND t.execution_id = c.execution_id),
  suspension AS (
    UPDATE ff_suspension_current AS t
    SET timeout_at_ms = NULL, version = t.version + 1, signal_count = t.signal_count + 1,
        member_map = jsonb_set(t.member_map, ARRAY[c.waitpoint_key],
          COALESCE(t.member_map -> c.waitpoint_key, '[]') || CAST($7 AS jsonb))
    FROM core AS c
    WHERE t.partition_key = c.partition_key AND t.execution_id = c.execution_id),
  closed AS (
    DELETE FROM ff_waitpoint_pending AS t
    USING core AS c
    WHERE t.partition_key = c.partition_key AND t.execution_id = c.execution_id),
  completion AS (
    INSERT INTO ff_completion_event (partition_key, execution_id, outcome, namespace, instance_tag,
        occurred_at_ms)
    SELECT c.partition_key, c.execution_id, 'resumable', c.namespace, c.instance_tag, $8
    FROM core AS c),
  event AS (
    INSERT INTO ff_signal_event (execution_id, signal_id, waitpoint_id, source_identity,
        delivered_at_ms, partition_key, namespace, instance_tag, effect)
    SELECT CAST(c.execution_id AS text), CAST(CAST($5 AS uuid) AS text),
           CAST(CAST($2 AS uuid) AS text), $6, $8, c.partition_key, c.namespace, c.instance_tag,
           'satisfied'
    FROM core AS c)";

/// The execution that may go on.
const RESUMABLE: &str = "
    core.partition_key = $1 AND core.execution_id = $6 AND core.public_state = 'resumable'
      AND core.lifecycle_phase = 'runnable'
    FOR NO KEY UPDATE";

static SUSPEND: LazyLock<String> = LazyLock::new(|| {
    let attempt = "outcome = 'attempt_interrupted', lease_epoch = t.lease_epoch + 1";
    fused(&[ONE_HELD, &fence(""), SUSPENDED, &ended(attempt, "suspended")], COUNT_HELD)
});
static DELIVER: LazyLock<String> =
    LazyLock::new(|| fused(&[SIGNALLED], "SELECT count(*) FROM core"));
// It is the same attempt that goes on.
static CLAIM_RESUMED: LazyLock<String> =
    LazyLock::new(|| fused(&[&taken(RESUMABLE, "", "")], EACH_TAKEN));

impl WaitByHand for PostgresByHand {
    async fn suspend(
        &mut self,
        held: &Held,
        wait: &NewWait,
        now: TimestampMs,
    ) -> Result<bool, BenchError> {
        let query = about(SUSPEND.as_str(), held)
            .bind(now.0)
            .bind(wait.suspension)
            .bind(wait.waitpoint)
            .bind(wait.condition.as_str())
            .bind(wait.resume_policy.as_str())
            .bind(SIGNAL)
            .bind(KID)
            .bind(wait.token.as_str());
        let suspended: i64 = query.fetch_one(&mut self.connection).await?.try_get(0)?;
        Ok(suspended == 1)
    }

    async fn signal(&mut self, signal: &NewSignal) -> Result<bool, BenchError> {
        let query = sqlx::query(DELIVER.as_str())
            .bind(signal.partition)
            .bind(signal.waitpoint)
            .bind(signal.token.as_str())
            .bind(signal.name.as_str())
            .bind(signal.id)
            .bind(signal.source_identity.as_str())
            .bind(signal.kept.as_str())
            .bind(signal.now_ms)
            .bind(signal.execution);
        let delivered: i64 = query.fetch_one(&mut self.connection).await?.try_get(0)?;
        Ok(delivered == 1)
    }

    async fn claim_resumed(
        &mut self,
        execution: &ExecutionId,
        terms: &Terms,
        now: TimestampMs,
    ) -> Result<Option<Held>, BenchError> {
        let row = sqlx::query(CLAIM_RESUMED.as_str())
            .bind(i16::try_from(execution.partition()).unwrap_or(i16::MAX))
            .bind(now.0)
            .bind(terms.worker.as_str())
            .bind(terms.instance.as_str())
            .bind(now.0 + terms.lease_ms)
            .bind(execution.uuid())
            .fetch_optional(&mut self.connection)
            .await?;
        Ok(row.as_ref().map(held).transpose()?)
    }
}
