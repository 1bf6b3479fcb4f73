//! The servers of a URL, and the one of them that the engine works on.
//!
//! A standby answers from a past state: a decision on it could refuse what was accepted, or miss
//! what was submitted. So no connection to a standby is used, and no call is answered by one. When
//! a session ends, another server may have been promoted: the next caller asks each server in the
//! order of the URL, and moves the pool to the first that is no standby.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ff_core::engine_error::StoreClass;
use sqlx::postgres::{PgConnectOptions, PgPool};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tokio::sync::Mutex;

use crate::error::PostgresError;

/// The time that one of several servers has to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// The reason that a server is passed over.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NoPrimary(String);

/// The servers of a URL.
#[derive(Default)]
pub(crate) struct Servers {
    /// In the order of the URL. Empty for a pool of the caller.
    candidates: Vec<PgConnectOptions>,
    /// The doubts so far that the pool's server is a standby, or gone.
    doubts: AtomicU64,
    /// Those after which a caller has looked around.
    settled: AtomicU64,
    /// Held by the caller that looks around, for all others.
    search: Mutex<()>,
}

impl Servers {
    pub(crate) fn new(candidates: Vec<PgConnectOptions>) -> Self {
        Self { candidates, ..Self::default() }
    }

    /// True if the URL has a list.
    pub(crate) fn are_several(&self) -> bool {
        1 < self.candidates.len()
    }

    /// True until a caller has looked around.
    pub(crate) fn are_in_doubt(&self) -> bool {
        self.settled.load(Ordering::SeqCst) < self.doubts.load(Ordering::SeqCst)
    }

    /// Makes the next caller look around.
    pub(crate) fn doubt(&self) {
        self.doubts.fetch_add(1, Ordering::SeqCst);
    }

    /// Connects to the first server that is no standby.
    ///
    /// # Errors
    /// The reason of each server.
    pub(crate) async fn find(&self) -> Result<(PgConnectOptions, PgConnection), PostgresError> {
        let mut reasons = Vec::new();
        for candidate in &self.candidates {
            match self.connect(candidate).await {
                Ok(connection) => return Ok((candidate.clone(), connection)),
                Err(error) => reasons.push((candidate, error)),
            }
        }

        let all_permanent = reasons.iter().all(|(_, error)| error.class() == StoreClass::Permanent);
        if all_permanent || !self.are_several() {
            let first = reasons.into_iter().next().map(|(_, error)| error);
            return Err(first.unwrap_or_else(|| no_primary("the URL names no server".to_owned())));
        }
        let each = reasons.iter().map(|(server, error)| format!("{}: {error}", place(server)));
        let each: Vec<String> = each.collect();
        Err(no_primary(format!("no server of the URL takes changes ({})", each.join("; "))))
    }

    async fn connect(&self, candidate: &PgConnectOptions) -> Result<PgConnection, PostgresError> {
        let connected = async {
            let mut connection = candidate.connect().await?;
            refuse_standby(&mut connection).await?;
            Ok(connection)
        };
        let connected = if self.are_several() {
            let late = || sqlx::Error::Io(io::ErrorKind::TimedOut.into());
            tokio::time::timeout(PATIENCE, connected).await.unwrap_or_else(|_| Err(late()))
        } else {
            connected.await
        };
        connected.map_err(PostgresError::read)
    }

    /// Looks around if there is a doubt, and moves the pool.
    ///
    /// # Errors
    /// Those of [`Self::find`]; the doubt stays.
    pub(crate) async fn settle(&self, pool: &PgPool) -> Result<(), PostgresError> {
        if !self.are_in_doubt() {
            return Ok(());
        }
        let _search = self.search.lock().await;
        if !self.are_in_doubt() {
            // Another caller has looked meanwhile.
            return Ok(());
        }

        // A session that ends from here on is a doubt of its own.
        let doubts = self.doubts.load(Ordering::SeqCst);
        match self.find().await {
            Ok((found, connection)) => {
                // The pool makes its own connections, so an error here does not matter.
                let _ = connection.close().await;
                let (from, to) = (place(&pool.connect_options()), place(&found));
                if from != to {
                    tracing::warn!(from, to, "the engine goes on with another server");
                }
                pool.set_connect_options(found);
            }
            // A server that is full need not be another one: the pool shares what it has.
            Err(error) if error.refuses_another() => {}
            Err(error) => return Err(error),
        }
        self.settled.store(doubts, Ordering::SeqCst);
        Ok(())
    }
}

/// Host and port; never a password.
pub(crate) fn place(server: &PgConnectOptions) -> String {
    match server.get_socket() {
        Some(socket) => format!("{}:{}", socket.display(), server.get_port()),
        None => format!("{}:{}", server.get_host(), server.get_port()),
    }
}

/// Refuses a server that only repeats the changes of another one.
///
/// # Errors
/// Retryable: a standby may be promoted. Those of the connection.
pub(crate) async fn refuse_standby(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    // The simple protocol leaves no prepared statement behind in a pooler.
    let row = sqlx::raw_sql("SELECT pg_is_in_recovery()").fetch_one(connection).await?;
    if sqlx::Row::try_get(&row, 0)? {
        let said = "the server is a standby, and the engine decides nothing on one";
        return Err(not_connected(said.to_owned()));
    }
    Ok(())
}

fn no_primary(reason: String) -> PostgresError {
    PostgresError::read(not_connected(reason))
}

fn not_connected(reason: String) -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::NotConnected, NoPrimary(reason)))
}
