//! Answers queries, on connections that cannot write.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ff_backend_script::{BoundQuery, Read, bound};
use ff_core::EngineError;
use ff_core::plan::Bindings;
use ff_core::plan::facts::Answer;
use ff_core::schema::ColumnRef;
use rusqlite::types::{Value as Stored, ValueRef};
use rusqlite::{Connection, Row};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::bind;
use crate::connect::Connections;
use crate::error::{BusyRetry, Failure, SqliteError, shut_down};
use crate::statements::prepared;

/// The reading connections. A call takes one to a thread for blocking work.
#[derive(Clone)]
pub(crate) struct Reader(Arc<Inner>);

struct Inner {
    connections: Arc<Connections>,
    busy_timeout: Duration,
    /// The number of connections that may be open.
    size: u32,
    /// One permit for each of them.
    permits: Semaphore,
    /// Those that are open and answer no query.
    idle: Mutex<Vec<Connection>>,
}

impl Reader {
    /// Opens no connection yet.
    pub(crate) fn new(connections: Arc<Connections>, size: u32, busy_timeout: Duration) -> Self {
        let permits = Semaphore::new(usize::try_from(size).unwrap_or(Semaphore::MAX_PERMITS));
        let idle = Mutex::default();
        Self(Arc::new(Inner { connections, busy_timeout, size, permits, idle }))
    }

    /// Answers the queries, in order.
    pub(crate) async fn answer(
        &self,
        queries: Vec<BoundQuery>,
    ) -> Result<Vec<Answer>, EngineError> {
        let queries = Arc::new(queries);
        self.run(move || {
            let queries = Arc::clone(&queries);
            move |connection: &Connection| answer_all(connection, &queries)
        })
        .await
    }

    /// Reads from the file.
    pub(crate) async fn ping(&self) -> Result<(), EngineError> {
        self.run(|| |connection: &Connection| Ok(ping(connection)?)).await
    }

    /// Closes the connections when they have answered.
    pub(crate) async fn close(&self) {
        let unused = self.0.permits.acquire_many(self.0.size).await;
        self.0.permits.close();
        self.0.idle().clear();
        drop(unused);
    }

    /// Does the work on a connection, again while a lock is in its way.
    async fn run<T, W>(&self, work: impl Fn() -> W) -> Result<T, EngineError>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    {
        let retry = BusyRetry::new(self.0.busy_timeout);
        loop {
            let permit = self.0.permits.acquire().await.map_err(|_| shut_down())?;
            let (inner, work) = (Arc::clone(&self.0), work());
            let done = spawn_blocking(move || inner.run_once(work)).await;
            drop(permit);

            match done.map_err(|_| shut_down())? {
                Ok(answer) => return Ok(answer),
                Err(Failure::Database(error)) if retry.again(&error).await => {}
                Err(failure) => return Err(failure.into()),
            }
        }
    }
}

impl Inner {
    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run_once<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let idle = self.idle().pop();
        let connection = idle.map_or_else(|| self.connections.reading(), Ok)?;
        let done = work(&connection);

        // A connection on which the database failed may be broken.
        if !matches!(done, Err(Failure::Database(_))) {
            self.idle().push(connection);
        }
        done
    }
}

/// Reads the database's header.
pub(crate) fn ping(connection: &Connection) -> Result<(), SqliteError> {
    let header = connection.query_row("PRAGMA schema_version", [], |_| Ok(()));
    header.map_err(SqliteError::read)
}

/// Answers the queries in order, with one statement each.
pub(crate) fn answer_all(
    connection: &Connection,
    queries: &[BoundQuery],
) -> Result<Vec<Answer>, Failure> {
    queries.iter().map(|(read, bindings)| answer(connection, read, bindings)).collect()
}

fn answer(connection: &Connection, read: &Read, bindings: &Bindings) -> Result<Answer, Failure> {
    let statement = &read.statement;
    let mut prepared = prepared(connection, statement).map_err(SqliteError::read)?;
    for (number, bind) in (1..).zip(&statement.binds) {
        bind::bind(&mut prepared, number, bound(&bind.source, bindings), bind.ty)?;
    }

    let columns = prepared.column_count();
    let cells = |row: &Row<'_>| (0..columns).map(|index| row.get(index)).collect();
    let rows: Vec<Vec<Stored>> =
        prepared.raw_query().mapped(cells).collect::<Result<_, _>>().map_err(SqliteError::read)?;

    let cell = |row: &Vec<Stored>, index: usize, column: ColumnRef| {
        let stored = row.get(index).map_or(ValueRef::Null, ValueRef::from);
        bind::read(stored, column, column.ty)
    };
    Ok(ff_codegen::answer(&read.query, &rows, cell)?)
}
