//! From lines to executions: batches, what becomes of each line, and where to go on after a break.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ff_core::EngineError;
use ff_core::engine_error::StoreClass;
use ff_core::contracts::{CreateExecutionArgs, CreateExecutionResult};
use ff_core::engine_backend::EngineBackend;
use ff_core::types::ExecutionId;
use indicatif::ProgressBar;
use tokio::sync::mpsc::Receiver;

use super::lines::Lines;
use super::source::Line;
use crate::cli::clock::now;
use crate::cli::failure::Failure;
use crate::cli::interrupt::Interrupts;
use crate::cli::line::{self, Defaults, Request};
use crate::cli::output::Output;

/// How many executions go to the engine together.
const BATCH: usize = 500;

/// How long the input may be silent before what has been read is sent.
const SILENCE: Duration = Duration::from_millis(100);

/// How many lines are named that fail for the same reason: the database.
const NAMED: usize = 10;

#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) created: u64,
    pub(super) duplicate: u64,
    pub(super) failed: u64,
}

/// How the reading ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With the input.
    Read,
    /// Because the command was told to stop.
    Interrupted,
    /// Because the database failed.
    BrokenOff,
    /// Because the input could not be read any further.
    Unreadable(String),
}

pub(super) struct Submission {
    pub(super) engine: Arc<dyn EngineBackend>,
    pub(super) output: Output,
    pub(super) defaults: Defaults,
    pub(super) progress: ProgressBar,
    /// The name of the input.
    pub(super) source: String,
    /// Only these lines; all where none are named.
    pub(super) only: Option<Lines>,
    /// Whether each id is printed as soon as it is known.
    pub(super) print_ids: bool,
    /// What is known so far.
    pub(super) so_far: SoFar,
}

/// What has become of the lines so far.
#[derive(Default)]
pub(super) struct SoFar {
    pub(super) counts: Counts,
    /// The executions, where they are collected.
    pub(super) ids: Option<Vec<ExecutionId>>,
    /// The last line that was read.
    pub(super) read: u64,
    /// Lines that did not go in, although nothing is wrong with them.
    pub(super) left: Vec<u64>,
    /// Lines of which it is unknown, and that name no id.
    pub(super) unsure: Vec<u64>,
    /// The first failure to print an id.
    pub(super) unwritten: Option<io::Error>,
    batch: Vec<(u64, Request)>,
}

impl SoFar {
    /// Nothing yet; ids are collected where there is something to collect them in.
    pub(super) fn collecting(ids: Option<Vec<ExecutionId>>) -> Self {
        Self { ids, ..Self::default() }
    }
}

impl Submission {
    /// Submits the lines until they end, or something ends it before.
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
                () = silence, if !self.so_far.batch.is_empty() => {
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
                Ok(bytes) => self.take(&bytes),
                Err(error) => {
                    let flushed = self.flush().await;
                    return if flushed {
                        End::Unreadable(error.to_string())
                    } else {
                        End::BrokenOff
                    };
                }
            }
            if BATCH <= self.so_far.batch.len() && !self.flush().await {
                return End::BrokenOff;
            }
        }
    }

    /// Sends what has been read by now, and no more.
    async fn stop(&mut self, mut lines: Receiver<Line>) -> End {
        lines.close();
        while let Some(Ok(bytes)) = lines.recv().await {
            self.take(&bytes);
        }
        if self.flush().await { End::Interrupted } else { End::BrokenOff }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.so_far.read += 1;
        let number = self.so_far.read;
        self.progress.inc(u64::try_from(bytes.len()).unwrap_or(0));
        if self.only.as_ref().is_some_and(|only| !only.contains(number)) {
            return;
        }
        match understand(bytes, number, &self.defaults) {
            Ok(None) => {}
            Ok(Some(request)) => self.so_far.batch.push((number, request)),
            Err(reason) => self.refuse(number, &reason),
        }
    }

    /// Sends what has been read; whether the database took it. A line that the engine finds invalid
    /// is reported like any bad line.
    async fn flush(&mut self) -> bool {
        let batch = std::mem::take(&mut self.so_far.batch);
        if batch.is_empty() {
            return true;
        }
        let now = match now(&self.engine).await {
            Ok(now) => now,
            Err(failure) => {
                self.so_far.counts.failed += u64::try_from(batch.len()).unwrap_or(0);
                self.so_far.left.extend(batch.iter().map(|(number, _)| *number));
                self.report(&failure);
                return false;
            }
        };

        let mut sent = Vec::with_capacity(batch.len());
        for (number, request) in batch {
            match request.at(now) {
                Ok(args) => sent.push(Sent { number, args, has_id: request.has_id }),
                Err(reason) => self.refuse(number, &reason),
            }
        }
        let failed = self.send(sent).await;
        // Ids are drawn before anything is sent: repeating finds what went in unnoticed.
        let (again, failed): (Vec<_>, Vec<_>) =
            failed.into_iter().partition(|(_, error)| is_unsure(error));
        let again = again.into_iter().map(|(sent, _)| sent).collect();
        let failed: Vec<_> = failed.into_iter().chain(self.send(again).await).collect();

        let counts = self.so_far.counts;
        self.progress.set_message(format!("{} submitted", counts.created + counts.duplicate));
        self.give_up(&failed);
        failed.is_empty()
    }

    /// Sends lines; returns those that the database did not take.
    async fn send(&mut self, batch: Vec<Sent>) -> Vec<(Sent, EngineError)> {
        let args = batch.iter().map(|sent| sent.args.clone()).collect();
        let answers = self.engine.create_executions(args).await;
        let mut failed = Vec::new();
        for (sent, answer) in batch.into_iter().zip(answers) {
            match answer {
                Ok(CreateExecutionResult::Created { execution_id, .. }) => {
                    self.so_far.counts.created += 1;
                    self.say(execution_id);
                }
                Ok(CreateExecutionResult::Duplicate { execution_id }) => {
                    self.so_far.counts.duplicate += 1;
                    self.say(execution_id);
                }
                Err(EngineError::Validation { detail, .. }) => self.refuse(sent.number, &detail),
                Err(error) => failed.push((sent, error)),
            }
        }
        failed
    }

    /// Names the lines that the database did not take, the first of them one by one.
    fn give_up(&mut self, failed: &[(Sent, EngineError)]) {
        for (place, (sent, error)) in failed.iter().enumerate() {
            self.so_far.counts.failed += 1;
            if is_unsure(error) && !sent.has_id {
                self.so_far.unsure.push(sent.number);
            } else {
                self.so_far.left.push(sent.number);
            }
            if place < NAMED {
                let what = format!("{}, line {}", self.source, sent.number);
                self.report(&Failure::engine(&what, error));
            }
        }
        if let Some(more @ 1..) = failed.len().checked_sub(NAMED) {
            self.report(&Failure::new(format!("{}: and {more} more lines", self.source)));
        }
    }

    fn say(&mut self, id: ExecutionId) {
        if self.print_ids
            && let Err(error) = self.output.line(id.as_str())
        {
            self.so_far.unwritten.get_or_insert(error);
        }
        if let Some(ids) = &mut self.so_far.ids {
            ids.push(id);
        }
    }

    fn refuse(&mut self, number: u64, reason: &str) {
        self.so_far.counts.failed += 1;
        self.report(&Failure::new(format!("{}, line {number}: {reason}", self.source)));
    }

    fn report(&self, failure: &Failure) {
        self.progress.suspend(|| failure.report(self.output.is_json()));
    }
}

/// A line that goes to the engine.
#[derive(Clone, Debug)]
struct Sent {
    number: u64,
    args: CreateExecutionArgs,
    has_id: bool,
}

/// Whether the execution may have been created nevertheless.
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

/// What a line asks for; nothing if it is blank.
fn understand(bytes: &[u8], number: u64, defaults: &Defaults) -> Result<Option<Request>, String> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| format!("not UTF-8 after byte {}", error.valid_up_to()))?;
    let text = if number == 1 { text.trim_start_matches('\u{feff}') } else { text };
    let text = text.trim();
    if text.is_empty() { Ok(None) } else { line::parse(text, defaults).map(Some) }
}

#[cfg(test)]
mod tests;
