//! Encodes values for the database and decodes them.
//!
//! This module knows the encoding of each logical type, in an array and alone, and nothing about
//! plans. A value of another type than its slot is refused here, before anything is sent.

use std::borrow::Cow;

use ff_codegen::{Arity, Bind, BindSource, Param};
use ff_core::EngineError;
use ff_core::plan::Bindings;
use ff_core::plan::value::{ColumnType, Value};
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::types::{JsonValue, Uuid};
use sqlx::{Arguments, Row as _};

use crate::error::{PostgresError, corrupt};

/// The items of one fused statement, as rows of its arrays.
#[derive(Clone, Copy)]
pub(crate) enum Items<'a> {
    /// One plan each.
    Plans(&'a [&'a Bindings]),
    /// Plans that pick rows by one selection, or name them, each with the number of its rows.
    Picks {
        /// Each plan and its number of rows, in the order in which the best rows go to them.
        plans: &'a [(&'a Bindings, usize)],
        /// The slot of the number of rows to pick, where the database chooses them.
        limit: Option<usize>,
    },
}

impl<'a> Items<'a> {
    /// One value for each item.
    fn each(self, slot: usize) -> Vec<&'a Value> {
        match self {
            Items::Plans(plans) => plans.iter().map(|plan| plan.value(slot, 0)).collect(),
            Items::Picks { plans, .. } => {
                let of_plan = |(plan, count): &(&'a Bindings, usize)| {
                    let plan: &'a Bindings = plan;
                    (0..*count).map(move |item| plan.value(slot, item))
                };
                plans.iter().flat_map(of_plan).collect()
            }
        }
    }

    /// The least value of all items; NULL if one has none.
    fn least(self, slot: usize) -> Value {
        let values = match self {
            Items::Plans(plans) => plans.iter().map(|plan| big(plan.value(slot, 0))).min(),
            Items::Picks { plans, .. } => {
                plans.iter().map(|(plan, _)| big(plan.value(slot, 0))).min()
            }
        };
        values.flatten().map_or(Value::Null, Value::Int)
    }

    /// The one value that all items share.
    fn once(self, slot: usize) -> Cow<'a, Value> {
        match self {
            Items::Plans(plans) => plans
                .first()
                .map_or(Cow::Owned(Value::Null), |plan| Cow::Borrowed(plan.value(slot, 0))),
            Items::Picks { plans, limit } if limit == Some(slot) => {
                let wanted: usize = plans.iter().map(|(_, count)| count).sum();
                Cow::Owned(Value::Int(i64::try_from(wanted).unwrap_or(i64::MAX)))
            }
            Items::Picks { plans, .. } => plans
                .first()
                .map_or(Cow::Owned(Value::Null), |(plan, _)| Cow::Borrowed(plan.value(slot, 0))),
        }
    }
}

/// Checks that every value has the type of its slot, so that a misfit refuses its own plan and not
/// the whole batch.
///
/// # Errors
/// `Validation(Corruption)` naming the first slot that does not fit.
pub(crate) fn check(params: &[Param], items: Items<'_>) -> Result<(), EngineError> {
    for param in params {
        let fit = match param.arity {
            Arity::Each => items.each(param.slot).into_iter().all(|value| fits(value, param.ty)),
            Arity::Once => fits(&items.once(param.slot), param.ty),
            Arity::Least => fits(&items.least(param.slot), param.ty),
        };
        if !fit {
            return Err(misfit(param.slot, param.ty));
        }
    }
    Ok(())
}

fn fits(value: &Value, ty: ColumnType) -> bool {
    match (value, ty) {
        (Value::Null, _)
        | (Value::Int(_), ColumnType::BigInt)
        | (Value::Bool(_), ColumnType::Bool)
        | (Value::Float(_), ColumnType::Float)
        | (Value::Text(_) | Value::Uuid(_), ColumnType::Text)
        | (Value::Bytes(_), ColumnType::Bytes)
        | (Value::Uuid(_), ColumnType::Uuid)
        | (Value::Json(_), ColumnType::Json)
        | (Value::TextList(_), ColumnType::TextList) => true,
        (Value::Int(number), ColumnType::SmallInt) => i16::try_from(*number).is_ok(),
        (Value::Int(number), ColumnType::Int) => i32::try_from(*number).is_ok(),
        (_, _) => false,
    }
}

fn misfit(slot: usize, ty: ColumnType) -> EngineError {
    corrupt(format!("the value of slot {slot} is no {}", ty.name()))
}

/// The arguments of a fused statement. [`check`] has found its values to have the types of their
/// slots.
///
/// # Errors
/// `Validation(PayloadTooLarge)` for a value that is too large to send.
pub(crate) fn fused(params: &[Param], items: Items<'_>) -> Result<PgArguments, EngineError> {
    let mut arguments = PgArguments::default();
    for param in params {
        match param.arity {
            Arity::Each => array(&mut arguments, &items.each(param.slot), param.ty),
            Arity::Once => scalar(&mut arguments, &items.once(param.slot), param.ty),
            Arity::Least => scalar(&mut arguments, &items.least(param.slot), param.ty),
        }
        .map_err(|error| EngineError::refused_by_database("postgres", error))?;
    }

    Ok(arguments)
}

/// The arguments of a read.
///
/// # Errors
/// `Validation(Corruption)` for a value that is not of its slot's type, or too large to send.
pub(crate) fn read(binds: &[Bind], bindings: &Bindings) -> Result<PgArguments, EngineError> {
    let mut arguments = PgArguments::default();
    for bind in binds {
        let BindSource::Slot(slot) = bind.source else {
            return Err(corrupt("a read binds nothing but its own values".into()));
        };
        scalar(&mut arguments, bindings.value(slot, 0), bind.ty)
            .map_err(|_| misfit(slot, bind.ty))?;
    }

    Ok(arguments)
}

/// Adds a value of a step of a script.
///
/// # Errors
/// `Validation(Corruption)` for a value of another type, `Validation(PayloadTooLarge)` for one that
/// is too large to send.
pub(crate) fn add(
    arguments: &mut PgArguments,
    value: &Value,
    ty: ColumnType,
) -> Result<(), EngineError> {
    if !fits(value, ty) {
        return Err(corrupt(format!("a value of a plan is no {}", ty.name())));
    }
    let added = scalar(arguments, value, ty);
    added.map_err(|error| EngineError::refused_by_database("postgres", error))
}

fn array(
    arguments: &mut PgArguments,
    values: &[&Value],
    ty: ColumnType,
) -> Result<(), BoxDynError> {
    match ty {
        ColumnType::SmallInt => arguments.add(each(values, small)?),
        ColumnType::Int => arguments.add(each(values, int)?),
        ColumnType::BigInt => arguments.add(each(values, big)?),
        ColumnType::Bool => arguments.add(each(values, flag)?),
        ColumnType::Float => arguments.add(each(values, float)?),
        ColumnType::Text => arguments.add(each(values, text)?),
        ColumnType::Bytes => arguments.add(each(values, bytes)?),
        ColumnType::Uuid => arguments.add(each(values, uuid)?),
        ColumnType::Json => {
            arguments.add(each(values, |value| json(value).map(JsonValue::to_string))?)
        }
        ColumnType::TextList => {
            arguments.add(each(values, |value| list(value).map(array_literal))?)
        }
    }
}

fn scalar(arguments: &mut PgArguments, value: &Value, ty: ColumnType) -> Result<(), BoxDynError> {
    match ty {
        ColumnType::SmallInt => arguments.add(one(value, small)?),
        ColumnType::Int => arguments.add(one(value, int)?),
        ColumnType::BigInt => arguments.add(one(value, big)?),
        ColumnType::Bool => arguments.add(one(value, flag)?),
        ColumnType::Float => arguments.add(one(value, float)?),
        ColumnType::Text => arguments.add(one(value, text)?),
        ColumnType::Bytes => arguments.add(one(value, bytes)?),
        ColumnType::Uuid => arguments.add(one(value, uuid)?),
        ColumnType::Json => arguments.add(one(value, json)?),
        ColumnType::TextList => arguments.add(one(value, list)?),
    }
}

fn each<'a, T>(
    values: &[&'a Value],
    read: impl Fn(&'a Value) -> Option<T> + Copy,
) -> Result<Vec<Option<T>>, BoxDynError> {
    values.iter().map(|value| one(value, read)).collect()
}

fn one<'a, T>(
    value: &'a Value,
    read: impl Fn(&'a Value) -> Option<T>,
) -> Result<Option<T>, BoxDynError> {
    if value.is_null() { Ok(None) } else { read(value).map(Some).ok_or_else(|| "misfit".into()) }
}

fn small(value: &Value) -> Option<i16> {
    big(value).and_then(|number| number.try_into().ok())
}

fn int(value: &Value) -> Option<i32> {
    big(value).and_then(|number| number.try_into().ok())
}

fn big(value: &Value) -> Option<i64> {
    if let Value::Int(number) = value { Some(*number) } else { None }
}

fn flag(value: &Value) -> Option<bool> {
    if let Value::Bool(flag) = value { Some(*flag) } else { None }
}

fn float(value: &Value) -> Option<f64> {
    if let Value::Float(number) = value { Some(*number) } else { None }
}

fn text(value: &Value) -> Option<std::borrow::Cow<'_, str>> {
    match value {
        Value::Text(text) => Some(text.as_str().into()),
        Value::Uuid(uuid) => Some(uuid.to_string().into()),
        Value::Null
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Float(_)
        | Value::Bytes(_)
        | Value::Json(_)
        | Value::TextList(_) => None,
    }
}

fn bytes(value: &Value) -> Option<&[u8]> {
    if let Value::Bytes(bytes) = value { Some(bytes) } else { None }
}

fn uuid(value: &Value) -> Option<Uuid> {
    if let Value::Uuid(uuid) = value { Some(*uuid) } else { None }
}

fn json(value: &Value) -> Option<&JsonValue> {
    if let Value::Json(document) = value { Some(document) } else { None }
}

fn list(value: &Value) -> Option<&[String]> {
    if let Value::TextList(list) = value { Some(list) } else { None }
}

/// The list as a Postgres array literal: every element quoted, quotes and backslashes escaped.
fn array_literal(list: &[String]) -> String {
    let mut literal = String::from("{");
    for (index, text) in list.iter().enumerate() {
        literal.push_str(if index == 0 { "\"" } else { ",\"" });
        for letter in text.chars() {
            if matches!(letter, '"' | '\\') {
                literal.push('\\');
            }
            literal.push(letter);
        }
        literal.push('"');
    }

    literal.push('}');
    literal
}

/// Reads one result column.
///
/// # Errors
/// `Validation(Corruption)` for a float that is not finite; `Transport` if the column's type is not
/// that of the schema.
pub(crate) fn decode(row: &PgRow, index: usize, ty: ColumnType) -> Result<Value, EngineError> {
    let value = match ty {
        ColumnType::SmallInt => row.try_get(index).map(whole::<i16>),
        ColumnType::Int => row.try_get(index).map(whole::<i32>),
        ColumnType::BigInt => row.try_get(index).map(whole::<i64>),
        ColumnType::Bool => row.try_get(index).map(|stored| optional(stored, Value::Bool)),
        ColumnType::Float => row.try_get(index).map(|stored| optional(stored, Value::Float)),
        ColumnType::Text => row.try_get(index).map(|stored| optional(stored, Value::Text)),
        ColumnType::Bytes => row.try_get(index).map(|stored| optional(stored, Value::Bytes)),
        ColumnType::Uuid => row.try_get(index).map(|stored| optional(stored, Value::Uuid)),
        ColumnType::Json => row.try_get(index).map(|stored| optional(stored, Value::Json)),
        ColumnType::TextList => row.try_get(index).map(|stored| optional(stored, Value::TextList)),
    };

    match value {
        Ok(Value::Float(number)) if !number.is_finite() => {
            Err(corrupt(format!("result column {index} holds a float that is not finite")))
        }
        Ok(value) => Ok(value),
        Err(error) => Err(PostgresError::read(error).into_engine(0)),
    }
}

fn whole<T: Into<i64>>(stored: Option<T>) -> Value {
    optional(stored.map(Into::into), Value::Int)
}

fn optional<T>(stored: Option<T>, wrap: impl Fn(T) -> Value) -> Value {
    stored.map_or(Value::Null, wrap)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_travel_as_quoted_array_literals() {
        let literal = |list: &[&str]| {
            array_literal(&list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(literal(&[]), "{}");
        assert_eq!(literal(&["a", "NULL", ""]), r#"{"a","NULL",""}"#);
        assert_eq!(
            literal(&[r#"say "hi""#, r"back\slash", "{,}"]),
            r#"{"say \"hi\"","back\\slash","{,}"}"#
        );
    }

    #[test]
    fn a_value_fits_its_own_type_only() {
        assert!(fits(&Value::Int(32_767), ColumnType::SmallInt));
        assert!(!fits(&Value::Int(32_768), ColumnType::SmallInt));
        assert!(!fits(&Value::Int(1), ColumnType::Text));
        assert!(fits(&Value::Uuid(Uuid::nil()), ColumnType::Text));
        assert!(!fits(&Value::Text("x".into()), ColumnType::Uuid));
        assert!(fits(&Value::Null, ColumnType::Json));
    }
}
