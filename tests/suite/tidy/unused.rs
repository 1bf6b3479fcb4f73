//! Public items that nothing but their own file names. The compiler reports unused private items
//! only.

use std::collections::{HashMap, HashSet};
use std::fs;

use super::{files, product, relative};

const ANSWER: &str = "the type of a public function's or decision's answer";
const REFERENCE: &str = "the reference's name";

/// Items that stay public although only their own file names them, and why.
const ALLOWED: [(&str, &str); 10] = [
    ("Batch", ANSWER),
    ("DispatchReport", REFERENCE),
    ("FieldReader", ANSWER),
    ("PostgresScannerHandle", REFERENCE),
    ("REFERENCE_SCHEMA_VERSION", "bounds the argument of a public function"),
    ("ReadRows", "an argument of the functions that read an execution"),
    ("SqliteScannerHandle", REFERENCE),
    ("SubmitError", ANSWER),
    ("map_sqlx_error", REFERENCE),
    ("sqlstate", "an embedder asks it of the error that an engine's failure carries"),
];

#[test]
fn public_items_are_named_outside_their_file() {
    let mut named_in: HashMap<String, HashSet<String>> = HashMap::new();
    for path in files(".", &["rs", "md"]) {
        let name = relative(&path);
        if name == "tests/suite/tidy/unused.rs" || name == "CHANGELOG.md" {
            continue;
        }
        for word in words(&without_exports(&fs::read_to_string(&path).unwrap())) {
            named_in.entry(word.to_owned()).or_default().insert(name.clone());
        }
    }

    let mut unused = Vec::new();
    for (name, text) in product() {
        let items = text.lines().filter_map(public_item).filter(|item| {
            named_in.get(*item).is_none_or(|files| files.iter().all(|file| *file == name))
        });
        unused.extend(items.map(|item| (item.to_owned(), name.clone())));
    }

    for (item, name) in &unused {
        let allowed = ALLOWED.iter().any(|(allowed, _)| allowed == item);
        assert!(allowed, "{name}: `{item}` is public, but nothing outside of this file names it");
    }
    for (allowed, _) in ALLOWED {
        let still = unused.iter().any(|(item, _)| item == allowed);
        assert!(still, "`{allowed}` is named elsewhere, or is gone: take it off the list");
    }
}

/// The item that a line declares as public, if it does.
fn public_item(line: &str) -> Option<&str> {
    let mut words = line.trim_start().strip_prefix("pub ")?.split_whitespace().peekable();
    while ["async", "unsafe"].contains(words.peek()?) {
        words.next();
    }

    let mut kind = words.next()?;
    if kind == "const" && ["fn", "unsafe"].contains(words.peek()?) {
        kind = words.find(|word| *word == "fn")?;
    }
    let items = ["fn", "struct", "enum", "trait", "type", "const", "static", "mod"];
    let name = items.contains(&kind).then(|| words.next())??;
    self::words(name).next()
}

/// The text without `pub use`, which gives an item another path and is no use of it.
fn without_exports(text: &str) -> String {
    let mut inside = false;
    let kept = text.lines().filter(|line| {
        let line = line.trim();
        let exports =
            inside || (line.starts_with("pub") && line.split_whitespace().nth(1) == Some("use"));
        inside = exports && !line.ends_with(';');
        !exports
    });
    kept.flat_map(|line| [line, "\n"]).collect()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| c != '_' && !c.is_ascii_alphanumeric());
    words.filter(|word| !word.is_empty())
}

#[test]
fn items_are_found_by_their_keyword() {
    let items = [
        ("pub fn one(self) -> u8 {", Some("one")),
        ("    pub const fn two<T>() {", Some("two")),
        ("    pub async fn three() {", Some("three")),
        ("pub const FOUR: u8 = 4;", Some("FOUR")),
        ("pub struct Five(u8);", Some("Five")),
        ("    pub six: u8,", None),
        ("pub use seven::Seven;", None),
        ("pub(crate) fn eight() {", None),
    ];
    for (line, item) in items {
        assert_eq!(public_item(line), item, "{line}");
    }
    assert_eq!(without_exports("a\npub use b::{\n    c,\n};\nd\n"), "a\nd\n");
}
