//! Inspects a database before it is opened: its tables, its migrations, and whether they fit. The
//! inspection changes no byte of the file, so a mistyped name does no harm.

use ff_codegen::adopt::PARTITION_COUNTS;
use ff_codegen::migrations::{Entry, SQLITE};
use ff_codegen::opening::{self, Admission, Inventory, Opening, REFERENCE_LEDGER, Refusal};
use ff_core::partition::PartitionConfig;
use sqlx::{Connection, SqliteConnection};

use crate::connect::Connections;
use crate::error::{OpenError, SqliteError};

const LIST_TABLES: &str = "SELECT name FROM sqlite_schema WHERE type = 'table' \
    AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name";

const READ_LEDGER: &str =
    "SELECT version, checksum, applied_at_ms IS NOT NULL FROM ff_schema_ledger ORDER BY version";

const READ_REFERENCE: &str = "SELECT coalesce(max(version), 0) FROM _sqlx_migrations";

/// Codes on which a reader cannot inspect the file: a killed process left changes that only a
/// writer can recover or roll back (`READONLY_RECOVERY`, `READONLY_CANTLOCK`, `READONLY_ROLLBACK`).
const NEEDS_A_WRITER: [i32; 3] = [264, 520, 776];

/// Decides whether the database may be opened and whether it lacks migrations.
pub(crate) async fn admit(
    connections: &Connections,
    opening: Opening,
) -> Result<Admission, SqliteError> {
    let Some(found) = look(connections).await? else {
        return match opening {
            Opening::Create => Ok(Admission::Migrate),
            Opening::Existing | Opening::Current => Err(no_file(connections).into()),
        };
    };

    let admitted =
        refuse_other_programs(&found).and_then(|()| opening::admit(SQLITE, &found, opening));
    admitted.map_err(|refusal| refused(connections, refusal).into())
}

/// Refuses a file of another program.
pub(crate) fn refuse_other_programs(found: &Inventory) -> Result<(), Refusal> {
    match found.foreign_table() {
        Some(table) => Err(Refusal::OtherProgram { table: table.to_owned() }),
        None => Ok(()),
    }
}

/// The database's contents; `None` if there is no file.
pub(crate) async fn look(connections: &Connections) -> Result<Option<Inventory>, SqliteError> {
    if let Some(path) = connections.file() {
        let found = path.try_exists();
        if !found.map_err(|source| OpenError::File { path: path.to_owned(), source })? {
            return Ok(None);
        }
    }

    match look_by(connections.read_only().await).await {
        Err(error) if error.has_code(&NEEDS_A_WRITER) => {
            let writing = connections.reader().await.map_err(SqliteError::read);
            look_by(writing).await.map(Some)
        }
        looked => looked.map(Some),
    }
}

async fn look_by(
    connected: Result<SqliteConnection, SqliteError>,
) -> Result<Inventory, SqliteError> {
    let mut connection = connected?;
    let found = inventory(&mut connection).await;
    // Nothing was written, so an error does not matter.
    let _ = connection.close().await;
    found.map_err(SqliteError::read)
}

/// The database's contents, on a connection.
pub(crate) async fn inventory(connection: &mut SqliteConnection) -> Result<Inventory, sqlx::Error> {
    let tables: Vec<String> = sqlx::query_scalar(LIST_TABLES).fetch_all(&mut *connection).await?;
    let has = |wanted: &str| tables.iter().any(|name| name == wanted);

    let mut found = Inventory::default();
    if has("ff_schema_ledger") {
        let rows: Vec<(u32, String, bool)> =
            sqlx::query_as(READ_LEDGER).fetch_all(&mut *connection).await?;
        for (version, checksum, finished) in rows {
            if finished {
                found.ledger.push(Entry { version, checksum });
            } else {
                found.unfinished.get_or_insert(version);
            }
        }
    }

    if has(REFERENCE_LEDGER) {
        let version: i64 = sqlx::query_scalar(READ_REFERENCE).fetch_one(connection).await?;
        found.reference = Some(u32::try_from(version).unwrap_or(u32::MAX));
    }

    Ok(Inventory { tables, ..found })
}

/// The number of partitions of each family of ids, as the database records it.
pub(crate) async fn partitions(
    connection: &mut SqliteConnection,
) -> Result<PartitionConfig, sqlx::Error> {
    let recorded: Option<(u16, u16, u16)> =
        sqlx::query_as(PARTITION_COUNTS).fetch_optional(connection).await?;
    let counts = recorded.map(|(flows, budgets, quotas)| PartitionConfig {
        num_flow_partitions: flows.max(1),
        num_budget_partitions: budgets.max(1),
        num_quota_partitions: quotas.max(1),
    });
    Ok(counts.unwrap_or_default())
}

/// The error for a missing file that must not be created.
pub(crate) fn no_file(connections: &Connections) -> OpenError {
    match connections.file() {
        Some(path) => OpenError::Missing { path: path.to_owned() },
        None => refused(connections, Refusal::Missing),
    }
}

/// The refusal with the location of the database.
pub(crate) fn refused(connections: &Connections, refusal: Refusal) -> OpenError {
    let place = connections.file().map_or_else(|| ":memory:".into(), ToOwned::to_owned);
    OpenError::Refused { place, refusal }
}
