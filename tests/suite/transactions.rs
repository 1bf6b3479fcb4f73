//! Operations within a transaction of the caller: all or nothing with the caller's own rows, the
//! same guards, and nothing visible before the commit.

mod app;
mod conflicts;
mod handlers;
mod killed;
mod steps;
mod wakes;

use std::path::Path;

use ff_backend_postgres::PostgresBackend;
use ff_core::EngineError;
use ff_core::contracts::CreateExecutionResult;
use ff_core::engine::transaction_conflict;
use ff_core::engine_error::{ContentionKind, StoreClass};
use ff_core::partition::PartitionConfig;
use ff_core::state::PublicState;
use flowfabric_sql::{Client, InTransaction, Job, JobError, Within};
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::sqlite::SqlitePool;
use sqlx::{Postgres, Sqlite, Transaction};

use crate::backends::{Bench, postgres_url};
use crate::bench::{assert_not_active, assert_refused, id};
use crate::conformance::fence::complete_args;
use crate::plain::{Cells, PlainSql};
use crate::suspended::{RESUMABLE, Target};

const ELSEWHERE: &str = "validation: InvalidInput: transaction: its database or search_path does \
                         not lead to the engine's tables";

#[derive(Debug, Serialize, Deserialize)]
struct Charge(u32);

impl Job for Charge {
    const KIND: &'static str = "charge";
    type Output = ();
}

/// A transaction of the caller.
pub(crate) enum Own {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

impl Own {
    /// One that will write, on the pool that the bench has beside its engine.
    pub(crate) async fn begin(bench: &Bench) -> Self {
        Self::on(&bench.plain).await
    }

    /// The same, on that pool.
    async fn on(plain: &PlainSql) -> Self {
        match plain {
            PlainSql::Sqlite(pool) => Self::Sqlite(begin_immediate(pool).await),
            PlainSql::Postgres(pool) => Self::Postgres(pool.begin().await.unwrap()),
            PlainSql::Memory(_) | PlainSql::MariaDb(_) => panic!("the backend has no transactions"),
        }
    }

    pub(crate) fn within(&mut self, bench: &Bench) -> Within<'_> {
        let engine = bench.backend.as_ref();
        match self {
            Self::Sqlite(transaction) => transaction.within(engine),
            Self::Postgres(transaction) => transaction.within(engine),
        }
        .unwrap()
    }

    fn transaction(&mut self) -> &mut dyn InTransaction {
        match self {
            Self::Sqlite(transaction) => transaction,
            Self::Postgres(transaction) => transaction,
        }
    }

    /// A row of the caller.
    async fn order(&mut self, number: i64) {
        let sql = "INSERT INTO orders VALUES ($1)";
        let done = match self {
            Self::Sqlite(transaction) => {
                sqlx::query(sql).bind(number).execute(&mut **transaction).await.map(drop)
            }
            Self::Postgres(transaction) => {
                sqlx::query(sql).bind(number).execute(&mut **transaction).await.map(drop)
            }
        };
        done.unwrap();
    }

    pub(crate) async fn commit(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(transaction) => transaction.commit().await,
            Self::Postgres(transaction) => transaction.commit().await,
        }
    }

    async fn rollback(self) {
        match self {
            Self::Sqlite(transaction) => transaction.rollback().await.unwrap(),
            Self::Postgres(transaction) => transaction.rollback().await.unwrap(),
        }
    }
}

async fn begin_immediate(pool: &SqlitePool) -> Transaction<'static, Sqlite> {
    pool.begin_with("BEGIN IMMEDIATE").await.unwrap()
}

/// The pool that a Postgres bench has beside its engine.
fn postgres_pool(bench: &Bench) -> &PgPool {
    let PlainSql::Postgres(pool) = &bench.plain else { panic!("the bench is on Postgres") };
    pool
}

impl Bench {
    /// The table of the caller's rows.
    async fn with_orders(&self) {
        self.plain.execute("CREATE TABLE orders (number BIGINT PRIMARY KEY)").await;
    }

    /// The caller's rows.
    async fn orders(&self) -> Vec<i64> {
        let sql = "SELECT number FROM orders ORDER BY number";
        match &self.plain {
            PlainSql::Sqlite(pool) => sqlx::query_scalar(sql).fetch_all(pool).await.unwrap(),
            PlainSql::Postgres(pool) => sqlx::query_scalar(sql).fetch_all(pool).await.unwrap(),
            PlainSql::Memory(_) | PlainSql::MariaDb(_) => panic!("there are no tables of callers"),
        }
    }

    /// Every row of the engine.
    async fn rows(&self) -> Vec<(&'static str, Vec<Cells>)> {
        self.everything().await
    }
}

fn is_conflict<T>(result: &Result<T, EngineError>) -> bool {
    matches!(result, Err(EngineError::Contention(ContentionKind::TransactionConflict)))
}

/// Expands each case into one test per database with transactions.
macro_rules! on_both {
    ($($(#[$meta:meta])* async fn $case:ident($bench:ident) $body:block)+) => {$(
        $(#[$meta])*
        mod $case {
            #[allow(unused_imports)]
            use super::*;

            fn case(
                $bench: std::sync::Arc<crate::backends::Bench>,
            ) -> futures_util::future::BoxFuture<'static, ()> {
                Box::pin(async move { $body })
            }

            #[test]
            fn sqlite_file() {
                crate::backends::run(crate::backends::sqlite_file(), case);
            }

            #[test]
            fn postgres() {
                crate::backends::run_connected(crate::backends::postgres_copy(), case);
            }
        }
    )+};
}
use on_both;

on_both! {
    async fn a_typed_job_is_submitted_within(bench) {
        let client = Client::new(bench.backend.clone());
        let mut own = Own::begin(&bench).await;
        let job = client.submit(&Charge(7)).retries(2).within(own.transaction()).await.unwrap();
        assert!(matches!(job.status().await, Err(JobError::NotFound)), "before the commit");
        own.commit().await.unwrap();
        assert_eq!(job.status().await.unwrap(), PublicState::Waiting);
    }

    async fn a_commit_leaves_every_row_and_event(bench) {
        bench.with_orders().await;
        let (waiting, _, target) = bench.waiting(|args| args).await;
        let (leased, handle) = bench.leased().await;
        let before = bench.rows().await;

        let mut own = Own::begin(&bench).await;
        own.order(17).await;
        let new = id();
        let created = own.within(&bench).create_execution(bench.args(&new)).await.unwrap();
        assert!(matches!(created, CreateExecutionResult::Created { .. }), "{created:?}");
        let mut within = own.within(&bench);
        within.deliver_signal(bench.signal(&target, "go")).await.unwrap();
        within.complete(&handle, Some(b"result".to_vec())).await.unwrap();

        // The transaction sees it; the others do not.
        let seen = within.read_execution_state(&new).await.unwrap();
        assert_eq!(seen, Some(PublicState::Waiting));
        assert_eq!(bench.backend.read_execution_state(&new).await.unwrap(), None);
        assert!(bench.rows().await == before, "nothing is visible before the commit");

        drop(within);
        own.commit().await.unwrap();
        assert_eq!(bench.orders().await, [17]);
        assert_eq!(bench.core(&new).await.text("public_state"), "waiting");
        assert_eq!(bench.core(&waiting).await.states(), RESUMABLE);
        assert_eq!(bench.completions(&leased).await, ["success"]);
        assert_eq!(bench.lease_events(&leased).await, ["acquired", "revoked"]);
        let result = bench.backend.get_execution_result(&leased).await.unwrap();
        assert_eq!(result.as_deref(), Some(&b"result"[..]));
        assert_eq!(bench.of("ff_signal_event", &waiting).await.len(), 1);
        assert_eq!(bench.of("ff_instance_tag_event", &new).await.len(), 1);
    }

    async fn the_rows_are_those_of_a_call_without_a_transaction(bench) {
        let (one, handle) = bench.leased().await;
        bench.backend.complete(&handle, Some(b"result".to_vec())).await.unwrap();
        let (other, handle) = bench.leased().await;
        let mut own = Own::begin(&bench).await;
        own.within(&bench).complete(&handle, Some(b"result".to_vec())).await.unwrap();
        own.commit().await.unwrap();

        let [one, other] = [bench.core(&one).await, bench.core(&other).await];
        assert_eq!(one.states(), other.states());
        for column in ["version", "terminal_at_ms", "result", "lease_epoch"] {
            if one.0.contains_key(column) {
                assert_eq!(one.value(column), other.value(column), "{column}");
            }
        }
    }

    async fn a_rollback_leaves_nothing(bench) {
        bench.with_orders().await;
        let (_, _, target) = bench.waiting(|args| args).await;
        let (_, handle) = bench.leased().await;
        let before = bench.rows().await;

        for ending in ["rollback", "drop"] {
            let mut own = Own::begin(&bench).await;
            own.order(17).await;
            let mut within = own.within(&bench);
            within.create_execution(bench.args(&id())).await.unwrap();
            within.deliver_signal(bench.signal(&target, "go")).await.unwrap();
            within.complete(&handle, None).await.unwrap();
            drop(within);
            match ending {
                "rollback" => own.rollback().await,
                _ => drop(own),
            }

            // A dropped transaction is rolled back by the next use of its connection.
            Own::begin(&bench).await.rollback().await;
            assert!(bench.rows().await == before, "{ending} leaves the rows as they were");
            assert_eq!(bench.orders().await, [] as [i64; 0]);
        }

        // What was rolled back can still happen.
        bench.backend.deliver_signal(bench.signal(&target, "go")).await.unwrap();
        bench.backend.complete(&handle, None).await.unwrap();
    }

    async fn a_refusal_leaves_the_transaction_usable(bench) {
        bench.with_orders().await;
        let (_, old) = bench.leased().await;
        bench.backend.complete(&old, None).await.unwrap();
        let (_, _, target) = bench.waiting(|args| args).await;
        let before = bench.rows().await;

        let mut own = Own::begin(&bench).await;
        own.order(1).await;
        let mut within = own.within(&bench);
        assert_not_active(within.complete(&old, None).await, "terminal");
        let completed = within.complete_execution(complete_args(&bench, &old)).await;
        assert_not_active(completed, "terminal");
        let forged = Target { token: "kid1:00".into(), ..target.clone() };
        let refused = within.deliver_signal(bench.signal(&forged, "go")).await;
        assert!(refused.is_err(), "{refused:?}");
        let absent = within.set_execution_tag(&id(), "team.color", "red").await;
        assert_refused(absent, "not found: execution");
        let mut over = bench.args(&id());
        over.lane_id = ff_core::types::LaneId::new("x".repeat(70_000));
        assert!(within.create_execution(over).await.is_err());

        drop(within);
        own.order(2).await;
        let new = id();
        own.within(&bench).create_execution(bench.args(&new)).await.unwrap();
        let again = own.within(&bench).create_execution(bench.args(&new)).await.unwrap();
        assert!(matches!(again, CreateExecutionResult::Duplicate { .. }), "{again:?}");
        own.rollback().await;
        assert!(bench.rows().await == before, "it is rolled back with its transaction");

        let mut own = Own::begin(&bench).await;
        assert_not_active(own.within(&bench).complete(&old, None).await, "terminal");
        own.order(3).await;
        own.commit().await.unwrap();
        assert_eq!(bench.orders().await, [3]);
        assert!(bench.rows().await == before, "a refusal changes nothing");
    }

    async fn of_sixteen_callers_one_completes_and_each_keeps_its_row(bench) {
        bench.with_orders().await;
        let (leased, handle) = bench.leased().await;
        let callers = (0..16).map(|number| {
            let (bench, handle) = (std::sync::Arc::clone(&bench), handle.clone());
            tokio::spawn(async move { race(&bench, &handle, number).await })
        });
        let ends: Vec<_> = join_all(callers).await.into_iter().map(Result::unwrap).collect();

        let completed = ends.iter().filter(|(completed, _)| *completed).count();
        let created = ends.iter().filter(|(_, created)| *created).count();
        assert_eq!((completed, created), (1, 1), "{ends:?}");
        assert_eq!(bench.orders().await, (0..16).collect::<Vec<_>>());
        assert_eq!(bench.completions(&leased).await, ["success"]);
        // The leased one, and the one that has the key.
        assert_eq!(bench.plain.rows("ff_exec_core").await.len(), 2);
    }

    async fn a_dropped_operation_is_rolled_back(bench) {
        bench.with_orders().await;
        let before = bench.rows().await;
        let polls = [1, 2, 4, 8, 16];
        for (number, polls) in (1..).zip(polls) {
            let mut own = Own::begin(&bench).await;
            own.order(number).await;
            let mut within = own.within(&bench);
            let mut create = Box::pin(within.create_execution(bench.args(&id())));
            for _ in 0..polls {
                if create.as_mut().now_or_never().is_some() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            drop(create);
            drop(within);
            own.rollback().await;
        }
        assert!(bench.rows().await == before, "nothing is left");
        assert_eq!(bench.orders().await, [0_i64; 0]);
    }
}

/// Completes the same execution, and creates one with the same key, until the whole transaction
/// meets no other. Returns what of it was the caller's own doing.
async fn race(bench: &Bench, handle: &ff_core::backend::Handle, number: i64) -> (bool, bool) {
    let args = || {
        let mut args = bench.args(&id());
        args.idempotency_key = Some("one".into());
        args
    };
    for _ in 0..200 {
        let mut own = Own::begin(bench).await;
        own.order(number).await;
        let mut within = own.within(bench);
        let completed = within.complete(handle, None).await;
        let created = match is_conflict(&completed) {
            true => Err(transaction_conflict()),
            false => within.create_execution(args()).await,
        };
        drop(within);
        if is_conflict(&created) {
            own.rollback().await;
            continue;
        }
        own.commit().await.unwrap();

        let is_created = matches!(created.unwrap(), CreateExecutionResult::Created { .. });
        let is_completed = completed.is_ok();
        if !is_completed {
            assert_not_active(completed, "terminal");
        }
        return (is_completed, is_created);
    }
    panic!("caller {number} met others two hundred times");
}

#[test]
fn a_session_that_ends_leaves_nothing() {
    crate::backends::run_connected(crate::backends::postgres_copy(), |bench| {
        Box::pin(async move {
            bench.with_orders().await;
            let (_, handle) = bench.leased().await;
            let before = bench.rows().await;
            let pool = postgres_pool(&bench);
            let mut own = pool.begin().await.unwrap();
            let pid: i32 =
                sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut *own).await.unwrap();
            sqlx::query("INSERT INTO orders VALUES (1)").execute(&mut *own).await.unwrap();
            own.within(bench.backend.as_ref()).unwrap().complete(&handle, None).await.unwrap();

            let end = "SELECT pg_terminate_backend($1, 10000)";
            let ended: bool = sqlx::query_scalar(end).bind(pid).fetch_one(pool).await.unwrap();
            assert!(ended);
            let mut within = own.within(bench.backend.as_ref()).unwrap();
            let error = within.create_execution(bench.args(&id())).await.unwrap_err();
            assert_eq!(error.store_class(), Some(StoreClass::Retryable), "{error}");
            drop(within);
            own.commit().await.unwrap_err();

            assert!(bench.rows().await == before, "nothing was committed");
            assert_eq!(bench.orders().await, [] as [i64; 0]);
            bench.backend.complete(&handle, None).await.unwrap();
        })
    });
}

#[test]
fn a_transaction_elsewhere_is_refused() {
    crate::backends::run_connected(crate::backends::postgres_copy(), |bench| {
        Box::pin(async move {
            let engine = bench.backend.as_ref();
            let elsewhere = PgPool::connect(&postgres_url()).await.unwrap();
            let mut own = elsewhere.begin().await.unwrap();
            let refused = own.within(engine).unwrap().create_execution(bench.args(&id())).await;
            assert_refused(refused, ELSEWHERE);
            // It can still be used.
            let one: i32 = sqlx::query_scalar("SELECT 1").fetch_one(&mut *own).await.unwrap();
            assert_eq!(one, 1);
            own.rollback().await.unwrap();

            let mut own = postgres_pool(&bench).begin().await.unwrap();
            sqlx::raw_sql("SET LOCAL search_path = pg_temp").execute(&mut *own).await.unwrap();
            let refused = own.within(engine).unwrap().create_execution(bench.args(&id())).await;
            assert_refused(refused, ELSEWHERE);
            own.rollback().await.unwrap();

            let other = SqlitePool::connect("sqlite::memory:").await.unwrap();
            let mut own = other.begin().await.unwrap();
            let refused = own.within(engine).map(drop);
            assert_refused(
                refused,
                "validation: InvalidInput: transaction: it is on SQLite, and the engine is not",
            );
        })
    });
    crate::backends::run(crate::backends::sqlite_file(), |bench| {
        Box::pin(async move {
            let directory = tempfile::tempdir().unwrap();
            let pool = sqlite_file(&directory.path().join("other.db")).await;
            let mut own = begin_immediate(&pool).await;
            let mut within = own.within(bench.backend.as_ref()).unwrap();
            let refused = within.create_execution(bench.args(&id())).await;
            let detail = "validation: InvalidInput: transaction: it is not on the engine's file";
            assert_refused(refused, detail);
            drop(within);
            own.commit().await.unwrap();
        })
    });
}

#[test]
fn a_place_that_is_not_known_is_no_reason_to_accept_another() {
    crate::backends::run_connected(crate::backends::postgres_copy(), |bench| {
        Box::pin(async move {
            // A twin has the same tables in a schema of the same name.
            let twin = crate::backends::postgres_copy().await;
            let (here, there) = (postgres_pool(&bench), postgres_pool(&twin));
            let one = PgPoolOptions::new().max_connections(1);
            let pool = one.connect_with((*here.connect_options()).clone()).await.unwrap();
            let last = pool.begin().await.unwrap();
            let engine = PostgresBackend::from_pool(pool, PartitionConfig::default());

            // The engine's only connection is taken, so it cannot look where its tables are.
            for pool in [here, there] {
                let mut own = pool.begin().await.unwrap();
                let mut within = own.within(engine.as_ref()).unwrap();
                let error = within.create_execution(bench.args(&id())).await.unwrap_err();
                assert!(matches!(error, EngineError::ResourceExhausted { .. }), "{error}");
                drop(within);
                own.rollback().await.unwrap();
            }
            last.rollback().await.unwrap();

            let mut own = there.begin().await.unwrap();
            let mut within = own.within(engine.as_ref()).unwrap();
            assert_refused(within.create_execution(bench.args(&id())).await, ELSEWHERE);
            drop(within);
            own.rollback().await.unwrap();

            // Once it knows, it needs no connection for that.
            let mut last = engine.pool().begin().await.unwrap();
            let mut within = last.within(engine.as_ref()).unwrap();
            within.create_execution(bench.args(&id())).await.unwrap();
            drop(within);
            last.commit().await.unwrap();
            twin.tear_down().await;
        })
    });
}

async fn sqlite_file(path: &Path) -> SqlitePool {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).create_if_missing(true);
    SqlitePool::connect_with(options).await.unwrap()
}
