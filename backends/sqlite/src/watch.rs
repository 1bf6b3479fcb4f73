//! Notices commits of other processes to the same file.
//!
//! SQLite notifies no connection of another process's writes, but `PRAGMA data_version` changes
//! with them. While there are listeners, a task polls it on a connection of its own and rings every
//! topic when it changes; the answer does not tell the writer or the table. Commits of its own
//! process look the same, so listeners then read once too often.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ff_core::engine::{Bell, Topics};
use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnection;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::connect::Connections;

/// The time between two polls.
const INTERVAL: Duration = Duration::from_millis(10);
/// The time for which the task continues without listeners.
const LINGER: Duration = Duration::from_secs(3);

/// The task, if it was started.
#[derive(Clone)]
pub(crate) struct Watch(Arc<Inner>);

struct Inner {
    connections: Arc<Connections>,
    bell: Arc<Bell>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    task: Option<JoinHandle<()>>,
    closed: bool,
}

impl Watch {
    pub(crate) fn new(connections: Arc<Connections>, bell: Arc<Bell>) -> Self {
        Self(Arc::new(Inner { connections, bell, state: Mutex::default() }))
    }

    /// Starts the task unless it runs.
    pub(crate) fn start(&self) {
        let mut state = self.0.lock();
        if !state.closed && state.task.as_ref().is_none_or(JoinHandle::is_finished) {
            state.task = Some(tokio::spawn(Arc::clone(&self.0).run()));
        }
    }

    /// Stops the task for good, and returns when its connection is closed.
    pub(crate) async fn close(&self) {
        let task = {
            let mut state = self.0.lock();
            state.closed = true;
            state.task.take()
        };
        if let Some(task) = task {
            // A task that panicked has ended as well.
            let _ = task.await;
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(self: Arc<Self>) {
        let mut connection = None;
        let mut seen = None;
        let mut awaited = Instant::now();

        loop {
            if self.bell.has_listeners() {
                awaited = Instant::now();
            }
            if self.is_over(awaited) {
                break;
            }

            match self.version(&mut connection).await {
                Ok(version) if seen == Some(version) => {}
                Ok(version) => {
                    seen = Some(version);
                    self.bell.ring_each(Topics::all());
                }
                // `data_version` is per connection, so start over with a new one. Subscribers also
                // poll.
                Err(_) => (connection, seen) = (None, None),
            }

            sleep(INTERVAL).await;
        }

        if let Some(connection) = connection {
            let _ = connection.close().await;
        }
    }

    /// True if the task has to end. A listener starts a task only if none runs, under the same
    /// lock. So either its listening is seen here, or it sees that there is no task.
    fn is_over(&self, awaited: Instant) -> bool {
        let mut state = self.lock();
        let over = state.closed || (LINGER < awaited.elapsed() && !self.bell.has_listeners());
        if over && !state.closed {
            state.task = None;
        }
        over
    }

    async fn version(&self, held: &mut Option<SqliteConnection>) -> Result<i64, sqlx::Error> {
        let connection = match held {
            Some(connection) => connection,
            None => held.insert(self.connections.reader().await?),
        };
        sqlx::query_scalar("PRAGMA data_version").fetch_one(connection).await
    }
}
