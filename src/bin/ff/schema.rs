//! `ff schema`: prints the schema of what `--json` prints.

use super::Global;
use super::failure::Failure;

/// The schema, as `docs/` has it.
const SCHEMA: &str = include_str!("../../../docs/json.schema.json");

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {}

pub(super) fn run(global: &Global, Arguments {}: &Arguments) -> Result<(), Failure> {
    Ok(global.output().bytes(SCHEMA.as_bytes())?)
}
