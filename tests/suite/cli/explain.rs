//! Why executions are not running, by the command line.

use serde_json::json;

use super::json::assert_documented;
use super::{ONE, Place, TWO};

#[test]
fn every_reason_is_told_with_what_ends_it() {
    let place = Place::with_two();
    place.out(&["lanes", "pause", "default", "--reason", "repairs"]);
    let told = place.out(&["explain", ONE]);
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].starts_with("waiting {fp:") && lines[0].ends_with(ONE), "{told}");
    assert!(lines[1].starts_with("- lane default is paused (by operator, "), "{told}");
    assert!(lines[1].ends_with("): repairs"), "{told}");
    assert!(lines[2].ends_with("An operator resumes the lane. ff lanes resume default"), "{told}");
    assert_eq!(lines[3], "- no registered worker of lane default is alive");

    let explained = place.json(&["explain", ONE]);
    assert_eq!(explained["reasons"][0]["kind"], "lane_closed");
    assert_eq!(explained["reasons"][1]["remedy"]["command"], "ff workers");
    let other = place.json(&["explain", ONE, "--worker-lane", "other"]);
    assert_eq!(other["reasons"][1]["kind"], "another_lane");

    place.out(&["lanes", "resume", "default"]);
    let nothing = place.out(&["explain", ONE, "--capability", "gpu"]);
    assert!(nothing.ends_with("nothing holds it up but its place in lane default\n"), "{nothing}");
    assert_documented("explain", &[explained, other, place.json(&["explain", TWO])]);

    place.ff(&["explain", "33333333-3333-4333-8333-333333333333"]).assert_failed(1);
}

#[test]
fn the_ends_and_dependencies_of_members_are_told() {
    let place = Place::with_two();
    place.out(&["cancel", ONE]);
    let ended = place.json(&["explain", ONE]);
    assert_eq!(ended["reasons"][0]["outcome"], "cancelled");

    let node = |name: &str, after: &[&str]| json!({ "name": name, "kind": "k", "payload": "", "after": after });
    let flow = json!({ "kind": "f", "nodes": [node("a", &[]), node("b", &["a"])] });
    place.write("flow.json", &[&flow.to_string()]);
    let submitted = place.json(&["flow", "submit", "flow.json"]);
    let upstream = submitted["executions"]["a"].as_str().unwrap();
    let downstream = submitted["executions"]["b"].as_str().unwrap();
    let waits = place.json(&["explain", downstream]);
    assert_eq!(waits["reasons"][0]["unmet"][0]["execution_id"], upstream);
    let told = place.out(&["explain", downstream]);
    assert!(told.contains(&format!("- it waits for {upstream} (waiting)")), "{told}");
    assert_documented("explain", &[ended, waits]);
}
