//! Runs an adoption: reads both catalogs, runs the steps, and writes the ledger last.

use std::collections::BTreeMap;

use ff_codegen::adopt::{
    self, AdoptError, AdoptStep, Catalog, FoundColumn, FoundTable, Keeping, REFERENCE_VERSION,
};
use ff_codegen::migrations::{self, LedgerError, POSTGRES};
use ff_codegen::{Postgres, ddl};
use ff_core::schema::TABLES;
use sqlx::postgres::PgConnection;
use sqlx::{PgPool, Postgres as Database, Transaction};

use super::inspect::Found;
use super::{
    FINISH_ENTRY, MigrateError, MigrateOptions, MigrateReport, begin, find, lock_and_bootstrap,
    run_text,
};

/// The condition on a table's row in the system catalog: the search path finds it, and this schema
/// has it.
macro_rules! ours {
    () => {
        "c.relname = ANY($1) AND c.relkind IN ('r', 'p') AND pg_table_is_visible(c.oid)"
    };
}

const COLUMNS: &str = concat!(
    "SELECT c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod) || \
        CASE WHEN a.attcollation <> t.typcollation \
        THEN ' COLLATE ' || quote_ident(l.collname) ELSE '' END, \
        NOT a.attnotnull, pg_get_expr(d.adbin, d.adrelid), a.attidentity <> '', \
        pg_get_serial_sequence(c.oid::regclass::text, a.attname::text) \
     FROM pg_class c \
     JOIN pg_attribute a ON a.attrelid = c.oid AND 0 < a.attnum AND NOT a.attisdropped \
     JOIN pg_type t ON t.oid = a.atttypid \
     LEFT JOIN pg_collation l ON l.oid = a.attcollation \
     LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum \
     WHERE ",
    ours!(),
    " ORDER BY 1, a.attnum"
);

const INDEXES: &str = concat!(
    "SELECT c.relname::text, i.relname::text, x.indisprimary, \
        CASE WHEN x.indisunique THEN 'UNIQUE ' ELSE '' END || \
        regexp_replace(pg_get_indexdef(x.indexrelid), '^.*? USING ', '') \
     FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid \
     JOIN pg_class i ON i.oid = x.indexrelid WHERE ",
    ours!(),
    " ORDER BY 1, 2"
);

const CHECKS: &str = concat!(
    "SELECT c.relname::text, k.conname::text, k.contype = 'p', pg_get_constraintdef(k.oid) \
     FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid \
     WHERE k.contype IN ('c', 'p') AND ",
    ours!(),
    " ORDER BY 1, 2"
);

const TRIGGERS: &str = concat!(
    "SELECT c.relname::text, g.tgname::text FROM pg_trigger g \
     JOIN pg_class c ON c.oid = g.tgrelid WHERE NOT g.tgisinternal AND ",
    ours!(),
    " ORDER BY 1, 2"
);

const STORAGE: &str = concat!(
    "SELECT c.relname::text, r.relname::text, coalesce(array_to_string(r.reloptions, ', '), '') \
     FROM pg_class c LEFT JOIN pg_inherits h ON h.inhparent = c.oid \
     JOIN pg_class r ON r.oid = coalesce(h.inhrelid, c.oid) AND r.relkind = 'r' WHERE ",
    ours!(),
    " ORDER BY 1, 2"
);

const PARTITIONS: &str = "SELECT count(*) FROM pg_inherits h \
    WHERE h.inhparent = to_regclass('ff_exec_core')";

/// Alters the tables to the current schema, whichever program made them.
pub(super) async fn run(
    connection: &mut PgConnection,
    options: &MigrateOptions,
) -> Result<MigrateReport, MigrateError> {
    let found = find(connection, options).await?;
    refuse(&found)?;
    let steps = plan(connection, options).await?;

    if options.dry_run {
        let sql = steps.into_iter().flat_map(|step| step.sql).collect();
        return Ok(MigrateReport { applied: Vec::new(), already: 0, sql });
    }

    let mut statements = options.budget;
    for step in steps {
        let mut transaction = begin(connection, options).await?;
        lock_and_bootstrap(&mut transaction, options).await?;
        for sql in step.sql {
            spend(&mut statements)?;
            run_text(&mut transaction, sql.into()).await?;
        }
        transaction.commit().await?;
    }

    spend(&mut statements)?;
    record(connection, options).await?;

    let applied = POSTGRES.iter().map(|migration| migration.name.to_owned()).collect();
    Ok(MigrateReport { applied, already: 0, sql: Vec::new() })
}

/// Refuses a database of a later release.
fn refuse(found: &Found) -> Result<(), MigrateError> {
    let inventory = found.inventory();
    match migrations::pending(POSTGRES, &inventory.ledger) {
        Err(newer @ LedgerError::Newer { .. }) => return Err(newer.into()),
        Err(LedgerError::Altered { .. } | LedgerError::Gap { .. }) | Ok(_) => {}
    }

    match inventory.reference.filter(|_| !inventory.has_ledger()) {
        Some(version) if REFERENCE_VERSION < version => {
            Err(AdoptError::ReferenceTooNew { found: version }.into())
        }
        Some(_) | None => Ok(()),
    }
}

/// Fails after this many statements; for tests.
fn spend(statements: &mut Option<usize>) -> Result<(), MigrateError> {
    match statements {
        Some(0) => Err(MigrateError::Database(sqlx::Error::WorkerCrashed)),
        Some(left) => {
            *left -= 1;
            Ok(())
        }
        None => Ok(()),
    }
}

async fn plan(
    connection: &mut PgConnection,
    options: &MigrateOptions,
) -> Result<Vec<AdoptStep>, MigrateError> {
    let mut transaction = begin(connection, options).await?;
    let found = catalog(&mut transaction).await?;

    // An empty database, in temporary tables that the rollback removes.
    run_text(&mut transaction, "SET LOCAL search_path TO pg_temp".into()).await?;
    for statement in ddl::without_counts(&Postgres, None)? {
        run_text(&mut transaction, statement.into()).await?;
    }
    let wanted = catalog(&mut transaction).await?;
    transaction.rollback().await?;

    let keeping = Keeping { triggers: options.keep_triggers };
    Ok(adopt::postgres_steps(&found, &wanted, keeping)?)
}

/// The tables of the schema, as the database describes them; for tests.
///
/// # Errors
/// [`MigrateError::Database`].
pub async fn describe(pool: &PgPool) -> Result<Catalog, MigrateError> {
    let mut transaction = pool.begin().await?;
    Ok(catalog(&mut transaction).await?)
}

async fn catalog(transaction: &mut Transaction<'_, Database>) -> Result<Catalog, sqlx::Error> {
    type Column = (String, String, String, bool, Option<String>, bool, Option<String>);
    let names: Vec<&str> = TABLES.iter().map(|table| table.name).collect();
    let mut tables: BTreeMap<String, FoundTable> = BTreeMap::new();

    let columns: Vec<Column> = sqlx::query_as(COLUMNS)
        .persistent(false)
        .bind(&names)
        .fetch_all(&mut **transaction)
        .await?;
    for (table, name, ty, nullable, default, identity, sequence) in columns {
        let column = FoundColumn { name, ty, nullable, default, identity, sequence };
        tables.entry(table).or_default().columns.push(column);
    }

    let indexes: Vec<(String, String, bool, String)> = sqlx::query_as(INDEXES)
        .persistent(false)
        .bind(&names)
        .fetch_all(&mut **transaction)
        .await?;
    for (table, name, primary, definition) in indexes {
        if !primary {
            tables.entry(table).or_default().indexes.insert(name, definition);
        }
    }

    let checks: Vec<(String, String, bool, String)> =
        sqlx::query_as(CHECKS).persistent(false).bind(&names).fetch_all(&mut **transaction).await?;
    for (table, name, primary, definition) in checks {
        let table = tables.entry(table).or_default();
        if primary {
            table.key = Some((name, definition));
        } else {
            table.checks.insert(name, definition);
        }
    }

    let storage: Vec<(String, String, String)> = sqlx::query_as(STORAGE)
        .persistent(false)
        .bind(&names)
        .fetch_all(&mut **transaction)
        .await?;
    for (table, holder, parameters) in storage {
        tables.entry(table).or_default().storage.insert(holder, parameters);
    }

    let triggers: Vec<(String, String)> = sqlx::query_as(TRIGGERS)
        .persistent(false)
        .bind(&names)
        .fetch_all(&mut **transaction)
        .await?;
    for (table, name) in triggers {
        tables.entry(table).or_default().triggers.push(name);
    }

    Ok(Catalog { tables })
}

/// Writes the ledger as if this binary had made the tables.
async fn record(
    connection: &mut PgConnection,
    options: &MigrateOptions,
) -> Result<(), MigrateError> {
    let mut transaction = begin(connection, options).await?;
    lock_and_bootstrap(&mut transaction, options).await?;
    let partitions: i64 =
        sqlx::query_scalar(PARTITIONS).persistent(false).fetch_one(&mut *transaction).await?;
    let detail = (partitions != 0).then(|| format!("partitions={partitions}"));

    run_text(&mut transaction, "DELETE FROM ff_schema_ledger".into()).await?;
    for migration in POSTGRES {
        sqlx::query(FINISH_ENTRY)
            .persistent(false)
            .bind(i64::from(migration.version))
            .bind(migration.name)
            .bind(migration.checksum())
            .bind(detail.clone())
            .execute(&mut *transaction)
            .await?;
    }

    transaction.commit().await?;
    Ok(())
}
