//! Databases of older versions: they end with the schema of a new one, and keep their rows.

use std::collections::{BTreeMap, BTreeSet};

use ff_backend_postgres::migrate::{admit, describe, migrate};
use ff_codegen::history::{Description, difference};
use ff_codegen::migrations::{self, POSTGRES};
use ff_codegen::opening::Opening;
use ff_codegen::{Postgres, ddl};
use sqlx::{AssertSqlSafe, PgPool};

use crate::older::older;
use crate::{Scratch, partitioned, report, statements, tables};

/// The tables as the server describes them.
async fn described(pool: &PgPool) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for (name, mut table) in describe(pool).await.unwrap().tables {
        for column in &mut table.columns {
            // Its name contains that of the schema.
            column.sequence = None;
            all.insert(format!("{name}.{}", column.name), format!("{column:?}"));
        }
        let rest = [&table.indexes, &table.checks].into_iter().flatten();
        all.extend(rest.map(|(object, sql)| (format!("{name} {object}"), sql.clone())));
        let storage: BTreeSet<_> = table.storage.into_values().collect();
        all.insert(format!("{name} storage"), format!("{storage:?}"));
        // The order of the others means nothing: an older database has another one.
        let first = table.columns.first().map(|column| column.name.as_str());
        all.insert(name, format!("{:?} {first:?}", table.key));
    }
    all
}

/// A new schema, as the tables in core describe it.
async fn wanted(test: &str) -> BTreeMap<String, String> {
    let scratch = Scratch::created(&format!("{test}_wanted")).await;
    scratch.run(&ddl::statements(&Postgres, None).unwrap().join("\n")).await;
    let wanted = described(&scratch.pool).await;
    scratch.drop().await;
    wanted
}

/// Asserts that the schemas are equal, and shows only where they are not.
#[track_caller]
fn assert_same(mut found: BTreeMap<String, String>, mut wanted: BTreeMap<String, String>) {
    let both = found.clone();
    found.retain(|name, text| wanted.get(name) != Some(text));
    wanted.retain(|name, text| both.get(name) != Some(text));
    assert_eq!(found, wanted);
}

const ROWS: &str = "\
    INSERT INTO ff_exec_core (partition_key, execution_id, lane_id, lifecycle_phase, \
        ownership_state, eligibility_state, public_state, attempt_state, created_at_ms, payload) \
        SELECT n, gen_random_uuid(), 'main', 'terminal', 'unowned', 'not_applicable', 'failed', \
        'attempt_terminal', 7, '\\xff00' FROM generate_series(1, 9) n; \
    INSERT INTO ff_attempt (partition_key, execution_id, attempt_index) \
        SELECT partition_key, execution_id, 0 FROM ff_exec_core; \
    INSERT INTO ff_operator_event (execution_id, event_type, occurred_at_ms, partition_key) \
        VALUES ('e', 'replayed', 5, 3);";

async fn assert_rows(scratch: &Scratch) {
    let core = "SELECT count(*) FROM ff_exec_core JOIN ff_attempt USING (execution_id) \
                WHERE payload = '\\xff00' AND created_at_ms = 7 AND has_waitpoints \
                AND NOT has_reservations \
                AND failure_class IS NULL AND $1::text IS NOT NULL";
    assert_eq!(scratch.count(core).await, 9);
    let events = "SELECT count(*) FROM ff_operator_event \
                  WHERE event_type = 'replayed' AND $1::text IS NOT NULL";
    assert_eq!(scratch.count(events).await, 1);
    // The rows that were there are counted, and so are those of any client from then on.
    let counted = "SELECT coalesce(sum(n), 0)::bigint FROM ff_exec_count WHERE lane_id = 'main' \
                   AND public_state = 'failed' AND $1::text IS NOT NULL";
    assert_eq!(scratch.count(counted).await, 9);
    for (change, left) in [
        ("UPDATE ff_exec_core SET lane_id = 'other' WHERE partition_key < 3", 7),
        ("DELETE FROM ff_exec_core WHERE partition_key < 5", 5),
        ("UPDATE ff_exec_core SET lane_id = 'main'", 5),
    ] {
        // With another search path than that of the migration.
        let table = format!("{}.ff_exec_core", scratch.schema.as_str());
        let change = change.replace("ff_exec_core", &table);
        let elsewhere = "BEGIN; SET LOCAL search_path TO pg_catalog";
        scratch.run(&format!("{elsewhere}; {change}; COMMIT")).await;
        assert_eq!(scratch.count(counted).await, left, "{change}");
    }
    scratch.run("TRUNCATE ff_exec_core").await;
    assert_eq!(scratch.count(counted).await, 0);
}

impl Scratch {
    /// An empty schema.
    async fn created(test: &str) -> Self {
        let scratch = Self::new(test).await;
        scratch.run(&format!("CREATE SCHEMA {}", scratch.schema.as_str())).await;
        scratch
    }

    /// A schema at the first migration, with rows.
    async fn at_the_first_version(test: &str, partitions: Option<u16>) -> Self {
        let scratch = Self::created(test).await;
        let first = POSTGRES[0].statements();
        let (sql, detail) = match partitions {
            None => (first.map(str::to_owned).collect(), None),
            Some(count) => {
                (migrations::partitioned(first, count), Some(format!("partitions={count}")))
            }
        };
        scratch.run(&sql.join("\n")).await;
        scratch
            .run(
                "CREATE TABLE ff_schema_ledger (version integer PRIMARY KEY, name text NOT NULL, \
                 checksum text NOT NULL, detail text, applied_at_ms bigint)",
            )
            .await;
        sqlx::query("INSERT INTO ff_schema_ledger VALUES (1, $1, $2, $3, 1)")
            .bind(POSTGRES[0].name)
            .bind(POSTGRES[0].checksum())
            .bind(detail)
            .execute(&scratch.pool)
            .await
            .unwrap();
        scratch.run(ROWS).await;
        scratch
    }
}

#[tokio::test]
async fn all_migrations_lead_to_the_tables_in_core() {
    for partitions in [None, Some(2)] {
        let test = format!("all_{}", partitions.unwrap_or(0));
        let scratch = Scratch::new(&test).await;
        let options = match partitions {
            Some(count) => scratch.options().partitions(count).unwrap(),
            None => scratch.options(),
        };
        migrate(&scratch.pool, &options).await.unwrap();
        assert_same(described(&scratch.pool).await, wanted(&test).await);
        let annotated = "SELECT count(*) FROM ff_migration_annotation WHERE $1::text IS NOT NULL";
        let annotated = scratch.count(annotated).await;
        assert_eq!(usize::try_from(annotated).unwrap(), POSTGRES.len());
        scratch.drop().await;
    }
}

#[tokio::test]
async fn a_database_of_the_first_version_is_upgraded_with_its_rows() {
    let scratch = Scratch::at_the_first_version("first", None).await;
    let older = admit(&scratch.pool, &scratch.options(), Opening::Current).await.unwrap_err();
    assert!(older.to_string().contains("is at migration 1"), "{older}");

    // Killed after any statement of what is missing.
    let missing = &statements()[POSTGRES[0].statements().count()..];
    for survived in 1..=missing.len() {
        let mut killed = scratch.pool.acquire().await.unwrap().detach();
        let text = format!("BEGIN; {}", missing[..survived].join("\n"));
        sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut killed).await.unwrap();
        drop(killed);
    }
    let dry = migrate(&scratch.pool, &scratch.options().dry_run()).await.unwrap();
    assert_eq!((dry.sql.len(), dry.already), (missing.len(), 1));

    assert_eq!(scratch.migrate().await.unwrap(), report(&POSTGRES[1..], 1));
    assert_same(described(&scratch.pool).await, wanted("first").await);
    assert_rows(&scratch).await;
    scratch.drop().await;
}

#[tokio::test]
async fn a_partitioned_database_is_upgraded_statement_by_statement() {
    let scratch = Scratch::at_the_first_version("split", Some(3)).await;
    // The process was killed between two statements of the second migration.
    scratch.run(POSTGRES[1].statements().next().unwrap()).await;
    sqlx::query("INSERT INTO ff_schema_ledger VALUES (2, $1, $2, NULL, NULL)")
        .bind(POSTGRES[1].name)
        .bind(POSTGRES[1].checksum())
        .execute(&scratch.pool)
        .await
        .unwrap();
    let begun = admit(&scratch.pool, &scratch.options(), Opening::Current).await.unwrap_err();
    assert!(begun.to_string().contains("migration 2 was begun"), "{begun}");

    // The number of partitions is that of the database, without an option.
    assert_eq!(scratch.migrate().await.unwrap(), report(&POSTGRES[1..], 1));
    assert_eq!(scratch.relations().await, tables() + 1 + 3 * partitioned());
    assert_same(described(&scratch.pool).await, wanted("split").await);
    assert_rows(&scratch).await;
    scratch.drop().await;
}

#[tokio::test]
async fn what_is_written_for_a_change_leads_there_and_keeps_rows() {
    let (old, create) = older(&Postgres);
    let new = Description::current(&Postgres).unwrap();
    let difference = difference(&Postgres, &old, &new).unwrap().statements;

    for partitions in [None, Some(3)] {
        let test = format!("older_{}", partitions.unwrap_or(0));
        let scratch = Scratch::created(&test).await;
        let split = |statements: &[String]| match partitions {
            Some(count) => migrations::partitioned(statements.iter().map(String::as_str), count),
            None => statements.to_vec(),
        };
        scratch.run(&split(&create).join("\n")).await;
        scratch.run(ROWS).await;

        // Every statement may be repeated.
        for statement in split(&difference) {
            scratch.run(&statement).await;
            scratch.run(&statement).await;
        }
        assert_same(described(&scratch.pool).await, wanted(&test).await);
        assert_rows(&scratch).await;
        let split = if partitions.is_some() { 3 * partitioned() } else { 0 };
        assert_eq!(scratch.relations().await, tables() + split);
        scratch.drop().await;
    }
}
