//! The idempotency keys that have expired.

use super::{Due, DueRow, Overdue};
use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::plan::facts::Row;
use crate::plan::{List, Predicate};
use crate::rules::execution::unique::KeyRow;
use crate::schema::execution::{idempotency_key, key_expires};

impl Due {
    pub(super) fn of_idempotency_keys(&self, now: TimestampMs) -> List {
        let (due, digest) = (idempotency_key::expires_at_ms, idempotency_key::key_digest);
        let mut predicate = key_expires().and(due.at_most(Some(now.0)));
        if let Some(Overdue { row: DueRow::IdempotencyKey(key), since }) = &self.after {
            let after = vec![due.with(*since), digest.with(key.digest.clone())];
            predicate = predicate.and(Predicate::After(after));
        }
        let order = [due.column(), digest.column()];
        self.rows_of("expired idempotency keys", idempotency_key::REF, predicate, &order)
    }
}

pub(super) fn idempotency_key(row: &Row) -> Result<Overdue, EngineError> {
    let partition = row.read(idempotency_key::partition_key)?;
    let key = KeyRow { partition, digest: row.read(idempotency_key::key_digest)? };
    let since = row.read(idempotency_key::expires_at_ms)?;
    Ok(Overdue { row: DueRow::IdempotencyKey(key), since })
}
