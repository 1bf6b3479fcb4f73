//! Reading the counts costs as much beside many executions as beside few.

use ff_codegen::{Postgres, Sqlite, Statement};
use ff_core::contracts::StatsArgs;
use ff_core::engine::{Step, Transition as _};
use ff_core::plan::facts::{Answer, Facts, Questions, Row};
use ff_core::plan::value::Value;
use ff_core::plan::{Bindings, Query};
use ff_core::rules::count::read::ReadStats;
use ff_core::rules::ctx::{Ctx, Seeded};
use ff_core::schema::count::exec_count;
use ff_core::state::PublicState;
use ff_core::types::TimestampMs;

use super::claims::instructions;
use super::rows::words;
use super::{CLAIM_INDEX, cold, explain};
use crate::backends::{self, Bench, START};
use crate::bench::LANE;
use crate::plain::PlainSql;

const MANY: i64 = 20_000;

/// What a reader of the counts asks: the sums, and the longest wait of a lane.
fn asked() -> [Query; 2] {
    let read = ReadStats::new(StatsArgs::new()).unwrap();
    let mut source = Seeded::new(1);
    let mut ctx = Ctx::new(TimestampMs(START), &mut source);
    let mut ask = |facts: &Facts| match read.step(facts, &mut ctx).unwrap() {
        Step::Read(queries) => queries,
        Step::Commit(..) | Step::Answer(_) => panic!("it reads twice"),
    };

    let sums = ask(&Facts::default());
    let text = |text: &str| Value::Text(text.to_owned());
    let waiting = Row::new(vec![
        (exec_count::lane_id.column(), text(LANE)),
        (exec_count::execution_kind.column(), text("")),
        (exec_count::public_state.column(), text("waiting")),
        (exec_count::failure_class.column(), text("")),
        (exec_count::ended_minute.column(), Value::Int(0)),
        (exec_count::n.column(), Value::Int(1)),
    ]);
    let mut facts = Facts::default();
    facts.learn(&Questions::of(&sums), vec![Answer::List(vec![waiting])]);
    let [sums, look] = [sums, ask(&facts)].map(|mut queries| queries.remove(0));
    [sums, look]
}

/// Executions that wait, of two requirements, and as many that have ended.
async fn fill(bench: &Bench, count: i64) {
    let words = words(&bench.plain);
    let (random, rows) = (words.random, (words.series)(count));
    for (list, states) in [
        (
            words.no_list,
            "'runnable', 'unowned', 'eligible_now', 'waiting', 'pending_first_attempt'",
        ),
        (
            words.list_of_gpu,
            "'runnable', 'unowned', 'eligible_now', 'waiting', 'pending_first_attempt'",
        ),
        (words.no_list, "'terminal', 'unowned', 'not_applicable', 'completed', 'attempt_terminal'"),
    ] {
        let sql = format!(
            "INSERT INTO ff_exec_core (partition_key, execution_id, lane_id, \
             required_capabilities, created_at_ms, claimable_since_ms, priority, lifecycle_phase, \
             ownership_state, eligibility_state, public_state, attempt_state) \
             SELECT n % 256, {random}, '{LANE}', {list}, {START} - n, {START} - n, n % 2, {states} \
             FROM {rows}"
        );
        bench.plain.execute(&sql).await;
    }
}

async fn assert_counts(bench: &Bench, count: i64) {
    let stats = bench.backend.stats(StatsArgs::new()).await.unwrap();
    let count = u64::try_from(count).unwrap();
    assert_eq!(stats.in_state(PublicState::Waiting), 2 * count);
    assert_eq!(stats.in_state(PublicState::Completed), count);
    let oldest = stats.oldest_waiting[0].since.0;
    assert_eq!(u64::try_from(START - oldest).unwrap(), count, "the last one inserted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_counts_without_reading_executions() {
    let bench = backends::postgres().await;
    let PlainSql::Postgres(pool) = &bench.plain else { panic!("Postgres it is") };
    cold(&bench).await;
    fill(&bench, MANY).await;
    assert_counts(&bench, MANY).await;
    // One row for each statement.
    assert_eq!(bench.plain.rows("ff_exec_count").await.len(), 3);

    let [sums, look] = asked();
    let sums = ff_codegen::query(&Postgres, &sums.into_shape().0).unwrap();
    assert!(!sums.sql.contains("ff_exec_core"), "{}", sums.sql);
    let look = ff_codegen::query(&Postgres, &look.into_shape().0).unwrap();
    let mut connection = pool.acquire().await.unwrap();
    let plan = explain::postgres(&mut connection, &look.sql, look.binds.len()).await;
    drop(connection);
    assert!(plan.uses(CLAIM_INDEX) && !plan.scans_a_table, "{plan}");
    bench.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_counts_many_executions_as_fast_as_few() {
    let bench = backends::sqlite_file().await;
    let PlainSql::Sqlite(pool) = &bench.plain else { panic!("SQLite it is") };
    let statements = || -> Vec<(Statement, Bindings)> {
        let shapes = asked().map(Query::into_shape).into_iter();
        shapes
            .map(|(shape, values)| (ff_codegen::query(&Sqlite, &shape).unwrap(), values))
            .collect()
    };
    let taken = async || {
        let mut connection = pool.acquire().await.unwrap();
        let mut taken = 0;
        for asked in statements() {
            taken += instructions(&mut connection, &asked).await.0;
        }
        taken
    };

    fill(&bench, 10).await;
    let few = taken().await;
    fill(&bench, MANY).await;
    let many = taken().await;
    assert!(many <= few + few / 10, "{many} instructions beside many, {few} beside few");
    bench.plain.clear("ff_exec_core").await;
    fill(&bench, MANY).await;
    assert_counts(&bench, MANY).await;
    bench.tear_down().await;
}
