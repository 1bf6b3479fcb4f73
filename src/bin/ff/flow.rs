//! `ff flow`: submits, lists, shows and cancels flows.

mod cancel;
mod dot;
mod flow_name;
mod graph;
mod ls;
mod mermaid;
mod palette;
pub(super) mod show;
mod submit;
pub(super) mod tree;

use clap::Subcommand;

pub(super) use flow_name::FlowName;

use super::Global;
use super::failure::Failure;
use super::output::OnClosed;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Submit a flow: executions, and the dependencies between them.
    Submit(submit::Arguments),
    /// List flows, the newest first.
    Ls(ls::Arguments),
    /// Show a flow as a tree, or as a graph for other programs.
    Show(show::Arguments),
    /// Cancel a flow with its executions.
    Cancel(cancel::Arguments),
}

impl Arguments {
    /// The meaning of a closed stdout. Commands that change something ignore it.
    pub(super) const fn on_closed(&self) -> OnClosed {
        match self.command {
            Command::Submit(_) | Command::Cancel(_) => OnClosed::GoOn,
            Command::Ls(_) | Command::Show(_) => OnClosed::End,
        }
    }
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Submit(arguments) => submit::run(global, arguments).await,
        Command::Ls(arguments) => ls::run(global, arguments).await,
        Command::Show(arguments) => show::run(global, arguments).await,
        Command::Cancel(arguments) => cancel::run(global, arguments).await,
    }
}

#[cfg(test)]
mod tests;
