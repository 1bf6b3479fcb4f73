//! The streams that have begun, so that a durable append need not look whether its stream exists.
//!
//! An expectation, never a source: the plan of an append guards what it expects. A stream that was
//! forgotten, or that another process began, is looked up.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

/// The number of leases that are remembered; the oldest are evicted first.
const CAPACITY: usize = 65_536;

/// The leases under which a stream has begun.
#[derive(Debug, Default)]
pub(super) struct Begun {
    leases: Mutex<Leases>,
}

#[derive(Debug, Default)]
struct Leases {
    known: HashSet<Uuid>,
    oldest_first: VecDeque<Uuid>,
}

impl Begun {
    /// Remembers that a frame was appended under a lease.
    pub(super) fn keep(&self, lease: Uuid) {
        let mut leases = self.lock();
        if leases.known.insert(lease) {
            leases.oldest_first.push_back(lease);
        }

        while CAPACITY < leases.oldest_first.len() {
            if let Some(oldest) = leases.oldest_first.pop_front() {
                leases.known.remove(&oldest);
            }
        }
    }

    /// True if a frame was appended under a lease, as far as is remembered.
    pub(super) fn has(&self, lease: Uuid) -> bool {
        self.lock().known.contains(&lease)
    }

    fn lock(&self) -> MutexGuard<'_, Leases> {
        // Each change is one insert or one removal, so a panic elsewhere leaves nothing half done.
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_began_is_remembered_by_lease() {
        let begun = Begun::default();
        begun.keep(Uuid::nil());
        assert!(begun.has(Uuid::nil()) && !begun.has(Uuid::max()));
    }

    #[test]
    fn the_oldest_leases_are_forgotten_first() {
        let begun = Begun::default();
        for lease in [0..=0, 0..=CAPACITY].into_iter().flatten() {
            begun.keep(Uuid::from_u128(lease as u128));
        }
        assert!(!begun.has(Uuid::from_u128(0)));
        assert!(begun.has(Uuid::from_u128(1)));
    }
}
