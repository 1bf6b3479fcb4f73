//! Writes the next migration and the page of the tables, or checks that both are there.

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use ff_codegen::{history, reference};

/// Generates migrations from the tables in core.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Writes the next migration for each dialect if the tables have changed, and the page of the
    /// tables. Delete files that are not released, and restore migrations/schema.json, to write
    /// them anew.
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
        Action::Gen { name } => {
            let mut written = history::generate(root, name.as_deref())?;
            if !reference::is_fresh(root) {
                reference::write(root)?;
                written.push(reference::PAGE.to_owned());
            }
            written
        }
        Action::Accept => history::accept(root)?,
        Action::Check => {
            let mut faults = history::check(root)?;
            if !reference::is_fresh(root) {
                faults.push(history::Fault::Stale(reference::PAGE.to_owned()));
            }
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
