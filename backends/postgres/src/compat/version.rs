//! The check that a database is as new as its caller needs.

use ff_core::EngineError;
use sqlx::postgres::PgPool;

use crate::error::PostgresError;
use crate::migrate::{MigrateError, MigrateOptions, migrate};

/// The last migration of the reference with tables and columns that this schema has. A current
/// database counts as having all of them.
pub const REFERENCE_SCHEMA_VERSION: u32 = 22;

/// Checks that the database has the tables of the reference's schema version `required`.
///
/// # Errors
/// `Unavailable` with `op` "schema_version" when a migration is missing, or when `required` is
/// newer than [`REFERENCE_SCHEMA_VERSION`]; `Transport` when the database cannot be reached.
pub async fn check_schema_version(pool: &PgPool, required: u32) -> Result<(), EngineError> {
    let behind = EngineError::Unavailable { op: "schema_version" };
    if REFERENCE_SCHEMA_VERSION < required {
        return Err(behind);
    }

    match migrate(pool, &MigrateOptions::new().dry_run()).await {
        Ok(report) if report.sql.is_empty() => Ok(()),
        Ok(_) if required == 0 => Ok(()),
        Ok(_) => Err(behind),
        Err(MigrateError::Database(cause)) => Err(PostgresError::read(cause).into_engine(0)),
        // The tables have no ledger of this project, or an unknown one, so their state is unknown.
        Err(other) => {
            tracing::warn!(error = %other, "the schema's version is not known");
            Err(behind)
        }
    }
}
