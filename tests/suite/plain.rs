//! Rows by plain SQL: what a test puts into a database, or sees in it, without asking the engine.
//!
//! Columns are named, values are literals; what is not named takes the schema's default. A row
//! reads back whole, so that "nothing changed" can be asserted of every column.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ff_backend_memory::MemoryBackend;
use ff_core::engine::Executor as _;
use ff_core::plan::value::{ColumnType, Value};
use ff_core::plan::{Assign, Expr, Plan};
use ff_core::schema::{ColumnRef, Table, TableRef, table};
use serde_json::Value as Json;
use sqlx::error::DatabaseError;
use sqlx::mysql::{MySqlArguments, MySqlPool, MySqlRow};
use sqlx::postgres::{PgArguments, PgPool, PgRow};
use sqlx::sqlite::{SqliteArguments, SqlitePool, SqliteRow};
use sqlx::{Arguments, AssertSqlSafe, Row as _};
use uuid::Uuid;

/// A way around the engine.
#[derive(Clone)]
pub(crate) enum PlainSql {
    Memory(Arc<MemoryBackend>),
    Sqlite(SqlitePool),
    Postgres(PgPool),
    MariaDb(MySqlPool),
}

/// One stored row, by column name.
#[derive(Clone, PartialEq)]
pub(crate) struct Cells(pub(crate) BTreeMap<String, Value>);

/// Columns to insert.
pub(crate) type Given<'a> = Vec<(&'a str, Value)>;

pub(crate) fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

pub(crate) fn int(value: i64) -> Value {
    Value::Int(value)
}

impl PlainSql {
    /// Inserts one row.
    pub(crate) async fn insert(&self, name: &str, cells: Given<'_>) {
        let described = described(name);
        let columns: Vec<ColumnRef> =
            cells.iter().map(|(column, _)| column_of(described, column)).collect();
        let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
        let names = names.join(", ");
        match self {
            Self::Memory(memory) => memory.insert_row(name, cells).unwrap(),
            Self::Sqlite(pool) => {
                let marks = vec!["?"; columns.len()].join(", ");
                let sql = format!("INSERT INTO {name} ({names}) VALUES ({marks})");
                let mut arguments = SqliteArguments::default();
                cells.iter().for_each(|(_, value)| push_sqlite(&mut arguments, value));
                sqlx::query_with(AssertSqlSafe(sql), arguments).execute(pool).await.unwrap();
            }
            Self::Postgres(pool) => {
                let marks: Vec<String> = (1..).zip(&columns).map(postgres_mark).collect();
                let marks = marks.join(", ");
                let sql = format!("INSERT INTO {name} ({names}) VALUES ({marks})");
                let mut arguments = PgArguments::default();
                cells.iter().for_each(|(_, value)| push_postgres(&mut arguments, value));
                // A NULL has another type than the value of the next row.
                let query = sqlx::query_with(AssertSqlSafe(sql), arguments).persistent(false);
                query.execute(pool).await.unwrap();
            }
            Self::MariaDb(pool) => {
                let marks = vec!["?"; columns.len()].join(", ");
                let names: Vec<String> =
                    columns.iter().map(|c| format!("\"{}\"", c.name)).collect();
                let names = names.join(", ");
                let sql = format!("INSERT INTO {name} ({names}) VALUES ({marks})");
                let mut arguments = MySqlArguments::default();
                cells.iter().for_each(|(_, value)| push_mariadb(&mut arguments, value));
                sqlx::query_with(AssertSqlSafe(sql), arguments).execute(pool).await.unwrap();
            }
        }
    }

    /// Every row of a table, whole, in primary key order.
    pub(crate) async fn rows(&self, name: &str) -> Vec<Cells> {
        self.selected(name, None).await
    }

    /// The same, of the rows with that id in a column.
    pub(crate) async fn rows_with(&self, name: &str, column: &str, id: Uuid) -> Vec<Cells> {
        self.selected(name, Some((column_of(described(name), column), id))).await
    }

    async fn selected(&self, name: &str, chosen: Option<(ColumnRef, Uuid)>) -> Vec<Cells> {
        let described = described(name);
        let value = chosen.map(|(column, id)| match column.ty {
            ColumnType::Text => Value::Text(id.to_string()),
            _ => Value::Uuid(id),
        });
        match self {
            Self::Memory(memory) => {
                let mut rows: Vec<Cells> = memory.rows(name).into_iter().map(Cells).collect();
                if let Some((column, id)) = chosen {
                    rows.retain(|row| row.uuid(column.name) == Some(id));
                }
                rows
            }
            Self::Sqlite(pool) => {
                let columns: Vec<&str> = described.columns.iter().map(|c| c.name).collect();
                let chosen = chosen.map(|(column, _)| format!("{} = ?1", column.name));
                let sql = select(described, &columns.join(", "), chosen);
                let mut arguments = SqliteArguments::default();
                value.iter().for_each(|value| push_sqlite(&mut arguments, value));
                let query = sqlx::query_with(AssertSqlSafe(sql), arguments);
                let rows = query.fetch_all(pool).await.unwrap();
                rows.iter().map(|row| read_row(described, |i, c| from_sqlite(row, i, c))).collect()
            }
            Self::Postgres(pool) => {
                let columns: Vec<String> = described.columns.iter().map(postgres_read).collect();
                let mark = |column: ColumnRef| {
                    format!("{} = {}", column.name, postgres_mark((1, &column)))
                };
                let chosen = chosen.map(|(column, _)| mark(column));
                let sql = select(described, &columns.join(", "), chosen);
                let mut arguments = PgArguments::default();
                value.iter().for_each(|value| push_postgres(&mut arguments, value));
                let query = sqlx::query_with(AssertSqlSafe(sql), arguments);
                let rows = query.fetch_all(pool).await.unwrap();
                rows.iter()
                    .map(|row| read_row(described, |i, c| from_postgres(row, i, c)))
                    .collect()
            }
            Self::MariaDb(pool) => {
                let columns = described.columns.iter().map(|c| format!("\"{}\"", c.name));
                let columns: Vec<String> = columns.collect();
                let chosen = chosen.map(|(column, _)| format!("{} = ?", column.name));
                let sql = select(described, &columns.join(", "), chosen);
                let mut arguments = MySqlArguments::default();
                value.iter().for_each(|value| push_mariadb(&mut arguments, value));
                let query = sqlx::query_with(AssertSqlSafe(sql), arguments);
                let rows = query.fetch_all(pool).await.unwrap();
                rows.iter().map(|row| read_row(described, |i, c| from_mariadb(row, i, c))).collect()
            }
        }
    }

    /// Changes columns of the row with that primary key.
    pub(crate) async fn set(&self, name: &str, key: Given<'_>, cells: Given<'_>) {
        let described = described(name);
        let given = |cells: &Given<'_>| -> Vec<(ColumnRef, Value)> {
            let cell =
                |(column, value): &(&str, Value)| (column_of(described, column), value.clone());
            cells.iter().map(cell).collect()
        };
        let (key, cells) = (given(&key), given(&cells));
        let names = |of: &[(ColumnRef, Value)],
                     from: usize,
                     mark: &dyn Fn(usize, &ColumnRef) -> String,
                     between: &str| {
            let term = |(at, (column, _)): (usize, &(ColumnRef, Value))| {
                format!("\"{}\" = {}", column.name, mark(from + at, column))
            };
            of.iter().enumerate().map(term).collect::<Vec<_>>().join(between)
        };
        let sql = |mark: &dyn Fn(usize, &ColumnRef) -> String| {
            let set = names(&cells, 1, mark, ", ");
            let holds = names(&key, 1 + cells.len(), mark, " AND ");
            format!("UPDATE {name} SET {set} WHERE {holds}")
        };
        let values = || cells.iter().chain(&key).map(|(_, value)| value);
        match self {
            Self::Memory(memory) => {
                let value =
                    |column: &ColumnRef, value: &Value| Expr::Value(column.ty, vec![value.clone()]);
                let target = key.iter().map(|(column, at)| (*column, value(column, at))).collect();
                let set =
                    cells.iter().map(|(column, to)| (*column, Assign::Set(value(column, to))));
                let plan = Plan::new("by_hand").update(TableRef(described), target, set.collect());
                memory.commit(plan).await.unwrap();
            }
            Self::Sqlite(pool) => {
                let mut arguments = SqliteArguments::default();
                values().for_each(|value| push_sqlite(&mut arguments, value));
                let sql = sql(&|number, _| format!("?{number}"));
                sqlx::query_with(AssertSqlSafe(sql), arguments).execute(pool).await.unwrap();
            }
            Self::Postgres(pool) => {
                let mut arguments = PgArguments::default();
                values().for_each(|value| push_postgres(&mut arguments, value));
                let sql = sql(&|number, column| postgres_mark((number, column)));
                sqlx::query_with(AssertSqlSafe(sql), arguments).execute(pool).await.unwrap();
            }
            Self::MariaDb(pool) => {
                let mut arguments = MySqlArguments::default();
                values().for_each(|value| push_mariadb(&mut arguments, value));
                let sql = sql(&|_, _| "?".to_owned());
                sqlx::query_with(AssertSqlSafe(sql), arguments).execute(pool).await.unwrap();
            }
        }
    }

    /// Removes every row of a table.
    pub(crate) async fn clear(&self, name: &str) {
        match self {
            Self::Memory(memory) => {
                let described = described(name);
                for row in memory.rows(name) {
                    let cell = |column: &ColumnRef| {
                        (*column, Expr::Value(column.ty, vec![row[column.name].clone()]))
                    };
                    let target = described.key.iter().map(cell).collect();
                    let plan = Plan::new("by_hand").delete(TableRef(described), target);
                    memory.commit(plan).await.unwrap();
                }
            }
            Self::Sqlite(_) | Self::Postgres(_) | Self::MariaDb(_) => {
                self.execute(&format!("DELETE FROM {name}")).await;
            }
        }
    }

    /// Runs statements that the memory backend has no counterpart for.
    pub(crate) async fn execute(&self, sql: &str) {
        let statements = || sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        match self {
            Self::Memory(_) => panic!("the memory backend runs no SQL"),
            Self::Sqlite(pool) => drop(statements().execute(pool).await.unwrap()),
            Self::Postgres(pool) => {
                // Where SERIALIZABLE is the default, the database may ask to try again.
                while let Err(error) = statements().execute(pool).await {
                    let code = error.as_database_error().and_then(DatabaseError::code);
                    assert_eq!(code.as_deref(), Some("40001"), "{error}");
                }
            }
            Self::MariaDb(pool) => drop(statements().execute(pool).await.unwrap()),
        }
    }
}

fn described(name: &str) -> &'static Table {
    table(name).unwrap_or_else(|| panic!("the schema has no table {name}"))
}

fn column_of(described: &Table, name: &str) -> ColumnRef {
    described.column(name).unwrap_or_else(|| panic!("{} has no column {name}", described.name))
}

fn select(described: &Table, columns: &str, chosen: Option<String>) -> String {
    let order: Vec<&str> = described.key.iter().map(|column| column.name).collect();
    let chosen = chosen.map(|chosen| format!(" WHERE {chosen}")).unwrap_or_default();
    format!("SELECT {columns} FROM {}{chosen} ORDER BY {}", described.name, order.join(", "))
}

fn read_row(described: &Table, read: impl Fn(usize, ColumnType) -> Value) -> Cells {
    let cell =
        |(index, column): (usize, &ColumnRef)| (column.name.to_owned(), read(index, column.ty));
    Cells(described.columns.iter().enumerate().map(cell).collect())
}

pub(crate) fn push_sqlite(arguments: &mut SqliteArguments, value: &Value) {
    match value {
        Value::Null => arguments.add(None::<i64>),
        Value::Bool(flag) => arguments.add(i64::from(*flag)),
        Value::Int(number) => arguments.add(*number),
        Value::Float(number) => arguments.add(*number),
        Value::Text(text) => arguments.add(text.clone()),
        Value::Bytes(bytes) => arguments.add(bytes.clone()),
        Value::Uuid(uuid) => arguments.add(uuid.as_bytes().to_vec()),
        Value::Json(document) => arguments.add(document.to_string()),
        Value::TextList(list) => arguments.add(Json::from(list.clone()).to_string()),
    }
    .unwrap();
}

fn push_mariadb(arguments: &mut MySqlArguments, value: &Value) {
    match value {
        Value::Null => arguments.add(None::<i64>),
        Value::Bool(flag) => arguments.add(i64::from(*flag)),
        Value::Int(number) => arguments.add(*number),
        Value::Float(number) => arguments.add(*number),
        Value::Text(text) => arguments.add(text.clone()),
        Value::Bytes(bytes) => arguments.add(bytes.clone()),
        Value::Uuid(uuid) => arguments.add(uuid.as_bytes().to_vec()),
        Value::Json(document) => arguments.add(document.to_string()),
        Value::TextList(list) => arguments.add(Json::from(list.clone()).to_string()),
    }
    .unwrap();
}

fn push_postgres(arguments: &mut PgArguments, value: &Value) {
    match value {
        Value::Null => arguments.add(None::<String>),
        Value::Bool(flag) => arguments.add(*flag),
        Value::Int(number) => arguments.add(*number),
        Value::Float(number) => arguments.add(*number),
        Value::Text(text) => arguments.add(text.clone()),
        Value::Bytes(bytes) => arguments.add(bytes.clone()),
        Value::Uuid(uuid) => arguments.add(*uuid),
        Value::Json(document) => arguments.add(document.clone()),
        Value::TextList(list) => arguments.add(list.clone()),
    }
    .unwrap();
}

fn postgres_type(ty: ColumnType) -> &'static str {
    match ty {
        ColumnType::SmallInt => "smallint",
        ColumnType::Int => "integer",
        ColumnType::BigInt => "bigint",
        ColumnType::Bool => "boolean",
        ColumnType::Float => "double precision",
        ColumnType::Text => "text",
        ColumnType::Bytes => "bytea",
        ColumnType::Uuid => "uuid",
        ColumnType::Json => "jsonb",
        ColumnType::TextList => "text[]",
    }
}

fn postgres_mark((number, column): (usize, &ColumnRef)) -> String {
    format!("${number}::{}", postgres_type(column.ty))
}

fn postgres_read(column: &ColumnRef) -> String {
    match column.ty {
        ColumnType::SmallInt | ColumnType::Int => format!("{}::bigint", column.name),
        _ => column.name.to_owned(),
    }
}

fn from_sqlite(row: &SqliteRow, index: usize, ty: ColumnType) -> Value {
    fn some<T>(value: Option<T>, wrap: impl Fn(T) -> Value) -> Value {
        value.map_or(Value::Null, wrap)
    }
    let parsed = |text: String| serde_json::from_str::<Json>(&text).unwrap();
    match ty {
        ColumnType::SmallInt | ColumnType::Int | ColumnType::BigInt => {
            some(row.get(index), Value::Int)
        }
        ColumnType::Bool => some(row.get(index), |flag: i64| Value::Bool(flag != 0)),
        ColumnType::Float => some(row.get(index), Value::Float),
        ColumnType::Text => some(row.get(index), Value::Text),
        ColumnType::Bytes => some(row.get(index), Value::Bytes),
        ColumnType::Uuid => {
            some(row.get(index), |bytes: Vec<u8>| Value::Uuid(Uuid::from_slice(&bytes).unwrap()))
        }
        ColumnType::Json => some(row.get(index), |text: String| Value::Json(parsed(text))),
        ColumnType::TextList => some(row.get(index), |text: String| {
            Value::TextList(serde_json::from_value(parsed(text)).unwrap())
        }),
    }
}

fn from_mariadb(row: &MySqlRow, index: usize, ty: ColumnType) -> Value {
    let number = || row.get_unchecked::<Option<i64>, _>(index);
    let bytes = || row.get_unchecked::<Option<Vec<u8>>, _>(index);
    let parsed = |bytes: Vec<u8>| serde_json::from_slice::<Json>(&bytes).unwrap();
    let found = match ty {
        ColumnType::SmallInt | ColumnType::Int | ColumnType::BigInt => number().map(Value::Int),
        ColumnType::Bool => number().map(|flag| Value::Bool(flag != 0)),
        ColumnType::Float => row.get_unchecked::<Option<f64>, _>(index).map(Value::Float),
        ColumnType::Text => bytes().map(|bytes| Value::Text(String::from_utf8(bytes).unwrap())),
        ColumnType::Bytes => bytes().map(Value::Bytes),
        ColumnType::Uuid => bytes().map(|bytes| Value::Uuid(Uuid::from_slice(&bytes).unwrap())),
        ColumnType::Json => bytes().map(|bytes| Value::Json(parsed(bytes))),
        ColumnType::TextList => {
            bytes().map(|bytes| Value::TextList(serde_json::from_value(parsed(bytes)).unwrap()))
        }
    };
    found.unwrap_or(Value::Null)
}

fn from_postgres(row: &PgRow, index: usize, ty: ColumnType) -> Value {
    fn some<T>(value: Option<T>, wrap: impl Fn(T) -> Value) -> Value {
        value.map_or(Value::Null, wrap)
    }
    match ty {
        ColumnType::SmallInt | ColumnType::Int | ColumnType::BigInt => {
            some(row.get(index), Value::Int)
        }
        ColumnType::Bool => some(row.get(index), Value::Bool),
        ColumnType::Float => some(row.get(index), Value::Float),
        ColumnType::Text => some(row.get(index), Value::Text),
        ColumnType::Bytes => some(row.get(index), Value::Bytes),
        ColumnType::Uuid => some(row.get(index), Value::Uuid),
        ColumnType::Json => some(row.get(index), Value::Json),
        ColumnType::TextList => some(row.get(index), Value::TextList),
    }
}

impl Cells {
    pub(crate) fn value(&self, column: &str) -> &Value {
        self.0.get(column).unwrap_or_else(|| panic!("no column {column}"))
    }

    /// A text, NULL being `-`.
    pub(crate) fn text(&self, column: &str) -> &str {
        match self.value(column) {
            Value::Null => "-",
            Value::Text(text) => text,
            other => panic!("{column} is {other:?}"),
        }
    }

    /// An integer; `None` for NULL.
    pub(crate) fn int(&self, column: &str) -> Option<i64> {
        match self.value(column) {
            Value::Null => None,
            Value::Int(number) => Some(*number),
            other => panic!("{column} is {other:?}"),
        }
    }

    pub(crate) fn float(&self, column: &str) -> f64 {
        match self.value(column) {
            Value::Float(number) => *number,
            other => panic!("{column} is {other:?}"),
        }
    }

    pub(crate) fn uuid(&self, column: &str) -> Option<Uuid> {
        match self.value(column) {
            Value::Null => None,
            Value::Uuid(uuid) => Some(*uuid),
            Value::Text(text) => Some(text.parse().unwrap()),
            other => panic!("{column} is {other:?}"),
        }
    }

    pub(crate) fn bytes(&self, column: &str) -> Option<&[u8]> {
        match self.value(column) {
            Value::Null => None,
            Value::Bytes(bytes) => Some(bytes),
            other => panic!("{column} is {other:?}"),
        }
    }

    /// A flag.
    pub(crate) fn flag(&self, column: &str) -> bool {
        match self.value(column) {
            Value::Bool(flag) => *flag,
            other => panic!("{column} is {other:?}"),
        }
    }

    /// A list of texts.
    pub(crate) fn texts(&self, column: &str) -> &[String] {
        match self.value(column) {
            Value::TextList(texts) => texts,
            other => panic!("{column} is {other:?}"),
        }
    }

    /// A JSON document.
    pub(crate) fn json(&self, column: &str) -> &Json {
        match self.value(column) {
            Value::Json(document) => document,
            other => panic!("{column} is {other:?}"),
        }
    }

    /// A member of the open bag; null when it is missing.
    pub(crate) fn raw(&self, member: &str) -> Json {
        self.json("raw_fields").get(member).cloned().unwrap_or(Json::Null)
    }

    /// Phase, ownership, eligibility, public state, attempt state and blocking reason, as stored.
    pub(crate) fn states(&self) -> String {
        let columns = [
            "lifecycle_phase",
            "ownership_state",
            "eligibility_state",
            "public_state",
            "attempt_state",
            "blocking_reason",
        ];
        columns.map(|column| self.text(column)).join(" ")
    }
}

/// NULLs are left out: a difference is easier to see.
impl fmt::Debug for Cells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().filter(|(_, value)| !value.is_null())).finish()
    }
}
