//! The row of a worker instance: its key, its liveness, and its events.

use crate::model::error::EngineError;
use crate::model::hash::fnv1a_u64;
use crate::model::ids::{Namespace, TimestampMs, WorkerInstanceId};
use crate::plan::facts::Row;
use crate::plan::{Expr, Lookup, Mutation, OnConflict, Predicate};
use crate::rules::input;
use crate::rules::premise::lookup;
use crate::schema::ColumnRef;
use crate::schema::worker::{worker_registry, worker_registry_event};

/// The name that every plan gives the row of a worker instance.
pub const WORKER: &str = "worker";

/// The partitions that worker instances are spread over.
const PARTITIONS: u64 = 256;

/// The stored form of a worker instance's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerKey {
    /// The partition of the instance's id.
    pub partition: i16,
    /// The tenant that it works for.
    pub namespace: String,
    /// The instance.
    pub instance: String,
}

impl WorkerKey {
    /// The key of an instance.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field: an instance without a name, text with NUL, a
    /// name that is too long.
    pub fn of(namespace: &Namespace, instance: &WorkerInstanceId) -> Result<Self, EngineError> {
        input::name("namespace", namespace.as_str())?;
        input::name("worker_instance_id", instance.as_str())?;
        if instance.as_str().is_empty() {
            return Err(input::invalid("worker_instance_id: must not be empty"));
        }

        let partition = fnv1a_u64(instance.as_str().as_bytes()) % PARTITIONS;
        Ok(Self {
            partition: i16::try_from(partition).unwrap_or_default(),
            namespace: namespace.as_str().to_owned(),
            instance: instance.as_str().to_owned(),
        })
    }

    /// The key of a row that carries it.
    ///
    /// # Errors
    /// `Validation(Corruption)` naming the column.
    pub fn read(row: &Row) -> Result<Self, EngineError> {
        Ok(Self {
            partition: row.read(worker_registry::partition_key)?,
            namespace: row.read(worker_registry::namespace)?,
            instance: row.read(worker_registry::worker_instance_id)?,
        })
    }

    /// The key of the instance's row.
    #[must_use]
    pub fn columns(&self) -> Vec<(ColumnRef, Expr)> {
        vec![
            worker_registry::partition_key.with(self.partition),
            worker_registry::namespace.with(self.namespace.clone()),
            worker_registry::worker_instance_id.with(self.instance.clone()),
        ]
    }

    /// The look-up of the instance's row.
    #[must_use]
    pub fn lookup(&self) -> Lookup {
        lookup(WORKER, worker_registry::REF, self.columns())
    }

    /// An event in the life of the instance. Of two of one kind in a millisecond, one is kept.
    #[must_use]
    pub fn event(&self, kind: WorkerEvent, reason: Option<&str>, at: TimestampMs) -> Mutation {
        let row = vec![
            worker_registry_event::partition_key.with(self.partition),
            worker_registry_event::namespace.with(self.namespace.clone()),
            worker_registry_event::worker_instance_id.with(self.instance.clone()),
            worker_registry_event::event_kind.with(kind.word().into()),
            worker_registry_event::event_at_ms.with(at.0),
            worker_registry_event::reason.with(reason.map(str::to_owned)),
        ];
        Mutation::insert(worker_registry_event::REF, row, OnConflict::Ignore)
    }
}

/// The condition that an instance is registered: it was not swept since it registered last.
#[must_use]
pub fn is_registered() -> Predicate {
    worker_registry::swept_at_ms.is_null()
}

/// The kinds of events in the life of a worker instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerEvent {
    /// It registered, or registered again.
    Registered,
    /// It was alive.
    Heartbeat,
    /// It was declared dead, or ended.
    MarkedDead,
    /// It was silent for longer than its time to live.
    TtlSwept,
}

impl WorkerEvent {
    /// The stored word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Heartbeat => "heartbeat",
            Self::MarkedDead => "marked_dead",
            Self::TtlSwept => "ttl_swept",
        }
    }
}

/// The last sign of life of an instance, as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Liveness {
    /// The last registration or heartbeat, Unix ms.
    pub last_ms: i64,
    /// The time to live, ms.
    pub ttl_ms: i64,
    /// The time when a scanner swept it, Unix ms; `None` while it is registered.
    pub swept_at_ms: Option<i64>,
}

impl Liveness {
    /// Reads the liveness of an instance.
    ///
    /// # Errors
    /// `Validation(Corruption)` naming the column.
    pub fn read(row: &Row) -> Result<Self, EngineError> {
        Ok(Self {
            last_ms: row.read(worker_registry::last_heartbeat_ms)?,
            ttl_ms: row.read(worker_registry::liveness_ttl_ms)?,
            swept_at_ms: row.read(worker_registry::swept_at_ms)?,
        })
    }

    /// The condition that the instance has given no sign of life since, and was not swept.
    #[must_use]
    pub fn unchanged(self) -> Predicate {
        worker_registry::last_heartbeat_ms
            .equals(self.last_ms)
            .and(worker_registry::liveness_ttl_ms.equals(self.ttl_ms))
            .and(is_registered())
    }

    /// True while the instance counts as alive.
    #[must_use]
    pub fn is_alive(self, at: TimestampMs) -> bool {
        self.swept_at_ms.is_none() && at.0 < self.last_ms.saturating_add(self.ttl_ms)
    }
}
