//! Grants that have lapsed.

use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::plan::facts::Row;
use crate::plan::{Expr, List, Predicate};
use crate::rules::grant::row::lapsed;
use crate::rules::key::ExecutionKey;
use crate::rules::scan::{Due, DueRow, Overdue};
use crate::schema::Direction::Ascending;
use crate::schema::execution::claim_grant;

impl Due {
    pub(super) fn of_grants(&self, now: TimestampMs) -> List {
        let (due, id) = (claim_grant::expires_at_ms, claim_grant::grant_id);
        let mut predicate = lapsed(now);
        if let Some(Overdue { row: DueRow::Grant(_, after), since: Some(since) }) = &self.after {
            let after = vec![due.with(*since), id.with(after.clone())];
            predicate = predicate.and(Predicate::After(after));
        }

        List {
            name: "grants that have lapsed".into(),
            table: claim_grant::REF,
            join: None,
            of_each: None,
            columns: vec![
                claim_grant::partition_key.column(),
                id.column(),
                claim_grant::execution_id.column(),
                due.column(),
            ],
            predicate,
            order: vec![(due.column(), Ascending), (id.column(), Ascending)],
            limit: Expr::int(i64::from(self.limit)),
        }
    }
}

pub(super) fn grant(row: &Row) -> Result<Overdue, EngineError> {
    let partition = row.read(claim_grant::partition_key)?;
    let key = ExecutionKey { partition, uuid: row.read(claim_grant::execution_id)? };
    let due = DueRow::Grant(key, row.read(claim_grant::grant_id)?);
    Ok(Overdue { row: due, since: Some(row.read(claim_grant::expires_at_ms)?) })
}
