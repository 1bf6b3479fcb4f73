//! What a backend remembers of the claims it handed out.
//!
//! A worker that reports a failure would otherwise wait for its execution's retry policy to be read
//! back. The memo is an expectation, never a source: a plan decided on it carries the same fence as
//! any other, and a fence that still holds means that neither policy nor count has moved since the
//! claim. Whatever was forgotten, or claimed through another process, is read.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::policy::RetryPolicy;

/// How many leases are remembered; the oldest are forgotten first.
const CAPACITY: usize = 65_536;

/// What a claim tells about retries.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RetryFacts {
    /// The execution's own retry policy, if it was submitted with one.
    pub policy: Option<RetryPolicy>,
    /// How many retries it has had.
    pub retries: u32,
}

/// Retry facts by lease.
#[derive(Debug, Default)]
pub struct Memo(Mutex<Leases>);

#[derive(Debug, Default)]
struct Leases {
    facts: HashMap<Uuid, RetryFacts>,
    oldest_first: VecDeque<Uuid>,
}

impl Memo {
    /// Remembers what was claimed under a lease.
    pub fn keep(&self, lease: Uuid, facts: RetryFacts) {
        let mut leases = self.lock();
        if leases.facts.insert(lease, facts).is_none() {
            leases.oldest_first.push_back(lease);
        }
        while leases.oldest_first.len() > CAPACITY {
            if let Some(oldest) = leases.oldest_first.pop_front() {
                leases.facts.remove(&oldest);
            }
        }
    }

    /// What was claimed under a lease, if it is remembered.
    #[must_use]
    pub fn recall(&self, lease: Uuid) -> Option<RetryFacts> {
        self.lock().facts.get(&lease).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Leases> {
        // Each change is one insert or one removal: a panic elsewhere leaves nothing half-done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_leases_are_forgotten_first() {
        let memo = Memo::default();
        for lease in 0..=CAPACITY {
            memo.keep(Uuid::from_u128(lease as u128), RetryFacts::default());
        }
        assert_eq!(memo.recall(Uuid::from_u128(0)), None);
        assert_eq!(memo.recall(Uuid::from_u128(1)), Some(RetryFacts::default()));
    }

    #[test]
    fn a_lease_that_is_kept_again_takes_the_new_facts() {
        let memo = Memo::default();
        let facts = RetryFacts { policy: None, retries: 2 };
        memo.keep(Uuid::nil(), RetryFacts::default());
        memo.keep(Uuid::nil(), facts.clone());
        assert_eq!(memo.recall(Uuid::nil()), Some(facts));
    }
}
