//! The guide is whole and true: every page is listed, every block is tested, every name exists.

use std::collections::BTreeSet;
use std::fs;

use ff_core::state::{ClosedSet as _, PublicState};

use super::{code, files, root};
use crate::cli::guide;

/// Shell blocks that no test runs, and why.
const NOT_RUN: [(&str, &str); 3] = [
    (
        "performance.md",
        "measurements, which take minutes and tell something only on a quiet machine",
    ),
    ("stats.md", "one of its commands goes on until Ctrl-C"),
    ("testing.md", "all the tests"),
];

fn page(name: &str) -> String {
    fs::read_to_string(root().join("docs").join(name)).unwrap()
}

/// The words after the fences that begin a block.
fn languages(text: &str) -> Vec<&str> {
    let fences = text.lines().filter_map(|line| line.strip_prefix("```"));
    fences.step_by(2).collect()
}

/// The words between backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_page_is_in_the_summary() {
    let summary = page("SUMMARY.md");
    for path in files("docs", &["md"]) {
        let name = path.file_name().unwrap().to_str().unwrap();
        let listed = summary.contains(&format!("]({name})"));
        assert!(listed || name == "SUMMARY.md", "docs/SUMMARY.md does not list {name}");
    }
}

#[test]
fn every_block_of_the_guide_is_tested_or_no_code() {
    let library = ["src/lib.rs", "src/within.rs"];
    let library = library.map(|file| fs::read_to_string(root().join(file)).unwrap()).concat();
    for path in files("docs", &["md"]) {
        let name = path.file_name().unwrap().to_str().unwrap();
        let excused = NOT_RUN.iter().any(|(page, _)| *page == name);
        for language in languages(&page(name)) {
            let tested = match language {
                "rust" => library.contains(&format!("include_str!(\"../docs/{name}\")")),
                "sh" => guide::PAGES.contains(&name) != excused,
                "console" if name.starts_with("cli") => guide::SESSIONS.contains(&name),
                // Pictures, output, unit files, statements for an administrator, one line of input.
                "console" | "ini" | "json" | "mermaid" | "sql" | "text" => true,
                _ => false,
            };
            assert!(tested, "docs/{name}: no test runs its blocks in {language:?}");
        }
    }
}

/// Every state but the one that only a scheduler of the caller brings about, and no other.
#[test]
fn the_picture_of_a_life_has_every_state() {
    let concepts = page("concepts.md");
    let picture = concepts.split("```mermaid\n").nth(1).and_then(|rest| rest.split("```").next());
    let arrows = picture.unwrap().lines().filter_map(|line| line.trim().split_once(" --> "));
    let ends = arrows.flat_map(|(from, to)| [from, to.split(':').next().unwrap()]);
    let drawn: BTreeSet<&str> = ends.filter(|end| *end != "[*]").collect();

    let states = PublicState::all().into_iter().filter(|state| *state != PublicState::RateLimited);
    assert_eq!(drawn, states.map(PublicState::as_str).collect());
    assert!(concepts.contains("`rate_limited`"));
}

#[test]
fn every_document_in_json_can_be_read() {
    for path in files("docs", &["md"]) {
        let text = fs::read_to_string(&path).unwrap();
        for block in text.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            for line in block.lines() {
                let read = serde_json::from_str::<serde_json::Value>(line);
                assert!(read.is_ok(), "{}: {line}", path.display());
            }
        }
    }
}

#[test]
fn every_test_that_guarantees_name_exists() {
    let mut names = BTreeSet::new();
    for path in files(".", &["rs"]) {
        for (_, line) in code(&path) {
            let name = line.split("fn ").nth(1).and_then(|rest| rest.split('(').next());
            names.extend(name.map(str::to_owned));
        }
    }

    let guarantees = page("guarantees.md");
    let rows = guarantees.lines().filter_map(|line| line.strip_prefix("| "));
    let mut tests = 0;
    for cell in rows.filter_map(|row| row.split(" | ").nth(1)) {
        for test in quoted(cell) {
            tests += 1;
            assert!(names.contains(test), "docs/guarantees.md names {test}, which is no test");
        }
    }
    assert!(40 < tests, "{tests} tests are named");
}

#[test]
fn every_error_is_in_the_reference() {
    let source = fs::read_to_string(root().join("core/src/model/error.rs")).unwrap();
    let errors = page("errors.md");
    let named: BTreeSet<&str> = quoted(&errors).collect();
    let kinds = ["EngineError", "ValidationKind", "ContentionKind", "ConflictKind", "StateKind"];

    for kind in kinds.into_iter().chain(["BugKind"]) {
        let body = source.split(&format!("pub enum {kind} {{\n")).nth(1).unwrap();
        let body = body.split("\n}").next().unwrap();
        let variants = body.lines().filter_map(|line| {
            let name = line.strip_prefix("    ")?.split([' ', '(', ',']).next()?;
            name.starts_with(char::is_uppercase).then_some(name)
        });
        for variant in variants {
            assert!(named.contains(variant), "docs/errors.md lacks {kind}::{variant}");
        }
    }
}

/// Two commands, an example of at most 15 lines, which is a doctest, and a picture.
#[test]
fn the_first_screen_is_short() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let blocks: Vec<_> = readme.split("```").skip(1).step_by(2).take(3).collect();
    let [commands, example, picture] = blocks[..] else { panic!("the README has three blocks") };
    assert_eq!(commands.strip_prefix("sh\n").unwrap().lines().count(), 2);
    let example = example.strip_prefix("rust\n").unwrap().lines();
    assert!(example.filter(|line| !line.is_empty()).count() <= 15);
    assert!(
        picture.strip_prefix("text\n").unwrap().contains("submit ──► waiting ──claim──► active")
    );
}

/// The order service has the lines that the page says, and this library adds 60 at most.
#[test]
fn the_order_service_is_as_short_as_the_guide_says() {
    let text = page("order-service.md");
    let read = |name: &str| {
        let example = root().join("examples/order_service").join(name);
        let example = fs::read_to_string(example).unwrap();
        let lines = example.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("//")).count();
        let row = format!("[{name}](../examples/order_service/{name}) | {lines} |");
        assert!(text.contains(&row), "docs/order-service.md: {name} has {lines} lines");
        (example, lines)
    };
    let (jobs, added) = read("jobs.rs");
    read("main.rs");
    read("shop.rs");
    assert!(added <= 60, "{added} lines");

    // The submission and the handler stand in the page as they do in the example.
    for shown in text.split("```text\n").skip(1).take(2) {
        let shown = shown.split("```").next().unwrap();
        assert!(jobs.contains(shown), "docs/order-service.md shows another\n{shown}");
    }
    for path in files("examples", &["rs"]) {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines < 120, "{} has {lines} lines", path.display());
    }
}
