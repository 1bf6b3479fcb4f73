//! The stored positions of a named subscriber: where it goes on, and how far it has come.

use std::sync::Arc;

use ff_core::engine_backend::EngineBackend;
use ff_core::state::OutboxKind;
use ff_core::stream_subscribe::{
    StreamCursor, decode_postgres_event_cursor, encode_postgres_event_cursor,
};

use super::event::Event;
use super::kind::Kind;
use super::start_point::StartPoint;
use crate::failure::Failure;

/// The most events that are printed before their position is stored.
const UNSTORED: u32 = 100;

/// The positions of a subscriber, stored as events are printed; nothing without a name.
pub(super) struct Positions {
    engine: Arc<dyn EngineBackend>,
    name: Option<String>,
    /// The last event of each kind that is printed and not stored.
    passed: Vec<(Kind, i64)>,
    unstored: u32,
}

impl Positions {
    pub(super) fn of(engine: &Arc<dyn EngineBackend>, name: Option<String>) -> Self {
        Self { engine: Arc::clone(engine), name, passed: Vec::new(), unstored: 0 }
    }

    /// Replaces the start of each kind that has a stored position. A kind without one gets it now,
    /// so that retention keeps its events from the beginning.
    pub(super) async fn go_on(
        &mut self,
        cursors: &mut [(Kind, StreamCursor)],
        from: &[StartPoint],
    ) -> Result<(), Failure> {
        let Some(name) = &self.name else { return Ok(()) };
        let stored = self.engine.list_subscriber_cursors().await;
        let stored = stored.map_err(|error| Failure::engine("reading positions", &error))?;

        for (kind, cursor) in cursors {
            let known = stored.iter().find(|at| at.name == *name && at.outbox == kind.outbox());
            match known {
                Some(at) if from.iter().all(|point| *point == StartPoint::Start) => {
                    *cursor = encode_postgres_event_cursor(at.event_id);
                }
                Some(_) => {
                    let kind = kind.as_str();
                    let text = format!("--from: {name} has a position among {kind} events");
                    let help = format!("ff subscribers drop {name} forgets it");
                    return Err(Failure::usage(text).with_help(help));
                }
                None => {
                    let event = decode_postgres_event_cursor(cursor).ok().flatten();
                    self.passed.extend(event.map(|event| (*kind, event)));
                }
            }
        }
        self.store().await
    }

    /// Notes that an event is printed.
    pub(super) async fn passed(&mut self, event: &Event) -> Result<(), Failure> {
        if self.name.is_none() {
            return Ok(());
        }
        let Ok(Some(number)) = decode_postgres_event_cursor(&event.cursor) else { return Ok(()) };

        match self.passed.iter_mut().find(|(kind, _)| *kind == event.kind) {
            Some((_, last)) => *last = number,
            None => self.passed.push((event.kind, number)),
        }
        self.unstored += 1;
        if self.unstored < UNSTORED { Ok(()) } else { self.store().await }
    }

    /// Stores the positions that are not stored.
    pub(super) async fn store(&mut self) -> Result<(), Failure> {
        let Some(name) = &self.name else { return Ok(()) };
        for (kind, number) in self.passed.drain(..) {
            let stored = self.engine.store_subscriber_cursor(name, kind.outbox(), number).await;
            stored.map_err(|error| Failure::engine("storing a position", &error))?;
        }
        self.unstored = 0;
        Ok(())
    }
}

impl Kind {
    /// The outbox of its events.
    const fn outbox(self) -> OutboxKind {
        match self {
            Self::Completion => OutboxKind::Completion,
            Self::Lease => OutboxKind::Lease,
            Self::Signal => OutboxKind::Signal,
            Self::Operator => OutboxKind::Operator,
            Self::Tag => OutboxKind::Tag,
        }
    }
}
