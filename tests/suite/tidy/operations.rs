//! The trait of a backend, its one implementation, and the tests that every operation belongs in.

use std::collections::BTreeSet;
use std::fs;

use super::{files, product, relative, root, without_tests};

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

/// Tests that try many operations after one another, by the files that hold them, and the
/// operations that they leave out though these change rows.
const EXPLORING: [(&str, &[&str]); 2] = [
    (
        "backends/memory/tests/interpreter/",
        &[
            "ack_cancel_member",
            "add_execution_to_flow",
            "append_frame",
            "backfill_schedule",
            "cancel_flow",
            "cancel_flow_header",
            "cascade_completion",
            "change_priority",
            "claim_from_resume_grant",
            "claim_resumed_execution",
            "close_waitpoint",
            "create_schedule",
            "delete_schedule",
            "deliver_approval_signal",
            "drain_sibling_cancel_group",
            "drop_subscriber",
            "expire_suspension",
            "fork_execution",
            "pause_schedule",
            "project_flow_summary",
            "reconcile_sibling_cancel_group",
            "record_step",
            "renew_lease",
            "resume_schedule",
            "rotate_waitpoint_hmac_secret_all",
            "run_bulk",
            "set_flow_tag",
            "store_archive_position",
            "store_subscriber_cursor",
            "trim_step",
            "update_schedule",
            "wait_children",
            "wait_for_child",
        ],
    ),
    (
        "tests/suite/differential",
        &[
            "ack_cancel_member",
            "add_execution_to_flow",
            "apply_dependency_to_child",
            "cancel_flow",
            "cancel_flow_header",
            "cascade_completion",
            "claim_from_resume_grant",
            "close_waitpoint",
            "create_flow",
            "create_flow_members",
            "create_waitpoint",
            "deliver_approval_signal",
            "drain_sibling_cancel_group",
            "expire_suspension",
            "fork_execution",
            "project_flow_summary",
            "reconcile_sibling_cancel_group",
            "release_flow",
            "rotate_waitpoint_hmac_secret_all",
            "run_bulk",
            "seed_waitpoint_hmac_secret",
            "set_edge_group_policy",
            "set_flow_tag",
            "stage_dependency_edge",
            "wait_children",
            "wait_for_child",
        ],
    ),
];

/// The operations with a reviewed plan: those that change rows.
fn changing() -> BTreeSet<String> {
    let mut changing = BTreeSet::new();
    for page in files("snapshots/shapes", &["snap"]) {
        let text = fs::read_to_string(&page).unwrap();
        if text.lines().any(|line| line.starts_with("plan ")) {
            changing.insert(page.file_stem().unwrap().to_str().unwrap().to_owned());
        }
    }
    changing
}

/// An operation that changes rows is explored, and compared between the backends. What is left out
/// is named here, so that a new operation is not left out by accident.
#[test]
fn every_operation_that_changes_rows_is_explored_and_compared() {
    let changing = changing();
    assert!(changing.contains("create_execution"), "{changing:?}");

    for (place, left_out) in EXPLORING {
        let within = |path: &std::path::PathBuf| relative(path).starts_with(place);
        let (folder, _) = place.rsplit_once('/').unwrap();
        let paths = files(folder, &["rs"]).into_iter().filter(within);
        let text: String = paths.map(|path| fs::read_to_string(path).unwrap()).collect();

        let calls = |operation: &&String| text.contains(&format!(".{operation}("));
        let missing: Vec<&str> =
            changing.iter().filter(|name| !calls(name)).map(String::as_str).collect();
        assert_eq!(missing, left_out, "operations that {place} leaves out");
    }
}
