//! The binary on MariaDB, under both names of its scheme.

use ff_backend_mariadb::sqlx::{AssertSqlSafe, Connection as _, Executor as _, MySqlConnection};
use serde_json::json;
use uuid::Uuid;

use super::{ONE, Place, Running};
use crate::backends::mariadb_url;

/// A new database; the URLs that name it.
async fn create() -> (String, [String; 2]) {
    let name = format!("ff_cli_{}", Uuid::new_v4().simple());
    let mut connection = MySqlConnection::connect(&mariadb_url()).await.unwrap();
    connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
    let url = mariadb_url();
    let (_, rest) = url.trim_end_matches('/').split_once(':').unwrap();
    let urls = ["mariadb", "mysql"].map(|scheme| format!("{scheme}:{rest}/{name}"));
    (name, urls)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn executions_are_submitted_worked_off_and_explained_on_mariadb() {
    let (name, [mariadb, mysql]) = create().await;
    let place = Place::new();
    place.write("in.jsonl", &[&json!({ "kind": "k", "payload": "one", "id": ONE }).to_string()]);
    let on = |url: &str, rest: &[&str]| place.ff(&[&["--db", url], rest].concat());
    let out = |rest: &[&str]| {
        let finished = on(&mariadb, rest);
        assert_eq!((finished.code, finished.err.as_str()), (0, ""), "{rest:?}: {finished:?}");
        finished.out
    };

    let (existing, none) = (on(&mysql, &["ls", "--no-migrate"]), on(&mysql, &["ls"]));
    assert_eq!((existing.code, none.code), (1, 1), "{existing:?} {none:?}");
    for option in [["--schema", "s"], ["--partitions", "4"]] {
        on(&mysql, &[&["migrate"][..], &option].concat()).assert_failed(2);
    }
    on(&mysql, &["migrate", "--adopt"]).assert_failed(2);
    assert!(out(&["migrate", "--dry-run"]).contains("CREATE TABLE"));
    assert!(out(&["migrate"]).starts_with("applied "));
    assert!(on(&mysql, &["migrate"]).out.starts_with("up to date"));

    assert_eq!(out(&["submit", "in.jsonl"]), "1 execution: 1 created, 0 duplicate, 0 failed\n");
    assert_eq!(
        on(&mysql, &["submit", "in.jsonl"]).out,
        "1 execution: 0 created, 1 duplicate, 0 failed\n"
    );
    assert!(out(&["stats"]).contains("waiting"));
    assert!(out(&["explain", ONE]).contains("default"));

    // A worker that is killed loses its execution to the next one.
    let arguments = ["work", "--lease-ttl-ms", "1000", "--", "sh", "-c", "touch begun; sleep 60"];
    let killed = Running::start(&place, &[&["--db", &mariadb][..], &arguments].concat());
    let begun = std::time::Instant::now();
    while !place.0.path().join("begun").exists() {
        assert!(begun.elapsed() < super::BOUND, "the command starts");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    drop(killed);
    while on(&mysql, &["work", "--until-empty", "--", "cat"]).code == 0
        && on(&mysql, &["result", ONE]).code != 0
    {
        assert!(begun.elapsed() < super::BOUND, "the next worker takes it");
    }
    assert_eq!(out(&["result", ONE]), "one");
    assert!(out(&["events"]).contains(ONE));
    assert_eq!(out(&["doctor"]), "nothing is wrong\n");

    let mut connection = MySqlConnection::connect(&mariadb_url()).await.unwrap();
    connection.execute(AssertSqlSafe(format!("DROP DATABASE {name}"))).await.unwrap();
}
