//! Databases of older versions: they end with the schema of a new one, and keep their rows.

use std::collections::BTreeMap;

use ff_backend_sqlite::migrate::{MigrateOptions, describe, migrate};
use ff_codegen::history::{Description, difference};
use ff_codegen::migrations::SQLITE;
use ff_codegen::{Sqlite, ddl};
use sqlx::{AssertSqlSafe, SqliteConnection};

use crate::older::older;
use crate::{count, fresh, open, report, run, statements};

/// The tables and their indexes, word by word.
async fn described(connection: &mut SqliteConnection) -> BTreeMap<String, String> {
    let one_line = |sql: &str| sql.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut all = BTreeMap::new();
    for (name, table) in describe(connection).await.unwrap().tables {
        for object in &table.objects {
            all.insert(object.name.clone(), one_line(&object.sql));
        }
        let columns = format!("{:?}", table.columns);
        all.insert(format!("{name} columns"), columns);
        all.insert(name, table.words().join(" "));
    }
    all
}

/// A new schema, as the tables in core describe it.
async fn wanted() -> BTreeMap<String, String> {
    let (_directory, mut connection) = fresh().await;
    run_all(&mut connection, &ddl::statements(&Sqlite, None).unwrap()).await;
    described(&mut connection).await
}

async fn run_all<T: AsRef<str>>(connection: &mut SqliteConnection, statements: &[T]) {
    for sql in statements {
        let sql = AssertSqlSafe(sql.as_ref().to_owned());
        sqlx::raw_sql(sql).execute(&mut *connection).await.unwrap();
    }
}

/// Asserts that the schemas are equal, and shows only where they are not.
#[track_caller]
fn assert_same(mut found: BTreeMap<String, String>, mut wanted: BTreeMap<String, String>) {
    let both = found.clone();
    found.retain(|name, text| wanted.get(name) != Some(text));
    wanted.retain(|name, text| both.get(name) != Some(text));
    assert_eq!(found, wanted);
}

const ROWS: [&str; 4] = [
    "INSERT INTO ff_exec_core (partition_key, execution_id, lane_id, lifecycle_phase, \
     ownership_state, eligibility_state, public_state, attempt_state, created_at_ms, payload) \
     VALUES (3, x'01', 'main', 'terminal', 'unowned', 'not_applicable', 'failed', \
     'attempt_terminal', 7, x'ff00')",
    "INSERT INTO ff_attempt (partition_key, execution_id, attempt_index) VALUES (3, x'01', 0)",
    "INSERT INTO ff_operator_event (execution_id, event_type, occurred_at_ms, partition_key) \
     VALUES ('e', 'replayed', 5, 3), ('f', 'replayed', 6, 3)",
    "DELETE FROM ff_operator_event WHERE execution_id = 'f'",
];

async fn assert_rows(connection: &mut SqliteConnection) {
    let core = "SELECT count(*) FROM ff_exec_core JOIN ff_attempt USING (execution_id) \
                WHERE payload = x'ff00' AND created_at_ms = 7 AND has_waitpoints \
                AND NOT has_reservations \
                AND failure_class IS NULL";
    assert_eq!(count(connection, core).await, 1);
    // A number is not used again, even that of a row that is gone.
    run(connection, ROWS[2]).await;
    // The row that was there is counted, and so are those of any client from then on.
    let counted = "SELECT coalesce(sum(n), 0) FROM ff_exec_count WHERE public_state = 'failed'";
    assert_eq!(count(connection, counted).await, 1);
    run(connection, "UPDATE ff_exec_core SET public_state = 'skipped'").await;
    assert_eq!(count(connection, counted).await, 0);
    let numbers = "SELECT group_concat(event_id) = '1,3,4' FROM ff_operator_event";
    assert_eq!(count(connection, numbers).await, 1);
}

#[tokio::test]
async fn all_migrations_lead_to_the_tables_in_core() {
    let (_directory, mut connection) = fresh().await;
    migrate(&mut connection, &MigrateOptions::new()).await.unwrap();
    assert_same(described(&mut connection).await, wanted().await);
    let annotated = "SELECT count(*) FROM ff_migration_annotation";
    assert_eq!(usize::try_from(count(&mut connection, annotated).await).unwrap(), SQLITE.len());
}

#[tokio::test]
async fn a_database_of_the_first_version_is_upgraded_with_its_rows() {
    let (directory, mut connection) = fresh().await;
    run_all(&mut connection, &SQLITE[0].statements().collect::<Vec<_>>()).await;
    let ledger = "CREATE TABLE ff_schema_ledger (version integer PRIMARY KEY NOT NULL, \
                  name text NOT NULL, checksum text NOT NULL, detail text, applied_at_ms bigint)";
    run(&mut connection, ledger).await;
    sqlx::query("INSERT INTO ff_schema_ledger VALUES (1, ?1, ?2, NULL, 1)")
        .bind(SQLITE[0].name)
        .bind(SQLITE[0].checksum())
        .execute(&mut connection)
        .await
        .unwrap();
    run_all(&mut connection, &ROWS).await;

    // Killed after any statement of what is missing.
    let missing = &statements()[SQLITE[0].statements().count()..];
    for survived in 1..=missing.len() {
        let mut killed = open(directory.path()).await;
        run(&mut killed, "BEGIN IMMEDIATE").await;
        run_all(&mut killed, &missing[..survived]).await;
        drop(killed);
    }
    let dry = migrate(&mut connection, &MigrateOptions::new().dry_run()).await.unwrap();
    assert_eq!((dry.sql.len(), dry.already), (missing.len(), 1));

    let upgraded = migrate(&mut connection, &MigrateOptions::new()).await.unwrap();
    assert_eq!(upgraded, report(&SQLITE[1..], 1));
    assert_same(described(&mut connection).await, wanted().await);
    assert_rows(&mut connection).await;
}

#[tokio::test]
async fn what_is_written_for_a_change_leads_there_and_keeps_rows() {
    let (_directory, mut connection) = fresh().await;
    let (old, create) = older(&Sqlite);
    run_all(&mut connection, &create).await;
    run_all(&mut connection, &ROWS).await;

    let new = Description::current(&Sqlite).unwrap();
    let difference = difference(&Sqlite, &old, &new).unwrap();
    run(&mut connection, "BEGIN").await;
    run_all(&mut connection, &difference.statements).await;
    run(&mut connection, "COMMIT").await;

    assert_same(described(&mut connection).await, wanted().await);
    assert_rows(&mut connection).await;
}
