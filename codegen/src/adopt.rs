//! Adoption: brings tables of the reference, or of a version of this project from before its first
//! release, to the schema of this binary.
//!
//! A backend lists the tables of the database as a [`Catalog`], and those of an empty database with
//! the current schema. The difference becomes statements here. Every statement may be repeated, and
//! finished work is no difference any more, so an adoption that was killed continues when it is run
//! again. Rows stay; `adopt/rows.rs` moves values that the reference stores elsewhere.

mod catalog;
mod postgres;
mod rows;
mod sqlite;

pub use catalog::{Catalog, FoundColumn, FoundTable, Object};
pub use postgres::steps as postgres_steps;
pub use sqlite::steps as sqlite_steps;

/// The last migration of the reference that this binary knows: that of its release 0.15.
pub const REFERENCE_VERSION: u32 = 22;

/// The query for the number of partitions of each family of ids: flows, budgets, quotas. Files of
/// the reference have one of each.
pub const PARTITION_COUNTS: &str = "SELECT num_flow_partitions, num_budget_partitions, \
     num_quota_partitions FROM ff_partition_config";

/// Statements that take effect together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdoptStep {
    /// The statements, in order.
    pub sql: Vec<String>,
}

impl AdoptStep {
    fn one(sql: String) -> Self {
        Self { sql: vec![sql] }
    }
}

/// The optional parts of the found database that stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keeping {
    /// True if the triggers stay that notify the reference's own listeners of each inserted event.
    pub triggers: bool,
}

/// The reason that a database cannot be adopted. Nothing is changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdoptError {
    /// A release after 0.15 made the database.
    #[error(
        "the reference's ledger is at version {found}; this binary knows its schema up to version \
         {REFERENCE_VERSION}, that of release 0.15"
    )]
    ReferenceTooNew {
        /// The version in its ledger.
        found: u32,
    },
    /// A table has a column that this schema lacks, and rebuilding the table would lose it.
    #[error(
        "{table} has a column {column:?} that is none of FlowFabric's; move it elsewhere first"
    )]
    UnknownColumn {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// The schema cannot be rendered.
    #[error(transparent)]
    Render(#[from] crate::RenderError),
}
