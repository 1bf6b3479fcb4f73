//! The cells of rates that count no more.

use super::{Due, DueRow, Overdue};
use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::plan::facts::Row;
use crate::plan::{List, Predicate};
use crate::rules::limit::cell::CellRow;
use crate::rules::limit::key::LimitKey;
use crate::schema::limit::limit_cell;

impl Due {
    pub(super) fn of_limit_cells(&self, now: TimestampMs) -> List {
        let due = limit_cell::expires_at_ms;
        let (key, rate, cell) = (limit_cell::limit_key, limit_cell::rate, limit_cell::cell);
        let mut predicate = due.at_most(now.0);
        if let Some(Overdue { row: DueRow::LimitCell(row), since: Some(since) }) = &self.after {
            predicate = predicate.and(Predicate::After(vec![
                due.with(*since),
                key.with(row.key.text.clone()),
                rate.with(row.rate.clone()),
                cell.with(row.cell),
            ]));
        }
        let order = [due.column(), key.column(), rate.column(), cell.column()];
        self.rows_of("cells that count no more", limit_cell::REF, predicate, &order)
    }
}

pub(super) fn cell(row: &Row) -> Result<Overdue, EngineError> {
    let partition = row.read(limit_cell::partition_key)?;
    let key = LimitKey { partition, text: row.read(limit_cell::limit_key)? };
    let (rate, cell) = (row.read(limit_cell::rate)?, row.read(limit_cell::cell)?);
    let since = Some(row.read(limit_cell::expires_at_ms)?);
    Ok(Overdue { row: DueRow::LimitCell(CellRow { key, rate, cell }), since })
}
