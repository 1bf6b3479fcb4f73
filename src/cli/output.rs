//! What goes to stdout: tables for people, JSON for programs.

use std::io::{self, Write};

use comfy_table::{ContentArrangement, LineStyle, Table, presets};
use ff_core::types::TimestampMs;
use serde::Serialize;

/// Where a command writes its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    json: bool,
}

impl Output {
    pub(super) const fn new(json: bool) -> Self {
        Self { json }
    }

    pub(super) const fn is_json(self) -> bool {
        self.json
    }

    /// One line of text.
    pub(super) fn line(self, text: impl AsRef<str>) -> io::Result<()> {
        writeln!(io::stdout(), "{}", text.as_ref())
    }

    /// One JSON value.
    pub(super) fn json(self, value: &impl Serialize) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        serde_json::to_writer_pretty(&mut stdout, value)?;
        writeln!(stdout)
    }

    /// One JSON value on a line of its own, for readers who take them one by one.
    pub(super) fn json_line(self, value: &impl Serialize) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        serde_json::to_writer(&mut stdout, value)?;
        writeln!(stdout)
    }

    /// Bytes as they are.
    pub(super) fn bytes(self, bytes: &[u8]) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()
    }
}

/// An empty table with these columns.
pub(super) fn table<const N: usize>(columns: [&str; N]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING.header_separator(LineStyle::none().fill('─').junction('─')))
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(columns);
    table
}

/// A point in time as `2026-01-31 23:59:59.123` UTC; the bare number when it has no such form.
pub(super) fn time(at: TimestampMs) -> String {
    let Ok(ms) = u64::try_from(at.0) else { return at.to_string() };
    let (days, ms_of_day) = (ms / 86_400_000, ms % 86_400_000);
    let (seconds, ms) = (ms_of_day / 1_000, ms_of_day % 1_000);
    let Some((year, month, day)) = civil(days) else { return at.to_string() };
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{ms:03}")
}

/// The Gregorian date so many days after 1970-01-01, up to the year 9999: eras of 400 years that
/// begin in March.
fn civil(days: u64) -> Option<(u64, u64, u64)> {
    let days = days.checked_add(719_468).filter(|days| *days < 3_652_365)?;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    Some((year_of_era + era * 400 + u64::from(month <= 2), month, day))
}

/// How long from one time to another, as `+1.234 s`.
pub(super) fn since(start: TimestampMs, at: TimestampMs) -> String {
    let ms = at.0.saturating_sub(start.0);
    let sign = if ms < 0 { '-' } else { '+' };
    let ms = ms.unsigned_abs();
    format!("{sign}{}.{:03} s", ms / 1_000, ms % 1_000)
}

/// Text or a dash.
pub(super) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// A value that is one word in JSON, as that word.
pub(super) fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        Ok(other) => other.to_string(),
        Err(_) => "?".to_owned(),
    }
}

/// Text on one line, without anything that a terminal would obey.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.trim_end().chars() {
        if character.is_control() && character != '\t' {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_not_commanded() {
        assert_eq!(one_line("plain\ttext \u{e9}\n"), "plain\ttext \u{e9}");
        assert_eq!(one_line("two\nlines\r\n"), "two\\nlines");
        assert_eq!(one_line("\u{1b}[2J\u{9b}1m\0"), "\\u{1b}[2J\\u{9b}1m\\u{0}");
    }

    #[test]
    fn times_are_written_in_utc() {
        for (ms, text) in [
            (0, "1970-01-01 00:00:00.000"),
            (951_782_400_000, "2000-02-29 00:00:00.000"),
            (1_709_251_199_999, "2024-02-29 23:59:59.999"),
            (1_767_225_600_000, "2026-01-01 00:00:00.000"),
            (253_402_300_799_999, "9999-12-31 23:59:59.999"),
            (253_402_300_800_000, "253402300800000"),
            (i64::MAX, "9223372036854775807"),
            (-1, "-1"),
        ] {
            assert_eq!(time(TimestampMs(ms)), text);
        }
    }

    #[test]
    fn differences_have_a_sign() {
        assert_eq!(since(TimestampMs(1_000), TimestampMs(3_050)), "+2.050 s");
        assert_eq!(since(TimestampMs(1_000), TimestampMs(990)), "-0.010 s");
    }
}
