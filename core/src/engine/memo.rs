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

/// What is remembered, by lease; and whose turn it is.
#[derive(Debug, Default)]
pub struct Memo {
    retries: Mutex<Leases<RetryFacts>>,
    streams: Mutex<Leases<()>>,
    appends: Turns,
}

#[derive(Debug)]
struct Leases<F> {
    facts: HashMap<Uuid, F>,
    oldest_first: VecDeque<Uuid>,
}

impl<F> Default for Leases<F> {
    fn default() -> Self {
        Self { facts: HashMap::new(), oldest_first: VecDeque::new() }
    }
}

impl Memo {
    /// Remembers what was claimed under a lease.
    pub fn keep(&self, lease: Uuid, facts: RetryFacts) {
        lock(&self.retries).keep(lease, facts);
    }

    /// What was claimed under a lease, if it is remembered.
    #[must_use]
    pub fn recall(&self, lease: Uuid) -> Option<RetryFacts> {
        lock(&self.retries).facts.get(&lease).cloned()
    }

    /// Remembers that a frame was appended under a lease.
    pub(super) fn keep_stream(&self, lease: Uuid) {
        lock(&self.streams).keep(lease, ());
    }

    /// Whether a frame was appended under a lease, as far as is remembered.
    pub(super) fn has_stream(&self, lease: Uuid) -> bool {
        lock(&self.streams).facts.contains_key(&lease)
    }

    /// Waits for the turn of a lease among appends that are decided on what they read: those of one
    /// process need not refuse each other.
    pub(super) async fn turn(&self, lease: Uuid) -> impl Send + '_ {
        let turns = self.appends.0.len().max(1);
        let own = usize::try_from(lease.as_u128() % turns as u128).unwrap_or(0);
        match self.appends.0.get(own) {
            Some(turn) => Some(turn.lock().await),
            None => None,
        }
    }
}

impl<F> Leases<F> {
    fn keep(&mut self, lease: Uuid, facts: F) {
        if self.facts.insert(lease, facts).is_none() {
            self.oldest_first.push_back(lease);
        }
        while self.oldest_first.len() > CAPACITY {
            if let Some(oldest) = self.oldest_first.pop_front() {
                self.facts.remove(&oldest);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is one insert or one removal: a panic elsewhere leaves nothing half-done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One lock for each of many leases; leases that share one wait for each other, which costs time and
/// nothing else.
#[derive(Debug)]
struct Turns(Vec<futures_util::lock::Mutex<()>>);

impl Default for Turns {
    fn default() -> Self {
        const LOCKS: usize = 1024;
        Self((0..LOCKS).map(|_| futures_util::lock::Mutex::default()).collect())
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

    #[test]
    fn a_stream_that_began_is_remembered_by_lease() {
        let memo = Memo::default();
        memo.keep_stream(Uuid::nil());
        assert!(memo.has_stream(Uuid::nil()) && !memo.has_stream(Uuid::max()));
    }

    #[test]
    fn one_lease_has_one_turn_at_a_time() {
        use futures_util::FutureExt as _;
        let memo = Memo::default();
        let turn = memo.turn(Uuid::from_u128(7)).now_or_never();
        assert!(turn.is_some() && memo.turn(Uuid::from_u128(7)).now_or_never().is_none());
        assert!(memo.turn(Uuid::from_u128(8)).now_or_never().is_some());
        drop(turn);
        assert!(memo.turn(Uuid::from_u128(7)).now_or_never().is_some());
    }
}
