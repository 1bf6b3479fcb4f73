//! `ff completions` and `ff man`: files that shells and manuals read, made from the arguments.

use std::path::PathBuf;

use clap_complete::Shell;
use serde_json::json;

use super::Global;
use super::failure::Failure;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The shell.
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
}

#[derive(Debug, clap::Args)]
pub(super) struct ManArguments {
    /// The directory, which is made if it is missing.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Prints the completions of a shell.
pub(super) fn run(
    global: &Global,
    arguments: &Arguments,
    mut command: clap::Command,
) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "ff", &mut script);
    Ok(global.output().bytes(&script)?)
}

/// Writes a page of the manual for each command.
pub(super) fn man(
    global: &Global,
    arguments: &ManArguments,
    command: clap::Command,
) -> Result<(), Failure> {
    let directory = &arguments.directory;
    let failed =
        |error| Failure::new(format!("writing the manual to {}: {error}", directory.display()));
    std::fs::create_dir_all(directory).map_err(failed)?;
    clap_mangen::generate_to(command, directory).map_err(failed)?;

    let output = global.output();
    let directory = directory.display().to_string();
    if output.is_json() {
        return Ok(output.json(&json!({ "directory": directory }))?);
    }
    Ok(output.line(format!("written to {directory}; man {directory}/ff.1 shows the first page"))?)
}
