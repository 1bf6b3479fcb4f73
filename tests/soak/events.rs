//! Subscribers of completion events, one on each engine, from the beginning to the end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use flowfabric_sql::ExecutionId;
use flowfabric_sql::core::backend::ScannerFilter;
use flowfabric_sql::core::contracts::CompletionOutcome;
use flowfabric_sql::core::stream_subscribe::{
    decode_postgres_event_cursor, encode_postgres_event_cursor,
};
use futures_util::StreamExt as _;

use crate::{Phase, Soak};

/// The time without an event after which a subscriber looks at the phase.
const PAUSE: Duration = Duration::from_secs(1);

/// The number of pauses after the end of the soak until no more events are expected: a subscriber
/// polls, and a busy server answers late.
const LAST_PAUSES: u32 = 10;

/// The events of a subscriber: the ends of each execution, and how often a number was not higher
/// than the one before.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) ends: HashMap<ExecutionId, usize>,
    pub(crate) disorder: usize,
    pub(crate) resumed: usize,
}

/// Reads until the soak is over and no more events come.
pub(crate) async fn read(soak: Arc<Soak>, own: usize) -> Seen {
    let (mut seen, mut position, mut pauses) = (Seen::default(), 0, 0);
    loop {
        let from = encode_postgres_event_cursor(position);
        let all = ScannerFilter::NOOP;
        let Ok(mut events) = soak.engines[own].subscribe_completion(from, &all).await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };

        loop {
            let next = match tokio::time::timeout(PAUSE, events.next()).await {
                Ok(next) => next,
                Err(_) if soak.phase() == Phase::Over && LAST_PAUSES <= pauses => return seen,
                Err(_) => {
                    pauses += u32::from(soak.phase() == Phase::Over);
                    continue;
                }
            };
            pauses = 0;
            // The stream ends with an error; it goes on from the last event.
            let Some(Ok(event)) = next else { break };
            let number = decode_postgres_event_cursor(&event.cursor).unwrap().unwrap_or(0);
            seen.disorder += usize::from(number <= position);
            position = number;
            if event.outcome == CompletionOutcome::Success {
                *seen.ends.entry(event.execution_id).or_default() += 1;
            }
        }
        seen.resumed += 1;
        tokio::time::sleep(PAUSE).await;
    }
}
