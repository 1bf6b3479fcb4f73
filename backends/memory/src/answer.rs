//! Answers queries from the stored rows.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeMap;

use ff_core::plan::facts::{Answer, Row};
use ff_core::plan::value::Value;
use ff_core::plan::{Held, Join, List, Lookup, Query, Sums};
use ff_core::schema::{ColumnRef, Direction, Table};

use crate::tables::{Key, Tables};

/// Answers one query.
pub(crate) fn answer(tables: &Tables, query: &Query) -> Answer {
    match query {
        Query::Lookup(rows) => Answer::Lookup(look_up(tables, rows)),
        Query::List(list) => Answer::List(list_rows(tables, list)),
        Query::Sums(sums) => Answer::List(sum_rows(tables, sums)),
    }
}

fn look_up(tables: &Tables, lookups: &[Lookup]) -> Vec<Option<Row>> {
    let mut held = Held::default();
    let mut found = Vec::with_capacity(lookups.len());

    for Lookup { row, table, key, columns } in lookups {
        let key = key.iter().map(|(column, expr)| (*column, expr.evaluate(&held)));
        let stored = row_by_key(tables, table.0, &Row::new(key.collect()));
        if let Some(stored) = stored {
            held.hold(row, stored);
        }
        found.push(stored.map(|stored| project(stored, columns)));
    }

    found
}

/// The row with these values as primary key.
pub(crate) fn row_by_key<'a>(tables: &'a Tables, table: &Table, key: &Row) -> Option<&'a Row> {
    let part = |column: &ColumnRef| key.value(*column).cloned().map(|v| v.stored_as(column.ty));
    let key = table.key.iter().map(part).collect::<Option<Vec<Value>>>()?;
    tables.row(table.name, &Key(key))
}

fn list_rows(tables: &Tables, list: &List) -> Vec<Row> {
    let held = Held::default();
    let rows = tables.rows(list.table.name).flat_map(|(_, row)| join_rows(tables, list, row));
    let mut rows: Vec<Row> = rows.filter(|row| list.predicate.accepts(row, &held)).collect();

    if let Some(of_each) = &list.of_each {
        let mut lists: BTreeMap<Key, Vec<Row>> = BTreeMap::new();
        for row in rows {
            let key = row.value(of_each.list).cloned().unwrap_or(Value::Null);
            lists.entry(Key(vec![key])).or_default().push(row);
        }
        let most = limit_of(&of_each.limit.evaluate(&held));
        rows = lists.into_values().flat_map(|rows| best(rows, &list.order, most)).collect();
    }
    let rows = best(rows, &list.order, limit_of(&list.limit.evaluate(&held)));
    rows.iter().map(|row| project(row, &list.columns)).collect()
}

fn sum_rows(tables: &Tables, sums: &Sums) -> Vec<Row> {
    let (Sums { by, of, predicate, .. }, held) = (sums, Held::default());
    let mut groups: BTreeMap<Key, Value> = BTreeMap::new();
    for (_, row) in tables.rows(sums.table.name) {
        if predicate.accepts(row, &held) {
            let group = project_cells(row, by).into_iter().map(|(_, value)| value).collect();
            let sum = groups.entry(Key(group)).or_insert(Value::Int(0));
            *sum = sum.plus(row.value(*of).unwrap_or(&Value::Null));
        }
    }

    let row = |(Key(group), sum)| {
        let cells = by.iter().copied().zip(group);
        Row::new(cells.chain([(*of, sum)]).collect())
    };
    groups.into_iter().map(row).collect()
}

/// The row together with each row that joins it; the row alone if there is no join.
fn join_rows(tables: &Tables, list: &List, row: &Row) -> Vec<Row> {
    let Some(Join { table, on }) = &list.join else {
        return vec![row.clone()];
    };
    let value = |column: &ColumnRef| row.value(*column).cloned().unwrap_or(Value::Null);
    let equal: Vec<_> = on.iter().map(|(left, right)| (*right, value(left))).collect();
    let keys = tables.matching(table.0, &equal);

    let others = keys.iter().filter_map(|key| tables.row(table.name, key));
    let cells = |table: &Table, row: &Row| project_cells(row, table.columns);
    others
        .map(|other| {
            let mut both = cells(list.table.0, row);
            both.extend(cells(table.0, other));
            Row::new(both)
        })
        .collect()
}

/// The best of these rows, best first. Rows that compare equal, or not at all, stay in the given
/// order.
pub(crate) fn best<R: Borrow<Row>>(
    rows: Vec<R>,
    order: &[(ColumnRef, Direction)],
    limit: usize,
) -> Vec<R> {
    let compare = |(a_place, a): &(usize, R), (b_place, b): &(usize, R)| {
        let by_column = compare_by(order, a.borrow(), b.borrow());
        by_column.then_with(|| a_place.cmp(b_place))
    };

    let mut rows: Vec<(usize, R)> = rows.into_iter().enumerate().collect();
    // Of a long list, only the rows that are wanted are sorted.
    if limit < rows.len() {
        rows.select_nth_unstable_by(limit, compare);
        rows.truncate(limit);
    }
    rows.sort_unstable_by(compare);
    rows.into_iter().map(|(_, row)| row).collect()
}

fn compare_by(order: &[(ColumnRef, Direction)], a: &Row, b: &Row) -> Ordering {
    let by_column = order.iter().map(|(column, direction)| {
        let (a, b) = (a.value(*column), b.value(*column));
        let ordering = a.zip(b).and_then(|(a, b)| a.compare(b)).unwrap_or(Ordering::Equal);
        match direction {
            Direction::Ascending => ordering,
            Direction::Descending => ordering.reverse(),
        }
    });
    by_column.into_iter().find(|ordering| ordering.is_ne()).unwrap_or(Ordering::Equal)
}

/// A limit; 0 if it is negative or not a number.
pub(crate) fn limit_of(limit: &Value) -> usize {
    match limit {
        Value::Int(number) => usize::try_from(*number).unwrap_or(0),
        Value::Null
        | Value::Bool(_)
        | Value::Float(_)
        | Value::Text(_)
        | Value::Bytes(_)
        | Value::Uuid(_)
        | Value::Json(_)
        | Value::TextList(_) => 0,
    }
}

fn project(row: &Row, columns: &[ColumnRef]) -> Row {
    Row::new(project_cells(row, columns))
}

fn project_cells(row: &Row, columns: &[ColumnRef]) -> Vec<(ColumnRef, Value)> {
    let cell = |column: &ColumnRef| (*column, row.value(*column).cloned().unwrap_or(Value::Null));
    columns.iter().map(cell).collect()
}
