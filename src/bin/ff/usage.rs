//! The end of a command line that asks for help, or that is not understood.

use std::io::{self, Write};
use std::process::ExitCode;

use super::exit::Exit;
use super::failure::Failure;
use super::shown::Shown;

/// The names of values that are numbers, spans or times. Their parsers refuse an option's name.
const MEASURES: [&str; 8] =
    ["BYTES", "DIMENSION=N", "MS", "N", "N/SPAN", "SECONDS", "SPAN", "TIME"];

/// Lets a number or a span begin with a minus, so that it is refused as such a value and not as an
/// unknown option.
pub(super) fn with_signs(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|argument| {
        let names = argument.get_value_names().unwrap_or_default();
        let is_measure = names.iter().any(|name| MEASURES.contains(&name.as_str()));
        let is_option = is_measure && !argument.is_positional();
        let is_number = argument.is_positional() && matches!(names, [name] if name == "WEIGHT");
        if is_option {
            argument.allow_hyphen_values(true)
        } else if is_number {
            argument.allow_negative_numbers(true)
        } else {
            argument
        }
    });
    command.mut_subcommands(with_signs)
}

/// Reports the end of parsing: help and version on stdout, wrong usage on stderr, in JSON if asked
/// for.
pub(super) fn report(error: &clap::Error) -> ExitCode {
    // The line was not understood, so --json is looked for by hand; after `--` it is a command's.
    if error.use_stderr()
        && std::env::args_os().take_while(|arg| arg != "--").any(|arg| arg == "--json")
    {
        let text = error.to_string();
        // After the first blank line come hints for people.
        let text = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
        Failure::usage(text).report(true);
        return ExitCode::from(Exit::Wrong.code());
    }

    if !error.use_stderr() {
        // Nothing can be done about a closed terminal.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }

    for line in error.to_string().lines() {
        let _ = writeln!(io::stderr(), "{}", Shown::from(line));
    }
    ExitCode::from(Exit::Wrong.code())
}
