//! The registry of workers: registrations, heartbeats, and the workers that are lost.
//!
//! A worker is alive until its last heartbeat is older than its time to live. The registry decides
//! about no execution by itself: the leases of a worker that is lost lapse, by the rule of every
//! lapsed lease. A worker that never registered is none of its concern.

pub mod events;
pub mod listing;
pub mod lost;
pub mod registry;
pub mod row;
