//! `ff work` as a runtime: exit codes, waits, files, streams.

use super::work::until;
use super::*;

/// Runs everything in the lane with a shell script.
fn work(place: &Place, options: &[&str], script: &str) -> Json {
    let arguments = [&["work", "--until-empty"], options, &["--", "sh", "-c", script]].concat();
    place.json(&arguments)
}

#[test]
fn exit_codes_end_executions_as_documented() {
    let place = Place::new();
    let id = |digit: char| ONE.replace('1', &digit.to_string());
    let line = |kind: &str, id: &str| json!({ "kind": kind, "payload": "", "id": id }).to_string();
    let lines = [line("later", &id('5')), line("bad", &id('6')), line("lost", &id('7'))];
    place.write("in.jsonl", &lines.each_ref().map(String::as_str));
    place.out(&["submit", "in.jsonl"]);

    let script = "case $FF_KIND in \
         later) test -e seen || { touch seen; exit 75; } ;; \
         bad) echo 'no such order' >&2; exit 65 ;; \
         lost) echo '{\"signal\": 1}' > \"$FF_SUSPEND_FILE\"; exit 79 ;; \
         esac";
    let options = ["--json", "work", "--until-empty", "--snooze", "50ms", "--", "sh", "-c"];
    let finished = place.ff(&[&options[..], &[script]].concat());
    assert_eq!((finished.code, finished.err.as_str()), (0, "no such order\n"), "{finished:?}");
    let worked: Json = serde_json::from_str(&finished.out).unwrap();
    assert_eq!((&worked["claimed"], &worked["handed_back"]), (&json!(4), &json!(1)), "{worked}");
    assert_eq!((&worked["completed"], &worked["failed"]), (&json!(1), &json!(2)), "{worked}");

    let shown = |digit| place.json(&["show", &id(digit)])["execution"].clone();
    assert_eq!(
        (&shown('5')["public_state"], &shown('5')["attempt_index"]),
        (&json!("completed"), &json!(0))
    );
    for (digit, message) in [('6', "no such order"), ('7', "unknown field `signal`")] {
        let failure = shown(digit)["failure"].clone();
        assert_eq!(
            (&failure["class"], &failure["attempt_index"]),
            (&json!("permanent"), &json!(0))
        );
        assert!(failure["message"].as_str().unwrap().contains(message), "{failure}");
    }
}

#[test]
fn a_command_waits_and_runs_again_with_its_signals() {
    let place = Place::new();
    place.write("in.jsonl", &[&json!({ "kind": "k", "payload": "p", "id": ONE }).to_string()]);
    place.out(&["submit", "in.jsonl"]);
    let script = "grep -q approved \"$FF_SIGNALS_FILE\" && { cat \"$FF_SIGNALS_FILE\"; exit; }; \
         echo '{\"signals\": [\"approved\"]}' > \"$FF_SUSPEND_FILE\"; exit 79";
    assert_eq!(work(&place, &[], script)["suspended"], json!(1));
    let waits = place.json(&["waitpoints", ONE])["waitpoints"].clone();
    assert_eq!(waits[0]["waitpoint_key"], "approved");
    assert_eq!(waits[0]["required_signal_names"], json!(["approved"]));

    let token = place.out(&["waitpoints", ONE, "--token"]);
    let payload = ["--payload", "by Ada", "--source", "desk 7"];
    let signal = ["signal", token.trim(), "--execution", ONE, "--waitpoint", "approved"];
    place.out(&[&signal[..], &["--name", "approved"], &payload].concat());
    assert_eq!(work(&place, &[], script)["completed"], json!(1));
    let signals: Json = serde_json::from_str(&place.out(&["result", ONE])).unwrap();
    let signal = &signals[0];
    assert_eq!((&signal["name"], &signal["payload"]), (&json!("approved"), &json!("by Ada")));
    assert_eq!((&signal["source"], &signal["payload_hex"]), (&json!("desk 7"), &json!(null)));
    assert_eq!(place.json(&["show", ONE])["execution"]["attempt_index"], 0);
}

#[test]
fn a_command_finds_the_results_of_its_upstream_nodes() {
    let place = Place::new();
    let node = |name: &str, after: &[&str]| json!({ "name": name, "kind": "k", "payload": name, "after": after });
    let nodes = [node("a", &[]), node("b", &[]), node("c", &["a", "b"])];
    place.write("flow.json", &[&json!({ "kind": "f", "nodes": nodes }).to_string()]);
    let submitted = place.json(&["flow", "submit", "flow.json"]);
    let script = "echo \"$FF_FLOW_ID $FF_NODE\" >> seen; \
         if test $FF_NODE = b; then printf '\\377'; else cat \"$FF_UPSTREAM_FILE\"; fi";
    assert_eq!(work(&place, &["--lane", "default"], script)["completed"], json!(3));

    let flow = submitted["flow_id"].as_str().unwrap();
    let seen = std::fs::read_to_string(place.0.path().join("seen")).unwrap();
    assert_eq!(seen.lines().last().unwrap(), format!("{flow} c"));
    let result = place.out(&["result", submitted["executions"]["c"].as_str().unwrap()]);
    let upstream: Json = serde_json::from_str(&result).unwrap();
    let (a, b) = (&upstream["a"], &upstream["b"]);
    assert_eq!((&a["execution_id"], &a["result"]), (&submitted["executions"]["a"], &json!("{}")));
    assert_eq!((&b["public_state"], &b["result"]), (&json!("completed"), &json!(null)));
    assert_eq!(b["result_hex"], "ff");
}

#[test]
fn output_is_in_the_stream_while_the_command_runs() {
    let place = Place::with_two();
    place.out(&["cancel", TWO]);
    let script = "echo one; echo two >&2; while ! test -e go; do sleep 0.02; done; printf last";
    let arguments = ["work", "--until-empty", "--stream", "--", "sh", "-c", script];
    let worker = Running::start(&place, &arguments);
    until("the first lines are there", || {
        let frames = place.out(&["tail", ONE, "--no-follow"]);
        (frames.contains("stdout one\n") && frames.contains("stderr two\n")).then_some(())
    });
    let tail = Running::start(&place, &["tail", ONE]);
    tail.line();
    tail.line();
    place.write("go", &[]);
    assert!(tail.rest().last().unwrap().ends_with("stdout last"));
    worker.rest();
    assert_eq!(place.out(&["result", ONE]), "one\nlast");
}

#[test]
fn a_worker_of_some_partitions_leaves_the_others() {
    let place = Place::new();
    let id = |partition: u16| format!("{{fp:{partition}}}:{ONE}");
    let line = |id: &str| json!({ "kind": "k", "payload": "", "id": id }).to_string();
    let lines = [3, 9, 200].map(|partition| line(&id(partition)));
    place.write("in.jsonl", &lines.each_ref().map(String::as_str));
    place.out(&["submit", "in.jsonl"]);

    let worked = work(&place, &["--partitions", "0-3,8"], "true");
    assert_eq!((&worked["claimed"], &worked["left_waiting"]), (&json!(1), &json!(true)));
    assert_eq!(place.json(&["show", &id(3)])["execution"]["public_state"], "completed");
    let of_two = ["--partitions", "8-9", "--partitions", "4", "--one-by-one"];
    assert_eq!(work(&place, &of_two, "true")["claimed"], json!(1));
    assert_eq!(place.json(&["show", &id(200)])["execution"]["public_state"], "waiting");
    assert_eq!(work(&place, &["--partitions", "0-255"], "true")["claimed"], json!(1));

    for (arguments, code, words) in [
        (&["--partitions", "5-3"][..], 2, "\"5-3\" ends before it begins"),
        (&["--one-by-one"][..], 2, "--partitions <LIST>"),
        (&["--partitions", "7,300"][..], 1, "partitions: 300 is not below 256"),
    ] {
        let finished = place.ff(&[&["work"], arguments, &["--", "true"]].concat());
        assert_eq!(finished.code, code, "{finished:?}");
        assert!(finished.err.contains(words), "{finished:?}");
    }
}
