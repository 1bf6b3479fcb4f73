//! Workers: the live instances, their capabilities, and a log of their events.
//!
//! A worker instance registers and then renews its row by heartbeats; one that stays silent past
//! its time to live counts as dead, and its leases lapse. Rows carry the partition of the
//! instance's id.

table! {
    /// One row per worker instance that is registered, or was swept a while ago.
    worker_registry = "ff_worker_registry"
        key [partition_key, namespace, worker_instance_id] partitioned
    {
        /// The partition of the instance's id.
        partition_key: i16,
        /// The tenant it works for.
        namespace: String,
        /// The instance.
        worker_instance_id: String,
        /// The pool it belongs to, which a re-registration may not change.
        worker_id: String,
        /// Lanes it claims from, sorted.
        lanes: Vec<String>,
        /// Its capabilities, sorted and joined by commas.
        capabilities_csv: String,
        /// Last registration or heartbeat, Unix ms.
        last_heartbeat_ms: i64,
        /// The time for which it counts as alive after the last heartbeat, ms.
        liveness_ttl_ms: i64,
        /// First registration, Unix ms.
        registered_at_ms: i64,
        /// The version of its program, where it gave one.
        version: Option<String>,
        /// The time when a scanner found it silent and its leases lapsed, Unix ms; NULL while it is
        /// registered.
        swept_at_ms: Option<i64>,
    }
    indexes [
        "ff_worker_registry_ns_inst_idx" (namespace Ascending, worker_instance_id Ascending),
    ]
}

table! {
    /// One row per event in the life of a worker instance; appended only.
    worker_registry_event = "ff_worker_registry_event"
        key [partition_key, namespace, worker_instance_id, event_at_ms, event_kind] partitioned
    {
        /// The partition of the instance's id.
        partition_key: i16,
        /// The tenant it works for.
        namespace: String,
        /// The instance.
        worker_instance_id: String,
        /// The event: `registered`, `heartbeat`, `marked_dead` or `ttl_swept`.
        event_kind: String,
        /// The time of the event, Unix ms.
        event_at_ms: i64,
        /// The reason for marking it dead, in the caller's words.
        reason: Option<String>,
    }
    indexes [
        "ff_worker_registry_event_at_idx" (event_at_ms Ascending),
    ]
}
