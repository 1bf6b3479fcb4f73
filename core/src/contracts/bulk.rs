//! Bulk operations of an operator. Additions to the common contract.

use serde::Serialize;

use super::ExecutionQuery;
use crate::model::ids::{ExecutionId, TimestampMs};

/// The action on each execution. It selects only the executions that it applies to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BulkAction {
    /// Cancels executions that have not ended.
    Cancel {
        /// The reason, in plain words.
        reason: String,
    },
    /// Replays executions that have ended.
    Replay,
    /// Changes the priority of claimable executions.
    Reprioritise {
        /// The priority, clamped to the range from 0 to 9000.
        priority: i32,
    },
}

/// Asks for one action on every execution that matches a query, one bounded batch per call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BulkArgs {
    /// The action.
    pub action: BulkAction,
    /// The executions to act on. The query's limit is the size of a batch (more than 1000 counts as
    /// 1000); its cursor is the start of the batch.
    pub query: ExecutionQuery,
    /// The time of the call.
    pub now: TimestampMs,
}

impl BulkArgs {
    /// Puts the parts together.
    #[must_use]
    pub fn new(action: BulkAction, query: ExecutionQuery, now: TimestampMs) -> Self {
        Self { action, query, now }
    }
}

/// The outcome of one batch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BulkReport {
    /// The number of executions found.
    pub matched: u32,
    /// The number of executions changed.
    pub applied: u32,
    /// The executions left unchanged, with reasons. As a rule another session changed them
    /// meanwhile.
    pub refused: Vec<BulkRefusal>,
    /// The start of the next batch; `None` when nothing is left.
    pub next_cursor: Option<ExecutionId>,
}

/// An execution that a bulk action could not be applied to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BulkRefusal {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The reason, in plain words.
    pub error: String,
}
