//! Migrating real SQLite files: once, twice, at once, after a kill, from older versions, and with a
//! ledger that does not fit.

#[path = "../../../../codegen/tests/older/mod.rs"]
mod older;
mod upgrade;

use std::path::Path;

use ff_backend_sqlite::migrate::{MigrateError, MigrateOptions, MigrateReport, migrate};
use ff_codegen::migrations::{LedgerError, Migration, SQLITE};
use ff_core::schema::{TABLES, VERSION};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, SqliteConnection};
use tempfile::TempDir;

async fn open(directory: &Path) -> SqliteConnection {
    let file = directory.join("flow.db");
    let options = SqliteConnectOptions::new().filename(file).create_if_missing(true);
    SqliteConnection::connect_with(&options).await.unwrap()
}

async fn fresh() -> (TempDir, SqliteConnection) {
    let directory = tempfile::tempdir().unwrap();
    let connection = open(directory.path()).await;
    (directory, connection)
}

fn report(applied: &[Migration], already: usize) -> MigrateReport {
    let applied = applied.iter().map(|migration| migration.name.to_owned()).collect();
    MigrateReport { applied, already, sql: Vec::new() }
}

/// The statements of all migrations.
fn statements() -> Vec<&'static str> {
    SQLITE.iter().flat_map(Migration::statements).collect()
}

async fn run(connection: &mut SqliteConnection, sql: &'static str) {
    sqlx::query(sql).execute(connection).await.unwrap();
}

async fn count(connection: &mut SqliteConnection, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(connection).await.unwrap()
}

async fn assert_schema(connection: &mut SqliteConnection) {
    for table in TABLES {
        let columns: Vec<String> =
            sqlx::query_scalar("SELECT name FROM pragma_table_info(?1) ORDER BY cid")
                .bind(table.name)
                .fetch_all(&mut *connection)
                .await
                .unwrap();
        let expected: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
        assert_eq!(columns, expected, "{}", table.name);
    }
    let tables = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name LIKE 'ff\\_%' \
                  ESCAPE '\\' AND name <> 'ff_schema_ledger'";
    assert_eq!(count(connection, tables).await, i64::try_from(TABLES.len()).unwrap());
    let seeds: (i64, i64, i64, String) = sqlx::query_as(
        "SELECT num_flow_partitions, num_budget_partitions, num_quota_partitions, ff_version \
         FROM ff_partition_config",
    )
    .fetch_one(&mut *connection)
    .await
    .unwrap();
    assert_eq!(seeds, (256, 32, 32, "0.1.0".to_owned()));
    let skew = "SELECT abs(applied_at_ms - unixepoch() * 1000) < 600000 \
                FROM ff_migration_annotation WHERE version = 1";
    assert_eq!(count(connection, skew).await, 1);
}

#[tokio::test]
async fn a_fresh_file_gets_the_whole_schema_and_a_second_run_nothing() {
    let (_directory, mut connection) = fresh().await;
    let options = MigrateOptions::new();
    let first = migrate(&mut connection, &options).await.unwrap();
    assert_eq!(first, report(SQLITE, 0));
    assert_schema(&mut connection).await;
    let before = count(&mut connection, "PRAGMA data_version").await;
    let second = migrate(&mut connection, &options).await.unwrap();
    assert_eq!(second, report(&[], SQLITE.len()));
    assert_eq!(count(&mut connection, "PRAGMA data_version").await, before);
}

#[tokio::test]
async fn a_dry_run_reports_and_writes_nothing() {
    let (_directory, mut connection) = fresh().await;
    let dry = migrate(&mut connection, &MigrateOptions::new().dry_run()).await.unwrap();
    assert_eq!(dry.applied, Vec::<String>::new());
    assert_eq!(dry.sql, statements());
    assert_eq!(count(&mut connection, "SELECT count(*) FROM sqlite_schema").await, 0);
    migrate(&mut connection, &MigrateOptions::new()).await.unwrap();
    let dry = migrate(&mut connection, &MigrateOptions::new().dry_run()).await.unwrap();
    assert_eq!(dry, report(&[], SQLITE.len()));
}

#[tokio::test]
async fn a_ledger_that_does_not_fit_is_refused() {
    let (_directory, mut connection) = fresh().await;
    let options = MigrateOptions::new();
    migrate(&mut connection, &options).await.unwrap();

    let next = VERSION + 1;
    let insert = sqlx::query("INSERT INTO ff_schema_ledger VALUES (?1, 'x', 'c', NULL, 1)");
    insert.bind(next).execute(&mut connection).await.unwrap();
    let newer = migrate(&mut connection, &options).await;
    let Err(MigrateError::Ledger(LedgerError::Newer { found, known })) = newer else {
        panic!("{newer:?}");
    };
    assert_eq!(found, next);
    assert_eq!(usize::try_from(known).unwrap(), SQLITE.len());

    let delete = sqlx::query("DELETE FROM ff_schema_ledger WHERE version = ?1");
    delete.bind(next).execute(&mut connection).await.unwrap();
    run(&mut connection, "UPDATE ff_schema_ledger SET checksum = 'other'").await;
    let altered = migrate(&mut connection, &options).await;
    assert!(matches!(altered, Err(MigrateError::Ledger(LedgerError::Altered { version: 1, .. }))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_that_start_at_once_one_applies() {
    let directory = tempfile::tempdir().unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let path = directory.path().to_owned();
            tokio::spawn(async move {
                let mut connection = open(&path).await;
                migrate(&mut connection, &MigrateOptions::new()).await.unwrap()
            })
        })
        .collect();
    let mut applied = 0;
    for task in tasks {
        applied += task.await.unwrap().applied.len();
    }
    assert_eq!(applied, SQLITE.len());
    assert_schema(&mut open(directory.path()).await).await;
}

#[tokio::test]
async fn a_kill_at_any_statement_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let statements = statements();
    for survived in [1, statements.len() / 2, statements.len()] {
        let mut killed = open(directory.path()).await;
        run(&mut killed, "BEGIN IMMEDIATE").await;
        for statement in statements.iter().take(survived) {
            run(&mut killed, statement).await;
        }
        drop(killed);
    }
    let mut connection = open(directory.path()).await;
    let after = migrate(&mut connection, &MigrateOptions::new()).await.unwrap();
    assert_eq!(after, report(SQLITE, 0));
    assert_schema(&mut connection).await;
}

#[tokio::test]
async fn rows_are_numbered_and_checked_by_the_database() {
    let (_directory, mut connection) = fresh().await;
    migrate(&mut connection, &MigrateOptions::new()).await.unwrap();
    for _ in 0..2 {
        run(
            &mut connection,
            "INSERT INTO ff_operator_event (execution_id, event_type, occurred_at_ms, \
             partition_key) VALUES ('e', 'replayed', 1, 0)",
        )
        .await;
    }
    assert_eq!(count(&mut connection, "SELECT max(event_id) FROM ff_operator_event").await, 2);
    for refused in [
        "UPDATE ff_operator_event SET event_type = 'unheard-of'",
        "UPDATE ff_partition_config SET singleton_lock = 0",
        "INSERT INTO ff_operator_event (event_id, execution_id, event_type, occurred_at_ms, \
         partition_key) VALUES (2, 'e', 'replayed', 1, 1)",
    ] {
        sqlx::query(refused).execute(&mut connection).await.unwrap_err();
    }
}
