//! `ff replay`: an operator lets an execution that has ended run again.

use ff_core::contracts::{ReplayExecutionArgs, ReplayExecutionResult};
use ff_core::types::TimestampMs;
use serde_json::json;

use super::Global;
use super::failure::Failure;
use super::ids::IdArguments;
use super::output::word;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    id: IdArguments,
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let execution_id = arguments.id.execution_id()?;
    let engine = global.open_existing().await?;
    let args = ReplayExecutionArgs { execution_id: execution_id.clone(), now: TimestampMs::now() };
    let replayed = engine.replay_execution(args).await;
    let ReplayExecutionResult::Replayed { public_state } =
        replayed.map_err(|error| Failure::engine(&format!("replaying {execution_id}"), &error))?;
    let output = global.output();
    if output.is_json() {
        output.json(&json!({ "execution_id": execution_id, "public_state": public_state }))?;
    } else {
        output.line(format!("{execution_id} is {}", word(&public_state)))?;
    }
    Ok(())
}
