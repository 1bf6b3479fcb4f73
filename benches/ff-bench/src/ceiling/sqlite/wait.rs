//! A wait: suspended, signalled, claimed again.

use std::sync::LazyLock;

use ff_core::types::{ExecutionId, TimestampMs};
use rusqlite::{OptionalExtension as _, Row, Transaction, params};

use super::SqliteByHand;
use super::lease::{CORE_HELD, Claim, Picked};
use crate::ceiling::{Held, NewSignal, NewWait, Terms, WaitByHand};
use crate::error::BenchError;
use crate::wait::{KID, SIGNAL};

const SUSPEND: &str = "
    UPDATE ff_exec_core
    SET lifecycle_phase = 'suspended', ownership_state = 'unowned',
        eligibility_state = 'not_applicable', public_state = 'suspended',
        attempt_state = 'attempt_interrupted', blocking_reason = 'waiting_for_signal',
        version = version + 1, last_changed_at_ms = ?1, has_waitpoints = 1,
        raw_fields = json_set(raw_fields, '$.current_suspension_id', ?4,
          '$.current_waitpoint_id', ?5)
    WHERE partition_key = ?2 AND execution_id = ?3";

const LEAVE_ATTEMPT: &str = "
    UPDATE ff_attempt
    SET worker_instance_id = NULL, lease_expires_at_ms = NULL, timeout_at_ms = NULL,
        outcome = 'attempt_interrupted', lease_epoch = lease_epoch + 1
    WHERE partition_key = ?1 AND execution_id = ?2 AND attempt_index = ?3";

const SUSPENSION: &str = "
    INSERT INTO ff_suspension_current (partition_key, execution_id, suspension_id, suspended_at_ms,
        reason_code, condition, satisfied_set, member_map, timeout_behavior, resume_policy,
        requested_by, version)
    VALUES (?1, ?2, ?3, ?4, 'waiting_for_signal', ?5, '[]', '{}', 'fail', ?6, 'worker', 1)
    ON CONFLICT (partition_key, execution_id) DO UPDATE
    SET suspension_id = excluded.suspension_id, suspended_at_ms = excluded.suspended_at_ms,
        timeout_at_ms = NULL, reason_code = excluded.reason_code, condition = excluded.condition,
        satisfied_set = excluded.satisfied_set, member_map = excluded.member_map,
        timeout_behavior = excluded.timeout_behavior, resume_policy = excluded.resume_policy,
        requested_by = excluded.requested_by, continuation_metadata_pointer = NULL, raises = NULL,
        version = version + 1";

const WAITPOINT: &str = "
    INSERT INTO ff_waitpoint_pending (partition_key, waitpoint_id, execution_id, token_kid, token,
        created_at_ms, waitpoint_key, state, required_signal_names, activated_at_ms, suspension_id)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'active', json_array(?7), ?6, ?8)";

/// The condition asks for one signal, so one of its name fulfils it.
const WAITING: &str = "
    SELECT w.waitpoint_key, json_extract(core.raw_fields, '$.namespace'),
           json_extract(core.raw_fields, '$.tags.\"cairn.instance_id\"')
    FROM ff_waitpoint_pending AS w
    JOIN ff_exec_core AS core
      ON core.partition_key = w.partition_key AND core.execution_id = w.execution_id
    WHERE w.partition_key = ?1 AND w.waitpoint_id = ?2 AND w.execution_id = ?5 AND w.token = ?3
      AND w.state = 'active' AND w.required_signal_names = json_array(?4)
      AND core.lifecycle_phase = 'suspended'";

const RESUME: &str = "
    UPDATE ff_exec_core
    SET lifecycle_phase = 'runnable', ownership_state = 'unowned',
        eligibility_state = 'eligible_now', public_state = 'resumable',
        attempt_state = 'attempt_interrupted', blocking_reason = 'waiting_for_worker',
        claimable_since_ms = ?1, version = version + 1, last_changed_at_ms = ?1,
        eligible_at_ms = NULL, has_waitpoints = 0,
        raw_fields = json_set(raw_fields, '$.current_suspension_id', '',
          '$.current_waitpoint_id', '')
    WHERE partition_key = ?2 AND execution_id = ?3";

const COLLECT: &str = "
    UPDATE ff_suspension_current
    SET timeout_at_ms = NULL, version = version + 1, signal_count = signal_count + 1,
        member_map = json_set(member_map, '$.\"' || ?3 || '\"', json_insert(
          COALESCE(json_extract(member_map, '$.\"' || ?3 || '\"'), '[]'), '$[#]', json(?4)))
    WHERE partition_key = ?1 AND execution_id = ?2";

const CLOSE: &str = "
    DELETE FROM ff_waitpoint_pending WHERE partition_key = ?1 AND execution_id = ?2";

const RESUMABLE: &str = "
    INSERT INTO ff_completion_event (partition_key, execution_id, outcome, namespace, instance_tag,
        occurred_at_ms)
    VALUES (?1, ?2, 'resumable', ?3, ?4, ?5)";

const EVENT: &str = "
    INSERT INTO ff_signal_event (execution_id, signal_id, waitpoint_id, source_identity,
        delivered_at_ms, partition_key, namespace, instance_tag, effect)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'satisfied')";

/// The execution that may go on.
const GOING_ON: &str = "
    partition_key = ?1 AND execution_id = ?2 AND public_state = 'resumable'
      AND lifecycle_phase = 'runnable'";

// It is the same attempt that goes on.
static CLAIM_RESUMED: LazyLock<Claim> = LazyLock::new(|| Claim::of(GOING_ON, "", ""));

impl Held {
    /// Suspends the execution, unless it is no longer the caller's.
    fn begin(
        &self,
        transaction: &Transaction<'_>,
        wait: &NewWait,
        now: TimestampMs,
    ) -> rusqlite::Result<bool> {
        let Self { partition, id, attempt_index, .. } = *self;
        let Some(repeated) = self.read(transaction, CORE_HELD, now)? else { return Ok(false) };

        let (suspension, waitpoint) = (wait.suspension.to_string(), wait.waitpoint.to_string());
        let core = params![now.0, partition, id.as_bytes(), suspension, waitpoint];
        transaction.prepare_cached(SUSPEND)?.execute(core)?;
        let attempt = params![partition, id.as_bytes(), attempt_index];
        transaction.prepare_cached(LEAVE_ATTEMPT)?.execute(attempt)?;

        let suspension = wait.suspension.as_bytes();
        let (condition, policy) = (&wait.condition, &wait.resume_policy);
        let row = params![partition, id.as_bytes(), suspension, now.0, condition, policy];
        transaction.prepare_cached(SUSPENSION)?.execute(row)?;
        let row = params![
            partition,
            wait.waitpoint.as_bytes(),
            id.as_bytes(),
            KID,
            wait.token,
            now.0,
            SIGNAL,
            suspension,
        ];
        transaction.prepare_cached(WAITPOINT)?.execute(row)?;

        self.record_end(transaction, &repeated, "suspended", now)?;
        Ok(true)
    }
}

/// The key of a waitpoint, and the parts of its execution's row that events repeat.
type Waiting = (String, Option<String>, Option<String>);

impl NewSignal {
    /// Ends the wait, if one is left that this signal fulfils.
    fn deliver(&self, transaction: &Transaction<'_>) -> rusqlite::Result<bool> {
        let Self { partition, now_ms, .. } = *self;
        let (id, waitpoint) = (self.execution.as_bytes(), self.waitpoint.as_bytes());
        let signalled = params![partition, waitpoint, self.token, self.name, id];
        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let mut statement = transaction.prepare_cached(WAITING)?;
        let waiting: Option<Waiting> = statement.query_row(signalled, read).optional()?;
        let Some((key, namespace, instance_tag)) = waiting else { return Ok(false) };

        transaction.prepare_cached(RESUME)?.execute(params![now_ms, partition, id])?;
        transaction.prepare_cached(COLLECT)?.execute(params![partition, id, key, self.kept])?;
        transaction.prepare_cached(CLOSE)?.execute(params![partition, id])?;

        let event = params![partition, id, namespace, instance_tag, now_ms];
        transaction.prepare_cached(RESUMABLE)?.execute(event)?;
        let event = params![
            self.execution.to_string(),
            self.id.to_string(),
            self.waitpoint.to_string(),
            self.source_identity,
            now_ms,
            partition,
            namespace,
            instance_tag,
        ];
        transaction.prepare_cached(EVENT)?.execute(event)?;
        Ok(true)
    }
}

impl WaitByHand for SqliteByHand {
    async fn suspend(
        &mut self,
        held: &Held,
        wait: &NewWait,
        now: TimestampMs,
    ) -> Result<bool, BenchError> {
        self.step(|begun| held.begin(begun, wait, now))
    }

    async fn signal(&mut self, signal: &NewSignal) -> Result<bool, BenchError> {
        self.step(|begun| signal.deliver(begun))
    }

    async fn claim_resumed(
        &mut self,
        execution: &ExecutionId,
        terms: &Terms,
        now: TimestampMs,
    ) -> Result<Option<Held>, BenchError> {
        let (partition, id) = (execution.partition(), execution.uuid());
        self.step(|begun| {
            let mut statement = begun.prepare_cached(&CLAIM_RESUMED.pick)?;
            let key = params![partition, id.as_bytes()];
            let picked = statement.query_row(key, Picked::of).optional()?;
            picked.map(|picked| picked.lease(begun, &CLAIM_RESUMED, terms, now)).transpose()
        })
    }
}
