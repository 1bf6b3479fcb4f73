//! The search where only selects of one value read other rows: the lists are the distinct ones of
//! an index, and the best row of each leads to the next, until there are enough.

use ff_core::plan::Predicate;
use ff_core::schema::{ColumnRef, Direction};
use sea_query::{
    Alias, CommonTableExpression, Expr, ExprTrait, IntoTableRef, Query, SelectStatement, UnionType,
    WithClause,
};

use super::{ByList, COVERED, KEY, KNOWN};
use crate::dialect::Dialect;
use crate::flags::is_flag;
use crate::scalar::{Operands, Scalars};
use crate::writer::{limit_to_one, placeholder};

/// The distinct lists.
const DISTINCT: &str = "lists";

/// The best rows of the lists, by their keys.
const FOUND: &str = "found";

/// The place of a found row among those of its list, from 1.
const PLACE: &str = "place";

/// The row that led to the next.
const LAST: &str = "last";

/// An order of rows, and the number of the placeholder that says how many are wanted.
#[derive(Clone, Copy)]
pub(crate) struct BestFirst<'a> {
    pub(crate) order: &'a [(ColumnRef, Direction)],
    pub(crate) limit: usize,
}

impl ByList<'_> {
    /// `WITH RECURSIVE lists (key), known (key, covered)`.
    pub(super) fn known_of_distinct<S: Operands>(
        &self,
        dialect: &dyn Dialect,
        operands: &mut S,
    ) -> WithClause {
        let mut scalars = Scalars { dialect, operands: &mut *operands, subject: Some("first") };
        let mut distinct = Query::select();
        distinct.distinct().from_as(self.table.name, "first");
        for part in &self.same {
            distinct.cond_where(scalars.predicate(part));
        }
        // An index is skipped through where all its columns up to the list are selected.
        distinct.expr_as(self.key(dialect, "first"), KEY);
        for column in self.columns_before() {
            distinct.column(("first", column.name));
        }
        let mut lists = Query::select();
        lists.column((DISTINCT, KEY)).from_subquery(distinct, DISTINCT);

        let is_covered = self.is_covered(dialect, operands, "next");
        let mut scalars = Scalars { dialect, operands, subject: Some("next") };
        let mut covered = Query::select();
        covered.expr(is_covered).from_as(self.table.name, "next");
        for part in &self.same {
            covered.cond_where(scalars.predicate(part));
        }
        covered.and_where(self.key(dialect, "next").eq(Expr::col((DISTINCT, KEY))));
        limit_to_one(&mut covered);

        let mut known = Query::select();
        known.column((DISTINCT, KEY)).expr(value_of(covered)).from(DISTINCT);
        let mut with = WithClause::new();
        with.recursive(true);
        with.cte(named(DISTINCT, &[KEY], lists)).cte(named(KNOWN, &[KEY, COVERED], known));
        with
    }

    /// The columns of the index in front of the list, flags first.
    fn columns_before(&self) -> Vec<ColumnRef> {
        let flags = self.same.iter().filter_map(|part| {
            if let Predicate::NotNull(column) = part { Some(*column) } else { None }
        });
        let flags = flags.filter(|column| is_flag(*column));
        let mut indexes = self.table.indexes.iter();
        let index = indexes.find(|index| index.columns.iter().any(|(one, _)| *one == self.column));
        let columns = index.into_iter().flat_map(|index| index.columns).map(|(column, _)| *column);
        flags.chain(columns.take_while(|column| *column != self.column)).collect()
    }

    /// `found (key, place, <primary key>)`: the best row of each covered list, and the next behind
    /// each row, up to the limit. `best` is a select from the table under `alias` that selects
    /// nothing yet, with an order and a limit.
    pub(super) fn row_by_row(
        &self,
        dialect: &dyn Dialect,
        best: &SelectStatement,
        alias: &'static str,
        best_first: BestFirst<'_>,
    ) -> CommonTableExpression {
        let mut best = best.clone();
        limit_to_one(&mut best);
        let value = |column: &ColumnRef, of: &'static str, behind: Expr| {
            let mut row = best.clone();
            row.column((alias, column.name)).and_where(behind);
            row.and_where(self.key(dialect, alias).eq(Expr::col((of, KEY))));
            value_of(row)
        };
        let key_of_row = |of: &'static str, behind: &Expr| -> Vec<Expr> {
            self.table.key.iter().map(|column| value(column, of, behind.clone())).collect()
        };

        let mut first = Query::select();
        first
            .column((KNOWN, KEY))
            .expr(Expr::cust("1"))
            .exprs(key_of_row(KNOWN, &Expr::cust("TRUE")));
        first.from(KNOWN).and_where(Self::covered());

        let mut next = Query::select();
        let behind = behind(best_first.order, alias, LAST);
        let place = Expr::col((FOUND, PLACE));
        next.column((FOUND, KEY)).expr(place.clone().add(Expr::cust("1")));
        next.exprs(key_of_row(FOUND, &behind)).from(FOUND);
        next.cross_join(Alias::new(self.table.name).into_table_ref().alias(LAST));
        next.and_where(self.is_found(LAST)).and_where(place.lt(placeholder(best_first.limit)));
        first.union(UnionType::All, next);

        let mut columns = vec![KEY, PLACE];
        columns.extend(self.table.key.iter().map(|column| column.name));
        named(FOUND, &columns, first)
    }

    /// Has the select take the found rows.
    pub(super) fn join_found(&self, select: &mut SelectStatement) {
        select.from(FOUND).cross_join(self.table.name);
        select.and_where(self.is_found(self.table.name));
    }

    fn is_found(&self, alias: &'static str) -> Expr {
        let same = self
            .table
            .key
            .iter()
            .map(|column| Expr::col((alias, column.name)).eq(Expr::col((FOUND, column.name))));
        same.reduce(ExprTrait::and).unwrap_or_else(|| Expr::cust("TRUE"))
    }
}

/// The condition that a row comes behind another in the order.
fn behind(order: &[(ColumnRef, Direction)], row: &'static str, other: &'static str) -> Expr {
    let behind = order.iter().rev().fold(None, |rest: Option<Expr>, (column, direction)| {
        let one = || Expr::col((row, column.name));
        let two = || Expr::col((other, column.name));
        let comes_behind = match direction {
            Direction::Ascending => one().gt(two()),
            Direction::Descending => one().lt(two()),
        };
        Some(match rest {
            None => comes_behind,
            Some(rest) => comes_behind.or(one().eq(two()).and(rest)),
        })
    });
    behind.unwrap_or_else(|| Expr::cust("FALSE"))
}

/// The one value that a select finds; NULL if it finds none.
pub(super) fn value_of(select: SelectStatement) -> Expr {
    Expr::SubQuery(None, Box::new(select.into()))
}

fn named(
    name: &'static str,
    columns: &[&'static str],
    select: SelectStatement,
) -> CommonTableExpression {
    let mut cte = CommonTableExpression::new();
    cte.table_name(name).columns(columns.iter().copied()).query(select);
    cte
}
