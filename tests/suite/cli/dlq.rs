//! What failed for good, by the command line: listed, run again, removed.

use serde_json::json;

use super::Place;
use super::json::assert_documented;

/// Three executions of two kinds that failed for good, and one that waits.
fn with_three_failed() -> Place {
    let place = Place::new();
    let never = json!({ "retry_policy": { "max_retries": 0 } });
    let line = |kind: &str, lane: &str| {
        json!({ "kind": kind, "payload": "", "lane": lane, "policy": never }).to_string()
    };
    let lines =
        [line("a", "default"), line("a", "default"), line("b", "default"), line("a", "later")];
    place.write("in.jsonl", &lines.each_ref().map(String::as_str));
    place.out(&["submit", "in.jsonl"]);
    place.ff(&["work", "--until-empty", "--", "false"]);
    place
}

#[test]
fn what_failed_is_listed_retried_and_purged() {
    let place = with_three_failed();
    let count = |arguments: &[&str]| {
        place.json(&[&["dlq", "ls"], arguments].concat())["executions"].as_array().unwrap().len()
    };
    let listed = place.json(&["dlq", "ls"]);
    assert!(listed["executions"][0]["reason"].is_string(), "{listed}");
    assert_documented("dlq ls", &[listed]);
    assert_eq!((count(&[]), count(&["--kind", "a"]), count(&["--kind", "c"])), (3, 2, 0));
    assert_eq!((count(&["--newer-than", "1h"]), count(&["--older-than", "1h"])), (3, 0));
    assert_eq!((count(&["--worker", "ff-work"]), count(&["--worker", "other"])), (3, 0));
    assert_eq!(count(&["--newer-than", "2020-01-01T00:00:00Z", "--lane", "default"]), 3);

    let dry = place.json(&["retry", "--failed", "--kind", "b", "--dry-run"]);
    assert_eq!(dry["matched"], 1);
    let retried = place.json(&["retry", "--failed", "--kind", "b", "--yes"]);
    assert_eq!((&retried["matched"], &retried["applied"]), (&json!(1), &json!(1)));
    assert_documented("retry", &[retried]);
    assert_eq!(count(&[]), 2);

    let dry = place.json(&["dlq", "purge", "--kind", "a", "--dry-run"]);
    assert_eq!((&dry["dry_run"], &dry["executions"]), (&json!(true), &json!(2)));
    assert_eq!(count(&[]), 2, "nothing was changed");
    assert_eq!(
        place.out(&["dlq", "purge", "--kind", "b", "--yes"]),
        "removed 0 executions and 0 flows\n"
    );
    let one = place.json(&["dlq", "redrive", "--kind", "a", "--yes"]);
    assert_eq!(one["applied"], 2);
    assert_documented("dlq redrive", &[one]);
    place.ff(&["work", "--until-empty", "--", "false"]);
    let purged = place.json(&["dlq", "purge", "--yes"]);
    assert_eq!(purged["executions"], 3);
    assert_eq!(count(&[]), 0);
    assert_eq!(place.json(&["ls"])["executions"].as_array().unwrap().len(), 1, "what waits stays");
}

#[test]
fn a_subscriber_that_has_not_read_an_end_keeps_it() {
    let place = with_three_failed();
    place.out(&["events", "--as", "billing", "--kind", "completion"]);
    // One more failure, which the subscriber has not read.
    place.ff(&["work", "--lane", "later", "--until-empty", "--", "false"]);
    let dry = place.json(&["dlq", "purge", "--dry-run"]);
    assert_eq!(dry["executions"], 3, "{dry}");
    assert_eq!(dry["held_back"].as_object().unwrap().len(), 1, "{dry}");
    assert_eq!(place.json(&["dlq", "purge", "--yes"])["executions"], 3);
    assert_eq!(place.json(&["dlq", "ls"])["executions"].as_array().unwrap().len(), 1);
}

#[test]
fn what_makes_no_sense_is_refused_with_a_sentence() {
    let place = with_three_failed();
    for (arguments, why) in [
        (&["retry", "--yes"][..], "which executions? say --failed"),
        (&["retry", "--failed", "--state", "waiting", "--yes"], "--state contradicts"),
        (&["dlq", "purge", "--flow", "4444", "--yes"], "--flow: a flow is removed as a whole"),
        (&["dlq", "purge"], "there is no terminal to ask at"),
        (&["dlq", "purge", "--worker", "w", "--yes"], "--worker: what is removed is not chosen"),
        (&["flow", "ls", "--worker", "w"], "--worker: a flow has none"),
        (&["flow", "ls", "--failure-class", "permanent"], "--failure-class: a flow has none"),
        (&["ls", "--newer-than", "soon"], "expected a span such as 2h, or a time in UTC"),
    ] {
        let refused = place.ff(arguments);
        assert!(refused.code == 2 && refused.err.contains(why), "{arguments:?}: {refused:?}");
    }
}
