//! `ff import`: adds the executions of an archive to a database of any kind.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::sync::Arc;

use ff_core::contracts::{ImportRun, Imported};
use ff_core::engine_backend::EngineBackend;
use ff_core::rules::archive::check::CheckedFile;
use ff_core::rules::archive::line::{LineError, read_header};
use ff_core::rules::archive::record::{Record, Subject};
use futures_util::future::join_all;
use indicatif::{ProgressBar, ProgressStyle};

use super::Global;
use super::failure::Failure;
use super::output::Output;
use super::view::ImportView;
use super::words::count;

/// The most lines that are under way at once, and their size in bytes.
const AT_ONCE: usize = 64;
const ENOUGH: usize = 8 * 1024 * 1024;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The file that `ff archive` has written.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let source = Source { path: arguments.file };
    let checked = source.check()?;

    let engine = global.open_or_create().await?;
    let run = engine.begin_import(&checked).await;
    let run = run.map_err(|error| Failure::engine("beginning the import", &error))?;
    let import = Import { source: &source, engine, run, checked: &checked };
    let counts = import.run().await?;

    print(global.output(), &counts)?;
    if counts.differing == 0 { Ok(()) } else { Err(Failure::partly()) }
}

/// The file, which is read twice: nothing is added before all of it is checked.
struct Source {
    path: PathBuf,
}

/// One line of the file behind the first.
struct Line {
    number: u64,
    text: String,
}

impl Source {
    fn check(&self) -> Result<CheckedFile, Failure> {
        let progress = self.progress("checking")?;
        let mut checked = CheckedFile::default();
        let mut number = 1;
        for line in self.lines()? {
            let line = line?;
            number = line.number;
            progress.inc(line.text.len() as u64 + 1);
            let record = self.record(&line)?;
            checked.add(&record).map_err(|error| self.wrong(number, &error))?;
        }

        checked.finish().map_err(|error| self.wrong(number, &error))?;
        progress.finish_and_clear();
        Ok(checked)
    }

    fn record(&self, line: &Line) -> Result<Record, Failure> {
        Record::read(&line.text).map_err(|error| self.wrong(line.number, &error))
    }

    /// The lines behind the first, each of which must be whole.
    fn lines(&self) -> Result<impl Iterator<Item = Result<Line, Failure>> + '_, Failure> {
        let file = File::open(&self.path).map_err(|error| self.unreadable(&error))?;
        let mut reader = BufReader::new(file);
        let first = self.line(&mut reader, 1)?;
        read_header(&first.unwrap_or_default()).map_err(|error| self.wrong(1, &error))?;

        let mut number = 1;
        Ok(std::iter::from_fn(move || {
            number += 1;
            let text = self.line(&mut reader, number).transpose()?;
            Some(text.map(|text| Line { number, text }))
        }))
    }

    fn line(&self, reader: &mut impl BufRead, number: u64) -> Result<Option<String>, Failure> {
        let mut bytes = Vec::new();
        let read = reader.read_until(b'\n', &mut bytes);
        if read.map_err(|error| self.unreadable(&error))? == 0 {
            return Ok(None);
        }

        let what = "the line is cut off: the archive was not finished";
        let cut = LineError { field: "line".into(), what: what.into() };
        if bytes.pop() != Some(b'\n') {
            return Err(self.wrong(number, &cut));
        }
        let text = String::from_utf8(bytes).map_err(|_| {
            let what = "this is no UTF-8".into();
            self.wrong(number, &LineError { field: "line".into(), what })
        });
        text.map(Some)
    }

    /// A bar, as long as the file; shown only on a terminal.
    fn progress(&self, what: &'static str) -> Result<ProgressBar, Failure> {
        let metadata = std::fs::metadata(&self.path).map_err(|error| self.unreadable(&error))?;
        let bar = ProgressBar::new(metadata.len()).with_message(what);
        Ok(match ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes} {msg}") {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        })
    }

    fn unreadable(&self, error: &io::Error) -> Failure {
        Failure::new(format!("reading {}: {error}", self.path.display()))
    }

    fn wrong(&self, number: u64, error: &LineError) -> Failure {
        Failure::new(format!("{}, line {number}: {error}", self.path.display()))
    }
}

/// The lines by what became of them; executions and flows apart.
#[derive(Debug, Default)]
struct Counts {
    executions: u64,
    flows: u64,
    known: u64,
    differing: u64,
    superseded: u64,
}

struct Import<'a> {
    source: &'a Source,
    engine: Arc<dyn EngineBackend>,
    run: ImportRun,
    checked: &'a CheckedFile,
}

impl Import<'_> {
    async fn run(&self) -> Result<Counts, Failure> {
        let progress = self.source.progress("importing")?;
        let mut counts = Counts::default();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for line in self.source.lines()? {
            let line = line?;
            let record = self.source.record(&line)?;

            // Parts come before the rest of an execution, and members before their flow.
            let is_alone = record.is_part || matches!(record.subject, Subject::Flow(_));
            if is_alone || batch.len() == AT_ONCE || ENOUGH <= bytes {
                self.add(std::mem::take(&mut batch), &mut counts).await?;
                bytes = 0;
            }
            bytes += line.text.len();
            progress.inc(line.text.len() as u64 + 1);
            batch.push((line.number, record));
            if is_alone {
                self.add(std::mem::take(&mut batch), &mut counts).await?;
            }
        }

        self.add(batch, &mut counts).await?;
        progress.finish_and_clear();
        Ok(counts)
    }

    /// Adds lines that do not depend on each other.
    async fn add(&self, batch: Vec<(u64, Record)>, counts: &mut Counts) -> Result<(), Failure> {
        let all = batch.len();
        let current: Vec<_> =
            batch.into_iter().filter(|(_, record)| !self.checked.is_superseded(record)).collect();
        counts.superseded += (all - current.len()) as u64;

        let added = current.iter().map(|(_, record)| self.engine.import_record(&self.run, record));
        for (added, (number, record)) in join_all(added).await.into_iter().zip(&current) {
            let added = added.map_err(|error| {
                let place = format!("{}, line {number}", self.source.path.display());
                Failure::engine(&place, &error)
            });
            match (added?, record.subject) {
                _ if record.is_part => {}
                (Imported::Added, Subject::Execution(_)) => counts.executions += 1,
                (Imported::Added, Subject::Flow(_)) => counts.flows += 1,
                (Imported::AlreadyThere, _) => counts.known += 1,
                (Imported::Differs, _) => counts.differing += 1,
            }
        }
        Ok(())
    }
}

fn print(output: Output, counts: &Counts) -> Result<(), Failure> {
    let Counts { executions, flows, known, differing, superseded } = *counts;
    if output.is_json() {
        let view = ImportView { executions, flows, already_there: known, differing, superseded };
        return Ok(output.json(&view)?);
    }

    output.line(format!(
        "imported {} and {}",
        count(executions, "execution"),
        count(flows, "flow")
    ))?;
    for (number, what) in [
        (known, "already there"),
        (differing, "already there in another state, and left so"),
        (superseded, "superseded by a later line"),
    ] {
        if number != 0 {
            output.line(format!("  {number} {what}"))?;
        }
    }
    Ok(())
}
