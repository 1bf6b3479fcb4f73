//! The trait of a backend, and its one implementation.

use std::collections::BTreeSet;
use std::fs;

use super::{product, root, without_tests};

/// Operations that every backend offers by their default body, and why.
const BY_DEFAULT: [(&str, &str); 1] = [("scan", "it is `scan_filtered` without a filter")];

/// The functions of the trait or the implementation in that file: those that are indented once.
fn operations(path: &str) -> BTreeSet<String> {
    let text = without_tests(&fs::read_to_string(root().join(path)).unwrap());
    let declared = |line: &str| {
        let line = line.strip_prefix("    ")?;
        let rest = line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn "))?;
        rest.split(['(', '<']).next().map(str::to_owned)
    };
    text.lines().filter_map(declared).collect()
}

/// The operations that are observed: all that a caller awaits.
pub(crate) fn asynchronous_operations() -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("core/src/engine/backend.rs")).unwrap();
    let declared =
        |line: &str| Some(line.strip_prefix("    async fn ")?.split(['(', '<']).next()?.to_owned());
    text.lines().filter_map(declared).collect()
}

/// The default body of an operation answers `Unavailable`: one that is overridden is available.
#[test]
fn no_backend_leaves_an_operation_unavailable() {
    let offered = operations("core/src/engine/operations.rs");
    let implemented = operations("core/src/engine/backend.rs");
    assert!(offered.contains("create_execution"), "{offered:?}");

    let missing: Vec<&str> = offered.difference(&implemented).map(String::as_str).collect();
    assert_eq!(missing, BY_DEFAULT.map(|(name, _)| name), "answered by their default bodies");
}

#[test]
fn one_implementation_serves_every_backend() {
    let implements = |(name, text): (String, String)| {
        let is_engine = name.starts_with("core/") || name.starts_with("backends/");
        (is_engine && text.contains(" EngineBackend for ")).then_some(name)
    };
    let found: Vec<String> = product().into_iter().filter_map(implements).collect();
    assert_eq!(found, ["core/src/engine/backend.rs"]);
}
