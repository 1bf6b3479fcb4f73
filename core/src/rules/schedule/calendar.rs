//! The ticks of a cron expression in a time zone: a pure function of time.
//!
//! The cron parser works on local times alone. Local times become moments here, stretch by stretch:
//! between two changes of the clock the offset from UTC is constant. So the local times that a
//! change skips or doubles are known, and the policies for them are applied in this file only. The
//! tz database is the one that is built in, whatever the system has.

use std::collections::VecDeque;

use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};

use crate::contracts::ScheduleSpec;
use crate::model::error::EngineError;
use crate::model::state::{DoubledHours, SkippedHours};
use crate::rules::input;

/// The smallest step of time, by which the moment before a change is found.
const INSTANT: SignedDuration = SignedDuration::from_nanos(1);

/// The first span in which the last ticks before a moment are sought, ms. It grows until there are
/// enough.
const FIRST_SPAN_MS: i64 = 60_000;

/// The ticks of a schedule.
#[derive(Clone, Debug)]
pub struct Calendar {
    cron: Cron,
    zone: TimeZone,
    skipped: SkippedHours,
    doubled: DoubledHours,
}

/// The time from one change of the clock to the next, with a constant offset from UTC.
struct Stretch {
    offset: Offset,
    /// Its end, with the offset after it; `None` if the clock never changes again.
    end: Option<(Timestamp, Offset)>,
    /// Local times without a tick: those of the other of two moments that a clock shows twice.
    without: Vec<(DateTime, DateTime)>,
}

impl Calendar {
    /// Reads the expression and the time zone of a schedule.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field: an expression that cannot be read, with the
    /// part that is wrong; a time zone that the tz database does not have.
    pub fn of(spec: &ScheduleSpec) -> Result<Self, EngineError> {
        input::name("cron", &spec.cron)?;
        input::name("time_zone", &spec.time_zone)?;

        let cron = parser().parse(&spec.cron).map_err(|error| wrong_part(&spec.cron, &error))?;
        let zone = TimeZoneDatabase::bundled().get(&spec.time_zone).map_err(|_| {
            let unknown = format!("time_zone: {:?} is not in the tz database", spec.time_zone);
            input::invalid(unknown)
        })?;
        let (skipped, doubled) = (spec.skipped_hours, spec.doubled_hours);
        Ok(Self { cron, zone, skipped, doubled })
    }

    /// The first tick after a moment, Unix ms; `None` if there is none.
    #[must_use]
    pub fn next_after(&self, after_ms: i64) -> Option<i64> {
        let mut from = Timestamp::from_millisecond(after_ms).ok()?;
        let mut inclusive = false;

        loop {
            let stretch = self.stretch(from)?;
            let local = stretch.offset.to_datetime(from);
            if let Some(tick) = self.next_within(&stretch, local, inclusive)? {
                return Some(tick.as_millisecond());
            }

            let (end, after) = stretch.end?;
            if self.stands_for_skipped(end, stretch.offset, after) {
                return Some(end.as_millisecond());
            }
            (from, inclusive) = (end, true);
        }
    }

    /// The last ticks from `from_ms` up to but not including `until_ms`, at most so many, in order.
    #[must_use]
    pub fn last_before(&self, from_ms: i64, until_ms: i64, most: usize) -> VecDeque<i64> {
        let mut span = FIRST_SPAN_MS;
        loop {
            let begin = until_ms.saturating_sub(span).max(from_ms);
            let mut ticks = VecDeque::new();
            let mut next = self.next_after(begin.saturating_sub(1));

            while let Some(tick) = next.filter(|tick| *tick < until_ms) {
                ticks.push_back(tick);
                if most < ticks.len() {
                    ticks.pop_front();
                }
                next = self.next_after(tick);
            }
            if most <= ticks.len() || begin <= from_ms {
                return ticks;
            }
            span = span.saturating_mul(4);
        }
    }

    /// A moment as its local time with the offset (RFC 3339).
    #[must_use]
    pub fn local_text(&self, at_ms: i64) -> Option<String> {
        let at = Timestamp::from_millisecond(at_ms).ok()?;
        Some(at.display_with_offset(self.zone.to_offset(at)).to_string())
    }

    /// The stretch that a moment is in. A change of the clock belongs to the one that it begins.
    fn stretch(&self, at: Timestamp) -> Option<Stretch> {
        let offset = self.zone.to_offset(at);
        let end = self.zone.following(at).next();
        let end = end.map(|change| (change.timestamp(), change.offset()));

        let mut without = Vec::new();
        if self.doubled == DoubledHours::First
            && let Some(begin) = self.last_change(at)
        {
            let before = self.zone.to_offset(begin.checked_sub(INSTANT).ok()?);
            without.push((offset.to_datetime(begin), before.to_datetime(begin)));
        }
        if let Some((end, after)) = end
            && self.doubled == DoubledHours::Second
        {
            without.push((after.to_datetime(end), offset.to_datetime(end)));
        }
        Some(Stretch { offset, end, without })
    }

    /// The last change of the clock up to a moment.
    ///
    /// Behind the last change that the tz database lists, the library answers by the rule for all
    /// times after it, even with a change that the rule has before the listed one. So the changes
    /// that follow its answer decide. America/Ciudad_Juarez is such a zone, in November 2022.
    fn last_change(&self, at: Timestamp) -> Option<Timestamp> {
        let found = self.zone.preceding(at.checked_add(INSTANT).ok()?).next()?.timestamp();
        let listed = self.zone.following(found).map(|change| change.timestamp());
        Some(listed.take_while(|change| *change <= at).last().unwrap_or(found))
    }

    /// The first tick in a stretch from a local time on; the outer `None` if the expression matches
    /// no later time at all.
    fn next_within(
        &self,
        stretch: &Stretch,
        mut local: DateTime,
        mut inclusive: bool,
    ) -> Option<Option<Timestamp>> {
        loop {
            let matched = self.cron.find_next_occurrence(&local, inclusive).ok()?;
            let tick = stretch.offset.to_timestamp(matched).ok()?;
            if stretch.end.is_some_and(|(end, _)| end <= tick) {
                return Some(None);
            }

            let covers = |(from, until): &&(DateTime, DateTime)| (*from..*until).contains(&matched);
            match stretch.without.iter().find(covers) {
                None => return Some(Some(tick)),
                Some((_, until)) => (local, inclusive) = (*until, true),
            }
        }
    }

    /// Returns true if a change of the clock stands for ticks at local times that it skips.
    fn stands_for_skipped(&self, change: Timestamp, before: Offset, after: Offset) -> bool {
        let (from, until) = (before.to_datetime(change), after.to_datetime(change));
        let first = || self.cron.find_next_occurrence(&from, true).ok();
        self.skipped == SkippedHours::Shift
            && from < until
            && first().is_some_and(|skipped| skipped < until)
    }
}

fn parser() -> CronParser {
    CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build()
}

/// The refusal of an expression. A part is wrong if it cannot be read even where all others match
/// anything.
fn wrong_part(cron: &str, error: &CronError) -> EngineError {
    const PARTS: [(&str, &str); 6] = [
        ("second", "0-59"),
        ("minute", "0-59"),
        ("hour", "0-23"),
        ("day of month", "1-31"),
        ("month", "1-12"),
        ("day of week", "0-7"),
    ];

    let parts: Vec<&str> = cron.split_whitespace().collect();
    if parts.len() != 5 && parts.len() != 6 {
        let count = parts.len();
        return input::invalid(format!("cron: {count} fields, where five or six are needed"));
    }

    let unnamed = PARTS.len().saturating_sub(parts.len());
    let wrong = parts.iter().enumerate().find_map(|(index, part)| {
        let index = index.checked_add(unnamed)?;
        let mut alone = ["*"; PARTS.len()];
        *alone.get_mut(index)? = part;
        let error = parser().parse(&alone.join(" ")).err()?;
        let (name, range) = PARTS.get(index)?;
        Some(format!("cron: {name} {part:?} (of {range}): {}", reason(&error)))
    });
    input::invalid(wrong.unwrap_or_else(|| format!("cron: {}", reason(error))))
}

fn reason(error: &CronError) -> String {
    match error {
        CronError::InvalidPattern(reason)
        | CronError::IllegalCharacters(reason)
        | CronError::ComponentError(reason) => reason.trim_end_matches('.').to_owned(),
        CronError::EmptyPattern
        | CronError::InvalidDate
        | CronError::InvalidTime
        | CronError::TimeSearchLimitExceeded => error.to_string(),
    }
}
