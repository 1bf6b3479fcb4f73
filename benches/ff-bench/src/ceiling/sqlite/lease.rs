//! Leases: taken, held and ended.

use ff_core::types::TimestampMs;
use rusqlite::{OptionalExtension as _, Row, Transaction, params};
use uuid::Uuid;

use crate::ceiling::{Held, Terms};

/// The columns that [`Picked::of`] reads.
const PICK: &str = "
    SELECT partition_key, execution_id, attempt_index, attempt_timeout_ms,
           json_extract(raw_fields, '$.namespace'),
           json_extract(raw_fields, '$.tags.\"cairn.instance_id\"')
    FROM ff_exec_core WHERE {which}";

/// Takes the lease of an execution that was picked, and sets more columns.
const LEASE: &str = "
    UPDATE ff_exec_core
    SET lifecycle_phase = 'active', ownership_state = 'leased',
        eligibility_state = 'not_applicable', public_state = 'active',
        attempt_state = 'running_attempt', blocking_reason = NULL, version = version + 1,
        last_changed_at_ms = ?1, started_at_ms = COALESCE(started_at_ms, ?1), {core}
        granted_until_ms = NULL, eligible_at_ms = NULL
    WHERE partition_key = ?2 AND execution_id = ?3";

/// The attempt of that lease, which sets more columns where it goes on.
const ATTEMPT: &str = "
    INSERT INTO ff_attempt (partition_key, execution_id, attempt_index, worker_id,
        worker_instance_id, lease_epoch, lease_expires_at_ms, started_at_ms, lease_id, attempt_id,
        timeout_at_ms)
    VALUES (?1, ?2, ?3, ?4, ?5, 1, ?6, ?7, ?8, ?9, ?10)
    ON CONFLICT (partition_key, execution_id, attempt_index) DO UPDATE
    SET worker_id = excluded.worker_id, worker_instance_id = excluded.worker_instance_id,
        lease_epoch = lease_epoch + 1, lease_expires_at_ms = excluded.lease_expires_at_ms,
        started_at_ms = excluded.started_at_ms, lease_id = excluded.lease_id, {attempt}
        timeout_at_ms = excluded.timeout_at_ms,
        terminal_at_ms = NULL, outcome = NULL, failure_message = NULL, failure_class = NULL
    RETURNING lease_epoch, attempt_id";

const EVENT: &str = "
    INSERT INTO ff_lease_event (execution_id, lease_id, event_type, occurred_at_ms, partition_key,
        namespace, instance_tag, worker_id, worker_instance_id, cause)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";

pub(super) const CORE_HELD: &str = "
    SELECT flow_id, json_extract(raw_fields, '$.namespace'),
           json_extract(raw_fields, '$.tags.\"cairn.instance_id\"')
    FROM ff_exec_core
    WHERE partition_key = ?1 AND execution_id = ?2 AND ownership_state <> 'lease_revoked'
      AND lifecycle_phase = 'active' AND has_waitpoints = 0";

const ATTEMPT_HELD: &str = "
    SELECT worker_id, worker_instance_id FROM ff_attempt
    WHERE partition_key = ?1 AND execution_id = ?2 AND attempt_index = ?3 AND lease_epoch = ?4
      AND terminal_at_ms IS NULL AND lease_id = ?5 AND attempt_id = ?6
      AND lease_expires_at_ms > ?7";

/// The statements of a kind of claim.
pub(super) struct Claim {
    pub(super) pick: String,
    lease: String,
    attempt: String,
}

impl Claim {
    /// The claim of those executions, which sets more of their columns and of their attempts'.
    pub(super) fn of(which: &str, core: &str, attempt: &str) -> Self {
        Self {
            pick: PICK.replace("{which}", which),
            lease: LEASE.replace("{core}", core),
            attempt: ATTEMPT.replace("{attempt}", attempt),
        }
    }
}

/// A row that a claim takes.
pub(super) struct Picked {
    partition: i16,
    id: Uuid,
    attempt_index: i32,
    attempt_timeout_ms: Option<i64>,
    namespace: Option<String>,
    instance_tag: Option<String>,
}

impl Picked {
    pub(super) fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            partition: row.get(0)?,
            id: Uuid::from_bytes(row.get(1)?),
            attempt_index: row.get(2)?,
            attempt_timeout_ms: row.get(3)?,
            namespace: row.get(4)?,
            instance_tag: row.get(5)?,
        })
    }

    pub(super) fn lease(
        &self,
        transaction: &Transaction<'_>,
        claim: &Claim,
        terms: &Terms,
        now: TimestampMs,
    ) -> rusqlite::Result<Held> {
        let Self { partition, id, attempt_index, .. } = *self;
        let (lease_id, attempt_id) = (Uuid::new_v4(), Uuid::new_v4());
        let Terms { worker, instance, lease_ms, .. } = terms;

        let core = params![now.0, partition, id.as_bytes()];
        transaction.prepare_cached(&claim.lease)?.execute(core)?;

        let attempt = params![
            partition,
            id.as_bytes(),
            attempt_index,
            worker,
            instance,
            now.0 + lease_ms,
            now.0,
            lease_id.as_bytes(),
            attempt_id.as_bytes(),
            self.attempt_timeout_ms.map(|timeout| now.0 + timeout),
        ];
        let mut statement = transaction.prepare_cached(&claim.attempt)?;
        let read = |row: &Row<'_>| Ok((row.get(0)?, Uuid::from_bytes(row.get(1)?)));
        let (epoch, attempt_id) = statement.query_row(attempt, read)?;

        let event = params![
            id.to_string(),
            lease_id.to_string(),
            "acquired",
            now.0,
            partition,
            self.namespace,
            self.instance_tag,
            worker,
            instance,
            None::<&str>,
        ];
        transaction.prepare_cached(EVENT)?.execute(event)?;
        Ok(Held { partition, id, attempt_index, epoch, lease_id, attempt_id })
    }
}

/// The parts of a held execution's rows that its events repeat.
pub(super) struct Repeated {
    pub(super) flow_id: Option<[u8; 16]>,
    pub(super) namespace: Option<String>,
    pub(super) instance_tag: Option<String>,
    worker: Option<String>,
    instance: Option<String>,
}

impl Held {
    /// Reads the execution by a form of [`CORE_HELD`], unless it is no longer the caller's.
    pub(super) fn read(
        &self,
        transaction: &Transaction<'_>,
        core_held: &str,
        now: TimestampMs,
    ) -> rusqlite::Result<Option<Repeated>> {
        let Self { partition, id, attempt_index, epoch, lease_id, attempt_id } = *self;
        let key = params![partition, id.as_bytes()];
        let read = |row: &Row<'_>| {
            Ok(Repeated {
                flow_id: row.get(0)?,
                namespace: row.get(1)?,
                instance_tag: row.get(2)?,
                worker: None,
                instance: None,
            })
        };
        let mut statement = transaction.prepare_cached(core_held)?;
        let Some(core) = statement.query_row(key, read).optional()? else { return Ok(None) };

        let (lease, try_id) = (lease_id.as_bytes(), attempt_id.as_bytes());
        let fence = params![partition, id.as_bytes(), attempt_index, epoch, lease, try_id, now.0];
        let read =
            |row: &Row<'_>| Ok(Repeated { worker: row.get(0)?, instance: row.get(1)?, ..core });
        transaction.prepare_cached(ATTEMPT_HELD)?.query_row(fence, read).optional()
    }

    /// Records the end of the lease.
    pub(super) fn record_end(
        &self,
        transaction: &Transaction<'_>,
        repeated: &Repeated,
        cause: &str,
        now: TimestampMs,
    ) -> rusqlite::Result<()> {
        let event = params![
            self.id.to_string(),
            self.lease_id.to_string(),
            "revoked",
            now.0,
            self.partition,
            repeated.namespace,
            repeated.instance_tag,
            repeated.worker,
            repeated.instance,
            cause,
        ];
        transaction.prepare_cached(EVENT)?.execute(event)?;
        Ok(())
    }
}
