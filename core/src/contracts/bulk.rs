//! What an operator does to many executions at once. Additions to the common contract.

use serde::Serialize;

use super::ExecutionQuery;
use crate::plan::Plan;
use crate::types::{ExecutionId, TimestampMs};

/// What is done to each execution. It finds only those that it applies to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BulkAction {
    /// Cancels what has not ended.
    Cancel {
        /// Why, in words for people.
        reason: String,
    },
    /// Replays what has ended.
    Replay,
    /// Gives what can be claimed another priority.
    Reprioritise {
        /// The priority; beyond 0 and 9000 the nearest one is taken.
        priority: i32,
    },
}

/// Asks for one action on every execution that matches a query, one bounded batch per call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BulkArgs {
    /// What is done.
    pub action: BulkAction,
    /// To which executions. Its limit is the size of a batch (more than 1000 counts as 1000), its
    /// cursor says where the batch begins.
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

/// What one batch came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BulkReport {
    /// How many executions it found.
    pub matched: u32,
    /// How many of them were changed.
    pub applied: u32,
    /// The others, and why each was left as it is: as a rule it has moved on meanwhile.
    pub refused: Vec<BulkRefusal>,
    /// Where the next batch begins; `None` when nothing is left.
    pub next_cursor: Option<ExecutionId>,
}

/// An execution that a bulk action could not be applied to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BulkRefusal {
    /// The execution.
    pub execution_id: ExecutionId,
    /// Why, in words for people.
    pub error: String,
}

/// What a bulk action would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BulkPreview {
    /// How many executions it would find, in all batches.
    pub matched: u64,
    /// The plans of the first batch, as they would be committed now.
    pub plans: Vec<Plan>,
    /// Those of the first batch that it could not be applied to.
    pub refused: Vec<BulkRefusal>,
}
