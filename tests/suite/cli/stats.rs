//! Counts by the command line.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value as Json;

use super::json::assert_documented;
use super::{Place, binary};

#[test]
fn executions_are_counted_by_lane_kind_and_state() {
    let place = Place::new();
    let never = r#"{"kind":"echo","payload":"x","policy":{"retry_policy":{"max_retries":0}}}"#;
    place.write("in.jsonl", &[never, never]);
    place.out(&["submit", "in.jsonl"]);
    let waiting = place.json(&["stats"]);
    assert_eq!(waiting["counts"][0]["public_state"], "waiting");
    assert_eq!(waiting["counts"][0]["count"], 2);
    assert_eq!(waiting["oldest_waiting"][0]["lane_id"], "default");
    let text = place.out(&["stats"]);
    assert!(text.contains("waiting") && text.contains("default"), "{text}");

    place.out(&["work", "--until-empty", "--", "false"]);
    let failed = place.json(&["stats", "--lane", "default"]);
    assert_eq!(failed["counts"][0]["public_state"], "failed", "{failed}");
    assert_eq!(failed["failures"][0]["count"], 2, "{failed}");
    assert!(failed["oldest_waiting"].as_array().unwrap().is_empty(), "{failed}");
    let text = place.out(&["stats"]);
    assert!(text.contains("failed in the last hour"), "{text}");

    assert_documented("stats", &[waiting, failed]);
    assert_eq!(place.out(&["stats", "--kind", "other"]), "no executions\n");
    assert_eq!(place.ff(&["stats", "--lane", ""]).code, 2);
}

#[test]
fn a_watch_prints_one_value_after_another_until_it_is_interrupted() {
    let place = Place::with_two();
    let mut command = binary(place.0.path());
    let mut watch =
        command.args(["--json", "stats", "--watch"]).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    for line in lines.take(2) {
        let stats: Json = serde_json::from_str(&line.unwrap()).unwrap();
        assert_eq!(stats["counts"][0]["count"], 2);
    }
    let pid = rustix::process::Pid::from_child(&watch);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert!(watch.wait().unwrap().success());
}
