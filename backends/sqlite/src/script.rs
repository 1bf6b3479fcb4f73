//! The connection that writes, as the script executor uses it.

use std::sync::Arc;
use std::time::Duration;

use ff_backend_script::{BoundValue, PartResult, ScriptConnection};
use ff_codegen::Sqlite;
use ff_codegen::dialect::{Dialect, TransactionControl};
use ff_codegen::runs::{Part, Run};
use ff_core::plan::value::Value;
use futures_util::TryStreamExt;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Either, Executor};

use crate::bind;
use crate::connect::Connections;
use crate::error::{BusyRetry, Failure, SqliteError};
use crate::reader;
use crate::statements::statement;

/// The only connection that writes.
pub(crate) struct WritingConnection {
    pub(crate) connection: SqliteConnection,
    pub(crate) connections: Arc<Connections>,
    pub(crate) busy_timeout: Duration,
}

impl ScriptConnection for WritingConnection {
    type Error = SqliteError;

    fn transaction_control(&self) -> TransactionControl {
        Sqlite.transaction_control()
    }

    async fn control(&mut self, text: &'static str) -> Result<(), SqliteError> {
        let retry = BusyRetry::new(self.busy_timeout);
        loop {
            self.connections.traffic.sent(1);
            let done = sqlx::query(text).execute(&mut self.connection).await;
            match done.map_err(SqliteError::write) {
                Ok(_) => return Ok(()),
                Err(error) if retry.again(&error).await => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn roll_back(&mut self) {
        let text = self.transaction_control().roll_back;
        if sqlx::query(text).execute(&mut self.connection).await.is_ok() {
            return;
        }

        // SQLite may have rolled back by itself; only a connection that does not answer is broken.
        if reader::ping(&mut self.connection).await.is_err()
            && let Ok(fresh) = self.connections.writer().await
        {
            self.connection = fresh;
        }
    }

    async fn run(
        &mut self,
        run: &Run,
        values: &[BoundValue<'_>],
    ) -> Result<Vec<PartResult>, Failure> {
        let mut arguments = SqliteArguments::default();
        for bound in values {
            bind::push(&mut arguments, &bound.value, bound.ty)?;
        }

        self.connections.traffic.sent(run.parts.len() as u64);
        let mut items = self.connection.fetch_many(statement(&run.sql, arguments));
        let mut results = Vec::with_capacity(run.parts.len());
        let mut rows = Vec::new();
        while let Some(item) = items.try_next().await.map_err(SqliteError::write)? {
            let Some(part) = run.parts.get(results.len()) else { break };
            match item {
                Either::Right(row) => rows.push(cells(part, &row)?),
                Either::Left(done) => {
                    let rows = std::mem::take(&mut rows);
                    results.push(PartResult { rows, changed: done.rows_affected() });
                }
            }
        }

        Ok(results)
    }

    async fn is_in_transaction(&mut self) -> bool {
        // Inside a transaction no other can begin.
        sqlx::query("BEGIN").execute(&mut self.connection).await.is_err()
    }

    fn is_unique_violation(error: &SqliteError) -> bool {
        error.is_unique_violation()
    }
}

fn cells(part: &Part, row: &SqliteRow) -> Result<Vec<Value>, Failure> {
    let columns = part.holds.iter().zip(&part.yields).enumerate();
    columns.map(|(index, (path, ty))| Ok(bind::read(row, index, path.column, *ty)?)).collect()
}
