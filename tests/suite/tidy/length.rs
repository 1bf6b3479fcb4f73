//! Files, functions and lines of text are short enough to read.

use std::fs;

use super::functions::functions;
use super::{files, product, relative, root};

/// Files that may be longer than [`LONGEST`], and why.
const LONG: [(&str, &str); 10] = [
    ("core/src/contracts/budget.rs", "arguments and answers of one family of operations"),
    ("core/src/contracts/condition.rs", "arguments and answers of one family of operations"),
    ("core/src/contracts/claim.rs", "arguments and answers of one family of operations"),
    ("core/src/contracts/flow.rs", "arguments and answers of one family of operations"),
    ("core/src/contracts/snapshot.rs", "arguments and answers of one family of operations"),
    ("core/src/engine/backend.rs", "one implementation, one method per operation"),
    ("core/src/engine/operations.rs", "one trait, every operation"),
    ("core/src/model/error.rs", "every refusal, one sentence each"),
    ("core/src/model/ids.rs", "every id"),
    ("core/src/model/state.rs", "every closed set of states"),
];

const LONGEST: usize = 500;

/// The lines of a function's body.
const LONGEST_BODY: usize = 70;

/// The columns of a comment; `cargo fmt` sees to the code.
const WIDEST_COMMENT: usize = 100;

/// The columns of a line in a document.
const WIDEST_LINE: usize = 120;

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
fn functions_fit_on_a_screen() {
    for (name, text) in product() {
        for function in functions(&text) {
            let lines = function.body.len();
            let line = function.line;
            assert!(lines <= LONGEST_BODY, "{name}:{line}: a function of {lines} lines");
        }
    }
}

#[test]
fn comments_and_documents_keep_their_width() {
    let wide = |line: &str, widest| line.chars().count() > widest;
    let mut found = Vec::new();

    for path in files(".", &["rs", "md"]) {
        let document = path.extension().is_some_and(|extension| extension == "md");
        let mut session = false;
        for (number, line) in (1..).zip(fs::read_to_string(&path).unwrap().lines()) {
            let comment = line.trim_start().starts_with("//");
            session = line == "```console" || (session && line != "```");
            // A row of a table cannot be broken, nor can what a program prints.
            let text = document && !session && !line.starts_with('|');
            if (comment && wide(line, WIDEST_COMMENT)) || (text && wide(line, WIDEST_LINE)) {
                found.push(format!("{}:{number}: {line}", relative(&path)));
            }
        }
    }

    assert!(found.is_empty(), "too wide:\n{}", found.join("\n"));
}
