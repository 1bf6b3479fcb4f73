//! `ff approve`: an operator signals a waitpoint without ever seeing its token.

use ff_core::contracts::DeliverApprovalSignalArgs;
use ff_core::types::{LaneId, WaitpointId};

use super::Global;
use super::failure::Failure;
use super::ids::{IdArguments, waitpoint_id};
use super::signal::{DEDUP_TTL_MS, tell};
use super::waitpoints::{only_one, open_waitpoints};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    id: IdArguments,
    /// The waitpoint; may be left out where only one is open.
    #[arg(value_name = "WAITPOINT", value_parser = waitpoint_id)]
    waitpoint: Option<WaitpointId>,
    /// The name of the signal: what the execution waits for, or for instance `rejected`.
    #[arg(long, value_name = "NAME", default_value = "approved")]
    name: String,
    /// Tells approvals of one waitpoint apart, where several are asked for. Within a day, a second
    /// one with the same key changes nothing; all have the same key unless said otherwise.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let id = arguments.id.execution_id()?;
    let engine = global.open_existing().await?;
    let failed = |error| Failure::engine(&format!("signalling {id}"), &error);
    let info = engine.read_execution_info(&id).await.map_err(failed)?;
    let Some(info) = info else {
        return Err(Failure::new(format!("there is no execution {id}")));
    };
    let waitpoint_id = match arguments.waitpoint {
        Some(waitpoint_id) => waitpoint_id,
        None => only_one(&id, open_waitpoints(&engine, &id).await?)?.waitpoint_id,
    };
    let args = DeliverApprovalSignalArgs::new(
        id.clone(),
        LaneId::new(info.lane_id),
        waitpoint_id.clone(),
        arguments.name,
        arguments.key.unwrap_or_else(|| waitpoint_id.to_string()),
        DEDUP_TTL_MS,
        None,
        None,
    );
    let delivered = engine.deliver_approval_signal(args).await.map_err(failed)?;
    tell(global.output(), &id, &delivered)
}
