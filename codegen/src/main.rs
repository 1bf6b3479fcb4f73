//! Writes the next migration, or checks that none is missing.

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use ff_codegen::history;

/// Generates migrations from the tables in core.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Writes the next migration for each dialect if the tables have changed. Delete files that are
    /// not released, and restore migrations/schema.json, to write them anew.
    Gen {
        /// The name of the migration, after its number. The default is the first object it changes.
        #[arg(long)]
        name: Option<String>,
    },
    /// Records migrations that were written by hand.
    Accept,
    /// Lists what is altered, missing or stale; writes nothing.
    Check,
}

fn main() -> ExitCode {
    match run(&Cli::parse().action) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("ff-codegen: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(action: &Action) -> Result<ExitCode, history::HistoryError> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let written = match action {
        Action::Gen { name } => history::generate(root, name.as_deref())?,
        Action::Accept => history::accept(root)?,
        Action::Check => {
            let faults = history::check(root)?;
            for fault in &faults {
                println!("{fault}");
            }
            return Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
    };

    for path in written {
        println!("wrote {path}");
    }
    Ok(ExitCode::SUCCESS)
}
