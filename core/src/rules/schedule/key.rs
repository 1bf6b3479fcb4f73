//! The key of a schedule's row, and what follows from schedule and tick alone.

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::contracts::ScheduleId;
use crate::model::error::EngineError;
use crate::model::ids::Namespace;
use crate::model::partition::{PartitionConfig, schedule_partition};
use crate::plan::facts::Row;
use crate::plan::{Expr, Lookup};
use crate::rules::input;
use crate::rules::key::ExecutionKey;
use crate::rules::premise::{Premise, lookup, refuse};
use crate::schema::ColumnRef;
use crate::schema::schedule::schedule;

/// The name that every plan gives the row of a schedule.
pub const SCHEDULE: &str = "schedule";

/// The stored form of a schedule's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleKey {
    /// The partition of the schedule and of its executions.
    pub partition: i16,
    /// The namespace.
    pub namespace: String,
    /// The name within the namespace.
    pub name: String,
}

impl ScheduleKey {
    /// The key of a schedule.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field: a schedule without a name, text with NUL, a
    /// name that is too long, a partition beyond what a row can store.
    pub fn of(id: &ScheduleId, partitions: &PartitionConfig) -> Result<Self, EngineError> {
        let (namespace, name) = (id.namespace.as_str(), id.name.as_str());
        input::name("namespace", namespace)?;
        input::name("name", name)?;
        if name.is_empty() {
            return Err(input::invalid("name: must not be empty"));
        }

        let partition = schedule_partition(namespace, name, partitions);
        Ok(Self {
            partition: input::partition(partition.index)?,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }

    /// The key of a row that carries it.
    ///
    /// # Errors
    /// `Validation(Corruption)` naming the column.
    pub fn read(row: &Row) -> Result<Self, EngineError> {
        Ok(Self {
            partition: row.read(schedule::partition_key)?,
            namespace: row.read(schedule::namespace)?,
            name: row.read(schedule::name)?,
        })
    }

    /// The name of the schedule.
    #[must_use]
    pub fn id(&self) -> ScheduleId {
        ScheduleId::new(Namespace::new(self.namespace.as_str()), self.name.as_str())
    }

    /// The key of the schedule's row.
    #[must_use]
    pub fn columns(&self) -> Vec<(ColumnRef, Expr)> {
        vec![
            schedule::partition_key.with(self.partition),
            schedule::namespace.with(self.namespace.clone()),
            schedule::name.with(self.name.clone()),
        ]
    }

    /// The look-up of the schedule's row.
    #[must_use]
    pub fn lookup(&self) -> Lookup {
        lookup(SCHEDULE, schedule::REF, self.columns())
    }

    /// The schedule, which must exist and is pinned to what was read.
    #[must_use]
    pub fn existing<O>(&self) -> Premise<O> {
        let absent = refuse(|_| EngineError::NotFound { entity: "schedule" });
        Premise::read(SCHEDULE, self.lookup()).or_if_absent(absent).pinned_to(schedule::version)
    }

    /// The execution of a tick. Each process finds the same one.
    #[must_use]
    pub fn execution(&self, tick_ms: i64) -> ExecutionKey {
        let [bytes @ .., _, _, _, _, _, _, _, _] = self.draw(tick_ms);
        let uuid = uuid::Builder::from_custom_bytes(bytes).into_uuid();
        ExecutionKey { partition: self.partition, uuid }
    }

    /// The time between a tick and its submission, up to `most_ms`. Each process finds the same
    /// one.
    #[must_use]
    pub fn jitter_ms(&self, tick_ms: i64, most_ms: i64) -> i64 {
        let [.., a, b, c, d, e, f, g, h] = self.draw(tick_ms);
        let drawn = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        let spread = most_ms.max(0).unsigned_abs().saturating_add(1);
        i64::try_from(drawn.checked_rem(spread).unwrap_or(0)).unwrap_or(0)
    }

    /// Bytes that follow from schedule and tick: sixteen for the id, eight for the jitter.
    fn draw(&self, tick_ms: i64) -> [u8; 24] {
        let mut hash = Sha256::new();
        hash.update(self.namespace.as_bytes());
        hash.update([0]);
        hash.update(self.name.as_bytes());
        hash.update([0]);
        hash.update(tick_ms.to_be_bytes());

        let [drawn @ .., _, _, _, _, _, _, _, _]: [u8; 32] = hash.finalize().into();
        drawn
    }
}

/// A schedule's execution by its stored id.
#[must_use]
pub fn execution_of(partition: i16, uuid: Option<Uuid>) -> Option<ExecutionKey> {
    uuid.map(|uuid| ExecutionKey { partition, uuid })
}
