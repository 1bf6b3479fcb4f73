//! The refusals of this database itself: the constraints of the schema.

use ff_core::EngineError;
use ff_core::engine_error::{StoreClass, StoreError};
use ff_core::plan::value::{ColumnType, Value};

/// A row that the schema does not allow. A plan that produces one is a bug of its rule.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MemoryError {
    /// The schema has no table of this name.
    #[error("no table {table:?}")]
    NoSuchTable {
        /// The name.
        table: String,
    },
    /// The table has no column of this name.
    #[error("{table} has no column {column:?}")]
    NoSuchColumn {
        /// The table.
        table: &'static str,
        /// The name.
        column: String,
    },
    /// The items of an insert are not a list.
    #[error("the items of a plan are not a JSON array")]
    NotAList,
    /// A column that must hold a value holds none.
    #[error("{table}.{column} must not be null")]
    Missing {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
    },
    /// A value is not of its column's type.
    #[error("{table}.{column} takes {}, not {value}", ty.name())]
    WrongType {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The type of the column.
        ty: ColumnType,
        /// The given value.
        value: Value,
    },
    /// A value is not a member of the closed set that the column holds.
    #[error("{table}.{column} does not take {value}")]
    NotAMember {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The given value.
        value: Value,
    },
    /// The primary key is taken.
    #[error("{table}: the primary key is taken")]
    DuplicateKey {
        /// The table.
        table: &'static str,
    },
}

impl From<MemoryError> for EngineError {
    fn from(error: MemoryError) -> Self {
        StoreError::new(StoreClass::Permanent, error).in_backend("memory")
    }
}
