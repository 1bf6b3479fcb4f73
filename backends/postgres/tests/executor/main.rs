//! The executor against a real server. The conformance suite asserts the behaviour of operations;
//! these tests cover only this backend: batches, refusals inside them, failures.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ff_backend_postgres::migrate::SchemaName;
use ff_backend_postgres::{PgPool, PostgresBackend, PostgresOptions};
use ff_core::EngineError;
use ff_core::backend::PrepareOutcome;
use ff_core::engine::{Commit, Executor};
use ff_core::engine_error::StoreClass;
use ff_core::plan::facts::{Answer, Row};
use ff_core::plan::value::{ColumnType, Value};
use ff_core::plan::{Expr, List, Lookup, OnConflict, Pairing, Plan, Query, Return, Selection};
use ff_core::schema::Direction::{Ascending, Descending};
use ff_core::schema::admin::{lane_registry, partition_config, waitpoint_hmac};
use ff_core::schema::execution::exec_core;
use ff_core::state::{AttemptState, EligibilityState, LifecyclePhase, OwnershipState, PublicState};
use ff_core::types::TimestampMs;
use sqlx::{AssertSqlSafe, Executor as _};
use uuid::Uuid;

mod batches;
mod certificates;
mod failures;
mod plans;
mod standbys;

/// A schema of its own, dropped by the next run at the latest.
pub(crate) struct Database {
    pub(crate) url: String,
    pub(crate) schema: SchemaName,
}

impl Database {
    pub(crate) fn new(name: &str) -> Self {
        let url = std::env::var("FF_PG_TEST_URL").unwrap_or_else(|_| {
            panic!(
                "FF_PG_TEST_URL is unset. These tests need a Postgres 15 or later, for example: \
                 docker run -e POSTGRES_HOST_AUTH_METHOD=trust -p 54999:5432 postgres:17 \
                 with FF_PG_TEST_URL=postgres://postgres@127.0.0.1:54999/postgres"
            )
        });
        Self { url, schema: SchemaName::new(&format!("ff_executor_{name}")).unwrap() }
    }

    pub(crate) async fn fresh(name: &str) -> Self {
        let database = Self::new(name);
        let pool = PgPool::connect(&database.url).await.unwrap();
        let drop = format!("DROP SCHEMA IF EXISTS {} CASCADE", database.schema.as_str());
        pool.execute(AssertSqlSafe(drop)).await.unwrap();
        let backend = database.open(|options| options.migrate(true)).await;
        assert!(matches!(
            backend.prepare_database().await.unwrap(),
            PrepareOutcome::Applied { .. }
        ));
        assert!(matches!(backend.prepare_database().await.unwrap(), PrepareOutcome::NoOp));
        database
    }

    pub(crate) async fn open(
        &self,
        with: impl FnOnce(PostgresOptions) -> PostgresOptions,
    ) -> Arc<PostgresBackend> {
        let options = PostgresOptions::new(&self.url).schema(self.schema.clone());
        PostgresBackend::open(with(options)).await.unwrap()
    }
}

pub(crate) async fn backend(name: &str) -> Arc<PostgresBackend> {
    Database::fresh(name).await.open(|options| options).await
}

pub(crate) fn applied_once() -> Commit {
    Commit::Applied(vec![Vec::new()])
}

pub(crate) fn lane(name: &str, by: &str) -> Plan {
    Plan::new("add_lane").insert(
        lane_registry::REF,
        vec![
            lane_registry::lane_id.with(name.to_owned()),
            lane_registry::registered_at_ms.with(0),
            lane_registry::registered_by.with(by.to_owned()),
        ],
        OnConflict::Refuse,
    )
}

pub(crate) fn count(name: &str) -> Plan {
    Plan::new("count").update(
        lane_registry::REF,
        vec![lane_registry::lane_id.with(name.to_owned())],
        vec![lane_registry::registered_at_ms.grow(1)],
    )
}

pub(crate) fn look_up_lane(name: &str) -> Query {
    Query::Lookup(vec![Lookup {
        row: "lane".into(),
        table: lane_registry::REF,
        key: vec![lane_registry::lane_id.with(name.to_owned())],
        columns: vec![
            lane_registry::registered_at_ms.column(),
            lane_registry::registered_by.column(),
        ],
    }])
}

pub(crate) async fn found_lane(backend: &PostgresBackend, name: &str) -> Option<Row> {
    match backend.read(vec![look_up_lane(name)]).await.unwrap().remove(0) {
        Answer::Lookup(mut rows) => rows.remove(0),
        Answer::List(_) => panic!("a look-up was asked"),
    }
}

pub(crate) async fn counted(backend: &PostgresBackend, name: &str) -> i64 {
    found_lane(backend, name).await.unwrap().read(lane_registry::registered_at_ms).unwrap()
}

pub(crate) fn execution(id: Uuid, priority: i32, deadline_at_ms: Option<i64>) -> Plan {
    Plan::new("add_execution").insert(
        exec_core::REF,
        vec![
            exec_core::partition_key.with(7),
            exec_core::execution_id.with(id),
            exec_core::lane_id.with("fast".into()),
            exec_core::required_capabilities.with(vec!["gpu".into(), r#"a"b\c,{}"#.into()]),
            exec_core::lifecycle_phase.with(LifecyclePhase::Runnable),
            exec_core::ownership_state.with(OwnershipState::Unowned),
            exec_core::eligibility_state.with(EligibilityState::EligibleNow),
            exec_core::public_state.with(PublicState::Waiting),
            exec_core::attempt_state.with(AttemptState::None),
            exec_core::priority.with(priority),
            exec_core::created_at_ms.with(i64::MAX),
            exec_core::deadline_at_ms.with(deadline_at_ms),
            exec_core::payload.with(Some(vec![0, 255, 1])),
            exec_core::policy.with(Some(serde_json(r#"{"a": [1, null, "\"ü"]}"#))),
        ],
        OnConflict::Refuse,
    )
}

pub(crate) fn serde_json(text: &str) -> sqlx::types::JsonValue {
    text.parse().unwrap()
}
