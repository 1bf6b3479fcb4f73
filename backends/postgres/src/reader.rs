//! Queries in, answers out.

use ff_core::EngineError;
use ff_core::engine::Horizon;
use ff_core::facts::{Answer, Row};
use ff_core::plan::{Bindings, Lookup, Query, QueryShape};
use ff_core::value::ColumnType;
use sqlx::postgres::{PgArguments, PgPool, PgRow};
use sqlx::{Row as _, SqlSafeStr as _};

use crate::bind;
use crate::error::{PostgresError, corrupt};
use crate::session::{Protocol, Session, fetch};
use crate::statements::{ByShape, ReadStatement};

// The database's own numbers; no table of the schema is asked.
const HORIZON: &str = "SELECT (pg_snapshot_xmin(pg_current_snapshot())::text)::bigint, \
                       (SELECT sum(setting::bigint)::bigint FROM pg_settings WHERE name IN \
                       ('max_connections', 'max_prepared_transactions', 'max_worker_processes'))";

// A snapshot ends after the latest transaction that is over; those that began later are not in it,
// whether they have begun or not. Only a number of one's own is higher than all that have.
const FRONTIER: &str = "SELECT (pg_current_xact_id()::text)::bigint";

/// Answers queries: one statement each.
pub(crate) struct Reader {
    pool: PgPool,
    protocol: Protocol,
    max_connections: u32,
    statements: ByShape<QueryShape, ReadStatement>,
}

impl Reader {
    pub(crate) fn new(pool: PgPool, protocol: Protocol, max_connections: u32) -> Self {
        Self { pool, protocol, max_connections, statements: ByShape::new() }
    }

    /// Answers the queries in their order, on one connection. Not one snapshot: whoever decides on
    /// the answers guards what it relied on.
    ///
    /// # Errors
    /// `Transport`, `ResourceExhausted`, or `Validation(Corruption)`.
    pub(crate) async fn read(&self, queries: Vec<Query>) -> Result<Vec<Answer>, EngineError> {
        let mut session = Session::new(self.pool.clone());
        let mut answers = Vec::with_capacity(queries.len());
        for query in queries {
            let (shape, bindings) = query.into_shape();
            let statement = self.statements.find(shape, ReadStatement::render)?;
            answers.push(self.answer(&mut session, &statement, &bindings).await?);
        }
        Ok(answers)
    }

    /// Which transactions are over.
    ///
    /// # Errors
    /// `Transport` or `ResourceExhausted`.
    pub(crate) async fn horizon(&self) -> Result<Horizon, EngineError> {
        let row = self.ask(HORIZON).await?;
        let failed = |error| PostgresError::read(error).into_engine(self.max_connections);
        let number = |index: usize| row.try_get(index).map_err(failed);
        Ok(Horizon { oldest_open: number(0)?, most_open: number(1)? })
    }

    /// A number higher than that of every transaction that has begun to write.
    ///
    /// # Errors
    /// `Transport` or `ResourceExhausted`.
    pub(crate) async fn frontier(&self) -> Result<i64, EngineError> {
        let row = self.ask(FRONTIER).await?;
        row.try_get(0).map_err(|error| PostgresError::read(error).into_engine(self.max_connections))
    }

    /// The one row that the server answers.
    async fn ask(&self, sql: &'static str) -> Result<PgRow, EngineError> {
        let failed = |error| PostgresError::read(error).into_engine(self.max_connections);
        let mut session = Session::new(self.pool.clone());
        let connection = session.connection().await.map_err(failed)?;
        let sql = sql.into_sql_str();
        let rows = fetch(connection, self.protocol, &sql, PgArguments::default()).await;
        let row = rows.map_err(failed)?.into_iter().next();
        row.ok_or(sqlx::Error::RowNotFound).map_err(failed)
    }

    async fn answer(
        &self,
        session: &mut Session,
        statement: &ReadStatement,
        bindings: &Bindings,
    ) -> Result<Answer, EngineError> {
        let arguments = bind::read(&statement.binds, bindings)?;
        let failed = |error| PostgresError::read(error).into_engine(self.max_connections);
        let connection = session.connection().await.map_err(failed)?;
        let rows = fetch(connection, self.protocol, &statement.sql, arguments).await;
        let rows = rows.map_err(failed)?;
        decode(statement, &rows)
    }
}

fn decode(statement: &ReadStatement, rows: &[PgRow]) -> Result<Answer, EngineError> {
    match &statement.query {
        Query::Lookup(lookups) => {
            let [row] = rows else {
                return Err(corrupt("a look-up answers with one row".into()));
            };
            let mut found = Vec::with_capacity(lookups.len());
            let mut types = statement.yields.iter().copied().enumerate();
            for lookup in lookups {
                found.push(looked_up(row, lookup, &mut types)?);
            }
            Ok(Answer::Lookup(found))
        }
        Query::List(list) => {
            let listed = |row: &PgRow| {
                let columns = list.columns.iter().zip(statement.yields.iter().copied().enumerate());
                let cells = columns
                    .map(|(column, (index, ty))| Ok((*column, bind::decode(row, index, ty)?)))
                    .collect::<Result<_, EngineError>>()?;
                Ok(Row::new(cells))
            };
            rows.iter().map(listed).collect::<Result<_, _>>().map(Answer::List)
        }
    }
}

/// The part of the result row that belongs to one look-up: its first key column, which is NULL when
/// the row is absent, then the columns asked for.
fn looked_up(
    row: &PgRow,
    lookup: &Lookup,
    types: &mut impl Iterator<Item = (usize, ColumnType)>,
) -> Result<Option<Row>, EngineError> {
    let Some((index, ty)) = types.next() else {
        return Err(corrupt("a look-up without its key column".into()));
    };
    let present = !bind::decode(row, index, ty)?.is_null();
    let mut cells = Vec::with_capacity(lookup.columns.len());
    for (column, (index, ty)) in lookup.columns.iter().zip(types) {
        if present {
            cells.push((*column, bind::decode(row, index, ty)?));
        }
    }
    Ok(present.then(|| Row::new(cells)))
}
