//! Named subscribers: how far each has read each outbox.
//!
//! A subscriber that keeps its position here can stop and go on where it was, and retention keeps
//! the events that it has not read. A subscriber without a row keeps its position by itself, and
//! nothing waits for it.

use crate::model::state::OutboxKind;

table! {
    /// One row per named subscriber and outbox: the last event that it has dealt with.
    subscriber_cursor = "ff_subscriber_cursor" key [name, outbox] {
        /// The subscriber, in its own words.
        name: String,
        /// The outbox that it reads.
        outbox: OutboxKind,
        /// The number of the last event it has dealt with; 0 before the first.
        event_id: i64 = Default::Int(0),
        /// Last change, Unix ms.
        updated_at_ms: i64,
        /// First storing of the position, Unix ms; NULL in rows of older databases.
        began_at_ms: Option<i64>,
        /// The subscriber's own note about the position, such as how far its file goes; NULL where
        /// it keeps none.
        note: Option<String>,
    }
    indexes []
}
