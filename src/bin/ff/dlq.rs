//! `ff dlq`: the executions that failed for good, as a view: lists them, lets them run again, and
//! removes them.

use ff_core::contracts::RetentionRule;
use ff_core::state::PublicState;

use super::Global;
use super::bulk::Batches;
use super::clock::now;
use super::failure::Failure;
use super::filter::FilterArguments;
use super::output::OnClosed;
use super::{ls, retry, trim};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List executions that failed for good, newest first, each with its reason.
    Ls(ls::Arguments),
    /// Let executions that failed for good run again, as `ff retry --failed` does.
    Redrive {
        #[command(flatten)]
        filter: FilterArguments,
        #[command(flatten)]
        batches: Batches,
    },
    /// Remove executions that failed for good, with everything that belongs to them. What a flow
    /// that goes on or a named subscriber still needs stays.
    Purge {
        #[command(flatten)]
        filter: FilterArguments,
        /// Print what would be removed, and what is held back; change nothing.
        #[arg(long)]
        dry_run: bool,
        /// Do not ask for confirmation.
        #[arg(long)]
        yes: bool,
    },
}

impl Arguments {
    pub(super) const fn on_closed(&self) -> OnClosed {
        match self.command {
            Command::Ls(_) => OnClosed::End,
            Command::Redrive { .. } | Command::Purge { .. } => OnClosed::GoOn,
        }
    }

    /// True if the command reacts to a stop signal itself.
    pub(super) const fn handles_interrupts(&self) -> bool {
        !matches!(self.command, Command::Ls(_))
    }
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Ls(arguments) => ls::run(global, arguments.of_failed()?).await,
        Command::Redrive { filter, batches } => retry::redrive(global, filter, &batches).await,
        Command::Purge { filter, dry_run, yes } => purge(global, filter, dry_run, yes).await,
    }
}

async fn purge(
    global: &Global,
    filter: FilterArguments,
    dry_run: bool,
    yes: bool,
) -> Result<(), Failure> {
    if filter.names_a_flow() {
        return Err(Failure::usage("--flow: a flow is removed as a whole, once it is over")
            .with_help("ff trim removes flows that are over"));
    }
    if filter.names_a_worker() {
        return Err(Failure::usage("--worker: what is removed is not chosen by worker"));
    }
    let filter = filter.of_failed()?.check()?;
    trim::check_confirmation(dry_run, yes)?;

    let engine = global.open_existing().await?;
    let now = now(&engine).await?;
    let query = filter.query(&engine, 0, now).await?;
    let rule = RetentionRule::older_than(0).with_outcomes([PublicState::Failed]).matching(query);
    trim::remove(global, &engine, rule, dry_run, yes).await
}
