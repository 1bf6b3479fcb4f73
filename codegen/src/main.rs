//! Writes the generated files, or checks that they are fresh.

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Generates the migration files from the tables in core.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Writes every generated file that is stale.
    Gen,
    /// Lists the generated files that are stale; writes nothing.
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

fn run(action: &Action) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut stale = ff_codegen::ddl::files()?;
    stale.retain(|(path, content)| {
        !std::fs::read_to_string(root.join(path)).is_ok_and(|found| found == *content)
    });

    match action {
        Action::Gen => {
            for (path, content) in &stale {
                std::fs::write(root.join(path), content)?;
                println!("wrote {path}");
            }
            Ok(ExitCode::SUCCESS)
        }
        Action::Check if stale.is_empty() => Ok(ExitCode::SUCCESS),
        Action::Check => {
            for (path, _) in &stale {
                println!("stale: {path}");
            }
            println!("refresh with: cargo run -p ff-codegen -- gen");
            Ok(ExitCode::FAILURE)
        }
    }
}
