//! Notices what others commit to the same file.
//!
//! Nothing tells a SQLite connection that another process has written, but `PRAGMA data_version`
//! differs once one has. While somebody waits, a task asks for it on a connection of its own and
//! rings every topic when it differs; the answer does not say who wrote, nor what. Its own process's
//! commits look the same to it: those who wait look once too often.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ff_core::engine::{Bell, Topics};
use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnection;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::connect::Connections;

/// How often the file is looked at.
const INTERVAL: Duration = Duration::from_millis(10);
/// How long the task goes on when nobody waits.
const LINGER: Duration = Duration::from_secs(3);

/// The task, where there is one.
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

    /// Sees to it that the task runs.
    pub(crate) fn start(&self) {
        let mut state = self.0.lock();
        if !state.closed && state.task.as_ref().is_none_or(JoinHandle::is_finished) {
            state.task = Some(tokio::spawn(Arc::clone(&self.0).run()));
        }
    }

    /// Ends the task for good, and returns when its connection is closed.
    pub(crate) async fn close(&self) {
        let task = {
            let mut state = self.0.lock();
            state.closed = true;
            state.task.take()
        };
        if let Some(task) = task {
            // A task that panicked is over as well.
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
            if self.bell.is_awaited() {
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
                // A connection of its own has its own versions. Who waits looks now and then anyway.
                Err(_) => (connection, seen) = (None, None),
            }
            sleep(INTERVAL).await;
        }
        if let Some(connection) = connection {
            let _ = connection.close().await;
        }
    }

    /// Whether to end. Whoever begins to listen starts a task only where none runs, and does so under
    /// the same lock: so who listens is seen here, or sees that there is none.
    fn is_over(&self, awaited: Instant) -> bool {
        let mut state = self.lock();
        let over = state.closed || (LINGER < awaited.elapsed() && !self.bell.is_awaited());
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
