//! The indexes of one table. The predicate of a partial index is the same value that queries use,
//! rendered by the same code, so that the database can prove that the index applies.

use ff_core::plan::value::ColumnType;
use ff_core::plan::{Name, Path, Predicate};
use ff_core::schema::{ColumnRef, Direction, Index, Table};
use sea_query::{
    Alias, Condition, ConditionalStatement, Expr, Index as IndexStatement, IndexCreateStatement,
    IndexOrder,
};

use crate::dialect::{Dialect, ListSearch};
use crate::flags::{flagged, is_flag};
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
    let mut named = Vec::new();
    for index in table.indexes {
        let create = index_statement(dialect, table, index, index.columns, index.name)?;
        named.push((index.name.to_owned(), Tree::CreateIndex(create)));

        if let Some(columns) = lists_of(index).filter(|_| dialect.list_search() == ROW_BY_ROW) {
            let name = format!("{}_lists", index.name);
            let create = index_statement(dialect, table, index, columns, &name)?;
            named.push((name, Tree::CreateIndex(create)));
        }
    }
    Ok(named)
}

const ROW_BY_ROW: ListSearch = ListSearch::RowByRow;

/// The columns of an index up to its list, if others that descend come behind it. A search row by
/// row skips from list to list only in an index of which no column descends.
fn lists_of(index: &Index) -> Option<&'static [(ColumnRef, Direction)]> {
    let list = index.columns.iter().position(|(column, _)| column.ty == ColumnType::TextList)?;
    let descends = index.columns.iter().any(|(_, direction)| *direction == Direction::Descending);
    index.columns.get(..=list).filter(|_| descends)
}

fn index_statement(
    dialect: &dyn Dialect,
    table: &Table,
    index: &Index,
    columns: &[(ColumnRef, Direction)],
    name: &str,
) -> Result<IndexCreateStatement, RenderError> {
    let mut create = IndexStatement::create();
    create.name(name).table(table.name);
    if !dialect.has_partial_indexes() {
        for flag in flags_of(dialect, table, index) {
            create.col(flag.name);
        }
    }

    for (column, direction) in columns {
        if let Some((kept, ..)) = kept_list_key(dialect, *column) {
            create.col(Alias::new(kept));
            continue;
        }
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

    if let Some(only) = index.only.filter(|_| dialect.has_partial_indexes()) {
        let only = only();
        let predicate = flagged(dialect, table, &only);
        create.cond_where(constant_condition(dialect, index.name, &predicate, Columns::Qualified)?);
    }

    Ok(create)
}

fn kept_list_key(dialect: &dyn Dialect, column: ColumnRef) -> Option<(String, &'static str, Expr)> {
    if column.ty == ColumnType::TextList { dialect.kept_list_key(column) } else { None }
}

/// The flags of the rows that an index is about.
fn flags_of(dialect: &dyn Dialect, table: &Table, index: &Index) -> Vec<ColumnRef> {
    let Some(only) = index.only else { return Vec::new() };
    let only = only();
    let flagged = flagged(dialect, table, &only);
    let parts = if let Predicate::All(parts) = &*flagged {
        parts.as_slice()
    } else {
        std::slice::from_ref(&*flagged)
    };

    let flag = |part: &Predicate| match part {
        Predicate::NotNull(column) => Some(*column).filter(|column| is_flag(*column)),
        Predicate::Always
        | Predicate::All(_)
        | Predicate::Any(_)
        | Predicate::AnyApart(_)
        | Predicate::Compare(..)
        | Predicate::OneOf(..)
        | Predicate::NoneOf(..)
        | Predicate::Among(..)
        | Predicate::Contains(..)
        | Predicate::Null(_)
        | Predicate::Covered(..)
        | Predicate::CoveredOrOpen(..)
        | Predicate::EmptyList(_)
        | Predicate::FirstBelow(..)
        | Predicate::NoneBelow(..)
        | Predicate::EachList(_)
        | Predicate::After(_) => None,
    };
    parts.iter().filter_map(flag).collect()
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
