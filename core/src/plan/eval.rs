//! The meaning of expressions, predicates and assignments. This is the executable definition that
//! the in-memory backend and the rules' own checks share, and that every dialect must render.

use serde_json::{Map, Value as Json};

use super::{Assign, Expr, Name, Openings, Path, Predicate};
use crate::plan::column::ColumnRef;
use crate::plan::facts::Row;
use crate::plan::value::{ColumnType, Value};

/// The rows that an expression may read, and the item that selects among a plan's values.
#[derive(Clone, Debug, Default)]
pub struct Held<'a> {
    rows: Vec<(&'a str, &'a Row)>,
    /// The number of the picked row; selects among per-row values.
    pub item: usize,
    /// The number of rows that the plan picked.
    pub picked: usize,
    /// Those rows.
    pub picked_rows: &'a [Row],
    /// The list element that a row is inserted for.
    pub element: Option<&'a Json>,
}

impl<'a> Held<'a> {
    /// Makes `row` readable as `name`.
    pub fn hold(&mut self, name: &'a str, row: &'a Row) {
        self.rows.push((name, row));
    }

    /// The value of the held row at `path`; NULL when there is no such row.
    #[must_use]
    pub fn read(&self, name: &Name, path: &Path) -> Value {
        let row = self.rows.iter().find(|(held, _)| held == name).map(|(_, row)| *row);
        row.map_or(Value::Null, |row| path.read(row))
    }
}

impl Path {
    /// The stored scalar, or the text behind the key path; NULL when anything on the way is absent.
    #[must_use]
    pub fn read(&self, row: &Row) -> Value {
        let stored = row.value(self.column).unwrap_or(&Value::Null);
        if self.keys.is_empty() {
            return stored.clone();
        }

        let Value::Json(document) = stored else {
            return Value::Null;
        };

        let found = self.keys.iter().try_fold(document, |inner, key| inner.get(key.as_ref()));
        match found {
            None | Some(Json::Null) => Value::Null,
            Some(Json::String(text)) => Value::Text(text.clone()),
            Some(other) => Value::Text(other.to_string()),
        }
    }
}

impl Expr {
    /// The scalar's value.
    #[must_use]
    pub fn evaluate(&self, held: &Held<'_>) -> Value {
        match self {
            // One value serves every item.
            Expr::Value(_, values) => {
                values.get(held.item).or_else(|| values.first()).cloned().unwrap_or(Value::Null)
            }
            // A slot has no value: only shapes contain slots, and no shape is evaluated.
            Expr::Slot(..) | Expr::Null(_) => Value::Null,
            Expr::Const(text) => Value::Text(text.to_string()),
            Expr::Held(row, path) => held.read(row, path),
            Expr::Plus(left, right) => left.evaluate(held).plus(&right.evaluate(held)),
            Expr::Item(ty, name) => {
                let member = held.element.and_then(|element| element.get(name.as_ref()));
                member.map_or(Value::Null, |member| Value::of_json(member, *ty))
            }
            Expr::Greatest(left, right) => left.evaluate(held).or_larger(right.evaluate(held)),
            Expr::PickedCount => Value::Int(i64::try_from(held.picked).unwrap_or(i64::MAX)),
            Expr::PickedSum(column) => {
                let values = held.picked_rows.iter().filter_map(|row| row.value(*column));
                values.fold(Value::Int(0), |sum, value| sum.plus(value))
            }
            Expr::Joined(parts) => {
                let texts = parts.iter().map(|part| match part.evaluate(held) {
                    Value::Text(text) => Some(text),
                    Value::Null => None,
                    other @ (Value::Bool(_)
                    | Value::Int(_)
                    | Value::Float(_)
                    | Value::Bytes(_)
                    | Value::Uuid(_)
                    | Value::Json(_)
                    | Value::TextList(_)) => Some(other.to_string()),
                });
                texts.collect::<Option<String>>().map_or(Value::Null, Value::Text)
            }
            Expr::Object(members) => {
                let member = |(name, member): &(Name, Expr)| {
                    let value = match member.evaluate(held) {
                        Value::Null => Json::Null,
                        Value::Int(number) => number.into(),
                        Value::Text(text) => text.into(),
                        other @ (Value::Bool(_)
                        | Value::Float(_)
                        | Value::Bytes(_)
                        | Value::Uuid(_)
                        | Value::Json(_)
                        | Value::TextList(_)) => other.to_string().into(),
                    };
                    (name.to_string(), value)
                };
                Value::Json(Json::Object(members.iter().map(member).collect()))
            }
        }
    }
}

impl Value {
    /// The value of type `ty` that a JSON document encodes; NULL when it encodes none.
    fn of_json(document: &Json, ty: ColumnType) -> Value {
        let value = match ty {
            ColumnType::SmallInt | ColumnType::Int | ColumnType::BigInt => {
                document.as_i64().map(Value::Int)
            }
            ColumnType::Bool => document.as_bool().map(Value::Bool),
            ColumnType::Float => document.as_f64().map(Value::Float),
            ColumnType::Text => document.as_str().map(|text| Value::Text(text.to_owned())),
            ColumnType::Bytes => {
                document.as_str().and_then(|text| hex::decode(text).ok()).map(Value::Bytes)
            }
            ColumnType::Uuid => {
                document.as_str().and_then(|text| text.parse().ok()).map(Value::Uuid)
            }
            ColumnType::Json => Some(Value::Json(document.clone())),
            ColumnType::TextList => {
                serde_json::from_value(document.clone()).ok().map(Value::TextList)
            }
        };

        value.unwrap_or(Value::Null)
    }

    /// The value as a column of type `ty` stores it: a UUID written into a text column is its
    /// lower-case hyphenated form; everything else stays as it is.
    #[must_use]
    pub fn stored_as(self, ty: ColumnType) -> Value {
        match (self, ty) {
            (Value::Uuid(uuid), ColumnType::Text) => Value::Text(uuid.to_string()),
            (value, _) => value,
        }
    }
}

impl Predicate {
    /// Returns true if the row satisfies the condition. A comparison with NULL is false.
    #[must_use]
    pub fn accepts(&self, row: &Row, held: &Held<'_>) -> bool {
        let stored = |column: &ColumnRef| row.value(*column).unwrap_or(&Value::Null);
        let is_one = |column: &ColumnRef, names: &[Name]| matches!(stored(column), Value::Text(text) if names.iter().any(|name| name == text.as_str()));

        match self {
            Predicate::Always | Predicate::EachList(_) => true,
            Predicate::All(parts) => parts.iter().all(|part| part.accepts(row, held)),
            Predicate::Any(parts) | Predicate::AnyApart(parts) => {
                parts.iter().any(|part| part.accepts(row, held))
            }
            Predicate::Compare(path, compare, expr) => path
                .read(row)
                .compare(&expr.evaluate(held))
                .is_some_and(|ordering| compare.accepts(ordering)),
            Predicate::OneOf(column, names) => is_one(column, names),
            Predicate::NoneOf(column, names) => !stored(column).is_null() && !is_one(column, names),
            Predicate::Among(column, expr) => {
                let Value::TextList(list) = expr.evaluate(held) else {
                    return false;
                };
                match stored(column) {
                    Value::Text(text) => list.contains(text),
                    Value::Uuid(uuid) => list.contains(&uuid.to_string()),
                    Value::Int(number) => list.contains(&number.to_string()),
                    Value::Null
                    | Value::Bool(_)
                    | Value::Float(_)
                    | Value::Bytes(_)
                    | Value::Json(_)
                    | Value::TextList(_) => false,
                }
            }
            Predicate::Contains(column, expr) => {
                if let (Value::Json(document), Value::Json(members)) =
                    (stored(column), expr.evaluate(held))
                {
                    contains(document, &members)
                } else {
                    false
                }
            }
            Predicate::Null(column) => stored(column).is_null(),
            Predicate::NotNull(column) => !stored(column).is_null(),
            Predicate::Covered(column, expr) => {
                if let (Value::TextList(required), Value::TextList(offered)) =
                    (stored(column), expr.evaluate(held))
                {
                    required.iter().all(|one| offered.contains(one))
                } else {
                    false
                }
            }
            Predicate::CoveredOrOpen(column, openings) => openings.cover(stored(column), held),
            Predicate::EmptyList(column) => {
                matches!(stored(column), Value::TextList(list) if list.is_empty())
            }
            Predicate::FirstBelow(column, bound) => begins_below(stored(column), bound, false),
            Predicate::NoneBelow(column, bound) => !begins_below(stored(column), bound, true),
            Predicate::After(pairs) => {
                for (column, expr) in pairs {
                    match stored(column).compare(&expr.evaluate(held)) {
                        Some(std::cmp::Ordering::Greater) => return true,
                        Some(std::cmp::Ordering::Equal) => {}
                        Some(std::cmp::Ordering::Less) | None => return false,
                    }
                }
                false
            }
        }
    }
}

/// True if the list begins with a text below the bound; `otherwise` for a value that is no list.
fn begins_below(list: &Value, bound: &str, otherwise: bool) -> bool {
    let Value::TextList(list) = list else { return otherwise };
    list.first().is_some_and(|first| first.as_str() < bound)
}

impl Openings {
    fn cover(&self, list: &Value, held: &Held<'_>) -> bool {
        let Self { by, prefix, but } = self;
        let (Value::TextList(by), Value::Text(prefix), Value::TextList(but)) =
            (by.evaluate(held), prefix.evaluate(held), but.evaluate(held))
        else {
            return false;
        };

        let Value::TextList(required) = list else { return false };
        let is_open = |one: &String| one.starts_with(&prefix) && !but.contains(one);
        required.iter().all(|one| by.contains(one) || is_open(one))
    }
}

impl Assign {
    /// The column's value after the assignment, given its value `now`.
    #[must_use]
    pub fn apply(&self, now: &Value, held: &Held<'_>) -> Value {
        match self {
            Assign::Set(expr) => expr.evaluate(held),
            Assign::Keep(expr) if now.is_null() => expr.evaluate(held),
            Assign::Keep(_) => now.clone(),
            Assign::Add(expr) => now.plus(&expr.evaluate(held)),
            Assign::Merge { under, members } => {
                merge(now, under.as_deref(), members.evaluate(held))
            }
        }
    }
}

impl Value {
    /// The sum of two integers; NULL when either is not one. Saturates.
    #[must_use]
    pub fn plus(&self, other: &Value) -> Value {
        if let (Value::Int(a), Value::Int(b)) = (self, other) {
            Value::Int(a.saturating_add(*b))
        } else {
            Value::Null
        }
    }
}

impl Value {
    /// The larger of two integers; `self` when either is not one.
    #[must_use]
    fn or_larger(self, other: Value) -> Value {
        if let (Value::Int(own), Value::Int(larger)) = (&self, &other)
            && own < larger
        {
            other
        } else {
            self
        }
    }
}

fn contains(document: &Json, members: &Json) -> bool {
    match (document, members) {
        (Json::Object(document), Json::Object(members)) => members
            .iter()
            .all(|(name, member)| document.get(name).is_some_and(|own| contains(own, member))),
        _ => document == members,
    }
}

fn merge(now: &Value, under: Option<&str>, members: Value) -> Value {
    let mut document =
        if let Value::Json(Json::Object(document)) = now { document.clone() } else { Map::new() };

    let Value::Json(Json::Object(members)) = members else {
        return now.clone();
    };

    match under {
        None => document.extend(members),
        Some(name) => {
            let mut inner = match document.remove(name) {
                Some(Json::Object(inner)) => inner,
                Some(_) | None => Map::new(),
            };
            inner.extend(members);
            document.insert(name.to_owned(), Json::Object(inner));
        }
    }

    Value::Json(Json::Object(document))
}
