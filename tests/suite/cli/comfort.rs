//! What makes the program comfortable: ids as people type them, the next step of an execution,
//! times in a zone, completions, manuals.

use ff_core::backend::{FailureClass, FailureReason};
use serde_json::json;

use super::{ONE, Place, TWO, binary, finished};

const BUDGET: &str = "bbbbbbbb-2222-4333-8444-555555555555";

/// A flow of two nodes, the second after the first.
fn with_flow() -> (Place, String, String) {
    let place = Place::with_two();
    let node = |name: &str, after: &[&str]| json!({ "name": name, "kind": "k", "payload": "", "after": after });
    let flow = json!({ "kind": "f", "nodes": [node("a", &[]), node("b", &["a"])] });
    place.write("flow.json", &[&flow.to_string()]);
    let submitted = place.json(&["flow", "submit", "flow.json"]);
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    (place, text(&submitted["flow_id"]), text(&submitted["executions"]["b"]))
}

#[test]
fn ids_are_understood_without_braces_and_by_their_beginning() {
    let (place, flow, member) = with_flow();
    let (partition, uuid) = member.trim_start_matches("{fp:").split_once("}:").unwrap();
    let names = [
        member.clone(),
        format!("fp:{partition}:{uuid}"),
        format!("{partition}:{uuid}"),
        format!("{{fp:{partition}}}:{}", &uuid[..6]),
        uuid.to_owned(),
        uuid.replace('-', ""),
        uuid.to_uppercase(),
        uuid[..8].to_owned(),
    ];
    for name in &names {
        assert_eq!(place.json(&["show", name])["execution"]["execution_id"], member, "{name}");
    }
    place.out(&["budget", "create", "--id", BUDGET, "--hard", "cost=9"]);
    place.out(&["quota", "create", "--id", BUDGET, "--rate", "9"]);
    assert_eq!(place.json(&["budget", "show", "bbbbbbbb"])["budget_id"], BUDGET);
    for arguments in [
        vec!["explain", uuid],
        vec!["tail", uuid, "--no-follow"],
        vec!["waitpoints", uuid],
        vec!["steps", "1111"],
        vec!["fork", "1111"],
        vec!["ls", "--after", uuid],
        vec!["waitpoints", "--after", &uuid[..8]],
        vec!["ls", "--flow", &flow[..6]],
        vec!["budget", "ls", "--after", "bbbb"],
        vec!["budget", "report", "bbbb", "cost=1", "--execution", &uuid[..8]],
        vec!["budget", "release", "bbbb", uuid],
        vec!["budget", "reset", "bbbbbb"],
        vec!["quota", "check", BUDGET, uuid],
        vec!["quota", "release", BUDGET, &uuid[..8]],
        vec!["cancel", uuid],
        vec!["flow", "cancel", &flow[..6]],
    ] {
        place.out(&arguments);
    }
}

#[test]
fn an_id_that_names_none_or_several_is_refused_with_what_helps() {
    let (place, flow, _) = with_flow();
    for (arguments, what) in [
        (vec!["show", "99999999"], "help: ff ls lists executions"),
        (vec!["show", "99999999-9999-4999-8999-999999999999"], "help: ff ls lists executions"),
        (vec!["flow", "show", "ffff"], "help: ff flow ls lists flows"),
        (vec!["budget", "show", "ffff"], "help: ff budget ls lists budgets"),
    ] {
        if flow.starts_with("ffff") && arguments[0] == "flow" {
            continue;
        }
        let refused = place.ff(&arguments);
        refused.assert_failed(1);
        assert!(refused.err.contains(what), "{refused:?}");
    }
    for last in 1..=7 {
        let id = format!("{}{last}", &BUDGET[..35]);
        place.out(&["budget", "create", "--id", &id]);
    }
    let several = place.ff(&["budget", "show", "bbbbbbbb"]);
    several.assert_failed(1);
    assert_eq!(several.err.matches(&BUDGET[..35]).count(), 5, "{several:?}");
    assert!(several.err.contains(", …\nhelp: give more digits"), "{several:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn show_says_why_it_failed_and_what_happens_next() {
    let place = Place::new();
    let policy = json!({ "retry_policy": {
        "max_retries": 1, "backoff": { "type": "fixed", "delay_ms": 3_600_000 }
    } });
    let line = |id: &str, policy| json!({ "kind": "k", "payload": "", "id": id, "policy": policy });
    place.write("in.jsonl", &[&line(ONE, policy).to_string(), &line(TWO, json!(null)).to_string()]);
    place.out(&["submit", "in.jsonl"]);
    let waiting = place.json(&["show", ONE]);
    assert_eq!(
        (&waiting["next"]["is_final"], &waiting["next"]["next_attempt_at_ms"]),
        (&json!(false), &json!(null))
    );

    // A worker that ends with its lane would wait for the next attempt.
    place.out(&["priority", ONE, "9"]);
    for class in [FailureClass::Transient, FailureClass::Permanent] {
        let (engine, handle) = super::tail::claimed(&place).await;
        let reason = FailureReason::new("no mail".to_owned());
        engine.fail(&handle, reason, class).await.unwrap();
    }
    let retried = place.json(&["show", ONE]);
    let failure = &retried["execution"]["failure"];
    assert_eq!(failure["message"], "no mail");
    assert_eq!((&failure["class"], &failure["worker_id"]), (&json!("transient"), &json!("w")));
    assert_eq!(failure["worker_instance_id"], "w-1", "the process to look for");
    assert_eq!(retried["next"]["is_final"], false);
    let at = retried["next"]["next_attempt_at_ms"].as_i64().unwrap();
    assert!(retried["execution"]["created_at_ms"].as_i64().unwrap() + 3_600_000 <= at);
    let shown = place.out(&["show", ONE]);
    let fact = |shown: &str, name: &str| {
        let line = shown.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim().to_owned()
    };
    assert_eq!(fact(&shown, "failure "), "no mail (transient)");
    assert_eq!(fact(&shown, "failed in "), "attempt 0 on worker w, instance w-1");
    assert!(fact(&shown, "next ").starts_with("the next attempt, 2"), "{shown}");
    assert!(fact(&shown, "next ").ends_with("(waiting_for_retry_backoff)"), "{shown}");

    let failed = place.json(&["show", TWO]);
    assert_eq!(
        (&failed["next"]["is_final"], &failed["next"]["waits_for"]),
        (&json!(true), &json!([]))
    );
    let shown = place.out(&["show", TWO]);
    assert!(fact(&shown, "next ").starts_with("nothing, this is final; ff replay"), "{shown}");

    place.out(&["replay", TWO]);
    place.out(&["lanes", "pause", "default", "--reason", "repairs"]);
    let paused = place.json(&["show", TWO]);
    assert_eq!(paused["next"]["waits_for"][0]["kind"], "lane_closed");
    assert!(place.out(&["show", TWO]).contains("repairs; ends when: "));
}

#[test]
fn times_are_written_in_the_zone_that_is_asked_for() {
    let place = Place::with_two();
    let shown = |columns: Option<&str>, arguments: &[&str]| {
        let mut command = binary(place.0.path());
        command.env("TZ", "Asia/Kathmandu");
        if let Some(columns) = columns {
            command.env("COLUMNS", columns);
        }
        let finished = finished(command.args(arguments).output().unwrap());
        assert_eq!(finished.code, 0, "{finished:?}");
        finished.out
    };
    let zone = |text: &str| text.contains("+05:45");
    assert!(!zone(&shown(None, &["ls"])), "programs get UTC");
    assert!(zone(&shown(None, &["--local", "ls"])));
    assert!(zone(&shown(Some("100"), &["show", ONE])), "people get their own zone");
    assert!(!zone(&shown(Some("100"), &["--utc", "show", ONE])));
    assert!(shown(Some("100"), &["--utc", "show", ONE]).contains("time (UTC)"));
    assert_eq!(place.ff(&["--utc", "--local", "ls"]).code, 2);
}

#[test]
fn completions_and_manuals_know_every_command() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = place.out(&["completions", shell]);
        assert!(script.contains("waitpoints") && script.contains("until-empty"), "{shell}");
    }
    assert_eq!(place.ff(&["completions", "csh"]).code, 2);
    let written = place.json(&["man", "pages/man1"]);
    super::json::assert_documented("man", &[written]);
    let page = |name: &str| std::fs::read_to_string(place.0.path().join("pages/man1").join(name));
    assert!(page("ff.1").unwrap().contains("130"), "the exit codes are part of it");
    assert!(page("ff-work.1").unwrap().contains("until\\-empty"));
    assert!(page("ff-flow-submit.1").is_ok());
    assert!(page("ff-watch-groups.1").is_err(), "what is hidden has none");
    place.write("file", &[]);
    place.ff(&["man", "file/x"]).assert_failed(1);
    assert!(place.out(&["--help"]).contains("Exit codes:\n    0  done"));
}
