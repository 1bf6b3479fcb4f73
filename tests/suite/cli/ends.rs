//! The ends of commands: the database stays whole, also after a closed stdout or an interruption.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Stdio};
use std::time::Instant;

use serde_json::{Value as Json, json};

use super::{BOUND, ONE, Place, TWO, binary, finished};

impl Place {
    /// How many executions a copy of the database file alone holds.
    fn copied(&self, name: &str) -> usize {
        std::fs::copy(self.0.path().join("ff.db"), self.0.path().join(name)).unwrap();
        let db = format!("sqlite:{name}");
        let listed = self.json(&["--db", &db, "ls", "--limit", "10000"]);
        listed["executions"].as_array().unwrap().len()
    }

    fn count(&self) -> usize {
        let listed = self.json(&["ls", "--limit", "10000"]);
        listed["executions"].as_array().unwrap().len()
    }

    /// Starts a command whose three streams are ours.
    fn start(&self, arguments: &[&str]) -> Child {
        let mut command = binary(self.0.path());
        command.args(arguments).stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

fn line(id: Option<&str>) -> String {
    let mut line = json!({ "kind": "k", "payload": "" });
    if let Some(id) = id {
        line["id"] = id.into();
    }
    format!("{line}\n")
}

#[cfg(unix)]
fn interrupt(child: &Child) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
}

/// Waits until so many executions are there.
fn wait_for(place: &Place, count: usize) {
    let started = Instant::now();
    while place.count() < count {
        assert!(started.elapsed() < BOUND, "{count} executions within {BOUND:?}");
    }
}

#[test]
fn the_file_alone_is_the_database_after_every_command() {
    let place = Place::with_two();
    assert_eq!(place.copied("submitted.db"), 2);
    for (number, arguments) in [
        vec!["cancel", ONE],
        vec!["cancel", "33333333-3333-4333-8333-333333333333"],
        vec!["replay", TWO],
        vec!["ls"],
        vec!["keys", "seed", "k1"],
        vec!["submit", "missing.jsonl"],
    ]
    .into_iter()
    .enumerate()
    {
        place.ff(&arguments);
        assert_eq!(place.copied(&format!("copy-{number}.db")), 2, "{arguments:?}");
        let log = place.0.path().join("ff.db-wal");
        assert!(std::fs::metadata(log).map_or(0, |log| log.len()) == 0, "{arguments:?}");
    }
}

#[test]
fn a_closed_stdout_ends_no_change() {
    let place = Place::new();
    let lines: String = (0..1_500).map(|_| line(None)).collect();
    std::fs::write(place.0.path().join("in.jsonl"), lines).unwrap();
    let mut child = place.start(&["submit", "--ids", "in.jsonl"]);
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    stdout.read_line(&mut first).unwrap();
    drop(stdout);
    let ended = finished(child.wait_with_output().unwrap());
    assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{ended:?}");
    assert_eq!(place.copied("copy.db"), 1_500);

    // What only looks ends, and quietly.
    let mut child = place.start(&["ls", "--limit", "1500"]);
    drop(child.stdout.take());
    let ended = finished(child.wait_with_output().unwrap());
    assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{ended:?}");
}

#[cfg(unix)]
#[test]
fn a_slow_pipe_is_submitted_as_it_comes_and_an_interruption_names_the_rest() {
    let place = Place::new();
    place.out(&["migrate"]);
    let mut child = place.start(&["submit"]);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(line(None).as_bytes()).unwrap();
    wait_for(&place, 1);
    // The second line is whole, the third is not.
    stdin.write_all(format!("{}{{\"kind\"", line(Some(ONE))).as_bytes()).unwrap();
    wait_for(&place, 2);
    interrupt(&child);
    let ended = finished(child.wait_with_output().unwrap());
    drop(stdin);
    assert_eq!(ended.out, "2 executions: 2 created, 0 duplicate, 0 failed\n");
    ended.assert_failed(130);
    assert!(ended.err.contains("interrupted after line 2 of stdin: 2 created"), "{ended:?}");
    assert!(ended.err.contains("--lines 3- goes on"), "{ended:?}");
    assert_eq!(place.copied("copy.db"), 2);

    let input = format!("{0}{0}{1}", line(None), line(Some(TWO)));
    let went_on = place.ff_reading(&["--json", "submit", "--ids", "--lines", "3-"], &input);
    let went_on: Json = serde_json::from_str(&went_on.out).unwrap();
    assert_eq!(went_on["execution_ids"], json!([format!("{{fp:86}}:{TWO}")]));
    assert_eq!(place.count(), 3);
}

#[cfg(unix)]
#[test]
fn an_interrupted_command_closes_the_database() {
    let place = Place::with_two();
    let mut child = place.start(&["events", "--follow"]);
    place.out(&["cancel", ONE]);
    let mut byte = [0];
    child.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
    interrupt(&child);
    let ended = finished(child.wait_with_output().unwrap());
    assert_eq!((ended.code, ended.err.as_str()), (130, ""), "{ended:?}");
    assert_eq!(place.copied("copy.db"), 2);
}

#[test]
fn what_contradicts_itself_is_refused_and_times_are_plausible() {
    let place = Place::new();
    let with = |member: &str| format!("{{\"kind\":\"k\",\"payload\":\"\",{member}}}");
    for (member, reason) in [
        (r#""tags":{"a":"1","a":"2"}"#, "duplicate field `a`"),
        (r#""policy":{"retry_policy":{"max_retries":1,"max_retries":2}}"#, "duplicate field"),
        (r#""delay_until":1795700000"#, "if it is in seconds, write 1795700000000"),
        (r#""delay_until":"tomorrow""#, "neither a time such as"),
    ] {
        let finished = place.ff_reading(&["submit"], &with(member));
        assert_eq!(finished.code, 2, "{finished:?}");
        assert!(finished.err.contains(reason), "{finished:?}");
        let node = with(&format!("\"name\":\"n\",{member}"));
        let flow = format!("{{\"kind\":\"f\",\"nodes\":[{node}]}}");
        let finished = place.ff_reading(&["flow", "submit"], &flow);
        assert!(finished.code == 2 && finished.err.contains(reason), "{finished:?}");
    }
    let later = with(r#""delay_until":"2999-01-31T12:00:00+01:00""#);
    let finished = place.ff_reading(&["submit"], &later);
    assert_eq!(finished.out, "1 execution: 1 created, 0 duplicate, 0 failed\n");
    assert_eq!(
        place.json(&["ls", "--state", "delayed"])["executions"].as_array().unwrap().len(),
        1
    );
    for name in ["निर्माण", "ทดสอบ", "cafe\u{301}", "сборка/1"] {
        let node = json!({ "name": name, "kind": "k", "payload": "" });
        let flow = json!({ "kind": "f", "nodes": [node] }).to_string();
        let submitted = place.ff_reading(&["--json", "flow", "submit"], &flow);
        assert_eq!(submitted.code, 0, "{submitted:?}");
    }
    let node = json!({ "name": "a\u{200b}b", "kind": "k", "payload": "" });
    let finished =
        place.ff_reading(&["flow", "submit"], &json!({ "kind": "f", "nodes": [node] }).to_string());
    assert!(finished.err.contains("(U+200B); allowed are letters"), "{finished:?}");
}
