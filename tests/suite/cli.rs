//! The real binary on real files: what it prints, how it exits, and that bad input is finished, not
//! panicked about.

mod archive;
mod bench;
#[cfg(feature = "otel")]
mod collector;
mod comfort;
mod commands;
mod dlq;
mod doctor;
mod ends;
mod events;
mod explain;
mod fleet;
mod flow;
pub(crate) mod guide;
mod json;
mod mariadb;
mod money;
mod occ;
mod opening;
mod operator;
mod pooler;
mod python;
mod reasons;
mod retention;
mod schedule;
mod schema;
mod stats;
mod suspension;
mod tail;
mod telemetry;
mod terminal;
mod work;
mod wrong;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use ff_core::engine_backend::EngineBackend;
use ff_core::plan::value::ColumnType;
use serde_json::{Value as Json, json};

const ONE: &str = "11111111-1111-4111-8111-111111111111";
const TWO: &str = "22222222-2222-4222-8222-222222222222";

/// A directory with a database, and the binary run in it.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, lines: &[&str]) {
        std::fs::write(self.0.path().join(name), lines.join("\n")).unwrap();
    }

    fn ff(&self, arguments: &[&str]) -> Finished {
        ff(self.0.path(), arguments)
    }

    /// Runs a command that must succeed; what it printed.
    fn out(&self, arguments: &[&str]) -> String {
        let finished = self.ff(arguments);
        assert_eq!(finished.code, 0, "{arguments:?}: {finished:?}");
        assert_eq!(finished.err, "", "{arguments:?}");
        finished.out
    }

    /// Runs a command that reads `input`.
    fn ff_reading(&self, arguments: &[&str], input: &str) -> Finished {
        let mut command = binary(self.0.path());
        command.args(arguments).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        finished(child.wait_with_output().unwrap())
    }

    /// This process's own engine on the place's database.
    async fn engine(&self) -> Arc<dyn EngineBackend> {
        let path = self.0.path().join("ff.db");
        flowfabric_sql::open(&format!("sqlite:{}", path.display())).await.unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Json {
        let arguments = [&["--json"], arguments].concat();
        serde_json::from_str(&self.out(&arguments)).unwrap()
    }

    /// Two executions, submitted.
    fn with_two() -> Self {
        let place = Self::new();
        let line = |id: &str, payload: &str| {
            json!({ "kind": "echo", "payload": payload, "id": id }).to_string()
        };
        place.write("in.jsonl", &[&line(ONE, "one"), &line(TWO, "two")]);
        place.out(&["submit", "in.jsonl"]);
        place
    }
}

#[derive(Debug)]
struct Finished {
    code: i32,
    out: String,
    err: String,
}

impl Finished {
    /// It ended with this code and said why on one line, and perhaps what helps on another.
    #[track_caller]
    fn assert_failed(&self, code: i32) {
        let lines: Vec<&str> = self.err.lines().collect();
        assert!(matches!(lines.len(), 1 | 2), "{self:?}");
        assert!(lines[0].starts_with("error: "), "{self:?}");
        assert!(lines.iter().skip(1).all(|line| line.starts_with("help: ")), "{self:?}");
        assert_eq!(self.code, code, "{self:?}");
    }
}

/// A command that runs, and what it prints. Killed when dropped.
struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    fn start(place: &Place, arguments: &[&str]) -> Self {
        let mut command = binary(place.0.path());
        let mut child = command.args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let (line, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).try_for_each(|text| line.send(text))
        });
        Self { child, lines }
    }

    /// The next line, which must come.
    fn line(&self) -> String {
        self.lines.recv_timeout(BOUND).expect("a line in time")
    }

    /// Whatever else it prints before it ends, as it must, and well.
    fn rest(mut self) -> Vec<String> {
        let mut rest = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(BOUND) {
            rest.push(line);
        }
        assert!(self.child.wait().unwrap().success());
        rest
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How long anything here may take.
const BOUND: Duration = Duration::from_secs(60);

/// The binary, without what the environment would tell it.
pub(crate) fn binary(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ff"));
    command.current_dir(directory).stdin(Stdio::null());
    for variable in
        ["FF_DATABASE_URL", "FF_SCHEMA", "RUST_LOG", "CLICOLOR_FORCE", "COLUMNS", "TRACEPARENT"]
    {
        command.env_remove(variable);
    }
    command.env("RUST_BACKTRACE", "0");
    command
}

fn ff(directory: &Path, arguments: &[&str]) -> Finished {
    finished(binary(directory).args(arguments).output().unwrap())
}

fn finished(Output { status, stdout, stderr }: Output) -> Finished {
    let finished = Finished {
        code: status.code().expect("not killed"),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    };
    assert!(!finished.err.contains("panicked"), "{finished:?}");
    finished
}

/// The example asks a person, too, and is as good as its last run.
#[path = "../../examples/approval.rs"]
#[allow(dead_code, reason = "its main function")]
mod approval;

#[tokio::test]
async fn the_example_pays_what_was_approved() {
    assert_eq!(approval::run("sqlite::memory:").await.unwrap(), "invoice 17 paid: approved");
    assert_eq!(approval::run("memory:").await.unwrap(), "invoice 17 paid: approved");
}

#[test]
fn bad_lines_are_named_and_good_ones_are_submitted() {
    let place = Place::new();
    place.write(
        "in.jsonl",
        &[
            &json!({ "kind": "echo", "payload": "one", "id": ONE }).to_string(),
            "not json",
            &json!({ "kind": 5 }).to_string(),
            "",
            &json!({ "kind": "echo", "payload": "", "lane": "bad\tlane" }).to_string(),
            &json!({ "kind": "echo", "payload": "two", "id": TWO }).to_string(),
        ],
    );
    let finished = place.ff(&["submit", "in.jsonl"]);
    assert_eq!(finished.code, 2);
    assert_eq!(finished.out, "5 executions: 2 created, 0 duplicate, 3 failed\n");
    let errors: Vec<&str> = finished.err.lines().collect();
    assert_eq!(errors.len(), 3, "{errors:?}");
    for (error, line) in errors.iter().zip([2, 3, 5]) {
        let expected = format!("error: in.jsonl, line {line}: ");
        assert!(error.starts_with(&expected) && expected.len() < error.len(), "{error}");
    }
}

#[test]
fn submitting_again_changes_nothing() {
    let place = Place::with_two();
    let again = place.out(&["submit", "in.jsonl"]);
    assert_eq!(again, "2 executions: 0 created, 2 duplicate, 0 failed\n");
    assert_eq!(
        place.json(&["submit", "in.jsonl"]),
        json!({ "created": 0, "duplicate": 2, "failed": 0, "lines_left": null })
    );
    let ids = place.out(&["submit", "--ids", "in.jsonl"]);
    assert!(ids.lines().eq([format!("{{fp:86}}:{ONE}"), format!("{{fp:86}}:{TWO}")]), "{ids}");
    assert_eq!(place.json(&["ls"])["executions"].as_array().unwrap().len(), 2);
}

#[test]
fn work_is_done_once_and_its_result_is_kept() {
    let place = Place::with_two();
    let worked = place.json(&["work", "--until-empty", "--", "cat"]);
    assert_eq!((&worked["claimed"], &worked["completed"]), (&json!(2), &json!(2)));
    assert_eq!(place.out(&["result", ONE]), "one");
    assert_eq!(place.out(&["result", TWO]), "two");
    let again = place.json(&["work", "--until-empty", "--", "cat"]);
    assert_eq!(again["claimed"], json!(0));
    let listed = place.json(&["ls"]);
    for execution in listed["executions"].as_array().unwrap() {
        assert_eq!(execution["public_state"], "completed");
        assert_eq!(execution["total_attempt_count"], 1);
    }
}

#[test]
fn a_failing_command_is_reported() {
    let place = Place::new();
    let policy = json!({ "retry_policy": { "max_retries": 0 } });
    let line = json!({ "kind": "x", "payload": "", "id": ONE, "policy": policy });
    place.write("in.jsonl", &[&line.to_string()]);
    place.out(&["submit", "in.jsonl"]);
    place.ff(&["work", "--until-empty", "--", "sh", "-c", "echo why >&2; exit 3"]);
    let shown = place.json(&["show", ONE]);
    assert_eq!(shown["attempts"][0]["outcome"], "failed", "{shown}");
    let listed = place.json(&["ls"]);
    assert_eq!(listed["executions"][0]["public_state"], "failed");
}

#[test]
fn everything_is_shown_for_people_and_for_programs() {
    let place = Place::with_two();
    place.out(&["work", "--until-empty", "--", "cat"]);
    let table = place.out(&["ls"]);
    assert!(table.contains(ONE) && table.contains("completed"), "{table}");
    let shown = place.out(&["show", ONE]);
    for expected in [ONE, "completed", "echo", "lease acquired", "success"] {
        assert!(shown.contains(expected), "{shown}");
    }
    let shown = place.json(&["show", ONE]);
    let events: Vec<&str> =
        shown["events"].as_array().unwrap().iter().map(|e| e["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["acquired", "revoked", "success"]);
    let migrated = place.json(&["migrate"]);
    assert_eq!(migrated["applied"], json!([]));
    assert!(place.out(&["migrate"]).contains("up to date"));
    assert!(place.out(&["sql"]).lines().any(|line| line == "claim"));
    let claim = place.out(&["sql", "claim"]);
    for expected in ["plan claim", "SKIP LOCKED", "ff_lease_event"] {
        assert!(claim.contains(expected), "{claim}");
    }
    place.json(&["sql", "claim"]);
}

/// Another language's client needs the texts that are sent, and the source and type of each value.
#[test]
fn the_statements_of_an_operation_are_printed_with_their_parameters() {
    let place = Place::with_two();
    let claim = place.json(&["sql", "claim"]);
    let (postgres, sqlite) = (&claim[0]["sql"]["postgres"], &claim[0]["sql"]["sqlite"]);
    assert_eq!(
        (&sqlite["begin"], &sqlite["commit"]),
        (&json!("BEGIN IMMEDIATE"), &json!("COMMIT"))
    );
    assert_eq!(postgres["begin"], Json::Null, "one statement");
    // By the words of `ff sql --all`.
    let names = ColumnType::ALL.iter().map(|ty| ty.name()).collect::<Vec<_>>();
    let is_type = |ty: &Json| ty.as_str().is_some_and(|ty| names.contains(&ty));

    for sent in [postgres, sqlite] {
        let texts = ["once", "each"].map(|part| sent[part].as_array().unwrap().clone()).concat();
        for text in texts {
            let statements = text["statements"].as_array().unwrap();
            let binds =
                statements.iter().flat_map(|statement| statement["binds"].as_array().unwrap());
            let binds: Vec<_> = binds.collect();
            let sql = text["sql"].as_str().unwrap();
            // Marks by number, such as $1, or in order.
            let last = ["$", "?"].map(|mark| format!("{mark}{}", binds.len()));
            let numbered = last.iter().any(|mark| sql.contains(mark));
            assert!(numbered || sql.matches('?').count() == binds.len(), "{sql}");
            for bind in binds {
                assert!(is_type(&bind["type"]) && bind["sql_type"].is_string(), "{bind}");
            }
            let yields =
                statements.iter().flat_map(|statement| statement["yields"].as_array().unwrap());
            assert!(yields.clone().all(is_type), "{text}");
        }
    }

    let complete = place.out(&["sql", "complete_execution"]);
    assert!(complete.contains("-- a guard that must find a row"), "{complete}");
}

#[test]
fn an_error_is_one_line_and_perhaps_a_hint() {
    let place = Place::with_two();
    let unknown = "33333333-3333-4333-8333-333333333333";
    for (arguments, code) in [
        (vec!["show", "nonsense"], 2),
        (vec!["show", unknown], 1),
        (vec!["result", unknown], 1),
        (vec!["cancel", unknown], 1),
        (vec!["submit", "missing.jsonl"], 1),
        (vec!["submit", "."], 1),
        (vec!["--db", "nope://x", "ls"], 1),
        (vec!["--db", "", "ls"], 1),
        (vec!["--db", "sqlite:missing/dir/x.db", "ls"], 1),
        (vec!["--db", "sqlite:in.jsonl", "ls"], 1),
        (vec!["--db", "postgres://nobody:hunter2@127.0.0.1:1/none", "ls"], 1),
        (vec!["sql", "no_such_operation"], 2),
        (vec!["--no-migrate", "--db", "sqlite:fresh.db", "ls"], 1),
    ] {
        let finished = place.ff(&arguments);
        finished.assert_failed(code);
        assert!(!finished.err.contains("hunter2"), "{finished:?}");
        let finished = place.ff(&[&["--json"], arguments.as_slice()].concat());
        let error: Json = serde_json::from_str(finished.err.trim_end()).unwrap();
        assert!(error["error"].is_string(), "{arguments:?}: {finished:?}");
    }
    assert_eq!(place.ff(&["frobnicate"]).code, 2);
    assert_eq!(place.ff(&["work"]).code, 2);
    assert_eq!(place.ff(&["--help"]).code, 0);
}

#[test]
fn an_execution_can_be_cancelled() {
    let place = Place::with_two();
    place.out(&["cancel", ONE]);
    let worked = place.json(&["work", "--until-empty", "--", "cat"]);
    assert_eq!(worked["claimed"], json!(1));
    assert_eq!(place.json(&["show", ONE])["attempts"][0]["outcome"], "cancelled");
}

#[test]
fn the_demo_needs_nothing_and_leaves_nothing() {
    let place = Place::new();
    let finished = place.ff(&["demo"]);
    assert_eq!(finished.code, 0, "{finished:?}");
    let left: Vec<_> = std::fs::read_dir(place.0.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}
