//! Joins of a statement's items with the rows that its CTEs yield.
//!
//! The planner expects few rows of every CTE. It may thus run a join of two as a nested loop, which
//! reads one of them once for each row of the other. A full join is never run so. Every row that
//! was written belongs to an item, so a full join yields what a left join does.

use ff_core::plan::Expr as Scalar;
use ff_core::schema::ColumnRef;
use sea_query::{Alias, Expr, ExprTrait, Func, JoinType, SelectStatement};

use super::Renderer;
use crate::scalar::Scalars;
use crate::statement::Arity;

impl Renderer<'_> {
    /// Joins the rows of the CTE `rows` to their items by this key. Items without a row stay.
    pub(super) fn join_rows(
        &self,
        select: &mut SelectStatement,
        rows: &str,
        key: &[(ColumnRef, Scalar)],
    ) {
        let mut operands = self.operands();
        let mut scalars =
            Scalars { dialect: self.dialect, operands: &mut operands, subject: Some(rows) };
        let same = scalars.has_key(key);

        // A full join needs conditions that compare the two sides.
        let compares = key.iter().all(|(_, expr)| self.is_of_item(expr));
        let join = if compares { JoinType::FullOuterJoin } else { JoinType::LeftJoin };
        select.join(join, Alias::new(rows), same);
    }

    /// The value is a column of the items.
    fn is_of_item(&self, expr: &Scalar) -> bool {
        match expr {
            Scalar::Held(..) => true,
            Scalar::Slot(_, slot) => {
                self.params.get(*slot).is_some_and(|param| param.arity == Arity::Each)
            }
            Scalar::Value(..)
            | Scalar::Const(_)
            | Scalar::Null(_)
            | Scalar::Plus(..)
            | Scalar::Greatest(..)
            | Scalar::PickedCount
            | Scalar::PickedSum(_)
            | Scalar::Item(..)
            | Scalar::Joined(_)
            | Scalar::Object(_) => false,
        }
    }
}

/// None of the columns is NULL: both sides of a full join are there. Written so that the planner,
/// which would make an inner join of `IS NOT NULL`, keeps the full join.
pub(super) fn are_joined<const N: usize>(columns: [Expr; N]) -> Expr {
    Expr::from(Func::cust("num_nulls").args(columns)).eq(0)
}
