//! Old events of workers, which are removed: heartbeats after an hour, other events after a week.

use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::plan::facts::{Facts, Row};
use crate::plan::{Expr, List, Mutation, Plan, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Then, Transition};
use crate::rules::worker::row::WorkerEvent;
use crate::schema::ColumnRef;
use crate::schema::Direction::Ascending;
use crate::schema::worker::worker_registry_event;

/// The time for which heartbeats are kept, ms.
const HEARTBEATS_MS: i64 = 3_600_000;

/// The time for which other events are kept, ms.
const EVENTS_MS: i64 = 7 * 86_400_000;

/// Lists old events, the oldest first.
#[derive(Clone, Copy, Debug)]
pub struct OldEvents {
    /// The most events to list.
    pub limit: u32,
}

impl OldEvents {
    fn list(self, now: TimestampMs) -> List {
        let at = worker_registry_event::event_at_ms;
        let heartbeat = WorkerEvent::Heartbeat.word().to_owned();
        let old = worker_registry_event::event_kind
            .equals(heartbeat)
            .or(at.below(now.0.saturating_sub(EVENTS_MS)));

        List {
            name: "old events of workers".into(),
            table: worker_registry_event::REF,
            join: None,
            of_each: None,
            columns: worker_registry_event::REF.key.to_vec(),
            predicate: at.below(now.0.saturating_sub(HEARTBEATS_MS)).and(old),
            order: vec![
                (at.column(), Ascending),
                (worker_registry_event::namespace.column(), Ascending),
                (worker_registry_event::worker_instance_id.column(), Ascending),
                (worker_registry_event::event_kind.column(), Ascending),
            ],
            limit: Expr::int(i64::from(self.limit)),
        }
    }
}

impl Transition for OldEvents {
    type Outcome = Vec<Row>;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<Vec<Row>>, EngineError> {
        let list = self.list(ctx.now);
        Ok(match facts.list(&list) {
            None => Step::Read(vec![Query::List(list)]),
            Some(rows) => Step::Answer(rows.to_vec()),
        })
    }
}

/// Removes one listed event.
#[derive(Clone, Debug)]
pub struct RemoveEvent(pub Row);

impl Transition for RemoveEvent {
    type Outcome = ();

    fn step(&self, _: &Facts, _: &mut Ctx<'_>) -> Result<Step<()>, EngineError> {
        let Self(row) = self;
        let key: Vec<(ColumnRef, Expr)> = vec![
            worker_registry_event::partition_key
                .with(row.read(worker_registry_event::partition_key)?),
            worker_registry_event::namespace.with(row.read(worker_registry_event::namespace)?),
            worker_registry_event::worker_instance_id
                .with(row.read(worker_registry_event::worker_instance_id)?),
            worker_registry_event::event_at_ms.with(row.read(worker_registry_event::event_at_ms)?),
            worker_registry_event::event_kind.with(row.read(worker_registry_event::event_kind)?),
        ];
        let delete = Mutation::delete(worker_registry_event::REF, key);
        Ok(Step::Commit(Plan::new("remove_worker_event").and([delete]), Then::Answer(())))
    }
}
