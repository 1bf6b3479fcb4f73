//! `ff retry`: lets executions that failed for good run again, batch by batch.

use ff_core::contracts::BulkAction;

use super::Global;
use super::bulk::{self, Batches};
use super::failure::Failure;
use super::filter::FilterArguments;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Retry executions that have failed for good. Filters choose among them.
    #[arg(long)]
    failed: bool,
    #[command(flatten)]
    filter: FilterArguments,
    #[command(flatten)]
    batches: Batches,
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    if !arguments.failed {
        let help = "ff replay ID lets a single execution run again, and ff bulk replay many";
        return Err(Failure::usage("which executions? say --failed").with_help(help));
    }
    redrive(global, arguments.filter, &arguments.batches).await
}

/// Replays the executions of a filter that have failed.
pub(super) async fn redrive(
    global: &Global,
    filter: FilterArguments,
    batches: &Batches,
) -> Result<(), Failure> {
    bulk::act(global, BulkAction::Replay, "replay", filter.of_failed()?, batches).await
}
