//! The indexes of one table. The predicate of a partial index is the same value that queries use,
//! rendered by the same code, so that the database can prove that the index applies.

use ff_core::plan::value::ColumnType;
use ff_core::plan::{Name, Path, Predicate};
use ff_core::schema::{ColumnRef, Direction, Index, Table};
use sea_query::{
    Condition, ConditionalStatement, Expr, Index as IndexStatement, IndexCreateStatement,
    IndexOrder,
};

use crate::dialect::Dialect;
use crate::flags::flagged;
use crate::scalar::{Operands, Scalars};
use crate::statement::RenderError;
use crate::writer::Tree;

/// The table's key columns, as a primary key.
pub(super) fn key(table: &Table) -> IndexCreateStatement {
    let mut key = IndexStatement::create();
    for column in table.key {
        key.col(column.name);
    }
    key
}

/// Every index besides the primary key.
pub(super) fn index_trees(dialect: &dyn Dialect, table: &Table) -> Result<Vec<Tree>, RenderError> {
    Ok(named_trees(dialect, table)?.into_iter().map(|(_, tree)| tree).collect())
}

/// The same indexes with their names.
pub(super) fn named_trees(
    dialect: &dyn Dialect,
    table: &Table,
) -> Result<Vec<(String, Tree)>, RenderError> {
    let named = |index| {
        let create = index_statement(dialect, table, index)?;
        Ok((index.name.to_owned(), Tree::CreateIndex(create)))
    };
    table.indexes.iter().map(named).collect()
}

fn index_statement(
    dialect: &dyn Dialect,
    table: &Table,
    index: &Index,
) -> Result<IndexCreateStatement, RenderError> {
    let mut create = IndexStatement::create();
    create.name(index.name).table(table.name);

    for (column, direction) in index.columns {
        let key = match column.ty {
            ColumnType::TextList => dialect.list_key(Expr::col(column.name)),
            ColumnType::SmallInt
            | ColumnType::Int
            | ColumnType::BigInt
            | ColumnType::Bool
            | ColumnType::Float
            | ColumnType::Text
            | ColumnType::Bytes
            | ColumnType::Uuid
            | ColumnType::Json => None,
        };
        match (key, direction) {
            (Some(key), Direction::Ascending) => create.col(key),
            (Some(key), Direction::Descending) => create.col((key, IndexOrder::Desc)),
            (None, Direction::Ascending) => create.col(column.name),
            (None, Direction::Descending) => create.col((column.name, IndexOrder::Desc)),
        };
    }

    if let Some(only) = index.only {
        let only = only();
        let predicate = flagged(dialect, table, &only);
        create.cond_where(constant_condition(dialect, index.name, &predicate, Columns::Qualified)?);
    }

    Ok(create)
}

/// The condition of an index or of a flag, which has no values.
pub(super) fn constant_condition(
    dialect: &dyn Dialect,
    of: &str,
    predicate: &Predicate,
    columns: Columns,
) -> Result<Condition, RenderError> {
    let mut operands = Constants { broken: false, columns };
    let subject = if let Columns::Of(row) = columns { Some(row) } else { None };
    let condition = Scalars { dialect, operands: &mut operands, subject }.predicate(predicate);

    if operands.broken {
        let what = format!("a value that varies in the predicate of {of}");
        return Err(RenderError::Unsupported { dialect: dialect.name(), what });
    }

    Ok(condition)
}

/// The operands of DDL, which has no values. A request for one breaks the rendering.
struct Constants {
    broken: bool,
    columns: Columns,
}

/// The form of the columns in a condition.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Columns {
    /// With their table.
    Qualified,
    /// Alone: a column of a partitioned table is computed in each child, which has another name.
    Bare,
    /// With the name of one row.
    Of(&'static str),
}

impl Constants {
    fn no_value(&mut self) -> Expr {
        self.broken = true;
        Expr::null()
    }
}

impl Operands for Constants {
    fn slot(&mut self, _: usize, _: ColumnType, _: ColumnType) -> Expr {
        self.no_value()
    }

    fn held(&mut self, _: &Name, _: &Path, _: ColumnType) -> Expr {
        self.no_value()
    }

    fn picked_count(&mut self) -> Expr {
        self.no_value()
    }

    fn picked_sum(&mut self, _: ColumnRef) -> Expr {
        self.no_value()
    }

    fn qualifies_columns(&self) -> bool {
        self.columns != Columns::Bare
    }
}
