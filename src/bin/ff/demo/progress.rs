//! The progress of the demo, for people that watch it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::output::{Output, is_terminal};

/// One line, rewritten in place on a terminal, and printed now and then elsewhere.
pub(super) struct Progress {
    output: Output,
    terminal: bool,
    last: Option<Instant>,
    text: String,
}

impl Progress {
    pub(super) fn new(output: Output) -> Self {
        Self { output, terminal: is_terminal(), last: None, text: String::new() }
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
        if self.output.is_json() || !(self.terminal || due) {
            return Ok(());
        }
        self.last = Some(Instant::now());
        self.write(false)
    }

    /// Writes the last state for good.
    pub(super) fn end(&mut self) -> std::io::Result<()> {
        if self.output.is_json() {
            return Ok(());
        }
        self.write(true)
    }

    fn write(&self, ended: bool) -> std::io::Result<()> {
        if self.terminal {
            self.output.line_over(self.text.as_str(), ended)
        } else {
            self.output.line(self.text.as_str())
        }
    }
}
