//! The streams known to exist, so that a durable append need not look up its stream.
//!
//! An expectation, never a source: the plan of an append guards what it expects. A stream that was
//! evicted, or that another process created, is looked up.

use std::collections::{HashSet, VecDeque};
use std::sync::Mutex;

use uuid::Uuid;

use super::lock::lock;

/// The most leases to remember; the oldest are evicted first.
const CAPACITY: usize = 65_536;

/// The streams known to exist, by the lease of their attempt.
#[derive(Debug, Default)]
pub(super) struct KnownStreams {
    leases: Mutex<Leases>,
}

#[derive(Debug, Default)]
struct Leases {
    known: HashSet<Uuid>,
    oldest_first: VecDeque<Uuid>,
}

impl KnownStreams {
    /// Remembers that a frame was appended under a lease.
    pub(super) fn insert(&self, lease: Uuid) {
        let mut leases = lock(&self.leases);
        if leases.known.insert(lease) {
            leases.oldest_first.push_back(lease);
        }

        while CAPACITY < leases.oldest_first.len() {
            if let Some(oldest) = leases.oldest_first.pop_front() {
                leases.known.remove(&oldest);
            }
        }
    }

    /// True if a frame is known to have been appended under a lease.
    pub(super) fn contains(&self, lease: Uuid) -> bool {
        lock(&self.leases).known.contains(&lease)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_remembered_by_its_lease() {
        let streams = KnownStreams::default();
        streams.insert(Uuid::nil());
        assert!(streams.contains(Uuid::nil()) && !streams.contains(Uuid::max()));
    }

    #[test]
    fn the_oldest_leases_are_evicted_first() {
        let streams = KnownStreams::default();
        for lease in [0..=0, 0..=CAPACITY].into_iter().flatten() {
            streams.insert(Uuid::from_u128(lease as u128));
        }
        assert!(!streams.contains(Uuid::from_u128(0)));
        assert!(streams.contains(Uuid::from_u128(1)));
    }
}
