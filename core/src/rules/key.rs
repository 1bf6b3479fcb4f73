//! The keys of an execution's rows, and the names that plans give these rows.

use uuid::Uuid;

use crate::model::error::EngineError;
use crate::model::ids::ExecutionId;
use crate::plan::facts::Row;
use crate::plan::{Compare, Expr, Pairing, Path, Predicate, Return, Selection};
use crate::rules::input;
use crate::schema::ColumnRef;
use crate::schema::Direction::Ascending;
use crate::schema::execution::{attempt, exec_core};

/// The name that every plan gives an execution's row.
pub const CORE: &str = "core";
/// The name that every plan gives an attempt's row.
pub const ATTEMPT: &str = "attempt";

/// The stored form of an execution's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExecutionKey {
    /// Its partition.
    pub partition: i16,
    /// Its UUID.
    pub uuid: Uuid,
}

impl ExecutionKey {
    /// The key of an id.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` when the partition is beyond what a row can store (32767).
    pub fn of(id: &ExecutionId) -> Result<Self, EngineError> {
        Ok(Self { partition: input::partition(id.partition())?, uuid: id.uuid() })
    }

    /// The key that a row of executions carries.
    ///
    /// # Errors
    /// `Validation(Corruption)` naming the column that holds what it must not.
    pub fn in_row(row: &Row) -> Result<Self, EngineError> {
        Ok(Self {
            partition: row.read(exec_core::partition_key)?,
            uuid: row.read(exec_core::execution_id)?,
        })
    }

    /// The id of a key.
    #[must_use]
    pub fn id(&self) -> ExecutionId {
        ExecutionId::from_parts(self.partition.unsigned_abs(), self.uuid)
    }

    /// The key of the execution's row.
    #[must_use]
    pub fn core(&self) -> Vec<(ColumnRef, Expr)> {
        vec![exec_core::partition_key.with(self.partition), exec_core::execution_id.with(self.uuid)]
    }
}

/// The key of the execution row that the plan holds: bound once, with the guard.
#[must_use]
pub fn held_core() -> Vec<(ColumnRef, Expr)> {
    vec![
        exec_core::partition_key.with_expr(exec_core::partition_key.of(CORE)),
        exec_core::execution_id.with_expr(exec_core::execution_id.of(CORE)),
    ]
}

/// The key of the attempt row that the plan holds.
#[must_use]
pub fn held_attempt() -> Vec<(ColumnRef, Expr)> {
    attempt_of_core(attempt::attempt_index.of(ATTEMPT))
}

/// The key of the current attempt of the execution row that the plan holds.
#[must_use]
pub fn current_attempt() -> Vec<(ColumnRef, Expr)> {
    attempt_of_core(exec_core::attempt_index.of(CORE))
}

/// The key of an attempt, by index, of the execution row that the plan holds.
#[must_use]
pub fn attempt_of_core(index: Expr) -> Vec<(ColumnRef, Expr)> {
    vec![
        attempt::partition_key.with_expr(exec_core::partition_key.of(CORE)),
        attempt::execution_id.with_expr(exec_core::execution_id.of(CORE)),
        attempt::attempt_index.with_expr(index),
    ]
}

/// Every execution that the predicate accepts, by id, under the name that plans give an execution.
#[must_use]
pub fn every_execution(predicate: Predicate) -> Selection {
    Selection {
        row: CORE.into(),
        table: exec_core::REF,
        predicate,
        order: vec![(exec_core::execution_id.column(), Ascending)],
        pairing: Pairing::Every,
    }
}

/// The id of each picked execution.
#[must_use]
pub fn picked_ids() -> Vec<Return> {
    vec![Return::Held(CORE.into(), Path::column(exec_core::execution_id.column()))]
}

/// The condition that these columns have these values.
#[must_use]
pub fn all_equal(target: Vec<(ColumnRef, Expr)>) -> Predicate {
    let equal = |(column, expr): (ColumnRef, Expr)| {
        Predicate::Compare(Path::column(column), Compare::Equal, expr)
    };
    target.into_iter().map(equal).fold(Predicate::Always, Predicate::and)
}
