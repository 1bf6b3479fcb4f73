//! Runs an adoption: reads both catalogs, then runs all steps and the ledger in one transaction.

use ff_codegen::adopt::{
    self, AdoptError, AdoptStep, Catalog, FoundColumn, FoundTable, Object, REFERENCE_VERSION,
};
use ff_codegen::migrations::{self, LedgerError, SQLITE};
use ff_codegen::opening::Inventory;
use ff_codegen::{Sqlite, ddl};
use ff_core::schema::TABLES;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use crate::inspect;
use crate::migrate::{self, MigrateError, MigrateOptions, MigrateReport};

const TABLE_TEXT: &str = "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?1";

const OBJECTS: &str = "SELECT name, sql FROM sqlite_schema \
    WHERE type IN ('index', 'trigger') AND tbl_name = ?1 AND sql IS NOT NULL ORDER BY name";

const COLUMNS: &str =
    "SELECT name, type, \"notnull\" = 0, dflt_value FROM pragma_table_info(?1) ORDER BY cid";

/// Rebuilds the tables in the current schema, whichever program made them.
pub(crate) async fn run(
    connection: &mut SqliteConnection,
    options: &MigrateOptions,
) -> Result<MigrateReport, MigrateError> {
    if options.dry_run {
        let steps = plan(connection).await?;
        let sql = steps.into_iter().flat_map(|step| step.sql).collect();
        return Ok(MigrateReport { applied: Vec::new(), already: 0, sql });
    }

    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let steps = plan(&mut transaction).await?;

    let mut statements = options.budget;
    for sql in steps.into_iter().flat_map(|step| step.sql) {
        if let Some(left) = &mut statements {
            *left = left.checked_sub(1).ok_or(sqlx::Error::WorkerCrashed)?;
        }
        migrate::run_text(&mut transaction, sql).await?;
    }

    record(&mut transaction).await?;
    transaction.commit().await?;

    let applied = SQLITE.iter().map(|migration| migration.name.to_owned()).collect();
    Ok(MigrateReport { applied, already: 0, sql: Vec::new() })
}

/// Refuses a database of a later release.
fn refuse(found: &Inventory) -> Result<(), MigrateError> {
    match migrations::pending(SQLITE, &found.ledger) {
        Err(newer @ LedgerError::Newer { .. }) => return Err(newer.into()),
        Err(LedgerError::Altered { .. } | LedgerError::Gap { .. }) | Ok(_) => {}
    }

    match found.reference.filter(|_| !found.has_ledger()) {
        Some(version) if REFERENCE_VERSION < version => {
            Err(AdoptError::ReferenceTooNew { found: version }.into())
        }
        Some(_) | None => Ok(()),
    }
}

async fn plan(connection: &mut SqliteConnection) -> Result<Vec<AdoptStep>, MigrateError> {
    refuse(&inspect::inventory(connection).await?)?;
    let found = catalog(connection).await?;

    let mut empty = SqliteConnectOptions::new().in_memory(true).connect().await?;
    for statement in ddl::statements(&Sqlite, None).map_err(AdoptError::from)? {
        migrate::run_text(&mut empty, statement).await?;
    }
    let wanted = catalog(&mut empty).await?;
    empty.close().await?;

    Ok(adopt::sqlite_steps(&found, &wanted)?)
}

pub(crate) async fn catalog(connection: &mut SqliteConnection) -> Result<Catalog, sqlx::Error> {
    let mut catalog = Catalog::default();
    for table in TABLES {
        let sql: Option<String> = sqlx::query_scalar(TABLE_TEXT)
            .bind(table.name)
            .fetch_optional(&mut *connection)
            .await?;
        if sql.is_none() {
            continue;
        }

        let columns: Vec<(String, String, bool, Option<String>)> =
            sqlx::query_as(COLUMNS).bind(table.name).fetch_all(&mut *connection).await?;
        let column = |(name, ty, nullable, default)| FoundColumn {
            name,
            ty,
            nullable,
            default,
            identity: false,
            sequence: None,
        };

        let objects: Vec<(String, String)> =
            sqlx::query_as(OBJECTS).bind(table.name).fetch_all(&mut *connection).await?;

        let found = FoundTable {
            columns: columns.into_iter().map(column).collect(),
            sql,
            objects: objects.into_iter().map(|(name, sql)| Object { name, sql }).collect(),
            ..FoundTable::default()
        };
        catalog.tables.insert(table.name.to_owned(), found);
    }

    Ok(catalog)
}

/// Writes the ledger as if this binary had made the tables.
async fn record(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query(migrate::CREATE_LEDGER).execute(&mut *connection).await?;
    sqlx::query("DELETE FROM ff_schema_ledger").execute(&mut *connection).await?;
    for migration in SQLITE {
        migrate::write_ledger(connection, migration).await?;
    }
    Ok(())
}
