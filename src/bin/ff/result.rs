//! `ff result`: prints the stored bytes, unchanged.

use super::Global;
use super::failure::Failure;
use super::ids::IdArguments;
use super::refusal::missing;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    id: IdArguments,
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let name = arguments.id.name()?;
    let engine = global.open().await?;
    let id = name.find(&engine).await?;

    let failed = |error| Failure::engine(&format!("reading the result of {id}"), &error);
    if let Some(result) = engine.get_execution_result(&id).await.map_err(failed)? {
        return Ok(global.output().bytes(&result)?);
    }

    match engine.read_execution_state(&id).await.map_err(failed)? {
        Some(state) => Err(Failure::new(format!("{id} has no result; it is {}", state.as_str()))
            .with_help(format!("ff show '{id}' tells what happened to it"))),
        None => Err(missing(&id)),
    }
}
