//! A claim reads as much behind five thousand rows that need another capability as without them;
//! with `FF_SCALE=full` behind a hundred thousand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ff_codegen::{Bind, BindSource, ScriptStep, Sqlite, Statement};
use ff_core::backend::{BackendTag, CapabilitySet};
use ff_core::engine::{Step, Transition};
use ff_core::plan::Bindings;
use ff_core::plan::facts::Facts;
use ff_core::rules::ctx::{Ctx, Seeded};
use ff_core::rules::execution::claim::Claim;
use ff_core::rules::execution::listing;
use ff_core::types::{LaneId, TimestampMs};
use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::rows::{Words, words};
use super::{cold, explain, scale_of};
use crate::backends::{self, Bench, START, postgres_url};
use crate::bench::{lane, payload_of, worker};
use crate::plain::{PlainSql, push_sqlite};

/// Fills the lane with rows that need a GPU and come first, of those that wait and of those that
/// are due, and with one that needs nothing.
pub(super) async fn fill(bench: &Bench) {
    let needy = 100_000 / scale_of(20);
    let Words { series, random, no_list, list_of_gpu, .. } = words(&bench.plain);
    let waits = "'runnable', 'unowned', 'eligible_now', 'waiting', NULL";
    let due = "'runnable', 'unowned', 'not_eligible_until_time', 'delayed', 1";
    for (count, capabilities, states, priority) in
        [(needy, list_of_gpu, waits, 9), (needy, list_of_gpu, due, 9), (1, no_list, waits, 0)]
    {
        let rows = series(count);
        let sql = format!(
            "INSERT INTO ff_exec_core (partition_key, execution_id, lane_id, \
             required_capabilities, lifecycle_phase, ownership_state, eligibility_state, \
             public_state, eligible_at_ms, attempt_state, priority, created_at_ms) \
             SELECT n % 256, {random}, 'work', {capabilities}, {states}, 'pending_first_attempt', \
             {priority}, {START} + n FROM {rows}"
        );
        bench.plain.execute(&sql).await;
    }
}

/// A worker for which one execution is there, and then none, asks again and again.
pub(super) async fn ask(bench: &Bench) {
    let others = [CapabilitySet::default(), CapabilitySet::new(["avx", "tpu"])];
    for other in &others {
        assert!(bench.backend.has_claimable(&lane(), other).await.unwrap());
    }
    let [_, able] = &others;
    let handle = bench.backend.claim(&lane(), able, worker("w")).await.unwrap().unwrap();
    assert_eq!(payload_of(&handle).lane_id, lane());
    for other in &others {
        assert!(!bench.backend.has_claimable(&lane(), other).await.unwrap());
        let none = bench.backend.claim_many(&lane(), other, worker("w"), 9).await.unwrap();
        assert_eq!(none.len(), 0);
    }
}

/// How many rows of executions the server has read in this schema, by an index or without.
pub(super) async fn rows_read(bench: &Bench) -> i64 {
    let PlainSql::Postgres(pool) = &bench.plain else { panic!("Postgres it is") };
    let mut connection = pool.acquire().await.unwrap();
    sqlx::query("SELECT pg_stat_force_next_flush()").execute(&mut *connection).await.unwrap();
    sqlx::query("SELECT 1").execute(&mut *connection).await.unwrap();
    let read = "SELECT ((SELECT coalesce(sum(idx_tup_read), 0) FROM pg_stat_user_indexes \
        WHERE schemaname = current_schema() AND relname LIKE 'ff\\_exec\\_core%') \
        + (SELECT coalesce(sum(seq_tup_read), 0) FROM pg_stat_user_tables \
        WHERE schemaname = current_schema() AND relname LIKE 'ff\\_exec\\_core%'))::bigint";
    sqlx::query_scalar(read).fetch_one(&mut *connection).await.unwrap()
}

async fn costs_the_same_on_postgres(bench: Bench) {
    fill(&bench).await;
    let before = rows_read(&bench).await;
    ask(&bench).await;
    let read = rows_read(&bench).await - before;
    // Two claims, two looks at what is due, four at what there is; the first of each list.
    assert!(read < 100, "{read} rows were read");
    bench.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_costs_the_same_behind_many_rows_that_need_another_capability() {
    let one = |options: ff_backend_postgres::PostgresOptions| options.max_connections(1);
    let bench = backends::postgres_with(postgres_url(), one).await;
    cold(&bench).await;
    costs_the_same_on_postgres(bench).await;
    costs_the_same_on_sqlite(backends::sqlite_file().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_costs_the_same_over_partitions() {
    costs_the_same_on_postgres(backends::postgres_partitioned(4).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_does_not_pass_over_all_that_was_claimed_while_a_snapshot_is_open() {
    let one = |options: ff_backend_postgres::PostgresOptions| options.max_connections(1);
    let bench = backends::postgres_with(postgres_url(), one).await;
    let claimed: i64 = 6_000;
    let Words { series, random, no_list, .. } = words(&bench.plain);
    let rows = series(claimed + 100);
    let sql = format!(
        "INSERT INTO ff_exec_core (partition_key, execution_id, lane_id, required_capabilities, \
         lifecycle_phase, ownership_state, eligibility_state, public_state, attempt_state, \
         created_at_ms, claimable_since_ms) SELECT n % 256, {random}, 'work', {no_list}, \
         'runnable', 'unowned', 'eligible_now', 'waiting', 'pending_first_attempt', \
         {START} + n, {START} + n FROM {rows}"
    );
    bench.plain.execute(&sql).await;

    // The server must keep every index entry of what the snapshot may still see.
    let mut reader = PgConnection::connect(&postgres_url()).await.unwrap();
    for sql in ["BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT pg_current_snapshot()::text"] {
        sqlx::query(sql).execute(&mut reader).await.unwrap();
    }
    let none = CapabilitySet::default();
    for _ in 0..claimed / 1_000 {
        let taken = bench.backend.claim_many(&lane(), &none, worker("w"), 1_000).await.unwrap();
        assert_eq!(taken.len(), 1_000);
    }

    let before = rows_read(&bench).await;
    for _ in 0..20 {
        assert!(bench.backend.claim(&lane(), &none, worker("w")).await.unwrap().is_some());
    }
    let read = rows_read(&bench).await - before;
    // From the head, each of the twenty would pass over all that was claimed; some still do.
    assert!(read < 10 * claimed, "{read} index entries were read");

    // Nothing is overlooked.
    let mut rest = 0;
    while bench.backend.claim(&lane(), &none, worker("w")).await.unwrap().is_some() {
        rest += 1;
    }
    assert_eq!(rest, 80);
    reader.close().await.unwrap();
    bench.tear_down().await;
}

/// A claim and the look whether there is something to claim, as SQLite runs them.
pub(super) fn asked_of_sqlite(lane: &LaneId, tokens: &[&str]) -> Vec<(Statement, Bindings)> {
    let offered = CapabilitySet::new(tokens.iter().copied());
    let claim = Claim::new(BackendTag::Sqlite, lane, &offered, worker("w"), 16).unwrap();
    let mut source = Seeded::new(1);
    let mut ctx = Ctx::new(TimestampMs(START), &mut source);
    let Step::Commit(plan, _) = claim.step(&Facts::default(), &mut ctx).unwrap() else {
        panic!("a claim is one plan")
    };
    let (shape, values) = plan.into_shape();
    let script = ff_codegen::script(&Sqlite, &shape).unwrap();
    let pick = script.once.into_iter().find_map(|step| match step {
        ScriptStep::Pick { statement, .. } => Some(statement),
        ScriptStep::Guard { .. } | ScriptStep::Write { .. } => None,
    });
    let mut asked = vec![(pick.unwrap(), values)];

    let mut source = Seeded::new(1);
    let mut ctx = Ctx::new(TimestampMs(START), &mut source);
    let look = listing::claimable_by(lane, &offered, Vec::new()).unwrap();
    let Step::Read(mut queries) = look.step(&Facts::default(), &mut ctx).unwrap() else {
        panic!("a look is one query")
    };
    let (shape, values) = queries.remove(0).into_shape();
    asked.push((ff_codegen::query(&Sqlite, &shape).unwrap(), values));
    asked
}

/// How many instructions SQLite's machine takes for the statement.
pub(super) async fn instructions(
    connection: &mut SqliteConnection,
    (statement, values): &(Statement, Bindings),
) -> (u64, usize) {
    let taken = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&taken);
    let mut arguments = SqliteArguments::default();
    for Bind { source, .. } in &statement.binds {
        let BindSource::Slot(slot) = source else { panic!("nothing is held yet: {source:?}") };
        push_sqlite(&mut arguments, values.value(*slot, 0));
    }
    let count = move || {
        counter.fetch_add(1, Ordering::Relaxed);
        true
    };
    connection.lock_handle().await.unwrap().set_progress_handler(1, count);
    let query = sqlx::query_with(AssertSqlSafe(statement.sql.clone()), arguments);
    let found = query.fetch_all(&mut *connection).await.unwrap().len();
    connection.lock_handle().await.unwrap().remove_progress_handler();
    (taken.load(Ordering::Relaxed), found)
}

/// As after a first look at a new database: its tables were analysed while they were nearly empty.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statistics_of_nearly_empty_tables_mislead_no_claim_on_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flow.db");
    let bench = backends::sqlite_at(&path).await;
    bench.create().await;
    let (none, worker) = (CapabilitySet::default(), worker("w"));
    let handle = bench.backend.claim(&lane(), &none, worker).await.unwrap().unwrap();
    bench.backend.complete(&handle, None).await.unwrap();
    bench.plain.execute("ANALYZE").await;
    let PlainSql::Sqlite(pool) = &bench.plain else { panic!("SQLite it is") };
    let kept = "SELECT count(*) FROM sqlite_stat1 WHERE tbl = 'ff_exec_core'";
    let rows: i64 = sqlx::query_scalar(kept).fetch_one(pool).await.unwrap();
    assert_ne!(rows, 0, "the table was analysed");
    bench.tear_down().await;

    let bench = backends::sqlite_at(&path).await;
    let PlainSql::Sqlite(pool) = &bench.plain else { panic!("SQLite it is") };
    let rows: i64 = sqlx::query_scalar(kept).fetch_one(pool).await.unwrap();
    assert_eq!(rows, 0, "the engine leaves no statistics");
    costs_the_same_on_sqlite(bench).await;
}

async fn costs_the_same_on_sqlite(bench: Bench) {
    fill(&bench).await;
    ask(&bench).await;
    let PlainSql::Sqlite(pool) = &bench.plain else { panic!("SQLite it is") };
    let mut connection = pool.acquire().await.unwrap();
    for tokens in [&[] as &[&str], &["avx", "tpu"]] {
        let empty = LaneId::new("nothing here");
        let behind = asked_of_sqlite(&lane(), tokens).into_iter();
        for (asked, alone) in behind.zip(asked_of_sqlite(&empty, tokens)) {
            let (few, found_there) = instructions(&mut connection, &alone).await;
            let (many, found) = instructions(&mut connection, &asked).await;
            assert_eq!((found_there, found), (0, 0));
            assert!(0 < few && many < few + 1_000, "{few} and {many}: {}", asked.0.sql);

            let plan = explain::sqlite(pool, &asked.0.sql).await;
            assert!(!plan.scans_a_table, "{plan}");
        }
    }
    drop(connection);
    bench.tear_down().await;
}
