//! What operators see and do about workers, lanes and leases by the command line.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use super::json::assert_documented;
use super::{ONE, Place, TWO, binary};

/// A worker that runs until it is killed.
fn start(place: &Place, arguments: &[&str]) -> Child {
    let mut command = binary(place.0.path());
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Waits until the answer of a command is as wanted.
fn until(place: &Place, arguments: &[&str], wanted: impl Fn(&Json) -> bool) -> Json {
    let begun = Instant::now();
    loop {
        let answer = place.json(arguments);
        if wanted(&answer) {
            return answer;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{arguments:?}: {answer}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_paused_lane_hands_out_nothing_until_it_is_resumed() {
    let place = Place::with_two();
    let paused = place.json(&["lanes", "pause", "default", "--reason", "repairs", "--until", "2h"]);
    assert_eq!((&paused["state"], &paused["reason"]), (&"paused".into(), &"repairs".into()));
    assert_documented("lanes pause", &[paused]);
    let listed = place.json(&["lanes", "ls"]);
    assert_eq!(listed["lanes"][0]["actor"], "operator");
    assert_documented("lanes ls", &[listed]);

    assert_eq!(place.out(&["lanes", "resume", "default"]), "default is active\n");
    place.out(&["work", "--until-empty", "--", "cat"]);
    assert_eq!(place.out(&["result", ONE]), "one");
}

#[test]
fn limits_are_set_shown_listed_and_removed() {
    let place = Place::with_two();
    let set = place.json(&["limits", "set", "tenant/*", "--running", "1", "--rate", "100/1m"]);
    assert_eq!((&set["max_running"], &set["rate"]["per_ms"]), (&1.into(), &60_000.into()));
    assert_documented("limits set", &[set]);
    assert_documented("limits ls", &[place.json(&["limits", "ls"])]);
    let shown = place.json(&["limits", "show", "tenant/42"]);
    assert_eq!(shown["limit"]["limit_key"], "tenant/*");
    assert_documented("limits show", &[shown]);

    let text = place.out(&["limits", "show", "tenant/42"]);
    let expected = "tenant/42: at most 1 at once, at most 100/1m start (of its family)\n\
                    0 hold a permit\n";
    assert_eq!(text, expected);
    assert_documented("limits rm", &[place.json(&["limits", "rm", "tenant/*"])]);
    let none = place.ff(&["limits", "show", "tenant/42"]);
    assert!(none.code == 1 && none.err.contains("tenant/42 has no limit"), "{none:?}");
    assert_eq!(place.ff(&["limits", "set", "a", "--rate", "soon"]).code, 2);
    assert_eq!(place.ff(&["limits", "set", ""]).code, 1);
    assert_eq!(place.out(&["limits", "ls"]), "no limits\n");
}

#[test]
fn weights_of_fairness_keys_are_set_listed_and_removed() {
    let place = Place::with_two();
    let set = place.json(&["fairness", "set", "default", "tenant/42", "3"]);
    assert_eq!((&set["fairness_key"], &set["weight"]), (&"tenant/42".into(), &3.into()));
    assert_documented("fairness set", &[set]);
    let listed = place.json(&["fairness", "ls", "default"]);
    assert_eq!(listed["weights"][0]["set_by"], "operator");
    assert_documented("fairness ls", &[listed]);
    let text = place.out(&["fairness", "set", "default", "", "2"]);
    assert_eq!(text, "(without a key) has weight 2 in default\n");
    assert!(place.out(&["fairness", "ls", "default"]).contains("tenant/42"));

    assert_documented("fairness rm", &[place.json(&["fairness", "rm", "default", "tenant/42"])]);
    let none = place.out(&["fairness", "rm", "default", "tenant/42"]);
    assert_eq!(none, "tenant/42 has no weight in default\n");
    let heavy = place.ff(&["fairness", "set", "default", "tenant/42", "1001"]);
    assert!(heavy.code == 1 && heavy.err.contains("weight: 1001 is not in 1..=1000"), "{heavy:?}");
}

#[test]
fn a_worker_says_at_once_that_its_lane_is_paused() {
    let place = Place::with_two();
    place.out(&["lanes", "pause", "default", "--reason", "repairs"]);
    let begun = Instant::now();
    let worked = place.ff(&["work", "--until-empty", "--", "cat"]);
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    let why = "lane default is paused and hands out nothing (repairs); executions were left in it";
    assert!(worked.code == 1 && worked.err.contains(why), "{worked:?}");
    let worked = place.ff(&["--json", "work", "--until-empty", "--", "cat"]);
    assert!(worked.out.contains(r#""left_closed": true"#), "{worked:?}");

    // What is empty is empty, paused or not.
    place.out(&["lanes", "pause", "other"]);
    place.out(&["work", "--until-empty", "--lane", "other", "--", "cat"]);
}

#[test]
fn a_resumed_lane_wakes_an_idle_worker() {
    let place = Place::with_two();
    place.out(&["lanes", "pause", "default"]);
    let mut worker = start(&place, &["work", "--", "cat"]);
    until(&place, &["workers"], |answer| answer["workers"][0]["state"] == "alive");
    assert_eq!(place.out(&["leases"]), "no leases\n");
    place.out(&["lanes", "resume", "default"]);
    until(&place, &["show", TWO], |answer| answer["execution"]["public_state"] == "completed");
    worker.kill().unwrap();
    worker.wait().unwrap();
}

#[test]
fn a_draining_lane_tells_submitters_why() {
    let place = Place::with_two();
    place.out(&["lanes", "drain", "default", "--reason", "moving house"]);
    place.write("more.jsonl", &[r#"{"kind":"echo","payload":"x"}"#]);
    let refused = place.ff(&["submit", "more.jsonl"]);
    assert_ne!(refused.code, 0);
    let why = "lane default is draining and takes no submissions (moving house)";
    assert!(refused.err.contains(why) || refused.out.contains(why), "{refused:?}");
    place.out(&["work", "--until-empty", "--", "cat"]);
    assert_eq!(place.out(&["result", TWO]), "two");
    assert_eq!(place.ff(&["lanes", "pause", "default", "--until", "soon"]).code, 2);
}

#[test]
fn a_killed_worker_is_dead_within_its_time_to_live_and_its_work_runs_elsewhere() {
    let place = Place::with_two();
    let working = ["work", "--no-scanners", "--liveness-ttl-ms", "2000", "--capability", "gpu"];
    let mut worker = start(&place, &[&working[..], &["--", "sleep", "600"]].concat());
    let alive = until(&place, &["workers"], |answer| !answer["workers"][0]["holds"][0].is_null());
    assert_eq!(alive["workers"][0]["state"], "alive");
    assert_eq!(alive["workers"][0]["capabilities"][0], "gpu");
    assert_documented("workers", std::slice::from_ref(&alive));
    let leases = place.json(&["leases"]);
    assert_eq!(leases["leases"].as_array().unwrap().len(), 1);
    assert_documented("leases", &[leases]);

    worker.kill().unwrap();
    worker.wait().unwrap();
    let killed = Instant::now();
    until(&place, &["workers"], |answer| answer["workers"][0]["state"] == "dead");
    // The lease itself would last for 30 s.
    place.out(&["work", "--until-empty", "--", "cat"]);
    assert!(killed.elapsed() < Duration::from_secs(25), "{:?}", killed.elapsed());
    assert_eq!(
        (place.out(&["result", ONE]), place.out(&["result", TWO])),
        ("one".into(), "two".into())
    );
    let workers = place.json(&["workers"]);
    let [swept] = workers["workers"].as_array().unwrap().as_slice() else { panic!("{workers}") };
    assert_eq!((&swept["state"], &swept["holds"][0]), (&"dead".into(), &Json::Null));
    assert_eq!(swept["capabilities"][0], "gpu", "the other has left");
}

#[test]
fn leases_are_taken_back_by_execution_and_by_worker() {
    let place = Place::with_two();
    let mut worker = start(&place, &["work", "--no-scanners", "--", "sleep", "600"]);
    let leases = until(&place, &["leases"], |answer| !answer["leases"][0].is_null());
    let lease = &leases["leases"][0];
    let (id, instance) = (lease["execution_id"].as_str().unwrap(), &lease["worker_instance_id"]);
    let instance = instance.as_str().unwrap();
    worker.kill().unwrap();
    worker.wait().unwrap();

    assert_eq!(place.ff(&["revoke", id]).code, 2, "there is no terminal to ask at");
    assert_eq!(place.out(&["leases", "--worker", "nobody-1"]), "no leases\n");
    assert_eq!(place.out(&["leases", "--expired"]), "no leases\n");
    let revoked = place.json(&["revoke", "--worker", instance, "--yes"]);
    assert_eq!(revoked["leases"][0]["outcome"], "revoked");
    assert_documented("revoke", &[revoked]);
    let again = place.json(&["revoke", id, "--yes"]);
    assert_eq!(again["leases"][0]["outcome"], "already_satisfied");
}
