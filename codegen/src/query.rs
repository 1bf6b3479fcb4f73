//! Reads, each as one statement.

use ff_core::plan::key::{Key, bound};
use ff_core::plan::value::ColumnType;
use ff_core::plan::{
    Expr as Scalar, List, Lookup, Name, Path, Predicate, Query as Read, QueryShape, Sums,
};
use ff_core::schema::{ColumnRef, TableRef};
use sea_query::{
    Alias, Asterisk, Condition, Expr, ExprTrait, Func, JoinType, Order, Query, SelectStatement,
    UnionType, WithClause,
};

use crate::audit;
use crate::clauses::{held_value, order};
use crate::dialect::Dialect;
use crate::flags::flagged;
use crate::lists::{BestFirst, ByList};
use crate::scalar::{Operands, Scalars};
use crate::statement::{Bind, BindSource, RenderError, Statement};
use crate::writer::{self, Tree, fence, limit_by, placeholder};

/// Renders the query. A look-up yields one result row. In it, each looked-up row has its first key
/// column (NULL if the row is absent) and then the requested columns. A list yields its columns.
///
/// # Errors
/// [`RenderError::Audit`] for an unbounded or unkeyed read.
pub fn query(dialect: &dyn Dialect, shape: &QueryShape) -> Result<Statement, RenderError> {
    audit::query(shape.query())?;
    let binds = shape.slot_types().iter().copied().enumerate();
    let binds = binds.map(|(slot, ty)| Bind { source: BindSource::Slot(slot), ty }).collect();

    let (tree, yields) = match shape.query() {
        Read::Lookup(rows) => lookup(dialect, rows),
        Read::List(read) => list(dialect, read)?,
        Read::Sums(read) => sums(dialect, read),
    };
    Ok(Statement::new(dialect, &tree, binds, yields))
}

/// A select of the database's clock, in Unix milliseconds.
#[must_use]
pub fn now_ms(dialect: &dyn Dialect) -> String {
    let mut select = Query::select();
    select.expr(dialect.now_ms());
    writer::plain(dialect.grammar(), &Tree::Select(select))
}

struct Direct<'a> {
    dialect: &'a dyn Dialect,
}

impl Operands for Direct<'_> {
    fn slot(&mut self, slot: usize, own: ColumnType, ty: ColumnType) -> Expr {
        let value = self.dialect.typed(placeholder(slot + 1), own);
        self.dialect.stored_as(value, own, ty)
    }

    fn held(&mut self, row: &Name, path: &Path, _: ColumnType) -> Expr {
        held_value(self.dialect, row, path)
    }

    fn picked_count(&mut self) -> Expr {
        Expr::null()
    }

    fn picked_sum(&mut self, _: ColumnRef) -> Expr {
        Expr::null()
    }
}

fn lookup(dialect: &dyn Dialect, rows: &[Lookup]) -> (Tree, Vec<ColumnType>) {
    let mut select = Query::select();
    let mut yields = Vec::new();

    // One row to join to, so that absent rows still yield a result row.
    let mut one = Query::select();
    one.expr_as(Expr::cust("1"), "one");
    select.from_subquery(one, "always");

    for Lookup { row, table, key, columns } in rows {
        let alias = Alias::new(row.to_string());
        let mut operands = Direct { dialect };
        let mut scalars = Scalars { dialect, operands: &mut operands, subject: Some(row) };
        let same = scalars.has_key(&with_known_partition(rows, key));

        let depends = key.iter().any(|(_, expr)| rows.iter().any(|row| expr.reads_row(&row.row)));
        if depends {
            follow(dialect, &mut select, JoinType::LeftJoin, *table, alias.clone(), same);
        } else {
            select.join_as(JoinType::LeftJoin, table.name, alias.clone(), same);
        }

        for column in table.key.iter().take(1).chain(columns) {
            select.column((alias.clone(), column.name));
            yields.push(column.ty);
        }
    }

    (Tree::Select(select), yields)
}

/// The key, with the bound partition in place of one that another row holds. The server then knows
/// before it reads a row which partition to look at. The rest of the key still holds columns of the
/// other row, so that none follows an absent row.
fn with_known_partition(rows: &[Lookup], key: &Key) -> Vec<(ColumnRef, Scalar)> {
    let mut key = key.to_vec();
    if let Some(((_, partition), rest)) = key.split_first_mut()
        && let Scalar::Held(row, path) = &*partition
        && rest.iter().any(|(_, value)| value.reads_row(row))
    {
        let asked = |row: &Name| rows.iter().find(|asked| asked.row == *row);
        let key_of = |row: &Name| asked(row).map(|asked| asked.key.as_slice());
        *partition = bound(&key_of, row, path).unwrap_or(partition).clone();
    }
    key
}

/// Joins a row by a key that another row holds.
fn follow(
    dialect: &dyn Dialect,
    select: &mut SelectStatement,
    kind: JoinType,
    table: TableRef,
    alias: Alias,
    same: Condition,
) {
    if dialect.fences_lookups() {
        let mut found = Query::select();
        found.column(Asterisk).from_as(table.name, alias.clone()).cond_where(same);
        fence(&mut found);
        select.join_lateral(kind, found, alias, Expr::cust("TRUE"));
    } else {
        select.join_as(kind, table.name, alias, same);
    }
}

fn list(dialect: &dyn Dialect, read: &List) -> Result<(Tree, Vec<ColumnType>), RenderError> {
    let Scalar::Slot(_, slot) = &read.limit else {
        return Err(RenderError::Audit {
            plan: read.name.to_string(),
            rule: "the limit is a bound value".into(),
        });
    };
    let limit = slot + 1;
    let yields = read.columns.iter().map(|column| column.ty).collect();
    if let Predicate::AnyApart(parts) = &read.predicate {
        return Ok((list_apart(dialect, read, parts, limit)?, yields));
    }
    let (select, known) = best(dialect, read, &read.predicate, limit)?;
    Ok((tree(select, known), yields))
}

fn tree(select: SelectStatement, known: Option<WithClause>) -> Tree {
    match known {
        Some(known) => Tree::With(select.with(known)),
        None => Tree::Select(select),
    }
}

/// The best rows of each part, and of those the best of all. A row of several parts counts once.
fn list_apart(
    dialect: &dyn Dialect,
    read: &List,
    parts: &[Predicate],
    limit: usize,
) -> Result<Tree, RenderError> {
    let broken = |rule: &str| RenderError::Audit { plan: read.name.to_string(), rule: rule.into() };
    if !read.order.iter().all(|(column, _)| read.columns.contains(column)) {
        return Err(broken("rows of several parts are ordered by columns that are read"));
    }

    let (mut selects, mut known) = (Vec::new(), None);
    for (number, part) in parts.iter().enumerate() {
        let (rows, lists) = best(dialect, read, part, limit)?;
        if known.is_some() && lists.is_some() {
            return Err(broken("one part at most is looked for list by list"));
        }
        known = known.or(lists);

        let mut select = Query::select();
        select.columns(read.columns.iter().map(|column| column.name));
        select.from_subquery(rows, Alias::new(format!("part{number}")));
        selects.push(select);
    }

    let mut selects = selects.into_iter();
    let mut all = selects.next().ok_or_else(|| broken("there is a part"))?;
    for select in selects {
        all.union(UnionType::Distinct, select);
    }
    for (column, direction) in &read.order {
        all.order_by(column.name, order(*direction));
    }
    limit_by(&mut all, limit);
    Ok(tree(all, known))
}

/// The best rows that meet the predicate, and the lists by which they are found, if they are.
fn best(
    dialect: &dyn Dialect,
    read: &List,
    predicate: &Predicate,
    limit: usize,
) -> Result<(SelectStatement, Option<WithClause>), RenderError> {
    let predicate = flagged(dialect, &read.table, predicate);
    let by_list = ByList::of(read.table, &predicate).filter(|_| read.join.is_none());
    let each = of_each(read, by_list.as_ref())?.unwrap_or(limit);
    if let Some(by_list) = by_list {
        let (select, known) = list_by_list(dialect, read, &predicate, &by_list, [each, limit]);
        return Ok((select, Some(known)));
    }

    let mut operands = Direct { dialect };
    let mut scalars = Scalars { dialect, operands: &mut operands, subject: None };
    let mut select = Query::select();
    select.from(read.table.name);

    if let Some(join) = &read.join {
        let same = join.on.iter().fold(Condition::all(), |all, (left, right)| {
            all.add(scalars.column(*left).eq(scalars.column(*right)))
        });
        let alias = Alias::new(join.table.name);
        follow(dialect, &mut select, JoinType::InnerJoin, join.table, alias, same);
    }

    for column in &read.columns {
        select.expr(scalars.column(*column));
    }
    select.cond_where(scalars.predicate(&predicate));

    for (column, direction) in &read.order {
        select.order_by_expr(scalars.column(*column), order(*direction));
    }
    limit_by(&mut select, limit);
    Ok((select, None))
}

/// The place of the bound on the rows of each list, if there is one.
fn of_each(read: &List, by_list: Option<&ByList<'_>>) -> Result<Option<usize>, RenderError> {
    let Some(of_each) = &read.of_each else { return Ok(None) };
    let found_by = |by_list: &ByList<'_>| by_list.is_over(of_each.list);
    if let Scalar::Slot(_, slot) = &of_each.limit
        && by_list.is_some_and(found_by)
    {
        return Ok(Some(slot + 1));
    }
    Err(RenderError::Audit {
        plan: read.name.to_string(),
        rule: "a bound on each list needs rows that are found list by list".into(),
    })
}

fn sums(dialect: &dyn Dialect, read: &Sums) -> (Tree, Vec<ColumnType>) {
    let mut operands = Direct { dialect };
    let mut scalars = Scalars { dialect, operands: &mut operands, subject: None };
    let mut select = Query::select();
    select.from(read.table.name);

    for column in &read.by {
        let column = scalars.column(*column);
        select.expr(column.clone()).add_group_by([column.clone()]);
        select.order_by_expr(column, Order::Asc);
    }
    // The sum of 64-bit integers may be of a wider type.
    let sum = Expr::from(Func::sum(scalars.column(read.of)));
    select.expr(dialect.typed(sum, read.of.ty));
    select.cond_where(scalars.predicate(&flagged(dialect, &read.table, &read.predicate)));

    let yields = read.by.iter().chain([&read.of]).map(|column| column.ty).collect();
    (Tree::Select(select), yields)
}

/// The best rows of each list that is covered, and of those the best of all.
fn list_by_list(
    dialect: &dyn Dialect,
    read: &List,
    predicate: &Predicate,
    by_list: &ByList<'_>,
    [each, limit]: [usize; 2],
) -> (SelectStatement, WithClause) {
    let (table, alias) = (read.table.name, by_list.alias_of_best(dialect));
    let mut operands = Direct { dialect };
    let mut known = by_list.known(dialect, &mut operands);
    let mut scalars = Scalars { dialect, operands: &mut operands, subject: Some(alias) };
    let mut best = Query::select();
    best.from_as(table, alias).cond_where(scalars.predicate(predicate));

    let mut select = Query::select();
    select.columns(read.columns.iter().map(|column| (table, column.name)));
    for (rows, name, limit) in [(&mut best, alias, each), (&mut select, table, limit)] {
        for (column, direction) in &read.order {
            rows.order_by((name, column.name), order(*direction));
        }
        limit_by(rows, limit);
    }
    let order = BestFirst { order: &read.order, limit: each };
    by_list.only_best(dialect, &mut known, &mut select, best, order);
    (select, known)
}
