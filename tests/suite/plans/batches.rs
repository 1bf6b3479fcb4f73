//! A statement for many items costs each of them what it costs one: it looks up rows by key, and
//! never reads all items, or all that it has written, once for each item. It is planned so on
//! tables that are empty and were never analysed, and on tables that were analysed while they had a
//! few rows: a connection keeps its plan while they grow.

use std::collections::BTreeMap;

use ff_catalogue::{Call, samples};
use ff_codegen::Postgres;

use super::{cold, explain};
use crate::backends::{self, Bench, postgres_url};
use crate::plain::PlainSql;

/// The text of every plan that the catalogue samples, with its number of parameters.
fn statements() -> BTreeMap<String, usize> {
    let mut texts = BTreeMap::new();
    for sample in samples() {
        if let Call::Plan(plan) = &sample.call {
            let fused = ff_codegen::fused(&Postgres, &plan.shape()).unwrap();
            texts.insert(fused.sql, fused.params.len());
        }
    }
    assert!(texts.len() > 50, "{} statements are sampled", texts.len());
    texts
}

/// Nested loops whose inner side is a CTE, and tables that are read from end to end.
fn complaints(explained: &explain::Explained) -> Vec<String> {
    let text = explained.to_string();
    let depth = |line: &str| line.find(|letter: char| letter != ' ').unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let mut wrong = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        if line.contains("Seq Scan on ff_") {
            wrong.push(format!("a table is scanned: {line}"));
        }
        if line.contains("Nested Loop") {
            let below = lines[at + 1..].iter().take_while(|below| depth(line) < depth(below));
            let arrows: Vec<_> = below.filter(|below| below.contains("->")).collect();
            let nearest = arrows.iter().map(|arrow| depth(arrow)).min().unwrap_or_default();
            let inner = arrows.iter().rfind(|arrow| depth(arrow) == nearest);
            if inner.is_some_and(|inner| inner.contains("CTE Scan")) {
                wrong.push(format!("a CTE is read in a loop: {line}"));
            }
        }
    }
    wrong
}

/// Twenty executions with an attempt each, and statistics of them.
async fn fill_and_analyse(bench: &Bench) {
    for sql in [
        "INSERT INTO ff_exec_core (partition_key, execution_id, lane_id, lifecycle_phase, \
         ownership_state, eligibility_state, public_state, attempt_state, created_at_ms) \
         SELECT n, gen_random_uuid(), 'work', 'runnable', 'unowned', 'eligible_now', 'waiting', \
         'pending_first_attempt', n FROM generate_series(1, 20) AS n",
        "INSERT INTO ff_attempt (partition_key, execution_id, attempt_index, lease_epoch) \
         SELECT partition_key, execution_id, 0, 1 FROM ff_exec_core",
        "ANALYZE ff_exec_core",
        "ANALYZE ff_attempt",
    ] {
        bench.plain.execute(sql).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_for_many_items_reads_all_of_them_for_each() {
    let bench = backends::postgres_with(postgres_url(), |options| options.max_connections(2)).await;
    let PlainSql::Postgres(pool) = &bench.plain else { panic!("Postgres it is") };
    cold(&bench).await;
    let mut connection = pool.acquire().await.unwrap();
    // As the sessions of an engine.
    let settings = "SET enable_seqscan = off; SET enable_bitmapscan = off";
    sqlx::raw_sql(settings).execute(&mut *connection).await.unwrap();

    let mut wrong = Vec::new();
    for analysed in [false, true] {
        if analysed {
            fill_and_analyse(&bench).await;
        }
        for (sql, parameters) in statements() {
            let explained = explain::postgres(&mut connection, &sql, parameters).await;
            let found = complaints(&explained);
            if !found.is_empty() {
                wrong.push(format!("{}\n{sql}\n{explained}", found.join("\n")));
            }
        }
    }
    drop(connection);
    assert!(wrong.is_empty(), "{}: {}", wrong.len(), wrong.join("\n\n"));
    bench.tear_down().await;
}
