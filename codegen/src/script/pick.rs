//! The rows that a script picks.

use ff_core::plan::value::ColumnType;
use ff_core::plan::{Expr as Scalar, Pairing, Path, Plan, Predicate, Selection};
use ff_core::schema::{ColumnRef, Direction};
use sea_query::{Asterisk, Query, SelectStatement, UnionType};

use super::{Binds, select_held};
use crate::clauses::{order, unprevented};
use crate::dialect::{Dialect, RowLock};
use crate::flags::flagged;
use crate::lists::{BestFirst, ByList};
use crate::reads;
use crate::scalar::Scalars;
use crate::statement::{RenderError, ScriptStep, Statement};
use crate::writer::{Tree, limit_by};

/// An arm of a union.
const ARM: &str = "best";

/// The order of picked rows, best first.
type RowOrder = [(ColumnRef, Direction)];

/// The step that picks rows.
///
/// # Errors
/// What the dialect cannot lock.
pub(super) fn pick(
    dialect: &dyn Dialect,
    plan: &Plan,
    selection: &Selection,
) -> Result<ScriptStep, RenderError> {
    let mut operands = Binds { dialect, plan, binds: Vec::new() };
    let Selection { predicate, order, .. } = selection;

    let select = match &selection.pairing {
        Pairing::Every => {
            let predicate = flagged(dialect, &selection.table, predicate);
            let mut every = rows(&mut operands, selection, &predicate, order);
            dialect.lock_rows(&mut every, RowLock::Wait)?;
            every
        }
        Pairing::Named(key) => {
            let mut named = rows(&mut operands, selection, predicate, &[]);
            let mut scalars = Scalars { dialect, operands: &mut operands, subject: None };
            named.cond_where(scalars.has_key(key));
            named.cond_where(unprevented(dialect, &mut operands, plan));
            dialect.lock_rows(&mut named, RowLock::SkipLocked)?;
            named
        }
        Pairing::UpTo { limit, rest: None } => {
            best(&mut operands, selection, predicate, order, limit)?
        }
        Pairing::UpTo { limit, rest: Some(rest) } => {
            // The database looks for the rest only where the rows before it are too few.
            let mut all = whole(best(&mut operands, selection, predicate, order, limit)?);
            let rest = best(&mut operands, selection, &rest.predicate, &rest.order, limit)?;
            all.union(UnionType::All, whole(rest));
            limit_by(&mut all, bound(&mut operands, limit));
            all
        }
    };

    let holds = reads::picked_reads(plan, selection);
    let yields = holds.iter().map(Path::ty).collect();
    let statement = Statement::new(dialect, &Tree::Select(select), operands.binds, yields);
    let named_by =
        if let Some(Scalar::Slot(_, slot)) = selection.naming() { Some(*slot) } else { None };
    Ok(ScriptStep::Pick { row: selection.row.clone(), statement, named_by, holds })
}

/// A select with an order and a limit of its own, as an arm of a union.
fn whole(select: SelectStatement) -> SelectStatement {
    let mut whole = Query::select();
    whole.column(Asterisk).from_subquery(select, ARM);
    whole
}

/// The rows that meet a condition, best first.
fn rows(
    operands: &mut Binds<'_>,
    selection: &Selection,
    predicate: &Predicate,
    best_first: &RowOrder,
) -> SelectStatement {
    let (dialect, plan) = (operands.dialect, operands.plan);
    let mut scalars = Scalars { dialect, operands, subject: None };

    let mut select = Query::select();
    select.from(selection.table.name);
    select.cond_where(scalars.predicate(predicate));
    for (column, direction) in best_first {
        select.order_by_expr(scalars.column(*column), order(*direction));
    }
    select_held(dialect, &mut select, &reads::picked_reads(plan, selection));
    select
}

/// The best rows that meet a condition and that no other claim holds.
fn best(
    operands: &mut Binds<'_>,
    selection: &Selection,
    predicate: &Predicate,
    best_first: &RowOrder,
    limit: &Scalar,
) -> Result<SelectStatement, RenderError> {
    let (dialect, plan) = (operands.dialect, operands.plan);
    let predicate = flagged(dialect, &selection.table, predicate);
    let mut select = match ByList::of(selection.table, &predicate) {
        Some(by_list) => {
            best_of_lists(operands, selection, &predicate, best_first, limit, &by_list)
        }
        None => {
            let mut select = rows(operands, selection, &predicate, best_first);
            select.cond_where(unprevented(dialect, operands, plan));
            limit_by(&mut select, bound(operands, limit));
            select
        }
    };
    dialect.lock_rows(&mut select, RowLock::SkipLocked)?;
    Ok(select)
}

/// The best rows of each list that is covered, and of those the best of all.
fn best_of_lists(
    operands: &mut Binds<'_>,
    selection: &Selection,
    predicate: &Predicate,
    best_first: &RowOrder,
    limit: &Scalar,
    by_list: &ByList<'_>,
) -> SelectStatement {
    let (dialect, plan) = (operands.dialect, operands.plan);
    let (table, alias) = (selection.table.name, by_list.alias_of_best(dialect));
    let mut known = by_list.known(dialect, operands);
    let mut select = Query::select();
    select_held(dialect, &mut select, &reads::picked_reads(plan, selection));

    let mut scalars = Scalars { dialect, operands: &mut *operands, subject: Some(alias) };
    let mut best = Query::select();
    best.from_as(table, alias);
    best.cond_where(scalars.predicate(predicate));
    best.cond_where(unprevented(dialect, scalars.operands, plan));

    let limit = bound(operands, limit);
    for (rows, name) in [(&mut best, alias), (&mut select, table)] {
        for (column, direction) in best_first {
            rows.order_by((name, column.name), order(*direction));
        }
        limit_by(rows, limit);
    }
    let order = BestFirst { order: best_first, limit };
    by_list.only_best(dialect, &mut known, &mut select, best, order);
    select.with_cte(known);
    select
}

/// The number of the placeholder that a value is bound to, from 1.
fn bound(operands: &mut Binds<'_>, value: &Scalar) -> usize {
    let dialect = operands.dialect;
    Scalars { dialect, operands: &mut *operands, subject: None }.expr(value, ColumnType::BigInt);
    operands.binds.len()
}
