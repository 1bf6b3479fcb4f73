//! Encodes values for MariaDB and decodes them.
//!
//! Truth values are integers, UUIDs their 16 bytes, JSON documents and lists texts. A UUID bound as
//! text is its hyphenated form.

use ff_codegen::dialect::{Dialect as _, Placeholders};
use ff_codegen::{MariaDb, Statement};
use ff_core::EngineError;
use ff_core::plan::value::{ColumnType, Value};
use ff_core::schema::ColumnRef;
use sqlx::mysql::{MySqlArguments, MySqlConnection, MySqlRow};
use sqlx::query::Query;
use sqlx::{
    Arguments as _, AssertSqlSafe, MySql, RawSql, Row as _, SqlSafeStr as _, SqlStr, ValueRef as _,
    query_with, raw_sql,
};
use uuid::Uuid;

use crate::error::{Failure, MariaDbError, corrupt};

/// The words of a statement that skips through an index, from one list to the next.
const SKIPS: &str = "SELECT DISTINCT";

/// A rendered text: codegen made it from a shape, which holds no values.
pub(crate) fn text(sql: &str) -> SqlStr {
    AssertSqlSafe(sql.to_owned()).into_sql_str()
}

/// A value as MariaDB takes it.
pub(crate) enum Encoded {
    Null,
    Int(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
}

/// Encodes the value as `ty`.
pub(crate) fn encode(value: &Value, ty: ColumnType) -> Encoded {
    match (value, ty) {
        (Value::Null, _) => Encoded::Null,
        (Value::Bool(flag), _) => Encoded::Int(i64::from(*flag)),
        (Value::Int(number), ColumnType::Float) => Encoded::Float(*number as f64),
        (Value::Int(number), _) => Encoded::Int(*number),
        (Value::Float(number), _) => Encoded::Float(*number),
        (Value::Text(text), _) => Encoded::Text(text.clone()),
        (Value::Bytes(bytes), _) => Encoded::Bytes(bytes.clone()),
        (Value::Uuid(uuid), ColumnType::Text) => Encoded::Text(uuid.to_string()),
        (Value::Uuid(uuid), _) => Encoded::Bytes(uuid.as_bytes().to_vec()),
        (Value::Json(document), _) => Encoded::Text(document.to_string()),
        (Value::TextList(list), _) => Encoded::Text(serde_json::json!(list).to_string()),
    }
}

/// A rendered statement with its values.
pub(crate) enum Ready {
    /// With bound values, and prepared once for each connection.
    Prepared(Query<'static, MySql, MySqlArguments>),
    /// With values in its text.
    Text(RawSql),
}

/// Gives the statement its values.
///
/// One that skips through an index is sent as text. Where a prepared one has run before, and its
/// table was written to since, MariaDB 10.11 no longer sees that the index has all columns that are
/// asked for, and reads all of a lane instead of the first of each list. To prepare it for each run
/// would do as well, but the driver sends two messages in a row then, which take 40 ms over TCP.
///
/// # Errors
/// A value that the driver cannot encode.
pub(crate) fn ready(
    statement: &Statement,
    values: impl Iterator<Item = Encoded>,
) -> Result<Ready, MariaDbError> {
    if statement.sql.contains(SKIPS) {
        return Ok(Ready::Text(raw_sql(text(&with_literals(&statement.sql, values)))));
    }

    let mut arguments = MySqlArguments::default();
    for value in values {
        let added = match value {
            Encoded::Null => arguments.add(None::<&str>),
            Encoded::Int(number) => arguments.add(number),
            Encoded::Float(number) => arguments.add(number),
            Encoded::Text(text) => arguments.add(text),
            Encoded::Bytes(bytes) => arguments.add(bytes),
        };
        added.map_err(|error| MariaDbError::read(sqlx::Error::Encode(error)))?;
    }
    Ok(Ready::Prepared(query_with(text(&statement.sql), arguments)))
}

/// The text with a literal in place of each mark. Texts and bytes are written in hexadecimal
/// digits, so no value can end its literal.
fn with_literals(sql: &str, values: impl Iterator<Item = Encoded>) -> String {
    let literal = |value| match value {
        Encoded::Null => "NULL".to_owned(),
        Encoded::Int(number) => number.to_string(),
        Encoded::Float(number) => format!("{number:e}"),
        Encoded::Text(text) => format!("_utf8mb4 X'{}'", hex::encode(text)),
        Encoded::Bytes(bytes) => format!("X'{}'", hex::encode(bytes)),
    };
    let (Placeholders::InOrder(mark) | Placeholders::Numbered(mark)) = MariaDb.placeholders();
    let mut parts = sql.split(mark);
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for (part, value) in parts.zip(values) {
        whole.push_str(&literal(value));
        whole.push_str(part);
    }
    whole
}

impl Ready {
    /// Runs the statement, and returns its rows.
    pub(crate) async fn rows(
        self,
        connection: &mut MySqlConnection,
    ) -> Result<Vec<MySqlRow>, sqlx::Error> {
        match self {
            Self::Prepared(query) => query.fetch_all(connection).await,
            Self::Text(text) => text.fetch_all(connection).await,
        }
    }

    /// Runs the statement, and returns the number of rows that it changed.
    pub(crate) async fn changed(
        self,
        connection: &mut MySqlConnection,
    ) -> Result<u64, sqlx::Error> {
        let done = match self {
            Self::Prepared(query) => query.execute(connection).await?,
            Self::Text(text) => text.execute(connection).await?,
        };
        Ok(done.rows_affected())
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_ends_its_literal() {
        let values = [
            (Value::Text("a' OR '?'='".to_owned()), ColumnType::Text),
            (Value::Null, ColumnType::Int),
            (Value::Int(-7), ColumnType::BigInt),
            (Value::TextList(vec!["\"".to_owned()]), ColumnType::TextList),
            (Value::Uuid(Uuid::from_u128(1)), ColumnType::Uuid),
        ];
        let encoded = values.iter().map(|(value, ty)| encode(value, *ty));
        let whole = with_literals("SELECT DISTINCT ? AND ? = ? OR ? IN (?)", encoded);
        assert_eq!(
            whole,
            "SELECT DISTINCT _utf8mb4 X'6127204f5220273f273d27' AND NULL = -7 \
             OR _utf8mb4 X'5b225c22225d' IN (X'00000000000000000000000000000001')"
        );
    }
}
