//! A life on Postgres in three hand-written statements, prepared once, with generic plans.
//!
//! SQL over the schema's tables is otherwise generated; see [`super`] for the reason to write it by
//! hand here. Columns are named, so a column with a default may be added without a change here.

use ff_core::types::TimestampMs;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _, SqlSafeStr as _, SqlStr};

use super::{ByHand, Held, NewExecution, Terms};
use crate::error::BenchError;

/// The rows that a claim may take, and their order. The only place that knows the claim's index.
const CLAIMABLE: &str = "
    core.lane_id = $1
      AND core.is_claimable IS NOT NULL
      AND (core.granted_until_ms IS NULL OR core.granted_until_ms <= $2)
      AND (CASE WHEN cardinality(core.required_capabilities) = (0) THEN CAST('' AS bytea)
           ELSE sha256(CAST(replace(CAST(jsonb_object(
               array_replace(core.required_capabilities, NULL, ''), core.required_capabilities)
             AS text), chr(92), repeat(chr(92), 2)) AS bytea)) END) = CAST('' AS bytea)
    ORDER BY core.priority DESC, core.claimable_since_ms, core.created_at_ms, core.execution_id";

/// Takes a lane, the time, a worker, its instance, the end of the lease, and a number of rows.
const CLAIM: &str = "
  picked AS MATERIALIZED (
    SELECT core.partition_key, core.execution_id, core.attempt_index, core.attempt_timeout_ms,
           core.raw_fields ->> 'namespace' AS namespace,
           core.raw_fields -> 'tags' ->> 'cairn.instance_id' AS instance_tag,
           gen_random_uuid() AS lease_id, gen_random_uuid() AS attempt_id
    FROM ff_exec_core AS core
    WHERE {claimable}
    LIMIT $6 FOR NO KEY UPDATE SKIP LOCKED),
  core AS (
    UPDATE ff_exec_core AS t
    SET lifecycle_phase = 'active', ownership_state = 'leased',
        eligibility_state = 'not_applicable', public_state = 'active',
        attempt_state = 'running_attempt', blocking_reason = NULL, version = t.version + 1,
        last_changed_at_ms = $2, started_at_ms = COALESCE(t.started_at_ms, $2),
        total_attempt_count = t.total_attempt_count + 1, granted_until_ms = NULL,
        eligible_at_ms = NULL
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
        started_at_ms = excluded.started_at_ms, lease_id = excluded.lease_id,
        attempt_id = excluded.attempt_id, timeout_at_ms = excluded.timeout_at_ms,
        terminal_at_ms = NULL, outcome = NULL, failure_message = NULL, failure_class = NULL
    RETURNING partition_key, execution_id, lease_epoch),
  event AS (
    INSERT INTO ff_lease_event (execution_id, lease_id, event_type, occurred_at_ms, partition_key,
        namespace, instance_tag, worker_id, worker_instance_id)
    SELECT CAST(p.execution_id AS text), CAST(p.lease_id AS text), 'acquired', $2,
           p.partition_key, p.namespace, p.instance_tag, $3, $4
    FROM picked AS p)
SELECT p.partition_key, p.execution_id, p.attempt_index, attempt.lease_epoch, p.lease_id,
       p.attempt_id
FROM picked AS p JOIN attempt USING (partition_key, execution_id)";

/// Takes the input's columns and, as $7, the time.
const COMPLETE: &str = "
  core AS MATERIALIZED (
    SELECT i.*, core.flow_id, core.namespace, core.instance_tag
    FROM input AS i JOIN LATERAL (
      SELECT core.flow_id, core.raw_fields ->> 'namespace' AS namespace,
             core.raw_fields -> 'tags' ->> 'cairn.instance_id' AS instance_tag
      FROM ff_exec_core AS core
      WHERE core.partition_key = i.partition_key AND core.execution_id = i.execution_id
        AND core.ownership_state <> 'lease_revoked' AND core.lifecycle_phase = 'active'
        AND core.has_waitpoints = FALSE
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
      FOR NO KEY UPDATE) AS attempt ON TRUE),
  ended AS (
    UPDATE ff_exec_core AS t
    SET lifecycle_phase = 'terminal', ownership_state = 'unowned',
        eligibility_state = 'not_applicable', public_state = 'completed',
        attempt_state = 'attempt_terminal', blocking_reason = NULL, version = t.version + 1,
        last_changed_at_ms = $7, terminal_at_ms = $7, eligible_at_ms = NULL, result = NULL
    FROM held AS h
    WHERE t.partition_key = h.partition_key AND t.execution_id = h.execution_id),
  left_off AS (
    UPDATE ff_attempt AS t
    SET worker_instance_id = NULL, lease_expires_at_ms = NULL, timeout_at_ms = NULL,
        outcome = 'success', terminal_at_ms = $7
    FROM held AS h
    WHERE t.partition_key = h.partition_key AND t.execution_id = h.execution_id
      AND t.attempt_index = h.attempt_index),
  completion AS (
    INSERT INTO ff_completion_event (partition_key, execution_id, flow_id, outcome, namespace,
        instance_tag, occurred_at_ms)
    SELECT h.partition_key, h.execution_id, h.flow_id, 'success', h.namespace, h.instance_tag, $7
    FROM held AS h),
  lease AS (
    INSERT INTO ff_lease_event (execution_id, lease_id, event_type, occurred_at_ms, partition_key,
        namespace, instance_tag, worker_id, worker_instance_id, cause)
    SELECT CAST(h.execution_id AS text), CAST(h.lease_id AS text), 'revoked', $7,
           h.partition_key, h.namespace, h.instance_tag, h.worker_id, h.worker_instance_id,
           'completed'
    FROM held AS h)
SELECT count(*) FROM held";

/// One execution to complete.
const ONE_HELD: &str = "WITH input AS (
    SELECT CAST($1 AS smallint) AS partition_key, CAST($2 AS uuid) AS execution_id,
           CAST($3 AS integer) AS attempt_index, CAST($4 AS bigint) AS epoch,
           CAST($5 AS uuid) AS lease_id, CAST($6 AS uuid) AS attempt_id),";

/// Many executions to complete.
const MANY_HELD: &str = "WITH input AS MATERIALIZED (
    SELECT * FROM unnest(CAST($1 AS smallint[]), CAST($2 AS uuid[]), CAST($3 AS integer[]),
        CAST($4 AS bigint[]), CAST($5 AS uuid[]), CAST($6 AS uuid[]))
      AS i (partition_key, execution_id, attempt_index, epoch, lease_id, attempt_id)
    ORDER BY partition_key, execution_id),";

/// Takes the input's columns.
const SUBMIT: &str = "
  core AS (
    INSERT INTO ff_exec_core (partition_key, execution_id, lane_id, required_capabilities, priority,
        created_at_ms, payload, raw_fields, has_waitpoints, lifecycle_phase, ownership_state,
        eligibility_state, public_state, attempt_state, blocking_reason, claimable_since_ms,
        last_changed_at_ms)
    SELECT i.partition_key, i.execution_id, i.lane_id, '{}', 0, i.now_ms, i.payload,
           CAST(i.raw_fields AS jsonb), FALSE, 'runnable', 'unowned', 'eligible_now', 'waiting',
           'pending_first_attempt', 'waiting_for_worker', i.now_ms, i.now_ms
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
    FROM new AS n)
SELECT count(*) FROM new";

/// One execution to submit.
const ONE_NEW: &str = "WITH input AS (
    SELECT CAST($1 AS smallint) AS partition_key, CAST($2 AS uuid) AS execution_id,
           CAST($3 AS text) AS lane_id, CAST($4 AS bytea) AS payload,
           CAST($5 AS text) AS raw_fields, CAST($6 AS text) AS namespace,
           CAST($7 AS text) AS instance_tag, CAST($8 AS bigint) AS now_ms),";

/// Many executions to submit.
const MANY_NEW: &str = "WITH input AS MATERIALIZED (
    SELECT * FROM unnest(CAST($1 AS smallint[]), CAST($2 AS uuid[]), CAST($3 AS text[]),
        CAST($4 AS bytea[]), CAST($5 AS text[]), CAST($6 AS text[]), CAST($7 AS text[]),
        CAST($8 AS bigint[]))
      AS i (partition_key, execution_id, lane_id, payload, raw_fields, namespace, instance_tag,
            now_ms)),";

/// One caller's connection and its statements.
#[derive(Debug)]
pub struct PostgresByHand {
    connection: PgConnection,
    submit_one: SqlStr,
    submit_many: SqlStr,
    claim: SqlStr,
    complete_one: SqlStr,
    complete_many: SqlStr,
}

impl PostgresByHand {
    /// Connects to the tables of a schema. The session has the settings that the engine asks for.
    ///
    /// # Errors
    /// Those of connecting.
    pub async fn connect(url: &str, schema: &str) -> Result<Self, BenchError> {
        let options: PgConnectOptions = url.parse()?;
        let options = options.disable_statement_logging().options([
            ("search_path", schema),
            ("plan_cache_mode", "force_generic_plan"),
            ("jit", "off"),
        ]);

        let text = |text: String| AssertSqlSafe(text).into_sql_str();
        Ok(Self {
            connection: options.connect().await?,
            submit_one: text(format!("{ONE_NEW}{SUBMIT}")),
            submit_many: text(format!("{MANY_NEW}{SUBMIT}")),
            claim: text(format!("WITH {}", CLAIM.replace("{claimable}", CLAIMABLE))),
            complete_one: text(format!("{ONE_HELD}{COMPLETE}")),
            complete_many: text(format!("{MANY_HELD}{COMPLETE}")),
        })
    }
}

fn held(row: &PgRow) -> Result<Held, sqlx::Error> {
    Ok(Held {
        partition: row.try_get(0)?,
        id: row.try_get(1)?,
        attempt_index: row.try_get(2)?,
        epoch: row.try_get(3)?,
        lease_id: row.try_get(4)?,
        attempt_id: row.try_get(5)?,
    })
}

fn column<R, T>(rows: &[R], value: impl Fn(&R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}

impl ByHand for PostgresByHand {
    async fn submit(&mut self, batch: &[NewExecution]) -> Result<(), BenchError> {
        let query = match batch {
            [one] => sqlx::query(self.submit_one.clone())
                .bind(one.partition)
                .bind(one.id)
                .bind(one.lane.as_str())
                .bind(one.payload.as_slice())
                .bind(one.raw_fields.as_str())
                .bind(one.namespace.as_str())
                .bind(one.instance_tag.as_deref())
                .bind(one.now_ms),
            many => sqlx::query(self.submit_many.clone())
                .bind(column(many, |new| new.partition))
                .bind(column(many, |new| new.id))
                .bind(column(many, |new| new.lane.clone()))
                .bind(column(many, |new| new.payload.clone()))
                .bind(column(many, |new| new.raw_fields.clone()))
                .bind(column(many, |new| new.namespace.clone()))
                .bind(column(many, |new| new.instance_tag.clone()))
                .bind(column(many, |new| new.now_ms)),
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
        let rows = sqlx::query(self.claim.clone())
            .bind(terms.lane.as_str())
            .bind(now.0)
            .bind(terms.worker.as_str())
            .bind(terms.instance.as_str())
            .bind(now.0 + terms.lease_ms)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(&mut self.connection)
            .await?;
        Ok(rows.iter().map(held).collect::<Result<_, _>>()?)
    }

    async fn complete(&mut self, held: &[Held], now: TimestampMs) -> Result<usize, BenchError> {
        let query = match held {
            [one] => sqlx::query(self.complete_one.clone())
                .bind(one.partition)
                .bind(one.id)
                .bind(one.attempt_index)
                .bind(one.epoch)
                .bind(one.lease_id)
                .bind(one.attempt_id)
                .bind(now.0),
            many => sqlx::query(self.complete_many.clone())
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
}
