//! The kinds of events, each with a stream and cursors of its own.

use std::pin::Pin;

use ff_core::EngineError;
use ff_core::backend::ScannerFilter;
use ff_core::engine_backend::EngineBackend;
use ff_core::stream_subscribe::StreamCursor;
use futures_util::{Stream, StreamExt};

use super::event::Event;

/// Events of one kind.
pub(super) type Subscription = Pin<Box<dyn Stream<Item = Result<Event, EngineError>> + Send>>;

/// The subject of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Executions that end, or may go on after a signal.
    Completion,
    /// Leases that are acquired, renewed, lost, given up.
    Lease,
    /// Signals that are delivered.
    Signal,
    /// Actions of operators.
    Operator,
    /// Instance tags that are set and cleared.
    Tag,
}

impl Kind {
    /// All of them.
    pub(super) const ALL: [Self; 5] =
        [Self::Completion, Self::Lease, Self::Signal, Self::Operator, Self::Tag];

    /// The kinds that a filter applies to.
    pub(super) const FILTERED: [Self; 4] =
        [Self::Completion, Self::Lease, Self::Signal, Self::Operator];

    /// The name.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Completion => "completion",
            Self::Lease => "lease",
            Self::Signal => "signal",
            Self::Operator => "operator",
            Self::Tag => "tag",
        }
    }

    /// The events of this kind after `cursor`.
    pub(super) async fn subscribe(
        self,
        engine: &dyn EngineBackend,
        cursor: StreamCursor,
        filter: &ScannerFilter,
    ) -> Result<Subscription, EngineError> {
        Ok(match self {
            Self::Completion => {
                let events = engine.subscribe_completion(cursor, filter).await?;
                events.map(|event| event.map(Event::from)).boxed()
            }
            Self::Lease => {
                let events = engine.subscribe_lease_history(cursor, filter).await?;
                events.map(|event| event.map(Event::from)).boxed()
            }
            Self::Signal => {
                let events = engine.subscribe_signal_delivery(cursor, filter).await?;
                events.map(|event| event.map(Event::from)).boxed()
            }
            Self::Operator => {
                let events = engine.subscribe_operator_events(cursor, filter).await?;
                events.map(|event| event.map(Event::from)).boxed()
            }
            Self::Tag => {
                let events = engine.subscribe_instance_tags(cursor).await?;
                let known = |event: Result<_, _>| async { event.map(Event::of_tag).transpose() };
                events.filter_map(known).boxed()
            }
        })
    }
}
