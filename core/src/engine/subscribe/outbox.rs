//! The outbox tables as subscriptions see them, and the queries over them.

use crate::engine::tail::PAGE;
use crate::plan::{Expr, List, Predicate, Query};
use crate::schema::outbox::{
    completion_event, instance_tag_event, lease_event, operator_event, signal_event,
};
use crate::schema::{Col, ColumnRef, Direction, TableRef};

/// A table of events.
pub(crate) struct Outbox {
    pub(super) table: TableRef,
    pub(super) event_id: Col<i64>,
    pub(super) transaction_id: Col<i64>,
    pub(super) namespace: Col<Option<String>>,
    pub(super) instance_tag: Col<Option<String>>,
    /// The columns that an event is read from, those above included.
    columns: &'static [ColumnRef],
    /// The name of the query for the rows after a cursor.
    after: &'static str,
    /// The name of the query for the newest rows.
    newest: &'static str,
    /// The name of the query for the numbers after a cursor.
    numbers: &'static str,
}

impl Outbox {
    /// The first `limit` rows after a position.
    pub(super) fn rows_after(&self, position: i64, limit: usize) -> Query {
        let after = self.event_id.above(position);
        self.list(self.after, self.columns, after, Direction::Ascending, limit)
    }

    /// The numbers of the first `limit` rows after a position.
    pub(super) fn numbers_after(&self, position: i64, limit: usize) -> Query {
        let (columns, after) = ([self.event_id.column()], self.event_id.above(position));
        self.list(self.numbers, &columns, after, Direction::Ascending, limit)
    }

    /// The newest rows below a number, as numbers with the transactions that inserted them.
    pub(super) fn newest_below(&self, number: i64) -> Query {
        let columns = [self.event_id.column(), self.transaction_id.column()];
        let below = self.event_id.below(number);
        self.list(self.newest, &columns, below, Direction::Descending, PAGE)
    }

    fn list(
        &self,
        name: &'static str,
        columns: &[ColumnRef],
        predicate: Predicate,
        direction: Direction,
        limit: usize,
    ) -> Query {
        Query::List(List {
            name: name.into(),
            table: self.table,
            join: None,
            of_each: None,
            columns: columns.to_vec(),
            predicate,
            order: vec![(self.event_id.column(), direction)],
            limit: Expr::int(i64::try_from(limit).unwrap_or(i64::MAX)),
        })
    }
}

/// The query of each subscription for a page with an unreadable row, by operation. The catalogue
/// needs it, because its database lets in no such row.
#[must_use]
pub fn unreadable_page_queries() -> [(&'static str, Query); 5] {
    [
        ("subscribe_completion", COMPLETIONS.numbers_after(0, PAGE)),
        ("subscribe_lease_history", LEASES.numbers_after(0, PAGE)),
        ("subscribe_signal_delivery", SIGNALS.numbers_after(0, PAGE)),
        ("subscribe_operator_events", OPERATORS.numbers_after(0, PAGE)),
        ("subscribe_instance_tags", INSTANCE_TAGS.numbers_after(0, PAGE)),
    ]
}

pub(super) const COMPLETIONS: Outbox = Outbox {
    table: completion_event::REF,
    event_id: completion_event::event_id,
    transaction_id: completion_event::transaction_id,
    namespace: completion_event::namespace,
    instance_tag: completion_event::instance_tag,
    columns: &[
        completion_event::partition_key.column(),
        completion_event::event_id.column(),
        completion_event::execution_id.column(),
        completion_event::flow_id.column(),
        completion_event::outcome.column(),
        completion_event::namespace.column(),
        completion_event::instance_tag.column(),
        completion_event::occurred_at_ms.column(),
        completion_event::reason.column(),
        completion_event::failure_class.column(),
    ],
    after: "completion events after a cursor",
    newest: "newest completion events",
    numbers: "numbers of completion events after a cursor",
};

pub(super) const LEASES: Outbox = Outbox {
    table: lease_event::REF,
    event_id: lease_event::event_id,
    transaction_id: lease_event::transaction_id,
    namespace: lease_event::namespace,
    instance_tag: lease_event::instance_tag,
    columns: &[
        lease_event::event_id.column(),
        lease_event::execution_id.column(),
        lease_event::lease_id.column(),
        lease_event::event_type.column(),
        lease_event::occurred_at_ms.column(),
        lease_event::partition_key.column(),
        lease_event::namespace.column(),
        lease_event::instance_tag.column(),
        lease_event::cause.column(),
        lease_event::worker_instance_id.column(),
    ],
    after: "lease events after a cursor",
    newest: "newest lease events",
    numbers: "numbers of lease events after a cursor",
};

pub(super) const SIGNALS: Outbox = Outbox {
    table: signal_event::REF,
    event_id: signal_event::event_id,
    transaction_id: signal_event::transaction_id,
    namespace: signal_event::namespace,
    instance_tag: signal_event::instance_tag,
    columns: &[
        signal_event::event_id.column(),
        signal_event::execution_id.column(),
        signal_event::signal_id.column(),
        signal_event::waitpoint_id.column(),
        signal_event::source_identity.column(),
        signal_event::effect.column(),
        signal_event::delivered_at_ms.column(),
        signal_event::partition_key.column(),
        signal_event::namespace.column(),
        signal_event::instance_tag.column(),
    ],
    after: "signal events after a cursor",
    newest: "newest signal events",
    numbers: "numbers of signal events after a cursor",
};

pub(super) const OPERATORS: Outbox = Outbox {
    table: operator_event::REF,
    event_id: operator_event::event_id,
    transaction_id: operator_event::transaction_id,
    namespace: operator_event::namespace,
    instance_tag: operator_event::instance_tag,
    columns: &[
        operator_event::event_id.column(),
        operator_event::execution_id.column(),
        operator_event::event_type.column(),
        operator_event::details.column(),
        operator_event::occurred_at_ms.column(),
        operator_event::partition_key.column(),
        operator_event::namespace.column(),
        operator_event::instance_tag.column(),
    ],
    after: "operator events after a cursor",
    newest: "newest operator events",
    numbers: "numbers of operator events after a cursor",
};

pub(super) const INSTANCE_TAGS: Outbox = Outbox {
    table: instance_tag_event::REF,
    event_id: instance_tag_event::event_id,
    transaction_id: instance_tag_event::transaction_id,
    namespace: instance_tag_event::namespace,
    instance_tag: instance_tag_event::instance_tag,
    columns: &[
        instance_tag_event::event_id.column(),
        instance_tag_event::execution_id.column(),
        instance_tag_event::event_type.column(),
        instance_tag_event::occurred_at_ms.column(),
        instance_tag_event::partition_key.column(),
        instance_tag_event::namespace.column(),
        instance_tag_event::instance_tag.column(),
    ],
    after: "instance tag events after a cursor",
    newest: "newest instance tag events",
    numbers: "numbers of instance tag events after a cursor",
};
