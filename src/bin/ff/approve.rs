//! `ff approve`: signals a waitpoint as an operator, without its token.

use ff_core::contracts::DeliverApprovalSignalArgs;
use ff_core::types::LaneId;

use super::Global;
use super::failure::Failure;
use super::ids::{IdArguments, WaitpointName, waitpoint_name};
use super::refusal::{OperatorAction, missing};
use super::signal::{DEDUP_TTL_MS, print_outcome};
use super::waitpoints::find;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    id: IdArguments,
    /// The waitpoint: its id, the first digits of it, or its key. Not needed if only one is open.
    #[arg(value_name = "WAITPOINT", value_parser = waitpoint_name)]
    waitpoint: Option<WaitpointName>,
    /// The name of the signal: what the execution waits for, or for instance `rejected`.
    #[arg(long, value_name = "NAME", default_value = "approved")]
    name: String,
    /// The key of this approval, for waitpoints that need several. Within a day, a second one with
    /// the same key changes nothing; all have the same key by default.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let name = arguments.id.name()?;
    let engine = global.open_existing().await?;
    let id = name.find(&engine).await?;

    let info = match engine.read_execution_info(&id).await {
        Ok(info) => info.ok_or_else(|| missing(&id))?,
        Err(error) => return Err(OperatorAction::Signal.failure(&engine, &id, &error).await),
    };
    let waitpoint_id = find(&engine, &id, arguments.waitpoint.as_ref()).await?;

    let args = DeliverApprovalSignalArgs::new(
        id.clone(),
        LaneId::new(info.lane_id),
        waitpoint_id.clone(),
        arguments.name,
        // One key per waitpoint, so that a repeated command approves only once.
        arguments.key.unwrap_or_else(|| waitpoint_id.to_string()),
        DEDUP_TTL_MS,
        None,
        None,
    );

    match engine.deliver_approval_signal(args).await {
        Ok(delivered) => print_outcome(global.output(), &id, &delivered),
        Err(error) => Err(OperatorAction::Signal.failure(&engine, &id, &error).await),
    }
}
