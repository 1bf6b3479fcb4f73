//! Claims of executions with budgets or keys: they offer room in those that have it.
//!
//! Most databases have no such executions, and their claims must cost nothing more. So a process
//! claims as if there were none until it has seen some. It looks for them where a claim comes back
//! short, and from time to time. That is safe: a claim that offers no room takes no execution with
//! a budget. A process knows at once of those that it has submitted itself.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use super::combined::claim_together;
use super::lock::lock;
use super::places::{claim_up_to, take};
use super::remembered::is_fresh;
use super::reserving::some_fits;
use super::{Executor, run};
use crate::contracts::{CLAIM_MAX, CapabilitySet, ClaimPolicy};
use crate::model::error::EngineError;
use crate::model::handle::Handle;
use crate::model::ids::{LaneId, WorkerId, WorkerInstanceId};
use crate::model::policy::ExecutionPolicy;
use crate::plan::facts::Answer;
use crate::rules::budget::room::{OpenBudgets, Room, any_in_use};
use crate::rules::budget::token::{ESTIMATES, token};
use crate::rules::execution::claim::Claim;
use crate::rules::execution::listing;

/// What one process knows of the executions with budgets.
#[derive(Debug, Default)]
pub(super) struct Budgeted {
    exist: AtomicBool,
    /// The time at which there were none, Unix ms; 0 before the first claim.
    none_at_ms: AtomicI64,
    /// The room when there were keys and no budgets, and that time, Unix ms.
    only_keys: Mutex<Option<(Room, i64)>>,
}

impl Budgeted {
    /// Notes that an execution with that policy is submitted.
    pub(super) fn note(&self, policy: Option<&ExecutionPolicy>) {
        let needs_room = |policy: &ExecutionPolicy| {
            let has_keys = !policy.limit_keys.is_empty() || policy.fairness_key.is_some();
            has_keys || !policy.budget_ids.is_empty()
        };
        if policy.is_some_and(needs_room) {
            self.exist.store(true, Ordering::Release);
        }
        let is_new = |policy: &ExecutionPolicy| {
            !policy.budget_ids.is_empty() || policy.fairness_key.is_some()
        };
        if policy.is_some_and(is_new) {
            *lock(&self.only_keys) = None;
        }
    }

    /// The room that is remembered for a short time: none in budgets, where only keys are in use.
    /// That is safe as well.
    fn remembered(&self, now_ms: i64) -> Option<Room> {
        let only_keys = lock(&self.only_keys);
        let (room, at) = only_keys.as_ref()?;
        is_fresh(*at, now_ms).then(|| room.clone())
    }

    /// Remembers the room that was read, where it may be.
    fn remember(&self, room: &Room, now_ms: i64) {
        let only_keys = room.has_keys() && !room.has_estimates && room.tokens.is_empty();
        *lock(&self.only_keys) = only_keys.then(|| (room.clone(), now_ms));
    }

    fn exist(&self) -> bool {
        self.exist.load(Ordering::Acquire)
    }

    /// Returns true if it is time to look for some, now or with the claims that follow.
    fn is_due(&self, now_ms: i64, is_short: bool) -> bool {
        let before = self.none_at_ms.load(Ordering::Acquire);
        if is_fresh(before, now_ms) {
            return false;
        }

        // Claims that begin meanwhile do not look, too.
        self.none_at_ms.store(now_ms, Ordering::Release);
        is_short || before != 0
    }

    /// Looks for some, if it is time to.
    pub(super) async fn look<E: Executor + ?Sized>(
        &self,
        executor: &E,
        is_short: bool,
    ) -> Result<bool, EngineError> {
        if self.exist() || !self.is_due(executor.now().0, is_short) {
            return Ok(self.exist());
        }

        let answers = executor.read(vec![any_in_use()]).await?;
        let found = |answer: &Answer| matches!(answer, Answer::List(rows) if !rows.is_empty());
        if answers.iter().any(found) {
            self.exist.store(true, Ordering::Release);
        }
        Ok(self.exist())
    }
}

/// Claims up to as many executions as the claim asks for, with budgets or without.
pub(super) async fn claim_with_room<E: Executor + ?Sized>(
    executor: &E,
    claim: Claim,
) -> Result<Vec<Handle>, EngineError> {
    let budgeted = &executor.process_state().budgeted;
    if budgeted.exist() {
        return claim_within(executor, &claim).await;
    }

    let mut handles = claim_up_to(executor, &claim).await?;
    let rest = claim.rest(handles.len());
    let more = async {
        let exist = budgeted.look(executor, rest.is_some()).await?;
        let Some(rest) = rest.filter(|_| exist) else { return Ok(Vec::new()) };
        claim_within(executor, &rest).await
    };
    let more = more.await;
    take(&mut handles, more)?;
    Ok(handles)
}

/// The same, in the budgets that have room.
async fn claim_within<E: Executor + ?Sized>(
    executor: &E,
    claim: &Claim,
) -> Result<Vec<Handle>, EngineError> {
    let budgeted = &executor.process_state().budgeted;
    let Some(room) = budgeted.remembered(executor.now().0) else {
        let room = read_room(executor).await?;
        return claim_in(executor, claim, room).await;
    };

    let mut handles = claim_in(executor, claim, room.clone()).await?;
    let Some(rest) = claim.rest(handles.len()) else { return Ok(handles) };
    // Executions with budgets may be new.
    let more = async {
        let now = read_room(executor).await?;
        if now == room { Ok(Vec::new()) } else { claim_in(executor, &rest, now).await }
    };
    let more = more.await;
    take(&mut handles, more)?;
    Ok(handles)
}

/// The same, in that room.
async fn claim_in<E: Executor + ?Sized>(
    executor: &E,
    claim: &Claim,
    room: Room,
) -> Result<Vec<Handle>, EngineError> {
    if !room.is_plain(claim.terms().lane()) {
        claim_together(executor, claim, &room).await
    } else {
        claim_up_to(executor, &claim.clone().with_room(room.tokens)).await
    }
}

/// The room that there is now.
async fn read_room<E: Executor + ?Sized>(executor: &E) -> Result<Room, EngineError> {
    let room = run(executor, &OpenBudgets).await?;
    executor.process_state().budgeted.remember(&room, executor.now().0);
    Ok(room)
}

/// The room that there is; none where no execution has a budget.
async fn room<E: Executor + ?Sized>(executor: &E) -> Result<Room, EngineError> {
    let exist = executor.process_state().budgeted.look(executor, true).await?;
    if exist { read_room(executor).await } else { Ok(Room::default()) }
}

/// The room that schedulers and grants can offer: redeeming a grant reserves the estimate.
pub(super) async fn room_of_grants<E: Executor + ?Sized>(
    executor: &E,
) -> Result<Room, EngineError> {
    let mut room = room(executor).await?;
    room.tokens.extend(room.has_estimates.then(|| token(ESTIMATES)));
    Ok(room)
}

/// True if a lane holds a claimable execution that these capabilities suffice for, even if it is
/// locked or reserved at the moment. One with an estimate or keys of limits counts if it fits.
pub(super) async fn has_claimable<E: Executor + ?Sized>(
    executor: &E,
    lane: &LaneId,
    capabilities: &CapabilitySet,
) -> Result<bool, EngineError> {
    let room = room(executor).await?;
    let plain = listing::claimable_by(lane, capabilities, room.tokens.clone())?;
    let some_plain = run(executor, &plain).await?;
    if some_plain || room.is_plain(lane) {
        return Ok(some_plain);
    }

    // It only asks, so the worker plays no part.
    let policy = ClaimPolicy::new(WorkerId::new("-"), WorkerInstanceId::new("-"), 1, None);
    let tag = executor.backend_name().tag;
    let claim = Claim::new(tag, lane, capabilities, policy, CLAIM_MAX)?;
    some_fits(executor, &claim, room).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_looks_where_a_claim_is_short_and_from_time_to_time() {
        let (busy, idle) = (Budgeted::default(), Budgeted::default());
        assert!(!busy.is_due(1_000, false), "the first claim found what it asked for");
        assert!(idle.is_due(1_000, true));
        for process in [busy, idle] {
            assert!(!process.is_due(1_249, true));
            assert!(process.is_due(1_250, false));
            assert!(process.is_due(900, false), "the clock was set back");
        }
    }
}
