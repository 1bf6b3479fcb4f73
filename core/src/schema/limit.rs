//! Limits that executions share by key, and what running executions hold of them.

use uuid::Uuid;

table! {
    /// One row per limit. Its key is one that executions name, or ends in `/*` and stands for all
    /// keys of that family that have no limit of their own.
    limit = "ff_limit" key [limit_key, partition_key] {
        /// The partition of the key.
        partition_key: i16,
        /// The key, or the family.
        limit_key: String,
        /// The most executions that run at once; NULL for any number.
        max_running: Option<i64>,
        /// The executions that start in `rate_per_ms`; NULL for any number.
        rate_count: Option<i64>,
        /// The time for which `rate_count` counts, ms.
        rate_per_ms: Option<i64>,
        /// The executions that may start at once after a pause.
        rate_burst: Option<i64>,
        /// The operator that set it.
        set_by: String,
        /// The time when it was set, Unix ms.
        set_at_ms: i64,
    }
    indexes []
}

table! {
    /// One row per permit that a running execution holds. A limit of n executions has the permits 0
    /// to n - 1, and no two executions can hold one: the primary key says so.
    limit_permit = "ff_limit_permit" key [limit_key, permit, partition_key] {
        /// The partition of the key.
        partition_key: i16,
        /// The key that the execution names.
        limit_key: String,
        /// The number of the permit, from 0.
        permit: i64,
        /// The partition of the execution.
        execution_partition: i16,
        /// The execution.
        execution_id: Uuid,
        /// The time when it took the permit, Unix ms.
        taken_at_ms: i64,
    }
    indexes [
        "ff_limit_permit_execution_idx" (execution_partition Ascending, execution_id Ascending),
    ]
}

table! {
    /// One row per cell of time that an execution took of a rate. A rate of n in a time divides
    /// time into cells of the n-th part of it, numbered from the Unix epoch. Each start takes the
    /// first cell that is free, so the primary key bounds the starts.
    limit_cell = "ff_limit_cell" key [limit_key, rate, cell, partition_key] {
        /// The partition of the key.
        partition_key: i16,
        /// The key that the execution names.
        limit_key: String,
        /// The rate that numbers the cells, `<count>/<ms>`.
        rate: String,
        /// The number of the cell.
        cell: i64,
        /// The execution.
        execution_id: Uuid,
        /// The time from which the cell counts no more, Unix ms.
        expires_at_ms: i64,
    }
    indexes [
        "ff_limit_cell_expires_idx" (expires_at_ms Ascending, limit_key Ascending, rate Ascending,
            cell Ascending),
    ]
}
