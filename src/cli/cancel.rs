//! `ff cancel`: an operator ends an execution.

use ff_core::contracts::{CancelExecutionArgs, CancelExecutionResult};
use ff_core::types::{CancelSource, TimestampMs};
use serde_json::json;

use super::Global;
use super::failure::Failure;
use super::ids::IdArguments;
use super::output::word;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    id: IdArguments,
    /// Why, for whoever looks at it later.
    #[arg(long, value_name = "TEXT", default_value = "cancelled by an operator")]
    reason: String,
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let execution_id = arguments.id.execution_id()?;
    let engine = global.open_existing().await?;
    let what = format!("cancelling {execution_id}");
    let args = CancelExecutionArgs {
        execution_id,
        reason: arguments.reason,
        source: CancelSource::OperatorOverride,
        lease_id: None,
        lease_epoch: None,
        attempt_id: None,
        now: TimestampMs::now(),
    };
    let cancelled = engine.cancel_execution(args).await;
    let CancelExecutionResult::Cancelled { execution_id, public_state } =
        cancelled.map_err(|error| Failure::engine(&what, &error))?;
    let output = global.output();
    if output.is_json() {
        output.json(&json!({ "execution_id": execution_id, "public_state": public_state }))?;
    } else {
        output.line(format!("{execution_id} is {}", word(&public_state)))?;
    }
    Ok(())
}
