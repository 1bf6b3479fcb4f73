//! The ends of members, applied to the edges from them, all in one transaction.

use ff_core::types::TimestampMs;
use rusqlite::{OptionalExtension as _, Row, Transaction, params};
use uuid::Uuid;

const PICK: &str = "
    SELECT partition_key, event_id, execution_id, flow_id FROM ff_completion_event
    WHERE dispatched_at_ms IS NULL AND flow_id IS NOT NULL AND outcome = 'success'
    ORDER BY event_id LIMIT ?1";

const DONE: &str = "
    UPDATE ff_completion_event SET dispatched_at_ms = ?3
    WHERE partition_key = ?1 AND event_id = ?2";

const HOP: &str = "
    UPDATE ff_edge
    SET upstream_outcome = 'success', upstream_event_id = ?4, version = version + 1
    WHERE partition_key = ?1 AND flow_id = ?2 AND upstream_eid = ?3 AND upstream_event_id IS NULL
    RETURNING downstream_eid";

const COUNT: &str = "
    UPDATE ff_edge_group
    SET success_count = success_count + 1, running_count = running_count - 1,
        version = version + 1
    WHERE partition_key = ?1 AND flow_id = ?2 AND downstream_eid = ?3
    RETURNING k_target <= success_count";

const RELEASE: &str = "
    UPDATE ff_exec_core
    SET lifecycle_phase = 'runnable', ownership_state = 'unowned',
        eligibility_state = 'eligible_now', public_state = 'waiting',
        blocking_reason = 'waiting_for_worker', claimable_since_ms = ?3, version = version + 1,
        last_changed_at_ms = ?3
    WHERE partition_key = ?1 AND execution_id = ?2
      AND eligibility_state = 'blocked_by_dependencies'";

const GOING_ON: &str = "
    SELECT 1 FROM ff_exec_core
    WHERE partition_key = ?1 AND flow_id = ?2 AND lifecycle_phase NOT IN ('terminal', 'cancelled')
    LIMIT 1";

const END: &str = "
    UPDATE ff_flow_core
    SET public_flow_state = 'completed', terminal_at_ms = COALESCE(terminal_at_ms, ?3),
        raw_fields = json_set(raw_fields, '$.ended_by', 'members'), version = version + 1
    WHERE partition_key = ?1 AND flow_id = ?2
      AND public_flow_state NOT IN ('completed', 'failed', 'terminal', 'cancelled')
    RETURNING json_extract(raw_fields, '$.namespace')";

const ENDED: &str = "
    INSERT INTO ff_operator_event (execution_id, event_type, details, occurred_at_ms,
        partition_key, namespace)
    VALUES (?1, 'flow_ended', json_object('flow_id', ?1, 'public_flow_state', 'completed'), ?2, ?3,
        ?4)";

/// The good end of a member.
struct Event {
    partition: i16,
    id: i64,
    upstream: [u8; 16],
    flow: [u8; 16],
}

/// Dispatches up to `limit` events, oldest first. Returns their number.
pub(super) fn dispatch_events(
    transaction: &Transaction<'_>,
    limit: u32,
    now: TimestampMs,
) -> rusqlite::Result<u64> {
    let mut statement = transaction.prepare_cached(PICK)?;
    let events = statement.query_map(params![limit], Event::of)?.collect::<Result<Vec<_>, _>>()?;
    for event in &events {
        if !event.hop(transaction, now)? {
            event.end_flow(transaction, now)?;
        }
        let done = params![event.partition, event.id, now.0];
        transaction.prepare_cached(DONE)?.execute(done)?;
    }
    Ok(events.len() as u64)
}

impl Event {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            partition: row.get(0)?,
            id: row.get(1)?,
            upstream: row.get(2)?,
            flow: row.get(3)?,
        })
    }

    /// Applies the end to each edge. Returns true if there is one.
    fn hop(&self, transaction: &Transaction<'_>, now: TimestampMs) -> rusqlite::Result<bool> {
        let Self { partition, id, upstream, flow } = self;
        let mut statement = transaction.prepare_cached(HOP)?;
        let edges = params![partition, flow, upstream, id];
        let downstream = statement
            .query_map(edges, |row| row.get::<_, [u8; 16]>(0))?
            .collect::<Result<Vec<_>, _>>()?;

        for waiting in &downstream {
            let mut statement = transaction.prepare_cached(COUNT)?;
            let group = params![partition, flow, waiting];
            if statement.query_row(group, |row| row.get(0))? {
                let core = params![partition, waiting, now.0];
                transaction.prepare_cached(RELEASE)?.execute(core)?;
            }
        }
        Ok(!downstream.is_empty())
    }

    /// Ends the flow, if no member goes on.
    fn end_flow(&self, transaction: &Transaction<'_>, now: TimestampMs) -> rusqlite::Result<()> {
        let Self { partition, flow, .. } = self;
        if transaction.prepare_cached(GOING_ON)?.exists(params![partition, flow])? {
            return Ok(());
        }

        let mut statement = transaction.prepare_cached(END)?;
        let over = params![partition, flow, now.0];
        let ended = statement.query_row(over, |row| row.get::<_, Option<String>>(0)).optional()?;
        if let Some(namespace) = ended {
            let event = params![Uuid::from_bytes(*flow).to_string(), now.0, partition, namespace];
            transaction.prepare_cached(ENDED)?.execute(event)?;
        }
        Ok(())
    }
}
