//! A life on SQLite in raw prepared statements, on one connection in the caller's thread, every
//! commit flushed.
//!
//! SQL over the schema's tables is otherwise generated; see [`super`] for the reason to write it by
//! hand here. Columns are named, so a column with a default may be added without a change here.

use std::path::Path;
use std::time::Duration;

use ff_core::types::TimestampMs;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior, params};
use uuid::Uuid;

use super::{ByHand, Held, NewExecution, Terms};
use crate::error::BenchError;

/// The rows that a claim may take, and their order. The only place that knows the claim's index.
const CLAIMABLE: &str = "
    lane_id = ?1
      AND lifecycle_phase IN ('submitted', 'runnable', 'pending', 'eligible', 'blocked')
      AND eligibility_state IN ('eligible_now', 'pending_claim')
      AND (granted_until_ms IS NULL OR granted_until_ms <= ?2)
      AND required_capabilities = '[]'
    ORDER BY priority DESC, claimable_since_ms, created_at_ms, execution_id";

const PICK: &str = "
    SELECT partition_key, execution_id, attempt_index, attempt_timeout_ms,
           json_extract(raw_fields, '$.namespace'),
           json_extract(raw_fields, '$.tags.\"cairn.instance_id\"')
    FROM ff_exec_core WHERE {claimable} LIMIT ?3";

const LEASE: &str = "
    UPDATE ff_exec_core
    SET lifecycle_phase = 'active', ownership_state = 'leased',
        eligibility_state = 'not_applicable', public_state = 'active',
        attempt_state = 'running_attempt', blocking_reason = NULL, version = version + 1,
        last_changed_at_ms = ?1, started_at_ms = COALESCE(started_at_ms, ?1),
        total_attempt_count = total_attempt_count + 1, granted_until_ms = NULL,
        eligible_at_ms = NULL
    WHERE partition_key = ?2 AND execution_id = ?3";

const ATTEMPT: &str = "
    INSERT INTO ff_attempt (partition_key, execution_id, attempt_index, worker_id,
        worker_instance_id, lease_epoch, lease_expires_at_ms, started_at_ms, lease_id, attempt_id,
        timeout_at_ms)
    VALUES (?1, ?2, ?3, ?4, ?5, 1, ?6, ?7, ?8, ?9, ?10)
    ON CONFLICT (partition_key, execution_id, attempt_index) DO UPDATE
    SET worker_id = excluded.worker_id, worker_instance_id = excluded.worker_instance_id,
        lease_epoch = lease_epoch + 1, lease_expires_at_ms = excluded.lease_expires_at_ms,
        started_at_ms = excluded.started_at_ms, lease_id = excluded.lease_id,
        attempt_id = excluded.attempt_id, timeout_at_ms = excluded.timeout_at_ms,
        terminal_at_ms = NULL, outcome = NULL, failure_message = NULL, failure_class = NULL
    RETURNING lease_epoch";

const LEASE_EVENT: &str = "
    INSERT INTO ff_lease_event (execution_id, lease_id, event_type, occurred_at_ms, partition_key,
        namespace, instance_tag, worker_id, worker_instance_id, cause)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";

const CORE_HELD: &str = "
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

const SUBMIT: &str = "
    INSERT INTO ff_exec_core (partition_key, execution_id, lane_id, required_capabilities, priority,
        created_at_ms, payload, raw_fields, has_waitpoints, lifecycle_phase, ownership_state,
        eligibility_state, public_state, attempt_state, blocking_reason, claimable_since_ms,
        last_changed_at_ms)
    VALUES (?1, ?2, ?3, '[]', 0, ?4, ?5, ?6, 0, 'runnable', 'unowned', 'eligible_now', 'waiting',
        'pending_first_attempt', 'waiting_for_worker', ?4, ?4)
    ON CONFLICT DO NOTHING";

const LANE: &str = "
    INSERT INTO ff_lane_registry (lane_id, registered_at_ms, registered_by)
    VALUES (?1, ?2, 'create_execution') ON CONFLICT DO NOTHING";

const TAG: &str = "
    INSERT INTO ff_instance_tag_event (execution_id, event_type, occurred_at_ms, partition_key,
        namespace, instance_tag)
    VALUES (?1, 'attached', ?2, ?3, ?4, ?5)";

/// The settings of the engine's writer.
const SETTINGS: [(&str, &str); 6] = [
    ("journal_mode", "WAL"),
    ("synchronous", "FULL"),
    ("journal_size_limit", "67108864"),
    ("wal_autocheckpoint", "8000"),
    ("cache_size", "-65536"),
    ("temp_store", "MEMORY"),
];

/// More than there are statements.
const PREPARED: usize = 32;

/// The connection and its statements.
#[derive(Debug)]
pub struct SqliteByHand {
    connection: Connection,
    pick: String,
}

impl SqliteByHand {
    /// Opens the file.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn open(file: &Path) -> Result<Self, BenchError> {
        let connection = Connection::open(file)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.set_prepared_statement_cache_capacity(PREPARED);
        for (name, value) in SETTINGS {
            connection.pragma_update(None, name, value)?;
        }
        // Otherwise a claim is planned anew whenever it is bound again, as in the engine.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        Ok(Self { connection, pick: PICK.replace("{claimable}", CLAIMABLE) })
    }

    fn begin(&mut self) -> Result<Transaction<'_>, BenchError> {
        Ok(self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?)
    }

    fn submit_now(&mut self, batch: &[NewExecution]) -> Result<(), BenchError> {
        let transaction = self.begin()?;
        for new in batch {
            let NewExecution { partition, id, lane, payload, raw_fields, now_ms, .. } = new;
            let core = params![partition, id.as_bytes(), lane, now_ms, payload, raw_fields];
            transaction.prepare_cached(SUBMIT)?.execute(core)?;
            transaction.prepare_cached(LANE)?.execute(params![lane, now_ms])?;

            let tag = params![id.to_string(), now_ms, partition, new.namespace, new.instance_tag];
            transaction.prepare_cached(TAG)?.execute(tag)?;
        }
        Ok(transaction.commit()?)
    }

    fn claim_now(
        &mut self,
        terms: &Terms,
        limit: usize,
        now: TimestampMs,
    ) -> Result<Vec<Held>, BenchError> {
        let (pick, limit) = (self.pick.clone(), i64::try_from(limit).unwrap_or(i64::MAX));
        let transaction = self.begin()?;
        let picked = {
            let mut statement = transaction.prepare_cached(&pick)?;
            let rows = statement.query_map(params![terms.lane, now.0, limit], Picked::of)?;
            rows.collect::<Result<Vec<_>, _>>()?
        };

        let leased = picked.iter().map(|picked| picked.lease(&transaction, terms, now));
        let held = leased.collect::<Result<_, _>>()?;
        transaction.commit()?;
        Ok(held)
    }

    fn complete_now(&mut self, held: &[Held], now: TimestampMs) -> Result<usize, BenchError> {
        let transaction = self.begin()?;
        let mut ended = 0;
        for held in held {
            ended += usize::from(held.end(&transaction, now)?);
        }
        transaction.commit()?;
        Ok(ended)
    }
}

/// A row that a claim takes.
struct Picked {
    partition: i16,
    id: Uuid,
    attempt_index: i32,
    attempt_timeout_ms: Option<i64>,
    namespace: Option<String>,
    instance_tag: Option<String>,
}

impl Picked {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            partition: row.get(0)?,
            id: Uuid::from_bytes(row.get(1)?),
            attempt_index: row.get(2)?,
            attempt_timeout_ms: row.get(3)?,
            namespace: row.get(4)?,
            instance_tag: row.get(5)?,
        })
    }

    fn lease(
        &self,
        transaction: &Transaction<'_>,
        terms: &Terms,
        now: TimestampMs,
    ) -> rusqlite::Result<Held> {
        let Self { partition, id, attempt_index, .. } = *self;
        let (lease_id, attempt_id) = (Uuid::new_v4(), Uuid::new_v4());
        let Terms { worker, instance, lease_ms, .. } = terms;

        let core = params![now.0, partition, id.as_bytes()];
        transaction.prepare_cached(LEASE)?.execute(core)?;

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
        let mut statement = transaction.prepare_cached(ATTEMPT)?;
        let epoch = statement.query_row(attempt, |row| row.get(0))?;

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
        transaction.prepare_cached(LEASE_EVENT)?.execute(event)?;
        Ok(Held { partition, id, attempt_index, epoch, lease_id, attempt_id })
    }
}

/// The parts of an execution's row that its events repeat.
type Repeated = (Option<[u8; 16]>, Option<String>, Option<String>);

impl Held {
    /// Ends the execution, unless it is no longer the caller's.
    fn end(&self, transaction: &Transaction<'_>, now: TimestampMs) -> rusqlite::Result<bool> {
        let Self { partition, id, attempt_index, epoch, lease_id, attempt_id } = *self;
        let key = params![partition, id.as_bytes()];
        let mut statement = transaction.prepare_cached(CORE_HELD)?;
        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let core: Option<Repeated> = statement.query_row(key, read).optional()?;
        let Some((flow_id, namespace, instance_tag)) = core else { return Ok(false) };

        let (lease, try_id) = (lease_id.as_bytes(), attempt_id.as_bytes());
        let fence = params![partition, id.as_bytes(), attempt_index, epoch, lease, try_id, now.0];
        let mut statement = transaction.prepare_cached(ATTEMPT_HELD)?;
        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let attempt: Option<(Option<String>, Option<String>)> =
            statement.query_row(fence, read).optional()?;
        let Some((worker, instance)) = attempt else { return Ok(false) };

        let key = params![now.0, partition, id.as_bytes()];
        transaction.prepare_cached(END)?.execute(key)?;
        let key = params![now.0, partition, id.as_bytes(), attempt_index];
        transaction.prepare_cached(END_ATTEMPT)?.execute(key)?;

        let event = params![partition, id.as_bytes(), flow_id, namespace, instance_tag, now.0];
        transaction.prepare_cached(COMPLETION)?.execute(event)?;
        let event = params![
            id.to_string(),
            lease_id.to_string(),
            "revoked",
            now.0,
            partition,
            namespace,
            instance_tag,
            worker,
            instance,
            "completed",
        ];
        transaction.prepare_cached(LEASE_EVENT)?.execute(event)?;
        Ok(true)
    }
}

/// Nothing here waits for another task, so each future is ready at once. A load runs it on a thread
/// of its own.
impl ByHand for SqliteByHand {
    async fn submit(&mut self, batch: &[NewExecution]) -> Result<(), BenchError> {
        self.submit_now(batch)
    }

    async fn claim(
        &mut self,
        terms: &Terms,
        limit: usize,
        now: TimestampMs,
    ) -> Result<Vec<Held>, BenchError> {
        self.claim_now(terms, limit, now)
    }

    async fn complete(&mut self, held: &[Held], now: TimestampMs) -> Result<usize, BenchError> {
        self.complete_now(held, now)
    }
}
