//! `docs/cli-options.md`, the arguments and options of every command, as the program declares them.

use clap::{Arg, Command};
use textwrap::{Options, fill};

/// The longest line of a document.
const WIDTH: usize = 120;

/// The variable that makes the test write the page.
const WRITE: &str = "FF_DOCS";

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cli-options.md");

/// The head of the page, above the options that every command takes.
const HEAD: &str = "# Options of the command line

Part of [the command line](cli.md). The program declares this page; a test keeps it so, and
`FF_DOCS=write scripts/test -- reference::` writes it anew. `ff COMMAND --help` prints the same.

## Options of every command
";

/// The whole page.
fn page() -> String {
    let mut command = super::command_line();
    command.build();

    let mut page = HEAD.to_owned();
    page.push_str(&items(command.get_arguments()));
    for below in command.get_subcommands_mut() {
        describe(below, "ff", &mut page);
    }
    page
}

/// Adds a command with its arguments, and the commands below it.
fn describe(command: &mut Command, above: &str, page: &mut String) {
    let name = format!("{above} {}", command.get_name());
    if command.is_hide_set() || command.get_name() == "help" {
        return;
    }

    if !command.has_subcommands() {
        let usage = command.render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ");
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        page.push_str(&format!("\n## `{name}`\n\n{}\n", filled(&format!("{}.", escaped(&about)))));
        page.push_str(&format!("\n```text\n{usage}\n```\n"));
        let own = command.get_arguments().filter(|argument| !argument.is_global_set());
        page.push_str(&items(own));
    }
    for below in command.get_subcommands_mut() {
        describe(below, &name, page);
    }
}

/// A list of arguments, or nothing.
fn items<'a>(arguments: impl Iterator<Item = &'a Arg>) -> String {
    let items = arguments.filter(|argument| {
        !argument.is_hide_set() && !matches!(argument.get_id().as_str(), "help" | "version")
    });
    let items = items.map(item).collect::<Vec<_>>();
    if items.is_empty() { String::new() } else { format!("\n{}\n", items.join("\n")) }
}

/// An argument with its help, its default, its values and its variable.
fn item(argument: &Arg) -> String {
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let mut text = format!("- `{}`: {}.", declared(argument), escaped(help.trim_end_matches('.')));
    let mut add = |what: &str, values: Vec<String>| {
        if !values.is_empty() {
            let values: Vec<_> = values.iter().map(|value| format!("`{value}`")).collect();
            text.push_str(&format!(" {what}: {}.", values.join(", ")));
        }
    };

    if argument.get_action().takes_values() {
        let values = argument.get_possible_values();
        add("Values", values.iter().map(|value| value.get_name().to_owned()).collect());
        let defaults = argument.get_default_values().iter();
        add("Default", defaults.map(|value| value.to_string_lossy().into_owned()).collect());
    }
    let variable = argument.get_env().map(|name| name.to_string_lossy().into_owned());
    add("Variable", variable.into_iter().collect());
    filled(&text)
}

/// The argument as it is given: `--lane <LANE>`, or `<ID>`.
fn declared(argument: &Arg) -> String {
    let text = argument.to_string();
    text.trim_end_matches("...").to_owned()
}

/// Help as Markdown: what is no code has no marks.
fn escaped(help: &str) -> String {
    let mark = |text: &str| {
        let signs = text.chars().flat_map(|sign| {
            let escape = matches!(sign, '<' | '*' | '_').then_some('\\');
            escape.into_iter().chain([sign])
        });
        signs.collect::<String>()
    };
    let parts = help.split('`').enumerate();
    let parts =
        parts.map(|(place, part)| if place % 2 == 0 { mark(part) } else { part.to_owned() });
    parts.collect::<Vec<_>>().join("`")
}

fn filled(text: &str) -> String {
    let indent = if text.starts_with("- ") { "  " } else { "" };
    let options = Options::new(WIDTH).subsequent_indent(indent).break_words(false);
    fill(text, options.word_splitter(textwrap::WordSplitter::NoHyphenation))
}

#[test]
fn the_page_of_options_is_what_the_program_declares() {
    let page = page();
    if std::env::var(WRITE).is_ok_and(|value| value == "write") {
        std::fs::write(PAGE, &page).unwrap();
        return;
    }
    let written = std::fs::read_to_string(PAGE).unwrap();
    assert!(
        written == page,
        "FF_DOCS=write scripts/test -- reference:: writes docs/cli-options.md"
    );
}
