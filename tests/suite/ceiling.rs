//! The hand-written SQL of `ff bench` changes exactly what the engine changes: a rate is compared
//! with a ceiling only if both do the same work.

mod flows;
mod journal;
mod lives;

use std::sync::Arc;

use ff_backend_postgres::migrate::SchemaName;
use ff_backend_postgres::{PostgresBackend, PostgresOptions};
use ff_backend_sqlite::{SqliteBackend, SqliteOptions};
use ff_bench::Place;
use ff_bench::ceiling::{FlowByHand, PostgresByHand, SqliteByHand, Terms, WaitByHand};
use ff_bench::terms;
use ff_core::engine::Executor as _;
use ff_core::engine_backend::EngineBackend;

use crate::backends::postgres_url;
use crate::plain::PlainSql;

/// The lane of each side.
const ENGINE: &str = "engine";
const HAND: &str = "hand";

/// The terms on which the hand claims, which are those of the engine's first caller.
fn hand_terms(lane: &str) -> Terms {
    let policy = terms(0);
    Terms {
        lane: lane.into(),
        worker: policy.worker_id.as_str().into(),
        instance: policy.worker_instance_id.as_str().into(),
        lease_ms: i64::from(policy.lease_ttl_ms),
    }
}

/// Lives every life each way, and compares the rows after every step.
async fn lives_are_equal(
    engine: &dyn EngineBackend,
    plain: &PlainSql,
    mut hand: impl WaitByHand + FlowByHand,
) {
    lives::plain_lives_are_equal(engine, plain, &mut hand).await;
    lives::retries_are_equal(engine, plain, &mut hand).await;
    lives::waits_are_equal(engine, plain, &mut hand).await;
    flows::flows_are_equal(engine, plain, &mut hand).await;
    lives::groups_are_lives(plain, &mut hand).await;
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

    let mut hand = PostgresByHand::connect(&postgres_url(), &schema).await.unwrap();
    // A ceiling that sorts its lane is none.
    let plan = hand.plan_of_claim(&hand_terms(HAND)).await.unwrap();
    assert!(plan.iter().any(|line| line.contains("ff_exec_core_claim_idx")), "{plan:#?}");
    assert!(!plan.iter().any(|line| line.contains("Sort")), "{plan:#?}");

    // What a failed case leaves is dropped, too.
    let outcome = tokio::spawn({
        let engine = Arc::clone(&engine);
        async move { lives_are_equal(engine.as_ref(), &plain, hand).await }
    })
    .await;

    engine.pool().close().await;
    place.remove().await.unwrap();
    if let Err(failed) = outcome {
        std::panic::resume_unwind(failed.into_panic());
    }
}
