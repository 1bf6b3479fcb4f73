//! Stored values as JSON, and back, by the type of their column.
//!
//! An absent member is NULL. Bytes that are text are a string; others are `{"hex": ".."}`. A
//! document is written in the one way that every database gives back: Postgres keeps numbers as
//! decimals, so a whole number is written without an exponent, and zero has no sign.

use serde_json::{Map, Number, Value as Json, json};

use crate::plan::value::{ColumnType, Value};
use crate::schema::ColumnRef;

/// The member that holds bytes that are no text.
const HEX: &str = "hex";

/// The value as JSON; `None` for NULL.
#[must_use]
pub fn to_json(value: &Value) -> Option<Json> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(flag) => Json::from(*flag),
        Value::Int(number) => Json::from(*number),
        Value::Float(number) => Json::from(*number),
        Value::Text(text) => Json::from(text.as_str()),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Json::from(text),
            Err(_) => json!({ HEX: hex::encode(bytes) }),
        },
        Value::Uuid(uuid) => Json::from(uuid.to_string()),
        Value::Json(document) => canonical(document),
        Value::TextList(texts) => Json::from(texts.as_slice()),
    })
}

/// The document with numbers as every database writes them.
fn canonical(document: &Json) -> Json {
    match document {
        Json::Null | Json::Bool(_) | Json::String(_) => document.clone(),
        Json::Number(number) => Json::Number(canonical_number(number)),
        Json::Array(items) => items.iter().map(canonical).collect(),
        Json::Object(members) => {
            let member = |(name, value): (&String, &Json)| (name.clone(), canonical(value));
            Json::Object(members.iter().map(member).collect::<Map<_, _>>())
        }
    }
}

/// From here on, the text of a float has an exponent.
const EXPONENT: f64 = 1e16;

fn canonical_number(number: &Number) -> Number {
    let float = if number.is_f64() { number.as_f64() } else { None };
    let Some(float) = float else { return number.clone() };

    if float == 0.0 {
        return Number::from_f64(0.0).unwrap_or_else(|| number.clone());
    }
    if float.abs() < EXPONENT {
        return number.clone();
    }
    // A float of that size is whole; the text of one that fits no integer is read as a float again.
    let whole = format!("{float:.0}");
    let unsigned = whole.parse::<u64>().map(Number::from);
    unsigned.or_else(|_| whole.parse::<i64>().map(Number::from)).unwrap_or_else(|_| number.clone())
}

/// The value of a column that a member holds; NULL for an absent one, or what a row takes that does
/// not name the column.
///
/// # Errors
/// The expected thing, in words.
pub fn from_json(column: ColumnRef, member: Option<&Json>) -> Result<Value, String> {
    let member = member.filter(|member| column.ty == ColumnType::Json || !member.is_null());
    let value = match member {
        Some(member) => typed(column.ty, member)?,
        None => match absent(column) {
            Some(value) => value,
            None if column.nullable => Value::Null,
            None => return Err("is missing".to_owned()),
        },
    };

    if let Some(word) = unknown_word(column, &value) {
        return Err(format!("{word:?} is no word of this column"));
    }
    Ok(value)
}

/// The default of a column that may not be NULL, for a line that was written before the column was
/// added.
fn absent(column: ColumnRef) -> Option<Value> {
    use crate::schema::Default as Absent;
    if column.nullable {
        return None;
    }
    match column.default {
        Absent::Int(number) if column.ty == ColumnType::Float => Some(Value::Float(number as f64)),
        Absent::Int(number) => Some(Value::Int(number)),
        Absent::Bool(flag) => Some(Value::Bool(flag)),
        Absent::Text(text) => Some(Value::Text(text.to_owned())),
        Absent::Json(text) => serde_json::from_str(text).ok().map(Value::Json),
        Absent::EmptyList => Some(Value::TextList(Vec::new())),
        Absent::Required | Absent::NowMs | Absent::Identity | Absent::Transaction => None,
    }
}

/// A word that the database refuses in a column that it checks.
fn unknown_word(column: ColumnRef, value: &Value) -> Option<String> {
    let table = crate::schema::table(column.table)?;
    let Value::Text(word) = value else { return None };
    let is_known =
        !table.checked.contains(&column) || (column.spellings)().contains(&word.as_str());
    (!is_known).then(|| word.clone())
}

fn typed(ty: ColumnType, member: &Json) -> Result<Value, String> {
    let value = match ty {
        ColumnType::SmallInt => integer(member, i64::from(i16::MIN), i64::from(i16::MAX)),
        ColumnType::Int => integer(member, i64::from(i32::MIN), i64::from(i32::MAX)),
        ColumnType::BigInt => integer(member, i64::MIN, i64::MAX),
        ColumnType::Bool => member.as_bool().map(Value::Bool),
        ColumnType::Float => member.as_f64().map(Value::Float),
        ColumnType::Text => member.as_str().map(|text| Value::Text(text.to_owned())),
        ColumnType::Bytes => bytes(member).map(Value::Bytes),
        ColumnType::Uuid => member.as_str().and_then(|text| text.parse().ok()).map(Value::Uuid),
        ColumnType::Json => Some(Value::Json(member.clone())),
        ColumnType::TextList => texts(member).map(Value::TextList),
    };

    let value = value.ok_or_else(|| format!("expected {}", in_words(ty)))?;
    if holds_nul(&value) { Err("must not contain NUL".to_owned()) } else { Ok(value) }
}

fn in_words(ty: ColumnType) -> &'static str {
    match ty {
        ColumnType::SmallInt => "an integer of 16 bits",
        ColumnType::Int => "an integer of 32 bits",
        ColumnType::BigInt => "an integer of 64 bits",
        ColumnType::Bool => "true or false",
        ColumnType::Float => "a number",
        ColumnType::Text => "a text",
        ColumnType::Bytes => "a text, or bytes as {\"hex\": ..}",
        ColumnType::Uuid => "a UUID",
        ColumnType::Json => "a document",
        ColumnType::TextList => "a list of texts",
    }
}

fn integer(member: &Json, least: i64, most: i64) -> Option<Value> {
    let number = member.as_i64()?;
    (least..=most).contains(&number).then_some(Value::Int(number))
}

fn bytes(member: &Json) -> Option<Vec<u8>> {
    match member {
        Json::String(text) => Some(text.clone().into_bytes()),
        Json::Object(members) if members.len() == 1 => {
            hex::decode(members.get(HEX)?.as_str()?).ok()
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => None,
    }
}

fn texts(member: &Json) -> Option<Vec<String>> {
    let text = |item: &Json| item.as_str().map(str::to_owned);
    member.as_array()?.iter().map(text).collect()
}

/// True if the value holds a NUL, which not every database stores. Bytes may.
fn holds_nul(value: &Value) -> bool {
    match value {
        Value::Text(text) => text.contains('\0'),
        Value::TextList(texts) => texts.iter().any(|text| text.contains('\0')),
        Value::Json(document) => crate::rules::input::json("", document).is_err(),
        Value::Null
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Float(_)
        | Value::Bytes(_)
        | Value::Uuid(_) => false,
    }
}

/// The value as an element of a plan's list holds it: bytes as hexadecimal text.
#[must_use]
pub fn as_item(value: &Value) -> Option<Json> {
    match value {
        Value::Bytes(bytes) => Some(Json::from(hex::encode(bytes))),
        Value::Json(document) => Some(document.clone()),
        Value::Null
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Float(_)
        | Value::Text(_)
        | Value::Uuid(_)
        | Value::TextList(_) => to_json(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::execution::exec_core;
    use crate::schema::suspension::stream_meta;

    #[test]
    fn numbers_are_written_as_every_database_gives_them_back() {
        for (number, text) in [
            ("1e16", "10000000000000000"),
            ("-1e16", "-10000000000000000"),
            ("1e300", "1e+300"),
            ("-0.0", "0.0"),
            ("1e-7", "1e-7"),
            ("2.5", "2.5"),
            ("18446744073709551615", "18446744073709551615"),
        ] {
            let read: Json = serde_json::from_str(number).unwrap();
            assert_eq!(to_json(&Value::Json(read)).unwrap().to_string(), text, "{number}");
        }
    }

    #[test]
    fn bytes_are_text_where_they_can_be() {
        let column = exec_core::payload.column();
        for (bytes, json) in [
            (b"{}".to_vec(), json!("{}")),
            (vec![0], json!("\u{0}")),
            (vec![0xff, 0], json!({ "hex": "ff00" })),
        ] {
            let value = Value::Bytes(bytes);
            assert_eq!(to_json(&value), Some(json.clone()));
            assert_eq!(from_json(column, Some(&json)), Ok(value));
        }
        assert!(from_json(column, Some(&json!({ "hex": "f" }))).is_err());
    }

    #[test]
    fn what_is_missing_is_null_or_a_default_or_an_error() {
        assert_eq!(from_json(exec_core::result.column(), None), Ok(Value::Null));
        assert_eq!(from_json(exec_core::version.column(), None), Ok(Value::Int(0)));
        assert_eq!(from_json(exec_core::has_waitpoints.column(), None), Ok(Value::Bool(true)));
        assert_eq!(from_json(stream_meta::ema_rate_hz.column(), None), Ok(Value::Float(0.0)));
        assert!(from_json(exec_core::lane_id.column(), None).is_err());
        assert!(from_json(exec_core::lane_id.column(), Some(&json!("a\0"))).is_err());
        assert!(from_json(exec_core::priority.column(), Some(&json!(1_i64 << 40))).is_err());
        let null = from_json(exec_core::raw_fields.column(), Some(&Json::Null));
        assert_eq!(null, Ok(Value::Json(Json::Null)), "a document");
    }
}
