//! The schedules with something to do.

use super::{Due, DueRow, Overdue};
use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::plan::facts::Row;
use crate::plan::{Expr, List, Predicate};
use crate::rules::schedule::key::ScheduleKey;
use crate::schema::Direction::Ascending;
use crate::schema::schedule::{awaits_tick, schedule};

impl Due {
    /// The schedules with a tick that is due, along their partial index: others cost nothing.
    pub(super) fn of_schedules(&self, now: TimestampMs) -> List {
        let due = schedule::due_at_ms;
        let (namespace, name) = (schedule::namespace, schedule::name);

        let mut predicate = awaits_tick().and(due.at_most(Some(now.0)));
        if let Some(Overdue { row: DueRow::Schedule(key), since }) = &self.after {
            predicate = predicate.and(Predicate::After(vec![
                due.with(*since),
                namespace.with(key.namespace.clone()),
                name.with(key.name.clone()),
            ]));
        }

        List {
            name: "schedules that are due".into(),
            table: schedule::REF,
            join: None,
            of_each: None,
            columns: vec![
                schedule::partition_key.column(),
                namespace.column(),
                name.column(),
                due.column(),
            ],
            predicate,
            order: vec![
                (due.column(), Ascending),
                (namespace.column(), Ascending),
                (name.column(), Ascending),
            ],
            limit: Expr::int(i64::from(self.limit)),
        }
    }
}

pub(super) fn schedule(row: &Row) -> Result<Overdue, EngineError> {
    let since = row.read(schedule::due_at_ms)?;
    Ok(Overdue { row: DueRow::Schedule(ScheduleKey::read(row)?), since })
}
