//! `ff priority`: changes the priority of a waiting execution, for an operator.

use ff_core::contracts::{ChangePriorityArgs, ChangePriorityResult};
use ff_core::types::LaneId;

use super::Global;
use super::clock::now;
use super::failure::Failure;
use super::ids::IdArguments;
use super::refusal::{OperatorAction, missing};
use super::view::PriorityView;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    id: IdArguments,
    /// The priority; the highest is claimed first. It is clamped to 0 to 9000.
    #[arg(value_name = "N", allow_negative_numbers = true)]
    priority: i32,
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let name = arguments.id.name()?;
    let engine = global.open_existing().await?;
    let id = name.find(&engine).await?;
    let info = match engine.read_execution_info(&id).await {
        Ok(info) => info.ok_or_else(|| missing(&id))?,
        Err(error) => return Err(OperatorAction::Reprioritise.failure(&engine, &id, &error).await),
    };

    let args = ChangePriorityArgs {
        execution_id: id.clone(),
        new_priority: arguments.priority,
        lane_id: LaneId::new(info.lane_id),
        now: now(&engine).await?,
    };
    let ChangePriorityResult::Changed { execution_id } = match engine.change_priority(args).await {
        Ok(changed) => changed,
        Err(error) => return Err(OperatorAction::Reprioritise.failure(&engine, &id, &error).await),
    };

    let info = engine.read_execution_info(&execution_id).await;
    let info = info.map_err(|error| Failure::engine("reading the new priority", &error))?;
    let priority = info.map_or(arguments.priority, |info| info.priority);

    let output = global.output();
    if output.is_json() {
        return Ok(output.json(&PriorityView { execution_id: &execution_id, priority })?);
    }
    Ok(output.line(format!("{execution_id} has priority {priority}"))?)
}
