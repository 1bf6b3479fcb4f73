//! The hand-written SQL of `ff bench` changes exactly what the engine changes: a rate is compared
//! with a ceiling only if both do the same work.

use std::sync::Arc;

use ff_backend_postgres::migrate::SchemaName;
use ff_backend_postgres::{PostgresBackend, PostgresOptions};
use ff_backend_sqlite::{SqliteBackend, SqliteOptions};
use ff_bench::ceiling::{ByHand, NewExecution, PostgresByHand, SqliteByHand, Terms};
use ff_bench::{PAYLOAD, Place, submission, terms};
use ff_core::backend::CapabilitySet;
use ff_core::engine::Executor as _;
use ff_core::engine_backend::EngineBackend;
use ff_core::plan::value::Value;
use ff_core::types::{ExecutionId, LaneId, TimestampMs};

use crate::backends::postgres_url;
use crate::plain::{Cells, PlainSql};

/// The tables that a life changes, by rows of its own.
const TABLES: [&str; 5] = [
    "ff_exec_core",
    "ff_attempt",
    "ff_completion_event",
    "ff_lease_event",
    "ff_instance_tag_event",
];

/// Columns whose values differ from life to life, or from call to call.
const OWN: [&str; 7] = [
    "partition_key",
    "execution_id",
    "lane_id",
    "lease_id",
    "attempt_id",
    "event_id",
    "transaction_id",
];

/// The rows of an execution, in the order of `TABLES`, without what is its own.
async fn rows(plain: &PlainSql, id: &ExecutionId) -> Vec<(&'static str, Cells)> {
    let mut found = Vec::new();
    for table in TABLES {
        let rows = plain.rows(table).await;
        let own = rows.into_iter().filter(|row| row.uuid("execution_id") == Some(id.uuid()));
        found.extend(own.map(|row| (table, anonymous(row))));
    }
    found
}

/// The row with a mark where a value is its own, or a time.
fn anonymous(mut row: Cells) -> Cells {
    for (name, value) in &mut row.0 {
        let time = name.ends_with("_ms") && !name.contains("timeout");
        if !matches!(value, Value::Null) && (time || OWN.contains(&name.as_str())) {
            *value = Value::Text("set".into());
        }
    }
    row
}

/// Lives one life each way, and compares the rows after every step.
async fn lives_are_equal(engine: &dyn EngineBackend, plain: &PlainSql, mut hand: impl ByHand) {
    let (lane, none) = (LaneId::new("engine"), CapabilitySet::default());
    let by_engine = submission(&lane, PAYLOAD);
    let by_hand = submission(&LaneId::new("hand"), PAYLOAD);
    let ids = (by_engine.execution_id.clone(), by_hand.execution_id.clone());
    let compare = async |step: &str, count: usize| {
        let (engine, hand) = (rows(plain, &ids.0).await, rows(plain, &ids.1).await);
        assert_eq!(hand.len(), count, "after {step}: {hand:#?}");
        for (engine, hand) in engine.iter().zip(&hand) {
            assert_eq!(engine, hand, "after {step}");
        }
        assert_eq!(engine.len(), hand.len(), "after {step}");
    };

    hand.submit(&[NewExecution::of(&by_hand)]).await.unwrap();
    engine.create_execution(by_engine).await.unwrap();
    compare("submit", 2).await;

    let policy = terms(0);
    let by_hand = Terms {
        lane: "hand".into(),
        worker: policy.worker_id.as_str().into(),
        instance: policy.worker_instance_id.as_str().into(),
        lease_ms: i64::from(policy.lease_ttl_ms),
    };
    let held = hand.claim(&by_hand, 1, TimestampMs::now()).await.unwrap();
    let handle = engine.claim(&lane, &none, policy).await.unwrap().unwrap();
    compare("claim", 4).await;

    assert_eq!(hand.complete(&held, TimestampMs::now()).await.unwrap(), 1);
    engine.complete(&handle, None).await.unwrap();
    compare("complete", 6).await;

    assert_eq!(hand.complete(&held, TimestampMs::now()).await.unwrap(), 0, "it has ended");
}

/// Many at once leave what one leaves.
async fn groups_are_lives(plain: &PlainSql, mut hand: impl ByHand) {
    let lane = LaneId::new("group");
    let new: Vec<_> = (0..3).map(|_| submission(&lane, PAYLOAD)).collect();
    let batch: Vec<_> = new.iter().map(NewExecution::of).collect();
    hand.submit(&batch).await.unwrap();

    let (lane, worker, instance) = ("group".into(), "bench".into(), "bench-0".into());
    let claims = Terms { lane, worker, instance, lease_ms: 600_000 };
    let held = hand.claim(&claims, 100, TimestampMs::now()).await.unwrap();
    assert_eq!(held.len(), 3);
    assert_eq!(hand.complete(&held, TimestampMs::now()).await.unwrap(), 3);

    let first = rows(plain, &new[0].execution_id).await;
    assert_eq!(first.len(), 6);
    for other in &new[1..] {
        assert_eq!(rows(plain, &other.execution_id).await, first);
    }
}

#[tokio::test]
async fn a_life_by_hand_leaves_the_rows_of_the_engine_on_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", directory.path().join("other.db").display());
    let place = Place::create(&url).await.unwrap();
    let Place::Sqlite(sqlite) = &place else { panic!("{url} is SQLite") };
    let engine = SqliteBackend::open(SqliteOptions::new(place.url())).await.unwrap();
    let plain = PlainSql::Sqlite(engine.pool_for_test().clone());

    let hand = SqliteByHand::open(&sqlite.file()).unwrap();
    lives_are_equal(engine.as_ref(), &plain, hand).await;
    groups_are_lives(&plain, SqliteByHand::open(&sqlite.file()).unwrap()).await;

    drop((engine, plain));
    place.remove().await.unwrap();
    assert_eq!(directory.path().read_dir().unwrap().count(), 0, "nothing is left");
}

#[tokio::test]
async fn a_life_by_hand_leaves_the_rows_of_the_engine_on_postgres() {
    let place = Place::create(&postgres_url()).await.unwrap();
    let schema = place.schema().unwrap().to_owned();
    let options =
        PostgresOptions::new(place.url()).schema(SchemaName::new(&schema).unwrap()).migrate(true);
    let engine: Arc<PostgresBackend> = PostgresBackend::open(options).await.unwrap();
    engine.prepare_database().await.unwrap();
    let plain = PlainSql::Postgres(engine.pool().clone());

    let url = postgres_url();
    let connect = || PostgresByHand::connect(&url, &schema);
    // What a failed case leaves is dropped, too.
    let outcome = tokio::spawn({
        let (engine, plain) = (Arc::clone(&engine), plain.clone());
        let (first, second) = (connect().await.unwrap(), connect().await.unwrap());
        async move {
            lives_are_equal(engine.as_ref(), &plain, first).await;
            groups_are_lives(&plain, second).await;
        }
    })
    .await;

    engine.pool().close().await;
    place.remove().await.unwrap();
    if let Err(failed) = outcome {
        std::panic::resume_unwind(failed.into_panic());
    }
}
