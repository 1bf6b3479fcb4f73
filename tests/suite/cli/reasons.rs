//! Why something ended, since when it waits, and which worker held it: all of it is shown.

use serde_json::json;

use super::{ONE, Place, TWO};

/// One that fails twice, each time for another reason, and one that an operator cancels.
fn ended() -> Place {
    let place = Place::new();
    let policy = json!({ "retry_policy": {
        "max_retries": 1, "backoff": { "type": "fixed", "delay_ms": 0 }
    } });
    let line =
        |id: &str| json!({ "kind": "k", "payload": "", "id": id, "policy": policy }).to_string();
    place.write("in.jsonl", &[&line(ONE), &line(TWO)]);
    place.out(&["submit", "in.jsonl"]);
    place.out(&["cancel", TWO, "--reason", "not needed any more"]);
    let script = r#"echo "attempt $FF_ATTEMPT_INDEX: no paper" >&2; exit 3"#;
    place.ff(&["work", "--name", "printer", "--until-empty", "--", "sh", "-c", script]);
    place
}

#[test]
fn every_failed_attempt_and_every_end_shows_its_reason() {
    let place = ended();
    let shown = place.json(&["show", ONE]);
    for (attempt, number) in shown["attempts"].as_array().unwrap().iter().zip(0..) {
        let message = attempt["failure"]["message"].as_str().unwrap();
        assert!(message.contains(&format!("attempt {number}: no paper")), "{shown}");
        assert!(attempt["failure"]["class"].is_string(), "{shown}");
    }
    assert_eq!(shown["attempts"].as_array().unwrap().len(), 2);
    for member in ["message", "class"] {
        let last = &shown["attempts"][1]["failure"][member];
        assert_eq!(&shown["execution"]["failure"][member], last);
    }
    let text = place.out(&["show", ONE]);
    for expected in ["attempt 0: no paper", "attempt 1: no paper", "lease ended: failed", "printer"]
    {
        assert!(text.contains(expected), "{expected}: {text}");
    }

    let shown = place.json(&["show", TWO]);
    assert_eq!(shown["execution"]["cancellation"]["reason"], "not needed any more");
    assert!(place.out(&["show", TWO]).contains("not needed any more (by "), "{shown}");
    let events = place.out(&["events", "--kind", "completion"]);
    assert!(events.contains("reason=not needed any more"), "{events}");
    assert!(events.contains("attempt 1: no paper"), "{events}");
    let leases = place.out(&["events", "--kind", "lease"]);
    assert!(
        leases.contains("worker_instance_id=printer-") && leases.contains("cause=failed"),
        "{leases}"
    );
}

#[test]
fn lists_of_what_has_not_ended_well_have_the_reasons() {
    let place = ended();
    let failed = place.json(&["ls", "--state", "failed"]);
    let reason = failed["executions"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("attempt 1: no paper"), "{failed}");
    assert!(place.out(&["ls", "--state", "failed"]).contains("no paper"));
    let cancelled = place.json(&["ls", "--state", "cancelled"]);
    assert_eq!(cancelled["executions"][0]["reason"], "not needed any more");
    assert!(place.json(&["ls"])["executions"][0].get("reason").is_none(), "only where asked for");
}

#[test]
fn a_claimable_execution_shows_since_when() {
    let place = Place::with_two();
    let since = || place.json(&["show", ONE])["execution"]["claimable_since_ms"].clone();
    let first = since().as_i64().expect("it can be claimed");
    place.out(&["cancel", ONE]);
    place.out(&["replay", ONE]);
    assert!(first < since().as_i64().unwrap(), "since the replay");
    assert!(place.out(&["show", ONE]).contains("claimable since"));
}
