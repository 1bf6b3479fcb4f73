//! Claims that wait for their turn to reserve, and are then made together.
//!
//! Such a claim takes several round trips, and only one of a process chooses at a time. So those
//! that wait and search the same executions are made as one: the best executions go to the first
//! of them. Each caller drives the common work, so it goes on where some stop waiting.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures_util::FutureExt as _;
use futures_util::future::{Shared, WeakShared};

use super::Executor;
use super::lock::lock;
use super::reserving::claim_reserving;
use crate::contracts::CLAIM_MAX;
use crate::model::error::EngineError;
use crate::model::handle::Handle;
use crate::rules::budget::room::Room;
use crate::rules::execution::claim::{Claim, Searched};

/// The work of a group, driven by its callers.
type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The answer to one caller, once there is one.
type Slot = Arc<Mutex<Option<Result<Vec<Handle>, EngineError>>>>;

/// The most searches to remember a group of. If there are more, all are forgotten.
const CAPACITY: usize = 1_024;

/// The last group of claims of each search, which may still wait for its turn.
#[derive(Default)]
pub(super) struct Combined(Mutex<HashMap<Searched, Arc<Mutex<Group>>>>);

impl fmt::Debug for Combined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Combined").finish_non_exhaustive()
    }
}

/// Claims that are made together.
#[derive(Default)]
struct Group {
    callers: Vec<Caller>,
    /// The executions that they ask for.
    asked: u32,
    /// The latest room that is known.
    room: Room,
    /// `None` once it has had its turn.
    work: Option<WeakShared<Work>>,
}

/// A claim that is made together with others.
struct Caller {
    claim: Claim,
    handles: Vec<Handle>,
    error: Option<EngineError>,
    slot: Slot,
}

/// The claims that are made together, in the order in which they came.
pub(super) struct Callers(Vec<Caller>);

/// Claims with others that wait for their turn, too.
pub(super) async fn claim_together(
    executor: &dyn Executor,
    claim: &Claim,
    room: &Room,
) -> Result<Vec<Handle>, EngineError> {
    loop {
        let slot = Slot::default();
        let caller = Caller {
            claim: claim.clone(),
            handles: Vec::new(),
            error: None,
            slot: Arc::clone(&slot),
        };
        executor.process_state().combined.join(executor, caller, room).await;

        // Without an answer, another caller got the error.
        if let Some(answer) = lock(&slot).take() {
            return answer;
        }
    }
}

impl Combined {
    /// The work that answers the caller, and maybe others.
    fn join(&self, executor: &dyn Executor, caller: Caller, room: &Room) -> Shared<Work> {
        let (searched, limit) = (caller.claim.searched(), caller.claim.limit());
        let mut groups = lock(&self.0);
        if let Some(group) = groups.get(&searched) {
            let mut group = lock(group);
            let has_place = group.asked.saturating_add(limit) <= CLAIM_MAX;
            let work = group.work.as_ref().filter(|_| has_place).and_then(WeakShared::upgrade);
            if let Some(work) = work {
                group.callers.push(caller);
                group.asked += limit;
                group.room = room.clone();
                return work;
            }
        }

        if CAPACITY <= groups.len() {
            groups.clear();
        }
        let group = Arc::<Mutex<Group>>::default();
        let work: Work = Box::pin(work(executor.share(), Arc::clone(&group)));
        let work = work.shared();
        let (callers, room) = (vec![caller], room.clone());
        *lock(&group) = Group { callers, asked: limit, room, work: work.downgrade() };
        groups.insert(searched, group);
        work
    }
}

/// Makes the claims of a group, once it has its turn.
async fn work(executor: Arc<dyn Executor>, group: Arc<Mutex<Group>>) {
    let turn = executor.process_state().wait_to_reserve().await;
    let Group { callers, room, .. } = std::mem::take(&mut *lock(&group));
    // What a caller that has stopped waiting would get reaches no worker.
    let waiting = |caller: &Caller| 1 < Arc::strong_count(&caller.slot);
    let mut callers = Callers(callers.into_iter().filter(waiting).collect());
    if let Err(error) = claim_reserving(executor.as_ref(), &mut callers, room, turn).await {
        callers.fail(error);
    }
    callers.answer();
}

impl Callers {
    /// The claim of everything that they still lack; `None` where they lack nothing.
    pub(super) fn rest(&self) -> Option<Claim> {
        let Caller { claim, .. } = self.0.iter().find(|caller| 0 < caller.lacks())?;
        let lacking = self.0.iter().map(Caller::lacks).sum::<u32>();
        Some(claim.rest(0)?.up_to(lacking))
    }

    /// The callers that the next executions go to, each as often as it lacks some.
    pub(super) fn next(&self) -> impl Iterator<Item = usize> {
        let lacking = self.0.iter().enumerate();
        lacking.flat_map(|(caller, of)| std::iter::repeat_n(caller, of.lacks() as usize))
    }

    /// That claim, on the terms of that caller.
    pub(super) fn on_terms_of(&self, caller: usize, claim: &Claim) -> Claim {
        let of = self.0.get(caller).map(|caller| caller.claim.terms().clone());
        of.map_or_else(|| claim.clone(), |terms| claim.clone().on_terms(terms))
    }

    /// Hands an execution to a caller.
    pub(super) fn give(&mut self, caller: usize, handle: Handle) {
        if let Some(caller) = self.0.get_mut(caller) {
            caller.handles.push(handle);
        }
    }

    /// Ends with an error. A caller that has executions already gets those; of the others the
    /// first gets the error, and each that follows claims again.
    fn fail(&mut self, error: EngineError) {
        if let Some(first) = self.0.iter_mut().find(|caller| caller.handles.is_empty()) {
            first.error = Some(error);
        }
        self.0.retain(|caller| !caller.handles.is_empty() || caller.error.is_some());
    }

    fn answer(self) {
        for Caller { handles, error, slot, .. } in self.0 {
            *lock(&slot) = Some(error.map_or(Ok(handles), Err));
        }
    }
}

impl Caller {
    fn lacks(&self) -> u32 {
        let has = u32::try_from(self.handles.len()).unwrap_or(u32::MAX);
        self.claim.limit().saturating_sub(has)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contracts::{CapabilitySet, ClaimPolicy};
    use crate::model::error::ContentionKind;
    use crate::model::handle::{BackendTag, HandleKind, HandleOpaque};
    use crate::model::ids::{LaneId, WorkerId, WorkerInstanceId};

    fn callers<const N: usize>(limits: [u32; N]) -> (Callers, [Slot; N]) {
        let slots = limits.map(|_| Slot::default());
        let caller = |(limit, slot): (u32, &Slot)| {
            let (worker, instance) = (WorkerId::new("w"), WorkerInstanceId::new("w-1"));
            let policy = ClaimPolicy::new(worker, instance, 5_000, None);
            let (lane, none) = (LaneId::new("a"), CapabilitySet::default());
            let claim = Claim::new(BackendTag::Memory, &lane, &none, policy, limit).unwrap();
            Caller { claim, handles: Vec::new(), error: None, slot: Arc::clone(slot) }
        };
        (Callers(limits.into_iter().zip(&slots).map(caller).collect()), slots)
    }

    fn handle() -> Handle {
        let opaque = HandleOpaque::new(Vec::new().into_boxed_slice());
        Handle::new(BackendTag::Memory, HandleKind::Fresh, opaque)
    }

    fn answers<const N: usize>(slots: &[Slot; N]) -> [Option<Result<usize, EngineError>>; N] {
        let answer = |slot: &Slot| lock(slot).take().map(|answer| answer.map(|all| all.len()));
        slots.each_ref().map(answer)
    }

    #[test]
    fn the_best_go_to_those_who_came_first_each_as_many_as_it_asked_for() {
        let (mut callers, slots) = callers([2, 1]);
        assert_eq!(callers.rest().map(|claim| claim.limit()), Some(3));
        assert_eq!(callers.next().collect::<Vec<_>>(), [0, 0, 1]);
        callers.give(0, handle());
        assert_eq!(callers.rest().map(|claim| claim.limit()), Some(2));
        assert_eq!(callers.next().collect::<Vec<_>>(), [0, 1]);
        callers.give(0, handle());
        callers.give(1, handle());
        assert!(callers.rest().is_none());
        callers.answer();
        assert_eq!(answers(&slots).map(|answer| answer.and_then(Result::ok)), [Some(2), Some(1)]);
    }

    #[test]
    fn what_is_claimed_reaches_its_caller_an_error_one_and_the_others_claim_again() {
        let (mut callers, slots) = callers([1, 1, 1]);
        callers.give(0, handle());
        callers.fail(EngineError::Contention(ContentionKind::RetryExhausted));
        callers.answer();
        let [first, second, third] = answers(&slots);
        assert!(matches!((first, second), (Some(Ok(1)), Some(Err(EngineError::Contention(_))))));
        assert!(third.is_none());
    }
}
