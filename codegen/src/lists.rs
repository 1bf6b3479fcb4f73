//! Rows that are looked for list by list.
//!
//! An index over a list column keeps rows with equal lists together. So where a predicate asks that
//! the list be covered, the lists that there are come first (`known`): each is found by one look
//! behind the one before it, however many rows have it. Then come the best rows of each covered
//! list. Rows of a list that is not covered are never read, but for the first of each list. A
//! predicate may also ask for the best rows of each list, whatever it is.

use ff_core::plan::{Compare, Path, Predicate};
use ff_core::schema::execution::TOKENS_BELOW;
use ff_core::schema::{ColumnRef, TableRef};
use sea_query::{
    Alias, Asterisk, CommonTableExpression, Expr, ExprTrait, IntoTableRef, JoinType, Query,
    SelectStatement, UnionType, WithClause,
};

use crate::dialect::{Dialect, ListSearch};
use crate::scalar::{Covering, Operands, Scalars};
use crate::writer::limit_to_one;

/// The lists that there are, and whether each is covered.
pub(crate) const KNOWN: &str = "known";

mod row_by_row;

pub(crate) use row_by_row::BestFirst;

/// The number that SQLite gives each row. A row that is named by it is found by it. By the columns
/// of a primary key it may not be: once the table is analysed, a scan can seem to cost less.
const ROW_ID: &str = "rowid";

const KEY: &str = "key";
const COVERED: &str = "covered";

/// How the rows of one predicate are found list by list.
pub(crate) struct ByList<'a> {
    table: TableRef,
    column: ColumnRef,
    /// What covers a list; nothing where each list is asked for.
    by: Option<Covering<'a>>,
    /// The parts that an index proves or finds by equality.
    same: Vec<&'a Predicate>,
    /// True if no list that begins with a token is asked for.
    passes_tokens: bool,
}

impl<'a> ByList<'a> {
    /// `None` where the predicate asks for no lists, or no index keeps equal lists together.
    pub(crate) fn of(table: TableRef, predicate: &'a Predicate) -> Option<Self> {
        let all = if let Predicate::All(parts) = predicate { Some(parts) } else { None };
        let parts = all.map_or(std::slice::from_ref(predicate), Vec::as_slice);
        let (column, by) = parts.iter().find_map(|part| {
            let (column, by) = if let Predicate::EachList(column) = part {
                (*column, None)
            } else {
                let (column, by) = Covering::of(part)?;
                (column, Some(by))
            };
            is_indexed(table, column).then_some((column, by))
        })?;
        let same = parts.iter().filter(|part| {
            // What comes behind the list in the index does not lead to the next list. But a
            // partition says which part of the table to look at.
            let leads = |one: ColumnRef| leads(table, one, column) || is_partition(table, one);
            let equal = |path: &Path| path.keys.is_empty() && leads(path.column);
            matches!(part, Predicate::OneOf(..) | Predicate::NotNull(_))
                || matches!(part, Predicate::Among(one, _) if is_partition(table, *one))
                || matches!(part, Predicate::Compare(path, Compare::Equal, _) if equal(path))
        });
        let passes_tokens = parts.iter().any(|part| {
            matches!(part, Predicate::NoneBelow(of, bound) if *of == column && **bound == *TOKENS_BELOW)
        });
        Some(Self { table, column, by, same: same.collect(), passes_tokens })
    }

    /// `WITH RECURSIVE known (key, covered)`. It begins below every list; on Postgres that is the
    /// empty one, which is always covered, and so costs no look of its own.
    pub(crate) fn known<S: Operands>(&self, dialect: &dyn Dialect, operands: &mut S) -> WithClause {
        if dialect.list_search() == ListSearch::RowByRow {
            return self.known_of_distinct(dialect, operands);
        }
        let mut lists = Query::select();
        lists.expr_as(dialect.least_list_key(), KEY).expr_as(Expr::cust("TRUE"), COVERED);
        lists.union(UnionType::All, self.next(dialect, operands));

        let mut known = CommonTableExpression::new();
        known.table_name(KNOWN).columns([KEY, COVERED]).query(lists);
        let mut with = WithClause::new();
        with.recursive(true).cte(known);
        with
    }

    /// The list behind a known one.
    fn next<S: Operands>(&self, dialect: &dyn Dialect, operands: &mut S) -> SelectStatement {
        let mut step = Query::select();
        step.from(KNOWN);
        if dialect.list_search() == ListSearch::Lateral {
            let mut next = self.first_behind(dialect, operands, "next");
            next.expr_as(self.key(dialect, "next"), KEY);
            next.expr_as(self.is_covered(dialect, operands, "next"), COVERED);
            step.column(("next", KEY)).column(("next", COVERED));
            step.join_lateral(JoinType::InnerJoin, next, "next", Expr::cust("TRUE"));
        } else {
            let mut first = self.first_behind(dialect, operands, "first");
            first.column(("first", ROW_ID));
            step.expr(self.key(dialect, "next")).expr(self.is_covered(dialect, operands, "next"));
            step.cross_join(Alias::new(self.table.name).into_table_ref().alias("next"));
            step.and_where(Expr::col(("next", ROW_ID)).eq(row_by_row::value_of(first)));
        }
        step
    }

    fn first_behind<S: Operands>(
        &self,
        dialect: &dyn Dialect,
        operands: &mut S,
        alias: &'static str,
    ) -> SelectStatement {
        let mut scalars = Scalars { dialect, operands, subject: Some(alias) };
        let mut first = Query::select();
        first.from_as(self.table.name, alias);
        for part in &self.same {
            first.cond_where(scalars.predicate(part));
        }
        let key = self.key(dialect, alias);
        first.and_where(key.clone().gt(self.from(dialect)));
        first.order_by_expr(key, sea_query::Order::Asc);
        limit_to_one(&mut first);
        first
    }

    /// The key behind which the next list is looked for: the known one, or the last of lists that
    /// are all none.
    fn from(&self, dialect: &dyn Dialect) -> Expr {
        let known = || Expr::col((KNOWN, KEY));
        let passed = dialect.keys_of_token_lists().filter(|_| self.passes_tokens);
        let Some((first, behind)) = passed else { return known() };
        let is_within = known().gte(first).and(known().lt(behind.clone()));
        Expr::case(is_within, behind).finally(known()).into()
    }

    /// The alias under which the best rows are selected for [`Self::only_best`].
    pub(crate) fn alias_of_best(&self, dialect: &dyn Dialect) -> &'static str {
        match dialect.list_search() {
            // Nothing else has the table's name.
            ListSearch::Lateral => self.table.name,
            ListSearch::InCondition | ListSearch::RowByRow => "best",
        }
    }

    /// Has the select take `rows` once for each list that `lists` has. They are a select from the
    /// table under `alias`, with an order and a limit of its own.
    pub(crate) fn each(
        &self,
        dialect: &dyn Dialect,
        select: &mut SelectStatement,
        lists: &'static str,
        mut rows: SelectStatement,
        alias: &str,
    ) {
        rows.and_where(self.key(dialect, alias).eq(Expr::col((lists, KEY))));
        let always = Expr::cust("TRUE");
        select.from(lists).join_lateral(JoinType::InnerJoin, rows, Alias::new(alias), always);
    }

    /// Has the select take, by the table's name, the best rows of each known list that is covered.
    /// `best` selects nothing yet, from the table under [`Self::alias_of_best`], and has an order
    /// and a limit.
    pub(crate) fn only_best(
        &self,
        dialect: &dyn Dialect,
        known: &mut WithClause,
        select: &mut SelectStatement,
        mut best: SelectStatement,
        best_first: BestFirst<'_>,
    ) {
        let alias = self.alias_of_best(dialect);
        match dialect.list_search() {
            ListSearch::Lateral => {
                best.column((alias, Asterisk));
                self.each(dialect, select, KNOWN, best, alias);
                select.and_where(Self::covered());
            }
            ListSearch::InCondition => {
                best.and_where(self.key(dialect, alias).eq(Expr::col((KNOWN, KEY))));
                best.column((alias, ROW_ID));
                select.from(KNOWN).cross_join(self.table.name);
                select.and_where(Self::covered());
                select.and_where(Expr::col((self.table.name, ROW_ID)).in_subquery(best));
            }
            ListSearch::RowByRow => {
                known.cte(self.row_by_row(dialect, &best, alias, best_first));
                self.join_found(select);
            }
        }
    }

    /// The keys of the covered lists.
    pub(crate) fn covered_keys() -> SelectStatement {
        let mut keys = Query::select();
        keys.column((KNOWN, KEY)).from(KNOWN).and_where(Self::covered());
        keys
    }

    /// A known list is covered.
    pub(crate) fn covered() -> Expr {
        Expr::col((KNOWN, COVERED))
    }

    /// True if the rows are found by the lists of that column.
    pub(crate) fn is_over(&self, column: ColumnRef) -> bool {
        self.column == column
    }

    fn key(&self, dialect: &dyn Dialect, alias: &str) -> Expr {
        let list = Expr::col((Alias::new(alias), self.column.name));
        dialect.list_key(list.clone()).unwrap_or(list)
    }

    fn is_covered<S: Operands>(
        &self,
        dialect: &dyn Dialect,
        operands: &mut S,
        alias: &str,
    ) -> Expr {
        let Some(by) = self.by else { return Expr::cust("TRUE") };
        let mut scalars = Scalars { dialect, operands, subject: Some(alias) };
        scalars.covered(self.column, by)
    }
}

/// True if the column stands before the list in an index.
fn leads(table: TableRef, column: ColumnRef, list: ColumnRef) -> bool {
    table.indexes.iter().any(|index| {
        let mut before = index.columns.iter().take_while(|(indexed, _)| *indexed != list);
        before.clone().count() < index.columns.len() && before.any(|(one, _)| *one == column)
    })
}

/// True for the column that a partitioned database splits the table by.
fn is_partition(table: TableRef, column: ColumnRef) -> bool {
    table.partitioned && table.key.first() == Some(&column)
}

fn is_indexed(table: TableRef, column: ColumnRef) -> bool {
    let mut columns = table.indexes.iter().flat_map(|index| index.columns);
    columns.any(|(indexed, _)| *indexed == column)
}
