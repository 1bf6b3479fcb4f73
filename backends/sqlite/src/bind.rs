//! Encodes values for SQLite and decodes them.
//!
//! Integers and truth values are INTEGER, floats REAL, text TEXT, bytes and UUIDs BLOB (a UUID its
//! 16 bytes), JSON documents and lists TEXT. A UUID bound as text is its hyphenated form.

use std::error::Error;

use ff_codegen::{Dialect, Sqlite};
use ff_core::EngineError;
use ff_core::plan::value::{ColumnType, Value};
use ff_core::schema::ColumnRef;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Statement, ToSql};
use uuid::Uuid;

use crate::error::{SqliteError, corrupt};

/// Binds a value, as `ty`, to the placeholder with this number, from 1.
pub(crate) fn bind(
    statement: &mut Statement<'_>,
    number: usize,
    value: &Value,
    ty: ColumnType,
) -> Result<(), SqliteError> {
    let bound = statement.raw_bind_parameter(number, Encoded { value, ty });
    bound.map_err(SqliteError::write)
}

/// A value as SQLite stores it.
pub(crate) struct Encoded<'a> {
    pub(crate) value: &'a Value,
    pub(crate) ty: ColumnType,
}

impl ToSql for Encoded<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let blob = |bytes| Ok(ToSqlOutput::Borrowed(ValueRef::Blob(bytes)));
        match (self.value, self.ty) {
            (Value::Null, _) => Ok(ToSqlOutput::Borrowed(ValueRef::Null)),
            (Value::Bool(flag), _) => Ok(i64::from(*flag).into()),
            (Value::Int(number), ColumnType::Float) => Ok((*number as f64).into()),
            (Value::Int(number), _) => Ok((*number).into()),
            (Value::Float(number), _) => Ok((*number).into()),
            (Value::Text(text), _) => Ok(text.as_str().into()),
            (Value::Bytes(bytes), _) => blob(bytes.as_slice()),
            (Value::Uuid(uuid), ColumnType::Text) => Ok(uuid.to_string().into()),
            (Value::Uuid(uuid), _) => blob(uuid.as_bytes().as_slice()),
            (Value::Json(document), _) => Ok(document.to_string().into()),
            (Value::TextList(list), _) => Ok(serde_json::json!(list).to_string().into()),
        }
    }
}

/// Decodes one column of a result row.
///
/// # Errors
/// `Validation(Corruption)` naming table and column if the stored value is not of type `ty`.
pub(crate) fn read(
    stored: ValueRef<'_>,
    column: ColumnRef,
    ty: ColumnType,
) -> Result<Value, EngineError> {
    decode(stored, ty).map_err(|error| {
        let (table, column, found) = (column.table, column.name, stored.data_type());
        corrupt(format!("{table}.{column}: {found} is no {}: {error}", ty.name()))
    })
}

fn decode(stored: ValueRef<'_>, ty: ColumnType) -> Result<Value, Box<dyn Error>> {
    Ok(match (ty, stored) {
        (_, ValueRef::Null) => Value::Null,
        (
            ColumnType::SmallInt | ColumnType::Int | ColumnType::BigInt,
            ValueRef::Integer(number),
        ) => Value::Int(number),
        (ColumnType::Bool, ValueRef::Integer(0)) => Value::Bool(false),
        (ColumnType::Bool, ValueRef::Integer(1)) => Value::Bool(true),
        (ColumnType::Bool, ValueRef::Integer(_)) => return Err("expected 0 or 1".into()),
        (ColumnType::Float, ValueRef::Real(number)) => Value::Float(number),
        (ColumnType::Float, ValueRef::Integer(number)) => Value::Float(number as f64),
        (ColumnType::Text, ValueRef::Text(text)) => {
            Value::Text(std::str::from_utf8(text)?.to_owned())
        }
        (ColumnType::Json, ValueRef::Text(text)) => Value::Json(serde_json::from_slice(text)?),
        (ColumnType::TextList, ValueRef::Text(text)) => {
            Value::TextList(serde_json::from_slice(text)?)
        }
        (ColumnType::Bytes, ValueRef::Blob(bytes)) => Value::Bytes(bytes.to_vec()),
        (ColumnType::Uuid, ValueRef::Blob(bytes)) => Value::Uuid(Uuid::from_slice(bytes)?),
        _ => return Err(format!("expected {}", Sqlite.type_name(ty)).into()),
    })
}
