//! Runs queries and decodes their answers.

use std::sync::Arc;
use std::time::Duration;

use ff_codegen::ByShape;
use ff_core::EngineError;
use ff_core::engine::{Horizon, Random};
use ff_core::plan::facts::Answer;
use ff_core::plan::{Bindings, Query, QueryShape};
use ff_core::rules::ctx::Source as _;
use ff_core::schema::ColumnRef;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Row as _, SqlSafeStr as _, SqlStr};

use crate::bind;
use crate::connections::Connections;
use crate::error::PostgresError;
use crate::session::{Protocol, Session};
use crate::statements::{ReadStatement, database_time};

// Numbers of the server only; no table of the schema is read.
const HORIZON: &str = "SELECT (pg_snapshot_xmin(pg_current_snapshot())::text)::bigint, \
                       (SELECT sum(setting::bigint)::bigint FROM pg_settings WHERE name IN \
                       ('max_connections', 'max_prepared_transactions', 'max_worker_processes'))";

// A snapshot ends after the latest transaction that is over, and says nothing of later ones that
// may have begun. Only a newly assigned number is higher than all that have begun.
const FRONTIER: &str = "SELECT (pg_current_xact_id()::text)::bigint";

/// The number of events with nearly equal stamps that may be numbered in another order.
const TOGETHER: i64 = 64;

/// The number of times that a read is sent again which the database aborted.
const TRIES: u32 = 20;

/// The pause of a read that met a locked table.
const PAUSE: Duration = Duration::from_millis(50);

/// Answers queries, with one statement each.
pub(crate) struct Reader {
    connections: Connections,
    protocol: Protocol,
    max_connections: u32,
    /// The time after which a transaction is over, where no session can read which ones are.
    window: Option<Duration>,
    statements: ByShape<QueryShape, ReadStatement>,
}

impl Reader {
    pub(crate) fn new(
        connections: Connections,
        protocol: Protocol,
        max_connections: u32,
        window: Option<Duration>,
    ) -> Self {
        Self { connections, protocol, max_connections, window, statements: ByShape::default() }
    }

    /// Answers the queries in order, on one connection. They share no snapshot: a plan guards what
    /// it relied on.
    ///
    /// # Errors
    /// `Transport`, `ResourceExhausted`, or `Validation(Corruption)`.
    pub(crate) async fn read(&self, queries: Vec<Query>) -> Result<Vec<Answer>, EngineError> {
        let mut session = Session::new(self.connections.clone());
        let mut answers = Vec::with_capacity(queries.len());
        for query in queries {
            let (statement, bindings) = self.statement(query)?;
            answers.push(self.answer(&mut session, &statement, &bindings).await?);
        }

        Ok(answers)
    }

    /// The statement of a query, and its values.
    ///
    /// # Errors
    /// `Transport` around the generator's refusal.
    pub(crate) fn statement(
        &self,
        query: Query,
    ) -> Result<(Arc<ReadStatement>, Bindings), EngineError> {
        let (shape, bindings) = query.into_shape();
        Ok((self.statements.find(shape, ReadStatement::render)?, bindings))
    }

    /// The transactions that are over.
    ///
    /// # Errors
    /// `Transport` or `ResourceExhausted`.
    pub(crate) async fn horizon(&self) -> Result<Horizon, EngineError> {
        if let Some(window) = self.window {
            let window = i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
            let oldest_open = self.one_number(database_time()).await?.saturating_sub(window);
            return Ok(Horizon { oldest_open, most_open: TOGETHER });
        }

        let row = self.one_row(HORIZON.into_sql_str()).await?;
        let failed = |error| PostgresError::read(error).into_engine(self.max_connections);
        let number = |index: usize| row.try_get(index).map_err(failed);
        Ok(Horizon { oldest_open: number(0)?, most_open: number(1)? })
    }

    /// A number higher than that of every transaction that has begun to write.
    ///
    /// # Errors
    /// `Transport` or `ResourceExhausted`.
    pub(crate) async fn frontier(&self) -> Result<i64, EngineError> {
        match self.window {
            // Events are stamped by the time there.
            Some(_) => Ok(self.one_number(database_time()).await?.saturating_add(1)),
            None => self.one_number(FRONTIER.into_sql_str()).await,
        }
    }

    /// The only number of the server's answer.
    async fn one_number(&self, sql: SqlStr) -> Result<i64, EngineError> {
        let row = self.one_row(sql).await?;
        row.try_get(0).map_err(|error| PostgresError::read(error).into_engine(self.max_connections))
    }

    /// The only row of the server's answer.
    async fn one_row(&self, sql: SqlStr) -> Result<PgRow, EngineError> {
        let failed = |error| PostgresError::read(error).into_engine(self.max_connections);
        let mut session = Session::new(self.connections.clone());
        let rows = self.ask(&mut session, &sql, PgArguments::default()).await;
        let rows = rows.map_err(|error| error.into_engine(self.max_connections))?;
        rows.into_iter().next().ok_or(sqlx::Error::RowNotFound).map_err(failed)
    }

    async fn answer(
        &self,
        session: &mut Session,
        statement: &ReadStatement,
        bindings: &Bindings,
    ) -> Result<Answer, EngineError> {
        let mut again = true;
        let mut aborted = 0;
        loop {
            let arguments = bind::read(&statement.binds, bindings)?;
            let rows = self.ask(session, &statement.sql, arguments).await;
            match rows {
                Ok(rows) => return decode(statement, &rows),
                // The session was lost: a read may be repeated in another one.
                Err(error) if again && error.lost_connection() => again = false,
                // In a serializable session a read may be the one that breaks a cycle.
                Err(error) if error.lost_a_race() && aborted < TRIES => {
                    aborted += 1;
                    tokio::time::sleep(PAUSE.mul_f64(Random.fraction())).await;
                }
                // Reads wait for no row, but another session may be changing the whole table.
                Err(error) if error.waited_for_a_lock() => tokio::time::sleep(PAUSE).await,
                Err(error) => return Err(error.into_engine(self.max_connections)),
            }
        }
    }

    /// Runs a statement on the session's connection.
    async fn ask(
        &self,
        session: &mut Session,
        sql: &SqlStr,
        arguments: PgArguments,
    ) -> Result<Vec<PgRow>, PostgresError> {
        session.fetch(self.protocol, sql, arguments, PostgresError::read).await
    }
}

/// The answer by the result rows.
///
/// # Errors
/// `Validation(Corruption)` for a stored value that its column cannot have.
pub(crate) fn decode(statement: &ReadStatement, rows: &[PgRow]) -> Result<Answer, EngineError> {
    let cell = |row: &PgRow, index, column: ColumnRef| bind::decode(row, index, column.ty);
    ff_codegen::answer(&statement.query, rows, cell)
}
