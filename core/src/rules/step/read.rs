//! Reading the steps of an execution, in their order.

use crate::contracts::{STEPS_MAX, StepRecord};
use crate::model::error::EngineError;
use crate::model::ids::{AttemptIndex, ExecutionId, LeaseEpoch, TimestampMs};
use crate::plan::facts::{Facts, Row};
use crate::plan::{Expr, List, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Transition};
use crate::rules::input::PAGE_MAX;
use crate::rules::key::ExecutionKey;
use crate::schema::Direction::Ascending;
use crate::schema::step::step;

/// Reads the steps of an execution behind a place.
#[derive(Clone, Copy, Debug)]
pub struct ReadSteps {
    key: ExecutionKey,
    from: i32,
    limit: usize,
}

impl ReadSteps {
    /// Up to so many steps behind that place, or from the first one on; at most 1,000.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for an id that no row can have.
    pub fn after(id: &ExecutionId, after: Option<u32>, limit: u32) -> Result<Self, EngineError> {
        let from = after.map_or(0, |after| after.saturating_add(1).min(STEPS_MAX));
        let limit = usize::try_from(limit).unwrap_or(PAGE_MAX).min(PAGE_MAX);
        let from = i32::try_from(from).unwrap_or(i32::MAX);
        Ok(Self { key: ExecutionKey::of(id)?, from, limit })
    }

    fn list(&self) -> List {
        List {
            name: "steps".into(),
            table: step::REF,
            join: None,
            of_each: None,
            columns: step::REF.columns.to_vec(),
            predicate: step::partition_key
                .equals(self.key.partition)
                .and(step::execution_id.equals(self.key.uuid))
                .and(step::position.above(self.from.saturating_sub(1))),
            order: vec![(step::position.column(), Ascending)],
            limit: Expr::int(i64::try_from(self.limit).unwrap_or(i64::MAX)),
        }
    }
}

impl Transition for ReadSteps {
    type Outcome = Vec<StepRecord>;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        if self.limit == 0 {
            return Ok(Step::Answer(Vec::new()));
        }
        let list = self.list();
        let Some(rows) = facts.list(&list) else {
            return Ok(Step::Read(vec![Query::List(list)]));
        };
        let steps = rows.iter().map(record_in).collect::<Result<_, _>>()?;
        Ok(Step::Answer(steps))
    }
}

/// The step of a row.
///
/// # Errors
/// `Validation(Corruption)` for a column of another type.
pub fn record_in(row: &Row) -> Result<StepRecord, EngineError> {
    Ok(StepRecord::new(
        row.read(step::position)?.unsigned_abs(),
        row.read(step::name)?,
        row.read(step::value)?,
        AttemptIndex(row.read(step::attempt_index)?.unsigned_abs()),
        LeaseEpoch(row.read(step::lease_epoch)?.unsigned_abs()),
        TimestampMs(row.read(step::recorded_at_ms)?),
    ))
}
