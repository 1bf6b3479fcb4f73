//! `ff result`: the stored bytes, untouched.

use super::Global;
use super::failure::Failure;
use super::ids::IdArguments;
use super::output::word;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    id: IdArguments,
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let id = arguments.id.execution_id()?;
    let engine = global.open().await?;
    let failed = |error| Failure::engine(&format!("reading the result of {id}"), &error);
    if let Some(result) = engine.get_execution_result(&id).await.map_err(failed)? {
        return Ok(global.output().bytes(&result)?);
    }
    Err(Failure::new(match engine.read_execution_state(&id).await.map_err(failed)? {
        Some(state) => format!("{id} has no result; it is {}", word(&state)),
        None => format!("there is no execution {id}"),
    }))
}
