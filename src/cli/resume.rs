//! `ff resume`: an operator ends a suspension, whatever it waits for.

use ff_core::contracts::{ResumeExecutionArgs, ResumeExecutionResult};
use serde_json::json;

use super::Global;
use super::failure::Failure;
use super::filter::span;
use super::ids::IdArguments;
use super::output::word;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    id: IdArguments,
    /// How long it still waits before it can be claimed: 500ms, 30s, 2m, 1h, 3d.
    #[arg(long, value_name = "SPAN", value_parser = span)]
    delay: Option<i64>,
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let id = arguments.id.execution_id()?;
    let engine = global.open_existing().await?;
    let args = ResumeExecutionArgs {
        execution_id: id.clone(),
        trigger_type: "operator".to_owned(),
        resume_delay_ms: arguments.delay.map_or(0, i64::unsigned_abs),
    };
    let resumed = engine.resume_execution(args).await;
    let ResumeExecutionResult::Resumed { public_state } =
        resumed.map_err(|error| Failure::engine(&format!("resuming {id}"), &error))?;
    let output = global.output();
    if output.is_json() {
        output.json(&json!({ "execution_id": id, "public_state": public_state }))?;
    } else {
        output.line(format!("{id} is {}", word(&public_state)))?;
    }
    Ok(())
}
