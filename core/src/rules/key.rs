//! Where an execution's rows are.

use uuid::Uuid;

use crate::EngineError;
use crate::plan::Expr;
use crate::rules::input;
use crate::schema::ColumnRef;
use crate::schema::execution::{attempt, exec_core};
use crate::types::ExecutionId;

/// The name that every plan gives an execution's row.
pub const CORE: &str = "core";
/// The name that every plan gives an attempt's row.
pub const ATTEMPT: &str = "attempt";

/// The stored form of an execution's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

    /// The id of a key.
    #[must_use]
    pub fn id(&self) -> ExecutionId {
        ExecutionId::from_parts(self.partition.unsigned_abs(), self.uuid)
    }

    /// The key of the execution's row.
    #[must_use]
    pub fn core(&self) -> Vec<(ColumnRef, Expr)> {
        vec![exec_core::partition_key.at(self.partition), exec_core::execution_id.at(self.uuid)]
    }

    /// The key of one of its attempts.
    #[must_use]
    pub fn attempt(&self, index: i32) -> Vec<(ColumnRef, Expr)> {
        self.attempt_at(attempt::attempt_index.at(index))
    }

    /// The key of its current attempt, which the held execution row names.
    #[must_use]
    pub fn current_attempt(&self) -> Vec<(ColumnRef, Expr)> {
        self.attempt_at(attempt::attempt_index.put_expr(exec_core::attempt_index.of(CORE)))
    }

    fn attempt_at(&self, index: (ColumnRef, Expr)) -> Vec<(ColumnRef, Expr)> {
        let partition = attempt::partition_key.at(self.partition);
        vec![partition, attempt::execution_id.at(self.uuid), index]
    }
}
