//! What has ended is removed by the command line, and named subscribers keep what they need.

use serde_json::json;

use super::{ONE, Place, TWO};

#[test]
fn what_has_ended_is_removed_after_a_dry_run() {
    let place = Place::with_two();
    place.out(&["cancel", ONE]);
    let dry = place.json(&["trim", "--older-than", "0s", "--dry-run"]);
    assert_eq!((&dry["executions"], &dry["dry_run"]), (&json!(1), &json!(true)));
    assert_eq!(dry["rows"]["ff_exec_core"], 1);
    assert_eq!(dry["held_back"], json!({}));
    let text = place.out(&["trim", "--older-than", "0s", "--dry-run"]);
    let first = "dry run: would remove 1 execution and 0 flows, nothing was changed\n";
    assert!(text.starts_with(first), "{text}");
    assert!(text.contains("  1 row of ff_exec_core\n"), "{text}");

    assert_eq!(
        place.out(&["trim", "--older-than", "1h", "--yes"]),
        "removed 0 executions and 0 flows\n"
    );
    assert_eq!(
        place.out(&["trim", "--keep", "1", "--outcome", "failed", "--yes"]),
        "removed 0 executions and 0 flows\n"
    );
    let removed = place.out(&["trim", "--older-than", "0s", "--lane", "default", "--yes"]);
    assert_eq!(removed, "removed 1 execution and 0 flows\n");
    place.ff(&["show", ONE]).assert_failed(1);
    place.out(&["show", TWO]);
}

#[test]
fn what_makes_no_rule_is_refused() {
    let place = Place::with_two();
    for arguments in [
        &["trim", "--yes"][..],
        &["trim", "--older-than", "0s"],
        &["trim", "--keep", "0", "--yes"],
        &["trim", "--outcome", "gone", "--older-than", "1d", "--yes"],
        &["scan", "--retain", "keep=0"],
        &["scan", "--until-idle", "--retain", "1d"],
        &["work", "--no-scanners", "--retain", "1d", "--", "cat"],
    ] {
        assert_eq!(place.ff(arguments).code, 2, "{arguments:?}");
    }
    let active = place.ff(&["trim", "--outcome", "active", "--older-than", "1d", "--yes"]);
    active.assert_failed(1);
    assert!(active.err.contains("active is no outcome"), "{active:?}");
}

#[test]
fn a_named_subscriber_goes_on_where_it_was_and_holds_back_what_it_has_not_read() {
    let place = Place::with_two();
    place.out(&["cancel", ONE]);
    let read = || {
        let text = place.out(&["--json", "events", "--kind", "completion", "--as", "audit"]);
        text.lines().count()
    };
    assert_eq!((read(), read()), (1, 0));
    place.out(&["cancel", TWO]);
    let dry = place.json(&["trim", "--older-than", "0s", "--dry-run"]);
    assert_eq!(dry["executions"], 1);
    assert_eq!(
        dry["held_back"],
        json!({ "subscriber audit has read completion events up to 1": 1 })
    );
    assert_eq!(read(), 1);

    let listed = &place.json(&["subscribers"])["subscribers"][0];
    assert_eq!((&listed["name"], &listed["outbox"]), (&json!("audit"), &json!("completion")));
    assert_eq!(listed["event_id"], 2);
    let table = place.out(&["subscribers", "ls"]);
    assert!(table.contains("audit") && table.contains("completion"), "{table}");
    let again = place.ff(&["events", "--as", "audit", "--kind", "completion", "--from", "now"]);
    assert_eq!(again.code, 2, "{again:?}");
    assert_eq!(place.json(&["subscribers", "drop", "audit"])["cursors"], 1);
    place.ff(&["subscribers", "drop", "audit"]).assert_failed(1);
    assert_eq!(read(), 2);
}
