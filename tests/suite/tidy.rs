//! House rules that a program can check.

use std::fs;
use std::path::{Path, PathBuf};

use ff_core::engine_backend::Scan;
use ff_core::schema::TABLES;
use ff_core::state::{
    AttemptState, ClosedSet, EligibilityState, LifecyclePhase, OwnershipState, PublicState,
};
use flowfabric_sql::ScannerConfig;

/// Files that may be longer than [`LONGEST`], and why.
const LONG: [(&str, &str); 12] = [
    ("codegen/src/fused.rs", "one statement form, described part by part"),
    ("core/src/contracts/budget.rs", "arguments and answers of one family of operations"),
    ("core/src/contracts/condition.rs", "arguments and answers of one family of operations"),
    ("core/src/contracts/claim.rs", "arguments and answers of one family of operations"),
    ("core/src/contracts/flow.rs", "arguments and answers of one family of operations"),
    ("core/src/contracts/snapshot.rs", "arguments and answers of one family of operations"),
    ("core/src/contracts/suspension.rs", "arguments and answers of one family of operations"),
    ("core/src/engine/backend.rs", "one implementation, one method per operation"),
    ("core/src/engine/operations.rs", "one trait, every operation"),
    ("core/src/model/error.rs", "every refusal, one sentence each"),
    ("core/src/model/ids.rs", "every id"),
    ("core/src/model/state.rs", "every closed set of states"),
];

const LONGEST: usize = 500;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `directory` with one of these extensions, without what is generated or fetched.
fn files(directory: &str, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().join(directory)];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                if !["target", ".git"].contains(&name.as_str()) {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|own| extensions.iter().any(|e| own == *e)) {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "{directory} has no files");
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/")
}

/// The lines that are code, with their numbers.
fn code(path: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(path).unwrap();
    let is_comment = |line: &str| line.trim_start().starts_with("//");
    let numbered = (1..).zip(text.lines().map(str::to_owned));
    numbered.filter(|(_, line)| !is_comment(line)).collect()
}

#[test]
fn backends_name_no_table() {
    for path in ["backends/postgres/src", "backends/sqlite/src"].map(|d| files(d, &["rs"])).concat()
    {
        for (number, line) in code(&path) {
            for table in TABLES {
                let named = line.contains(&format!("{}\"", table.name))
                    || line.contains(&format!("{} ", table.name));
                assert!(!named, "{}:{number} names {}: {line}", relative(&path), table.name);
            }
        }
    }
}

#[test]
fn backends_name_no_state() {
    fn words<T: ClosedSet>() -> Vec<&'static str> {
        T::all()
            .into_iter()
            .flat_map(ClosedSet::spellings)
            .filter(|word| !word.is_empty())
            .collect()
    }
    let states = [
        words::<LifecyclePhase>(),
        words::<OwnershipState>(),
        words::<EligibilityState>(),
        words::<AttemptState>(),
        words::<PublicState>(),
    ]
    .concat();
    for path in ["backends/memory/src", "backends/postgres/src", "backends/sqlite/src"]
        .map(|directory| files(directory, &["rs"]))
        .concat()
    {
        for (number, line) in code(&path) {
            for state in &states {
                let named =
                    line.contains(&format!("\"{state}\"")) || line.contains(&format!("'{state}'"));
                assert!(!named, "{}:{number} names the state {state}: {line}", relative(&path));
            }
        }
    }
}

/// sea-query numbers placeholders inside custom expressions wrongly in places and panics on short
/// ones: the generator writes none that take values.
#[test]
fn no_custom_expression_takes_values() {
    for path in files("codegen/src", &["rs"]) {
        for (number, line) in code(&path) {
            assert!(!line.contains("cust_with"), "{}:{number}: {line}", relative(&path));
        }
    }
}

#[test]
fn only_one_place_per_backend_runs_text() {
    for backend in ["backends/postgres/src", "backends/sqlite/src"] {
        let (mut statements, mut migrations) = (0, 0);
        for path in files(backend, &["rs"]) {
            let text: String = code(&path).into_iter().map(|(_, line)| line).collect();
            let uses = text.matches("AssertSqlSafe(").count();
            if path.ends_with("migrate.rs") { migrations += uses } else { statements += uses }
        }
        assert!(statements <= 1, "{backend}: {statements} places run rendered statements");
        assert!(migrations <= 1, "{backend}: {migrations} places run migrations");
    }
}

#[test]
fn the_core_has_no_clock_and_no_chance() {
    for path in files("core/src", &["rs"]) {
        if ["model/generate.rs", "engine/wait.rs"].iter().any(|impure| path.ends_with(impure)) {
            continue;
        }
        for (number, line) in code(&path) {
            for impure in
                ["SystemTime::", "Instant::", "std::fs", "std::net", "std::env", "new_v4("]
            {
                let test_only = line.contains("env!(");
                assert!(
                    test_only || !line.contains(impure),
                    "{}:{number} uses {impure}: {line}",
                    relative(&path)
                );
            }
        }
    }
}

/// The folders of `core/src`, from the ground up.
const FLOORS: [&str; 6] = ["model", "contracts", "plan", "schema", "rules", "engine"];

/// The floors that a line of code names by their path in the crate. The root's other names are no
/// floor: code inside the crate names the home of a thing.
fn floors_named(line: &str) -> impl Iterator<Item = &str> {
    let name = |rest: &'_ str| rest.find(|c: char| c != '_' && !c.is_ascii_alphanumeric());
    line.split("crate::").skip(1).map(move |rest| &rest[..name(rest).unwrap_or(rest.len())])
}

#[test]
fn no_file_imports_a_floor_above_it() {
    for (height, floor) in FLOORS.iter().enumerate() {
        for path in files(&format!("core/src/{floor}"), &["rs"]) {
            for (number, line) in code(&path) {
                for named in floors_named(&line) {
                    let below = FLOORS[..=height].contains(&named);
                    assert!(below, "{}:{number} imports from {named}: {line}", relative(&path));
                }
            }
        }
    }
}

#[test]
fn the_core_has_few_doors() {
    let entries = fs::read_dir(root().join("core/src")).unwrap().map(|entry| entry.unwrap());
    let mut folders = Vec::new();
    let mut count = 0;
    for entry in entries {
        count += 1;
        if entry.path().is_dir() {
            folders.push(entry.file_name().into_string().unwrap());
        }
    }
    assert!(count <= 10, "core/src has {count} entries: give the new one a floor");
    folders.sort();
    let mut floors = FLOORS.map(str::to_owned);
    floors.sort();
    assert_eq!(folders, floors);
}

/// What is stored may come from strangers: it reaches a terminal by one place, which escapes it.
#[test]
fn the_program_writes_to_stdout_in_one_place() {
    let allowed = ["src/bin/ff/output.rs", "src/bin/ff/demo/task.rs"];
    for path in files("src/bin/ff", &["rs"]) {
        for (number, line) in code(&path) {
            let writes = ["io::stdout", "println!", "print!("].iter().any(|how| line.contains(how));
            let name = relative(&path);
            assert!(!writes || allowed.contains(&name.as_str()), "{name}:{number}: {line}");
        }
    }
}

#[test]
fn files_hold_one_topic() {
    for path in files(".", &["rs"]) {
        let name = relative(&path);
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        let allowed = LONG.iter().any(|(long, _)| *long == name) || name.contains("tests/");
        assert!(allowed || lines <= LONGEST, "{name} has {lines} lines: look for its second topic");
    }
    for (name, _) in LONG {
        let lines = fs::read_to_string(root().join(name)).unwrap().lines().count();
        assert!(LONGEST < lines, "{name} is short enough now: take it off the list");
    }
}

#[test]
fn the_manual_lists_every_scan_and_its_pause() {
    let manual = fs::read_to_string(root().join("docs/operating.md")).unwrap();
    let config = ScannerConfig::default();
    for scan in Scan::ALL {
        let pause = config.interval(scan).as_secs_f64();
        let row = format!("| `{}` | {pause} s | ", scan.as_str());
        assert!(manual.contains(&row), "docs/operating.md has no line {row}");
    }
}

#[test]
fn links_between_documents_resolve() {
    for path in files(".", &["md"]) {
        let text = fs::read_to_string(&path).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap();
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let resolved = path.parent().unwrap().join(target);
            assert!(resolved.exists(), "{} links to {link}, which is not there", relative(&path));
        }
    }
}

#[test]
fn nothing_names_a_place_outside_the_repository() {
    let outside = [["..", "shared"].join("/"), ["", "work", ""].join("/")];
    for path in files(".", &["rs", "md", "toml", "sql", "snap"]) {
        let text = fs::read_to_string(&path).unwrap();
        for place in &outside {
            assert!(!text.contains(place), "{} names {place}", relative(&path));
        }
    }
}
