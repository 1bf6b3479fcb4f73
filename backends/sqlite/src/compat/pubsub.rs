//! Completion events as a channel, for tests of the reference's callers.

use ff_core::backend::ScannerFilter;
use ff_core::engine_backend::EngineBackend;
use ff_core::stream_subscribe::{decode_postgres_event_cursor, encode_postgres_event_cursor};
use futures_util::StreamExt as _;
use tokio::sync::broadcast::{Receiver, Sender, channel};

use crate::backend::SqliteBackend;

/// The number of events by which a slow receiver may be behind.
const CAPACITY: usize = 1_024;

/// A row of an outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxEvent {
    /// Its number.
    pub event_id: i64,
    /// The partition of the execution.
    pub partition_key: i64,
}

impl SqliteBackend {
    /// Every completion event of the database, from the first. Must be called inside a tokio
    /// runtime.
    #[doc(hidden)]
    #[must_use]
    pub fn subscribe_completion_for_test(&self) -> Receiver<OutboxEvent> {
        let (sender, receiver) = channel(CAPACITY);
        tokio::spawn(forward(self.clone(), sender));
        receiver
    }
}

async fn forward(backend: SqliteBackend, sender: Sender<OutboxEvent>) {
    let from_the_first = encode_postgres_event_cursor(0);
    let subscribed = backend.subscribe_completion(from_the_first, &ScannerFilter::NOOP).await;
    let Ok(mut events) = subscribed else { return };

    while let Some(Ok(event)) = events.next().await {
        let Ok(Some(event_id)) = decode_postgres_event_cursor(&event.cursor) else { continue };
        let partition_key = i64::from(event.execution_id.partition());
        if sender.send(OutboxEvent { event_id, partition_key }).is_err() {
            return;
        }
    }
}
