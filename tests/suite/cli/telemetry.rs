//! Metrics, health and traces of the real binary.

use std::net::SocketAddr;
use std::time::Instant;

use super::*;
use crate::http;
use crate::metrics::assert_described;

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const OTHER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// A process that serves metrics, and all that it says on stderr. Killed when dropped.
struct Served {
    child: Child,
    address: SocketAddr,
    said: Receiver<String>,
}

impl Served {
    fn start(place: &Place, arguments: &[&str]) -> Self {
        let mut command = binary(place.0.path());
        command.args(arguments).env("RUST_LOG", "trace").stdout(Stdio::null());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let (line, said) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).try_for_each(|text| line.send(text))
        });

        let address = std::iter::from_fn(|| said.recv_timeout(BOUND).ok()).find_map(|line| {
            let rest = line.strip_prefix("metrics at http://")?;
            rest.strip_suffix("/metrics")?.parse().ok()
        });
        Self { child, address: address.expect("an address"), said }
    }

    /// The status and the body of an answer.
    fn get(&self, path: &str) -> (u16, String) {
        http::request(self.address, &format!("GET {path}"), &[], "").unwrap()
    }

    /// The metrics once they have a line that begins like that.
    fn metrics_with(&self, line: &str) -> String {
        let begun = Instant::now();
        loop {
            let (status, text) = self.get("/metrics");
            assert_eq!(status, 200);
            if text.lines().any(|own| own.starts_with(line)) {
                return text;
            }
            assert!(begun.elapsed() < BOUND, "no {line} in {text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_worker_serves_its_metrics_and_its_health() {
    let place = Place::new();
    let line = json!({ "kind": "echo", "payload": "kept-silent-7f3a", "id": ONE }).to_string();
    place.write("in.jsonl", &[&line]);
    place.out(&["submit", "in.jsonl"]);
    let (first, second) = (
        json!({ "name": "a", "kind": "k", "payload": "kept-silent-7f3a" }),
        json!({ "name": "b", "kind": "k", "payload": "", "after": ["a"] }),
    );
    place.write("flow.json", &[&json!({ "kind": "k", "nodes": [first, second] }).to_string()]);
    place.out(&["flow", "submit", "flow.json"]);

    let served = Served::start(&place, &["work", "--metrics", "0", "--", "cat"]);
    assert!(served.address.ip().is_loopback());
    served.metrics_with(r#"ff_worker_runs_total{lane="default",outcome="completed"} 3"#);
    served.metrics_with(r#"ff_executions{lane="default",state="completed"} 3"#);
    let text = served.metrics_with(r#"ff_scan_rows_total{scan="dependency_dispatch""#);
    assert_described(&text, &["ff_refusals_total", "ff_retries_total"]);
    for expected in [
        r#"ff_queue_depth{lane="default"} 0"#,
        r#"ff_worker_capacity{lane="default"} 1"#,
        r#"ff_operations_total{operation="complete",outcome="ok"} 3"#,
        r#"ff_scan_lag_seconds{scan="lease_expiry"}"#,
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }

    let well = |path, body: &str| assert_eq!(served.get(path), (200, body.to_owned()), "{path}");
    well("/healthz", "alive\n");
    well("/readyz", "ready\n");
    assert_eq!(served.get("/").0, 404);

    let logged: Vec<String> = served.said.try_iter().collect();
    assert!(logged.iter().any(|line| line.contains("operation=\"complete\"")), "{logged:#?}");
    let all = logged.join("\n") + &text;
    assert!(!all.contains("kept-silent"), "{all}");
}

#[test]
fn readiness_ends_where_the_tables_do_not_fit() {
    let place = Place::with_two();
    let served = Served::start(&place, &["scan", "--metrics", "127.0.0.1:0"]);
    assert_eq!(served.get("/readyz").0, 200);

    work::plainly(&place, "ALTER TABLE ff_exec_count RENAME TO gone");
    let (status, reason) = served.get("/readyz");
    assert_eq!((status, reason.as_str()), (503, "the database's tables do not fit this program\n"));
}

#[test]
fn an_address_that_cannot_be_served_is_named() {
    let place = Place::with_two();
    let refused = place.ff(&["work", "--metrics", "here", "--", "cat"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let refused = place.ff(&["work", "--until-empty", "--metrics", &port, "--", "cat"]);
    refused.assert_failed(1);
    assert!(refused.err.contains(&port), "{refused:?}");
}

#[test]
fn a_trace_goes_from_the_submission_to_the_command() {
    let place = Place::new();
    let line = |id: &str, tags: Json| {
        json!({ "kind": "k", "payload": "", "id": id, "tags": tags }).to_string()
    };
    place.write("in.jsonl", &[&line(ONE, json!({})), &line(TWO, json!({ "traceparent": OTHER }))]);
    place.out(&["submit", "--traceparent", TRACE, "in.jsonl"]);
    let tags = |id: &str| place.json(&["show", id])["execution"]["tags"]["traceparent"].clone();
    assert_eq!((tags(ONE), tags(TWO)), (json!(TRACE), json!(OTHER)));

    let work = || {
        let mut command = binary(place.0.path());
        command.args(["work", "--until-empty", "--", "sh", "-c", "printf %s \"$TRACEPARENT\""]);
        assert_eq!(finished(command.env("TRACEPARENT", OTHER).output().unwrap()).code, 0);
    };
    work();
    assert_eq!([ONE, TWO].map(|id| place.out(&["result", id])), [TRACE, OTHER]);

    // The environment's counts, too; a malformed one, or none, is none.
    for (number, given, expected) in [(3, TRACE, TRACE), (4, "00-mine", ""), (5, "", "")] {
        let id = format!("{number}1111111-1111-4111-8111-111111111111");
        place.write("one.jsonl", &[&line(&id, json!({}))]);
        let mut command = binary(place.0.path());
        let submitted = command.args(["submit", "one.jsonl"]).env("TRACEPARENT", given);
        assert_eq!(finished(submitted.output().unwrap()).code, 0, "{given}");
        work();
        assert_eq!(place.out(&["result", &id]), expected, "{given}");
    }

    let refused = place.ff(&["submit", "--traceparent", "00-mine", "in.jsonl"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.err.contains("trace id"), "{refused:?}");
}

#[test]
fn a_trace_goes_from_the_submission_of_a_flow_to_the_command_of_each_node() {
    // What the submission says, by its option and by its environment, and what a node then gets.
    let cases =
        [(Some(TRACE), None, TRACE), (Some(TRACE), Some(OTHER), TRACE), (None, Some(TRACE), TRACE)];
    for (option, environment, expected) in cases {
        let place = Place::new();
        let nodes = json!([
            { "name": "plain", "kind": "k", "payload": "" },
            { "name": "own", "kind": "k", "payload": "", "tags": { "traceparent": OTHER } },
            { "name": "after", "kind": "k", "payload": "", "after": ["plain", "own"] },
        ]);
        place.write("flow.json", &[&json!({ "kind": "k", "nodes": nodes }).to_string()]);
        let mut command = binary(place.0.path());
        command.args(["--json", "flow", "submit", "flow.json"]);
        command.args(option.map(|trace| ["--traceparent", trace]).iter().flatten());
        command.envs(environment.map(|trace| ("TRACEPARENT", trace)));
        let submitted = finished(command.output().unwrap());
        assert_eq!(submitted.code, 0, "{submitted:?}");
        let submitted: Json = serde_json::from_str(&submitted.out).unwrap();

        let mut command = binary(place.0.path());
        command.args(["work", "--until-empty", "--", "sh", "-c", "printf %s \"$TRACEPARENT\""]);
        let worked = finished(command.env("RUST_LOG", "trace").output().unwrap());
        assert_eq!(worked.code, 0, "{worked:?}");
        for (node, expected) in [("plain", expected), ("own", OTHER), ("after", expected)] {
            let id = submitted["executions"][node].as_str().unwrap();
            assert_eq!(place.out(&["result", id]), expected, "{node}");
            let of_its_run = |line: &str| {
                let run = line.split_once("run{").is_some_and(|(_, run)| run.contains(id));
                run && line.contains(expected)
            };
            assert!(worked.err.lines().any(of_its_run), "no span of {node}: {worked:?}");
        }
    }

    let place = Place::new();
    place.write("flow.json", &[&json!({ "kind": "k", "nodes": [] }).to_string()]);
    let refused = place.ff(&["flow", "submit", "--traceparent", "00-mine", "flow.json"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.err.contains("trace id"), "{refused:?}");
}
