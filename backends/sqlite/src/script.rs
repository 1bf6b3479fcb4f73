//! The connection that writes, as the script executor uses it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ff_backend_script::{BoundValue, ScriptConnection, StepResult};
use ff_codegen::dialect::{Dialect, TransactionControl};
use ff_codegen::{ScriptStep, Sqlite, Statement};
use ff_core::plan::Path;
use ff_core::plan::value::{ColumnType, Value};
use rusqlite::{Connection, Row};

use crate::bind;
use crate::connect::Connections;
use crate::error::{BusyRetry, Failure, SqliteError};
use crate::reader;
use crate::statements::prepared;

/// The only connection that writes.
pub(crate) struct WritingConnection {
    pub(crate) connection: Connection,
    pub(crate) connections: Arc<Connections>,
    pub(crate) busy_timeout: Duration,
    /// The statements that the current group has run so far.
    pub(crate) statements: u64,
    /// The time that the last commit took.
    pub(crate) last_commit: Duration,
}

impl WritingConnection {
    pub(crate) fn new(
        connection: Connection,
        connections: Arc<Connections>,
        busy_timeout: Duration,
    ) -> Self {
        Self { connection, connections, busy_timeout, statements: 0, last_commit: Duration::ZERO }
    }
}

impl ScriptConnection for WritingConnection {
    type Error = SqliteError;

    fn transaction_control(&self) -> TransactionControl {
        Sqlite.transaction_control()
    }

    async fn control(&mut self, text: &'static str) -> Result<(), SqliteError> {
        let retry = BusyRetry::new(self.busy_timeout);
        loop {
            self.statements += 1;
            let begun = Instant::now();
            let done = execute(&self.connection, text);
            if text == self.transaction_control().commit {
                self.last_commit = begun.elapsed();
            }

            match done {
                Ok(()) => return Ok(()),
                Err(error) if retry.again(&error).await => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn roll_back(&mut self) {
        let text = self.transaction_control().roll_back;
        if self.connection.is_autocommit() || execute(&self.connection, text).is_ok() {
            return;
        }

        // SQLite may have rolled back by itself; only a connection that does not answer is broken.
        if reader::ping(&self.connection).is_err()
            && let Ok(fresh) = self.connections.writing()
        {
            self.connection = fresh;
        }
    }

    async fn run(
        &mut self,
        step: &ScriptStep,
        values: &[BoundValue<'_>],
    ) -> Result<StepResult, Failure> {
        let statement = step.statement();
        let mut prepared = prepared(&self.connection, statement).map_err(SqliteError::write)?;
        for (number, bound) in (1..).zip(values) {
            bind::bind(&mut prepared, number, &bound.value, bound.ty)?;
        }

        self.statements += 1;
        if prepared.column_count() == 0 {
            let changed = prepared.raw_execute().map_err(SqliteError::write)?;
            return Ok(StepResult { rows: Vec::new(), changed: changed as u64 });
        }

        let mut found = prepared.raw_query();
        let mut rows = Vec::new();
        while let Some(row) = found.next().map_err(SqliteError::write)? {
            rows.push(cells(statement, step.holds(), row)?);
        }
        Ok(StepResult { rows, changed: 0 })
    }

    async fn is_in_transaction(&mut self) -> bool {
        !self.connection.is_autocommit()
    }

    fn is_unique_violation(error: &SqliteError) -> bool {
        error.is_unique_violation()
    }
}

fn execute(connection: &Connection, text: &'static str) -> Result<(), SqliteError> {
    connection.execute_batch(text).map_err(SqliteError::write)
}

fn cells(statement: &Statement, holds: &[Path], row: &Row<'_>) -> Result<Vec<Value>, Failure> {
    let columns = holds.iter().zip(&statement.yields).enumerate();
    let cell = |(index, (path, ty)): (usize, (&Path, &ColumnType))| {
        let stored = row.get_ref(index).map_err(SqliteError::read)?;
        Ok(bind::read(stored, path.column, *ty)?)
    };
    columns.map(cell).collect()
}
