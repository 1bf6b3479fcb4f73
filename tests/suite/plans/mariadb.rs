//! How many rows of executions MariaDB reads for claims, as the server counts them.

use super::{claims, fill, keyed, work};
use crate::backends::{self, Bench};
use crate::plain::PlainSql;

/// Counts rows from now on, which the server does not by default.
async fn count(bench: &Bench) {
    bench.plain.execute("SET GLOBAL userstat = 1").await;
}

async fn rows_read(bench: &Bench) -> i64 {
    let PlainSql::MariaDb(pool) = &bench.plain else { panic!("MariaDB it is") };
    let read = "SELECT CAST(COALESCE(SUM(rows_read), 0) AS SIGNED) \
                FROM information_schema.table_statistics \
                WHERE table_schema = DATABASE() AND table_name = 'ff_exec_core'";
    sqlx::query_scalar(read).fetch_one(pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs FF_MARIADB_TEST_URL"]
async fn a_claim_of_mariadb_passes_over_rows_that_need_another_capability() {
    let bench = backends::mariadb().await;
    claims::fill(&bench).await;
    count(&bench).await;
    let before = rows_read(&bench).await;
    claims::ask(&bench).await;
    let read = rows_read(&bench).await - before;
    assert!(read < 200, "{read} rows were read");
    bench.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs FF_MARIADB_TEST_URL"]
async fn mariadb_reads_few_rows_of_a_thousand_keys() {
    let bench = backends::mariadb().await;
    keyed::fill(&bench).await;
    count(&bench).await;
    let before = rows_read(&bench).await;
    keyed::take(&bench).await;
    let read = rows_read(&bench).await - before;
    assert!(read < 1_000, "{read} rows were read");
    bench.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs FF_MARIADB_TEST_URL"]
async fn mariadb_reads_few_rows_for_work_among_a_million() {
    let bench = backends::mariadb().await;
    fill(&bench).await;
    count(&bench).await;
    let before = rows_read(&bench).await;
    work(&bench).await;
    let read = rows_read(&bench).await - before;
    // Eight hundred lives, and each reads its row a few times.
    assert!(read < 20_000, "{read} rows were read");
    bench.tear_down().await;
}
