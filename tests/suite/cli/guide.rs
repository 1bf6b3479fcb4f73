//! The shell blocks of the guide run, page by page, each page in a directory of its own.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Place, binary};

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

/// The search path, with the binary of this build before all others.
fn search_path(directory: &Path) -> OsString {
    let own = Path::new(binary(directory).get_program()).parent().unwrap().to_owned();
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(own).chain(std::env::split_paths(&inherited));
    std::env::join_paths(folders).unwrap()
}

/// The shell blocks of a page as one script.
fn script(page: &str) -> String {
    let blocks = page.split("```sh\n").skip(1).filter_map(|rest| rest.split("\n```").next());
    blocks.collect::<Vec<_>>().join("\n")
}

/// Runs the blocks of a page on a new database.
fn run(page: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page);
    let script = script(&std::fs::read_to_string(path).unwrap());
    assert!(!script.is_empty(), "{page} has no shell block: take it off the list");

    let place = Place::new();
    place.out(&["migrate"]);
    let directory = place.0.path();
    let mut command = Command::new("sh");
    command.args(["-eu", "-c", &script]).current_dir(directory).stdin(Stdio::null());
    for variable in ["FF_DATABASE_URL", "FF_SCHEMA", "RUST_LOG"] {
        command.env_remove(variable);
    }

    let ran = command.env("PATH", search_path(directory)).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{page}: {}\n{out}\n{err}", ran.status);
    assert!(!err.contains("panicked"), "{page}: {err}");
}

#[test]
fn the_shell_blocks_of_the_guide_run() {
    std::thread::scope(|scope| {
        for page in PAGES {
            scope.spawn(move || run(page));
        }
    });
}
