//! What opening a database changes, and what it refuses to touch.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Instant;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use super::*;

/// Commands that need a database and make none.
const LOOKING: [&[&str]; 16] = [
    &["ls"],
    &["show", ONE],
    &["result", ONE],
    &["waitpoints"],
    &["events"],
    &["flow", "ls"],
    &["cancel", ONE],
    &["replay", ONE],
    &["priority", ONE, "7"],
    &["keys", "rotate", "k2", "--grace", "1h"],
    &["scan", "--until-idle"],
    &["reconcile"],
    &["work", "--until-empty", "--", "cat"],
    &["bulk", "cancel", "--lane", "x", "--dry-run"],
    &["tail", ONE],
    &["archive", "a.jsonl"],
];

/// The files of the place and their contents.
fn files(place: &Place) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(place.0.path()).unwrap().map(|entry| entry.unwrap());
    let file = |entry: std::fs::DirEntry| {
        (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
    };
    entries.map(file).collect()
}

/// Runs SQL on the file.
async fn run(place: &Place, file: &str, sql: &'static str) {
    let options = SqliteConnectOptions::new().filename(place.0.path().join(file));
    let mut connection = options.create_if_missing(true).connect().await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[track_caller]
fn assert_refused(finished: &Finished, reason: &str) {
    assert_eq!(finished.code, 1, "{finished:?}");
    assert!(finished.err.contains(reason), "{reason}: {finished:?}");
}

#[test]
fn only_what_submits_makes_a_database() {
    let place = Place::new();
    for looking in LOOKING {
        let finished = place.ff(&[&["--db", "sqlite:typo.db"], looking].concat());
        assert_eq!(finished.code, 1, "{looking:?}: {finished:?}");
        assert!(finished.err.contains("typo.db; `ff migrate` makes"), "{looking:?}: {finished:?}");
    }
    place.write("in.jsonl", &["{\"kind\": \"echo\", \"payload\": \"\"}"]);
    assert_refused(&place.ff(&["--no-migrate", "submit", "in.jsonl"]), "no file");
    assert_refused(&place.ff(&["--db", "sqlite:ff.db?mode=rw", "submit", "in.jsonl"]), "no file");
    assert_eq!(files(&place).len(), 1);

    // An empty file is as good as none.
    place.write("ff.db", &[]);
    assert_refused(&place.ff(&["ls"]), "no FlowFabric database yet");
    assert_eq!(files(&place)["ff.db"], b"");
    place.out(&["submit", "in.jsonl"]);
    place.out(&["--no-migrate", "ls"]);
    for (file, creating) in [("a.db", &["keys", "seed", "k1"][..]), ("b.db", &["migrate"])] {
        let url = format!("sqlite:{file}?mode=rwc");
        place.out(&[&["--db", url.as_str()], creating].concat());
        assert!(files(&place).contains_key(file));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_of_another_program_is_left_as_it_is() {
    let place = Place::new();
    place.write("in.jsonl", &["{\"kind\": \"echo\", \"payload\": \"\"}"]);
    run(&place, "shop.db", "CREATE TABLE customers (id integer)").await;
    run(&place, "wal.db", "PRAGMA journal_mode = WAL; CREATE TABLE customers (id integer)").await;
    place.write("notes.txt", &["no database at all"]);
    let before = files(&place);

    let submitting: [&[&str]; 5] = [
        &["submit", "in.jsonl"],
        &["migrate"],
        &["migrate", "--dry-run"],
        &["keys", "seed", "k1"],
        &["work", "--", "cat"],
    ];
    for command in LOOKING.into_iter().chain(submitting) {
        for (file, reason) in [
            ("shop.db", "a table \"customers\""),
            ("wal.db", "a table \"customers\""),
            ("notes.txt", "not a database"),
        ] {
            let url = format!("sqlite:{file}");
            let finished = place.ff(&[&["--db", url.as_str()], command].concat());
            assert_refused(&finished, reason);
            assert!(finished.err.contains(file), "{command:?}: {finished:?}");
        }
    }
    for (file, contents) in before {
        assert_eq!(std::fs::read(place.0.path().join(&file)).unwrap(), contents, "{file}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_database_is_refused_by_every_command() {
    let place = Place::with_two();
    let newer = "INSERT INTO ff_schema_ledger VALUES (99, '0099_x', 'c', NULL, 1)";
    run(&place, "ff.db", newer).await;
    for command in LOOKING.into_iter().chain([&["submit", "in.jsonl"][..], &["migrate"]]) {
        assert_refused(&place.ff(command), "at migration 99");
        if command != ["migrate"] {
            assert_refused(&place.ff(&[&["--no-migrate"], command].concat()), "at migration 99");
        }
    }
}

#[test]
fn a_schema_without_tables_is_not_touched_by_looking() {
    let place = Place::new();
    let url = std::env::var("FF_PG_TEST_URL").expect("FF_PG_TEST_URL: see scripts/test");
    let schema = format!("ff_look_{}", std::process::id());
    let postgres = ["--db", url.as_str(), "--schema", schema.as_str()];
    for looking in LOOKING {
        assert_refused(&place.ff(&[&postgres, looking].concat()), "no FlowFabric database yet");
    }
    let dry = place.out(&[&postgres[..], &["migrate", "--dry-run"]].concat());
    assert!(dry.contains("nothing was changed"), "{dry}");
    assert_refused(
        &place.ff(&[&postgres[..], &["--no-migrate", "submit"]].concat()),
        "no FlowFabric",
    );
}

#[test]
fn a_part_of_a_url_that_is_not_understood_is_refused() {
    let place = Place::new();
    place.write("in.jsonl", &["{\"kind\": \"echo\", \"payload\": \"\"}"]);
    for (url, named) in [
        ("sqlite:a#b.db", "#b.db"),
        ("sqlite:a.db?immutable=1", "immutable=1"),
        ("file://elsewhere/a.db", "another machine"),
        ("memory:?x=1", "memory"),
        ("postgres://127.0.0.1:1/ff?connect_timeout=3", "connect_timeout"),
        ("postgres://me:pa#word@127.0.0.1:1/ff", "%23"),
    ] {
        assert_refused(&place.ff(&["--db", url, "submit", "in.jsonl"]), named);
    }
    assert_eq!(files(&place).len(), 1);

    for (url, file) in
        [("sqlite:a%23b.db", "a#b.db"), ("sqlite:what%3F 100%25.db", "what? 100%.db")]
    {
        place.out(&["--db", url, "submit", "in.jsonl"]);
        assert!(files(&place).contains_key(file), "{file}: {:?}", files(&place).keys());
        assert!(place.out(&["--db", url, "ls"]).contains("echo"));
    }
}

/// A long-running command, begun, and what must be seen of it before its files go.
fn started(command: &[&str], line: &str, ready: &str) -> (Place, Child) {
    let place = Place::new();
    place.write("in.jsonl", &[line]);
    place.out(&["submit", "in.jsonl"]);
    let mut running = binary(place.0.path());
    running.args(command).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = running.spawn().unwrap();

    let start = Instant::now();
    while !place.out(&["ls"]).contains(ready) {
        assert!(start.elapsed() < BOUND, "{command:?} does nothing");
    }
    (place, child)
}

#[test]
fn a_command_ends_when_the_database_is_gone() {
    let remove = |place: &Place, file: &str| {
        std::fs::remove_file(place.0.path().join(file)).unwrap();
    };
    let job = r#"{"kind": "echo", "payload": ""}"#;
    let delayed = r#"{"kind": "echo", "payload": "", "delay_until": "+1s"}"#;

    let (all, worker) = started(&["work", "--", "cat"], job, "completed");
    for file in ["ff.db", "ff.db-wal", "ff.db-shm"] {
        remove(&all, file);
    }
    let (replaced, other) = started(&["work", "--no-scanners", "--", "cat"], job, "completed");
    let path = |file: &str| replaced.0.path().join(file);
    std::fs::copy(path("ff.db"), path("copy.db")).unwrap();
    std::fs::rename(path("copy.db"), path("ff.db")).unwrap();
    let (log, scanner) = started(&["scan"], delayed, "waiting");
    remove(&log, "ff.db-wal");

    for child in [worker, other, scanner] {
        let finished = finished(child.wait_with_output().unwrap());
        assert_refused(&finished, "removed or replaced");
    }
}

#[test]
fn a_subscriber_ends_when_the_database_is_gone() {
    let place = Place::with_two();
    place.out(&["cancel", ONE]);
    let mut command = binary(place.0.path());
    command.args(["events", "--follow"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains(ONE), "{line}");
    std::fs::remove_file(place.0.path().join("ff.db")).unwrap();
    assert_refused(&finished(child.wait_with_output().unwrap()), "removed or replaced");
}
