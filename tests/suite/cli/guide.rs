//! The shell blocks and sessions of the guide run, page by page, each page in a directory of its
//! own. What a session prints is compared with the page.

mod page;
mod volatile;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Place, binary};
use page::{Page, Part};

/// The pages whose shell blocks run.
pub(crate) const PAGES: [&str; 11] = [
    "commands.md",
    "deployment.md",
    "doctor.md",
    "fairness.md",
    "limits.md",
    "moving.md",
    "schedules.md",
    "security.md",
    "telemetry.md",
    "tutorial.md",
    "unique.md",
];

/// The pages of the command line. Their `console` blocks are sessions.
pub(crate) const SESSIONS: [&str; 7] = [
    "cli.md",
    "cli-executions.md",
    "cli-flows.md",
    "cli-limits.md",
    "cli-many.md",
    "cli-operate.md",
    "cli-tools.md",
];

/// The directory of the sessions, as the pages have it.
const DIRECTORY: &str = "/srv/jobs";

/// The variable that makes the test write the output of sessions into the pages.
const WRITE: &str = "FF_DOCS";

/// The search path, with the binary of this build before all others.
fn search_path(directory: &Path) -> OsString {
    let own = Path::new(binary(directory).get_program()).parent().unwrap().to_owned();
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(own).chain(std::env::split_paths(&inherited));
    std::env::join_paths(folders).unwrap()
}

fn path(page: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page)
}

pub(crate) fn read(page: &str) -> String {
    std::fs::read_to_string(path(page)).unwrap()
}

/// Runs a script in the place; what it printed, on both outputs.
fn run(name: &str, place: &Place, script: &str, surroundings: &[(&str, &str)]) -> String {
    let directory = place.0.path();
    let mut command = Command::new("sh");
    command.args(["-u", "-c", script]).current_dir(directory).stdin(Stdio::null());
    for variable in ["FF_DATABASE_URL", "FF_SCHEMA", "RUST_LOG", "COLUMNS", "TRACEPARENT"] {
        command.env_remove(variable);
    }

    command.env("PATH", search_path(directory)).envs(surroundings.iter().copied());
    let ran = command.output().unwrap();
    let out = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(ran.status.success(), "{name}: {}\n{out}", ran.status);
    assert!(!out.contains("panicked"), "{name}: {out}");
    out
}

/// Runs the blocks of a page on a new database.
fn run_blocks(name: &str) {
    let text = read(name);
    let page = Page::parse(&text);
    let blocks = page.0.iter().filter_map(|part| match part {
        Part::Shell(text) => Some(*text),
        Part::Text(_) | Part::Command { .. } => None,
    });
    let script = blocks.collect::<Vec<_>>().join("\n");
    assert!(!script.is_empty(), "{name} has no shell block: take it off the list");

    let place = Place::new();
    place.out(&["migrate"]);
    run(name, &place, &format!("exec 2>&1\nset -e\n{script}"), &[]);
}

/// Runs the sessions of a page, as on a terminal of 100 columns in UTC.
fn run_sessions(name: &str) {
    let text = read(name);
    let mut page = Page::parse(&text);
    let place = Place::new();
    let surroundings = [("COLUMNS", "100"), ("TZ", "UTC"), ("RUST_BACKTRACE", "0")];
    let printed = run(name, &place, &page.script(), &surroundings);
    let directory = place.0.path().to_str().unwrap();
    let printed = printed.replace(directory, DIRECTORY);

    let differences = page.compare(&printed);
    if std::env::var(WRITE).is_ok_and(|value| value == "write") {
        std::fs::write(path(name), page.to_string()).unwrap();
        return;
    }

    let how = "FF_DOCS=write scripts/test -- cli::guide writes what is printed into the page";
    assert!(differences.is_empty(), "docs/{name} ({how}):\n{}", differences.join("\n"));
}

#[test]
fn the_shell_blocks_of_the_guide_run() {
    std::thread::scope(|scope| {
        for page in PAGES {
            scope.spawn(move || run_blocks(page));
        }
    });
}

#[test]
fn the_command_line_prints_what_its_pages_show() {
    std::thread::scope(|scope| {
        for page in SESSIONS {
            scope.spawn(move || run_sessions(page));
        }
    });
}

/// The commands that a help lists, but for `help` itself.
fn commands(place: &Place, of: &[&str]) -> Vec<String> {
    let help = place.out(&[of, &["--help"]].concat());
    let list = help.split("\nCommands:\n").nth(1).unwrap_or_default();
    let list = list.split("\n\n").next().unwrap_or_default().lines();
    let names = list.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names.filter(|name| !name.is_empty() && *name != "help").map(str::to_owned).collect()
}

/// Every command of the help, with the commands below it, has a section and an example.
#[test]
fn every_command_has_a_section_and_an_example() {
    let place = Place::new();
    let text = SESSIONS.map(read).join("\n");
    let examples: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
    let is_shown = |command: &str| {
        let begins = |line: &str| line.split(" | ").any(|part| part.starts_with(command));
        examples.iter().any(|line| begins(line))
    };

    let top = commands(&place, &[]);
    assert!(40 < top.len(), "{top:?}");
    for command in top {
        let section = format!("\n## `ff {command}`\n");
        let page = SESSIONS.into_iter().find(|page| read(page).contains(&section));
        let page = page.unwrap_or_else(|| panic!("ff {command} has no section"));
        let link = format!("[`ff {command}`]({page}#ff-{command})");
        assert!(read("cli.md").contains(&link), "docs/cli.md lacks {link}");
        let below = commands(&place, &[&command]);
        for name in &below {
            assert!(is_shown(&format!("ff {command} {name}")), "ff {command} {name}: no example");
        }
        assert!(!below.is_empty() || is_shown(&format!("ff {command}")), "ff {command}");
    }
}
