//! `ff submit`: a file of executions goes in, the bad lines are named.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::sync::Arc;

use ff_core::EngineError;
use ff_core::contracts::{CreateExecutionArgs, CreateExecutionResult};
use ff_core::engine_backend::EngineBackend;
use ff_core::types::{Namespace, TimestampMs};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::Global;
use super::failure::Failure;
use super::ids::{DEFAULT_LANE, lane};
use super::line::{self, Defaults};
use super::output::Output;

/// How many executions go to the engine together.
const BATCH: usize = 500;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A file with one JSON object per line, - for stdin:
    /// {"kind", "payload", "priority"?, "lane"?, "delay_until"?, "tags"?, "policy"?, "id"?}.
    #[arg(value_name = "FILE.jsonl", default_value = "-")]
    file: PathBuf,
    /// The lane of lines that name none.
    #[arg(long, value_name = "LANE", default_value = DEFAULT_LANE)]
    lane: String,
    /// The tenant that the executions belong to.
    #[arg(long, value_name = "NAME", default_value = "default")]
    namespace: String,
    /// Print the id of each execution, created or found, one per line.
    #[arg(long)]
    ids: bool,
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let defaults =
        Defaults { lane: lane(&arguments.lane)?, namespace: Namespace::new(arguments.namespace) };
    let source = Source::open(&arguments.file)?;
    let engine = global.open_or_create().await?;
    let output = global.output();
    let progress = source.progress();
    let mut submission = Submission::new(engine, output, arguments.ids, progress.clone());
    let submitted = submission.all(source, &defaults).await;
    progress.finish_and_clear();
    let Counts { created, duplicate, failed } = submission.counts;
    let total = created + duplicate + failed;
    if output.is_json() {
        output.json(&json!({ "created": created, "duplicate": duplicate, "failed": failed }))?;
    } else if !arguments.ids {
        output.line(format!(
            "{total} executions: {created} created, {duplicate} duplicate, {failed} failed"
        ))?;
    }
    submitted?;
    if failed == 0 { Ok(()) } else { Err(Failure::partly()) }
}

/// Where the lines come from.
struct Source {
    name: String,
    length: Option<u64>,
    reader: Box<dyn BufRead + Send>,
}

impl Source {
    fn open(path: &PathBuf) -> Result<Self, Failure> {
        if path.as_os_str() == "-" {
            let reader = Box::new(BufReader::new(io::stdin()));
            return Ok(Self { name: "stdin".into(), length: None, reader });
        }
        let name = path.display().to_string();
        let failed = |error: io::Error| Failure::new(format!("reading {name}: {error}"));
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(Failure::new(format!("reading {name}: it is a directory")));
        }
        let length = metadata.is_file().then_some(metadata.len());
        Ok(Self { name, length, reader: Box::new(BufReader::new(file)) })
    }

    /// A bar where the length is known and stderr is a terminal.
    fn progress(&self) -> ProgressBar {
        let Some(length) = self.length else { return ProgressBar::hidden() };
        let style = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes} {msg}");
        let bar = ProgressBar::new(length);
        match style {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Counts {
    created: u64,
    duplicate: u64,
    failed: u64,
}

struct Submission {
    engine: Arc<dyn EngineBackend>,
    output: Output,
    print_ids: bool,
    progress: ProgressBar,
    counts: Counts,
    batch: Vec<(u64, CreateExecutionArgs)>,
}

impl Submission {
    fn new(
        engine: Arc<dyn EngineBackend>,
        output: Output,
        print_ids: bool,
        progress: ProgressBar,
    ) -> Self {
        let counts = Counts::default();
        Self { engine, output, print_ids, progress, counts, batch: Vec::with_capacity(BATCH) }
    }

    async fn all(&mut self, mut source: Source, defaults: &Defaults) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        let mut number = 0;
        loop {
            bytes.clear();
            let read = source.reader.read_until(b'\n', &mut bytes).map_err(|error| {
                Failure::new(format!("reading {} after line {number}: {error}", source.name))
            });
            let read = match read {
                Ok(read) => read,
                Err(failure) => {
                    self.flush(&source.name).await?;
                    return Err(failure);
                }
            };
            if read == 0 {
                return self.flush(&source.name).await;
            }
            number += 1;
            self.progress.inc(u64::try_from(read).unwrap_or(0));
            match understand(&bytes, number, defaults) {
                Ok(None) => {}
                Ok(Some(args)) => self.batch.push((number, args)),
                Err(reason) => self.refuse(&source.name, number, &reason),
            }
            if BATCH <= self.batch.len() {
                self.flush(&source.name).await?;
            }
        }
    }

    /// Sends what has been read. A line that the engine finds invalid is reported like any bad
    /// line; any other refusal ends the submission.
    async fn flush(&mut self, source: &str) -> Result<(), Failure> {
        let (numbers, batch): (Vec<u64>, Vec<_>) = self.batch.drain(..).unzip();
        let answers = self.engine.create_executions(batch).await;
        let mut outage = None;
        for (number, answer) in numbers.into_iter().zip(answers) {
            match answer {
                Ok(CreateExecutionResult::Created { execution_id, .. }) => {
                    self.counts.created += 1;
                    self.say(execution_id.as_str())?;
                }
                Ok(CreateExecutionResult::Duplicate { execution_id }) => {
                    self.counts.duplicate += 1;
                    self.say(execution_id.as_str())?;
                }
                Err(EngineError::Validation { detail, .. }) => {
                    self.refuse(source, number, &detail);
                }
                Err(error) => {
                    self.counts.failed += 1;
                    let what = format!("{source}, line {number}: submitting");
                    outage.get_or_insert(Failure::engine(&what, &error));
                }
            }
        }
        let counts = self.counts;
        self.progress.set_message(format!("{} submitted", counts.created + counts.duplicate));
        outage.map_or(Ok(()), Err)
    }

    fn say(&self, id: &str) -> io::Result<()> {
        if self.print_ids && !self.output.is_json() { self.output.line(id) } else { Ok(()) }
    }

    fn refuse(&mut self, source: &str, number: u64, reason: &str) {
        self.counts.failed += 1;
        let failure = Failure::new(format!("{source}, line {number}: {reason}"));
        self.progress.suspend(|| failure.report(self.output.is_json()));
    }
}

/// What a line asks for; nothing if it is blank.
fn understand(
    bytes: &[u8],
    number: u64,
    defaults: &Defaults,
) -> Result<Option<CreateExecutionArgs>, String> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| format!("not UTF-8 after byte {}", error.valid_up_to()))?;
    let text = if number == 1 { text.trim_start_matches('\u{feff}') } else { text };
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    line::parse(text, defaults, TimestampMs::now()).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults() -> Defaults {
        Defaults { lane: "default".into(), namespace: "default".into() }
    }

    #[test]
    fn blank_lines_and_marks_are_no_executions() {
        for blank in ["", "\n", "  \r\n", "\u{feff}\n"] {
            assert!(understand(blank.as_bytes(), 1, &defaults()).unwrap().is_none());
        }
        let marked = "\u{feff}{\"kind\":\"k\",\"payload\":1}\r\n";
        assert!(understand(marked.as_bytes(), 1, &defaults()).unwrap().is_some());
        let error = understand(b"{\"kind\":\"\xff\"}", 2, &defaults()).unwrap_err();
        assert_eq!(error, "not UTF-8 after byte 9");
    }
}
