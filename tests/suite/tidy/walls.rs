//! Walls between the parts: what each part must not name or do.

use std::fs;

use ff_core::schema::TABLES;
use ff_core::state::{
    AttemptState, ClosedSet, EligibilityState, LifecyclePhase, OwnershipState, PublicState,
};

use super::{code, files, relative, root};

/// The backends that send SQL.
const BACKENDS: [&str; 4] =
    ["backends/mariadb/src", "backends/postgres/src", "backends/script/src", "backends/sqlite/src"];

#[test]
fn backends_name_no_table() {
    for path in BACKENDS.map(|directory| files(directory, &["rs"])).concat() {
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
    let backends = ["mariadb", "memory", "postgres", "script", "sqlite"]
        .map(|name| format!("backends/{name}/src"));
    for path in backends.map(|directory| files(&directory, &["rs"])).concat() {
        for (number, line) in code(&path) {
            for state in &states {
                let named =
                    line.contains(&format!("\"{state}\"")) || line.contains(&format!("'{state}'"));
                assert!(!named, "{}:{number} names the state {state}: {line}", relative(&path));
            }
        }
    }
}

/// Generated SQL is measured against SQL by hand, which stands in one folder.
#[test]
fn sql_over_the_schema_is_written_by_hand_in_one_folder() {
    let by_hand = |line: &str| {
        ["INTO", "UPDATE", "FROM", "JOIN"].iter().any(|word| line.contains(&format!("{word} ff_")))
    };
    let mut found = Vec::new();
    for path in ["benches/ff-bench/src", "core/src", "src"]
        .map(|directory| files(directory, &["rs"]))
        .concat()
    {
        let name = relative(&path);
        for (number, line) in code(&path) {
            if by_hand(&line) && !name.starts_with("benches/ff-bench/src/ceiling/") {
                found.push(format!("{name}:{number}: {line}"));
            }
        }
    }
    assert!(found.is_empty(), "SQL by hand:\n{}", found.join("\n"));
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
    for backend in BACKENDS {
        let (mut statements, mut migrations) = (0, 0);
        for path in files(backend, &["rs"]) {
            let text: String = code(&path).into_iter().map(|(_, line)| line).collect();
            let runs = ["AssertSqlSafe(", ".prepare_cached("];
            // One place for each driver: SQLite has that of its writer and that of the callers.
            let uses: usize = runs.iter().map(|run| text.matches(run).count()).sum();
            if path.ends_with("migrate.rs") { migrations += uses } else { statements += uses }
        }
        let drivers = if backend.contains("sqlite") { 2 } else { 1 };
        assert!(statements <= drivers, "{backend}: {statements} places run rendered statements");
        assert!(migrations <= 1, "{backend}: {migrations} places run migrations");
    }
}

#[test]
fn the_core_has_no_clock_and_no_chance() {
    for path in files("core/src", &["rs"]) {
        let impure = ["model/generate.rs", "engine/random.rs", "engine/wait.rs"];
        if impure.iter().any(|impure| path.ends_with(impure)) {
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
fn the_core_has_only_its_floors() {
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
