//! The keys of a stream's rows, and the names that plans give these rows.

use crate::model::error::EngineError;
use crate::model::ids::{AttemptIndex, ExecutionId};
use crate::plan::{Expr, Predicate};
use crate::rules::input;
use crate::rules::key::{ATTEMPT, CORE, ExecutionKey, all_equal};
use crate::schema::ColumnRef;
use crate::schema::execution::{attempt, exec_core};
use crate::schema::suspension::{stream_frame, stream_meta, stream_summary};

/// The name that every plan gives the row with the position of a stream.
pub const META: &str = "meta";
/// The name that every plan gives a summary's row.
pub const SUMMARY: &str = "summary";
/// The name that every plan gives a frame that is there already.
pub const OLD: &str = "old";

/// The stored form of one attempt of one execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamKey {
    /// The execution.
    pub execution: ExecutionKey,
    /// The attempt, counted from 0.
    pub attempt_index: i32,
}

impl StreamKey {
    /// The key of an attempt.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for numbers beyond what a row can store.
    pub fn of(id: &ExecutionId, index: AttemptIndex) -> Result<Self, EngineError> {
        Ok(Self { execution: ExecutionKey::of(id)?, attempt_index: input::attempt_index(index)? })
    }

    /// The key of the attempt's own row.
    #[must_use]
    pub fn attempt(&self) -> Vec<(ColumnRef, Expr)> {
        vec![
            attempt::partition_key.with(self.execution.partition),
            attempt::execution_id.with(self.execution.uuid),
            attempt::attempt_index.with(self.attempt_index),
        ]
    }

    /// The key of its summary.
    #[must_use]
    pub fn summary(&self) -> Vec<(ColumnRef, Expr)> {
        vec![
            stream_summary::partition_key.with(self.execution.partition),
            stream_summary::execution_id.with(self.execution.uuid),
            stream_summary::attempt_index.with(self.attempt_index),
        ]
    }

    /// Its frames.
    #[must_use]
    pub fn frames(&self) -> Predicate {
        stream_frame::partition_key
            .equals(self.execution.partition)
            .and(stream_frame::execution_id.equals(self.execution.uuid))
            .and(stream_frame::attempt_index.equals(self.attempt_index))
    }
}

/// The key of the row with the position of the held attempt's stream.
#[must_use]
pub fn meta_of_attempt() -> Vec<(ColumnRef, Expr)> {
    of_held_attempt([
        stream_meta::partition_key.column(),
        stream_meta::execution_id.column(),
        stream_meta::attempt_index.column(),
    ])
}

/// The key of the summary of the held attempt.
#[must_use]
pub fn summary_of_attempt() -> Vec<(ColumnRef, Expr)> {
    of_held_attempt([
        stream_summary::partition_key.column(),
        stream_summary::execution_id.column(),
        stream_summary::attempt_index.column(),
    ])
}

/// The leading part of the key of every frame of the held attempt.
#[must_use]
pub fn frame_of_attempt() -> Vec<(ColumnRef, Expr)> {
    of_held_attempt([
        stream_frame::partition_key.column(),
        stream_frame::execution_id.column(),
        stream_frame::attempt_index.column(),
    ])
}

/// The frames of the held attempt.
#[must_use]
pub fn frames_of_attempt() -> Predicate {
    all_equal(frame_of_attempt())
}

fn of_held_attempt([partition, execution, index]: [ColumnRef; 3]) -> Vec<(ColumnRef, Expr)> {
    vec![
        (partition, exec_core::partition_key.of(CORE)),
        (execution, exec_core::execution_id.of(CORE)),
        (index, attempt::attempt_index.of(ATTEMPT)),
    ]
}
