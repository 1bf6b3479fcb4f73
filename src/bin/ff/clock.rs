//! Times as people read them, measured by the engine's clock.

use std::sync::Arc;

use ff_core::engine_backend::EngineBackend;
use ff_core::types::TimestampMs;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::failure::Failure;

/// The engine's clock, the only one that stored times are compared with.
pub(super) async fn now(engine: &Arc<dyn EngineBackend>) -> Result<TimestampMs, Failure> {
    let now = engine.server_time_ms().await;
    let now = now.map_err(|error| Failure::engine("reading the database's clock", &error))?;
    Ok(TimestampMs(i64::try_from(now).unwrap_or(i64::MAX)))
}

/// The zone of points in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Zone {
    Utc,
    /// The zone of this machine, or of the variable `TZ`.
    Local,
}

impl Zone {
    /// The header of a column of points in time. Those of the local zone carry their offset.
    pub(super) const fn header(self) -> &'static str {
        match self {
            Self::Utc => "time (UTC)",
            Self::Local => "time",
        }
    }

    /// A point in time: `2026-01-31 23:59:59.123` for UTC, with the offset for the local zone; the
    /// bare number if it has no such form.
    pub(super) fn format(self, at: TimestampMs) -> String {
        match self {
            Self::Utc => time(at),
            Self::Local => time_in(at, &TimeZone::system()),
        }
    }
}

/// The form in which a command writes times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Times {
    /// As points in time.
    Absolute(Zone),
    /// As distances from this time.
    From(TimestampMs),
}

impl Times {
    /// The time, such as `3m` (ago), `in 2h`, or `2026-01-31 23:59:59.123`.
    pub(super) fn format(self, at: TimestampMs) -> String {
        match self {
            Self::Absolute(zone) => zone.format(at),
            Self::From(now) if now < at => format!("in {}", span(at.0.saturating_sub(now.0))),
            Self::From(now) => span(now.0.saturating_sub(at.0)),
        }
    }

    /// The time within a sentence, such as `3m ago`.
    pub(super) fn format_in_sentence(self, at: TimestampMs) -> String {
        match self {
            Self::From(now) if at <= now => format!("{} ago", self.format(at)),
            Self::From(_) | Self::Absolute(_) => self.format(at),
        }
    }
}

/// A point in time as `2026-01-31 23:59:59.123` UTC; the bare number if it has no such form.
pub(super) fn time(at: TimestampMs) -> String {
    match Timestamp::from_millisecond(at.0) {
        Ok(time) if 0 <= at.0 => {
            let text = format!("{time:.3}");
            text.trim_end_matches('Z').replace('T', " ")
        }
        Ok(_) | Err(_) => at.to_string(),
    }
}

/// A point in time as `2026-01-31 23:59:59.123+02:00`, in a zone.
fn time_in(at: TimestampMs, zone: &TimeZone) -> String {
    match Timestamp::from_millisecond(at.0) {
        Ok(time) if 0 <= at.0 => {
            let offset = zone.to_offset(time);
            format!("{:.3}", time.display_with_offset(offset)).replace('T', " ")
        }
        Ok(_) | Err(_) => at.to_string(),
    }
}

/// A span in its largest unit, rounded down: `450ms`, `12s`, `3m`, `5h`, `8d`.
pub(super) fn span(ms: i64) -> String {
    const UNITS: [(u64, &str); 4] =
        [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let sign = if ms < 0 { "-" } else { "" };
    let ms = ms.unsigned_abs();

    let unit = UNITS.iter().find(|(of, _)| *of <= ms);
    unit.map_or_else(|| format!("{sign}{ms}ms"), |(of, unit)| format!("{sign}{}{unit}", ms / of))
}

/// The span between two times, as `+1.234 s`.
pub(super) fn since(start: TimestampMs, at: TimestampMs) -> String {
    let ms = at.0.saturating_sub(start.0);
    let sign = if ms < 0 { '-' } else { '+' };
    let ms = ms.unsigned_abs();
    format!("{sign}{}.{:03} s", ms / 1_000, ms % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc() {
        for (ms, text) in [
            (0, "1970-01-01 00:00:00.000"),
            (951_782_400_000, "2000-02-29 00:00:00.000"),
            (1_709_251_199_999, "2024-02-29 23:59:59.999"),
            (1_767_225_600_000, "2026-01-01 00:00:00.000"),
            (i64::MAX, "9223372036854775807"),
            (-1, "-1"),
        ] {
            assert_eq!(time(TimestampMs(ms)), text);
        }
    }

    #[test]
    fn local_times_carry_their_offset() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let local = time_in(TimestampMs(951_782_400_000), &zone);
        assert_eq!(local, "2000-02-29 02:00:00.000+02:00");
        assert_eq!(time_in(TimestampMs(-1), &zone), "-1");
    }

    #[test]
    fn ages_have_one_unit() {
        let now = TimestampMs(200_000_000);
        for (ms, text) in [
            (0, "0ms"),
            (999, "999ms"),
            (59_999, "59s"),
            (60_000, "1m"),
            (7_199_999, "1h"),
            (86_400_000, "1d"),
            (-5_000, "in 5s"),
        ] {
            assert_eq!(Times::From(now).format(TimestampMs(now.0 - ms)), text);
        }
        assert_eq!(Times::From(now).format_in_sentence(TimestampMs(now.0 - 60_000)), "1m ago");
        assert_eq!(Times::From(now).format_in_sentence(TimestampMs(now.0 + 60_000)), "in 1m");
        assert_eq!(
            Times::Absolute(Zone::Utc).format_in_sentence(TimestampMs(0)),
            "1970-01-01 00:00:00.000"
        );
    }

    #[test]
    fn differences_have_a_sign() {
        assert_eq!(since(TimestampMs(1_000), TimestampMs(3_050)), "+2.050 s");
        assert_eq!(since(TimestampMs(1_000), TimestampMs(990)), "-0.010 s");
    }
}
