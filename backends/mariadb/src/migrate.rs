//! Brings a database to the tables of this binary.
//!
//! MariaDB commits with every statement that creates or alters a table. So a migration notes first
//! that it has begun, each of its statements may be repeated, and a run after a kill begins the
//! migration again. A lock of the server lets one process migrate at a time.

use ff_codegen::migrations::{self, Entry, LedgerError, MARIADB, Migration};
use ff_codegen::opening::{self, Inventory, REFERENCE_LEDGER, Refusal};
use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::{Connection as _, Row as _, query, query_scalar, raw_sql};

use crate::connect::MariaDbOptions;
use crate::error::MariaDbError;

/// The time to wait for another process that migrates, in seconds.
const PATIENCE_S: i64 = 60;

/// The oldest version that the tests run on.
const OLDEST: (u32, u32) = (10, 11);

const CREATE_LEDGER: &str = "CREATE TABLE IF NOT EXISTS ff_schema_ledger (\
    version int PRIMARY KEY, name varchar(200) NOT NULL, checksum varchar(64) NOT NULL, \
    detail text, applied_at_ms bigint)";

const BEGIN_ENTRY: &str = "INSERT INTO ff_schema_ledger (version, name, checksum) \
    VALUES (?, ?, ?) ON DUPLICATE KEY UPDATE version = version";

const FINISH_ENTRY: &str = "UPDATE ff_schema_ledger SET applied_at_ms = \
    TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', UTC_TIMESTAMP(3)) DIV 1000 \
    WHERE version = ?";

const TABLES: &str = "SELECT table_name FROM information_schema.tables \
    WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE'";

const LOCK: &str = "SELECT GET_LOCK(CONCAT('ff_', MD5(DATABASE())), ?)";
const UNLOCK: &str = "SELECT RELEASE_LOCK(CONCAT('ff_', MD5(DATABASE())))";

/// The reason that a database was not migrated.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The database was migrated by a binary that this one does not fit.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The database has tables of another origin, or lacks tables where it should have them.
    #[error("{0}")]
    Refused(Refusal),
    /// The server is another one, or older than any that the tests run on.
    #[error("the server is {0}: MariaDB {oldest}.{minor} or later is needed", oldest = OLDEST.0, minor = OLDEST.1)]
    TooOld(String),
    /// Another process has migrated for a minute.
    #[error("another process migrates the database")]
    Busy,
    /// MariaDB refused a statement or was not reachable.
    #[error("migrating the database: {0}")]
    Database(#[from] sqlx::Error),
}

/// The result of a migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrateReport {
    /// The names of the migrations that this call completed, in order.
    pub applied: Vec<String>,
    /// The number of migrations that the database had.
    pub already: usize,
    /// The statements that a dry run would have run, in order; empty otherwise.
    pub sql: Vec<String>,
}

/// Applies every migration that the database lacks, or lists their statements.
///
/// # Errors
/// Those of connecting, and those of [`migrate`].
pub async fn migrate_at(
    place: &MariaDbOptions,
    dry_run: bool,
) -> Result<MigrateReport, MariaDbError> {
    let mut connection = place.parse()?.connect().await?;
    check_version(&mut connection).await?;
    let found = inventory(&mut connection).await.map_err(MariaDbError::read)?;
    let pending = pending(&found)?;
    let mut report = MigrateReport { applied: vec![], already: found.ledger.len(), sql: vec![] };

    if dry_run {
        let sql = pending.iter().flat_map(Migration::statements);
        report.sql.extend(sql.map(str::to_owned));
    } else if !pending.is_empty() {
        report.applied.extend(migrate(&mut connection).await?.iter().map(|&name| name.to_owned()));
    }
    // What was migrated stays so, however the connection closes.
    let _ = connection.close().await;
    Ok(report)
}

/// Applies every migration that the database lacks, and returns their names.
///
/// # Errors
/// [`MigrateError::Ledger`] and [`MigrateError::Refused`] where the database does not fit this
/// binary; it is left unchanged. [`MigrateError::Database`] where MariaDB fails.
pub async fn migrate(connection: &mut MySqlConnection) -> Result<Vec<&'static str>, MigrateError> {
    check_version(connection).await?;
    let locked: Option<i64> =
        query_scalar(LOCK).bind(PATIENCE_S).fetch_one(&mut *connection).await?;
    if locked != Some(1) {
        return Err(MigrateError::Busy);
    }

    let applied = apply_missing(connection).await;
    // The lock ends with the connection at the latest.
    let _ = query(UNLOCK).execute(connection).await;
    applied
}

async fn apply_missing(
    connection: &mut MySqlConnection,
) -> Result<Vec<&'static str>, MigrateError> {
    let mut applied = Vec::new();
    for missing in pending(&inventory(connection).await?)? {
        apply(connection, missing).await?;
        applied.push(missing.name);
    }
    Ok(applied)
}

/// The missing migrations.
fn pending(found: &Inventory) -> Result<&'static [Migration], MigrateError> {
    if let Some(refusal) = opening::adoption_refusal(found) {
        return Err(MigrateError::Refused(refusal));
    }
    Ok(migrations::pending(MARIADB, &found.ledger)?)
}

async fn apply(connection: &mut MySqlConnection, missing: &Migration) -> Result<(), MigrateError> {
    raw_sql(CREATE_LEDGER).execute(&mut *connection).await?;
    let begin = query(BEGIN_ENTRY).bind(missing.version).bind(missing.name);
    begin.bind(missing.checksum()).execute(&mut *connection).await?;

    for statement in missing.statements() {
        raw_sql(statement).execute(&mut *connection).await?;
    }
    query(FINISH_ENTRY).bind(missing.version).execute(connection).await?;
    Ok(())
}

/// The contents of a database, as far as an opening depends on them.
pub(crate) async fn inventory(connection: &mut MySqlConnection) -> Result<Inventory, sqlx::Error> {
    let text = |row: &MySqlRow, index: usize| row.try_get_unchecked::<String, _>(index);
    let tables = query(TABLES).fetch_all(&mut *connection).await?;
    let tables: Vec<String> = tables.iter().map(|row| text(row, 0)).collect::<Result<_, _>>()?;
    let has = |name: &str| tables.iter().any(|table| table == name);
    let mut found = Inventory { tables: tables.clone(), ..Inventory::default() };

    if has("ff_schema_ledger") {
        let sql = "SELECT version, checksum, applied_at_ms IS NULL FROM ff_schema_ledger \
                   ORDER BY version";
        for row in query(sql).fetch_all(&mut *connection).await? {
            let version = u32::try_from(row.try_get_unchecked::<i64, _>(0)?).unwrap_or(u32::MAX);
            if row.try_get_unchecked::<i64, _>(2)? == 0 {
                found.ledger.push(Entry { version, checksum: text(&row, 1)? });
            } else {
                found.unfinished = Some(version);
            }
        }
    }
    if has(REFERENCE_LEDGER) {
        found.reference = Some(0);
    }
    Ok(found)
}

/// Refuses a server that lacks features that the statements use.
pub(crate) async fn check_version(connection: &mut MySqlConnection) -> Result<(), MigrateError> {
    let found: String = query_scalar("SELECT VERSION()").fetch_one(connection).await?;
    let mut numbers = found.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < OLDEST || !found.contains("MariaDB") {
        return Err(MigrateError::TooOld(found));
    }
    Ok(())
}
