//! What has ended is archived by the command line, imported elsewhere, and then trimmed.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::runtime::Handle;

use super::{BOUND, ONE, Place, TWO, binary};
use crate::backends::{self, Bench, postgres_url};
use crate::plain::PlainSql;

/// Executions that are killed at random points of: enough for several steps.
const MANY: usize = 600;

const COPY: [&str; 2] = ["--db", "sqlite:copy.db"];

impl Place {
    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.path().join(name)).unwrap()
    }

    /// Two executions, the first of which has ended and is archived.
    fn archived() -> Self {
        let place = Self::with_two();
        place.out(&["cancel", ONE]);
        place.out(&["archive", "a.jsonl"]);
        place
    }

    /// Starts a command, and kills it once `when` holds, if it has not ended by then.
    fn killed(&self, arguments: &[&str], when: impl Fn() -> bool) -> bool {
        let mut command = binary(self.0.path());
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        let (mut child, started) = (command.spawn().unwrap(), Instant::now());
        while child.try_wait().unwrap().is_none() && !when() {
            assert!(started.elapsed() < BOUND, "{arguments:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = child.kill();
        !child.wait().unwrap().success()
    }
}

#[test]
fn what_has_ended_goes_to_a_file_and_comes_back_elsewhere() {
    let place = Place::with_two();
    place.out(&["cancel", ONE]);
    let told = place.out(&["archive", "a.jsonl"]);
    assert_eq!(told, "archived 1 execution and 0 flows as a\n");
    let file = place.read("a.jsonl");
    assert_eq!(file.lines().count(), 2);
    assert!(file.starts_with("{\"flowfabric_archive\":1,"), "{file}");
    assert_eq!(place.json(&["archive", "a.jsonl"])["executions"], 0);
    assert_eq!(place.read("a.jsonl"), file);

    let dry = place.json(&["trim", "--archived", "a", "--dry-run"]);
    assert_eq!((&dry["executions"], &dry["held_back"]), (&json!(1), &json!({})));
    place.out(&["cancel", TWO]);
    let dry = place.json(&["trim", "--archived", "a", "--dry-run"]);
    assert_eq!(dry["held_back"], json!({ "not archived yet": 1 }));
    let removed = place.out(&["trim", "--archived", "a", "--yes"]);
    assert!(removed.starts_with("removed 1 execution and 0 flows\n"), "{removed}");
    place.ff(&["show", ONE]).assert_failed(1);
    assert_eq!(place.json(&["archive", "a.jsonl", "--as", "a"])["executions"], 1);

    let imported = place.out(&[&COPY[..], &["import", "a.jsonl"]].concat());
    assert_eq!(imported, "imported 2 executions and 0 flows\n");
    place.out(&[&COPY[..], &["show", ONE]].concat());
    place.out(&[&COPY[..], &["archive", "copy.jsonl"]].concat());
    assert_eq!(place.read("copy.jsonl"), place.read("a.jsonl"));
    let again = place.out(&[&COPY[..], &["import", "a.jsonl"]].concat());
    assert_eq!(again, "imported 0 executions and 0 flows\n  2 already there\n");

    // Back home, and no longer as it is in the file.
    assert_eq!(place.json(&["import", "a.jsonl"])["executions"], 1);
    place.out(&["replay", ONE]);
    let differing = place.ff(&["--json", "import", "a.jsonl"]);
    assert_eq!(differing.code, 2, "{differing:?}");
    assert!(differing.out.contains("\"differing\": 1"), "{differing:?}");
}

#[test]
fn a_half_written_end_is_cut_off_and_written_again() {
    let place = Place::archived();
    let file = place.read("a.jsonl");
    let tail = file.lines().last().unwrap();
    for rest in [tail[..tail.len() / 2].to_owned(), format!("{tail}\n")] {
        place.write("a.jsonl", &[file.trim_end(), &rest]);
        place.out(&["archive", "a.jsonl"]);
        assert_eq!(place.read("a.jsonl"), file);
    }
    place.out(&["cancel", TWO]);
    place.out(&["archive", "a.jsonl"]);
    assert!(place.read("a.jsonl").starts_with(&file));
    assert_eq!(place.read("a.jsonl").lines().count(), 3);
}

#[test]
fn a_file_that_is_not_its_own_is_left_alone() {
    let place = Place::archived();
    let file = place.read("a.jsonl");
    let refused = place.ff(&[&COPY[..], &["archive", "a.jsonl"]].concat());
    assert_eq!(refused.code, 1, "there is no such database: {refused:?}");
    place.out(&[&COPY[..], &["import", "a.jsonl"]].concat());
    let refused = place.ff(&[&COPY[..], &["archive", "a.jsonl"]].concat());
    refused.assert_failed(1);
    assert!(refused.err.contains("is there already"), "{refused:?}");
    assert_eq!(place.read("a.jsonl"), file);

    place.out(&["cancel", TWO]);
    for (name, text) in
        [("a.jsonl", file.replace("cancelled", "cancelle")), ("a.jsonl", String::new())]
    {
        std::fs::write(place.0.path().join(name), &text).unwrap();
        let refused = place.ff(&["archive", "a.jsonl"]);
        refused.assert_failed(1);
        assert!(refused.err.contains("is not the file that archive a was written to"));
        assert_eq!(place.read("a.jsonl"), text);
    }
    let refused = place.ff(&["archive", "b.jsonl", "--as", "a"]);
    refused.assert_failed(1);
    assert!(refused.err.contains("b.jsonl is missing: it is the file that archive a was"));
    assert!(refused.err.contains("ff subscribers drop a"), "{}", refused.err);
    place.ff(&["trim", "--archived", "nothing", "--yes"]).assert_failed(1);
    place.out(&["events", "--as", "reader", "--kind", "completion"]);
    assert_eq!(place.ff(&["archive", "reader.jsonl"]).code, 2);
}

#[test]
fn a_bad_file_is_refused_by_line_and_field_before_anything_is_imported() {
    let place = Place::archived();
    let file = place.read("a.jsonl");
    let (header, line) = file.trim_end().split_once('\n').unwrap();
    let change = |from: &str, to: &str| {
        assert!(line.contains(from), "{from} in {line}");
        line.replacen(from, to, 1)
    };
    for (bad, says) in [
        (line[..line.len() - 9].to_owned(), "line: this is no JSON object"),
        (change("\"at\":1", "\"at\":0"), "at: expected a number from 1 on"),
        (change("\"at\":1", "\"at\":1,\"by\":2"), "by: is no member of a line"),
        (change("ff_attempt", "ff_atempt"), "rows.ff_atempt: is no table of such a line"),
        (
            change("\"priority\":0", "\"priority\":\"0\""),
            "rows.ff_exec_core[0].priority: expected an integer",
        ),
        (change("\"priority\"", "\"prio\""), "rows.ff_exec_core[0].prio: is no archived column"),
        (change("\"lane_id\":\"default\",", ""), "rows.ff_exec_core[0].lane_id: is missing"),
        (
            change("\"lane_id\":\"default", "\"lane_id\":\"a\\u0000"),
            "lane_id: must not contain NUL",
        ),
        (change(ONE, TWO), "rows.ff_exec_core[0]: belongs to something else"),
        (
            change("\"lifecycle_phase\":\"cancelled", "\"lifecycle_phase\":\"active"),
            "has not ended",
        ),
        (change("\"at\":1", "\"at\":1,\"part\":true"), "is in no part"),
    ] {
        place.write("bad.jsonl", &[header, line, &bad.replace("\"at\":1", "\"at\":2"), ""]);
        let refused = place.ff(&[&COPY[..], &["import", "bad.jsonl"]].concat());
        refused.assert_failed(1);
        assert!(
            refused.err.contains("bad.jsonl, line 3: ") && refused.err.contains(says),
            "{says}: {refused:?}"
        );
        assert!(!place.0.path().join("copy.db").exists(), "{says}");
    }

    for (header, says) in [
        ("{}", "flowfabric_archive: this is not the first line of an archive"),
        (
            "{\"flowfabric_archive\":2,\"schema\":1}",
            "flowfabric_archive: written by a newer version",
        ),
        ("{\"flowfabric_archive\":1,\"schema\":999}", "schema: written by a newer version"),
    ] {
        place.write("bad.jsonl", &[header, line, ""]);
        let refused = place.ff(&["import", "bad.jsonl"]);
        refused.assert_failed(1);
        assert!(
            refused.err.contains("bad.jsonl, line 1: ") && refused.err.contains(says),
            "{refused:?}"
        );
    }
    std::fs::write(place.0.path().join("bad.jsonl"), file.trim_end()).unwrap();
    let cut = place.ff(&["import", "bad.jsonl"]);
    assert!(cut.err.contains("line 2: line: the line is cut off"), "{cut:?}");
    place.ff(&["import", "nothing.jsonl"]).assert_failed(1);
}

#[test]
fn runs_that_are_killed_lose_nothing_and_double_nothing() {
    let place = Place::new();
    // The log of the database grows with each commit.
    let log = place.0.path().join("copy.db-wal");
    let whole = place.0.path().join("whole.jsonl");
    let size = |path: &std::path::Path| std::fs::metadata(path).map_or(0, |at| at.len());
    killed_runs(&place, &[], &COPY, |share| size(&whole) * share / 4 < size(&log));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_that_are_killed_on_postgres_lose_nothing_and_double_nothing() {
    let (from, to) = (backends::postgres().await, backends::postgres().await);
    let name = async |bench: &Bench| -> String {
        let PlainSql::Postgres(pool) = &bench.plain else { panic!("Postgres it is") };
        sqlx::query_scalar("SELECT current_schema()").fetch_one(pool).await.unwrap()
    };
    let (url, schemas) = (postgres_url(), [name(&from).await, name(&to).await]);
    let PlainSql::Postgres(pool) = &to.plain else { panic!("Postgres it is") };
    let (pool, runtime) = (pool.clone(), Handle::current());
    let killed = move || {
        let [from, to] = schemas.each_ref().map(|name| ["--db", &url, "--schema", name]);
        let count = || sqlx::query_scalar("SELECT count(*) FROM ff_exec_core").fetch_one(&pool);
        let imported = || -> i64 { runtime.block_on(count()).unwrap() };
        let many = MANY as u64;
        killed_runs(&Place::new(), &from, &to, |share| {
            many * share / 4 < imported().unsigned_abs()
        });
    };
    tokio::task::spawn_blocking(killed).await.unwrap();
    from.tear_down().await;
    to.tear_down().await;
}

/// Archives one database and imports that into another, while the commands are killed again and
/// again; the other then archives the same bytes. `reached` is true once an import has come so many
/// quarters of its way.
fn killed_runs(place: &Place, from: &[&str], to: &[&str], reached: impl Fn(u64) -> bool) {
    let line = json!({ "kind": "echo", "payload": "x".repeat(200) }).to_string();
    place.write("in.jsonl", &vec![line.as_str(); MANY]);
    place.out(&[from, &["submit", "in.jsonl"]].concat());
    place.out(&[from, &["bulk", "cancel", "--lane", "default", "--yes"]].concat());
    let whole = [from, &["archive", "whole.jsonl"]].concat();
    assert_eq!(place.json(&whole)["executions"], MANY);

    let size = |name: &str| std::fs::metadata(place.0.path().join(name)).map_or(0, |at| at.len());
    let (whole, mut kills) = (size("whole.jsonl"), 0);
    let archive = [from, &["archive", "killed.jsonl"]].concat();
    for share in 0..4 {
        kills += u32::from(place.killed(&archive, || whole * share / 4 < size("killed.jsonl")));
    }
    assert_ne!(kills, 0);
    place.out(&archive);
    assert!(place.read("killed.jsonl") == place.read("whole.jsonl"), "the same bytes");

    let (import, mut kills) = ([to, &["import", "whole.jsonl"]].concat(), 0);
    for share in 0..4 {
        kills += u32::from(place.killed(&import, || reached(share)));
    }
    let last = place.json(&import);
    let sum = last["executions"].as_u64().unwrap() + last["already_there"].as_u64().unwrap();
    assert_eq!(sum, MANY as u64);
    assert_ne!(kills, 0);
    place.out(&[to, &["archive", "copy.jsonl"]].concat());
    assert!(place.read("copy.jsonl") == place.read("whole.jsonl"), "the same bytes");
}
