//! `ff bench` as a process: what it prints, what it refuses, and that it leaves nothing.

use super::*;

use sqlx::{Connection as _, PgConnection};

use crate::backends::postgres_url;

const SCENARIOS: [&str; 8] =
    ["submit", "pairs", "batches", "retry", "suspend", "flow", "mixed", "empty-claim"];

/// Runs a short measurement of every scenario.
fn report(database: &str) -> Json {
    let place = Place::new();
    let report = place.json(&["bench", "--db", database, "--seconds", "0.1", "--workers", "2"]);
    assert_eq!(place.0.path().read_dir().unwrap().count(), 0, "something is left");
    report
}

/// Checks what holds of a report on any database.
fn assert_complete(report: &Json) {
    let scenarios = report["scenarios"].as_array().unwrap();
    let names: Vec<&str> =
        scenarios.iter().map(|measured| measured["scenario"].as_str().unwrap()).collect();
    assert_eq!(names, SCENARIOS);

    for measured in scenarios {
        let engine = &measured["engine"];
        assert!(0.0 < engine["per_s"].as_f64().unwrap(), "{measured}");
        let times = ["p50_ms", "p95_ms", "p99_ms"].map(|time| engine[time].as_f64().unwrap());
        assert!(0.0 < times[0] && times.is_sorted(), "{measured}");
        assert!(0.0 < engine["per_life"]["statements"].as_f64().unwrap(), "{measured}");

        assert!(0.0 < measured["ceiling"]["per_s"].as_f64().unwrap(), "{measured}");
        assert!(0.0 < measured["ratio"].as_f64().unwrap(), "{measured}");
    }
    json::assert_documented("bench", std::slice::from_ref(report));
    assert!(0.0 < report["disk"]["fdatasync_per_s"].as_f64().unwrap());
    assert!(0.0 < report["start"]["p50_ms"].as_f64().unwrap());
    assert!(0 < report["size"]["table_bytes"].as_i64().unwrap());
}

#[test]
fn a_measurement_on_sqlite_has_every_figure_and_leaves_nothing() {
    let report = report("sqlite:ff.db");
    assert_eq!(report["database"], "sqlite");
    assert_complete(&report);
    assert!(0 < report["size"]["log_bytes"].as_i64().unwrap());
    for step in report["steps"].as_array().unwrap() {
        for side in ["engine", "ceiling"] {
            assert!(0.0 < step[side]["wal_bytes"].as_f64().unwrap(), "{step}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_measurement_on_postgres_has_every_figure_and_leaves_nothing() {
    let schemas = async || -> Vec<String> {
        let mut connection = PgConnection::connect(&postgres_url()).await.unwrap();
        let names = "SELECT nspname::text FROM pg_namespace WHERE nspname LIKE 'ff\\_bench\\_%'";
        sqlx::query_scalar(names).fetch_all(&mut connection).await.unwrap()
    };
    let report = tokio::task::spawn_blocking(|| report(&postgres_url())).await.unwrap();
    assert_eq!(report["database"], "postgres");
    assert_complete(&report);

    for measured in report["scenarios"].as_array().unwrap() {
        let per_life = &measured["engine"]["per_life"];
        if measured["scenario"] != "empty-claim" {
            assert!(0.0 < per_life["wal_bytes"].as_f64().unwrap(), "{measured}");
            assert!(0.0 < per_life["wal_records"].as_f64().unwrap(), "{measured}");
        }
    }
    for step in &report["steps"].as_array().unwrap()[1..] {
        for side in ["engine", "ceiling"] {
            let hot = step[side]["hot_share"].as_f64().unwrap();
            assert!((0.0..=1.0).contains(&hot), "{step}");
        }
    }
    assert!(0 < report["size"]["index_bytes"].as_i64().unwrap());

    // Others may measure on this server, but not on the schema of this run.
    let left = schemas().await;
    let own = report["schema"].as_str().unwrap();
    assert!(!left.iter().any(|schema| schema == own), "{own} is left");
}

#[test]
fn people_read_each_rate_as_a_ratio_to_its_ceiling() {
    let place = Place::new();
    let short = ["--seconds", "0.1", "--workers", "1"];
    let loads = ["--scenario", "pairs", "--scenario", "retry"];
    let text = place.out(&[&["bench"][..], &short, &loads].concat());
    let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap();
    assert!(line("pairs").contains(" x "), "{text}");
    assert!(line("retry").contains(" x "), "{text}");
    assert!(text.contains("fdatasync/s"), "{text}");
    assert!(text.lines().any(|line| line.starts_with("complete")), "{text}");
    assert!(!text.contains("batches"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn tables_are_altered_first_and_batches_have_the_size_asked_for() {
    for database in ["sqlite:ff.db".to_owned(), postgres_url()] {
        let report = tokio::task::spawn_blocking(move || {
            let alter = "DROP INDEX ff_exec_core_created_idx; CREATE TABLE more (n INTEGER)";
            let load = ["--scenario", "batches", "--batch", "7", "--workers", "1"];
            let of = ["bench", "--db", &database, "--seconds", "0.1", "--alter", alter];
            let place = Place::new();
            // The second table of a name is refused, so the SQL was run.
            let twice = [&of[..6], &["CREATE TABLE ff_exec_core (n INTEGER)"]].concat();
            place.ff(&twice).assert_failed(1);
            place.json(&[&of[..], &load].concat())
        });
        let report = report.await.unwrap();
        assert_eq!(report["batch"], 7);
        assert!(report["alteration"].as_str().unwrap().starts_with("DROP INDEX"), "{report}");
        let lives = report["scenarios"][0]["engine"]["lives"].as_u64().unwrap();
        assert!(0 < lives && lives % 7 == 0, "{report}");
    }
}

#[test]
fn bad_arguments_are_named() {
    let place = Place::new();
    for (arguments, named) in [
        (&["--scenario", "pears"][..], "there is no scenario \"pears\""),
        (&["--seconds", "0"], "from 0.1 to 3600 seconds"),
        (&["--seconds", "soon"], "no number of seconds"),
        (&["--workers", "0"], "--workers"),
        (&["--payload", "-1"], "'-1'"),
        (&["--batch", "1001"], "--batch"),
        (&["--db", "memory:"], "only SQLite files and Postgres are measured"),
        (&["--db", "sqlite::memory:"], "no disk to measure"),
        (&["--schema", "mine"], "--schema"),
    ] {
        let finished = place.ff(&[&["bench"], arguments].concat());
        assert_eq!(finished.code, 2, "{arguments:?}: {finished:?}");
        assert!(finished.err.contains(named), "{arguments:?}: {finished:?}");
    }

    let finished = place.ff(&["bench", "--db", "sqlite:nowhere/ff.db"]);
    finished.assert_failed(1);
    assert!(finished.err.contains("nowhere"), "{finished:?}");
}

#[cfg(unix)]
#[test]
fn a_stopped_measurement_leaves_nothing() {
    let place = Place::new();
    let mut child = binary(place.0.path())
        .args(["bench", "--seconds", "60"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = std::time::Instant::now();
    while place.0.path().read_dir().unwrap().count() == 0 {
        assert!(begun.elapsed() < BOUND, "it makes no database");
        std::thread::sleep(Duration::from_millis(10));
    }

    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(place.0.path().read_dir().unwrap().count(), 0, "something is left");
}
