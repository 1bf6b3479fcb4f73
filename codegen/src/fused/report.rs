//! The result rows of a fused statement.

use std::collections::BTreeMap;

use ff_core::plan::value::ColumnType;
use ff_core::plan::{Mutation, Pairing, Path, Return, Selection};
use sea_query::{Alias, Expr, ExprTrait, JoinType, Query, SelectStatement, UnionType};

use super::{CLOSED, Renderer, SOURCE};
use crate::clauses::order;
use crate::statement::RenderError;
use crate::{names, reads};

impl Renderer<'_> {
    /// The items that a row prevents: their ordinals, negative.
    fn prevented_items(&self, yields: usize) -> SelectStatement {
        let mut closed = Query::select();
        closed.expr(Expr::cust("0").sub(Expr::col((SOURCE, "ord")))).from_as(CLOSED, SOURCE);
        for _ in 0..yields {
            closed.expr(Expr::null());
        }
        closed
    }

    /// The final select: one row per applied item, ordinal first.
    pub(super) fn report(
        &self,
        ok: &str,
        items: &str,
    ) -> Result<(SelectStatement, Vec<ColumnType>, bool), RenderError> {
        let every = matches!(self.plan.selection, Some(Selection { pairing: Pairing::Every, .. }));
        let mut select = Query::select();
        let mut yields = Vec::new();

        if every {
            // An item that picked nothing has still applied, so it is reported.
            select.column(("o", "ord")).from_as(Alias::new(ok), "o").join_as(
                JoinType::FullOuterJoin,
                Alias::new(items),
                SOURCE,
                Expr::col((SOURCE, "ord")).eq(Expr::col(("o", "ord"))),
            );
            select.column((SOURCE, "ord"));
            yields.push(ColumnType::Int);
        } else {
            select.column((SOURCE, "ord")).from_as(Alias::new(items), SOURCE);
        }

        let mut joins: BTreeMap<usize, &Mutation> = BTreeMap::new();
        for item in &self.plan.returns {
            match item {
                Return::Held(row, path) => {
                    select.column((SOURCE, names::held(row, path)));
                    yields.push(path.ty());
                }
                Return::Written(column) => {
                    let (index, mutation) = reads::writer_of(self.plan, *column)?;
                    joins.insert(index, mutation);
                    select.column((Alias::new(self.write_name(index)), column.name));
                    yields.push(column.ty);
                }
            }
        }

        for (index, mutation) in joins {
            // An item that wrote or picked nothing has still applied.
            let key = reads::key_of(self.plan, mutation)?;
            self.join_rows(&mut select, &self.write_name(index), &key);
        }

        if let Some(Selection { pairing: Pairing::Every, row, order: best_first, .. }) =
            &self.plan.selection
        {
            for (column, direction) in best_first {
                let name = names::held(row, &Path::column(*column));
                select.order_by((SOURCE, name), order(*direction));
            }
        }

        if !self.plan.unless.is_empty() && !self.plan.picks_up_to() {
            select.union(UnionType::All, self.prevented_items(yields.len()));
        }

        Ok((select, yields, every))
    }
}
