//! Clauses that several kinds of statements share.

use ff_core::plan::{OnConflict, OnTaken, Path};
use ff_core::schema::{ColumnRef, Direction, TableRef};
use sea_query::{Alias, Expr, ExprTrait, Func, InsertStatement, OnConflict as Conflict, Order};

use crate::dialect::Dialect;

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
pub(crate) fn add_on_conflict(
    insert: &mut InsertStatement,
    table: TableRef,
    on_conflict: &OnConflict,
) {
    match on_conflict {
        OnConflict::Refuse => {}
        OnConflict::Ignore => {
            insert.on_conflict(Conflict::new().do_nothing().to_owned());
        }
        OnConflict::Update(set) => {
            insert.on_conflict(do_update(table.name, table.key, set));
        }
    }
}

/// `ON CONFLICT (key) DO UPDATE`.
fn do_update(table: &'static str, key: &[ColumnRef], set: &[(ColumnRef, OnTaken)]) -> Conflict {
    let mut conflict = Conflict::columns(key.iter().map(|column| column.name));
    for (column, settle) in set {
        let inserted = Expr::col(("excluded", column.name));
        let value = match settle {
            OnTaken::Overwrite => inserted,
            OnTaken::Add => Expr::col((table, column.name)).add(inserted),
            OnTaken::Clear => Expr::null(),
        };
        conflict.value(column.name, value);
    }
    conflict
}

/// `ord = abs(ord)`, which keeps every row. The planner estimates that such a condition leaves few
/// rows, so it looks up other tables by key even where they have no statistics.
pub(crate) fn few_rows_hint(rows: &'static str) -> Expr {
    Expr::col((rows, "ord")).eq(Func::cust("abs").arg(Expr::col((rows, "ord"))))
}
