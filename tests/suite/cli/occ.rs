//! The binary on a Postgres that it takes for an optimistic database.

use ff_backend_postgres::migrate::SchemaName;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::{ONE, Place};
use crate::backends::{drop_schema, optimistic, postgres_url};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn executions_are_submitted_worked_off_and_explained_on_postgres_occ() {
    let (url, schema) = (optimistic(&postgres_url()), format!("ff_{}", Uuid::new_v4().simple()));
    let place = Place::new();
    place.write("in.jsonl", &[&json!({ "kind": "k", "payload": "one", "id": ONE }).to_string()]);
    let out = |rest: &[&str]| place.out(&[&["--db", &url, "--schema", &schema], rest].concat());

    assert!(out(&["migrate"]).starts_with("applied "));
    assert_eq!(out(&["submit", "in.jsonl"]), "1 execution: 1 created, 0 duplicate, 0 failed\n");
    assert_eq!(out(&["submit", "in.jsonl"]), "1 execution: 0 created, 1 duplicate, 0 failed\n");
    assert!(out(&["explain", ONE]).contains("default"));
    out(&["work", "--until-empty", "--", "cat"]);
    assert_eq!(out(&["result", ONE]), "one");
    assert!(out(&["events"]).contains(ONE));

    let pool = PgPool::connect(&postgres_url()).await.unwrap();
    drop_schema(&pool, &SchemaName::new(&schema).unwrap()).await;
}

#[test]
fn the_statements_of_postgres_occ_are_listed() {
    let place = Place::new();
    let catalogue = place.json(&["sql", "--all", "--dialect", "postgres-occ"]);
    assert_eq!(catalogue["dialect"], "postgres-occ");
    let text = catalogue.to_string();
    assert!(text.contains("FOR UPDATE") && !text.contains("SKIP LOCKED"));
}
