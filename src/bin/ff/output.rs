//! The only writer of stdout: lines and tables for people, JSON for programs. It passes only
//! escaped text.

use std::io::{self, IsTerminal, Write};

use console::Term;
use ff_core::types::TimestampMs;
use serde::Serialize;

use super::clock::{Times, Zone};
use super::shown::{Shown, escaped_json};
use super::table::Table;

/// The least width assumed; a narrower terminal is taken for one of this width.
const NARROWEST: usize = 20;

/// The effect of a closed stdout on a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum OnClosed {
    /// The command ends: there is nothing left to do, as in `ff ls | head -1`.
    #[default]
    End,
    /// The command changes something: it finishes, and its output is dropped.
    GoOn,
}

/// A command's output, in the form that its reader takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    json: bool,
    zone: Option<Zone>,
    on_closed: OnClosed,
    /// The columns of the terminal; absent if the reader is a program or a file.
    width: Option<usize>,
}

impl Output {
    /// The output as the arguments, the terminal and `COLUMNS` ask for.
    pub(super) fn new(json: bool, zone: Option<Zone>, on_closed: OnClosed) -> Self {
        let columns = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
        let terminal = || Term::stdout().size_checked().map(|(_, columns)| usize::from(columns));
        let terminal = || if io::stdout().is_terminal() { terminal() } else { None };
        // COLUMNS wins, so that a width can be asked for without a terminal.
        let width = columns.or_else(terminal).map(|width: usize| width.max(NARROWEST));
        Self { json, zone, on_closed, width }
    }

    pub(super) const fn is_json(self) -> bool {
        self.json
    }

    /// The columns of the terminal. Without one nothing is shortened: programs take it all.
    pub(super) const fn width(self) -> Option<usize> {
        self.width
    }

    /// The form of times: ages on a terminal, unless a zone is asked for.
    pub(super) fn times(self, now: TimestampMs) -> Times {
        if self.width.is_some() && self.zone.is_none() {
            return Times::From(now);
        }
        Times::Absolute(self.zone())
    }

    /// The zone of points in time: the one that is asked for. Otherwise people get their own one,
    /// and programs UTC.
    pub(super) fn zone(self) -> Zone {
        let default = if self.width.is_some() { Zone::Local } else { Zone::Utc };
        self.zone.unwrap_or(default)
    }

    /// Writes one line of text.
    pub(super) fn line(self, line: impl Into<Shown>) -> io::Result<()> {
        let line = line.into();
        self.write(|stdout| writeln!(stdout, "{line}"))
    }

    /// Writes a text of this program that has several lines.
    pub(super) fn lines(self, text: &str) -> io::Result<()> {
        if text.is_empty() {
            return self.line("");
        }
        text.lines().try_for_each(|line| self.line(line))
    }

    /// Writes a table, as wide as there is room.
    pub(super) fn table(self, table: &Table) -> io::Result<()> {
        table.lines(self.width).into_iter().try_for_each(|line| self.line_as_is(&line))
    }

    /// Writes a line that may carry colours.
    pub(super) fn line_as_is(self, line: &Shown) -> io::Result<()> {
        self.write(|stdout| writeln!(stdout, "{line}"))
    }

    /// Writes a line over the last one, on a terminal.
    pub(super) fn line_over(self, line: impl Into<Shown>, ended: bool) -> io::Result<()> {
        let (line, end) = (line.into(), if ended { "\n" } else { "" });
        self.write(|stdout| write!(stdout, "\r\x1b[2K{line}{end}").and_then(|()| stdout.flush()))
    }

    /// Clears a terminal, for a picture that takes the place of the one before.
    pub(super) fn clear(self) -> io::Result<()> {
        self.write(|stdout| write!(stdout, "\x1b[2J\x1b[H").and_then(|()| stdout.flush()))
    }

    /// Writes one JSON value.
    pub(super) fn json(self, value: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_string_pretty(value)?;
        self.write(|stdout| writeln!(stdout, "{}", escaped_json(&text)))
    }

    /// Writes one JSON value on a line of its own, for readers that take them one by one.
    pub(super) fn json_line(self, value: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_string(value)?;
        self.write(|stdout| writeln!(stdout, "{}", escaped_json(&text)))
    }

    /// Writes bytes as they are; on a terminal, line by line and escaped.
    pub(super) fn bytes(self, bytes: &[u8]) -> io::Result<()> {
        if io::stdout().is_terminal() {
            return self.lines(&String::from_utf8_lossy(bytes));
        }

        self.write(|stdout| stdout.write_all(bytes).and_then(|()| stdout.flush()))
    }

    fn write(
        self,
        write: impl FnOnce(&mut io::StdoutLock<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        // A command that changes something must not stop because its report has no reader.
        match write(&mut io::stdout().lock()) {
            Err(error)
                if error.kind() == io::ErrorKind::BrokenPipe
                    && self.on_closed == OnClosed::GoOn =>
            {
                Ok(())
            }
            written => written,
        }
    }
}

/// True if lines on stdout can be written over.
pub(super) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}
