//! Turns: callers of one process that work on the same row go one after the other.
//!
//! A turn belongs to a key and goes to the caller that has waited longest. It never replaces a
//! guard: with or without a turn, the database refuses a plan after another process has broken its
//! guard. Runs on every runtime and knows no clock.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex};

use futures_channel::oneshot;

use super::lock::lock;

/// The waiting callers, by key. A key is present exactly while a caller has its turn.
type Queues<K> = HashMap<K, VecDeque<oneshot::Sender<Turn<K>>>>;

/// The turns of one process.
#[derive(Debug)]
pub(super) struct Turns<K: Clone + Eq + Hash> {
    queues: Arc<Mutex<Queues<K>>>,
}

/// The right to go on. Dropping it hands it to the next caller.
#[derive(Debug)]
pub(super) struct Turn<K: Clone + Eq + Hash> {
    key: K,
    // Invariant: present until the turn is handed on.
    queues: Option<Arc<Mutex<Queues<K>>>>,
}

/// The outcome of waiting for a turn.
#[derive(Debug)]
pub(super) struct Acquired<K: Clone + Eq + Hash> {
    /// The turn.
    pub(super) turn: Turn<K>,
    /// True if another caller had the turn first, so that rows read before may have changed.
    pub(super) waited: bool,
}

impl<K: Clone + Eq + Hash> Default for Turns<K> {
    fn default() -> Self {
        Self { queues: Arc::default() }
    }
}

impl<K: Clone + Eq + Hash> Turns<K> {
    /// Waits for the turn of that key. A caller that stops waiting loses its place.
    pub(super) async fn take(&self, key: K) -> Acquired<K> {
        loop {
            let Some(handed) = self.enqueue(&key) else {
                return Acquired { turn: self.turn(key), waited: false };
            };

            if let Ok(turn) = handed.await {
                return Acquired { turn, waited: true };
            }
            // The sender is dropped only together with the queue, so begin again.
        }
    }

    /// A place in the queue of that key; `None` if the turn was free and is now taken.
    fn enqueue(&self, key: &K) -> Option<oneshot::Receiver<Turn<K>>> {
        match lock(&self.queues).entry(key.clone()) {
            Entry::Vacant(free) => {
                free.insert(VecDeque::new());
                None
            }
            Entry::Occupied(mut taken) => {
                let (hand, handed) = oneshot::channel();
                taken.get_mut().push_back(hand);
                Some(handed)
            }
        }
    }

    fn turn(&self, key: K) -> Turn<K> {
        Turn { key, queues: Some(Arc::clone(&self.queues)) }
    }
}

impl<K: Clone + Eq + Hash> Drop for Turn<K> {
    fn drop(&mut self) {
        let Some(queues) = self.queues.take() else { return };

        loop {
            let next = {
                let mut queues = lock(&queues);
                let next = queues.get_mut(&self.key).and_then(VecDeque::pop_front);
                if next.is_none() {
                    queues.remove(&self.key);
                }
                next
            };

            let Some(next) = next else { return };
            let turn = Turn { key: self.key.clone(), queues: Some(Arc::clone(&queues)) };
            match next.send(turn) {
                // A caller that is dropped before it polls drops the turn, which hands it on.
                Ok(()) => return,
                Err(mut turn) => drop(turn.queues.take()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt as _;
    use futures_util::task::noop_waker_ref;

    use super::*;

    #[test]
    fn one_key_has_one_turn_at_a_time() {
        let turns = Turns::default();
        let first = turns.take(7).now_or_never().unwrap();
        assert!(!first.waited);
        assert!(turns.take(7).now_or_never().is_none());
        assert!(turns.take(8).now_or_never().is_some());
        drop(first);
        assert!(!turns.take(7).now_or_never().unwrap().waited);
        assert!(lock(&turns.queues).is_empty(), "nothing is kept of turns that are over");
    }

    #[test]
    fn the_longest_waiting_is_next_and_a_dropped_call_is_skipped() {
        let turns = Turns::default();
        let mut context = std::task::Context::from_waker(noop_waker_ref());
        let first = turns.take("k").now_or_never().unwrap();
        let mut second = pin!(turns.take("k"));
        let mut gone = Box::pin(turns.take("k"));
        let mut third = pin!(turns.take("k"));
        assert!(second.poll_unpin(&mut context).is_pending());
        assert!(gone.poll_unpin(&mut context).is_pending());
        assert!(third.poll_unpin(&mut context).is_pending());

        drop(first);
        assert!(third.poll_unpin(&mut context).is_pending());
        let second = second.now_or_never().unwrap();
        assert!(second.waited);
        drop(gone);
        drop(second);
        assert!(third.now_or_never().unwrap().waited);
        assert!(lock(&turns.queues).is_empty());
    }

    #[test]
    fn a_turn_handed_to_a_dropped_call_is_handed_on() {
        let turns = Turns::default();
        let mut context = std::task::Context::from_waker(noop_waker_ref());
        let first = turns.take(1).now_or_never().unwrap();
        let mut gone = Box::pin(turns.take(1));
        let mut next = pin!(turns.take(1));
        assert!(gone.poll_unpin(&mut context).is_pending());
        assert!(next.poll_unpin(&mut context).is_pending());
        drop(first);
        drop(gone);
        assert!(next.now_or_never().is_some());
    }
}
