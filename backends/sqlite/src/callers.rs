//! The caller's connection, as the script executor uses it within a transaction.
//!
//! The caller's driver is another one than the writer's, so values take another way to the same
//! encoding: that of `bind.rs`.

use ff_backend_script::{BoundQuery, BoundValue, Read, ScriptConnection, StepResult, bound};
use ff_codegen::dialect::{Dialect as _, TransactionControl};
use ff_codegen::{ScriptStep, Sqlite};
use ff_core::EngineError;
use ff_core::plan::Bindings;
use ff_core::plan::facts::Answer;
use ff_core::plan::value::{ColumnType, Value};
use ff_core::schema::ColumnRef;
use rusqlite::ToSql as _;
use rusqlite::types::{ToSqlOutput, Value as Owned, ValueRef};
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Arguments as _, Executor as _, Row as _, SqlStr, Statement as _, TypeInfo as _};
use sqlx::{Value as _, ValueRef as _};

use crate::bind::{self, Encoded};
use crate::error::{Failure, SqliteError};
use crate::statements::text;

/// A connection of the caller that is inside a transaction.
pub(crate) struct CallersConnection<'t> {
    pub(crate) connection: &'t mut SqliteConnection,
    /// The statements that it has run for the engine.
    pub(crate) statements: u64,
}

impl CallersConnection<'_> {
    /// Answers the queries in order, with one statement each.
    pub(crate) async fn answer_all(
        &mut self,
        queries: &[BoundQuery],
    ) -> Result<Vec<Answer>, Failure> {
        let mut answers = Vec::with_capacity(queries.len());
        for (read, bindings) in queries {
            answers.push(self.answer(read, bindings).await?);
        }
        Ok(answers)
    }

    async fn answer(&mut self, read: &Read, bindings: &Bindings) -> Result<Answer, Failure> {
        let mut arguments = SqliteArguments::default();
        for bind in &read.statement.binds {
            add(&mut arguments, bound(&bind.source, bindings), bind.ty)?;
        }

        self.statements += 1;
        let query = sqlx::query_with(text(&read.statement), arguments);
        let rows = query.fetch_all(&mut *self.connection).await.map_err(SqliteError::read)?;
        let cell = |row: &SqliteRow, index: usize, column: ColumnRef| {
            stored(row, index, column, column.ty).map_err(EngineError::from)
        };
        Ok(ff_codegen::answer(&read.query, &rows, cell)?)
    }

    async fn execute(&mut self, text: &'static str) -> Result<(), SqliteError> {
        self.statements += 1;
        let done = sqlx::raw_sql(text).execute(&mut *self.connection).await;
        done.map(drop).map_err(SqliteError::read)
    }

    /// True if the statement yields rows.
    async fn yields(&mut self, text: SqlStr) -> Result<bool, SqliteError> {
        let prepared = (&mut *self.connection).prepare(text).await.map_err(SqliteError::read)?;
        Ok(!prepared.columns().is_empty())
    }
}

impl ScriptConnection for CallersConnection<'_> {
    type Error = SqliteError;

    fn transaction_control(&self) -> TransactionControl {
        Sqlite.transaction_control()
    }

    async fn control(&mut self, text: &'static str) -> Result<(), SqliteError> {
        self.execute(text).await
    }

    async fn roll_back(&mut self) {}

    async fn run(
        &mut self,
        step: &ScriptStep,
        values: &[BoundValue<'_>],
    ) -> Result<StepResult, Failure> {
        let statement = step.statement();
        let mut arguments = SqliteArguments::default();
        for bound in values {
            add(&mut arguments, &bound.value, bound.ty)?;
        }

        self.statements += 1;
        let text = text(statement);
        let yields = self.yields(text.clone()).await?;
        let query = sqlx::query_with(text, arguments);
        if !yields {
            let done = query.execute(&mut *self.connection).await.map_err(SqliteError::read)?;
            return Ok(StepResult { rows: Vec::new(), changed: done.rows_affected() });
        }

        let found = query.fetch_all(&mut *self.connection).await.map_err(SqliteError::read)?;
        let columns = step.holds().iter().zip(&statement.yields);
        let cells = |row: &SqliteRow| {
            let cell = |(index, (path, ty)): (usize, (&ff_core::plan::Path, &ColumnType))| {
                stored(row, index, path.column, *ty)
            };
            columns.clone().enumerate().map(cell).collect::<Result<Vec<_>, _>>()
        };
        let rows = found.iter().map(cells).collect::<Result<_, _>>()?;
        Ok(StepResult { rows, changed: 0 })
    }

    async fn is_in_transaction(&mut self) -> bool {
        let TransactionControl { begin, roll_back, .. } = self.transaction_control();
        // No transaction begins inside another one.
        if self.execute(begin).await.is_err() {
            return true;
        }
        let _ = self.execute(roll_back).await;
        false
    }

    fn is_unique_violation(error: &SqliteError) -> bool {
        error.is_unique_violation()
    }
}

/// Adds the value, as `ty`.
fn add(arguments: &mut SqliteArguments, value: &Value, ty: ColumnType) -> Result<(), Failure> {
    let encoded = Encoded { value, ty };
    let output = encoded.to_sql().map_err(SqliteError::write)?;
    let added = match &output {
        ToSqlOutput::Borrowed(value) => add_stored(arguments, *value),
        ToSqlOutput::Owned(value) => add_stored(arguments, ValueRef::from(value)),
        _ => add_stored(arguments, ValueRef::Null),
    };
    let failed = |error| SqliteError::read(sqlx::Error::Encode(error));
    Ok(added.map_err(failed)?)
}

fn add_stored(
    arguments: &mut SqliteArguments,
    value: ValueRef<'_>,
) -> Result<(), sqlx::error::BoxDynError> {
    match value {
        ValueRef::Null => arguments.add(None::<i64>),
        ValueRef::Integer(number) => arguments.add(number),
        ValueRef::Real(number) => arguments.add(number),
        ValueRef::Text(text) => arguments.add(String::from_utf8(text.to_vec())?),
        ValueRef::Blob(bytes) => arguments.add(bytes.to_vec()),
    }
}

/// Decodes one column of a result row.
fn stored(
    row: &SqliteRow,
    index: usize,
    column: ColumnRef,
    ty: ColumnType,
) -> Result<Value, Failure> {
    let raw = row.try_get_raw(index).map_err(SqliteError::read)?;
    if raw.is_null() {
        return Ok(bind::read(ValueRef::Null, column, ty)?);
    }

    // The type of this value, which need not be its column's.
    let found = raw.to_owned().type_info().name().to_owned();
    let value = match found.as_str() {
        "INTEGER" => row.try_get_unchecked(index).map(Owned::Integer),
        "REAL" => row.try_get_unchecked(index).map(Owned::Real),
        "TEXT" => row.try_get_unchecked(index).map(Owned::Text),
        _ => row.try_get_unchecked(index).map(Owned::Blob),
    };
    let value = value.map_err(SqliteError::read)?;
    Ok(bind::read(ValueRef::from(&value), column, ty)?)
}
