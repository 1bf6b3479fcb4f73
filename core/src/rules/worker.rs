//! The registry of workers: registrations, heartbeats, and the workers that are lost.
//!
//! A worker is alive until its last heartbeat is older than its time to live. The registry decides
//! about no execution by itself: the leases of a worker that is lost lapse, by the rule of every
//! lapsed lease. A worker that never registered is none of its concern.
//!
//! ```
//! use std::collections::BTreeSet;
//!
//! use ff_core::contracts::RegisterWorkerArgs;
//! use ff_core::rules::worker::registry::Register;
//! use ff_core::types::{LaneId, Namespace, TimestampMs, WorkerId, WorkerInstanceId};
//!
//! let register = |instance: &str| {
//!     Register::new(RegisterWorkerArgs::new(
//!         WorkerId::new("mailer"),
//!         WorkerInstanceId::new(instance),
//!         BTreeSet::from([LaneId::new("mail")]),
//!         BTreeSet::new(),
//!         15_000,
//!         Namespace::new("default"),
//!         TimestampMs(0),
//!     ))
//! };
//! assert!(register("mailer-1").is_ok());
//! let refusal = register("mailer\0").unwrap_err();
//! assert!(refusal.to_string().contains("worker_instance_id"), "{refusal}");
//! ```

pub mod events;
pub mod listing;
pub mod lost;
pub mod registry;
pub mod row;
