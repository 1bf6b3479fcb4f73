//! Cells: how a rate bounds the starts in a time.
//!
//! A rate of n in a time t divides time into cells of length t / n. A start takes the first cell
//! behind all that are taken, but none that lies further back than the burst, and none that has not
//! begun. That is a token bucket: an idle key collects as many cells as the burst allows, and then
//! one becomes free every t / n.

use std::fmt;

use crate::contracts::{LIMIT_BURST_MAX, LIMIT_RATE_MAX, RateLimit};
use crate::model::error::{EngineError, ValidationKind};
use crate::model::ids::TimestampMs;
use crate::plan::facts::Row;
use crate::plan::{Expr, Lookup, Mutation};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Verdict};
use crate::rules::input;
use crate::rules::limit::key::LimitKey;
use crate::rules::premise::{Condition, Premise, answer, lookup};
use crate::schema::ColumnRef;
use crate::schema::limit::{limit, limit_cell};

/// The longest time that a rate counts in, ms: a year.
const PER_MAX_MS: u64 = 366 * 86_400_000;

/// A rate within its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate {
    // Invariant: 1 <= count, 1 <= per_ms, 1 <= burst, and none above its bound.
    count: i64,
    per_ms: i64,
    burst: i64,
}

impl fmt::Display for Rate {
    /// The form that numbers the cells: `<count>/<ms>`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.per_ms)
    }
}

impl Rate {
    /// Checks a rate that a caller gave.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field that is out of its bounds.
    pub fn new(rate: &RateLimit) -> Result<Self, EngineError> {
        let burst = rate.burst_or_default();
        bounded("rate.count", u64::from(rate.count), u64::from(LIMIT_RATE_MAX))?;
        bounded("rate.per_ms", rate.per_ms, PER_MAX_MS)?;
        bounded("rate.burst", u64::from(burst), u64::from(LIMIT_BURST_MAX))?;
        let per_ms = i64::try_from(rate.per_ms).unwrap_or(i64::MAX);
        Ok(Self { count: i64::from(rate.count), per_ms, burst: i64::from(burst) })
    }

    /// The rate of a stored limit, if it has one.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a rate out of its bounds.
    pub fn stored(row: &Row) -> Result<Option<Self>, EngineError> {
        let Some(rate) = rate_in(row)? else { return Ok(None) };
        let corrupt = |error| EngineError::Validation {
            kind: ValidationKind::Corruption,
            detail: format!("ff_limit: {error}"),
        };
        Self::new(&rate).map(Some).map_err(corrupt)
    }

    /// The cells that a start of that weight takes, at that time, behind the last one taken; `None`
    /// while one of them lies ahead. A weight above the burst counts as the burst.
    #[must_use]
    pub fn take(&self, weight: u32, last: Option<i64>, at: TimestampMs) -> Option<Vec<i64>> {
        let (first, behind) = self.range(weight, last, at);
        (behind <= self.cell_at(at).saturating_add(1)).then(|| (first..behind).collect())
    }

    /// The time from which a start of that weight is possible; `None` for now.
    #[must_use]
    pub fn next_start(
        &self,
        weight: u32,
        last: Option<i64>,
        at: TimestampMs,
    ) -> Option<TimestampMs> {
        let (_, behind) = self.range(weight, last, at);
        let begins = self.begin_of(behind.saturating_sub(1));
        (at < begins).then_some(begins)
    }

    /// The time from which a cell bounds no start any more.
    #[must_use]
    pub fn expiry(&self, cell: i64) -> TimestampMs {
        self.begin_of(cell.saturating_add(self.burst))
    }

    /// The first cell that such a start takes, and the one behind the last.
    fn range(&self, weight: u32, last: Option<i64>, at: TimestampMs) -> (i64, i64) {
        let furthest_back = self.cell_at(at).saturating_sub(self.burst).saturating_add(1);
        let behind_last = last.map_or(furthest_back, |last| last.saturating_add(1));
        let first = furthest_back.max(behind_last);
        (first, first.saturating_add(i64::from(weight).clamp(1, self.burst)))
    }

    fn cell_at(&self, at: TimestampMs) -> i64 {
        let cell = (i128::from(at.0) * i128::from(self.count)).div_euclid(i128::from(self.per_ms));
        i64::try_from(cell).unwrap_or(i64::MAX)
    }

    fn begin_of(&self, cell: i64) -> TimestampMs {
        let scaled = i128::from(cell) * i128::from(self.per_ms);
        let count = i128::from(self.count);
        let begin = scaled.div_euclid(count) + i128::from(scaled.rem_euclid(count) != 0);
        TimestampMs(i64::try_from(begin).unwrap_or(i64::MAX))
    }
}

/// The rate that a stored limit states, as it states it.
///
/// # Errors
/// `Validation(Corruption)` for a number out of its range.
pub fn rate_in(row: &Row) -> Result<Option<RateLimit>, EngineError> {
    let (count, per_ms) = (row.read(limit::rate_count)?, row.read(limit::rate_per_ms)?);
    let Some((count, per_ms)) = count.zip(per_ms) else { return Ok(None) };
    let rate = RateLimit::new(number("rate_count", count)?, per_ms.max(0).unsigned_abs());
    let burst = row.read(limit::rate_burst)?;
    let burst = burst.map(|burst| number("rate_burst", burst)).transpose()?;
    Ok(Some(RateLimit { burst, ..rate }))
}

/// A stored number that callers see as one of 32 bits.
///
/// # Errors
/// `Validation(Corruption)` naming the column.
pub fn number(column: &str, stored: i64) -> Result<u32, EngineError> {
    u32::try_from(stored).map_err(|_| EngineError::Validation {
        kind: ValidationKind::Corruption,
        detail: format!("ff_limit.{column}: {stored} is out of range"),
    })
}

fn bounded(field: &str, value: u64, most: u64) -> Result<(), EngineError> {
    if 1 <= value && value <= most {
        return Ok(());
    }
    Err(input::invalid(format!("{field}: must be between 1 and {most}, got {value}")))
}

/// A cell that the start of an execution takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The key.
    pub key: LimitKey,
    /// The rate that numbers it.
    pub rate: String,
    /// Its number.
    pub number: i64,
    /// The time from which it counts no more.
    pub expires_at: TimestampMs,
}

impl Cell {
    /// The stored cell.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a column of another type.
    pub fn read(row: &Row) -> Result<Self, EngineError> {
        let partition = row.read(limit_cell::partition_key)?;
        Ok(Self {
            key: LimitKey { partition, text: row.read(limit_cell::limit_key)? },
            rate: row.read(limit_cell::rate)?,
            number: row.read(limit_cell::cell)?,
            expires_at: TimestampMs(row.read(limit_cell::expires_at_ms)?),
        })
    }

    fn stored_key(&self) -> Vec<(ColumnRef, Expr)> {
        vec![
            limit_cell::partition_key.with(self.key.partition),
            limit_cell::limit_key.with(self.key.text.clone()),
            limit_cell::rate.with(self.rate.clone()),
            limit_cell::cell.with(self.number),
        ]
    }

    fn lookup(&self) -> Lookup {
        lookup(CELL, limit_cell::REF, self.stored_key())
    }
}

/// The name of the row of a cell.
const CELL: &str = "cell";

/// Removes a cell that counts no more.
#[derive(Clone, Debug)]
pub struct ForgetCell {
    /// The cell.
    pub cell: Cell,
}

impl Decision for ForgetCell {
    /// True if it had expired.
    type Outcome = bool;

    const NAME: &'static str = "expire_limit_cell";

    fn premises(&self, at: TimestampMs) -> Vec<Premise<bool>> {
        let expired = Condition::new(limit_cell::expires_at_ms.at_most(at.0), answer(false));
        let row = Premise::read(CELL, self.cell.lookup());
        vec![row.or_if_absent(answer(false)).guarded_by(vec![expired])]
    }

    fn expects(&self) -> bool {
        true
    }

    fn decide(
        &self,
        _: &crate::plan::facts::Facts,
        _: TimestampMs,
        _: &mut Ctx<'_>,
    ) -> Decided<bool> {
        Verdict::change([Mutation::delete(limit_cell::REF, self.cell.stored_key())], true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(count: u32, per_ms: u64, burst: u32) -> Rate {
        Rate::new(&RateLimit::new(count, per_ms).with_burst(burst)).unwrap()
    }

    #[test]
    fn a_burst_is_followed_by_one_start_per_cell() {
        let rate = rate(10, 1_000, 3);
        let (mut last, mut starts) = (None, Vec::new());
        for ms in 50_000..50_400 {
            while let Some(cells) = rate.take(1, last, TimestampMs(ms)) {
                last = cells.last().copied();
                starts.push(ms);
            }
        }
        assert_eq!(starts, [50_000, 50_000, 50_000, 50_100, 50_200, 50_300]);
        let next = rate.next_start(1, last, TimestampMs(50_399));
        assert_eq!(next, Some(TimestampMs(50_400)));
        assert_eq!(rate.next_start(2, last, TimestampMs(50_399)), Some(TimestampMs(50_500)));
    }

    #[test]
    fn weights_take_as_many_cells_and_at_most_the_burst() {
        let rate = rate(10, 1_000, 4);
        let at = TimestampMs(50_000);
        assert_eq!(rate.take(3, None, at), Some(vec![497, 498, 499]));
        assert_eq!(rate.take(2, Some(499), at), None);
        assert_eq!(rate.take(9, None, at), Some(vec![497, 498, 499, 500]));
        assert_eq!(rate.expiry(500), TimestampMs(50_400));
    }

    #[test]
    fn a_rate_that_divides_no_second_loses_nothing() {
        let rate = rate(3, 1_000, 1);
        let (mut last, mut starts) = (None, 0);
        for ms in 0..60_000 {
            if let Some(cells) = rate.take(1, last, TimestampMs(ms)) {
                last = cells.last().copied();
                starts += 1;
            }
        }
        assert_eq!(starts, 180);
    }
}
