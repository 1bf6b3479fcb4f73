//! `ff priority`: an operator moves an execution up or down in its lane.

use ff_core::contracts::{ChangePriorityArgs, ChangePriorityResult};
use ff_core::types::{LaneId, TimestampMs};
use serde_json::json;

use super::Global;
use super::failure::Failure;
use super::ids::IdArguments;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    id: IdArguments,
    /// The priority: higher goes first. Beyond 0 and 9000 the nearest one is taken.
    #[arg(value_name = "N", allow_negative_numbers = true)]
    priority: i32,
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let id = arguments.id.execution_id()?;
    let engine = global.open_existing().await?;
    let failed = |error| Failure::engine(&format!("reordering {id}"), &error);
    let info = engine.read_execution_info(&id).await.map_err(failed)?;
    let Some(info) = info else {
        return Err(Failure::new(format!("there is no execution {id}")));
    };
    let args = ChangePriorityArgs {
        execution_id: id.clone(),
        new_priority: arguments.priority,
        lane_id: LaneId::new(info.lane_id),
        now: TimestampMs::now(),
    };
    let ChangePriorityResult::Changed { execution_id } =
        engine.change_priority(args).await.map_err(failed)?;
    let info = engine.read_execution_info(&execution_id).await.map_err(failed)?;
    let priority = info.map_or(arguments.priority, |info| info.priority);
    let output = global.output();
    if output.is_json() {
        output.json(&json!({ "execution_id": execution_id, "priority": priority }))?;
    } else {
        output.line(format!("{execution_id} has priority {priority}"))?;
    }
    Ok(())
}
