//! Runs statements on one connection.

use ff_core::engine::TrafficMeter;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Connection, PgConnection, SqlStr};

use crate::connections::{Connections, Held};
use crate::error::PostgresError;

/// The way in which statements are prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Prepared under a name, once per connection: one round trip.
    Named,
    /// Prepared without a name each time. The driver prepares and executes in two exchanges,
    /// between which a pooler in transaction mode may switch servers. So each statement gets a
    /// transaction.
    Unnamed,
}

impl Protocol {
    /// Counts one statement that is sent in this way.
    pub(crate) fn count(self, traffic: &TrafficMeter) {
        match self {
            Self::Named => traffic.sent(1),
            Self::Unnamed => [1, 0, 1, 1].into_iter().for_each(|sent| traffic.sent(sent)),
        }
    }
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

/// A connection that is taken when first needed and replaced once its session has ended.
pub(crate) struct Session {
    connections: Connections,
    connection: Option<Held>,
    /// True if the server has answered all that it was asked.
    is_answered: bool,
}

impl Session {
    pub(crate) fn new(connections: Connections) -> Self {
        Self { connections, connection: None, is_answered: true }
    }

    /// The connection.
    ///
    /// # Errors
    /// Those of connecting; nothing was sent.
    pub(crate) async fn connection(&mut self) -> Result<&mut PgConnection, PostgresError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connections.acquire().await?,
        };
        self.is_answered = false;
        Ok(self.connection.insert(connection))
    }

    /// Takes a connection, which is not used yet.
    ///
    /// # Errors
    /// Those of connecting.
    pub(crate) async fn connect(&mut self) -> Result<(), PostgresError> {
        self.connection().await?;
        self.is_answered = true;
        Ok(())
    }

    /// Runs the statement and commits it. `explain` tells what an error of the driver means.
    ///
    /// # Errors
    /// Those of connecting, and of the statement.
    pub(crate) async fn fetch(
        &mut self,
        protocol: Protocol,
        sql: &SqlStr,
        arguments: PgArguments,
        explain: fn(sqlx::Error) -> PostgresError,
    ) -> Result<Vec<PgRow>, PostgresError> {
        self.connect().await?;
        protocol.count(self.connections.traffic());
        let sent = fetch(self.connection().await?, protocol, sql, arguments).await;
        // After an error the pool looks whether the connection is of use.
        self.is_answered = sent.is_ok();
        sent.map_err(explain).inspect_err(|error| self.judge(error))
    }

    /// Gives the connection to the next session.
    pub(crate) fn release(&mut self) {
        if let Some(connection) = self.connection.take().filter(|_| self.is_answered) {
            self.connections.keep(connection);
        }
    }

    /// Discards the connection if the error concerns the session rather than the statement.
    /// Connections of that time are not trusted either.
    pub(crate) fn judge(&mut self, error: &PostgresError) {
        if error.ends_session()
            && let Some(connection) = self.connection.take()
        {
            connection.discard();
            self.connections.distrust();
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.release();
    }
}
