//! How the databases run the statements that matter, at scale and on cold statistics: the tables are
//! filled by plain SQL and never analysed, as after a restore. They hold a
//! million finished and a hundred thousand waiting executions; with `FF_SCALE=small` a tenth of that.

use ff_codegen::{Postgres, Sqlite, Step as ScriptStep};
use ff_core::backend::{BackendTag, CapabilitySet};
use ff_core::ctx::{Ctx, Seeded};
use ff_core::engine::{Step, Transition};
use ff_core::facts::Facts;
use ff_core::plan::Shape;
use ff_core::rules::claim::Claim;
use ff_core::types::TimestampMs;
use sqlx::{AssertSqlSafe, Row as _};

use crate::backends::{self, Bench, START, postgres_url};
use crate::bench::{lane, opened, worker};
use crate::plain::PlainSql;

/// How many executions have ended, and how many wait.
fn scale() -> (i64, i64) {
    match std::env::var("FF_SCALE").as_deref() {
        Err(_) => (1_000_000, 100_000),
        Ok("small") => (100_000, 10_000),
        Ok(other) => panic!("FF_SCALE is {other:?}; it is unset or \"small\""),
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

/// Fills 256 partitions: what has ended, what needs a GPU and comes first, what anybody can do.
async fn fill(bench: &Bench) {
    let (finished, waiting) = scale();
    let (series, uuid, none, gpu) = match bench.plain {
        PlainSql::Postgres(_) => {
            let series = |count| format!("generate_series(1, {count}) AS t(n)");
            (series as fn(i64) -> String, "gen_random_uuid()", "'{}'::text[]", "'{gpu}'::text[]")
        }
        PlainSql::Sqlite(_) | PlainSql::Memory(_) => {
            let series = |count| {
                format!(
                    "(WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < {count}) \
                     SELECT n FROM t)"
                )
            };
            (series as fn(i64) -> String, "randomblob(16)", "'[]'", "'[\"gpu\"]'")
        }
    };
    let columns = "partition_key, execution_id, lane_id, required_capabilities, lifecycle_phase, \
                   ownership_state, eligibility_state, public_state, attempt_state, priority, \
                   created_at_ms, terminal_at_ms";
    let ended = "'terminal', 'unowned', 'not_applicable', 'completed', 'attempt_terminal'";
    let waits = "'runnable', 'unowned', 'eligible_now', 'waiting', 'pending_first_attempt'";
    for (count, capabilities, states, priority, ended_at) in [
        (finished, none, ended, 9, "1"),
        (500, gpu, waits, 9, "NULL"),
        (waiting, none, waits, 0, "NULL"),
    ] {
        let rows = series(count);
        let sql = format!(
            "INSERT INTO ff_exec_core ({columns}) SELECT n % 256, {uuid}, 'work', {capabilities}, \
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
    let id = opened(&first).execution_id;
    let info = bench.backend.read_execution_info(&id).await.unwrap().unwrap();
    assert_eq!(info.priority, 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_claims_by_its_index_and_scans_no_table() {
    // One connection, so that what it did is known when it says so.
    let bench = backends::postgres_with(postgres_url(), |options| options.max_connections(1)).await;
    let PlainSql::Postgres(pool) = &bench.plain else { panic!("Postgres it is") };
    for table in ["ff_exec_core", "ff_attempt", "ff_lease_event", "ff_completion_event"] {
        let sql = format!("ALTER TABLE {table} SET (autovacuum_enabled = false)");
        bench.plain.execute(&sql).await;
    }
    fill(&bench).await;

    let fused = ff_codegen::fused(&Postgres, &claim_shape()).unwrap();
    let mut connection = pool.acquire().await.unwrap();
    let values = vec!["NULL"; fused.params.len()].join(", ");
    let mut plan = Vec::new();
    for sql in [
        "SET plan_cache_mode = force_generic_plan".to_owned(),
        format!("PREPARE claim AS {}", fused.sql),
        format!("EXPLAIN EXECUTE claim ({values})"),
        "DEALLOCATE claim".to_owned(),
        "RESET plan_cache_mode".to_owned(),
    ] {
        let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut *connection).await.unwrap();
        plan.extend(rows.iter().map(|row| row.get::<String, _>(0)));
    }
    drop(connection);
    let plan = plan.join("\n");
    assert!(plan.contains("ff_exec_core_claim_idx"), "{plan}");
    assert!(!plan.contains("Seq Scan on ff_"), "{plan}");

    let before = scans(pool).await;
    work(&bench).await;
    let after = scans(pool).await;
    assert_eq!(after.sequential, before.sequential, "sequential scans of executions and attempts");
    assert!(before.claim_index < after.claim_index, "the claim index was used");
    bench.tear_down().await;
}

struct Scans {
    sequential: i64,
    claim_index: i64,
}

async fn scans(pool: &ff_backend_postgres::PgPool) -> Scans {
    let mut connection = pool.acquire().await.unwrap();
    let number = async |connection: &mut sqlx::PgConnection, sql: &'static str| -> i64 {
        sqlx::query_scalar(sql).fetch_one(connection).await.unwrap()
    };
    // Counters of a session are published now and then; this session asks for now.
    sqlx::query("SELECT pg_stat_force_next_flush()").execute(&mut *connection).await.unwrap();
    sqlx::query("SELECT 1").execute(&mut *connection).await.unwrap();
    let sequential = number(
        &mut connection,
        "SELECT coalesce(sum(seq_scan), 0)::bigint FROM pg_stat_user_tables \
         WHERE schemaname = current_schema() AND relname IN ('ff_exec_core', 'ff_attempt')",
    )
    .await;
    let claim_index = number(
        &mut connection,
        "SELECT coalesce(sum(idx_scan), 0)::bigint FROM pg_stat_user_indexes \
         WHERE schemaname = current_schema() AND indexrelname = 'ff_exec_core_claim_idx'",
    )
    .await;
    Scans { sequential, claim_index }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_claims_by_its_index() {
    let bench = backends::sqlite_file().await;
    fill(&bench).await;
    let script = ff_codegen::script(&Sqlite, &claim_shape()).unwrap();
    let pick = script.once.iter().find_map(|step| match step {
        ScriptStep::Pick { statement, .. } => Some(statement.sql.clone()),
        ScriptStep::Guard { .. } | ScriptStep::Write { .. } => None,
    });
    let PlainSql::Sqlite(pool) = &bench.plain else { panic!("SQLite it is") };
    let sql = format!("EXPLAIN QUERY PLAN {}", pick.expect("a claim picks rows"));
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(pool).await.unwrap();
    let plan: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
    let plan = plan.join("\n");
    assert!(plan.contains("ff_exec_core_claim_idx"), "{plan}");
    assert!(!plan.contains("SCAN ff_exec_core") && !plan.contains("TEMP B-TREE"), "{plan}");
    work(&bench).await;
    bench.tear_down().await;
}
