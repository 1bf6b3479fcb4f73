//! Subscriptions: every event once, in order, from any cursor on, soon after it was committed.

mod events;
mod wakes;
mod writers;

use std::pin::Pin;
use std::time::Duration;

use ff_core::EngineError;
use ff_core::stream_subscribe::{StreamCursor, encode_postgres_event_cursor};
use futures_util::{Stream, StreamExt as _};

use crate::backends::Bench;

/// How long anything here may take.
const BOUND: Duration = Duration::from_secs(60);

type Events<T> = Pin<Box<dyn Stream<Item = Result<T, EngineError>> + Send>>;

/// The cursor before everything.
pub(crate) fn beginning() -> StreamCursor {
    encode_postgres_event_cursor(0)
}

/// What the stream yields next; there is always something to come.
async fn next<T>(events: &mut Events<T>) -> Result<T, EngineError> {
    let next = tokio::time::timeout(BOUND, events.next()).await;
    next.unwrap_or_else(|_| panic!("nothing came within {BOUND:?}")).expect("it goes on")
}

/// The next events.
async fn take<T>(events: &mut Events<T>, count: usize) -> Vec<T> {
    let mut taken = Vec::with_capacity(count);
    while taken.len() < count {
        taken.push(next(events).await.unwrap());
    }
    taken
}

impl Bench {
    /// Claims, renews and completes an execution of its own: three lease events, one completion.
    async fn live(&self) -> ff_core::types::ExecutionId {
        let (id, handle) = self.leased().await;
        self.backend.renew(&handle).await.unwrap();
        self.backend.complete(&handle, None).await.unwrap();
        id
    }
}
