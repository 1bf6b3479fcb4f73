//! Lists the tables of this schema in a database, and its migrations.

use ff_codegen::Postgres;
use ff_codegen::migrations::Entry;
use ff_codegen::opening::{Inventory, REFERENCE_LEDGER};
use ff_core::schema::TABLES;
use sqlx::{Postgres as Database, Transaction};

use super::MigrateError;

/// The tables that the search path finds. Tables of other programs are ignored, since a schema may
/// be shared.
const LIST_TABLES: &str = "SELECT relname::text FROM pg_class \
    WHERE relkind IN ('r', 'p') AND relname = ANY($1) AND pg_table_is_visible(oid) ORDER BY 1";

const READ_LEDGER: &str = "SELECT version::bigint, checksum, detail, applied_at_ms IS NOT NULL \
    FROM ff_schema_ledger ORDER BY version";

const READ_REFERENCE: &str = "SELECT coalesce(max(version), 0)::bigint FROM _sqlx_migrations";

/// The name of this project's ledger.
const LEDGER: &str = "ff_schema_ledger";

/// One row of the ledger.
pub(super) struct Recorded {
    pub(super) entry: Entry,
    /// The number of partitions of the tables.
    pub(super) partitions: Option<u16>,
    /// False while a migration of several transactions is under way, or after it was killed.
    pub(super) finished: bool,
}

/// The contents of a schema.
pub(super) struct Found {
    pub(super) recorded: Vec<Recorded>,
    reference: Option<u32>,
    tables: Vec<String>,
}

impl Found {
    /// The contents as the decision on an opening needs them.
    pub(super) fn inventory(&self) -> Inventory {
        let finished = self.recorded.iter().filter(|row| row.finished);
        let unfinished = self.recorded.iter().find(|row| !row.finished);
        Inventory {
            ledger: finished.map(|row| row.entry.clone()).collect(),
            unfinished: unfinished.map(|row| row.entry.version),
            reference: self.reference,
            tables: self.tables.clone(),
        }
    }
}

/// Refuses a server that is too old. A pooler may hide the number; then nothing is refused.
pub(super) fn check_version(number: Option<u32>) -> Result<(), MigrateError> {
    match number.map(|number| number / 10_000) {
        Some(found) if found < Postgres::OLDEST => Err(MigrateError::TooOld(found)),
        Some(_) | None => Ok(()),
    }
}

/// Reads the schema that the search path names.
pub(super) async fn look(
    transaction: &mut Transaction<'_, Database>,
) -> Result<Found, sqlx::Error> {
    let mut wanted: Vec<&str> = TABLES.iter().map(|table| table.name).collect();
    wanted.extend([LEDGER, REFERENCE_LEDGER]);
    let tables: Vec<String> = sqlx::query_scalar(LIST_TABLES)
        .persistent(false)
        .bind(wanted)
        .fetch_all(&mut **transaction)
        .await?;

    let has = |wanted: &str| tables.iter().any(|name| name == wanted);
    let recorded = if has(LEDGER) { read_ledger(transaction).await? } else { Vec::new() };

    let mut reference = None;
    if has(REFERENCE_LEDGER) {
        let version: i64 = sqlx::query_scalar(READ_REFERENCE)
            .persistent(false)
            .fetch_one(&mut **transaction)
            .await?;
        reference = Some(u32::try_from(version).unwrap_or(u32::MAX));
    }

    Ok(Found { recorded, reference, tables })
}

async fn read_ledger(
    transaction: &mut Transaction<'_, Database>,
) -> Result<Vec<Recorded>, sqlx::Error> {
    let rows: Vec<(i64, String, Option<String>, bool)> =
        sqlx::query_as(READ_LEDGER).persistent(false).fetch_all(&mut **transaction).await?;
    let recorded = rows.into_iter().map(|(version, checksum, detail, finished)| Recorded {
        // There is no version 0, so it counts as a gap.
        entry: Entry { version: u32::try_from(version).unwrap_or(0), checksum },
        partitions: detail.and_then(|text| text.strip_prefix("partitions=")?.parse().ok()),
        finished,
    });
    Ok(recorded.collect())
}

/// A number of partitions in words.
pub(super) fn in_words(partitions: Option<u16>) -> String {
    match partitions {
        None => "no partitions".to_owned(),
        Some(1) => "1 partition".to_owned(),
        Some(number) => format!("{number} partitions"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_too_old_is_refused() {
        let refused = check_version(Some(140_011)).unwrap_err();
        assert_eq!(refused.to_string(), "Postgres 14 is too old: 15 or later is needed");
        for accepted in [Some(150_000), Some(170_002), None] {
            check_version(accepted).unwrap();
        }
    }
}
