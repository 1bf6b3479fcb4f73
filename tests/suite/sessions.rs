//! Sessions of Postgres that are not as the design would have them: what each asks for itself, and
//! that what comes out is right without it, too.

use std::sync::Arc;
use std::time::Duration;

use ff_backend_postgres::{PostgresBackend, PostgresOptions};
use ff_core::EngineError;
use ff_core::backend::{CapabilitySet, Handle};
use ff_core::engine_backend::EngineBackend;
use ff_core::engine_error::ContentionKind;
use futures_util::future::join_all;
use sqlx::{AssertSqlSafe, Executor as _};
use uuid::Uuid;

use crate::backends::{self, Bench, postgres_url};
use crate::bench::{COMPLETED, id, lane, payload_of, worker};
use crate::plain::PlainSql;

/// A role that may do what the suite's may, without its exemptions; gone with [`Role::drop`].
struct Role {
    name: String,
    url: String,
}

impl Role {
    /// The role, with these clauses of `ALTER ROLE`.
    async fn with(clauses: &[&str]) -> Self {
        let name = format!("ff_role_{}", Uuid::new_v4().simple());
        let admin = sqlx::PgPool::connect(&postgres_url()).await.unwrap();
        let user: String =
            sqlx::query_scalar("SELECT quote_ident(current_user)").fetch_one(&admin).await.unwrap();
        let create = format!("CREATE ROLE {name} LOGIN PASSWORD 'secret' IN ROLE {user}");
        admin.execute(AssertSqlSafe(create)).await.unwrap();
        for clause in clauses {
            admin.execute(AssertSqlSafe(format!("ALTER ROLE {name} {clause}"))).await.unwrap();
        }
        admin.close().await;
        let url = postgres_url();
        let separator = if url.contains('?') { '&' } else { '?' };
        Self { url: format!("{url}{separator}user={name}&password=secret"), name }
    }

    async fn drop(self) {
        let admin = sqlx::PgPool::connect(&postgres_url()).await.unwrap();
        admin.execute(AssertSqlSafe(format!("DROP ROLE {}", self.name))).await.unwrap();
        admin.close().await;
    }
}

pub(crate) async fn leases(bench: &Bench, count: u32) -> Vec<Handle> {
    leases_of(bench, bench.backend.as_ref(), count).await
}

/// Creates and claims so many by another backend over the same tables.
pub(crate) async fn leases_of(
    bench: &Bench,
    backend: &dyn EngineBackend,
    count: u32,
) -> Vec<Handle> {
    let batch = (0..count).map(|_| bench.args(&id())).collect();
    for result in backend.create_executions(batch).await {
        result.unwrap();
    }
    let none = CapabilitySet::default();
    let mut handles = Vec::new();
    while handles.len() < count as usize {
        let lane = lane();
        let claim = backend.claim_many(&lane, &none, worker("w"), count);
        handles.extend(claim.await.unwrap());
    }
    handles
}

/// Completes them all at once; how many have to be asked for again because others were in the way.
async fn complete_all(bench: &Bench, handles: &[Handle]) -> usize {
    let (mut open, mut repeated) = (handles.to_vec(), 0);
    for _ in 0..50 {
        let ends = open.iter().map(|handle| bench.backend.complete(handle, None));
        let ends = join_all(ends).await;
        let mut again = Vec::new();
        for (handle, end) in open.into_iter().zip(ends) {
            match end {
                Ok(()) => {}
                Err(EngineError::Contention(ContentionKind::RetryExhausted)) => again.push(handle),
                Err(error) => panic!("{error:?}"),
            }
        }
        if again.is_empty() {
            return repeated;
        }
        repeated += again.len();
        open = again;
    }
    panic!("{} of {} never ended", open.len(), handles.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_serializable_is_the_default_every_end_is_right() {
    let role = Role::with(&["SET default_transaction_isolation = 'serializable'"]).await;
    for parameters in [true, false] {
        let with = |options: PostgresOptions| options.session_parameters(parameters).max_batch(8);
        let bench = backends::postgres_with(role.url.clone(), with).await;
        let handles = leases(&bench, 200).await;
        let repeated = complete_all(&bench, &handles).await;
        assert!(!parameters || repeated == 0, "{repeated} ends had to be repeated");
        for handle in handles.iter().step_by(50) {
            let id = payload_of(handle).execution_id;
            assert_eq!(bench.core(&id).await.states(), COMPLETED);
        }
        bench.assert_sound().await;
        bench.tear_down().await;
    }
    role.drop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_continues_with_few_connections() {
    for limit in [2, 3, 5] {
        let role = Role::with(&[&format!("CONNECTION LIMIT {limit}")]).await;
        let bench = Arc::new(backends::postgres_with(role.url.clone(), |options| options).await);
        // One is taken, as by a process that listens.
        let taken = sqlx::PgPool::connect(&role.url).await.unwrap();
        let listening = taken.acquire().await.unwrap();
        let work = async {
            let handles = leases(&bench, 40).await;
            let ends = handles.iter().map(|handle| async {
                bench.backend.renew(handle).await.unwrap();
                bench.backend.progress(handle, Some(50), None).await.unwrap();
                bench.backend.complete(handle, None).await.unwrap();
            });
            join_all(ends).await;
        };
        tokio::time::timeout(Duration::from_secs(15), work).await.unwrap();
        drop(listening);
        taken.close().await;
        Arc::into_inner(bench).unwrap().tear_down().await;
        role.drop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_grants_no_connection_is_quoted() {
    let role = Role::with(&["CONNECTION LIMIT 1"]).await;
    let taken = sqlx::PgPool::connect(&role.url).await.unwrap();
    let hogged = taken.acquire().await.unwrap();
    let refused = PostgresBackend::open(PostgresOptions::new(role.url.clone())).await.unwrap_err();
    assert!(refused.to_string().contains("too many connections for role"), "{refused}");
    drop(hogged);
    taken.close().await;
    role.drop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_is_planned_once_by_each_connection() {
    let with = |options: PostgresOptions| options.max_connections(1);
    let bench = backends::postgres_with(postgres_url(), with).await;
    for handle in leases(&bench, 20).await {
        bench.backend.renew(&handle).await.unwrap();
        bench.backend.complete(&handle, None).await.unwrap();
    }
    for _ in 0..20 {
        bench.create().await;
        let handle = bench.claim().await;
        bench.backend.complete(&handle, None).await.unwrap();
    }
    // A plan that is made anew for the values of one call is a custom one.
    let PlainSql::Postgres(pool) = &bench.plain else { panic!("Postgres it is") };
    let planned: Vec<(i64, i64)> =
        sqlx::query_as("SELECT generic_plans, custom_plans FROM pg_prepared_statements")
            .fetch_all(pool)
            .await
            .unwrap();
    assert!(planned.iter().all(|(_, custom)| *custom == 0), "{planned:?}");
    assert!(planned.iter().filter(|(generic, _)| 20 <= *generic).count() >= 3, "{planned:?}");
    bench.tear_down().await;
}

/// The report names what there is, and a report that finds nothing has nothing to mend.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_report_tells_settings_snapshots_and_sequences() {
    let bench = backends::postgres().await;
    let other = sqlx::PgPool::connect(&postgres_url()).await.unwrap();
    let mut transaction = other.begin().await.unwrap();
    transaction.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    transaction.execute("SELECT 1").await.unwrap();

    let report = bench.backend.database_report().await.unwrap();
    assert!(!report.shares_sessions);
    assert_eq!(report.settings.len(), 6);
    for setting in &report.settings {
        assert_eq!(setting.value, setting.wanted, "{setting:?}");
    }
    let snapshot = report.oldest_snapshot.unwrap();
    assert!(snapshot.age_ms.is_some() && 0 <= snapshot.transactions, "{snapshot:?}");
    assert!(snapshot.statement.starts_with("SELECT pg_terminate_backend("), "{snapshot:?}");
    let sequences = report.sequences;
    assert!(sequences.iter().any(|one| one.statement.is_some()), "{sequences:?}");
    assert!(sequences.iter().all(|one| 0 <= one.used && one.used < one.last), "{sequences:?}");
    assert!(report.tables_without_statistics.iter().all(|table| 0 <= table.bytes));
    assert_eq!((report.disk, report.log_bytes), (None, None));
    transaction.rollback().await.unwrap();
    other.close().await;
    bench.tear_down().await;
}
