//! Connections between two statements that follow each other soon.
//!
//! The driver's pool asks the server whether a connection lives each time that the connection comes
//! back: a second round trip for each operation of a lone caller, and no statement can have the
//! connection meanwhile. So a connection that has answered completely is kept here for the next
//! statement. It returns to the pool when no statement comes at once, and every second: the pool
//! checks its age, and the application that shares the pool may wait for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::Connection as _;
use sqlx::postgres::PgPool;
use tokio::sync::OwnedSemaphorePermit;

use crate::connections::{Held, Trust};

/// The time for which a connection is kept that no statement takes.
const IDLE: Duration = Duration::from_millis(50);

/// The time after which a connection returns to the pool although statements use it.
const AWAY: Duration = Duration::from_secs(1);

/// The connections that are kept.
pub(crate) struct Kept {
    pool: PgPool,
    most: usize,
    trust: Arc<Trust>,
    state: Mutex<State>,
}

// Invariant: where connections are kept, a sweeper runs. So none outlives its runtime.
#[derive(Default)]
struct State {
    idle: Vec<Idle>,
    is_swept: bool,
}

struct Idle {
    held: Held,
    since: Instant,
}

impl Kept {
    /// Keeps connections of a pool that tests those which were idle for that time.
    pub(crate) fn new(pool: PgPool, ping_after: Duration, trust: Arc<Trust>) -> Arc<Self> {
        // An application that shares the pool finds the others there.
        let half = pool.options().get_max_connections().div_ceil(2) as usize;
        let most = if IDLE < ping_after { half } else { 0 };
        Arc::new(Self { pool, most, trust, state: Mutex::default() })
    }

    /// The connection that was used last, with that permit; the permit where there is none.
    pub(crate) fn take(&self, turn: OwnedSemaphorePermit) -> Result<Held, OwnedSemaphorePermit> {
        loop {
            let last = self.lock().idle.pop();
            let Some(Idle { mut held, .. }) = last else { return Err(turn) };
            // What is not trusted goes back to the pool, which closes it.
            if self.trust.includes(held.away_for()) {
                held.exchange(Some(turn));
                return Ok(held);
            }
        }
    }

    /// Keeps a connection, or returns it to the pool.
    pub(crate) fn keep(self: &Arc<Self>, mut held: Held) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let away_for = held.away_for();
        let is_due = AWAY < away_for || held.is_in_transaction();
        if is_due || !self.trust.includes(away_for) || self.pool.is_closed() {
            return;
        }

        let mut state = self.lock();
        if self.most <= state.idle.len() {
            drop(state);
            return;
        }
        // The next caller must find the connection once it has the permit.
        let turn = held.exchange(None);
        state.idle.push(Idle { held, since: Instant::now() });
        let was_swept = std::mem::replace(&mut state.is_swept, true);
        drop(state);
        if !was_swept {
            // A runtime that is ending drops the task here, and its end takes the lock.
            runtime.spawn(Sweeper(Arc::clone(self)).run());
        }
        drop(turn);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns unused connections to the pool, for as long as some are kept.
struct Sweeper(Arc<Kept>);

impl Sweeper {
    async fn run(self) {
        let Self(kept) = &self;
        loop {
            let _ = tokio::time::timeout(IDLE, kept.pool.close_event()).await;
            if kept.pool.is_closed() {
                return;
            }
            let mut state = kept.lock();
            let unused = state.idle.extract_if(.., |idle| IDLE <= idle.since.elapsed());
            let unused: Vec<Idle> = unused.collect();
            let is_done = state.idle.is_empty();
            drop(state);
            drop(unused);
            if is_done {
                return;
            }
        }
    }
}

/// Also where the runtime ends.
impl Drop for Sweeper {
    fn drop(&mut self) {
        let state = std::mem::take(&mut *self.0.lock());
        drop(state);
    }
}
