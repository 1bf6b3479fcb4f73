//! How far the demo is, for people who watch.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::cli::output::Output;

/// One line that is written over and over on a terminal, and now and then elsewhere.
pub(super) struct Progress {
    silent: bool,
    terminal: bool,
    last: Option<Instant>,
    text: String,
}

impl Progress {
    pub(super) fn new(output: Output) -> Self {
        let terminal = std::io::stdout().is_terminal();
        Self { silent: output.is_json(), terminal, last: None, text: String::new() }
    }

    pub(super) fn show(
        &mut self,
        states: &BTreeMap<String, usize>,
        total: usize,
    ) -> std::io::Result<()> {
        let count = |state| states.get(state).copied().unwrap_or(0);
        self.text = format!(
            "   {:>3} of {total} completed, {} active, {} waiting, {} delayed",
            count("completed"),
            count("active"),
            count("waiting"),
            count("delayed")
        );
        let due = self.last.is_none_or(|last| Duration::from_millis(500) <= last.elapsed());
        if self.silent || !(self.terminal || due) {
            return Ok(());
        }
        self.last = Some(Instant::now());
        let mut stdout = std::io::stdout().lock();
        if self.terminal {
            write!(stdout, "\r\x1b[2K{}", self.text)?;
            stdout.flush()
        } else {
            writeln!(stdout, "{}", self.text)
        }
    }

    /// Leaves the last state standing.
    pub(super) fn end(&mut self) -> std::io::Result<()> {
        if self.silent {
            return Ok(());
        }
        let mut stdout = std::io::stdout().lock();
        let start = if self.terminal { "\r\x1b[2K" } else { "" };
        writeln!(stdout, "{start}{}", self.text)
    }
}
