//! What only MariaDB can lose: a migration without transactions, the connection that writes, and
//! the turns of its writers.

use std::time::Duration;

use ff_backend_mariadb::migrate::migrate;
use ff_backend_mariadb::sqlx::{
    self, AssertSqlSafe, Connection as _, Executor as _, MySqlConnection,
};
use ff_codegen::MariaDb;
use ff_core::EngineError;
use ff_core::backend::CapabilitySet;
use flowfabric_sql::InTransaction as _;
use uuid::Uuid;

use crate::backends;
use crate::bench::{lane, worker};

const TRIES: u64 = 6;

async fn connect(database: &str) -> MySqlConnection {
    let mut connection = MySqlConnection::connect(&backends::mariadb_url()).await.unwrap();
    let sql =
        format!("CREATE DATABASE IF NOT EXISTS {database}; USE {database}; {}", MariaDb::SESSION);
    connection.execute(AssertSqlSafe(sql)).await.unwrap();
    connection
}

/// Columns, indexes and triggers, as the server describes them.
async fn description(connection: &mut MySqlConnection) -> Vec<String> {
    let sql = "SELECT CONCAT_WS(' ', table_name, column_name, column_type, is_nullable, \
               column_default, generation_expression) FROM information_schema.columns \
               WHERE table_schema = DATABASE() UNION ALL \
               SELECT CONCAT_WS(' ', table_name, index_name, seq_in_index, column_name) \
               FROM information_schema.statistics WHERE table_schema = DATABASE() UNION ALL \
               SELECT CONCAT_WS(' ', trigger_name, action_statement) \
               FROM information_schema.triggers WHERE trigger_schema = DATABASE() ORDER BY 1";
    sqlx::query_scalar(sql).fetch_all(connection).await.unwrap()
}

#[tokio::test]
async fn a_migration_that_is_killed_anywhere_is_finished_by_the_next_mariadb() {
    let name = format!("ff_test_{}", Uuid::new_v4().simple());
    let mut whole = connect(&name).await;
    migrate(&mut whole).await.unwrap();
    let expected = description(&mut whole).await;
    let drop_database = AssertSqlSafe(format!("DROP DATABASE {name}"));
    whole.execute(drop_database).await.unwrap();

    let mut killed_midway = 0;
    for number in 1..=TRIES {
        let name = format!("ff_test_{}", Uuid::new_v4().simple());
        let mut killed = connect(&name).await;
        let id: u64 =
            sqlx::query_scalar("SELECT CONNECTION_ID()").fetch_one(&mut killed).await.unwrap();
        let migration = tokio::spawn(async move { migrate(&mut killed).await.is_err() });
        tokio::time::sleep(Duration::from_millis(number * number * 4)).await;
        // It may be over by now.
        let _ = whole.execute(AssertSqlSafe(format!("KILL {id}"))).await;
        killed_midway += usize::from(migration.await.unwrap());

        let mut next = connect(&name).await;
        migrate(&mut next).await.unwrap();
        assert_eq!(description(&mut next).await, expected);
        assert_eq!(migrate(&mut next).await.unwrap(), Vec::<&str>::new());
        next.execute(AssertSqlSafe(format!("DROP DATABASE {name}"))).await.unwrap();
    }
    assert!(0 < killed_midway);
}

#[test]
fn the_connection_that_writes_is_replaced_mariadb() {
    backends::run(backends::mariadb(), |bench| {
        Box::pin(async move {
            for _ in 0..3 {
                // Every other connection of the database ends: that of the writer, and idle ones.
                let sql = "SELECT id FROM information_schema.processlist \
                           WHERE db = DATABASE() AND id <> CONNECTION_ID()";
                let crate::plain::PlainSql::MariaDb(pool) = &bench.plain else { panic!("MariaDB") };
                for _ in 0..20 {
                    // A connection that fails leaves the pool.
                    let _ = pool.execute("SELECT 1").await;
                }
                let mut own = pool.acquire().await.unwrap();
                let ids: Vec<i64> = sqlx::query_scalar(sql).fetch_all(&mut *own).await.unwrap();
                for id in ids {
                    let _ = own.execute(AssertSqlSafe(format!("KILL {id}"))).await;
                }
                drop(own);
                bench.create().await;
            }
            let crate::plain::PlainSql::MariaDb(pool) = &bench.plain else { panic!("MariaDB") };
            for _ in 0..20 {
                // A connection that fails leaves the pool.
                let _ = pool.execute("SELECT 1").await;
            }
            assert_eq!(bench.plain.rows("ff_exec_core").await.len(), 3);
        })
    });
}

#[test]
fn writers_of_several_processes_take_turns_mariadb() {
    backends::run(backends::mariadb(), |bench| {
        Box::pin(async move {
            for _ in 0..200 {
                bench.create().await;
            }
            let others = [bench.another_process().await, bench.another_process().await];
            let claims =
                others.into_iter().chain([bench.backend.clone()]).map(|backend| async move {
                    let (mut claimed, none) = (Vec::new(), CapabilitySet::default());
                    loop {
                        let found =
                            backend.claim_many(&lane(), &none, worker("w"), 7).await.unwrap();
                        if found.is_empty() {
                            return claimed;
                        }
                        claimed.extend(found);
                    }
                });
            let claimed = futures_util::future::join_all(claims).await;
            assert_eq!(claimed.iter().map(Vec::len).sum::<usize>(), 200);
            assert!(claimed.iter().all(|of_one| !of_one.is_empty()));
        })
    });
}

#[test]
fn operations_in_a_transaction_of_the_caller_are_refused_on_mariadb() {
    backends::run(backends::mariadb(), |bench| {
        Box::pin(async move {
            let crate::plain::PlainSql::MariaDb(pool) = &bench.plain else { panic!("MariaDB") };
            let mut transaction = pool.begin().await.unwrap();
            let refusal = transaction.within(bench.backend.as_ref()).err();
            assert!(matches!(refusal, Some(EngineError::Unavailable { .. })), "{refusal:?}");
            transaction.rollback().await.unwrap();
        })
    });
}
