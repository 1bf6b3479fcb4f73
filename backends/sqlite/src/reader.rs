//! Answers queries, on connections that cannot write.

use std::sync::Arc;
use std::time::Duration;

use ff_core::EngineError;
use ff_core::plan::Bindings;
use ff_core::plan::facts::Answer;
use ff_core::plan::value::Value;
use ff_core::schema::ColumnRef;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqlitePool, SqliteRow};

use crate::bind;
use crate::error::{BusyRetry, Failure, SqliteError};
use crate::statements::{Read, statement};

/// A query and its values.
pub(crate) type BoundQuery = (Arc<Read>, Bindings);

/// The reading connections.
#[derive(Clone)]
pub(crate) struct Reader {
    pub(crate) pool: SqlitePool,
    pub(crate) busy_timeout: Duration,
}

impl Reader {
    /// Answers the queries, in order.
    pub(crate) async fn answer(&self, queries: &[BoundQuery]) -> Result<Vec<Answer>, EngineError> {
        let retry = BusyRetry::new(self.busy_timeout);
        loop {
            match self.try_once(queries).await {
                Ok(answers) => return Ok(answers),
                Err(Failure::Database(error)) if retry.again(&error).await => {}
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    async fn try_once(&self, queries: &[BoundQuery]) -> Result<Vec<Answer>, Failure> {
        let mut connection = self.pool.acquire().await.map_err(SqliteError::read)?;
        answer_all(&mut connection, queries).await
    }

    /// Reads from the file.
    pub(crate) async fn ping(&self) -> Result<(), SqliteError> {
        let mut connection = self.pool.acquire().await.map_err(SqliteError::read)?;
        ping(&mut connection).await
    }
}

/// Reads the database's header.
pub(crate) async fn ping(connection: &mut SqliteConnection) -> Result<(), SqliteError> {
    let header = sqlx::query("PRAGMA schema_version").fetch_optional(connection).await;
    header.map(drop).map_err(SqliteError::read)
}

/// Answers the queries in order, with one statement each.
pub(crate) async fn answer_all(
    connection: &mut SqliteConnection,
    queries: &[BoundQuery],
) -> Result<Vec<Answer>, Failure> {
    let mut answers = Vec::with_capacity(queries.len());
    for (read, bindings) in queries {
        answers.push(answer(connection, read, bindings).await?);
    }

    Ok(answers)
}

async fn answer(
    connection: &mut SqliteConnection,
    read: &Read,
    bindings: &Bindings,
) -> Result<Answer, Failure> {
    let mut arguments = SqliteArguments::default();
    for bind in &read.binds {
        match bind.source {
            ff_codegen::BindSource::Slot(slot) => {
                bind::push(&mut arguments, bindings.value(slot, 0), bind.ty)?;
            }
            // A query is one statement, so nothing was found before it.
            ff_codegen::BindSource::Held(..) | ff_codegen::BindSource::PickedCount => {
                bind::push(&mut arguments, &Value::Null, bind.ty)?;
            }
        }
    }

    let rows = statement(&read.sql, arguments).fetch_all(connection).await;
    let rows = rows.map_err(SqliteError::read)?;
    let cell =
        |row: &SqliteRow, index, column: ColumnRef| bind::read(row, index, column, column.ty);
    Ok(ff_codegen::answer(&read.query, &rows, cell)?)
}
