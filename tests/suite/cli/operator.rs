//! What operators do by the command line: replay, reorder, act on many, run the scanners.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::work::plainly;
use super::{ONE, Place, TWO};

impl Place {
    fn state(&self, id: &str) -> Json {
        self.json(&["show", id])["execution"]["public_state"].clone()
    }
}

/// Three executions on a lane of their own besides the two, all of them waiting.
fn with_five() -> Place {
    let place = Place::with_two();
    let lines = ["a", "b", "c"].map(|letter| {
        let tags = json!({ "app.letter": letter });
        json!({ "kind": "echo", "payload": letter, "lane": "letters", "tags": tags }).to_string()
    });
    place.write("more.jsonl", &lines.each_ref().map(String::as_str));
    place.out(&["submit", "more.jsonl"]);
    place
}

#[test]
fn what_has_ended_can_run_again() {
    let place = Place::with_two();
    let early = place.ff(&["replay", ONE]);
    early.assert_failed(1);
    assert!(early.err.contains(": it has not ended; it is waiting\n"), "{early:?}");
    place.out(&["cancel", ONE]);
    let replayed = place.json(&["replay", ONE]);
    assert_eq!(replayed["public_state"], "waiting");
    place.out(&["work", "--until-empty", "--", "cat"]);
    assert_eq!(place.out(&["result", ONE]), "one");
    assert_eq!(place.out(&["replay", ONE]), format!("{{fp:86}}:{ONE} is waiting\n"));
}

#[test]
fn what_waits_can_be_moved() {
    let place = Place::with_two();
    assert_eq!(place.json(&["priority", TWO, "7"])["priority"], 7);
    let finished = place.out(&["priority", TWO, "9001"]);
    assert_eq!(
        finished,
        format!("{{fp:86}}:{TWO} has priority 9000\n"),
        "the nearest one is taken"
    );
    assert_eq!(place.json(&["priority", ONE, "-1"])["priority"], 0);
    place.out(&["cancel", TWO]);
    assert_eq!(place.ff(&["priority", TWO, "1"]).code, 1);
    assert_eq!(place.ff(&["priority", "33333333-3333-4333-8333-333333333333", "1"]).code, 1);
    assert_eq!(place.ff(&["priority", ONE, "high"]).code, 2);
}

#[test]
fn a_dry_run_counts_and_plans_and_changes_nothing() {
    let place = with_five();
    let finished = place.out(&["bulk", "cancel", "--lane", "letters", "--dry-run"]);
    assert!(
        finished.ends_with("dry run: would cancel 3 executions, nothing was changed\n"),
        "{finished}"
    );
    assert_eq!(finished.matches("plan cancel_execution").count(), 3, "{finished}");
    let preview = place.json(&["bulk", "priority", "5", "--all", "--dry-run"]);
    assert_eq!(preview["matched"], 5);
    assert_eq!(preview["plans"].as_array().unwrap().len(), 3, "the first few");
    let nothing = place.out(&["bulk", "replay", "--all", "--dry-run"]);
    assert_eq!(nothing, "dry run: would replay 0 executions, nothing was changed\n");
    assert_eq!(
        place.json(&["ls", "--state", "waiting"])["executions"].as_array().unwrap().len(),
        5
    );
}

#[test]
fn many_are_cancelled_replayed_and_moved_batch_by_batch() {
    let place = with_five();
    let count = |arguments: &[&str]| {
        let listed = place.json(&[&["ls"], arguments].concat());
        listed["executions"].as_array().unwrap().len()
    };
    let finished = place.out(&["bulk", "cancel", "--lane", "letters", "--batch", "2", "--yes"]);
    assert_eq!(finished, "3 executions: 3 applied, 0 refused\n");
    assert_eq!((count(&["--state", "cancelled"]), count(&["--state", "waiting"])), (3, 2));
    let again = place.json(&["bulk", "cancel", "--lane", "letters", "--yes"]);
    assert_eq!((&again["matched"], &again["applied"]), (&json!(0), &json!(0)));
    let one = place.json(&["bulk", "replay", "--tag", "app.letter=b", "--yes"]);
    assert_eq!(one["applied"], 1);
    let rest = place.json(&["bulk", "replay", "--state", "cancelled", "--yes"]);
    assert_eq!(rest["applied"], 2);
    assert_eq!(count(&["--state", "waiting"]), 5);
    let young = place.json(&["bulk", "cancel", "--older-than", "1h", "--yes"]);
    assert_eq!(young["matched"], 0);
    let moved = place.json(&["bulk", "priority", "70", "--namespace", "default", "--yes"]);
    assert_eq!(moved["applied"], 5);
    let rows = place.json(&["ls"]);
    assert!(rows["executions"].as_array().unwrap().iter().all(|row| row["priority"] == 70));
}

#[test]
fn bulk_needs_a_filter_and_a_confirmation() {
    let place = with_five();
    for arguments in [
        vec!["bulk", "cancel", "--yes"],
        vec!["bulk", "cancel", "--dry-run"],
        vec!["bulk", "cancel", "--all", "--lane", "letters", "--yes"],
        // There is no terminal to ask at.
        vec!["bulk", "cancel", "--all"],
        vec!["bulk", "cancel", "--lane", "letters"],
        vec!["bulk", "cancel", "--lane", "letters", "--batch", "0", "--yes"],
        vec!["bulk", "priority", "--all", "--yes"],
        vec!["bulk"],
    ] {
        let finished = place.ff(&arguments);
        assert_eq!((finished.code, finished.out.as_str()), (2, ""), "{arguments:?}: {finished:?}");
    }
    assert_eq!(place.state(ONE), "waiting");
    assert_eq!(
        place.json(&["ls", "--state", "waiting"])["executions"].as_array().unwrap().len(),
        5
    );
}

#[test]
fn scanning_until_idle_does_what_is_due_and_ends() {
    let place = Place::with_two();
    let soon = json!({ "kind": "k", "payload": "", "delay_until": "+300ms" });
    let later = json!({ "kind": "k", "payload": "", "delay_until": "+1h" });
    place.write("delayed.jsonl", &[&soon.to_string(), &later.to_string()]);
    place.out(&["submit", "delayed.jsonl"]);
    let started = Instant::now();
    let scanned = loop {
        let scanned = place.json(&["scan", "--until-idle"]);
        if scanned["delayed_promotion"]["processed"] != 0 {
            break scanned;
        }
        assert!(started.elapsed() < Duration::from_secs(60));
    };
    assert_eq!(scanned["delayed_promotion"], json!({ "processed": 1, "errors": 0 }));
    assert_eq!(scanned["lease_expiry"]["processed"], 0);
    let table = place.out(&["scan", "--until-idle"]);
    assert!(table.contains("sibling_cancel") && table.contains("dependency_dispatch"), "{table}");
    assert_eq!(
        place.json(&["ls", "--state", "delayed"])["executions"].as_array().unwrap().len(),
        1
    );
}

#[test]
fn reconciling_repairs_what_has_drifted_and_says_how_much() {
    let place = with_five();
    let budget = "11111111-2222-4333-8444-555555555555";
    place.out(&["budget", "create", "--id", budget, "--hard", "cost=9"]);
    let id = place.json(&["show", ONE])["execution"]["execution_id"].as_str().unwrap().to_owned();
    place.out(&["budget", "report", budget, "cost=4", "--execution", &id]);
    plainly(&place, "UPDATE ff_exec_core SET public_state = 'active'");
    plainly(&place, "UPDATE ff_budget_usage SET current_value = 1");

    let letters = place.ff(&["--json", "reconcile", "--lane", "letters"]);
    assert!(letters.err.contains("had drifted"), "each repair is reported: {letters:?}");
    let letters: Json = serde_json::from_str(&letters.out).unwrap();
    let counts = |processed: u64| json!({ "processed": processed, "errors": 0 });
    assert_eq!(letters, json!({ "executions": counts(3), "budgets": null, "quotas": null }));
    let elsewhere = place.json(&["reconcile", "--namespace", "elsewhere"]);
    assert_eq!(elsewhere["executions"], counts(0));

    let done = place.ff(&["reconcile"]);
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let lines: Vec<_> = done.out.lines().map(words).collect();
    assert_eq!(lines[2..], [["executions", "2", "0"], ["budgets", "1", "0"], ["quotas", "0", "0"]]);
    assert_eq!(done.code, 0, "{done:?}");
    let all = place.json(&["reconcile"]);
    assert_eq!((&all["executions"], &all["budgets"]), (&counts(0), &counts(0)));
    assert_eq!(place.state(ONE), "waiting");

    plainly(&place, "UPDATE ff_exec_core SET eligibility_state = 'odd' WHERE lane_id = 'letters'");
    let partly = place.ff(&["--json", "reconcile"]);
    assert_eq!(partly.code, 2, "{partly:?}");
    assert!(partly.out.contains(r#""errors": 3"#), "{partly:?}");
}
