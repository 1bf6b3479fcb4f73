//! What a schedule does next: a pure function of its row, of the execution before, and of now.

use crate::contracts::{CatchUp, MISSED_AFTER_MS, SCHEDULE_QUEUE_MAX, ScheduleInfo};
use crate::model::ids::TimestampMs;
use crate::model::state::Overlap;
use crate::rules::schedule::calendar::Calendar;
use crate::rules::schedule::key::ScheduleKey;
use crate::rules::schedule::row::submitted_at;

/// What a schedule does now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// A tick becomes an execution.
    Fire(Tick),
    /// A tick becomes an execution, once the one before it is cancelled.
    CancelFirst,
    /// A tick waits until the execution before has ended.
    Queue(Tick),
    /// Ticks up to this one are skipped.
    Skip(Tick),
    /// Nothing is due, or everything due waits.
    Wait,
}

/// A tick that is dealt with, and the one after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// The tick, Unix ms.
    pub at_ms: i64,
    /// The tick that is next then, Unix ms; `None` after the last.
    pub next_ms: Option<i64>,
    /// The last tick before it that is skipped with it, Unix ms.
    pub skipped_ms: Option<i64>,
}

/// What a schedule does now, where `running` says if the execution before has not ended.
#[must_use]
pub fn turn(
    key: &ScheduleKey,
    info: &ScheduleInfo,
    calendar: &Calendar,
    running: bool,
    now: TimestampMs,
) -> Turn {
    if info.pause.is_some() {
        return Turn::Wait;
    }
    // Ticks that wait come before those that follow.
    if let Some(first) = info.queued.first().filter(|_| !running) {
        let next_ms = info.next_tick_at.map(|next| next.0);
        return Turn::Fire(Tick { at_ms: first.0, next_ms, skipped_ms: None });
    }

    let is_due = |tick: i64| submitted_at(key, &info.spec, tick) <= now.0;
    let stored = info.next_tick_at.map(|next| next.0);
    let Some(stored) = stored.filter(|tick| is_due(*tick) || is_missed(info, *tick, now)) else {
        return Turn::Wait;
    };

    let wanted = after_missed(info, calendar, stored, now, is_due);
    let skipped_ms = wanted.skipped_ms;
    let Some(at_ms) = wanted.tick_ms.filter(|tick| is_due(*tick)) else {
        let (at_ms, next_ms) = (skipped_ms.unwrap_or(stored), wanted.tick_ms);
        return Turn::Skip(Tick { at_ms, next_ms, skipped_ms });
    };

    let tick = Tick { at_ms, next_ms: calendar.next_after(at_ms), skipped_ms };
    match info.spec.overlap {
        _ if !running => Turn::Fire(tick),
        Overlap::CancelRunning => Turn::CancelFirst,
        Overlap::Queue if info.queued.len() < SCHEDULE_QUEUE_MAX => Turn::Queue(tick),
        Overlap::Queue | Overlap::Skip => Turn::Skip(Tick { skipped_ms: Some(at_ms), ..tick }),
    }
}

/// The tick that comes first once missed ticks are made up for or skipped.
struct Wanted {
    tick_ms: Option<i64>,
    skipped_ms: Option<i64>,
}

/// The first moment from which ticks are not missed.
fn on_time_from(info: &ScheduleInfo, now: TimestampMs) -> i64 {
    now.0.saturating_sub(info.spec.jitter_ms).saturating_sub(MISSED_AFTER_MS)
}

fn is_missed(info: &ScheduleInfo, tick_ms: i64, now: TimestampMs) -> bool {
    tick_ms < on_time_from(info, now)
}

/// Applies the catch-up policy to the ticks from `stored` on.
fn after_missed(
    info: &ScheduleInfo,
    calendar: &Calendar,
    stored: i64,
    now: TimestampMs,
    is_due: impl Fn(i64) -> bool,
) -> Wanted {
    if !is_missed(info, stored, now) {
        return Wanted { tick_ms: Some(stored), skipped_ms: None };
    }

    let from = on_time_from(info, now);
    let on_time = calendar.next_after(from.saturating_sub(1));
    let kept = match info.spec.catch_up {
        CatchUp::SkipMissed => 0,
        CatchUp::Latest if on_time.is_some_and(is_due) => 0,
        CatchUp::Latest => 1,
        CatchUp::All { at_most } => usize::try_from(at_most).unwrap_or(usize::MAX),
    };

    // One more than are kept: the last that is skipped.
    let missed = calendar.last_before(stored, from, kept.saturating_add(1));
    let is_rest = kept < missed.len();
    let mut missed = missed.into_iter();
    let skipped_ms = if is_rest { missed.next() } else { None };
    Wanted { tick_ms: missed.next().or(on_time), skipped_ms }
}
