//! Decisions without an engine: rows and an operation in, a plan or a refusal out.
//!
//! The operations are the transitions of [`ff_core::rules`], which are public for tests and not
//! stable.
//!
//! ```
//! use flowfabric_sql::core::plan::value::Value;
//! use flowfabric_sql::core::rules::execution::replay::Replay;
//! use flowfabric_sql::core::contracts::ReplayExecutionArgs;
//! use flowfabric_sql::core::types::TimestampMs;
//! use flowfabric_sql::testing::unit::{Rows, decide};
//! use flowfabric_sql::{ExecutionId, LaneId, PartitionConfig};
//!
//! let id = ExecutionId::solo(&LaneId::new("mail"), &PartitionConfig::default());
//! let args = ReplayExecutionArgs { execution_id: id, now: TimestampMs(0) };
//! let refusal = decide(&Replay::new(&args)?, &Rows::new(TimestampMs(0))).unwrap_err();
//! assert_eq!(refusal.to_string(), "not found: execution");
//! # Ok::<(), flowfabric_sql::EngineError>(())
//! ```

use std::fmt;

use ff_backend_memory::MemoryBackend;
use ff_core::EngineError;
pub use ff_core::engine::DryRun;
use ff_core::engine::dry_run;
use ff_core::plan::value::Value;
use ff_core::rules::decision::Transition;
use ff_core::types::TimestampMs;
use futures_util::FutureExt as _;

/// The rows that a decision reads, and the time at which it is made.
pub struct Rows(MemoryBackend);

impl Rows {
    /// No rows, at that time.
    #[must_use]
    pub fn new(now: TimestampMs) -> Self {
        Self(MemoryBackend::new().with_seed(0).with_clock(Box::new(move || now)))
    }

    /// The same with one row more, as plain SQL would insert it: columns by name, defaults for the
    /// rest.
    ///
    /// # Errors
    /// A table, column or value that the schema does not have, or a taken key.
    pub fn with<'a>(
        self,
        table: &str,
        cells: impl IntoIterator<Item = (&'a str, Value)>,
    ) -> Result<Self, EngineError> {
        self.0.insert_row(table, cells)?;
        Ok(self)
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").finish_non_exhaustive()
    }
}

/// Decides an operation on these rows: the plan that it would commit, or none.
///
/// # Errors
/// The rule's refusal.
pub fn decide<T: Transition>(operation: &T, rows: &Rows) -> Result<DryRun, EngineError> {
    // Rows in memory are read at once.
    let decided = dry_run(&rows.0, operation).now_or_never();
    decided.unwrap_or(Err(EngineError::Unavailable { op: "decide" }))
}
