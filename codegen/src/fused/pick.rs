//! The rows that a fused statement picks.

use ff_core::plan::{Expr as Scalar, Pairing, Path, Selection};
use sea_query::{Alias, Asterisk, Expr, ExprTrait, Func, JoinType, Query, WindowStatement};

use super::join::are_joined;
use super::{Renderer, SOURCE};
use crate::clauses::{few_rows_hint, order, unprevented};
use crate::dialect::RowLock;
use crate::flags::flagged;
use crate::lists::ByList;
use crate::scalar::Scalars;
use crate::statement::RenderError;
use crate::writer::limit_by;
use crate::{names, reads};

/// The CTE of the lists that rows are picked by, where they are picked list by list.
const LISTS: &str = "lists";

impl Renderer<'_> {
    /// The CTE of picked rows with the values of their items; `ok` itself if the plan picks none.
    pub(super) fn pick(&mut self, ok: &str) -> Result<String, RenderError> {
        let Some(selection) = &self.plan.selection else {
            return Ok(ok.to_owned());
        };
        let predicate = flagged(self.dialect, &selection.table, &selection.predicate);
        let mut operands = self.operands();
        let mut scalars = Scalars {
            dialect: self.dialect,
            operands: &mut operands,
            subject: Some(&selection.row),
        };

        let mut found = Query::select();
        found.from_as(selection.table.name, Alias::new(selection.row.to_string()));
        found.cond_where(scalars.predicate(&predicate));
        for (column, direction) in &selection.order {
            found.order_by_expr(scalars.column(*column), order(*direction));
        }

        let holds = reads::picked_reads(self.plan, selection);
        self.select_held(&mut found, &selection.row, &holds);
        if self.plan.picks_up_to() {
            // Not correlated with any row, so the database evaluates it once.
            found.cond_where(unprevented(self.dialect, &mut self.operands(), self.plan));
        }

        match &selection.pairing {
            Pairing::Every => {
                self.dialect.lock_rows(&mut found, RowLock::Wait)?;
                let mut picked = self.joined(ok, found, &selection.row);
                picked.and_where(few_rows_hint(SOURCE));
                self.cte("picked", picked);
            }
            Pairing::UpTo(limit) => {
                let Scalar::Slot(_, slot) = limit else {
                    return Err(RenderError::Audit {
                        plan: self.plan.name.to_string(),
                        rule: "the number of slots is a bound value".into(),
                    });
                };
                limit_by(&mut found, slot + 1);
                self.dialect.lock_rows(&mut found, RowLock::SkipLocked)?;
                if let Some(by_list) = ByList::of(selection.table, &predicate) {
                    let known = by_list.known(self.dialect, &mut operands);
                    let mut each = Query::select();
                    each.column((Alias::new(selection.row.to_string()), Asterisk));
                    by_list.each(self.dialect, &mut each, LISTS, found, &selection.row);
                    self.cte(LISTS, known.query(ByList::covered_keys()));
                    self.cte("found", each);
                } else {
                    self.cte("found", found);
                }
                self.pair_with_slots(selection, ok);
            }
        }

        Ok("picked".into())
    }

    fn pair_with_slots(&mut self, selection: &Selection, ok: &str) {
        let mut best_first = WindowStatement::new();
        for (column, direction) in &selection.order {
            let name = names::held(&selection.row, &Path::column(*column));
            best_first.order_by_expr(Expr::col(("found", name)), order(*direction));
        }

        let mut numbered = Query::select();
        numbered.column(("found", Asterisk)).from("found");
        numbered.expr_window_as(Func::cust("row_number"), best_first, "slot");
        self.cte("numbered", numbered);

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
