//! Events by the command line: the past, from any point on, and what other processes do meanwhile.

use std::time::Instant;

use serde_json::{Value as Json, json};

use super::{BOUND, ONE, Place, Running, TWO};

/// The lines that a command prints, once there are so many: a machine under load may take longer
/// than the command waits.
fn lines(place: &Place, count: usize, arguments: &[&str]) -> Vec<String> {
    let started = Instant::now();
    loop {
        let lines: Vec<String> = place.out(arguments).lines().map(str::to_owned).collect();
        if count <= lines.len() {
            assert_eq!(lines.len(), count, "{lines:?}");
            return lines;
        }
        assert!(started.elapsed() < BOUND, "{count} lines within {BOUND:?}: {lines:?}");
    }
}

/// The events that the arguments ask for.
fn events(place: &Place, count: usize, arguments: &[&str]) -> Vec<Json> {
    let lines = lines(place, count, &[&["--json", "events"], arguments].concat());
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn words(events: &[Json], member: &str) -> Vec<String> {
    events.iter().map(|event| event[member].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_event_is_read_again_exactly_after_a_cursor() {
    let place = Place::with_two();
    place.out(&["cancel", TWO]);
    place.out(&["work", "--until-empty", "--", "cat"]);
    place.out(&["replay", TWO]);
    let all = events(&place, 6, &[]);
    let operators = events(&place, 2, &["--kind", "operator"]);
    assert_eq!(words(&operators, "event"), ["cancelled", "replayed"]);
    assert_eq!(operators[0]["details"], json!({ "reason": "cancelled by an operator" }));
    assert!(operators.iter().all(|event| all.contains(event)), "{all:?}");
    let lease = events(&place, 2, &["--kind", "lease"]);
    assert_eq!(words(&lease, "event"), ["acquired", "revoked"]);
    let ends = events(&place, 2, &["--kind", "completion"]);
    assert_eq!(words(&ends, "event"), ["cancelled", "success"]);
    assert!(lease.iter().chain(&ends).all(|event| all.contains(event)), "{all:?}");
    for kind in [&lease, &ends] {
        let (first, second) = (&kind[0], &kind[1]);
        let (name, cursor) = (first["kind"].as_str().unwrap(), first["cursor"].as_str().unwrap());
        let after = events(&place, 1, &["--kind", name, "--from", cursor]);
        assert_eq!(&after[0], second);
        assert!(cursor.starts_with(&format!("{name}:")), "{cursor}");
        assert_eq!(events(&place, 1, &["--from", cursor])[0], *second, "only of its kind");
        assert_eq!(events(&place, 5, &["--from", cursor, "--from", "start"]).len(), 5);
        let last = second["cursor"].as_str().unwrap();
        assert_eq!(place.out(&["events", "--kind", name, "--from", last]), "");
    }
    assert_eq!(place.out(&["events", "--from", "now"]), "");
    let text = lines(&place, 2, &["events", "--kind", "completion"]);
    let (line, cursor) = (&text[0], ends[0]["cursor"].as_str().unwrap());
    assert!(line.starts_with(&format!("{cursor}  2")), "{line}");
    let finished = format!("  {{fp:86}}:{TWO}  cancelled  reason=cancelled by an operator");
    assert!(line.ends_with(&finished), "{line}");
    let cursor = line.split_whitespace().next().unwrap();
    let after = lines(&place, 1, &["events", "--kind", "completion", "--from", cursor]);
    assert_eq!(after, text[1..], "as printed");
}

#[test]
fn wrong_places_are_refused() {
    let place = Place::new();
    for arguments in [
        vec!["events", "--from", "yesterday"],
        vec!["events", "--from", "020000000000000001"],
        vec!["events", "--kind", "lease", "--from", "signal:020000000000000001"],
        vec!["events", "--kind", "nonsense"],
        vec!["events", "--kind", "tag", "--namespace", "default"],
    ] {
        let finished = place.ff(&arguments);
        assert_eq!((finished.code, finished.out.as_str()), (2, ""), "{arguments:?}: {finished:?}");
    }
    let finished = place.ff(&["events", "--kind", "lease", "--from", "0102"]);
    assert_eq!((finished.code, finished.err.lines().count()), (1, 1), "{finished:?}");
}

#[test]
fn only_what_is_asked_for_is_printed() {
    let place = Place::new();
    let tags = json!({ "cairn.instance_id": "i-1" });
    let line = |id: &str, tags: &Json| {
        json!({ "kind": "echo", "payload": "", "id": id, "tags": tags }).to_string()
    };
    place.write("in.jsonl", &[&line(ONE, &tags), &line(TWO, &json!({}))]);
    place.out(&["submit", "in.jsonl"]);
    place.out(&["work", "--until-empty", "--", "cat"]);
    let of_one = events(&place, 3, &["--instance", "i-1"]);
    assert!(of_one.iter().all(|event| event["execution_id"].as_str().unwrap().ends_with(ONE)));
    assert_eq!(events(&place, 6, &["--namespace", "default"]).len(), 6);
    assert_eq!(place.out(&["events", "--namespace", "other"]), "");
    let tags = events(&place, 1, &["--kind", "tag"]);
    assert_eq!((&tags[0]["event"], &tags[0]["tag"]), (&json!("attached"), &json!("i-1")));
}

#[test]
fn a_follower_gets_frames_of_other_processes() {
    let place = Place::with_two();
    let follower =
        Running::start(&place, &["--json", "events", "--follow", "--kind", "completion"]);
    let mut received = Vec::new();
    place.out(&["cancel", TWO]);
    received.push(follower.line());
    place.out(&["work", "--until-empty", "--", "cat"]);
    received.push(follower.line());
    let received: Vec<Json> =
        received.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(words(&received, "event"), ["cancelled", "success"]);
}
