//! The rules that every statement keeps.
//!
//! The audit walks the shape, not the text: a broken rule is an error before any SQL exists.

use ff_core::plan::{
    Compare, Expr, Guard, List, Lookup, Mutation, Name, Pairing, Plan, Predicate, Query, Return,
    Selection,
};
use ff_core::schema::{ColumnRef, TableRef};

use crate::reads;
use crate::statement::RenderError;

/// Checks a plan.
///
/// # Errors
/// [`RenderError::Audit`] naming the plan and the rule: a guard without the full key; a preventing
/// row that is named by other than bound values, or that refuses nothing; a picked order that is
/// not total, or rows that are named by other than their bound key; an update or delete that does
/// not name its rows by a leading part of the primary key or of an index; a row written twice; a
/// name that is not held; a result of a table that is not written.
pub fn plan(plan: &Plan) -> Result<(), RenderError> {
    let broken = |rule: String| Err(RenderError::Audit { plan: plan.name.to_string(), rule });

    for guard in &plan.guards {
        if !covers_key(guard.table.key, &guard.key) {
            return broken(format!("guard {} names its row by less than the key", guard.row));
        }
    }

    if let Some(rule) = broken_by_preventing_rows(plan) {
        return broken(rule);
    }

    if let Some(rule) = plan.selection.as_ref().and_then(broken_by_selection) {
        return broken(rule.into());
    }

    let mut targets: Vec<(&str, &Vec<(ColumnRef, Expr)>)> = Vec::new();
    for mutation in &plan.mutations {
        match mutation {
            Mutation::Insert { row, .. } | Mutation::InsertEach { row, .. } if row.is_empty() => {
                return broken("an insert without columns".into());
            }
            Mutation::Insert { .. } | Mutation::InsertEach { .. } => {}
            Mutation::Update { table, target, .. } | Mutation::Delete { table, target } => {
                if !leads_key(table.key, target) && !leads_index(*table, target) {
                    return broken(format!("{} is changed without its key", table.name));
                }
                if targets.contains(&(table.name, target)) {
                    return broken(format!("a row of {} is changed twice", table.name));
                }
                targets.push((table.name, target));
            }
        }
    }

    let names: Vec<&Name> = plan
        .guards
        .iter()
        .map(|guard| &guard.row)
        .chain(plan.selection.iter().map(|selection| &selection.row))
        .collect();

    let mut unknown = None;
    plan.visit(&mut |expr| {
        if let Expr::Held(row, _) = expr
            && !names.contains(&row)
        {
            unknown = Some(row.clone());
        }
    });

    for item in &plan.returns {
        match item {
            Return::Held(row, _) if !names.contains(&row) => unknown = Some(row.clone()),
            Return::Held(..) => {}
            Return::Written(column) => drop(reads::writer_of(plan, *column)?),
        }
    }

    match unknown {
        Some(row) => broken(format!("{row} is read but not held")),
        None => Ok(()),
    }
}

/// Checks a query.
///
/// # Errors
/// [`RenderError::Audit`] for a look-up without the full key, or a list without a total order.
pub fn query(query: &Query) -> Result<(), RenderError> {
    match query {
        Query::Lookup(rows) => {
            for Lookup { row, table, key, .. } in rows {
                if !covers_key(table.key, key) {
                    return Err(RenderError::Audit {
                        plan: format!("lookup of {}", table.name),
                        rule: format!("{row} is named by less than the key"),
                    });
                }
            }
            Ok(())
        }
        Query::Sums(_) => Ok(()),
        Query::List(list) if is_total(list) => Ok(()),
        Query::List(list) => Err(RenderError::Audit {
            plan: list.name.to_string(),
            rule: "a bounded list needs an order that is total".into(),
        }),
    }
}

/// True if the order, together with the columns that the predicate fixes, determines the row. Every
/// database then lists the same rows first. The partition is ignored, since it follows from the
/// rest of a key.
fn is_total(list: &List) -> bool {
    let mut known: Vec<ColumnRef> = list.order.iter().map(|(column, _)| *column).collect();
    fixed_by(&list.predicate, &mut known);
    let tables = std::iter::once(list.table).chain(list.join.iter().map(|join| join.table));
    let tables: Vec<TableRef> = tables.collect();

    // Extends the known columns until nothing is added: a known key gives all columns of its row,
    // and a known column gives the one that it is joined on.
    loop {
        let before = known.len();
        for table in &tables {
            if determines(table, &known) {
                extend(&mut known, table.columns.iter().copied());
            }
        }

        for (left, right) in list.join.iter().flat_map(|join| &join.on) {
            if known.contains(left) {
                extend(&mut known, [*right]);
            } else if known.contains(right) {
                extend(&mut known, [*left]);
            }
        }

        if known.len() == before {
            return tables.iter().all(|table| determines(table, &known));
        }
    }
}

fn determines(table: &TableRef, known: &[ColumnRef]) -> bool {
    let numbered = table.identity().is_some_and(|number| known.contains(&number));
    numbered || table.key.iter().all(|key| key.name == "partition_key" || known.contains(key))
}

fn extend(known: &mut Vec<ColumnRef>, more: impl IntoIterator<Item = ColumnRef>) {
    for column in more {
        if !known.contains(&column) {
            known.push(column);
        }
    }
}

/// Adds the columns that equal one value in every row that the predicate accepts.
fn fixed_by(predicate: &Predicate, fixed: &mut Vec<ColumnRef>) {
    match predicate {
        Predicate::All(parts) => parts.iter().for_each(|part| fixed_by(part, fixed)),
        Predicate::Compare(path, Compare::Equal, _) if path.keys.is_empty() => {
            extend(fixed, [path.column]);
        }
        Predicate::Always
        | Predicate::Any(_)
        | Predicate::AnyApart(_)
        | Predicate::Compare(..)
        | Predicate::OneOf(..)
        | Predicate::NoneOf(..)
        | Predicate::Among(..)
        | Predicate::Contains(..)
        | Predicate::Null(_)
        | Predicate::NotNull(_)
        | Predicate::Covered(..)
        | Predicate::CoveredOrOpen(..)
        | Predicate::EmptyList(_)
        | Predicate::FirstBelow(..)
        | Predicate::NoneBelow(..)
        | Predicate::EachList(_)
        | Predicate::After(_) => {}
    }
}

/// The rule that the picked rows break, if they break one.
fn broken_by_selection(selection: &Selection) -> Option<&'static str> {
    if let Pairing::Named(key) = &selection.pairing {
        let named = covers_key(selection.table.key, key) && are_bound(key);
        return (!named).then_some("rows are named by other than the bound values of their key");
    }

    // The partition follows from the rest of the key.
    let total = selection.table.key.iter().all(|key| {
        key.name == "partition_key"
            || selection.orders().all(|order| order.iter().any(|(column, _)| column == key))
    });
    (!total).then_some("the picked order does not end in the primary key")
}

/// The rule that the rows that prevent the plan break, if they break one.
fn broken_by_preventing_rows(plan: &Plan) -> Option<String> {
    for row in &plan.unless {
        if !covers_key(row.table.key, &row.key) {
            return Some(format!("{} is named by less than the key", row.row));
        }
        if !is_bound(row) {
            return Some(format!("{} prevents the plan by more than bound values", row.row));
        }
    }

    let decides = match plan.selection {
        Some(_) => plan.picks_up_to(),
        None => !plan.guards.is_empty() || plan.gate().is_some(),
    };
    let unused = !plan.unless.is_empty() && !decides;
    unused.then(|| "nothing is refused by the rows that prevent the plan".to_owned())
}

/// True if the key and the predicate hold bound values only.
fn is_bound(row: &Guard) -> bool {
    let mut bound = true;
    row.visit(&mut |expr| match expr {
        Expr::Value(..) | Expr::Slot(..) | Expr::Const(_) | Expr::Null(_) => {}
        Expr::Held(..)
        | Expr::Item(..)
        | Expr::PickedCount
        | Expr::PickedSum(_)
        | Expr::Plus(..)
        | Expr::Greatest(..)
        | Expr::Joined(_)
        | Expr::Object(_) => bound = false,
    });
    bound
}

/// True if every value is a bound one.
fn are_bound(given: &[(ColumnRef, Expr)]) -> bool {
    given.iter().all(|(_, expr)| matches!(expr, Expr::Value(..) | Expr::Slot(..)))
}

fn covers_key(key: &[ColumnRef], given: &[(ColumnRef, Expr)]) -> bool {
    key.len() == given.len()
        && key.iter().all(|part| given.iter().any(|(column, _)| column == part))
}

fn leads_key(key: &[ColumnRef], given: &[(ColumnRef, Expr)]) -> bool {
    let leading = key.iter().take_while(|part| given.iter().any(|(column, _)| column == *part));
    // A partition alone names no row, so one more column is required.
    let names_rows = given.iter().any(|(column, _)| column.name != "partition_key");
    leading.count() == given.len() && names_rows
}

/// True if an index finds the rows by its leading columns: the partition and at least one more.
fn leads_index(table: TableRef, given: &[(ColumnRef, Expr)]) -> bool {
    // A value of a column means that the column is present, which both planners conclude.
    let has_all = |only: fn() -> Predicate| {
        let only = only();
        given.iter().any(|(column, _)| only == Predicate::NotNull(*column))
    };
    let usable = table.indexes.iter().filter(|index| index.only.is_none_or(has_all));
    usable.into_iter().any(|index| {
        let columns: Vec<_> = index.columns.iter().map(|(column, _)| *column).collect();
        leads_key(&columns, given)
    })
}
