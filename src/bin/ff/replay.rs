//! `ff replay`: lets an execution that has ended run again, for an operator.

use ff_core::contracts::{ReplayExecutionArgs, ReplayExecutionResult};

use super::Global;
use super::cancel::print_state;
use super::clock::now;
use super::failure::Failure;
use super::ids::IdArguments;
use super::refusal::OperatorAction;
use super::view::StateView;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    id: IdArguments,
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let name = arguments.id.name()?;
    let engine = global.open_existing().await?;
    let id = name.find(&engine).await?;

    let args = ReplayExecutionArgs { execution_id: id.clone(), now: now(&engine).await? };
    let ReplayExecutionResult::Replayed { public_state } = match engine.replay_execution(args).await
    {
        Ok(replayed) => replayed,
        Err(error) => return Err(OperatorAction::Replay.failure(&engine, &id, &error).await),
    };

    print_state(global.output(), &StateView { execution_id: &id, public_state })
}
