//! A claim reads as much before five thousand rows that are reserved by grants or blocked as
//! without them; with `FF_SCALE=full` before a hundred thousand.

use ff_core::backend::CapabilitySet;
use ff_core::types::LaneId;

use super::claims::{asked_of_sqlite, instructions, rows_read};
use super::rows::{Words, words};
use super::{cold, explain, scale_of};
use crate::backends::{self, Bench, START, postgres_url};
use crate::bench::{lane, worker};
use crate::plain::PlainSql;

/// When the grants here lapse: after the test.
const UNTIL: i64 = START + 60_000;

/// Fills a lane with rows that were submitted first: reserved as grants reserve them, blocked for
/// want of a route, of a budget; and then `free` rows that any worker may claim.
async fn fill(bench: &Bench, lane: &str, obstacles: i64, free: i64) {
    let Words { series, random, no_list, .. } = words(&bench.plain);
    let reserved = ("'eligible_now', 'waiting'", UNTIL.to_string(), UNTIL.to_string());
    let blocked = |by: &'static str| (by, "NULL".to_owned(), format!("{START} + n"));
    for (count, (states, until, since)) in [
        (obstacles, reserved),
        (obstacles, blocked("'blocked_by_route', 'waiting'")),
        (obstacles, blocked("'blocked_by_budget', 'rate_limited'")),
        (free, blocked("'eligible_now', 'waiting'")),
    ] {
        if count == 0 {
            continue;
        }
        let rows = series(count);
        let sql = format!(
            "INSERT INTO ff_exec_core (partition_key, execution_id, lane_id, \
             required_capabilities, lifecycle_phase, ownership_state, eligibility_state, \
             public_state, granted_until_ms, claimable_since_ms, attempt_state, created_at_ms) \
             SELECT n % 256, {random}, '{lane}', {no_list}, 'runnable', 'unowned', {states}, \
             {until}, {since}, 'pending_first_attempt', {START} + n FROM {rows}"
        );
        bench.plain.execute(&sql).await;
    }
}

/// Workers claim all that is free: one at a time, and some for a scheduler.
async fn work(bench: &Bench, lane: &LaneId) {
    let offers = [CapabilitySet::default(), CapabilitySet::new(["avx", "tpu"])];
    for offered in offers.iter().cycle().take(8) {
        let claimed = bench.backend.claim(lane, offered, worker("w")).await.unwrap();
        assert!(claimed.is_some());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_costs_the_same_before_many_rows_that_are_reserved_or_blocked() {
    let obstacles = 100_000 / scale_of(20);
    let one = |options: ff_backend_postgres::PostgresOptions| options.max_connections(1);
    let bench = backends::postgres_with(postgres_url(), one).await;
    cold(&bench).await;
    fill(&bench, "work", obstacles, 9).await;
    fill(&bench, "open", 0, 9).await;

    let before = rows_read(&bench).await;
    work(&bench, &LaneId::new("open")).await;
    let unobstructed = rows_read(&bench).await - before;
    work(&bench, &lane()).await;
    let obstructed = rows_read(&bench).await - before - unobstructed;
    assert!(obstructed <= 2 * unobstructed, "{obstructed} rows were read, else {unobstructed}");
    bench.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_costs_the_same_on_sqlite_before_rows_that_are_reserved_or_blocked() {
    let bench = backends::sqlite_file().await;
    fill(&bench, "work", 100_000 / scale_of(20), 20).await;
    fill(&bench, "open", 0, 20).await;

    let PlainSql::Sqlite(pool) = &bench.plain else { panic!("SQLite it is") };
    let mut connection = pool.acquire().await.unwrap();
    for tokens in [&[] as &[&str], &["avx", "tpu"]] {
        let (free, crowded) = (LaneId::new("open"), lane());
        // The claim, and the look whether there is something to claim; not what is due.
        let asked = asked_of_sqlite(&crowded, tokens).into_iter().step_by(2);
        for (asked, alone) in asked.zip(asked_of_sqlite(&free, tokens).into_iter().step_by(2)) {
            let (few, found_there) = instructions(&mut connection, &alone).await;
            let (many, found) = instructions(&mut connection, &asked).await;
            assert_eq!(found_there, found);
            assert!(many <= 2 * few, "{few} and {many}: {}", asked.0.sql);
            let plan = explain::sqlite(pool, &asked.0.sql).await;
            assert!(!plan.scans_a_table, "{plan}");
        }
    }
    drop(connection);
    bench.tear_down().await;
}
