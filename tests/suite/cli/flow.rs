//! Flows by the command line: submitted, listed, shown, run, cancelled.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::{Place, binary};

const FLOW: &str = "44444444-4444-4444-8444-444444444444";

/// Two builds, and a report on whichever is done first; the slow one is no longer needed then.
fn spec() -> String {
    json!({
        "kind": "nightly",
        "nodes": [
            { "name": "fast", "kind": "build", "payload": "echo fast" },
            { "name": "slow", "kind": "build", "payload": "sleep 60" },
            {
                "name": "report", "kind": "report", "payload": "echo done",
                "after": ["fast", "slow"], "needs": "any", "on_satisfied": "cancel_remaining",
            },
            { "name": "mail", "kind": "mail", "payload": "exit 1", "after": ["report"],
              "policy": { "retry_policy": { "max_retries": 0 } } },
            { "name": "archive", "kind": "archive", "payload": "true", "after": ["mail"] },
        ],
    })
    .to_string()
}

impl Place {
    /// A place with the flow submitted; its answer.
    fn with_flow() -> (Self, Json) {
        let place = Self::new();
        place.write("flow.json", &[&spec()]);
        let submitted = place.json(&["flow", "submit", "flow.json", "--flow-id", FLOW]);
        (place, submitted)
    }

    /// Node by node, the states of a flow's executions.
    fn states(&self) -> Json {
        let shown = self.json(&["flow", "show", FLOW]);
        let executions = shown["executions"].as_array().unwrap().iter();
        let states = executions
            .map(|row| (row["node"].as_str().unwrap().to_owned(), row["public_state"].clone()));
        Json::Object(states.collect())
    }

    fn work(&self) {
        let with = ["--concurrency", "4", "--lease-ttl-ms", "900", "--until-empty"];
        self.ff(&[&["work"], with.as_slice(), &["--", "sh"]].concat());
    }
}

#[test]
fn a_flow_is_submitted_run_and_shown() {
    let (place, submitted) = Place::with_flow();
    assert_eq!(submitted["flow_id"], FLOW);
    assert_eq!((&submitted["created"], &submitted["found"]), (&json!(5), &json!(0)));
    assert_eq!(submitted["released"], 2);
    assert_eq!(
        place.states(),
        json!({
            "fast": "waiting", "slow": "waiting", "report": "waiting_children",
            "mail": "waiting_children", "archive": "waiting_children",
        })
    );
    place.work();
    assert_eq!(
        place.states(),
        json!({
            "fast": "completed", "slow": "cancelled", "report": "completed", "mail": "failed",
            "archive": "skipped",
        })
    );
    let report = submitted["executions"]["report"].as_str().unwrap();
    assert_eq!(place.out(&["result", report]), "done\n");
    let tree = place.out(&["flow", "show", FLOW]);
    let tree: Vec<&str> = tree.lines().skip(1).collect();
    let expected = [
        "✓ fast              completed",
        "└─ ✓ report         completed  satisfied: any of 2 (1 met",
        "   └─ ✗ mail        failed     satisfied: all of 1 (1 met)",
        "      └─ – archive  skipped    impossible: all of 1 (1 unmet)",
        "⊘ slow              cancelled",
        "└─ ↑ report",
    ];
    assert_eq!(tree.len(), expected.len(), "{tree:?}");
    for (line, start) in tree.iter().zip(expected) {
        assert!(line.starts_with(start), "{line}");
    }
}

#[test]
fn a_flow_is_drawn_for_other_programs() {
    let (place, _) = Place::with_flow();
    let dot = place.out(&["flow", "show", FLOW, "--dot"]);
    assert!(dot.starts_with("digraph \"nightly\" {\n") && dot.ends_with("}\n"), "{dot}");
    assert_eq!(dot.matches(" -> ").count(), 4);
    let mermaid = place.out(&["flow", "show", FLOW, "--mermaid"]);
    assert!(mermaid.starts_with("flowchart LR\n"), "{mermaid}");
    assert_eq!(mermaid.matches(" --> ").count(), 4);
    assert!(mermaid.contains("report<br/>waiting_children<br/>needs any of 2"), "{mermaid}");
    assert_eq!(place.ff(&["flow", "show", FLOW, "--dot", "--mermaid"]).code, 2);
    assert_eq!(place.ff(&["--json", "flow", "show", FLOW, "--dot"]).code, 2);
}

#[test]
fn submitting_a_flow_again_changes_nothing() {
    let (place, first) = Place::with_flow();
    let before = place.json(&["flow", "show", FLOW]);
    let again = place.json(&["flow", "submit", "flow.json", "--flow-id", FLOW]);
    assert_eq!((&again["created"], &again["found"]), (&json!(0), &json!(5)));
    assert_eq!((&again["executions"], &again["released"]), (&first["executions"], &json!(0)));
    assert_eq!(place.json(&["flow", "show", FLOW]), before);
    place.work();
    let over = place.states();
    place.json(&["flow", "submit", "flow.json", "--flow-id", FLOW]);
    assert_eq!(place.states(), over);
    let finished = place.out(&["flow", "submit", "flow.json", "--flow-id", FLOW]);
    assert!(finished.starts_with(&format!("flow {FLOW}\n")), "{finished}");
    assert!(finished.ends_with("5 executions: 0 created, 5 found; 4 dependencies\n"), "{finished}");
    let other = place.json(&["flow", "submit", "flow.json"]);
    assert_eq!(other["created"], 5);
    assert_ne!(other["executions"], first["executions"]);
}

#[test]
fn flows_are_listed_page_by_page() {
    let (place, _) = Place::with_flow();
    assert_eq!(place.json(&["flow", "ls", "--state", "cancelled"])["flows"], json!([]));
    assert_eq!(place.out(&["flow", "ls", "--namespace", "other"]), "no flows\n");
    for _ in 0..2 {
        place.json(&["flow", "submit", "flow.json"]);
    }
    place.out(&["flow", "cancel", FLOW]);
    let (mut seen, mut after) = (Vec::new(), None::<String>);
    loop {
        let mut arguments = vec!["flow", "ls", "--limit", "1"];
        arguments.extend(after.iter().flat_map(|after| ["--after", after]));
        let page = place.json(&arguments);
        let flows = page["flows"].as_array().unwrap();
        seen.extend(flows.iter().map(|flow| flow["flow_id"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!(seen.len(), 3);
    assert_eq!(seen[2], FLOW, "the newest first");
    let cancelled = place.json(&["flow", "ls", "--state", "cancelled"]);
    assert_eq!(cancelled["flows"][0]["flow_id"], FLOW);
    assert_eq!(
        (&cancelled["flows"][0]["node_count"], &cancelled["next_cursor"]),
        (&json!(5), &Json::Null)
    );
    let table = place.out(&["flow", "ls", "--limit", "2"]);
    assert!(table.contains("nightly") && table.contains("more: --after "), "{table}");
}

#[test]
fn a_flow_is_cancelled_as_far_as_the_policy_goes() {
    for (policy, cancelled) in [("all", 5), ("pending", 5), ("flow-only", 0)] {
        let (place, _) = Place::with_flow();
        let finished = place.json(&["flow", "cancel", FLOW, "--policy", policy]);
        assert_eq!(
            finished["executions"].as_array().unwrap().len(),
            cancelled,
            "{policy}: {finished}"
        );
        let listed = place.json(&["ls", "--flow", FLOW, "--state", "cancelled"]);
        assert_eq!(listed["executions"].as_array().unwrap().len(), cancelled, "{policy}");
        let shown = place.json(&["flow", "show", FLOW]);
        assert_eq!(shown["flow"]["public_flow_state"], "cancelled");
        let text = place.out(&["flow", "show", FLOW]);
        assert!(text.lines().any(|line| line.starts_with("cancelled 20")), "{text}");
    }
    let (place, _) = Place::with_flow();
    let finished = place.out(&["flow", "cancel", FLOW]);
    assert_eq!(finished, format!("flow {FLOW} is cancelled; 5 executions are cancelled with it\n"));
}

#[test]
fn the_executions_of_a_flow_are_found_by_flow_and_by_tag() {
    let (place, submitted) = Place::with_flow();
    place.write("in.jsonl", &[&json!({ "kind": "k", "payload": "" }).to_string()]);
    place.out(&["submit", "in.jsonl"]);
    let count = |arguments: &[&str]| {
        let listed = place.json(&[&["ls"], arguments].concat());
        listed["executions"].as_array().unwrap().len()
    };
    assert_eq!((count(&[]), count(&["--flow", FLOW])), (6, 5));
    assert_eq!(count(&["--flow", FLOW, "--state", "waiting_children"]), 3);
    let found = place.json(&["ls", "--tag", "ff.node=report"]);
    assert_eq!(found["executions"][0]["execution_id"], submitted["executions"]["report"]);
    assert_eq!(count(&["--tag", "ff.node=nobody"]), 0);
    assert_eq!((count(&["--older-than", "1h"]), count(&["--older-than", "0s"])), (0, 6));
    let table = place.out(&["ls", "--flow", FLOW]);
    assert!(table.lines().any(|line| line.trim_end().ends_with(" report")), "{table}");
}

#[test]
fn a_bad_flow_is_refused_with_the_node_that_is_wrong_and_nothing_is_created() {
    let place = Place::new();
    place.out(&["migrate"]);
    let node = |name: &str, after: &[&str]| json!({ "name": name, "kind": "k", "payload": "", "after": after });
    for (nodes, reason) in [
        (json!([]), "a flow needs at least one node"),
        (json!([node("a", &["b"]), node("b", &["a"])]), "in a cycle: b → a → b"),
        (json!([node("a", &["x"])]), "node a: it waits for x, and there is no such node"),
        (json!([{ "name": "a", "kind": "k" }]), "missing field `payload`, line 1 column"),
    ] {
        place.write("bad.json", &[&json!({ "kind": "f", "nodes": nodes }).to_string()]);
        let finished = place.ff(&["flow", "submit", "bad.json"]);
        assert_eq!((finished.code, finished.out.as_str()), (2, ""), "{finished:?}");
        assert!(finished.err.starts_with("error: bad.json: "), "{finished:?}");
        assert!(finished.err.contains(reason) && finished.err.lines().count() == 1, "{finished:?}");
    }
    for (arguments, code) in [
        (vec!["flow", "submit", "missing.json"], 1),
        (vec!["flow", "submit", "."], 1),
        (vec!["flow", "submit"], 2),
        (vec!["flow", "show", FLOW], 1),
        (vec!["flow", "cancel", FLOW], 1),
    ] {
        let finished = place.ff(&arguments);
        finished.assert_failed(code);
    }
    for arguments in [
        vec!["flow", "show", "nonsense"],
        vec!["flow", "ls", "--state", "sleeping"],
        vec!["flow", "ls", "--after", "nowhere"],
        vec!["flow", "cancel", FLOW, "--policy", "some"],
        vec!["ls", "--tag", "nothing"],
        vec!["flow"],
    ] {
        assert_eq!(place.ff(&arguments).code, 2, "{arguments:?}");
    }
    assert_eq!(place.out(&["flow", "ls"]), "no flows\n");
}

#[test]
fn a_submission_that_was_killed_is_finished_by_the_next_one() {
    let place = Place::new();
    place.out(&["migrate"]);
    let node = |number: usize| {
        let after: Vec<String> =
            number.checked_sub(1).map(|before| format!("n{before}")).into_iter().collect();
        json!({ "name": format!("n{number}"), "kind": "k", "payload": "", "after": after })
    };
    let nodes: Vec<Json> = (0..200).map(node).collect();
    place.write("long.json", &[&json!({ "kind": "long", "nodes": nodes }).to_string()]);
    let submit = ["flow", "submit", "long.json", "--flow-id", FLOW];
    let mut child = binary(place.0.path()).args(submit).stdout(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    let edges = || {
        let listed = place.json(&["flow", "ls"]);
        listed["flows"][0]["edge_count"].as_u64().unwrap_or(0)
    };
    // Killed in the middle, unless it was too fast.
    while edges() < 20 && child.try_wait().unwrap().is_none() {
        assert!(started.elapsed() < Duration::from_secs(60));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let resumed = place.json(&submit);
    assert_eq!(resumed["created"].as_u64().unwrap() + resumed["found"].as_u64().unwrap(), 200);
    let shown = place.json(&["flow", "show", FLOW]);
    assert_eq!((&shown["flow"]["node_count"], edges()), (&json!(200), 199));
    assert_eq!(shown["groups"].as_array().unwrap().len(), 199);
    let count = |state| {
        place.json(&["ls", "--limit", "1000", "--state", state])["executions"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!((count("waiting"), count("waiting_children")), (1, 199));
}

#[test]
fn a_flow_is_listed_as_ended_once_its_worker_has_ended() {
    let place = Place::new();
    let once = json!({ "retry_policy": { "max_retries": 0 } });
    let node = |name: &str, after: &[&str]| json!({ "name": name, "kind": "k", "payload": "", "after": after, "policy": once });
    let flow = json!({ "kind": "f", "nodes": [node("a", &[]), node("b", &["a"])] });
    place.write("flow.json", &[&flow.to_string()]);
    for (command, state) in [("true", "completed"), ("false", "failed")] {
        let submitted = place.json(&["flow", "submit", "flow.json"]);
        place.ff(&["work", "--until-empty", "--", command]);
        let listed = place.json(&["flow", "ls", "--state", state]);
        assert_eq!(listed["flows"][0]["flow_id"], submitted["flow_id"], "{listed}");
    }
    let open = place.json(&["flow", "ls", "--state", "open"]);
    assert_eq!(open["flows"].as_array().unwrap().len(), 0);
}
