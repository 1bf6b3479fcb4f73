//! The cells of rates that count no more.

use super::{Due, DueRow, Overdue};
use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::plan::facts::Row;
use crate::plan::{List, Predicate};
use crate::rules::limit::cell::Cell;
use crate::schema::limit::limit_cell;

impl Due {
    pub(super) fn of_limit_cells(&self, now: TimestampMs) -> List {
        let due = limit_cell::expires_at_ms;
        let (key, rate, cell) = (limit_cell::limit_key, limit_cell::rate, limit_cell::cell);
        let mut predicate = due.at_most(now.0);
        if let Some(Overdue { row: DueRow::LimitCell(last), .. }) = &self.after {
            predicate = predicate.and(Predicate::After(vec![
                due.with(last.expires_at.0),
                key.with(last.key.text.clone()),
                rate.with(last.rate.clone()),
                cell.with(last.number),
            ]));
        }
        let order = [due.column(), key.column(), rate.column(), cell.column()];
        self.rows_of("cells that count no more", limit_cell::REF, predicate, &order)
    }
}

pub(super) fn cell(row: &Row) -> Result<Overdue, EngineError> {
    let cell = Cell::read(row)?;
    let since = Some(cell.expires_at.0);
    Ok(Overdue { row: DueRow::LimitCell(cell), since })
}
