//! Connections from the pool: as many as the server grants, and none that is broken.
//!
//! A role or a pooler may grant fewer connections than the pool may have. The pool itself retries
//! until its caller's time is up. So callers take permits here, and a connection that the server
//! refuses withholds one permit for a while: callers then share the granted connections. Where the
//! server may be a standby, or gone, callers first look for the one that takes changes.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ff_core::engine::TrafficMeter;
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgPool;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, Postgres};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::PostgresError;
use crate::kept::Kept;
use crate::servers::Servers;

/// The time to wait for the pool before checking whether the server refuses.
const PATIENCE: Duration = Duration::from_millis(500);

/// The time for which a permit is withheld after the server refused a connection.
const WITHHELD: Duration = Duration::from_secs(30);

/// The pause of the last caller before it asks again.
const PAUSE: Duration = Duration::from_millis(100);

/// Hands out the pool's connections. Clones share the permits.
#[derive(Clone)]
pub(crate) struct Connections {
    pool: PgPool,
    turns: Arc<Semaphore>,
    withheld: Arc<AtomicU32>,
    trust: Arc<Trust>,
    servers: Arc<Servers>,
    traffic: Arc<TrafficMeter>,
    kept: Arc<Kept>,
}

impl Connections {
    /// Those of a pool that tests the connections which were idle for that time.
    pub(crate) fn new(
        pool: PgPool,
        ping_after: Duration,
        trust: Arc<Trust>,
        servers: Arc<Servers>,
    ) -> Self {
        let size = pool.options().get_max_connections();
        let turns = Arc::new(Semaphore::new(size as usize));
        let (withheld, traffic) = <_>::default();
        let kept = Kept::new(pool.clone(), ping_after, Arc::clone(&trust));
        Self { pool, turns, withheld, trust, servers, traffic, kept }
    }

    /// Keeps a connection that has answered completely, for the next session.
    pub(crate) fn keep(&self, held: Held) {
        self.kept.keep(held);
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Counts what operations send. The clock's questions in the background are none of it.
    pub(crate) fn traffic(&self) -> &TrafficMeter {
        &self.traffic
    }

    /// A connection, within the pool's acquire time-out.
    ///
    /// # Errors
    /// Those of connecting; the server's reason if it refuses a connection and all others are in
    /// use.
    pub(crate) async fn acquire(&self) -> Result<Held, PostgresError> {
        let limit = self.pool.options().get_acquire_timeout();
        let mut refusal = None;
        match tokio::time::timeout(limit, self.wait_for_connection(&mut refusal)).await {
            Ok(connection) => connection,
            Err(_) => {
                Err(refusal.unwrap_or_else(|| PostgresError::read(sqlx::Error::PoolTimedOut)))
            }
        }
    }

    async fn wait_for_connection(
        &self,
        refusal: &mut Option<PostgresError>,
    ) -> Result<Held, PostgresError> {
        loop {
            let turn = Arc::clone(&self.turns).acquire_owned().await;
            // The semaphore is never closed.
            let turn = turn.map_err(|_| PostgresError::read(sqlx::Error::PoolClosed))?;
            let turn = match self.kept.take(turn) {
                Ok(kept) => return Ok(kept),
                Err(turn) => turn,
            };

            if let Err(reason) = self.servers.settle(&self.pool).await {
                if !reason.lost_connection() {
                    return Err(reason);
                }
                *refusal = Some(reason);
                drop(turn);
                tokio::time::sleep(PAUSE).await;
                continue;
            }

            if let Ok(connection) = tokio::time::timeout(PATIENCE, self.pool.acquire()).await {
                match connection.map_err(PostgresError::read) {
                    Ok(connection) => return Ok(Held::new(connection, turn)),
                    Err(reason) if self.servers.are_several() && reason.lost_connection() => {
                        self.servers.doubt();
                        *refusal = Some(reason);
                        continue;
                    }
                    Err(reason) => return Err(reason),
                }
            }

            let Some(reason) = self.probe_refusal().await else {
                if self.servers.are_in_doubt() {
                    continue;
                }
                if self.servers.are_several() {
                    self.servers.doubt();
                    continue;
                }
                // The server does not refuse; the connection only takes long.
                let connection = self.pool.acquire().await.map_err(PostgresError::read)?;
                return Ok(Held::new(connection, turn));
            };

            if refusal.is_none() {
                tracing::warn!(%reason, "the server grants fewer connections than are asked for");
            }
            *refusal = Some(reason);
            self.withhold(turn).await;
        }
    }

    /// The server's reason to refuse one more connection; `None` if it grants one or the pool is
    /// full.
    async fn probe_refusal(&self) -> Option<PostgresError> {
        if self.pool.options().get_max_connections() <= self.pool.size() {
            return None;
        }

        match self.pool.connect_options().connect().await {
            Ok(connection) => {
                // Only a test: the pool makes its own connection.
                let _ = connection.close().await;
                None
            }
            Err(error) => Some(PostgresError::read(error)).filter(PostgresError::refuses_another),
        }
    }

    /// Withholds the permit for a while, unless it is the last.
    async fn withhold(&self, turn: OwnedSemaphorePermit) {
        let last = self.pool.options().get_max_connections().saturating_sub(1);
        let take = |withheld: u32| (withheld < last).then_some(withheld + 1);
        let taken = self.withheld.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take);
        if taken.is_err() {
            tokio::time::sleep(PAUSE).await;
            return;
        }

        let withheld = Arc::clone(&self.withheld);
        tokio::spawn(async move {
            tokio::time::sleep(WITHHELD).await;
            withheld.fetch_sub(1, Ordering::SeqCst);
            drop(turn);
        });
    }

    /// Distrusts all open connections, since the event that ended a session may have affected them
    /// too.
    pub(crate) fn distrust(&self) {
        self.trust.end_now();
        if self.servers.are_several() {
            self.servers.doubt();
        }
    }
}

/// A connection and its permit. The permit is released once the connection is back in the pool, or
/// kept for the next caller.
pub(crate) struct Held {
    connection: PoolConnection<Postgres>,
    turn: Option<OwnedSemaphorePermit>,
    left_pool_at: Instant,
}

impl Held {
    fn new(connection: PoolConnection<Postgres>, turn: OwnedSemaphorePermit) -> Self {
        Self { connection, turn: Some(turn), left_pool_at: Instant::now() }
    }

    /// The time since the pool has checked it.
    pub(crate) fn away_for(&self) -> Duration {
        self.left_pool_at.elapsed()
    }

    /// Gives it a permit; the one that it had is returned.
    pub(crate) fn exchange(
        &mut self,
        turn: Option<OwnedSemaphorePermit>,
    ) -> Option<OwnedSemaphorePermit> {
        std::mem::replace(&mut self.turn, turn)
    }

    /// Closes the connection instead of returning it.
    pub(crate) fn discard(mut self) {
        self.connection.close_on_drop();
        // Released at once: if the server has not cleared the place yet, connecting waits for it.
        self.turn = None;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(turn) = self.turn.take() else { return };
        // A task returns the connection; without a runtime no caller waits for a permit.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let back = self.connection.return_to_pool();
            runtime.spawn(async move {
                back.await;
                drop(turn);
            });
        }
    }
}

impl Deref for Held {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Held {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

/// The start of the time from which connections are trusted. The pool checks it before each use.
#[derive(Default)]
pub(crate) struct Trust(Mutex<Option<Instant>>);

impl Trust {
    fn end_now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// True if a connection of that age is trusted.
    pub(crate) fn includes(&self, age: Duration) -> bool {
        let since = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.is_none_or(|since| age <= since.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_open_when_a_session_ended_is_not_trusted() {
        let trust = Trust::default();
        assert!(trust.includes(Duration::from_secs(3600)));
        trust.end_now();
        assert!(!trust.includes(Duration::from_secs(3600)));
        assert!(trust.includes(Duration::ZERO));
    }
}
