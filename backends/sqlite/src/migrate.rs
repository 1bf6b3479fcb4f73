//! Brings a database file to the schema of this binary.
//!
//! [`ff_codegen::migrations`] carries the migrations, which are generated files. A ledger in the
//! database records those that were applied. Many processes may start at once: each migration runs
//! in one `BEGIN IMMEDIATE` transaction, which reads the ledger first and writes to it last. So one
//! process applies it, the others wait and find nothing to do, and a kill leaves no half of it.

use ff_codegen::adopt::{AdoptError, Catalog};
use ff_codegen::migrations::{self, LedgerError, Migration, SQLITE};
use ff_codegen::opening::{self, Inventory, Opening, Refusal};
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

use crate::adopt;
use crate::connect::{self, SqliteOptions};
use crate::error::SqliteError;
use crate::inspect;

/// The options of a migration or an adoption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrateOptions {
    /// True to report the statements only and write nothing.
    pub dry_run: bool,
    adopt: bool,
    /// The number of statements after which an adoption fails; for tests.
    pub(crate) budget: Option<usize>,
}

impl MigrateOptions {
    /// Applies the missing migrations.
    #[must_use]
    pub const fn new() -> Self {
        Self { dry_run: false, adopt: false, budget: None }
    }

    /// Adopts tables of the reference, or of a version of this project from before its first
    /// release: rebuilds them in the current schema, in one transaction.
    #[must_use]
    pub const fn adopt(mut self) -> Self {
        self.adopt = true;
        self
    }

    /// Makes an adoption fail after this many statements.
    #[doc(hidden)]
    #[must_use]
    pub const fn fail_after(mut self, statements: usize) -> Self {
        self.budget = Some(statements);
        self
    }

    /// Only reports the statements; writes nothing.
    #[must_use]
    pub const fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }
}

impl Default for MigrateOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// The result of a migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrateReport {
    /// The names of the migrations that this call applied, in order.
    pub applied: Vec<String>,
    /// The number of migrations that the database had, or received from another process meanwhile.
    pub already: usize,
    /// The statements that a dry run would have run, in order; empty otherwise.
    pub sql: Vec<String>,
}

/// The reason that a database was not migrated.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The database was migrated by a binary that this one does not fit.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The database has tables of another origin.
    #[error("{0}")]
    Refused(Refusal),
    /// The tables cannot be adopted.
    #[error(transparent)]
    Adopt(#[from] AdoptError),
    /// SQLite refused a statement or was not reachable.
    #[error("migrating the database: {0}")]
    Database(#[from] sqlx::Error),
}

pub(crate) const CREATE_LEDGER: &str = "CREATE TABLE IF NOT EXISTS ff_schema_ledger (\
    version integer PRIMARY KEY NOT NULL, name text NOT NULL, checksum text NOT NULL, \
    detail text, applied_at_ms bigint)";

const WRITE_LEDGER: &str = "INSERT INTO ff_schema_ledger (version, name, checksum, applied_at_ms) \
    VALUES (?1, ?2, ?3, CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER))";

/// Applies every migration that the database lacks.
///
/// Waits for other writers up to the connection's busy timeout. When there is nothing to do, or on
/// a dry run, nothing is written, not even the ledger.
///
/// # Errors
/// [`MigrateError::Ledger`] where the database does not fit this binary; it is left unchanged.
/// [`MigrateError::Database`] where SQLite fails; finished migrations stay, and the failed one is
/// rolled back.
pub async fn migrate(
    connection: &mut SqliteConnection,
    options: &MigrateOptions,
) -> Result<MigrateReport, MigrateError> {
    let found = inspect::inventory(connection).await?;
    if options.adopt && opening::needs_adoption(SQLITE, &found) {
        return adopt::run(connection, options).await;
    }
    let pending = pending(&found)?;

    if options.dry_run {
        let sql = pending.iter().flat_map(Migration::statements).map(str::to_owned).collect();
        return Ok(MigrateReport { applied: Vec::new(), already: found.ledger.len(), sql });
    }

    let mut applied = Vec::new();
    if !pending.is_empty() {
        while let Some(name) = apply_next(connection).await? {
            applied.push(name.to_owned());
        }
    }
    Ok(MigrateReport { already: SQLITE.len() - applied.len(), applied, sql: Vec::new() })
}

/// Like [`migrate`], for the database at `place`. A dry run creates no file.
///
/// # Errors
/// As [`migrate`]; a location that names no database, a missing directory.
pub async fn migrate_at(
    place: &SqliteOptions,
    options: &MigrateOptions,
) -> Result<MigrateReport, SqliteError> {
    let place = place.resolve()?;
    let found = inspect::look(&place).await?;
    let known = found.as_ref().map_or(Ok(()), inspect::refuse_other_programs);
    known.map_err(|refusal| inspect::refused(&place, refusal))?;

    if found.is_none() && place.opening() != Opening::Create {
        return Err(inspect::no_file(&place).into());
    }

    let mut connection = if options.dry_run {
        let Some(found) = found else {
            let sql = SQLITE.iter().flat_map(Migration::statements).map(str::to_owned).collect();
            return Ok(MigrateReport { applied: Vec::new(), already: 0, sql });
        };
        drop(found);
        place.read_only().await?
    } else {
        if place.opening() == Opening::Create {
            place.create_file()?;
        }
        place.writer().await?
    };

    let report = migrate(&mut connection, options).await;
    connect::close(connection).await;
    Ok(report?)
}

/// The tables of a database, as the database describes them; for tests.
///
/// # Errors
/// [`MigrateError::Database`].
#[doc(hidden)]
pub async fn describe(connection: &mut SqliteConnection) -> Result<Catalog, MigrateError> {
    Ok(adopt::catalog(connection).await?)
}

/// The missing migrations.
fn pending(found: &Inventory) -> Result<&'static [Migration], MigrateError> {
    if let Some(refusal) = opening::adoption_refusal(found) {
        return Err(MigrateError::Refused(refusal));
    }
    Ok(migrations::pending(SQLITE, &found.ledger)?)
}

/// Applies the first missing migration and returns its name; `None` if none is missing.
async fn apply_next(
    connection: &mut SqliteConnection,
) -> Result<Option<&'static str>, MigrateError> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let found = inspect::inventory(&mut transaction).await?;
    let Some(next) = pending(&found)?.first() else {
        transaction.rollback().await?;
        return Ok(None);
    };

    sqlx::query(CREATE_LEDGER).execute(&mut *transaction).await?;
    for statement in next.statements() {
        sqlx::query(statement).persistent(false).execute(&mut *transaction).await?;
    }

    write_ledger(&mut transaction, next).await?;
    transaction.commit().await?;
    Ok(Some(next.name))
}

/// Records a finished migration.
pub(crate) async fn write_ledger(
    connection: &mut SqliteConnection,
    migration: &Migration,
) -> Result<(), sqlx::Error> {
    sqlx::query(WRITE_LEDGER)
        .bind(migration.version)
        .bind(migration.name)
        .bind(migration.checksum())
        .execute(connection)
        .await?;
    Ok(())
}

/// Runs one statement of an adoption. It is generated from the schema and from texts that the
/// database itself holds.
pub(crate) async fn run_text(
    connection: &mut SqliteConnection,
    sql: String,
) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await?;
    Ok(())
}
