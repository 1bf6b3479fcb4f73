//! `ff fork`: submits an execution like another one, which keeps the results of some steps.

use ff_core::contracts::{ForkExecutionArgs, ForkExecutionResult};
use ff_core::partition::PartitionConfig;
use ff_core::types::{ExecutionId, LaneId};
use serde::Serialize;

use super::Global;
use super::failure::Failure;
use super::ids::{DEFAULT_LANE, IdArguments};
use super::words::OPERATOR;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    id: IdArguments,
    /// The first step that runs anew; the results of those before it are kept. Without a name, all
    /// steps run anew.
    #[arg(long, value_name = "NAME")]
    from_step: Option<String>,
}

/// The outcome as programs read it.
#[derive(Serialize)]
struct ForkView<'a> {
    /// The new execution.
    execution_id: &'a ExecutionId,
    /// The execution that it is like.
    forked_from: &'a ExecutionId,
    /// The number of steps that it has already.
    steps: u32,
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let name = arguments.id.name()?;
    let engine = global.open_existing().await?;
    let id = name.find(&engine).await?;

    let forked = ExecutionId::solo(&LaneId::new(DEFAULT_LANE), &PartitionConfig::default());
    let mut args = ForkExecutionArgs::new(id.clone(), forked, OPERATOR);
    args.from_step = arguments.from_step;
    let outcome = engine.fork_execution(args).await;
    let outcome = outcome.map_err(|error| Failure::engine(&format!("forking {id}"), &error))?;
    let (execution_id, steps) = match outcome {
        ForkExecutionResult::Forked { execution_id, steps } => (execution_id, steps),
        // The id is new, so another execution cannot have it.
        ForkExecutionResult::Duplicate { execution_id } => (execution_id, 0),
    };

    let output = global.output();
    if output.is_json() {
        let view = ForkView { execution_id: &execution_id, forked_from: &id, steps };
        return Ok(output.json(&view)?);
    }
    let kept = match steps {
        0 => "no step".to_owned(),
        1 => "1 step".to_owned(),
        steps => format!("{steps} steps"),
    };
    Ok(output.line(format!("{execution_id} is forked from {id}, with {kept} done"))?)
}
