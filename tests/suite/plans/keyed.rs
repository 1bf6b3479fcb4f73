//! A claim of executions with keys reads as much of a thousand keys as of one, and hardly more
//! behind a full one.

use ff_codegen::{Sqlite, Statement};
use ff_core::backend::{BackendTag, CapabilitySet};
use ff_core::contracts::SetLimitArgs;
use ff_core::engine::{Step, Transition};
use ff_core::plan::Bindings;
use ff_core::plan::facts::Facts;
use ff_core::policy::ExecutionPolicy;
use ff_core::rules::ctx::{Ctx, Seeded};
use ff_core::rules::execution::candidates::Candidates;
use ff_core::rules::execution::claim::Claim;
use ff_core::types::{LaneId, TimestampMs};

use super::claims::{instructions, rows_read};
use super::rows::{Words, words};
use super::{cold, explain, scale_of};
use crate::backends::{self, Bench, START, postgres_url};
use crate::bench::{lane, worker};
use crate::plain::PlainSql;

/// What claims with keys go by first.
const KEYED_INDEX: &str = "ff_exec_core_keyed_idx";

/// The executions that a claim asks for here.
const LIMIT: u32 = 9;

/// Fills the lane with executions of a thousand keys; each key bounds what runs.
pub(super) async fn fill(bench: &Bench) {
    let limit = SetLimitArgs::new("tenant/*", "ada").with_running(1_000);
    bench.backend.set_limit(limit).await.unwrap();
    let limit_keys = vec!["tenant/1".to_owned()];
    let policy = ExecutionPolicy { limit_keys, ..ExecutionPolicy::default() };
    bench.create_with(&|args| args.policy = Some(policy.clone())).await;

    waiting(bench, "work", START, ["tenant/", "n % 1000"], 100_000 / scale_of(20)).await;
}

/// Adds executions of keys to a lane, claimable since then: of keys that begin with the text and
/// end with the SQL.
async fn waiting(bench: &Bench, lane: &str, since: i64, [begin, end]: [&str; 2], count: i64) {
    let Words { series, random, .. } = words(&bench.plain);
    let list = match &bench.plain {
        PlainSql::Postgres(_) => format!("ARRAY[chr(1) || 'limit:{begin}' || ({end})]"),
        PlainSql::Sqlite(_) | PlainSql::Memory(_) => {
            format!("'[\"\\u0001limit:{begin}' || ({end}) || '\"]'")
        }
        PlainSql::MariaDb(_) => format!("CONCAT('[\"\\u0001limit:{begin}', {end}, '\"]')"),
    };
    let rows = series(count);
    let sql = format!(
        "INSERT INTO ff_exec_core (partition_key, execution_id, lane_id, required_capabilities, \
         lifecycle_phase, ownership_state, eligibility_state, public_state, attempt_state, \
         created_at_ms, claimable_since_ms) SELECT n % 256, {random}, '{lane}', {list}, \
         'runnable', 'unowned', 'eligible_now', 'waiting', 'pending_first_attempt', \
         {since} + n, {since} + n FROM {rows}"
    );
    bench.plain.execute(&sql).await;
}

pub(super) async fn take(bench: &Bench) {
    take_of(bench, &lane()).await;
}

async fn take_of(bench: &Bench, lane: &LaneId) {
    let none = CapabilitySet::default();
    for _ in 0..4 {
        let taken = bench.backend.claim_many(lane, &none, worker("w"), LIMIT).await.unwrap();
        assert_eq!(taken.len(), LIMIT as usize);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_reads_few_rows_of_a_thousand_keys() {
    let one = |options: ff_backend_postgres::PostgresOptions| options.max_connections(1);
    let bench = backends::postgres_with(postgres_url(), one).await;
    cold(&bench).await;
    fill(&bench).await;
    let before = rows_read(&bench).await;
    take(&bench).await;
    let read = rows_read(&bench).await - before;
    // Each claim looks at 32 beyond what it asks for, and reads what it takes twice. The best of
    // each key would be nine thousand.
    assert!(read < 1_000, "{read} rows were read");
    bench.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_reads_hardly_more_behind_many_executions_of_a_full_key() {
    let one = |options: ff_backend_postgres::PostgresOptions| options.max_connections(1);
    let bench = backends::postgres_with(postgres_url(), one).await;
    cold(&bench).await;
    fill(&bench).await;
    bench.backend.set_limit(SetLimitArgs::new("closed/1", "ada").with_running(0)).await.unwrap();
    let obstacles = 100_000 / scale_of(20);
    waiting(&bench, "behind", START, ["closed/", "1"], obstacles).await;
    waiting(&bench, "behind", START + obstacles, ["tenant/", "n % 3"], 200).await;

    // The first claim finds out what stands before.
    let behind = LaneId::new("behind");
    take_of(&bench, &behind).await;
    take(&bench).await;
    let before = rows_read(&bench).await;
    take(&bench).await;
    let unobstructed = rows_read(&bench).await - before;
    take_of(&bench, &behind).await;
    let obstructed = rows_read(&bench).await - before - unobstructed;
    assert!(obstructed <= 2 * unobstructed, "{obstructed} rows were read, else {unobstructed}");
    bench.tear_down().await;
}

/// The list of a claim, as SQLite runs it.
fn looked_at() -> (Statement, Bindings) {
    let none = CapabilitySet::default();
    let claim = Claim::new(BackendTag::Sqlite, &lane(), &none, worker("w"), LIMIT).unwrap();
    let list = Candidates::best(claim.within_limits(Vec::new()));
    let mut source = Seeded::new(1);
    let mut ctx = Ctx::new(TimestampMs(START), &mut source);
    let Step::Read(mut queries) = list.step(&Facts::default(), &mut ctx).unwrap() else {
        panic!("a list is read")
    };
    let (shape, values) = queries.remove(0).into_shape();
    (ff_codegen::query(&Sqlite, &shape).unwrap(), values)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_reads_few_rows_of_a_thousand_keys() {
    let bench = backends::sqlite_file().await;
    fill(&bench).await;
    let PlainSql::Sqlite(pool) = &bench.plain else { panic!("SQLite it is") };
    let asked = looked_at();
    let plan = explain::sqlite(pool, &asked.0.sql).await;
    assert!(plan.accesses.iter().any(|access| access.uses(KEYED_INDEX)), "{plan}");
    assert!(!plan.scans_a_table, "{plan}");

    let mut connection = pool.acquire().await.unwrap();
    let (taken, found) = instructions(&mut connection, &asked).await;
    assert_eq!(found, 32 + LIMIT as usize);
    assert!(taken < 30_000, "{taken} instructions");
    drop(connection);
    take(&bench).await;
    bench.tear_down().await;
}
