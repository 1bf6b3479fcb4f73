//! Listings, bulk actions and explanations on cold statistics: none scans a table, and a filter
//! that has an index goes by it.

use ff_catalogue::{Call, Sample, samples};
use ff_codegen::{Postgres, Sqlite};

use super::explain::{self, Explained};
use super::rows::{Words, words};
use super::{cold, scale_of};
use crate::backends::{self, Bench, START};
use crate::plain::PlainSql;

/// The operations that take filters, and the one that explains.
const OPERATIONS: [&str; 3] = ["list_executions_by", "preview_bulk", "explain_execution"];

/// What a listing of bad ends goes by.
const BADLY_ENDED: &str = "ff_exec_core_badly_ended_idx";

/// Executions that completed, that failed, and that wait.
async fn fill(bench: &Bench) {
    let part = scale_of(10);
    let Words { series, random, no_list, .. } = words(&bench.plain);
    for (count, states) in [
        (40_000 / part, "'terminal', 'unowned', 'not_applicable', 'completed', 'attempt_terminal'"),
        (400 / part, "'terminal', 'unowned', 'not_applicable', 'failed', 'attempt_terminal'"),
        (4_000 / part, "'runnable', 'unowned', 'eligible_now', 'waiting', 'pending_first_attempt'"),
    ] {
        let rows = series(count);
        let sql = format!(
            "INSERT INTO ff_exec_core (partition_key, execution_id, lane_id, required_capabilities, \
             lifecycle_phase, ownership_state, eligibility_state, public_state, attempt_state, \
             created_at_ms) SELECT n % 256, {random}, 'work', {no_list}, {states}, {START} + n \
             FROM {rows}"
        );
        bench.plain.execute(&sql).await;
    }
}

/// The reads that are sampled of these operations.
fn reads() -> Vec<(Sample, ff_core::plan::Query)> {
    let read = |sample: Sample| match &sample.call {
        Call::Query(query) => Some((sample.clone(), query.clone())),
        Call::Plan(_) => None,
    };
    let of_filters = |sample: &Sample| OPERATIONS.contains(&sample.operation);
    samples().into_iter().filter(of_filters).filter_map(read).collect()
}

/// What is wrong with how a statement would run.
fn complaint(sample: &Sample, explained: &Explained) -> Option<String> {
    let what = format!("{}, {}", sample.operation, sample.case);
    // Budgets are few: a search for some of them may read all.
    let of_budgets = sample.case == "with an estimate";
    if explained.scans_a_table && !of_budgets {
        return Some(format!("{what} scans a table:\n{explained}"));
    }
    let bad = sample.operation == "list_executions_by" && sample.case.starts_with("badly ended");
    let fine = !bad || sample.case.contains("after") || explained.uses(BADLY_ENDED);
    (!fine).then(|| format!("{what} does not go by {BADLY_ENDED}:\n{explained}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_filters_by_what_indexes_there_are() {
    let bench = backends::postgres().await;
    let PlainSql::Postgres(pool) = &bench.plain else { panic!("Postgres it is") };
    cold(&bench).await;
    fill(&bench).await;

    let (mut connection, mut wrong) = (pool.acquire().await.unwrap(), Vec::new());
    for (sample, query) in reads() {
        let statement = ff_codegen::query(&Postgres, &query.into_shape().0).unwrap();
        let (sql, binds) = (&statement.sql, statement.binds.len());
        let explained = explain::postgres(&mut connection, sql, binds).await;
        wrong.extend(complaint(&sample, &explained));
    }
    drop(connection);
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    bench.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_filters_by_what_indexes_there_are() {
    let bench = backends::sqlite_file().await;
    let PlainSql::Sqlite(pool) = &bench.plain else { panic!("SQLite it is") };
    fill(&bench).await;

    let mut wrong = Vec::new();
    for (sample, query) in reads() {
        let statement = ff_codegen::query(&Sqlite, &query.into_shape().0).unwrap();
        let explained = explain::sqlite(pool, &statement.sql).await;
        wrong.extend(complaint(&sample, &explained));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    bench.tear_down().await;
}
