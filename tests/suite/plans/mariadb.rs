//! How many rows of executions MariaDB reads for claims, as the server counts them.

use ff_core::backend::CapabilitySet;

use super::{claims, keyed};
use crate::backends::{self, Bench};
use crate::bench::{lane, worker};
use crate::plain::PlainSql;

/// A database in which rows by hand are not counted by triggers, one by one.
async fn uncounted() -> Bench {
    let bench = backends::mariadb().await;
    for event in ["insert", "update", "delete"] {
        bench.plain.execute(&format!("DROP TRIGGER ff_exec_count_{event}")).await;
    }
    bench
}

/// The number of rows that the server reads for this work. By default it counts none.
async fn rows_read(bench: &Bench, work: impl Future<Output = ()>) -> i64 {
    bench.plain.execute("SET GLOBAL userstat = 1").await;
    let PlainSql::MariaDb(pool) = &bench.plain else { panic!("MariaDB it is") };
    let read = "SELECT CAST(COALESCE(SUM(rows_read), 0) AS SIGNED) \
                FROM information_schema.table_statistics \
                WHERE table_schema = DATABASE() AND table_name = 'ff_exec_core'";
    let before: i64 = sqlx::query_scalar(read).fetch_one(pool).await.unwrap();
    work.await;
    let after: i64 = sqlx::query_scalar(read).fetch_one(pool).await.unwrap();
    after - before
}

/// No other test gets a database without triggers.
async fn remove(bench: Bench) {
    let PlainSql::MariaDb(pool) = &bench.plain else { panic!("MariaDB it is") };
    let name: String = sqlx::query_scalar("SELECT DATABASE()").fetch_one(pool).await.unwrap();
    bench.plain.execute(&format!("DROP DATABASE {name}")).await;
    bench.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_of_mariadb_passes_over_rows_that_need_another_capability() {
    let bench = uncounted().await;
    claims::fill(&bench).await;
    let read = rows_read(&bench, claims::ask(&bench)).await;
    assert!((1..200).contains(&read), "{read} rows were read");
    // The same statements once more, on a connection that has written in between.
    let again = async {
        let able = CapabilitySet::new(["avx", "tpu"]);
        for _ in 0..8 {
            bench.create().await;
            let handle = bench.backend.claim(&lane(), &able, worker("w")).await.unwrap().unwrap();
            bench.backend.complete(&handle, None).await.unwrap();
        }
    };
    let read = rows_read(&bench, again).await;
    assert!((1..200).contains(&read), "{read} rows were read by claims after claims");
    remove(bench).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_reads_few_rows_of_a_thousand_keys() {
    let bench = uncounted().await;
    keyed::fill(&bench).await;
    let read = rows_read(&bench, keyed::take(&bench)).await;
    assert!((1..1_000).contains(&read), "{read} rows were read");
    remove(bench).await;
}
