//! Conflicts with other transactions: the caller is told to run the whole transaction again.

use std::time::{Duration, Instant};

use flowfabric_sql::InTransaction as _;

use super::{begin_immediate, is_conflict, postgres_pool};
use crate::backends::{postgres_copy, run, run_connected, sqlite_file};
use crate::bench::id;
use crate::plain::PlainSql;

/// The longest time in which a conflict is reported.
const SOON: Duration = Duration::from_secs(5);

#[test]
fn an_older_snapshot_conflicts_with_what_was_committed_since() {
    run_connected(postgres_copy(), |bench| {
        Box::pin(async move {
            bench.with_orders().await;
            for level in ["REPEATABLE READ", "SERIALIZABLE"] {
                let (_, handle) = bench.leased().await;
                let begin = match level {
                    "SERIALIZABLE" => "BEGIN ISOLATION LEVEL SERIALIZABLE",
                    _ => "BEGIN ISOLATION LEVEL REPEATABLE READ",
                };
                let mut own = postgres_pool(&bench).begin_with(begin).await.unwrap();
                let seen = "SELECT count(*) FROM orders";
                let _: i64 = sqlx::query_scalar(seen).fetch_one(&mut *own).await.unwrap();

                // Both are committed after the snapshot was taken.
                let new = id();
                bench.backend.create_execution(bench.args(&new)).await.unwrap();
                bench.backend.complete(&handle, None).await.unwrap();
                let started = Instant::now();
                let mut within = own.within(bench.backend.as_ref()).unwrap();
                let created = within.create_execution(bench.args(&new)).await;
                assert!(is_conflict(&created), "{level}: {created:?}");
                let completed = within.complete(&handle, None).await;
                assert!(is_conflict(&completed), "{level}: {completed:?}");
                assert!(started.elapsed() < SOON, "{level}: {:?}", started.elapsed());

                // What does not conflict may still be done, and is committed.
                let apart = id();
                within.create_execution(bench.args(&apart)).await.unwrap();
                drop(within);
                own.commit().await.unwrap();
                assert_eq!(bench.core(&apart).await.text("public_state"), "waiting");
                bench
                    .backend
                    .cancel_execution(crate::suspended::cancellation(&bench, &apart))
                    .await
                    .unwrap();
                bench
                    .backend
                    .cancel_execution(crate::suspended::cancellation(&bench, &new))
                    .await
                    .unwrap();
            }
        })
    });
}

#[test]
fn a_guard_that_was_missed_is_decided_anew_on_rows_committed_since() {
    run_connected(postgres_copy(), |bench| {
        Box::pin(async move {
            let (_, handle) = bench.leased().await;
            let mut other = postgres_pool(&bench).begin().await.unwrap();
            let mut within = other.within(bench.backend.as_ref()).unwrap();
            within.progress(&handle, Some(10), None).await.unwrap();
            drop(within);

            // It waits for the row, and then decides on what the other has written.
            let engine = std::sync::Arc::clone(&bench.backend);
            let (pool, taken) = (postgres_pool(&bench).clone(), handle.clone());
            let waiting = tokio::spawn(async move {
                let mut own = pool.begin().await.unwrap();
                sqlx::raw_sql("SET LOCAL lock_timeout = 0").execute(&mut *own).await.unwrap();
                let mut within = own.within(engine.as_ref()).unwrap();
                within.complete(&taken, None).await.unwrap();
                drop(within);
                own.commit().await.unwrap();
            });
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(!waiting.is_finished(), "the row is locked");
            other.commit().await.unwrap();
            waiting.await.unwrap();

            // A session that waits for locks no longer than 250 ms says so.
            let (_, handle) = bench.leased().await;
            let mut other = postgres_pool(&bench).begin().await.unwrap();
            let mut within = other.within(bench.backend.as_ref()).unwrap();
            within.complete(&handle, None).await.unwrap();
            drop(within);
            let mut own = postgres_pool(&bench).begin().await.unwrap();
            let mut within = own.within(bench.backend.as_ref()).unwrap();
            let held = within.complete(&handle, None).await;
            assert!(is_conflict(&held), "{held:?}");
            within.create_execution(bench.args(&id())).await.unwrap();
            drop(within);
            own.commit().await.unwrap();
            other.rollback().await.unwrap();
            bench.backend.complete(&handle, None).await.unwrap();
        })
    });
}

#[test]
fn a_deadlock_is_a_conflict_of_one_of_both() {
    run_connected(postgres_copy(), |bench| {
        Box::pin(async move {
            let [(_, one), (_, other)] = [bench.leased().await, bench.leased().await];
            let complete = |first, second| {
                let (bench, pool) = (std::sync::Arc::clone(&bench), postgres_pool(&bench).clone());
                async move {
                    let mut own = pool.begin().await.unwrap();
                    let patient = "SET LOCAL lock_timeout = 0; SET LOCAL deadlock_timeout = '20ms'";
                    sqlx::raw_sql(patient).execute(&mut *own).await.unwrap();
                    let mut within = own.within(bench.backend.as_ref()).unwrap();
                    within.complete(&first, None).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    let done = within.complete(&second, None).await;
                    drop(within);
                    // The other waits for what this one holds.
                    own.rollback().await.unwrap();
                    done
                }
            };
            let (a, b) = tokio::join!(
                tokio::spawn(complete(one.clone(), other.clone())),
                tokio::spawn(complete(other.clone(), one.clone()))
            );
            let (a, b) = (a.unwrap(), b.unwrap());
            assert!(is_conflict(&a) != is_conflict(&b), "{a:?} {b:?}");
            assert!(a.is_ok() != b.is_ok(), "{a:?} {b:?}");
        })
    });
}

#[test]
fn a_sqlite_transaction_that_has_read_conflicts_with_a_later_write() {
    run(sqlite_file(), |bench| {
        Box::pin(async move {
            bench.with_orders().await;
            let PlainSql::Sqlite(pool) = &bench.plain else { panic!("the bench is on SQLite") };
            let mut own = pool.begin().await.unwrap();
            let seen = "SELECT count(*) FROM orders";
            let _: i64 = sqlx::query_scalar(seen).fetch_one(&mut *own).await.unwrap();
            bench.create().await;

            let started = Instant::now();
            let mut within = own.within(bench.backend.as_ref()).unwrap();
            let refused = within.create_execution(bench.args(&id())).await;
            assert!(is_conflict(&refused), "{refused:?}");
            assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
            drop(within);
            own.rollback().await.unwrap();

            let mut own = begin_immediate(pool).await;
            let mut within = own.within(bench.backend.as_ref()).unwrap();
            within.create_execution(bench.args(&id())).await.unwrap();
            drop(within);
            own.commit().await.unwrap();
            assert_eq!(bench.plain.rows("ff_exec_core").await.len(), 2);
        })
    });
}
