//! A life: submitted, claimed, tried again, completed.

use std::sync::LazyLock;

use ff_core::types::TimestampMs;
use rusqlite::{Transaction, params};

use super::SqliteByHand;
use super::lease::{CORE_HELD, Claim, Picked};
use crate::ceiling::{ByHand, Held, NewExecution, Terms};
use crate::error::BenchError;

/// The rows that a claim may take, and their order. The only place that knows the claim's index.
const CLAIMABLE: &str = "
    lane_id = ?1
      AND lifecycle_phase IN ('submitted', 'runnable', 'pending', 'eligible', 'blocked')
      AND eligibility_state IN ('eligible_now', 'pending_claim')
      AND (granted_until_ms IS NULL OR granted_until_ms <= ?2)
      AND required_capabilities = '[]'
    ORDER BY priority DESC, claimable_since_ms, created_at_ms, execution_id LIMIT ?3";

const SUBMIT: &str = "
    INSERT INTO ff_exec_core (partition_key, execution_id, lane_id, required_capabilities, priority,
        created_at_ms, payload, policy, raw_fields, has_waitpoints, lifecycle_phase,
        ownership_state, eligibility_state, public_state, attempt_state, blocking_reason,
        claimable_since_ms, last_changed_at_ms, flow_id)
    VALUES (?1, ?2, ?3, '[]', 0, ?4, ?5, ?6, ?7, 0, 'runnable', 'unowned', {eligibility_state},
        'waiting', 'pending_first_attempt', {blocking_reason}, {claimable_since_ms}, ?4, ?8)
    ON CONFLICT DO NOTHING";

const LANE: &str = "
    INSERT INTO ff_lane_registry (lane_id, registered_at_ms, registered_by)
    VALUES (?1, ?2, 'create_execution') ON CONFLICT DO NOTHING";

const TAG: &str = "
    INSERT INTO ff_instance_tag_event (execution_id, event_type, occurred_at_ms, partition_key,
        namespace, instance_tag)
    VALUES (?1, 'attached', ?2, ?3, ?4, ?5)";

const END: &str = "
    UPDATE ff_exec_core
    SET lifecycle_phase = 'terminal', ownership_state = 'unowned',
        eligibility_state = 'not_applicable', public_state = 'completed',
        attempt_state = 'attempt_terminal', blocking_reason = NULL, version = version + 1,
        last_changed_at_ms = ?1, terminal_at_ms = ?1, eligible_at_ms = NULL, result = NULL
    WHERE partition_key = ?2 AND execution_id = ?3";

const END_ATTEMPT: &str = "
    UPDATE ff_attempt
    SET worker_instance_id = NULL, lease_expires_at_ms = NULL, timeout_at_ms = NULL,
        outcome = 'success', terminal_at_ms = ?1
    WHERE partition_key = ?2 AND execution_id = ?3 AND attempt_index = ?4";

const COMPLETION: &str = "
    INSERT INTO ff_completion_event (partition_key, execution_id, flow_id, outcome, namespace,
        instance_tag, occurred_at_ms)
    VALUES (?1, ?2, ?3, 'success', ?4, ?5, ?6)";

const RETRY_LEFT: &str = "
      AND COALESCE(CAST(json_extract(raw_fields, '$.retry_count') AS INTEGER), 0)
          < json_extract(policy, '$.retry_policy.max_retries')";

const AGAIN: &str = "
    UPDATE ff_exec_core
    SET lifecycle_phase = 'runnable', ownership_state = 'unowned',
        eligibility_state = 'eligible_now', public_state = 'waiting',
        attempt_state = 'pending_retry_attempt', blocking_reason = 'waiting_for_worker',
        claimable_since_ms = ?1, version = version + 1, last_changed_at_ms = ?1,
        attempt_index = ?4 + 1,
        raw_fields = json_set(raw_fields, '$.delay_until', CAST(?1 AS TEXT),
          '$.failure_reason', ?5, '$.last_failure_class', 'transient',
          '$.last_failure_message', ?5, '$.pending_previous_attempt_index', CAST(?4 AS TEXT),
          '$.pending_retry_reason', ?5, '$.retry_count', CAST(
            COALESCE(CAST(json_extract(raw_fields, '$.retry_count') AS INTEGER), 0) + 1 AS TEXT))
    WHERE partition_key = ?2 AND execution_id = ?3";

const FAIL_ATTEMPT: &str = "
    UPDATE ff_attempt
    SET worker_instance_id = NULL, lease_expires_at_ms = NULL, timeout_at_ms = NULL,
        outcome = 'retry', terminal_at_ms = ?1, failure_message = ?5, failure_class = 'transient'
    WHERE partition_key = ?2 AND execution_id = ?3 AND attempt_index = ?4";

const NEXT_ATTEMPT: &str = "
    INSERT INTO ff_attempt (partition_key, execution_id, attempt_index, lease_epoch)
    VALUES (?1, ?2, ?3 + 1, ?4) ON CONFLICT DO NOTHING";

static RUNNABLE: LazyLock<String> =
    LazyLock::new(|| submitted("'eligible_now'", "'waiting_for_worker'", "?4"));
static CLAIM: LazyLock<Claim> = LazyLock::new(|| {
    let (core, attempt) =
        ("total_attempt_count = total_attempt_count + 1,", "attempt_id = excluded.attempt_id,");
    Claim::of(CLAIMABLE, core, attempt)
});
static RETRYABLE: LazyLock<String> = LazyLock::new(|| format!("{CORE_HELD}{RETRY_LEFT}"));

/// Submits an execution in a state, given as SQL.
pub(super) fn submitted(
    eligibility_state: &str,
    blocking_reason: &str,
    claimable_since_ms: &str,
) -> String {
    SUBMIT
        .replace("{eligibility_state}", eligibility_state)
        .replace("{blocking_reason}", blocking_reason)
        .replace("{claimable_since_ms}", claimable_since_ms)
}

impl NewExecution {
    /// Inserts the execution by a form of [`SUBMIT`], into a flow if one is given.
    pub(super) fn insert(
        &self,
        transaction: &Transaction<'_>,
        submit: &str,
        flow: Option<&[u8; 16]>,
    ) -> rusqlite::Result<()> {
        let Self { partition, id, lane, payload, policy, raw_fields, now_ms, .. } = self;
        let core =
            params![partition, id.as_bytes(), lane, now_ms, payload, policy, raw_fields, flow];
        transaction.prepare_cached(submit)?.execute(core)?;
        transaction.prepare_cached(LANE)?.execute(params![lane, now_ms])?;

        let tag = params![id.to_string(), now_ms, partition, self.namespace, self.instance_tag];
        transaction.prepare_cached(TAG)?.execute(tag)?;
        Ok(())
    }
}

impl Held {
    /// Completes the execution, unless it is no longer the caller's.
    fn end(&self, transaction: &Transaction<'_>, now: TimestampMs) -> rusqlite::Result<bool> {
        let Self { partition, id, attempt_index, .. } = *self;
        let Some(repeated) = self.read(transaction, CORE_HELD, now)? else { return Ok(false) };

        let key = params![now.0, partition, id.as_bytes()];
        transaction.prepare_cached(END)?.execute(key)?;
        let key = params![now.0, partition, id.as_bytes(), attempt_index];
        transaction.prepare_cached(END_ATTEMPT)?.execute(key)?;

        let (flow, namespace) = (repeated.flow_id, repeated.namespace.as_deref());
        let tag = repeated.instance_tag.as_deref();
        let event = params![partition, id.as_bytes(), flow, namespace, tag, now.0];
        transaction.prepare_cached(COMPLETION)?.execute(event)?;
        self.record_end(transaction, &repeated, "completed", now)?;
        Ok(true)
    }

    /// Fails the execution, unless it is no longer the caller's or has no retry left.
    fn fail(
        &self,
        transaction: &Transaction<'_>,
        reason: &str,
        now: TimestampMs,
    ) -> rusqlite::Result<bool> {
        let Self { partition, id, attempt_index, epoch, .. } = *self;
        let Some(repeated) = self.read(transaction, &RETRYABLE, now)? else { return Ok(false) };

        let failure = params![now.0, partition, id.as_bytes(), attempt_index, reason];
        transaction.prepare_cached(AGAIN)?.execute(failure)?;
        transaction.prepare_cached(FAIL_ATTEMPT)?.execute(failure)?;
        let next = params![partition, id.as_bytes(), attempt_index, epoch];
        transaction.prepare_cached(NEXT_ATTEMPT)?.execute(next)?;
        self.record_end(transaction, &repeated, "failed", now)?;
        Ok(true)
    }
}

/// Nothing here waits for another task, so each future is ready at once. A load runs it on a thread
/// of its own.
impl ByHand for SqliteByHand {
    async fn submit(&mut self, batch: &[NewExecution]) -> Result<(), BenchError> {
        self.step(|begun| batch.iter().try_for_each(|new| new.insert(begun, &RUNNABLE, None)))
    }

    async fn claim(
        &mut self,
        terms: &Terms,
        limit: usize,
        now: TimestampMs,
    ) -> Result<Vec<Held>, BenchError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.step(|begun| {
            let mut statement = begun.prepare_cached(&CLAIM.pick)?;
            let rows = statement.query_map(params![terms.lane, now.0, limit], Picked::of)?;
            let picked = rows.collect::<Result<Vec<_>, _>>()?;
            picked.iter().map(|picked| picked.lease(begun, &CLAIM, terms, now)).collect()
        })
    }

    async fn complete(&mut self, held: &[Held], now: TimestampMs) -> Result<usize, BenchError> {
        self.step(|begun| {
            held.iter().try_fold(0, |ended, held| Ok(ended + usize::from(held.end(begun, now)?)))
        })
    }

    async fn retry(
        &mut self,
        held: &Held,
        reason: &str,
        now: TimestampMs,
    ) -> Result<bool, BenchError> {
        self.step(|begun| held.fail(begun, reason, now))
    }
}
