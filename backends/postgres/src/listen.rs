//! Listens for commits of other processes.
//!
//! One connection beside the pool listens to every channel for the whole backend, so that a small
//! pool loses none of its own. The first subscriber starts it. Notifications are lost while it is
//! broken, so every topic rings once it listens again.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ff_core::engine::{Bell, Topic, Topics};
use sqlx::postgres::{PgListener, PgPool, PgPoolOptions};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::error::PostgresError;

/// The pause before connecting again: the first and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];

/// The listening task, if it was started.
#[derive(Clone)]
pub(crate) struct Listener(Arc<Inner>);

struct Inner {
    pool: PgPool,
    bell: Arc<Bell>,
    own: String,
    task: Mutex<Option<JoinHandle<()>>>,
    /// Set to stop the task; dropping the sender stops it too.
    closed: watch::Sender<bool>,
}

impl Listener {
    /// A listener that rings the bell, but ignores notifications that carry `own`.
    pub(crate) fn new(pool: PgPool, bell: Arc<Bell>, own: String) -> Self {
        let (closed, _) = watch::channel(false);
        Self(Arc::new(Inner { pool, bell, own, task: Mutex::default(), closed }))
    }

    /// Starts the task unless it runs.
    pub(crate) fn start(&self) {
        let mut task = self.0.task.lock().unwrap_or_else(PoisonError::into_inner);
        let runs = task.as_ref().is_some_and(|task| !task.is_finished());
        if !runs && !*self.0.closed.borrow() {
            let listening = Listening {
                main: self.0.pool.clone(),
                bell: Arc::clone(&self.0.bell),
                own: self.0.own.clone(),
            };
            *task = Some(tokio::spawn(listening.run(self.0.closed.subscribe())));
        }
    }

    /// Stops the task for good, and returns when its connection is closed.
    pub(crate) async fn close(&self) {
        self.0.closed.send_replace(true);
        let task = self.0.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            // A task that panicked has ended as well.
            let _ = task.await;
        }
    }
}

struct Listening {
    /// The pool that every other call uses, whose server may change.
    main: PgPool,
    bell: Arc<Bell>,
    own: String,
}

impl Listening {
    async fn run(self, mut closed: watch::Receiver<bool>) {
        let [_, longest] = PAUSES;
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(longest)
            .connect_lazy_with(self.main.connect_options().as_ref().clone());

        tokio::select! {
            () = self.listen(&pool) => {}
            // Set by `close`, or the sender was dropped.
            _ = closed.wait_for(|closed| *closed) => {}
        }

        pool.close().await;
    }

    async fn listen(&self, pool: &PgPool) {
        let [mut pause, longest] = PAUSES;
        loop {
            match self.connect(pool).await {
                Ok(listener) => {
                    [pause, _] = PAUSES;
                    let error = PostgresError::read(self.hear(listener).await);
                    tracing::debug!(%error, "the listening connection was lost");
                }
                Err(error) => {
                    let error = PostgresError::read(error);
                    tracing::warn!(%error, "cannot listen for notifications");
                }
            }

            self.bell.ring_each(Topics::all());
            tokio::time::sleep(pause).await;
            pause = longest.min(pause * 2);
        }
    }

    async fn connect(&self, pool: &PgPool) -> Result<PgListener, sqlx::Error> {
        pool.set_connect_options(self.main.connect_options().as_ref().clone());
        let mut listener = PgListener::connect_with(pool).await?;
        // Its server may be another one by then.
        listener.eager_reconnect(false);
        listener.listen_all(Topic::ALL.map(Topic::channel)).await?;
        Ok(listener)
    }

    /// Rings for each notification until the connection fails.
    async fn hear(&self, mut listener: PgListener) -> sqlx::Error {
        self.bell.ring_each(Topics::all());
        loop {
            match listener.try_recv().await {
                Ok(Some(notification)) if notification.payload() == self.own => {}
                Ok(Some(notification)) => {
                    let named = |topic: &Topic| topic.channel() == notification.channel();
                    if let Some(topic) = Topic::ALL.into_iter().find(named) {
                        self.bell.ring(topic);
                    }
                }
                Ok(None) => return sqlx::Error::Io(ErrorKind::ConnectionAborted.into()),
                Err(error) => return error,
            }
        }
    }
}
