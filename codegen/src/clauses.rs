//! Clauses that several kinds of statements share.

use ff_core::plan::{OnConflict, OnTaken, Path};
use ff_core::schema::{ColumnRef, Direction, TableRef};
use sea_query::{
    Alias, Expr, ExprTrait, Func, InsertStatement, OnConflict as Conflict, Order, Query,
    ReturningClause,
};

use crate::dialect::{Dialect, WriteKind};
use crate::statement::RenderError;

/// The value at the path of a row that is selected under `alias`.
pub(crate) fn held_value(dialect: &dyn Dialect, alias: &str, path: &Path) -> Expr {
    let column = Expr::col((Alias::new(alias), path.column.name));
    if path.keys.is_empty() { column } else { dialect.json_text(column, &path.keys) }
}

/// The direction of an order.
pub(crate) fn order(direction: Direction) -> Order {
    match direction {
        Direction::Ascending => Order::Asc,
        Direction::Descending => Order::Desc,
    }
}

/// Adds the treatment of existing rows. A refusing insert has no clause: the unique violation
/// refuses the plan.
///
/// # Errors
/// Those of the dialect, which may have no such insert.
pub(crate) fn add_on_conflict(
    dialect: &dyn Dialect,
    insert: &mut InsertStatement,
    table: TableRef,
    on_conflict: &OnConflict,
) -> Result<(), RenderError> {
    let value = |(column, on_taken): &(ColumnRef, OnTaken)| {
        let inserted = || dialect.inserted_value(*column);
        let value = match on_taken {
            OnTaken::Overwrite => inserted(),
            OnTaken::Add => Expr::col((table.name, column.name)).add(inserted()),
            OnTaken::Clear => Expr::null(),
        };
        (*column, value)
    };

    match on_conflict {
        OnConflict::Refuse => Ok(()),
        OnConflict::Ignore => dialect.ignore_existing(insert),
        OnConflict::Update(set) => {
            dialect.update_existing(insert, table.key, set.iter().map(value).collect())
        }
    }
}

/// `ON CONFLICT DO NOTHING`.
pub(crate) fn on_conflict_do_nothing(insert: &mut InsertStatement) {
    insert.on_conflict(Conflict::new().do_nothing().to_owned());
}

/// `ON CONFLICT (key) DO UPDATE`.
pub(crate) fn on_conflict_do_update(
    insert: &mut InsertStatement,
    key: &[ColumnRef],
    set: Vec<(ColumnRef, Expr)>,
) {
    let mut conflict = Conflict::columns(key.iter().map(|column| column.name));
    conflict.values(set.into_iter().map(|(column, value)| (column.name, value)));
    insert.on_conflict(conflict);
}

/// The clause that returns columns of the written rows; `None` for no columns.
///
/// # Errors
/// `Unsupported` where such a write of the dialect returns nothing.
pub(crate) fn returning(
    dialect: &dyn Dialect,
    write: WriteKind,
    columns: &[ColumnRef],
) -> Result<Option<ReturningClause>, RenderError> {
    if columns.is_empty() {
        return Ok(None);
    }
    if !dialect.returns_from(write) {
        return Err(RenderError::Unsupported {
            dialect: dialect.name(),
            what: format!("columns that are returned by an {write:?}"),
        });
    }

    let names = columns.iter().map(|column| column.name);
    Ok(Some(Query::returning().columns(names)))
}

/// `ord = abs(ord)`, which keeps every row. The planner estimates that such a condition leaves few
/// rows, so it looks up other tables by key even where they have no statistics.
pub(crate) fn few_rows_hint(rows: &'static str) -> Expr {
    Expr::col((rows, "ord")).eq(Func::cust("abs").arg(Expr::col((rows, "ord"))))
}

/// [`few_rows_hint`] and `ord = greatest(ord, 1)`, which together leave one row of a thousand in
/// the planner's estimate. For one row a look-up by key is the cheapest access to a table of any
/// size.
pub(crate) fn one_row_hint(rows: &'static str) -> Expr {
    let column = || Expr::col((rows, "ord"));
    few_rows_hint(rows).and(column().eq(Func::greatest([column(), Expr::cust("1")])))
}
