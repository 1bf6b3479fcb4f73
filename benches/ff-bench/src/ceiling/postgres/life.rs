//! A life: submitted, claimed, tried again, completed.

use std::sync::LazyLock;

use ff_core::types::TimestampMs;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{Postgres, Row as _};

use super::lease::{COUNT_HELD, EACH_TAKEN, MANY_HELD, ONE_HELD, about, ended, fence, taken};
use super::{PostgresByHand, column, fused, held};
use crate::ceiling::{ByHand, Held, NewExecution, Terms};
use crate::error::BenchError;

/// One execution to submit.
const ONE_NEW: &str = "
  input AS (
    SELECT CAST($1 AS smallint) AS partition_key, CAST($2 AS uuid) AS execution_id,
           CAST($3 AS text) AS lane_id, CAST($4 AS bytea) AS payload, CAST($5 AS text) AS policy,
           CAST($6 AS text) AS raw_fields, CAST($7 AS text) AS namespace,
           CAST($8 AS text) AS instance_tag, CAST($9 AS bigint) AS now_ms,
           CAST(NULL AS uuid) AS flow_id)";

/// Many executions to submit.
const MANY_NEW: &str = "
  input AS MATERIALIZED (
    SELECT i.*, CAST(NULL AS uuid) AS flow_id
    FROM unnest(CAST($1 AS smallint[]), CAST($2 AS uuid[]), CAST($3 AS text[]),
        CAST($4 AS bytea[]), CAST($5 AS text[]), CAST($6 AS text[]), CAST($7 AS text[]),
        CAST($8 AS text[]), CAST($9 AS bigint[]))
      AS i (partition_key, execution_id, lane_id, payload, policy, raw_fields, namespace,
            instance_tag, now_ms))";

/// Takes the input's columns.
const SUBMITTED: &str = "
  core AS (
    INSERT INTO ff_exec_core (partition_key, execution_id, lane_id, required_capabilities, priority,
        created_at_ms, payload, policy, raw_fields, has_waitpoints, lifecycle_phase,
        ownership_state, eligibility_state, public_state, attempt_state, blocking_reason,
        claimable_since_ms, last_changed_at_ms, flow_id)
    SELECT i.partition_key, i.execution_id, i.lane_id, '{}', 0, i.now_ms, i.payload,
           CAST(i.policy AS jsonb), CAST(i.raw_fields AS jsonb), FALSE, 'runnable', 'unowned',
           {eligibility_state}, 'waiting', 'pending_first_attempt', {blocking_reason},
           {claimable_since_ms}, i.now_ms, i.flow_id
    FROM input AS i
    ON CONFLICT DO NOTHING
    RETURNING partition_key, execution_id),
  new AS MATERIALIZED (
    SELECT i.* FROM input AS i JOIN core USING (partition_key, execution_id)),
  lane AS (
    INSERT INTO ff_lane_registry (lane_id, registered_at_ms, registered_by)
    SELECT n.lane_id, n.now_ms, 'create_execution' FROM new AS n
    ON CONFLICT DO NOTHING),
  tag AS (
    INSERT INTO ff_instance_tag_event (execution_id, event_type, occurred_at_ms, partition_key,
        namespace, instance_tag)
    SELECT CAST(n.execution_id AS text), 'attached', n.now_ms, n.partition_key, n.namespace,
           n.instance_tag
    FROM new AS n)";

const COUNT_NEW: &str = "SELECT count(*) FROM new";

/// The rows that a claim may take, and their order. The only place that knows the claim's index:
/// the key of the list of capabilities is written as in `ff_exec_core_claim_idx`.
const CLAIMABLE: &str = r#"
    core.lane_id = $1
      AND core.is_claimable IS NOT NULL
      AND (core.granted_until_ms IS NULL OR core.granted_until_ms <= $2)
      AND (CASE WHEN cardinality(core.required_capabilities) = (0) THEN CAST('' AS bytea)
           ELSE set_bit(sha256(CAST(replace(CAST(jsonb_object(
               array_replace(core.required_capabilities, NULL, ''), core.required_capabilities)
             AS text), chr(92), repeat(chr(92), 2)) AS bytea)), 7,
             (CASE WHEN core.required_capabilities [1] COLLATE "C" < ' ' THEN 1 ELSE 0 END)) END)
          = CAST('' AS bytea)
    ORDER BY core.priority DESC, core.claimable_since_ms, core.created_at_ms, core.execution_id
    LIMIT $6 FOR NO KEY UPDATE SKIP LOCKED"#;

/// Takes the time as $7.
const COMPLETED: &str = "
  ended AS (
    UPDATE ff_exec_core AS t
    SET lifecycle_phase = 'terminal', ownership_state = 'unowned',
        eligibility_state = 'not_applicable', public_state = 'completed',
        attempt_state = 'attempt_terminal', blocking_reason = NULL, version = t.version + 1,
        last_changed_at_ms = $7, terminal_at_ms = $7, eligible_at_ms = NULL, result = NULL
    FROM held AS h
    WHERE t.partition_key = h.partition_key AND t.execution_id = h.execution_id),
  completion AS (
    INSERT INTO ff_completion_event (partition_key, execution_id, flow_id, outcome, namespace,
        instance_tag, occurred_at_ms)
    SELECT h.partition_key, h.execution_id, h.flow_id, 'success', h.namespace, h.instance_tag, $7
    FROM held AS h)";

const RETRY_LEFT: &str = "
        AND COALESCE(CAST(core.raw_fields ->> 'retry_count' AS integer), 0)
            < CAST(core.policy -> 'retry_policy' ->> 'max_retries' AS integer)";

/// Takes the time as $7, and the reason as $8.
const RETRIED: &str = "
  again AS (
    UPDATE ff_exec_core AS t
    SET lifecycle_phase = 'runnable', ownership_state = 'unowned',
        eligibility_state = 'eligible_now', public_state = 'waiting',
        attempt_state = 'pending_retry_attempt', blocking_reason = 'waiting_for_worker',
        claimable_since_ms = $7, version = t.version + 1, last_changed_at_ms = $7,
        attempt_index = h.attempt_index + 1,
        raw_fields = t.raw_fields || jsonb_build_object(
          'delay_until', CAST(CAST($7 AS bigint) AS text), 'failure_reason', CAST($8 AS text),
          'last_failure_class', 'transient', 'last_failure_message', CAST($8 AS text),
          'pending_previous_attempt_index', CAST(h.attempt_index AS text),
          'pending_retry_reason', CAST($8 AS text), 'retry_count',
          CAST(COALESCE(CAST(t.raw_fields ->> 'retry_count' AS integer), 0) + 1 AS text))
    FROM held AS h
    WHERE t.partition_key = h.partition_key AND t.execution_id = h.execution_id),
  next_attempt AS (
    INSERT INTO ff_attempt (partition_key, execution_id, attempt_index, lease_epoch)
    SELECT h.partition_key, h.execution_id, h.attempt_index + 1, h.epoch FROM held AS h
    ON CONFLICT DO NOTHING)";

static SUBMIT_ONE: LazyLock<String> = LazyLock::new(|| fused(&[ONE_NEW, &runnable()], COUNT_NEW));
static SUBMIT_MANY: LazyLock<String> = LazyLock::new(|| fused(&[MANY_NEW, &runnable()], COUNT_NEW));
static CLAIM: LazyLock<String> = LazyLock::new(|| {
    let (core, attempt) =
        ("total_attempt_count = t.total_attempt_count + 1,", "attempt_id = excluded.attempt_id,");
    fused(&[&taken(CLAIMABLE, core, attempt)], EACH_TAKEN)
});
static PLAN_OF_CLAIM: LazyLock<String> = LazyLock::new(|| format!("EXPLAIN {}", *CLAIM));
static COMPLETE_ONE: LazyLock<String> = LazyLock::new(|| complete(ONE_HELD));
static COMPLETE_MANY: LazyLock<String> = LazyLock::new(|| complete(MANY_HELD));
static RETRY: LazyLock<String> = LazyLock::new(|| {
    let attempt = "outcome = 'retry', terminal_at_ms = $7, failure_message = $8,
        failure_class = 'transient'";
    fused(&[ONE_HELD, &fence(RETRY_LEFT), RETRIED, &ended(attempt, "failed")], COUNT_HELD)
});

/// Submits executions in a state, given as SQL.
pub(super) fn submitted(
    eligibility_state: &str,
    blocking_reason: &str,
    claimable_since_ms: &str,
) -> String {
    SUBMITTED
        .replace("{eligibility_state}", eligibility_state)
        .replace("{blocking_reason}", blocking_reason)
        .replace("{claimable_since_ms}", claimable_since_ms)
}

fn runnable() -> String {
    submitted("'eligible_now'", "'waiting_for_worker'", "i.now_ms")
}

/// A statement about many executions to submit: $1 to $9 are bound.
pub(super) fn submission<'q>(
    text: &'static str,
    batch: &[NewExecution],
) -> Query<'q, Postgres, PgArguments> {
    sqlx::query(text)
        .bind(column(batch, |new| new.partition))
        .bind(column(batch, |new| new.id))
        .bind(column(batch, |new| new.lane.clone()))
        .bind(column(batch, |new| new.payload.clone()))
        .bind(column(batch, |new| new.policy.clone()))
        .bind(column(batch, |new| new.raw_fields.clone()))
        .bind(column(batch, |new| new.namespace.clone()))
        .bind(column(batch, |new| new.instance_tag.clone()))
        .bind(column(batch, |new| new.now_ms))
}

fn complete(input: &str) -> String {
    let attempt = "outcome = 'success', terminal_at_ms = $7";
    fused(&[input, &fence(""), COMPLETED, &ended(attempt, "completed")], COUNT_HELD)
}

/// A statement about a claim.
fn claim<'q>(
    text: &'static str,
    terms: &'q Terms,
    limit: usize,
    now: TimestampMs,
) -> Query<'q, Postgres, PgArguments> {
    sqlx::query(text)
        .bind(terms.lane.as_str())
        .bind(now.0)
        .bind(terms.worker.as_str())
        .bind(terms.instance.as_str())
        .bind(now.0 + terms.lease_ms)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
}

impl PostgresByHand {
    /// The lines of the plan of a claim where Postgres avoids to sort: it sorts only if no index
    /// has the order of the lane.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn plan_of_claim(&mut self, terms: &Terms) -> Result<Vec<String>, BenchError> {
        sqlx::query("SET enable_sort = off").execute(&mut self.connection).await?;
        let plan = claim(PLAN_OF_CLAIM.as_str(), terms, 1, TimestampMs::now());
        let lines = plan.fetch_all(&mut self.connection).await?;
        sqlx::query("RESET enable_sort").execute(&mut self.connection).await?;
        Ok(lines.iter().map(|line| line.try_get(0)).collect::<Result<_, _>>()?)
    }
}

impl ByHand for PostgresByHand {
    async fn submit(&mut self, batch: &[NewExecution]) -> Result<(), BenchError> {
        let query = match batch {
            [one] => sqlx::query(SUBMIT_ONE.as_str())
                .bind(one.partition)
                .bind(one.id)
                .bind(one.lane.as_str())
                .bind(one.payload.as_slice())
                .bind(one.policy.as_deref())
                .bind(one.raw_fields.as_str())
                .bind(one.namespace.as_str())
                .bind(one.instance_tag.as_deref())
                .bind(one.now_ms),
            many => submission(SUBMIT_MANY.as_str(), many),
        };
        query.fetch_one(&mut self.connection).await?;
        Ok(())
    }

    async fn claim(
        &mut self,
        terms: &Terms,
        limit: usize,
        now: TimestampMs,
    ) -> Result<Vec<Held>, BenchError> {
        let rows = claim(CLAIM.as_str(), terms, limit, now).fetch_all(&mut self.connection).await?;
        Ok(rows.iter().map(held).collect::<Result<_, _>>()?)
    }

    async fn complete(&mut self, held: &[Held], now: TimestampMs) -> Result<usize, BenchError> {
        let query = match held {
            [one] => about(COMPLETE_ONE.as_str(), one).bind(now.0),
            many => sqlx::query(COMPLETE_MANY.as_str())
                .bind(column(many, |held| held.partition))
                .bind(column(many, |held| held.id))
                .bind(column(many, |held| held.attempt_index))
                .bind(column(many, |held| held.epoch))
                .bind(column(many, |held| held.lease_id))
                .bind(column(many, |held| held.attempt_id))
                .bind(now.0),
        };
        let ended: i64 = query.fetch_one(&mut self.connection).await?.try_get(0)?;
        Ok(usize::try_from(ended).unwrap_or(0))
    }

    async fn retry(
        &mut self,
        held: &Held,
        reason: &str,
        now: TimestampMs,
    ) -> Result<bool, BenchError> {
        let query = about(RETRY.as_str(), held).bind(now.0).bind(reason);
        let failed: i64 = query.fetch_one(&mut self.connection).await?.try_get(0)?;
        Ok(failed == 1)
    }
}
