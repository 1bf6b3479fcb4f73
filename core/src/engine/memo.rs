//! The memory of claims that a backend has handed out, and the turns of its callers.
//!
//! It saves a worker that reports a failure from waiting for its execution's retry policy to be
//! read back. The memo is an expectation, never a source: a plan decided on it carries the same
//! fence as any other, and a fence that still holds means that neither policy nor count has changed
//! since the claim. Facts that were evicted, or of a claim through another process, are read.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use super::turns::{Taken, Turn, Turns};
use crate::plan::{Expr, Plan};
use crate::rules::execution::claim::RetryFacts;
use crate::schema::execution::exec_core;
use crate::schema::{ColumnRef, TableRef};

/// The number of leases that are remembered; the oldest are evicted first.
const CAPACITY: usize = 65_536;

/// A row that callers change, by its key.
pub(super) type Contended = (TableRef, Vec<(ColumnRef, Expr)>);

/// The remembered facts, by lease; and the turns of callers.
#[derive(Debug, Default)]
pub struct Memo {
    retries: Mutex<Leases<RetryFacts>>,
    streams: Mutex<Leases<()>>,
    appends: Turns<Uuid>,
    changes: Turns<Contended>,
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

    /// The facts claimed under a lease, if they are remembered.
    #[must_use]
    pub fn recall(&self, lease: Uuid) -> Option<RetryFacts> {
        lock(&self.retries).facts.get(&lease).cloned()
    }

    /// Remembers that a frame was appended under a lease.
    pub(super) fn keep_stream(&self, lease: Uuid) {
        lock(&self.streams).keep(lease, ());
    }

    /// True if a frame was appended under a lease, as far as is remembered.
    pub(super) fn has_stream(&self, lease: Uuid) -> bool {
        lock(&self.streams).facts.contains_key(&lease)
    }

    /// Waits for the turn of a lease among its appends of this process, so that appends decided on
    /// what they read do not conflict.
    pub(super) async fn turn(&self, lease: Uuid) -> Turn<Uuid> {
        self.appends.take(lease).await.turn
    }

    /// Waits for the turn among callers with plans that rely on one row: the execution if the plan
    /// guards one, else the first row that it guards. `None` for a plan that guards nothing.
    pub(super) async fn turn_of_plan(&self, plan: &Plan) -> Option<Taken<Contended>> {
        let execution = plan.guards.iter().find(|guard| guard.table == exec_core::REF);
        let guard = execution.or(plan.guards.first())?;
        Some(self.changes.take((guard.table, guard.key.clone())).await)
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
    // Each change is one insert or one removal, so a panic elsewhere leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn plans_about_one_execution_take_turns_whatever_else_they_guard() {
        use futures_util::FutureExt as _;

        use crate::plan::Predicate::Always;
        use crate::schema::flow::edge_group;
        let memo = Memo::default();
        let execution = |uuid| vec![exec_core::execution_id.at(Uuid::from_u128(uuid))];
        let group = vec![edge_group::downstream_eid.at(Uuid::nil())];
        let of = |uuid| Plan::new("one").guard("core", exec_core::REF, execution(uuid), Always);
        let grouped = Plan::new("two").guard("group", edge_group::REF, group, Always).guard(
            "core",
            exec_core::REF,
            execution(7),
            Always,
        );
        let turn = memo.turn_of_plan(&of(7)).now_or_never();
        assert!(turn.is_some() && memo.turn_of_plan(&grouped).now_or_never().is_none());
        assert!(memo.turn_of_plan(&of(8)).now_or_never().is_some());
        drop(turn);
        assert!(memo.turn_of_plan(&grouped).now_or_never().is_some());
    }
}
