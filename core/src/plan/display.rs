//! Plans and queries as short readable scripts.

use std::fmt::{Display, Formatter, Result};

use super::{
    Assign, Compare, Expr, Guard, List, Mutation, OfEach, OnConflict, OnTaken, Openings, Pairing,
    Path, Plan, Predicate, Query, Rest, Return, Sums,
};
use crate::plan::column::ColumnRef;
use crate::plan::table::Direction;
use crate::plan::value::Value;

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "plan {}", self.name)?;
        for (word, rows) in [("guard", &self.guards), ("unless", &self.unless)] {
            for Guard { row, table, key, holds } in rows {
                write!(f, "\n  {word} {row} = {}", table.name)?;
                write_target(f, key)?;
                write_clause(f, "\n    where ", holds)?;
            }
        }

        if let Some(selection) = &self.selection {
            write!(f, "\n  pick {} from {}", selection.row, selection.table.name)?;
            if let Pairing::Named(key) = &selection.pairing {
                write_target(f, key)?;
            }
            write_clause(f, "\n    where ", &selection.predicate)?;
            write_order(f, &selection.order)?;
            match &selection.pairing {
                Pairing::UpTo { limit, rest } => {
                    if let Some(Rest { predicate, order }) = rest {
                        write_clause(f, "\n    then where ", predicate)?;
                        write_order(f, order)?;
                    }
                    write!(f, "\n    limit {limit}, skipping locked rows")?;
                }
                Pairing::Named(_) => f.write_str("\n    each named row, skipping locked rows")?,
                Pairing::Every => f.write_str("\n    every row, waiting for its lock")?,
            }
        }

        for mutation in &self.mutations {
            write!(f, "\n  {mutation}")?;
        }

        for (index, item) in self.returns.iter().enumerate() {
            f.write_str(if index == 0 { "\n  return " } else { ", " })?;
            match item {
                Return::Held(row, path) => write!(f, "{row}.{path}")?,
                Return::Written(column) => write!(f, "new {}.{}", column.table, column.name)?,
            }
        }
        Ok(())
    }
}

impl Display for Mutation {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Mutation::Insert { table, row, on_conflict } => {
                write!(f, "insert {}", table.name)?;
                write_insert(f, row, on_conflict)
            }
            Mutation::InsertEach { table, items, row, on_conflict } => {
                write!(f, "for each item of {items} insert {}", table.name)?;
                write_insert(f, row, on_conflict)
            }
            Mutation::Update { table, target, set } => {
                write!(f, "update {}", table.name)?;
                write_target(f, target)?;
                write_assignments(f, set)
            }
            Mutation::Delete { table, target } => {
                write!(f, "delete {}", table.name)?;
                write_target(f, target)
            }
        }
    }
}

impl Display for Query {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Query::Lookup(rows) => {
                f.write_str("lookup")?;
                for row in rows {
                    write!(f, "\n  {} = {}", row.row, row.table.name)?;
                    write_target(f, &row.key)?;
                    write_columns(f, &row.columns)?;
                }
                Ok(())
            }
            Query::List(List { name, table, join, columns, predicate, order, of_each, limit }) => {
                write!(f, "list {name}\n  from {}", table.name)?;
                if let Some(join) = join {
                    write!(f, " join {}", join.table.name)?;
                }
                write_columns(f, columns)?;
                write_clause(f, "\n    where ", predicate)?;
                write_order(f, order)?;
                if let Some(OfEach { list, limit }) = of_each {
                    write!(f, "\n    limit {limit} of each {}", list.name)?;
                }
                write!(f, "\n    limit {limit}")
            }
            Query::Sums(Sums { name, table, by, of, predicate }) => {
                write!(f, "sum {name}\n  of {}.{}", table.name, of.name)?;
                write_columns(f, by)?;
                write_clause(f, "\n    where ", predicate)
            }
        }
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Expr::Value(_, values) => match values.as_slice() {
                [one] => write!(f, "{one}"),
                many => {
                    f.write_str("each(")?;
                    for (index, value) in many.iter().enumerate() {
                        let lead = if index == 0 { "" } else { ", " };
                        write!(f, "{lead}{value}")?;
                    }
                    f.write_str(")")
                }
            },
            Expr::Slot(ty, slot) => write!(f, "?{slot}:{}", ty.name()),
            Expr::Const(text) => f.write_str(text),
            Expr::Null(_) => f.write_str("null"),
            Expr::Held(row, path) => write!(f, "{row}.{path}"),
            Expr::Plus(left, right) => write!(f, "{left} + {right}"),
            Expr::Greatest(left, right) => write!(f, "greatest({left}, {right})"),
            Expr::PickedCount => f.write_str("count of picked rows"),
            Expr::PickedSum(column) => write!(f, "sum of picked {}", column.name),
            Expr::Item(_, name) => write!(f, "item.{name}"),
            Expr::Joined(parts) => write_joined(f, parts, " & "),
            Expr::Object(members) => {
                f.write_str("{")?;
                for (index, (name, member)) in members.iter().enumerate() {
                    let lead = if index == 0 { "" } else { ", " };
                    write!(f, "{lead}{name}: {member}")?;
                }
                f.write_str("}")
            }
        }
    }
}

impl Display for Path {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(self.column.name)?;
        self.keys.iter().try_for_each(|key| write!(f, "->{key}"))
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(flag) => write!(f, "{flag}"),
            Value::Int(number) => write!(f, "{number}"),
            Value::Float(number) => write!(f, "{number}"),
            Value::Text(text) => write!(f, "{text:?}"),
            Value::Bytes(bytes) => write!(f, "<{} bytes>", bytes.len()),
            Value::Uuid(uuid) => write!(f, "{uuid}"),
            Value::Json(json) => write!(f, "{json}"),
            Value::TextList(list) => write!(f, "{list:?}"),
        }
    }
}

impl Display for Predicate {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Predicate::Always => f.write_str("always"),
            Predicate::All(parts) => write_joined(f, parts, " and "),
            Predicate::Any(parts) => {
                f.write_str("(")?;
                write_joined(f, parts, " or ")?;
                f.write_str(")")
            }
            Predicate::AnyApart(parts) => {
                f.write_str("(")?;
                write_joined(f, parts, ", or apart ")?;
                f.write_str(")")
            }
            Predicate::Compare(path, compare, expr) => {
                let sign = match compare {
                    Compare::Equal => "=",
                    Compare::Below => "<",
                    Compare::AtMost => "<=",
                    Compare::Above => ">",
                };
                write!(f, "{path} {sign} {expr}")
            }
            Predicate::OneOf(column, names) => match names.as_slice() {
                [one] => write!(f, "{} is {one}", column.name),
                many => write!(f, "{} in ({})", column.name, many.join(", ")),
            },
            Predicate::NoneOf(column, names) => {
                write!(f, "{} not in ({})", column.name, names.join(", "))
            }
            Predicate::Among(column, expr) => write!(f, "{} among {expr}", column.name),
            Predicate::Contains(column, expr) => write!(f, "{} contains {expr}", column.name),
            Predicate::Null(column) => write!(f, "{} is null", column.name),
            Predicate::NotNull(column) => write!(f, "{} is present", column.name),
            Predicate::Covered(column, expr) => write!(f, "{} covered by {expr}", column.name),
            Predicate::CoveredOrOpen(column, Openings { by, prefix, but }) => {
                write!(
                    f,
                    "{} covered by {by}, or beginning with {prefix} but for {but}",
                    column.name
                )
            }
            Predicate::EmptyList(column) => write!(f, "{} is empty", column.name),
            Predicate::FirstBelow(column, bound) => {
                write!(f, "{} begins below {bound:?}", column.name)
            }
            Predicate::NoneBelow(column, bound) => {
                write!(f, "{} does not begin below {bound:?}", column.name)
            }
            Predicate::EachList(column) => write!(f, "each {}", column.name),
            Predicate::After(pairs) => {
                f.write_str("after")?;
                write_target(f, pairs)
            }
        }
    }
}

fn write_joined(f: &mut Formatter<'_>, parts: &[impl Display], with: &str) -> Result {
    for (index, part) in parts.iter().enumerate() {
        if index != 0 {
            f.write_str(with)?;
        }
        write!(f, "{part}")?;
    }
    Ok(())
}

fn write_clause(f: &mut Formatter<'_>, lead: &str, predicate: &Predicate) -> Result {
    if *predicate == Predicate::Always { Ok(()) } else { write!(f, "{lead}{predicate}") }
}

fn write_target(f: &mut Formatter<'_>, key: &[(ColumnRef, Expr)]) -> Result {
    f.write_str("[")?;
    for (index, (column, expr)) in key.iter().enumerate() {
        let lead = if index == 0 { "" } else { ", " };
        write!(f, "{lead}{} {expr}", column.name)?;
    }
    f.write_str("]")
}

fn write_columns(f: &mut Formatter<'_>, columns: &[ColumnRef]) -> Result {
    let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
    write!(f, "\n    read {}", names.join(", "))
}

fn write_order(f: &mut Formatter<'_>, order: &[(ColumnRef, Direction)]) -> Result {
    for (index, (column, direction)) in order.iter().enumerate() {
        let lead = if index == 0 { "\n    order " } else { ", " };
        let suffix = match direction {
            Direction::Ascending => "",
            Direction::Descending => " descending",
        };
        write!(f, "{lead}{}{suffix}", column.name)?;
    }
    Ok(())
}

fn write_insert(
    f: &mut Formatter<'_>,
    row: &[(ColumnRef, Expr)],
    on_conflict: &OnConflict,
) -> Result {
    for (column, expr) in row {
        write!(f, "\n    {} := {expr}", column.name)?;
    }

    match on_conflict {
        OnConflict::Refuse => f.write_str("\n    if present: refuse"),
        OnConflict::Ignore => f.write_str("\n    if present: ignore"),
        OnConflict::Update(set) => {
            f.write_str("\n    if present: update")?;
            set.iter().try_for_each(|(column, on_taken)| match on_taken {
                OnTaken::Overwrite => write!(f, "\n      {} := inserted", column.name),
                OnTaken::Add => write!(f, "\n      {} += inserted", column.name),
                OnTaken::Clear => write!(f, "\n      {} := null", column.name),
            })
        }
    }
}

fn write_assignments(f: &mut Formatter<'_>, set: &[(ColumnRef, Assign)]) -> Result {
    set.iter().try_for_each(|(column, assign)| {
        write!(f, "\n    {} ", column.name)?;
        match assign {
            Assign::Set(expr) => write!(f, ":= {expr}"),
            Assign::Keep(expr) => write!(f, "keeps its value, else := {expr}"),
            Assign::Add(expr) => write!(f, "+= {expr}"),
            Assign::Merge { under: None, members } => write!(f, "merges {members}"),
            Assign::Merge { under: Some(name), members } => {
                write!(f, "merges {members} under {name}")
            }
        }
    })
}
