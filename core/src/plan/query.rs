//! Reads: rows by key, and rows by predicate.

use serde::{Deserialize, Serialize};

use super::{Expr, Name, Predicate};
use crate::plan::column::{ColumnRef, TableRef};
use crate::plan::table::Direction;

/// A read: rows by key, or rows by predicate.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Query {
    /// Rows by primary key, from any number of tables, in one statement. A later row's key may use
    /// what an earlier one holds. Answered by one entry per row, absent rows included.
    Lookup(Vec<Lookup>),
    /// Rows by predicate.
    List(List),
    /// Sums over the rows that meet a predicate.
    Sums(Sums),
}

/// One row to look up.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lookup {
    /// The name of the row in later keys.
    pub row: Name,
    /// Its table.
    pub table: TableRef,
    /// Its primary key.
    pub key: Vec<(ColumnRef, Expr)>,
    /// The columns to read.
    pub columns: Vec<ColumnRef>,
}

/// Rows by predicate, bounded.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct List {
    /// The operation, for logs and snapshots.
    pub name: Name,
    /// The table.
    pub table: TableRef,
    /// A second table, of which one row joins each listed row on equal columns.
    pub join: Option<Join>,
    /// The columns to read, of either table.
    pub columns: Vec<ColumnRef>,
    /// The columns and values that select the rows.
    pub predicate: Predicate,
    /// The order; ends in the primary key.
    pub order: Vec<(ColumnRef, Direction)>,
    /// A bound on rows that have an equal list in a column.
    pub of_each: Option<OfEach>,
    /// The most rows to return.
    pub limit: Expr,
}

/// A bound on the rows that have an equal list in a column: of each such list, the first ones are
/// listed. The predicate must look for the rows list by list.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OfEach {
    /// The column of the list.
    pub list: ColumnRef,
    /// The most rows of each list.
    pub limit: Expr,
}

/// An inner join on equal columns.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Join {
    /// The joined table.
    pub table: TableRef,
    /// Pairs of columns, listed table first.
    pub on: Vec<(ColumnRef, ColumnRef)>,
}

/// The sums of a column over groups of rows: one row for each group, in the order of the groups,
/// with their columns and, under its own name, the sum of the column. One statement reads them, so
/// they are of one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sums {
    /// The operation, for logs and snapshots.
    pub name: Name,
    /// The table.
    pub table: TableRef,
    /// The columns in which the rows of a group are equal.
    pub by: Vec<ColumnRef>,
    /// The column of 64-bit integers that is summed.
    pub of: ColumnRef,
    /// The columns and values that select the rows.
    pub predicate: Predicate,
}
