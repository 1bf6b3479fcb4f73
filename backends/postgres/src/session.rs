//! Running one statement on one connection.

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgPool, PgRow};
use sqlx::{Connection, PgConnection, Postgres, SqlStr};

/// How statements reach the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Prepared under a name, once per connection: one round trip.
    Named,
    /// Prepared without a name each time. The driver prepares and executes in two exchanges, between
    /// which a pooler in transaction mode may switch servers, so each statement gets a transaction.
    Unnamed,
}

/// Runs the statement and commits it.
pub(crate) async fn fetch(
    connection: &mut PgConnection,
    protocol: Protocol,
    sql: &SqlStr,
    arguments: PgArguments,
) -> Result<Vec<PgRow>, sqlx::Error> {
    let query = sqlx::query_with(sql.clone(), arguments);
    match protocol {
        Protocol::Named => query.fetch_all(connection).await,
        Protocol::Unnamed => {
            let mut transaction = connection.begin().await?;
            let rows = query.persistent(false).fetch_all(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(rows)
        }
    }
}

/// A connection that is taken from the pool when first needed and replaced once it has failed.
pub(crate) struct Session {
    pool: PgPool,
    connection: Option<PoolConnection<Postgres>>,
}

impl Session {
    pub(crate) fn new(pool: PgPool) -> Self {
        Self { pool, connection: None }
    }

    /// The connection.
    ///
    /// # Errors
    /// Those of the pool; nothing was sent.
    pub(crate) async fn connection(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.pool.acquire().await?,
        };
        Ok(self.connection.insert(connection))
    }

    /// Gives the connection back.
    pub(crate) fn release(&mut self) {
        self.connection = None;
    }

    /// Throws the connection away: it failed, and what it would answer next is unknown.
    pub(crate) fn discard(&mut self) {
        if let Some(mut connection) = self.connection.take() {
            connection.close_on_drop();
        }
    }
}
