//! What a terminal gets: nothing that it would obey, and no line that is wider than it.

use std::process::Stdio;

use serde_json::json;

use super::suspension::suspend;
use super::{Finished, ONE, Place, TWO, binary, finished};

/// Sets a title, clears the screen, writes to the clipboard, turns the writing round.
const HOSTILE: &str =
    "a\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}2J\u{1b}]52;c;aGk=\u{9c}\u{202e}z\nerror: no";

impl Place {
    /// Runs a command as on a terminal with so many columns.
    fn wide(&self, columns: usize, arguments: &[&str]) -> String {
        let columns_text = columns.to_string();
        let mut command = binary(self.0.path());
        let finished: Finished =
            finished(command.env("COLUMNS", columns_text).args(arguments).output().unwrap());
        assert_eq!((finished.code, finished.err.as_str()), (0, ""), "{arguments:?}: {finished:?}");
        for line in finished.out.lines() {
            let width = console::measure_text_width(line);
            assert!(width <= columns, "{arguments:?}: {width} columns: {line}");
        }
        finished.out
    }
}

fn assert_tame(finished: &Finished) {
    for text in [&finished.out, &finished.err] {
        let obeyed =
            |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
        assert!(!text.chars().any(obeyed), "{finished:?}");
        assert!(!text.lines().any(|line| line.starts_with("error: no")), "{finished:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_is_stored_or_typed_commands_the_terminal() {
    let place = Place::new();
    let tags = json!({ HOSTILE: HOSTILE });
    let line = json!({ "kind": HOSTILE, "payload": HOSTILE, "id": ONE, "tags": tags }).to_string();
    place.write("in.jsonl", &[&line]);
    place.out(&["submit", "--namespace", HOSTILE, "in.jsonl"]);
    place.out(&["work", "--until-empty", "--", "cat"]);
    place.write("two.jsonl", &[&json!({ "kind": HOSTILE, "payload": "", "id": TWO }).to_string()]);
    place.out(&["submit", "two.jsonl"]);
    place.out(&["keys", "seed", "k1"]);
    suspend(&place.engine().await, &[HOSTILE]).await;
    let node = json!({ "name": "n", "kind": HOSTILE, "payload": "" });
    let flow = json!({ "kind": HOSTILE, "namespace": HOSTILE, "nodes": [node] });
    place.write("flow.json", &[&flow.to_string()]);
    place.out(&["flow", "submit", "flow.json"]);
    let flows = place.json(&["flow", "ls"]);
    let flow = flows["flows"][0]["flow_id"].as_str().unwrap();
    assert_eq!(flows["flows"][0]["flow_kind"], HOSTILE);

    let failing = json!({ "kind": HOSTILE, "payload": HOSTILE, "lane": "other" }).to_string();
    place.ff_reading(&["submit"], &failing);
    let script = "cat >&2; exit 1";
    place.ff(&["work", "--lane", "other", "--until-empty", "--", "sh", "-c", script]);
    let hostile_limit = format!("{HOSTILE}=1");
    for arguments in [
        vec!["ls"],
        vec!["show", ONE],
        vec!["waitpoints"],
        vec!["flow", "ls"],
        vec!["flow", "show", flow],
        vec!["flow", "show", flow, "--dot"],
        vec!["flow", "show", flow, "--mermaid"],
        vec!["tail", ONE, "--no-follow"],
        vec!["explain", ONE],
        vec!["explain", TWO],
        vec!["result", "333333"],
        vec!["stats"],
        vec!["workers"],
        vec!["leases"],
        vec!["subscribers"],
        vec!["lanes", "pause", "default", "--reason", HOSTILE, "--actor", HOSTILE],
        vec!["lanes", "ls"],
        vec!["budget", "create", "--scope", HOSTILE, "--hard", &hostile_limit],
        vec!["budget", "ls"],
        vec!["limits", "set", HOSTILE, "--max-running", "1"],
        vec!["limits", "ls"],
        vec!["fairness", "ls"],
        vec!["dlq", "ls"],
        vec!["ls", "--state", "failed"],
        vec!["bulk", "cancel", "--lane", "default", "--dry-run"],
        vec!["events"],
        vec!["ls", "--flow", HOSTILE],
        vec!["show", HOSTILE],
        vec!["ls", "--tag", HOSTILE],
        vec!["approve", TWO, HOSTILE, HOSTILE],
        vec!["work", "--lane", HOSTILE, "--", "true"],
        vec![HOSTILE],
        vec!["--db", HOSTILE, "ls"],
        vec!["submit", HOSTILE],
    ] {
        assert_tame(&place.ff(&arguments));
        assert_tame(&place.ff(&[&["--json"], arguments.as_slice()].concat()));
    }
    let bad = json!({ "kind": "k", "payload": "", HOSTILE: 1 }).to_string();
    assert_tame(&place.ff_reading(&["submit"], &bad));
    assert_tame(&place.ff_reading(&["flow", "submit"], &bad));
    assert_eq!(place.out(&["result", ONE]), HOSTILE, "programs get what is stored");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_fit_and_their_short_ids_are_understood() {
    let place = Place::new();
    let long = "a-rather-long-name-of-something";
    let line = |id: &str| {
        json!({ "kind": long, "payload": "", "id": id, "tags": { "t": long.repeat(4) } })
            .to_string()
    };
    place.write("in.jsonl", &[&line(ONE), &line(TWO)]);
    place.out(&["submit", "in.jsonl"]);
    place.out(&["keys", "seed", "k1"]);
    suspend(&place.engine().await, &["review"]).await;
    let node = |name: &str| json!({ "name": name, "kind": long, "payload": "" });
    let flow = json!({ "kind": long, "nodes": [node(&long.repeat(2)), node("b")] });
    place.write("flow.json", &[&flow.to_string()]);
    place.wide(80, &["flow", "submit", "flow.json"]);
    let flow = place.json(&["flow", "ls"])["flows"][0]["flow_id"].as_str().unwrap().to_owned();

    for columns in [40, 80, 200] {
        for arguments in [
            vec!["ls"],
            vec!["ls", "--flow", &flow],
            vec!["show", ONE],
            vec!["waitpoints"],
            vec!["flow", "ls"],
            vec!["flow", "show", &flow],
            vec!["scan", "--until-idle"],
        ] {
            place.wide(columns, &arguments);
        }
    }
    for arguments in [vec!["--help"], vec!["submit", "--help"], vec!["flow", "submit", "--help"]] {
        place.wide(80, &arguments);
    }

    let table = place.wide(80, &["ls"]);
    assert!(table.contains("86:11111111  "), "{table}");
    assert!(table.contains("suspended") && !table.contains(ONE), "{table}");
    assert!(place.wide(200, &["--utc", "ls"]).contains(" 20"), "absolute where asked for");
    for name in ["86:11111111", "86:1", "11111111", "1111", "11111111-11"] {
        let shown = place.json(&["show", name]);
        assert_eq!(shown["execution"]["execution_id"], format!("{{fp:86}}:{ONE}"), "{name}");
    }
    assert_eq!(place.json(&["flow", "show", &flow[..8]])["flow"]["flow_id"], flow);
    assert_eq!(
        place.json(&["ls", "--flow", &flow[..8]])["executions"].as_array().unwrap().len(),
        2
    );
    place.ff(&["show", "86:3"]).assert_failed(1);
    place.ff(&["show", "333333"]).assert_failed(1);
    place.ff(&["show", "333"]).assert_failed(2);
}

#[test]
fn a_beginning_that_several_share_is_refused() {
    let place = Place::new();
    let other = "11111111-1111-4111-8111-222222222222";
    let line = |id: &str| json!({ "kind": "k", "payload": "", "id": id }).to_string();
    place.write("in.jsonl", &[&line(ONE), &line(other)]);
    place.out(&["submit", "in.jsonl"]);
    for name in ["1111", "86:11111111-1111"] {
        let finished = place.ff(&["cancel", name]);
        finished.assert_failed(1);
        assert!(
            finished.err.contains("the beginning of several: {fp:86}:11111111"),
            "{finished:?}"
        );
    }
    let table = place.wide(80, &["ls"]);
    assert!(
        table.contains("86:111111111111411181111") || table.contains("86:11111111111141118111"),
        "{table}"
    );
    place.out(&["cancel", "86:11111111111141118111-2"]);
    let listed = place.json(&["ls", "--state", "cancelled"]);
    assert_eq!(listed["executions"][0]["execution_id"], format!("{{fp:86}}:{other}"));
}

#[test]
fn programs_get_all_of_it() {
    let place = Place::with_two();
    let mut command = binary(place.0.path());
    let finished = finished(command.arg("ls").stdout(Stdio::piped()).output().unwrap());
    let header: Vec<&str> = finished.out.lines().next().unwrap().split_whitespace().collect();
    let columns =
        ["execution", "lane", "kind", "state", "priority", "attempt", "claims", "created"];
    assert_eq!(header, columns);
    assert!(finished.out.contains(&format!("{{fp:86}}:{ONE}")), "{finished:?}");
}
