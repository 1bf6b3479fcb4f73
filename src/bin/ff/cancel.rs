//! `ff cancel`: ends an execution, for an operator.

use ff_core::contracts::{CancelExecutionArgs, CancelExecutionResult};
use ff_core::types::CancelSource;

use super::Global;
use super::clock::now;
use super::failure::Failure;
use super::ids::IdArguments;
use super::output::Output;
use super::refusal::OperatorAction;
use super::view::StateView;
use super::words::word;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    id: IdArguments,
    /// The reason, which later readers see.
    #[arg(long, value_name = "TEXT", default_value = "cancelled by an operator")]
    reason: String,
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let name = arguments.id.name()?;
    let engine = global.open_existing().await?;
    let id = name.find(&engine).await?;

    let args = CancelExecutionArgs {
        execution_id: id.clone(),
        reason: arguments.reason,
        source: CancelSource::OperatorOverride,
        lease_id: None,
        lease_epoch: None,
        attempt_id: None,
        now: now(&engine).await?,
    };
    let CancelExecutionResult::Cancelled { execution_id, public_state } =
        match engine.cancel_execution(args).await {
            Ok(cancelled) => cancelled,
            Err(error) => return Err(OperatorAction::Cancel.failure(&engine, &id, &error).await),
        };

    print_state(global.output(), &StateView { execution_id: &execution_id, public_state })
}

/// Prints the new state of an execution.
pub(super) fn print_state(output: Output, view: &StateView<'_>) -> Result<(), Failure> {
    if output.is_json() {
        return Ok(output.json(view)?);
    }
    Ok(output.line(format!("{} is {}", view.execution_id, word(&view.public_state)))?)
}
