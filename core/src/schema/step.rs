//! Durable steps of executions.

use uuid::Uuid;

table! {
    /// One row per step that a worker recorded: its result, which later runs read back. A row never
    /// changes, and goes with its execution.
    step = "ff_step" key [partition_key, execution_id, position] partitioned {
        /// The partition of the execution.
        partition_key: i16,
        /// The execution.
        execution_id: Uuid,
        /// The place among the steps of the execution, from 0.
        position: i32,
        /// The name that the worker gave the step.
        name: String,
        /// The result.
        value: Vec<u8>,
        /// The attempt that recorded it; of a forked execution, an attempt of its source.
        attempt_index: i32,
        /// The epoch of the lease under which it was recorded.
        lease_epoch: i64,
        /// The time when it was recorded, Unix ms.
        recorded_at_ms: i64,
    }
    indexes []
}
