//! The rows that a fused statement picks.

use ff_core::plan::{Expr as Scalar, Pairing, Path, Predicate, Rest, Selection};
use ff_core::schema::{ColumnRef, Direction};
use sea_query::{
    Alias, Asterisk, Expr, ExprTrait, Func, JoinType, Query, SelectStatement, UnionType,
    WindowStatement,
};

use super::join::are_joined;
use super::{Renderer, SOURCE};
use crate::clauses::{few_rows_hint, order, unprevented};
use crate::dialect::RowLock;
use crate::flags::flagged;
use crate::lists::ByList;
use crate::scalar::Scalars;
use crate::statement::RenderError;
use crate::writer::{limit_by, placeholder};
use crate::{names, reads};

/// The CTEs of the rows that meet the selection's condition, and of the lists that they are picked
/// by where they are picked list by list.
const FOUND: Names = Names { rows: "found", lists: "lists" };

/// The same for the rows that come behind all others.
const REST: Names = Names { rows: "rest", lists: "rest_lists" };

/// The place of a row among those that come behind others.
const PLACE: &str = "place";

/// The names of two CTEs.
#[derive(Clone, Copy)]
struct Names {
    rows: &'static str,
    lists: &'static str,
}

/// The order of picked rows, best first.
type RowOrder = [(ColumnRef, Direction)];

impl Renderer<'_> {
    /// The CTE of picked rows with the values of their items; `ok` itself if the plan picks none.
    pub(super) fn pick(&mut self, ok: &str) -> Result<String, RenderError> {
        let Some(selection) = &self.plan.selection else {
            return Ok(ok.to_owned());
        };
        match &selection.pairing {
            Pairing::Every => {
                let predicate = flagged(self.dialect, &selection.table, &selection.predicate);
                let mut every = self.rows(selection, &predicate, &selection.order);
                self.dialect.lock_rows(&mut every, RowLock::Wait)?;
                let mut picked = self.joined(ok, every, &selection.row);
                picked.and_where(few_rows_hint(SOURCE));
                self.cte("picked", picked);
            }
            Pairing::Named(key) => {
                let mut named = self.rows(selection, &selection.predicate, &[]);
                let mut operands = self.operands();
                let mut scalars = Scalars {
                    dialect: self.dialect,
                    operands: &mut operands,
                    subject: Some(&selection.row),
                };
                named.cond_where(scalars.has_key(key));
                self.dialect.lock_rows(&mut named, RowLock::SkipLocked)?;
                let picked = self.joined(ok, named, &selection.row);
                self.cte("picked", picked);
            }
            Pairing::UpTo { limit, rest } => {
                let Scalar::Slot(_, slot) = limit else {
                    return Err(RenderError::Audit {
                        plan: self.plan.name.to_string(),
                        rule: "the number of slots is a bound value".into(),
                    });
                };
                let limit = slot + 1;

                let best =
                    self.best(FOUND, selection, &selection.predicate, &selection.order, limit)?;
                self.cte(FOUND.rows, best);
                let mut slots = numbered(FOUND.rows, "slot", selection, &selection.order);
                if let Some(Rest { predicate, order }) = rest {
                    let mut rest = self.best(REST, selection, predicate, order, limit)?;
                    // They are not looked for where the others suffice.
                    rest.and_where(count(FOUND.rows).lt(placeholder(limit)));
                    self.cte(REST.rows, rest);
                    slots.union(UnionType::All, self.slots_behind(selection, order));
                }
                self.cte("numbered", slots);
                self.pair_with_slots(ok);
            }
        }

        Ok("picked".into())
    }

    /// The rows that meet a condition, as the rest of the plan reads them.
    fn rows(
        &mut self,
        selection: &Selection,
        predicate: &Predicate,
        best_first: &RowOrder,
    ) -> SelectStatement {
        let mut operands = self.operands();
        let mut scalars = Scalars {
            dialect: self.dialect,
            operands: &mut operands,
            subject: Some(&selection.row),
        };

        let mut rows = Query::select();
        rows.from_as(selection.table.name, Alias::new(selection.row.to_string()));
        rows.cond_where(scalars.predicate(predicate));
        for (column, direction) in best_first {
            rows.order_by_expr(scalars.column(*column), order(*direction));
        }

        let holds = reads::picked_reads(self.plan, selection);
        self.select_held(&mut rows, &selection.row, &holds);
        if self.plan.picks_up_to() {
            // Not correlated with any row, so the database evaluates it once.
            rows.cond_where(unprevented(self.dialect, &mut self.operands(), self.plan));
        }
        rows
    }

    /// The best rows that meet a condition and that no other claim holds, and before them the CTE
    /// of their lists, where they are picked list by list.
    fn best(
        &mut self,
        names: Names,
        selection: &Selection,
        predicate: &Predicate,
        best_first: &RowOrder,
        limit: usize,
    ) -> Result<SelectStatement, RenderError> {
        let predicate = flagged(self.dialect, &selection.table, predicate);
        let mut best = self.rows(selection, &predicate, best_first);
        limit_by(&mut best, limit);
        self.dialect.lock_rows(&mut best, RowLock::SkipLocked)?;

        if let Some(by_list) = ByList::of(selection.table, &predicate) {
            let known = by_list.known(self.dialect, &mut self.operands());
            let mut each = Query::select();
            each.column((Alias::new(selection.row.to_string()), Asterisk));
            by_list.each(self.dialect, &mut each, names.lists, best, &selection.row);
            self.cte(names.lists, known.query(ByList::covered_keys()));
            best = each;
        }
        Ok(best)
    }

    /// The rows that come behind those that were found, each with its slot.
    fn slots_behind(&self, selection: &Selection, best_first: &RowOrder) -> SelectStatement {
        let mut slots = Query::select();
        for path in reads::picked_reads(self.plan, selection) {
            slots.column((REST.rows, names::held(&selection.row, &path)));
        }
        slots.expr(count(FOUND.rows).add(Expr::col((REST.rows, PLACE))));
        slots.from_subquery(numbered(REST.rows, PLACE, selection, best_first), REST.rows);
        slots
    }

    /// The CTE of rows with the values of their slots.
    fn pair_with_slots(&mut self, ok: &str) {
        let mut picked = Query::select();
        picked
            .column((SOURCE, Asterisk))
            .column(("n", Asterisk))
            .from_as(Alias::new(ok), SOURCE)
            .join_as(
                JoinType::FullOuterJoin,
                "numbered",
                "n",
                Expr::col(("n", "slot")).eq(Expr::col((SOURCE, "ord"))),
            )
            .and_where(are_joined([Expr::col(("n", "slot")), Expr::col((SOURCE, "ord"))]));
        self.cte("picked", picked);
    }
}

/// The rows of a CTE, each with its place among them, from 1.
fn numbered(
    rows: &'static str,
    place: &'static str,
    selection: &Selection,
    best_first: &RowOrder,
) -> SelectStatement {
    let mut window = WindowStatement::new();
    for (column, direction) in best_first {
        let name = names::held(&selection.row, &Path::column(*column));
        window.order_by_expr(Expr::col((rows, name)), order(*direction));
    }

    let mut numbered = Query::select();
    numbered.column((rows, Asterisk)).from(rows);
    numbered.expr_window_as(Func::cust("row_number"), window, place);
    numbered
}

/// The number of rows of a CTE.
fn count(rows: &'static str) -> Expr {
    let mut counted = Query::select();
    counted.expr(Func::count(Expr::col(Asterisk))).from(rows);
    Expr::SubQuery(None, Box::new(counted.into()))
}
