//! Notifies other processes of commits.
//!
//! A commit that notifies holds a lock of the whole cluster until it is durable, so no plan's
//! statement notifies. Its topics are noted instead, and a task sends one `NOTIFY` for all noted
//! topics, at most once per interval, in a transaction with asynchronous commit. A notification may
//! get lost; subscribers also poll.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ff_core::engine::{Bell, Topic, Topics};
use sqlx::postgres::PgArguments;
use sqlx::{Arguments as _, SqlSafeStr as _};
use uuid::Uuid;

use crate::connections::Connections;
use crate::error::PostgresError;
use crate::session::{Protocol, Session};

/// The shortest time between two notifications.
const INTERVAL: Duration = Duration::from_millis(20);

// Notifying transactions are serialised in the whole server, so this one waits without a limit.
const NOTIFY: &str = "SELECT set_config('synchronous_commit', 'off', true), \
                      set_config('lock_timeout', '0', true), pg_notify(channel, $2) \
                      FROM unnest($1::text[]) AS channel";

/// Rings the bell of this process and notifies the others.
#[derive(Clone)]
pub(crate) struct Notifier(Arc<Inner>);

struct Inner {
    connections: Connections,
    protocol: Protocol,
    bell: Arc<Bell>,
    /// The payload, by which a process knows its own notifications.
    sender: String,
    notifies: bool,
    noted: Mutex<Noted>,
}

// Invariant: a task runs while topics are noted.
#[derive(Default)]
struct Noted {
    topics: Topics,
    running: bool,
}

impl Notifier {
    pub(crate) fn new(
        connections: Connections,
        protocol: Protocol,
        bell: Arc<Bell>,
        notifies: bool,
    ) -> Self {
        let sender = Uuid::new_v4().simple().to_string();
        let noted = Mutex::default();
        Self(Arc::new(Inner { connections, protocol, bell, sender, notifies, noted }))
    }

    /// The payload of its notifications.
    pub(crate) fn sender(&self) -> &str {
        &self.0.sender
    }

    /// Wakes the listeners of these topics: at once in this process, soon in others.
    pub(crate) fn announce(&self, topics: Topics) {
        if topics.is_empty() {
            return;
        }

        self.0.bell.ring_each(topics);
        if !self.0.notifies {
            return;
        }

        let mut noted = self.0.lock();
        noted.topics = noted.topics.and(topics);
        if !noted.running {
            noted.running = true;
            tokio::spawn(Arc::clone(&self.0).run());
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(self: Arc<Self>) {
        while let Some(topics) = self.take() {
            if let Err(error) = self.send(topics).await {
                tracing::debug!(%error, "a notification was not sent");
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// The noted topics; `None` if there are none, which ends the task.
    fn take(&self) -> Option<Topics> {
        let mut noted = self.lock();
        noted.running = !noted.topics.is_empty();
        noted.running.then(|| std::mem::take(&mut noted.topics))
    }

    async fn send(&self, topics: Topics) -> Result<(), PostgresError> {
        let unbound = |error| PostgresError::read(sqlx::Error::Encode(error));
        let channels: Vec<&str> = topics.iter().map(Topic::channel).collect();
        let mut arguments = PgArguments::default();
        arguments.add(channels).map_err(unbound)?;
        arguments.add(self.sender.as_str()).map_err(unbound)?;

        let mut session = Session::new(self.connections.clone());
        let sql = NOTIFY.into_sql_str();
        let sent = session.fetch(self.protocol, &sql, arguments, PostgresError::read).await;
        sent.map(drop)
    }
}
