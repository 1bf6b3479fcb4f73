//! `ff replay`: lets an execution that has ended run again, for an operator.

use ff_core::contracts::{ReplayExecutionArgs, ReplayExecutionResult};

use super::Global;
use super::cancel::tell;
use super::clock::now;
use super::failure::Failure;
use super::ids::IdArguments;
use super::refusal::Wish;
use super::view::StateView;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    id: IdArguments,
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let named = arguments.id.named()?;
    let engine = global.open_existing().await?;
    let id = named.find(&engine).await?;

    let args = ReplayExecutionArgs { execution_id: id.clone(), now: now(&engine).await? };
    let ReplayExecutionResult::Replayed { public_state } = match engine.replay_execution(args).await
    {
        Ok(replayed) => replayed,
        Err(error) => return Err(Wish::Replay.refused(&engine, &id, &error).await),
    };

    tell(global.output(), &StateView { execution_id: &id, public_state })
}
