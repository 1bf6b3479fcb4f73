//! `ff resume`: ends a suspension, for an operator.

use ff_core::contracts::{ResumeExecutionArgs, ResumeExecutionResult};

use super::Global;
use super::cancel::print_state;
use super::failure::Failure;
use super::filter::span;
use super::ids::IdArguments;
use super::refusal::OperatorAction;
use super::view::StateView;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    id: IdArguments,
    /// The delay before it can be claimed: 500ms, 30s, 2m, 1h, 3d.
    #[arg(long, value_name = "SPAN", value_parser = span)]
    delay: Option<i64>,
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let name = arguments.id.name()?;
    let engine = global.open_existing().await?;
    let id = name.find(&engine).await?;

    let args = ResumeExecutionArgs {
        execution_id: id.clone(),
        trigger_type: "operator".to_owned(),
        resume_delay_ms: arguments.delay.map_or(0, i64::unsigned_abs),
    };
    let ResumeExecutionResult::Resumed { public_state } = match engine.resume_execution(args).await
    {
        Ok(resumed) => resumed,
        Err(error) => return Err(OperatorAction::Resume.failure(&engine, &id, &error).await),
    };

    print_state(global.output(), &StateView { execution_id: &id, public_state })
}
