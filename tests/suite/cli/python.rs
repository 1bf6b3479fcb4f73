//! The Python client: its catalogue is fresh, and its tests pass on the databases of this suite,
//! beside an engine that shares them. Afterwards the rows are as those of the engine.

use std::path::Path;
use std::process::Command;

use ff_core::backend::CapabilitySet;
use ff_core::types::LaneId;
use serde_json::json;

use crate::backends::{self, Bench, postgres_url};
use crate::bench::{LANE, NAMESPACE, TTL, assert_not_active, partition, worker};
use crate::plain::PlainSql;

use super::Place;

/// The lane of the execution whose lease the engine loses.
const STALE: &str = "stale";

#[test]
fn the_catalogue_of_the_python_client_is_fresh() {
    let place = Place::new();
    for dialect in ["postgres", "sqlite"] {
        let printed = place.out(&["--json", "sql", "--all", "--dialect", dialect]);
        let name = format!("clients/python/flowfabric/catalogue/{dialect}.json");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&name);
        let checked_in = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            printed == checked_in,
            "{name} is stale; refresh it with: ff sql --all --dialect {dialect} --json > {name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_client_passes_its_tests_on_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flow.db");
    let bench = backends::sqlite_at(&path).await;
    passes_its_tests(bench, format!("sqlite:{}", path.display()), String::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_client_passes_its_tests_on_postgres() {
    let bench = backends::postgres().await;
    let PlainSql::Postgres(pool) = &bench.plain else { panic!("Postgres it is") };
    let schema = sqlx::query_scalar("SELECT current_schema()").fetch_one(pool).await.unwrap();
    passes_its_tests(bench, postgres_url(), schema).await;
}

async fn passes_its_tests(bench: Bench, db: String, schema: String) {
    let mut waits = Vec::new();
    for keeps_waitpoints in [false, false, true, true] {
        let (id, _, target) = bench
            .waiting(|mut args| {
                args.resume_policy.close_waitpoint_on_resume = !keeps_waitpoints;
                args
            })
            .await;
        waits.push(json!({
            "execution_id": id.to_string(),
            "waitpoint_id": target.id.to_string(),
            "token": target.token,
            "lane": LANE,
        }));
    }

    // A worker of the engine loses its lease, and a client in Python takes over.
    let lost = bench.create_with(&|args| args.lane_id = LaneId::new(STALE)).await;
    let none = CapabilitySet::default();
    let claimed = bench.backend.claim(&LaneId::new(STALE), &none, worker("w")).await;
    let handle = claimed.unwrap().expect("something to claim");
    bench.clock.advance(TTL);
    bench.backend.mark_lease_expired_if_due(partition(&lost), &lost).await.unwrap();

    let mut tests = python();
    tests
        .env("FF_BIN", env!("CARGO_BIN_EXE_ff"))
        .env("FF_TEST_DB", db)
        .env("FF_TEST_SCHEMA", schema)
        .env("FF_TEST_NAMESPACE", NAMESPACE)
        .env("FF_TEST_WAITS", serde_json::Value::from(waits).to_string())
        .env("FF_TEST_STALE_LANE", STALE)
        .args(["-m", "unittest", "discover", "-s", "tests", "-t", "."]);
    let finished = tokio::task::spawn_blocking(move || tests.output()).await.unwrap();
    let finished = finished.expect("scripts/test brings python3 and psycopg; or set FF_PYTHON");
    let report = String::from_utf8_lossy(&finished.stderr);
    assert!(finished.status.success() && !report.contains("skipped"), "{report}");

    assert_not_active(bench.backend.complete(&handle, None).await, "terminal");
    let result = bench.backend.get_execution_result(&lost).await.unwrap();
    assert_eq!(result.as_deref(), Some(&b"by python"[..]));
    bench.assert_sound().await;
    bench.tear_down().await;
}

/// The interpreter with psycopg 3: that of `FF_PYTHON`, or Debian's, which scripts/test installs.
fn python() -> Command {
    let debian = "/usr/bin/python3";
    let usual = if Path::new(debian).exists() { debian } else { "python3" };
    let mut python = Command::new(std::env::var("FF_PYTHON").unwrap_or_else(|_| usual.to_owned()));
    python.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/python"));
    python.env("PYTHONDONTWRITEBYTECODE", "1").env_remove("PYTHONPATH");
    python
}
