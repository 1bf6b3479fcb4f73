//! Tables of the whole installation: signing keys, lanes, shard counts, applied migrations.
//!
//! These tables are small, belong to no partition and change rarely; everything that belongs to one
//! execution, flow, budget or worker lives with its family.

use crate::model::state::LaneState;
use crate::plan::value::Secret;

table! {
    /// One row per HMAC key that signs waitpoint tokens and claim grants; never removed.
    waitpoint_hmac = "ff_waitpoint_hmac" key [kid] {
        /// Key id; every token starts with the id of the key that signed it.
        kid: String,
        /// Raw key bytes; must never be logged.
        secret: Secret,
        /// Installation of the key, Unix ms.
        rotated_at_ms: i64,
        /// True if the key signs new tokens; a retired key still verifies old ones for a while.
        active: bool = Default::Bool(true),
        /// End of verification by a retired key, Unix ms; NULL without end.
        verifies_until_ms: Option<i64>,
    }
    indexes []
}

table! {
    /// One row in all, once there is a key: adding or replacing a key moves its version on, so that
    /// two callers that found no key to follow cannot both add one.
    waitpoint_keyring = "ff_waitpoint_keyring" key [singleton_lock] check [singleton_lock] {
        /// Always true, so that a second row cannot exist.
        singleton_lock: bool = Default::Bool(true),
        /// Grows with every change to the set of keys.
        version: i64 = Default::Int(1),
    }
    indexes []
}

table! {
    /// One row per lane that an execution was ever submitted to, or that an operator set the state
    /// of.
    lane_registry = "ff_lane_registry" key [lane_id] {
        /// Lane name.
        lane_id: String,
        /// The first operation that named the lane, Unix ms.
        registered_at_ms: i64,
        /// The operation that first named the lane.
        registered_by: String,
        /// Whether the lane takes submissions and claims, until `state_until_ms`.
        state: LaneState = Default::Text("active"),
        /// The operator's reason for the state.
        state_reason: Option<String>,
        /// The operator that set the state.
        state_by: Option<String>,
        /// The time when the operator set the state, Unix ms.
        state_since_ms: Option<i64>,
        /// The time from which the lane is active again, Unix ms; NULL without end.
        state_until_ms: Option<i64>,
    }
    indexes []
}

table! {
    /// One row in all: how many shards each family is spread over, and the release that decided it.
    partition_config = "ff_partition_config" key [singleton_lock] check [singleton_lock] {
        /// Always true, so that a second row cannot exist.
        singleton_lock: bool = Default::Bool(true),
        /// Shards of flows and executions.
        num_flow_partitions: i32,
        /// Shards of budgets.
        num_budget_partitions: i32,
        /// Shards of quotas.
        num_quota_partitions: i32,
        /// Release that created the schema.
        ff_version: String,
    }
    indexes []
}

table! {
    /// One row per applied migration, saying whether older binaries may keep running after it.
    migration_annotation = "ff_migration_annotation" key [version] {
        /// Migration number.
        version: i32,
        /// File stem of the migration.
        name: String,
        /// Application of the migration, Unix ms.
        applied_at_ms: i64,
        /// True if a binary built before it still works on the migrated schema.
        backward_compatible: bool,
    }
    indexes []
}
