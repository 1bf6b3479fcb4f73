//! From lines to executions: batches, the outcome of each line, and the lines left after a break.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ff_core::EngineError;
use ff_core::contracts::{CreateExecutionArgs, CreateExecutionResult};
use ff_core::engine_backend::EngineBackend;
use ff_core::engine_error::StoreClass;
use ff_core::types::ExecutionId;
use indicatif::ProgressBar;
use tokio::sync::mpsc::Receiver;

use super::input::Line;
use super::lines::Lines;
use crate::clock::now;
use crate::failure::Failure;
use crate::interrupt::Interrupts;
use crate::line::{self, Defaults, Request};
use crate::output::Output;

/// The number of executions submitted in one call.
const BATCH: usize = 500;

/// The longest silence of the input before the lines read so far are sent.
const SILENCE: Duration = Duration::from_millis(100);

/// The number of lines that are named one by one when the database fails.
const LINES_SHOWN: usize = 10;

#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) created: u64,
    pub(super) duplicate: u64,
    pub(super) failed: u64,
}

/// The end of the reading.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The input ended.
    Read,
    /// The command was stopped.
    Interrupted,
    /// The database failed.
    BrokenOff,
    /// The input could not be read any further.
    Unreadable(String),
}

pub(super) struct Submission {
    pub(super) engine: Arc<dyn EngineBackend>,
    pub(super) output: Output,
    pub(super) defaults: Defaults,
    pub(super) progress: ProgressBar,
    /// The name of the input.
    pub(super) input: String,
    /// Only these lines; all of them if absent.
    pub(super) only: Option<Lines>,
    /// True to print each id as soon as it is known.
    pub(super) print_ids: bool,
    /// The outcome so far.
    pub(super) outcome: Outcome,
}

/// The outcome of the lines so far.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) counts: Counts,
    /// The executions, if they are collected.
    pub(super) ids: Option<Vec<ExecutionId>>,
    /// The last line that was read.
    pub(super) read: u64,
    /// Valid lines that were not submitted.
    pub(super) left: Vec<u64>,
    /// Lines without an id that may or may not have been submitted.
    pub(super) unsure: Vec<u64>,
    /// The first failure to print an id.
    pub(super) print_error: Option<io::Error>,
    batch: Vec<(u64, Request)>,
}

impl Outcome {
    /// An empty outcome. Ids are collected into `ids` if it is given.
    pub(super) fn collecting(ids: Option<Vec<ExecutionId>>) -> Self {
        Self { ids, ..Self::default() }
    }
}

impl Submission {
    /// Submits the lines until they end, or until the command must stop before.
    pub(super) async fn run(
        &mut self,
        mut lines: Receiver<Line>,
        interrupts: &mut Interrupts,
    ) -> End {
        loop {
            let silence = tokio::time::sleep(SILENCE);
            let line = tokio::select! {
                biased;
                () = interrupts.next() => return self.stop(lines).await,
                line = lines.recv() => line,
                () = silence, if !self.outcome.batch.is_empty() => {
                    if !self.flush().await {
                        return End::BrokenOff;
                    }
                    continue;
                }
            };

            let Some(line) = line else {
                return if self.flush().await { End::Read } else { End::BrokenOff };
            };

            match line {
                Ok(bytes) => self.add_line(&bytes),
                Err(error) => {
                    let flushed = self.flush().await;
                    return if flushed {
                        End::Unreadable(error.to_string())
                    } else {
                        End::BrokenOff
                    };
                }
            }

            if BATCH <= self.outcome.batch.len() && !self.flush().await {
                return End::BrokenOff;
            }
        }
    }

    /// Sends the lines read so far, and no more.
    async fn stop(&mut self, mut lines: Receiver<Line>) -> End {
        lines.close();
        while let Some(Ok(bytes)) = lines.recv().await {
            self.add_line(&bytes);
        }
        if self.flush().await { End::Interrupted } else { End::BrokenOff }
    }

    fn add_line(&mut self, bytes: &[u8]) {
        self.outcome.read += 1;
        let number = self.outcome.read;
        self.progress.inc(u64::try_from(bytes.len()).unwrap_or(0));
        if self.only.as_ref().is_some_and(|only| !only.contains(number)) {
            return;
        }
        match parse_line(bytes, number, &self.defaults) {
            Ok(None) => {}
            Ok(Some(request)) => self.outcome.batch.push((number, request)),
            Err(reason) => self.reject_line(number, &reason),
        }
    }

    /// Sends the batch. Returns false if the database did not take all of it. A line that the
    /// engine finds invalid is reported like any bad line; the database is not at fault then.
    async fn flush(&mut self) -> bool {
        let batch = std::mem::take(&mut self.outcome.batch);
        if batch.is_empty() {
            return true;
        }

        let now = match now(&self.engine).await {
            Ok(now) => now,
            Err(failure) => {
                self.outcome.counts.failed += u64::try_from(batch.len()).unwrap_or(0);
                self.outcome.left.extend(batch.iter().map(|(number, _)| *number));
                self.report(&failure);
                return false;
            }
        };

        let mut sent = Vec::with_capacity(batch.len());
        for (number, request) in batch {
            match request.at(now) {
                Ok(args) => {
                    sent.push(PendingLine { number, args, is_repeatable: request.is_repeatable });
                }
                Err(reason) => self.reject_line(number, &reason),
            }
        }

        let failed = self.send(sent).await;
        // Every id was chosen before it was sent, so a repetition finds what the first call
        // created.
        let (again, failed): (Vec<_>, Vec<_>) =
            failed.into_iter().partition(|(_, error)| is_unsure(error));
        let again = again.into_iter().map(|(sent, _)| sent).collect();
        let failed: Vec<_> = failed.into_iter().chain(self.send(again).await).collect();

        let counts = self.outcome.counts;
        self.progress.set_message(format!("{} submitted", counts.created + counts.duplicate));
        self.give_up(&failed);
        failed.is_empty()
    }

    /// Sends lines. Returns those that the database did not take.
    async fn send(&mut self, batch: Vec<PendingLine>) -> Vec<(PendingLine, EngineError)> {
        let args = batch.iter().map(|sent| sent.args.clone()).collect();
        let answers = self.engine.create_executions(args).await;

        let mut failed = Vec::new();
        for (sent, answer) in batch.into_iter().zip(answers) {
            match answer {
                Ok(CreateExecutionResult::Created { execution_id, .. }) => {
                    self.outcome.counts.created += 1;
                    self.record_id(execution_id);
                }
                Ok(CreateExecutionResult::Duplicate { execution_id }) => {
                    self.outcome.counts.duplicate += 1;
                    self.record_id(execution_id);
                }
                Err(EngineError::Validation { detail, .. }) => {
                    self.reject_line(sent.number, &detail);
                }
                Err(error) => failed.push((sent, error)),
            }
        }
        failed
    }

    /// Counts the lines that the database did not take, and names the first of them one by one.
    fn give_up(&mut self, failed: &[(PendingLine, EngineError)]) {
        for (place, (sent, error)) in failed.iter().enumerate() {
            self.outcome.counts.failed += 1;
            if is_unsure(error) && !sent.is_repeatable {
                self.outcome.unsure.push(sent.number);
            } else {
                self.outcome.left.push(sent.number);
            }
            if place < LINES_SHOWN {
                let what = format!("{}, line {}", self.input, sent.number);
                self.report(&Failure::engine(&what, error));
            }
        }

        if let Some(more @ 1..) = failed.len().checked_sub(LINES_SHOWN) {
            self.report(&Failure::new(format!("{}: and {more} more lines", self.input)));
        }
    }

    fn record_id(&mut self, id: ExecutionId) {
        if self.print_ids
            && let Err(error) = self.output.line(id.as_str())
        {
            self.outcome.print_error.get_or_insert(error);
        }
        if let Some(ids) = &mut self.outcome.ids {
            ids.push(id);
        }
    }

    fn reject_line(&mut self, number: u64, reason: &str) {
        self.outcome.counts.failed += 1;
        self.report(&Failure::new(format!("{}, line {number}: {reason}", self.input)));
    }

    fn report(&self, failure: &Failure) {
        self.progress.suspend(|| failure.report(self.output.is_json()));
    }
}

/// A line on its way to the engine.
#[derive(Clone, Debug)]
struct PendingLine {
    number: u64,
    args: CreateExecutionArgs,
    is_repeatable: bool,
}

/// True if the execution may have been created in spite of the error.
fn is_unsure(error: &EngineError) -> bool {
    match error {
        EngineError::Transport { .. } => {
            error.store_class().is_none_or(|class| class == StoreClass::OutcomeUnknown)
        }
        EngineError::Timeout { .. } => true,
        EngineError::Contextual { source, .. } => is_unsure(source),
        _ => false,
    }
}

/// The request in a line; none if it is blank.
fn parse_line(bytes: &[u8], number: u64, defaults: &Defaults) -> Result<Option<Request>, String> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| format!("not UTF-8 after byte {}", error.valid_up_to()))?;
    // A byte order mark can only begin the file.
    let text = if number == 1 { text.trim_start_matches('\u{feff}') } else { text };
    let text = text.trim();
    if text.is_empty() { Ok(None) } else { line::parse(text, defaults).map(Some) }
}

#[cfg(test)]
mod tests;
