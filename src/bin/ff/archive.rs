//! `ff archive`: writes executions that have ended to a file, one line each, behind a position that
//! the database stores.

mod file;

use std::path::PathBuf;
use std::sync::Arc;

use ff_core::contracts::{ArchivePass, ArchiveStage, SubscriberCursor};
use ff_core::engine_backend::EngineBackend;
use ff_core::state::OutboxKind;
use indicatif::{ProgressBar, ProgressStyle};

use super::Global;
use super::failure::Failure;
use super::output::Output;
use super::view::ArchiveView;
use super::words::count;
use file::ArchiveFile;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The file, which is made by the first run. Later runs append what has ended since.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The name of the archive, by which the database knows how far it goes; the name of the file
    /// without its extension if absent. It is one of the named subscribers.
    #[arg(long = "as", value_name = "NAME")]
    name: Option<String>,
}

impl Arguments {
    fn name(&self) -> Result<String, Failure> {
        let stem = || Some(self.file.file_stem()?.to_str()?.to_owned());
        let name = self.name.clone().or_else(stem);
        name.ok_or_else(|| Failure::usage("the file has no name that is text: say --as"))
    }
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let name = arguments.name()?;
    let engine = global.open_existing().await?;
    let mut archive = Archive::open(&engine, name, arguments.file).await?;
    let pass = archive.run().await?;
    archive.print(global.output(), &pass)
}

/// An archive that is open: its file, and the position that goes with it.
struct Archive {
    engine: Arc<dyn EngineBackend>,
    name: String,
    file: ArchiveFile,
    position: i64,
}

impl Archive {
    async fn open(
        engine: &Arc<dyn EngineBackend>,
        name: String,
        path: PathBuf,
    ) -> Result<Self, Failure> {
        let cursors = engine.list_subscriber_cursors().await;
        let cursors = cursors.map_err(|error| Failure::engine("reading the position", &error))?;
        let is_own = |at: &SubscriberCursor| at.name == name && at.outbox == OutboxKind::Completion;
        let engine = Arc::clone(engine);

        let Some(cursor) = cursors.into_iter().find(is_own) else {
            let file = ArchiveFile::begin(path, &name)?;
            let archive = Self { engine, name, file, position: 0 };
            archive.store(0).await?;
            return Ok(archive);
        };
        let Some(note) = cursor.note else {
            let text = format!("--as: {name} is a subscriber of events, not an archive");
            return Err(Failure::usage(text));
        };
        let file = ArchiveFile::go_on(path, &name, &note)?;
        Ok(Self { engine, name, file, position: cursor.event_id })
    }

    /// Writes everything that has ended, and moves the position behind what is on the disk.
    async fn run(&mut self) -> Result<ArchivePass, Failure> {
        let mut pass = ArchivePass::after(self.position);
        let progress = progress_bar();

        while !pass.is_done() {
            let step = self.engine.archive_step(pass).await;
            let step = step.map_err(|error| Failure::engine("reading what has ended", &error))?;
            pass = step.pass;
            self.file.append(&step.lines)?;

            if pass.is_whole() && self.position < pass.position {
                self.file.sync()?;
                self.store(pass.position).await?;
                self.position = pass.position;
            }
            progress.set_length(pass.until.unwrap_or_default().unsigned_abs());
            progress.set_position(pass.position.unsigned_abs());
            progress.set_message(count(pass.executions, "execution"));
        }
        progress.finish_and_clear();
        Ok(pass)
    }

    async fn store(&self, position: i64) -> Result<(), Failure> {
        let note = self.file.note()?;
        let stored = self.engine.store_archive_position(&self.name, position, &note).await;
        stored.map_err(|error| Failure::engine("storing the position", &error))
    }

    fn print(&self, output: Output, pass: &ArchivePass) -> Result<(), Failure> {
        let waits_for_flow = match pass.stage {
            ArchiveStage::Waiting { flow } => Some(flow.to_string()),
            ArchiveStage::Walking | ArchiveStage::InFlow(_) | ArchiveStage::Done => None,
        };
        if output.is_json() {
            return Ok(output.json(&ArchiveView {
                archive: &self.name,
                executions: pass.executions,
                flows: pass.flows_archived,
                event_id: pass.position,
                bytes: self.file.bytes(),
                waits_for_flow: waits_for_flow.as_deref(),
            })?);
        }

        let executions = count(pass.executions, "execution");
        let flows = count(pass.flows_archived, "flow");
        output.line(format!("archived {executions} and {flows} as {}", self.name))?;
        if let Some(flow) = waits_for_flow {
            let why = "an end in it is not dispatched yet";
            output.line(format!("stopped before flow {flow}: {why}; the next run goes on"))?;
        }
        Ok(())
    }
}

fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    match ProgressStyle::with_template("{wide_bar} event {pos}/{len}, {msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
