//! Encodes values for MariaDB and decodes them.
//!
//! Truth values are integers, UUIDs their 16 bytes, JSON documents and lists texts. A UUID bound as
//! text is its hyphenated form.

use ff_codegen::Statement;
use ff_core::EngineError;
use ff_core::plan::value::{ColumnType, Value};
use ff_core::schema::ColumnRef;
use sqlx::mysql::{MySqlArguments, MySqlConnection, MySqlRow};
use sqlx::{
    Arguments as _, AssertSqlSafe, Row as _, SqlSafeStr as _, SqlStr, ValueRef as _, query_with,
    raw_sql,
};
use uuid::Uuid;

use crate::error::{Failure, MariaDbError, corrupt};

/// A rendered text: codegen made it from a shape, which holds no values.
pub(crate) fn text(sql: impl Into<String>) -> SqlStr {
    AssertSqlSafe(sql.into()).into_sql_str()
}

/// Runs a rendered statement, and returns its rows.
///
/// # Errors
/// Those of the connection and of the server.
pub(crate) async fn rows(
    connection: &mut MySqlConnection,
    statement: &Statement,
    values: MySqlArguments,
) -> Result<Vec<MySqlRow>, sqlx::Error> {
    if statement.sql.contains(SKIPS) {
        return prepared_afresh(connection, statement, values).await;
    }
    query_with(text(&statement.sql), values).fetch_all(connection).await
}

/// The words of a statement that skips through an index, from one list to the next.
const SKIPS: &str = "SELECT DISTINCT";

/// Has the server prepare the statement for this run alone, with the values in variables.
///
/// When a prepared statement runs again after a write to its table, MariaDB 10.11 no longer uses
/// the index alone: it reads all of a lane instead of the first of each list. The driver could
/// prepare it for each run as well, but sends two messages in a row then, which takes 40 ms over
/// TCP.
async fn prepared_afresh(
    connection: &mut MySqlConnection,
    statement: &Statement,
    values: MySqlArguments,
) -> Result<Vec<MySqlRow>, sqlx::Error> {
    let variables: Vec<String> =
        (1..=statement.binds.len()).map(|number| format!("@ff_{number}")).collect();
    let mut run = format!("EXECUTE IMMEDIATE '{}'", statement.sql.replace('\'', "''"));
    if !variables.is_empty() {
        let set = format!("SET {} = ?", variables.join(" = ?, "));
        query_with(text(set), values).execute(&mut *connection).await?;
        run.push_str(&format!(" USING {}", variables.join(", ")));
    }
    raw_sql(text(run)).fetch_all(connection).await
}

/// Adds the value, as `ty`.
pub(crate) fn add(
    arguments: &mut MySqlArguments,
    value: &Value,
    ty: ColumnType,
) -> Result<(), MariaDbError> {
    let added = match (value, ty) {
        (Value::Null, _) => arguments.add(None::<&str>),
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
    added.map_err(|error| MariaDbError::read(sqlx::Error::Encode(error)))
}

/// Decodes one column of a result row.
///
/// # Errors
/// `Validation(Corruption)` naming table and column if the stored value is not of type `ty`.
pub(crate) fn read(
    row: &MySqlRow,
    index: usize,
    column: ColumnRef,
    ty: ColumnType,
) -> Result<Value, Failure> {
    let raw = row.try_get_raw(index).map_err(MariaDbError::read)?;
    if raw.is_null() {
        return Ok(Value::Null);
    }

    decode(row, index, ty).map_err(|reason| {
        let (table, column) = (column.table, column.name);
        Failure::Value(corrupt(format!("{table}.{column} is no {}: {reason}", ty.name())))
    })
}

fn decode(row: &MySqlRow, index: usize, ty: ColumnType) -> Result<Value, String> {
    // The server knows bytes, texts and texts of bytes; the schema knows which of them it is.
    let bytes = || row.try_get_unchecked::<Vec<u8>, _>(index).map_err(|error| error.to_string());
    let number = || row.try_get_unchecked::<i64, _>(index).map_err(|error| error.to_string());
    let json = |bytes: &[u8]| serde_json::from_slice(bytes).map_err(|error| error.to_string());

    Ok(match ty {
        ColumnType::SmallInt | ColumnType::Int | ColumnType::BigInt => Value::Int(number()?),
        ColumnType::Bool => Value::Bool(number()? != 0),
        ColumnType::Float => {
            Value::Float(row.try_get_unchecked(index).map_err(|error| error.to_string())?)
        }
        ColumnType::Text => {
            Value::Text(String::from_utf8(bytes()?).map_err(|_| "it is no UTF-8".to_owned())?)
        }
        ColumnType::Bytes => Value::Bytes(bytes()?),
        ColumnType::Uuid => {
            Value::Uuid(Uuid::from_slice(&bytes()?).map_err(|error| error.to_string())?)
        }
        ColumnType::Json => Value::Json(json(&bytes()?)?),
        ColumnType::TextList => {
            let texts = serde_json::from_value(json(&bytes()?)?);
            Value::TextList(texts.map_err(|error| error.to_string())?)
        }
    })
}

/// The cells of a row as the engine's values, for answers.
pub(crate) fn cell(row: &MySqlRow, index: usize, column: ColumnRef) -> Result<Value, EngineError> {
    read(row, index, column, column.ty).map_err(EngineError::from)
}
