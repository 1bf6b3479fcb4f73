//! Clauses that several kinds of statements share.

use ff_core::plan::{Guard, Mutation, OnConflict, OnTaken, Path, Plan};
use ff_core::schema::{ColumnRef, Direction, TableRef};
use sea_query::{
    Alias, Condition, Expr, ExprTrait, Func, InsertStatement, OnConflict as Conflict, Order, Query,
    ReturningClause,
};

use crate::dialect::{Dialect, WriteKind};
use crate::scalar::{Operands, Scalars};
use crate::statement::RenderError;
use crate::writer::fence;

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

/// The condition that no row prevents the plan. It stands in the statement that decides whether the
/// plan applies, so it costs no statement of its own.
pub(crate) fn unprevented(
    dialect: &dyn Dialect,
    operands: &mut impl Operands,
    plan: &Plan,
) -> Condition {
    if plan.unless.is_empty() {
        return Condition::all();
    }
    prevented(dialect, operands, plan).not()
}

/// The condition that a row prevents the plan.
pub(crate) fn prevented(
    dialect: &dyn Dialect,
    operands: &mut impl Operands,
    plan: &Plan,
) -> Condition {
    plan.unless.iter().fold(Condition::any(), |any, Guard { row, table, key, holds }| {
        let mut scalars = Scalars { dialect, operands: &mut *operands, subject: Some(row) };
        let mut found = Query::select();
        found.expr(Expr::cust("1")).from_as(table.name, Alias::new(row.to_string()));
        found.cond_where(scalars.has_key(key));
        found.cond_where(scalars.predicate(holds));
        if dialect.fences_lookups() {
            // Otherwise Postgres 18 may answer such a condition by reading the whole table once,
            // even where scans are off.
            fence(&mut found);
        }
        any.add(Expr::exists(found))
    })
}

/// True if the guard decides, before all others, whether the plan applies.
pub(crate) fn is_first(plan: &Plan, guard: &Guard) -> bool {
    !plan.picks_up_to() && plan.guards.first().is_some_and(|first| std::ptr::eq(first, guard))
}

/// True if the mutation is the insert that decides whether the plan applies.
pub(crate) fn is_gate(plan: &Plan, mutation: &Mutation) -> bool {
    plan.gate().is_some_and(|gate| std::ptr::eq(gate, mutation))
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
        OnConflict::Ignore => dialect.ignore_existing(insert, table.key),
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
            what: format!("columns that are returned by {}", write.name()),
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
