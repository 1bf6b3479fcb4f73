//! The search for schedules that are due reads those and no others.

use ff_codegen::{Postgres, Sqlite};
use ff_core::engine::{Step, Transition as _};
use ff_core::engine_backend::Scan;
use ff_core::plan::Query;
use ff_core::plan::facts::Facts;
use ff_core::rules::ctx::{Ctx, Seeded};
use ff_core::rules::scan::{Due, ScanScope};
use ff_core::types::TimestampMs;

use super::claims::instructions;
use super::rows::words;
use super::{cold, explain};
use crate::backends::{self, Bench, START};
use crate::plain::PlainSql;

const INDEX: &str = "ff_schedule_due_idx";

fn search() -> Query {
    let due = Due { scan: Scan::Schedules, limit: 100, after: None, scope: ScanScope::default() };
    let mut source = Seeded::new(1);
    let mut ctx = Ctx::new(TimestampMs(START), &mut source);
    match due.step(&Facts::default(), &mut ctx).unwrap() {
        Step::Read(mut queries) => queries.remove(0),
        Step::Commit(..) | Step::Answer(_) => panic!("a search is one query"),
    }
}

/// Schedules that are paused, and schedules with a tick to come.
async fn fill(bench: &Bench, count: i64) {
    let rows = (words(&bench.plain).series)(count);
    for due in ["NULL".to_owned(), format!("{START} + n")] {
        let payload =
            if matches!(bench.plain, PlainSql::Postgres(_)) { "''::bytea" } else { "x''" };
        let name = format!("'{}' || n", due.len());
        let sql = format!(
            "INSERT INTO ff_schedule (partition_key, namespace, name, cron, time_zone, work, \
             payload, due_at_ms, created_at_ms, updated_at_ms) SELECT n % 256, 'a', {name}, '', \
             'UTC', '{{}}', {payload}, {due}, 0, 0 FROM {rows}"
        );
        bench.plain.execute(&sql).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_finds_due_schedules_by_their_index() {
    let bench = backends::postgres().await;
    let PlainSql::Postgres(pool) = &bench.plain else { panic!("Postgres it is") };
    cold(&bench).await;
    fill(&bench, 5_000).await;

    let statement = ff_codegen::query(&Postgres, &search().into_shape().0).unwrap();
    let mut connection = pool.acquire().await.unwrap();
    let plan = explain::postgres(&mut connection, &statement.sql, statement.binds.len()).await;
    drop(connection);
    assert!(plan.uses(INDEX) && !plan.scans_a_table, "{plan}");
    bench.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_costs_sqlite_nothing_before_its_tick() {
    let bench = backends::sqlite_file().await;
    let PlainSql::Sqlite(pool) = &bench.plain else { panic!("SQLite it is") };
    let (shape, values) = search().into_shape();
    let asked = (ff_codegen::query(&Sqlite, &shape).unwrap(), values);
    let mut connection = pool.acquire().await.unwrap();
    let (alone, _) = instructions(&mut connection, &asked).await;

    fill(&bench, 5_000).await;
    let (among, found) = instructions(&mut connection, &asked).await;
    drop(connection);
    assert!(found == 0 && among < alone + 20, "{among} and {alone}");

    let plan = explain::sqlite(pool, &asked.0.sql).await;
    assert!(plan.uses(INDEX) && !plan.scans_a_table, "{plan}");
    assert!(!plan.to_string().contains("TEMP B-TREE"), "{plan}");
    bench.tear_down().await;
}
