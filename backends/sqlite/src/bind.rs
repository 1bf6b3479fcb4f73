//! Encodes values for SQLite and decodes them.
//!
//! Integers and truth values are INTEGER, floats REAL, text TEXT, bytes and UUIDs BLOB (a UUID its
//! 16 bytes), JSON documents and lists TEXT. A UUID bound as text is its hyphenated form.

use ff_core::EngineError;
use ff_core::plan::value::{ColumnType, Value};
use ff_core::schema::ColumnRef;
use sqlx::error::BoxDynError;
use sqlx::sqlite::{SqliteArguments, SqliteRow, SqliteValueRef};
use sqlx::{Arguments, Decode, Row, TypeInfo, ValueRef};
use uuid::Uuid;

use crate::error::{SqliteError, corrupt};

/// Adds a value, as `ty`, to the arguments of a statement.
pub(crate) fn push(
    arguments: &mut SqliteArguments,
    value: &Value,
    ty: ColumnType,
) -> Result<(), EngineError> {
    let added = match (value, ty) {
        (Value::Null, _) => arguments.add(None::<i64>),
        (Value::Bool(flag), _) => arguments.add(i64::from(*flag)),
        (Value::Int(number), ColumnType::Float) => arguments.add(*number as f64),
        (Value::Int(number), _) => arguments.add(*number),
        (Value::Float(number), _) => arguments.add(*number),
        (Value::Text(text), _) => arguments.add(text.as_str()),
        (Value::Bytes(bytes), _) => arguments.add(bytes.as_slice()),
        (Value::Uuid(uuid), ColumnType::Text) => arguments.add(uuid.to_string()),
        (Value::Uuid(uuid), _) => arguments.add(uuid.as_bytes().as_slice()),
        (Value::Json(document), _) => arguments.add(document.to_string()),
        (Value::TextList(list), _) => arguments.add(serde_json::json!(list).to_string()),
    };
    added.map_err(|error| SqliteError::write(sqlx::Error::Encode(error)).into())
}

/// Reads one column of a result row.
///
/// # Errors
/// `Validation(Corruption)` naming table and column if the stored value is not of type `ty`.
pub(crate) fn read(
    row: &SqliteRow,
    index: usize,
    column: ColumnRef,
    ty: ColumnType,
) -> Result<Value, EngineError> {
    let raw = row.try_get_raw(index).map_err(SqliteError::read)?;
    if raw.is_null() {
        return Ok(Value::Null);
    }

    let stored = raw.type_info().name().to_owned();
    decode(raw, &stored, ty).map_err(|error| {
        let (table, column) = (column.table, column.name);
        corrupt(format!("{table}.{column}: {stored} is no {ty:?}: {error}"))
    })
}

fn decode(raw: SqliteValueRef<'_>, stored: &str, ty: ColumnType) -> Result<Value, BoxDynError> {
    let expected = match ty {
        ColumnType::SmallInt | ColumnType::Int | ColumnType::BigInt | ColumnType::Bool => "INTEGER",
        ColumnType::Float if stored == "INTEGER" => "INTEGER",
        ColumnType::Float => "REAL",
        ColumnType::Text | ColumnType::Json | ColumnType::TextList => "TEXT",
        ColumnType::Bytes | ColumnType::Uuid => "BLOB",
    };

    if stored != expected {
        return Err(format!("expected {expected}").into());
    }

    Ok(match ty {
        ColumnType::SmallInt | ColumnType::Int | ColumnType::BigInt => Value::Int(decoded(raw)?),
        ColumnType::Bool => match decoded::<i64>(raw)? {
            0 => Value::Bool(false),
            1 => Value::Bool(true),
            _ => return Err("expected 0 or 1".into()),
        },
        ColumnType::Float => Value::Float(decoded(raw)?),
        ColumnType::Text => Value::Text(decoded(raw)?),
        ColumnType::Bytes => Value::Bytes(decoded(raw)?),
        ColumnType::Uuid => Value::Uuid(Uuid::from_slice(decoded(raw)?)?),
        ColumnType::Json => Value::Json(serde_json::from_str(decoded(raw)?)?),
        ColumnType::TextList => Value::TextList(serde_json::from_str(decoded(raw)?)?),
    })
}

fn decoded<'r, T: Decode<'r, sqlx::Sqlite>>(raw: SqliteValueRef<'r>) -> Result<T, BoxDynError> {
    T::decode(raw)
}
