//! How the databases run the statements that matter, at scale and on cold statistics: the tables
//! are filled by plain SQL and never analysed, as after a restore. They hold a hundred
//! thousand finished and ten thousand waiting executions; with `FF_SCALE=full` ten times as many.

mod batches;
mod claims;
mod counts;
mod explain;
mod filters;
mod flows;
mod keyed;
mod mariadb;
mod obstructed;
mod rows;
mod schedules;

use ff_codegen::{Dialect, Postgres, PostgresOcc, ScriptStep, Sqlite, Statement};
use ff_core::backend::{BackendTag, CapabilitySet};
use ff_core::engine::{Step, Transition};
use ff_core::plan::Shape;
use ff_core::plan::facts::Facts;
use ff_core::rules::ctx::{Ctx, Seeded};
use ff_core::rules::execution::claim::Claim;
use ff_core::schema::TABLES;
use ff_core::types::TimestampMs;

use crate::backends::{self, Bench, START, postgres_url};
use crate::bench::{lane, payload_of, worker};
use crate::plain::PlainSql;
use rows::{Words, words};

/// What claims go by.
const CLAIM_INDEX: &str = "ff_exec_core_claim_idx";

/// Which part of the full scale is asked for: one of `parts`, or all of it.
fn scale_of(parts: i64) -> i64 {
    match std::env::var("FF_SCALE").as_deref() {
        Err(_) => parts,
        Ok("full") => 1,
        Ok(other) => panic!("FF_SCALE is {other:?}; it is unset or \"full\""),
    }
}

/// Keeps the tables of a Postgres without statistics.
async fn cold(bench: &Bench) {
    for table in TABLES {
        let sql = format!("ALTER TABLE {} SET (autovacuum_enabled = false)", table.name);
        bench.plain.execute(&sql).await;
    }
}

fn claim_shape() -> Shape {
    let none = CapabilitySet::default();
    let claim = Claim::new(BackendTag::Memory, &lane(), &none, worker("w"), 16).unwrap();
    let mut source = Seeded::new(1);
    let mut ctx = Ctx::new(TimestampMs(START), &mut source);
    match claim.step(&Facts::default(), &mut ctx).unwrap() {
        Step::Commit(plan, _) => plan.shape(),
        Step::Read(_) | Step::Answer(_) => panic!("a claim is one plan"),
    }
}

/// The statement that picks the rows of a claim.
fn pick_of_claim(dialect: &dyn Dialect) -> Statement {
    let script = ff_codegen::script(dialect, &claim_shape()).unwrap();
    let pick = script.once.into_iter().find_map(|step| match step {
        ScriptStep::Pick { statement, .. } => Some(statement),
        ScriptStep::Guard { .. } | ScriptStep::Write { .. } => None,
    });
    pick.expect("a claim picks rows")
}

/// Fills 256 partitions: what has ended, what needs a GPU and comes first, and what any worker can
/// run.
async fn fill(bench: &Bench) {
    let (finished, waiting) = (1_000_000 / scale_of(10), 100_000 / scale_of(10));
    let Words { series, random, no_list, list_of_gpu, .. } = words(&bench.plain);
    let columns = "partition_key, execution_id, lane_id, required_capabilities, lifecycle_phase, \
                   ownership_state, eligibility_state, public_state, attempt_state, priority, \
                   created_at_ms, terminal_at_ms";
    let ended = "'terminal', 'unowned', 'not_applicable', 'completed', 'attempt_terminal'";
    let waits = "'runnable', 'unowned', 'eligible_now', 'waiting', 'pending_first_attempt'";
    for (count, capabilities, states, priority, ended_at) in [
        (finished, no_list, ended, 9, "1"),
        (500, list_of_gpu, waits, 9, "NULL"),
        (waiting, no_list, waits, 0, "NULL"),
    ] {
        let rows = series(count);
        let sql = format!(
            "INSERT INTO ff_exec_core ({columns}) SELECT n % 256, {random}, 'work', {capabilities}, \
             {states}, {priority}, {START} + n, {ended_at} FROM {rows}"
        );
        bench.plain.execute(&sql).await;
    }
    bench
        .plain
        .execute(
            "INSERT INTO ff_attempt (partition_key, execution_id, attempt_index, lease_epoch, \
             outcome) SELECT partition_key, execution_id, 0, 1, 'success' FROM ff_exec_core \
             WHERE lifecycle_phase = 'terminal'",
        )
        .await;
}

/// Claims, completes a hundred at once, renews: work is found behind rows that need more.
async fn work(bench: &Bench) {
    let none = CapabilitySet::default();
    for _ in 0..8 {
        let lane = lane();
        let handles = bench.backend.claim_many(&lane, &none, worker("w"), 100).await.unwrap();
        assert_eq!(handles.len(), 100);
        let ends = handles.iter().map(|handle| async {
            bench.backend.renew(handle).await.unwrap();
            bench.backend.complete(handle, None).await.unwrap();
        });
        futures_util::future::join_all(ends).await;
    }
    let needy = CapabilitySet::new(["gpu"]);
    let first = bench.backend.claim(&lane(), &needy, worker("w")).await.unwrap().unwrap();
    let id = payload_of(&first).execution_id;
    let info = bench.backend.read_execution_info(&id).await.unwrap().unwrap();
    assert_eq!(info.priority, 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_claims_by_its_index_and_scans_no_table() {
    // One connection, so that what it did is known when it says so.
    let bench = backends::postgres_with(postgres_url(), |options| options.max_connections(1)).await;
    let PlainSql::Postgres(pool) = &bench.plain else { panic!("Postgres it is") };
    cold(&bench).await;
    fill(&bench).await;

    let fused = ff_codegen::fused(&Postgres, &claim_shape()).unwrap();
    let mut connection = pool.acquire().await.unwrap();
    let plan = explain::postgres(&mut connection, &fused.sql, fused.params.len()).await;
    drop(connection);
    assert!(plan.accesses.iter().any(|access| access.uses(CLAIM_INDEX)), "{plan}");
    assert!(!plan.scans_a_table, "{plan}");

    let before = Scans::of(pool).await;
    work(&bench).await;
    let after = Scans::of(pool).await;
    assert_eq!(after.sequential, before.sequential, "sequential scans of executions and attempts");
    assert!(before.claim_index < after.claim_index, "the claim index was used");
    bench.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_occ_claims_by_its_index_and_scans_no_table() {
    let bench = backends::postgres_occ_with(|options| options.max_connections(1)).await;
    let PlainSql::Postgres(pool) = &bench.plain else { panic!("Postgres it is") };
    cold(&bench).await;
    fill(&bench).await;

    let pick = pick_of_claim(&PostgresOcc);
    let mut connection = pool.acquire().await.unwrap();
    let plan = explain::postgres(&mut connection, &pick.sql, pick.binds.len()).await;
    drop(connection);
    assert!(plan.uses(CLAIM_INDEX) && !plan.scans_a_table, "{plan}");

    let before = Scans::of(pool).await;
    work(&bench).await;
    let after = Scans::of(pool).await;
    assert_eq!(after.sequential, before.sequential, "sequential scans of executions and attempts");
    bench.tear_down().await;
}

/// What the server has counted in this schema.
struct Scans {
    /// Sequential scans of what grows large.
    sequential: i64,
    /// Uses of the index that claims go by.
    claim_index: i64,
    /// Entries read from the indexes of edges.
    edges_read: i64,
}

impl Scans {
    async fn of(pool: &ff_backend_postgres::PgPool) -> Self {
        let mut connection = pool.acquire().await.unwrap();
        // Counters of a session are published now and then; this session asks for now.
        sqlx::query("SELECT pg_stat_force_next_flush()").execute(&mut *connection).await.unwrap();
        sqlx::query("SELECT 1").execute(&mut *connection).await.unwrap();
        let mut number = async |sql: &'static str| -> i64 {
            sqlx::query_scalar(sql).fetch_one(&mut *connection).await.unwrap()
        };
        let sequential = number(
            "SELECT coalesce(sum(seq_scan), 0)::bigint FROM pg_stat_user_tables \
             WHERE schemaname = current_schema() AND relname IN ('ff_exec_core', 'ff_attempt', \
             'ff_edge', 'ff_edge_group', 'ff_completion_event')",
        )
        .await;
        let claim_index = number(
            "SELECT coalesce(sum(idx_scan), 0)::bigint FROM pg_stat_user_indexes \
             WHERE schemaname = current_schema() AND indexrelname = 'ff_exec_core_claim_idx'",
        )
        .await;
        let edges_read = number(
            "SELECT coalesce(sum(idx_tup_read), 0)::bigint FROM pg_stat_user_indexes \
             WHERE schemaname = current_schema() AND relname = 'ff_edge'",
        )
        .await;
        Self { sequential, claim_index, edges_read }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_claims_by_its_index() {
    let bench = backends::sqlite_file().await;
    fill(&bench).await;
    let PlainSql::Sqlite(pool) = &bench.plain else { panic!("SQLite it is") };
    let plan = explain::sqlite(pool, &pick_of_claim(&Sqlite).sql).await;
    assert!(plan.accesses.iter().any(|access| access.uses(CLAIM_INDEX)), "{plan}");
    assert!(!plan.scans_a_table, "{plan}");
    assert!(!plan.to_string().contains("TEMP B-TREE"), "{plan}");
    work(&bench).await;
    bench.tear_down().await;
}
