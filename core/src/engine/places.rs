//! The places that claims of this process search on from, where a database keeps entries of rows
//! that have left an index.
//!
//! Postgres keeps such an entry until it vacuums the index, and cannot do that while an old
//! snapshot is open. A claim passes over an entry for each execution that was claimed before, so it
//! costs the more the longer a lane is worked on. So a process that has claimed many executions of
//! a lane lets its claims search on from the last one. Rows may appear before that place: with a
//! higher priority, or because another process commits late. So from time to time one claim
//! searches from the head of the lane, and so does each claim that finds less than it asks for: no
//! execution is overlooked, and none is passed over for longer than that time.

use std::collections::HashMap;
use std::mem;
use std::sync::Mutex;

use super::executor::Executor;
use super::lock::lock;
use super::run::run;
use crate::model::error::EngineError;
use crate::model::handle::Handle;
use crate::rules::execution::claim::{Claim, Claimed, Place, Searched};
use crate::rules::execution::waiting::SomeWait;

/// The number of executions that a process claims from the head of a lane before it searches on:
/// passing over so few costs little, and until then the order is exact.
const EXACT: usize = 5_000;

/// The time of a search from the head that shows that there is much to pass over, whatever this
/// process has claimed, ms.
const SLOW_MS: i64 = 20;

/// The shortest time between two searches from the head, ms.
const PAUSE_MS: i64 = 50;

/// The share of the time that searches from the head may take: one part of this many.
const SHARE: i64 = 10;

/// The longest time between two searches from the head, ms, also if the clock is set back.
const LONGEST_MS: i64 = 10_000;

/// The most lanes to remember. If there are more, all are forgotten.
const CAPACITY: usize = 1_024;

/// The places that claims search on from.
#[derive(Debug, Default)]
pub(super) struct Places {
    lanes: Mutex<HashMap<Searched, Known>>,
}

/// A lane, as one worker's capabilities see it.
#[derive(Debug, Default)]
struct Known {
    claimed: usize,
    last: Option<Place>,
    /// The time from which on a claim searches from the head, Unix ms.
    head_due_ms: i64,
    /// True if the last claim found nothing.
    offers_look: bool,
}

impl Known {
    fn is_head_due(&self, now_ms: i64) -> bool {
        !(now_ms..=now_ms.saturating_add(LONGEST_MS)).contains(&self.head_due_ms)
    }
}

impl Places {
    /// Claims executions that wait for a worker, best first. Where the last claim found nothing, it
    /// looks first whether any wait, at half the cost.
    async fn claim(
        &self,
        executor: &dyn Executor,
        claim: &Claim,
    ) -> Result<Vec<Handle>, EngineError> {
        let searched = claim.searched();
        let look = SomeWait::of(claim).filter(|_| self.takes_look(&searched));
        if let Some(look) = &look
            && !run(executor, look).await?
        {
            self.offer_look(&searched);
            return Ok(Vec::new());
        }

        let handles = self.search(executor, claim, &searched).await?;
        // What waits may be locked, or its lane closed: a look is of no use then.
        if handles.is_empty() && look.is_none() {
            self.offer_look(&searched);
        }
        Ok(handles)
    }

    /// Claims them from the last place, and from the head of the lane what it then lacks.
    async fn search(
        &self,
        executor: &dyn Executor,
        claim: &Claim,
        searched: &Searched,
    ) -> Result<Vec<Handle>, EngineError> {
        let search = async |from: Option<Place>, claim: &Claim| {
            let began = executor.now();
            let claimed = run(executor, claim).await?;
            self.found(searched, from, &claimed, [began.0, executor.now().0]);
            Ok::<_, EngineError>(claimed.handles)
        };

        let Some(place) = self.next(searched, executor.now().0) else {
            return search(None, claim).await;
        };
        let mut handles = search(Some(place), &claim.clone().from(place)).await?;
        if let Some(rest) = claim.rest(handles.len()) {
            let more = search(None, &rest).await;
            take(&mut handles, more)?;
        }
        Ok(handles)
    }

    /// True if this claim is to look first. The others of this moment claim, and share a statement.
    fn takes_look(&self, searched: &Searched) -> bool {
        let mut lanes = lock(&self.lanes);
        lanes.get_mut(searched).is_some_and(|known| mem::take(&mut known.offers_look))
    }

    /// Lets the next claim of this search look first.
    fn offer_look(&self, searched: &Searched) {
        if let Some(known) = lock(&self.lanes).get_mut(searched) {
            known.offers_look = true;
        }
    }

    /// The place that the next claim searches on from; `None` for the head of the lane.
    fn next(&self, searched: &Searched, now_ms: i64) -> Option<Place> {
        let mut lanes = lock(&self.lanes);
        let known = lanes.get_mut(searched)?;
        let place = known.last.filter(|_| EXACT <= known.claimed)?;
        if known.is_head_due(now_ms) {
            // Claims that begin meanwhile search on.
            known.head_due_ms = now_ms + PAUSE_MS;
            return None;
        }
        Some(place)
    }

    /// Remembers what a claim found that began and ended at these times, Unix ms.
    fn found(
        &self,
        searched: &Searched,
        from: Option<Place>,
        claimed: &Claimed,
        [began_ms, now_ms]: [i64; 2],
    ) {
        let mut lanes = lock(&self.lanes);
        let full = CAPACITY <= lanes.len();
        let known = match lanes.get_mut(searched) {
            Some(known) => known,
            None => {
                if full {
                    lanes.clear();
                }
                lanes.entry(searched.clone()).or_default()
            }
        };

        known.claimed = known.claimed.saturating_add(claimed.handles.len());
        // Where nothing is left behind a place, the next claim begins at the head.
        known.last = claimed.last.or(known.last.filter(|_| from.is_none()));
        if from.is_none() {
            let taken_ms = now_ms.saturating_sub(began_ms);
            if SLOW_MS <= taken_ms {
                known.claimed = known.claimed.max(EXACT);
            }
            let pause = taken_ms.saturating_mul(SHARE);
            known.head_due_ms = now_ms.saturating_add(pause.clamp(PAUSE_MS, LONGEST_MS));
        }
    }
}

/// Claims up to as many executions as the claim asks for: those that wait for a worker, best first,
/// then those that are due.
pub(super) async fn claim_up_to(
    executor: &dyn Executor,
    claim: &Claim,
) -> Result<Vec<Handle>, EngineError> {
    match &executor.process_state().places {
        Some(places) => places.claim(executor, claim).await,
        None => Ok(run(executor, claim).await?.handles),
    }
}

/// Adds what a further search has claimed. Its error counts only if there is nothing yet: what is
/// claimed already must reach the worker.
pub(super) fn take(
    handles: &mut Vec<Handle>,
    more: Result<Vec<Handle>, EngineError>,
) -> Result<(), EngineError> {
    match more {
        Ok(more) => handles.extend(more),
        Err(error) if handles.is_empty() => return Err(error),
        Err(_) => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contracts::CapabilitySet;
    use crate::engine::ProcessState;
    use crate::model::handle::{BackendTag, HandleKind, HandleOpaque};
    use crate::model::ids::LaneId;

    fn lane(name: &str) -> Searched {
        Searched::new(&LaneId::new(name), &CapabilitySet::default())
    }

    fn place(since: i64) -> Place {
        Place::of(0, since)
    }

    /// A claim of that many, the last of them claimable since then.
    fn claimed(count: usize, since: i64) -> Claimed {
        Claimed { handles: handles(count), last: Some(place(since)) }
    }

    fn handles(count: usize) -> Vec<Handle> {
        let opaque = HandleOpaque::new(Vec::new().into_boxed_slice());
        vec![Handle::new(BackendTag::Postgres, HandleKind::Fresh, opaque); count]
    }

    #[test]
    fn a_process_searches_on_once_it_has_claimed_many() {
        let places = Places::default();
        places.found(&lane("a"), None, &claimed(EXACT - 1, 640), [0, 1]);
        assert_eq!(places.next(&lane("a"), 2), None);
        places.found(&lane("a"), None, &claimed(1, 640), [2, 3]);
        assert_eq!(places.next(&lane("a"), 4), Some(place(640)));
        assert_eq!(places.next(&lane("b"), 4), None);
    }

    #[test]
    fn a_process_searches_on_at_once_where_the_search_from_the_head_is_slow() {
        let places = Places::default();
        places.found(&lane("a"), None, &claimed(1, 640), [0, SLOW_MS]);
        assert_eq!(places.next(&lane("a"), SLOW_MS + 1), Some(place(640)));
        places.found(&lane("b"), None, &claimed(1, 640), [0, SLOW_MS - 1]);
        assert_eq!(places.next(&lane("b"), SLOW_MS), None);
    }

    #[test]
    fn one_claim_in_a_while_searches_from_the_head() {
        let places = Places::default();
        places.found(&lane("a"), None, &claimed(EXACT, 640), [0, 7]);
        assert_eq!(places.next(&lane("a"), 76), Some(place(640)));
        // Seven milliseconds are a tenth of seventy.
        assert_eq!(places.next(&lane("a"), 78), None);
        assert_eq!(places.next(&lane("a"), 78), Some(place(640)), "the others search on meanwhile");
        // The clock was set back.
        assert_eq!(places.next(&lane("a"), -20_000), None);
    }

    #[test]
    fn a_place_with_nothing_behind_it_is_forgotten() {
        let places = Places::default();
        places.found(&lane("a"), None, &claimed(EXACT, 640), [0, 1]);
        let nothing = Claimed { handles: Vec::new(), last: None };
        places.found(&lane("a"), Some(place(640)), &nothing, [2, 3]);
        assert_eq!(places.next(&lane("a"), 4), None);
    }

    #[test]
    fn one_claim_looks_first_after_one_that_found_nothing() {
        let places = Places::default();
        places.offer_look(&lane("a"));
        assert!(!places.takes_look(&lane("a")), "nothing is known of this lane");

        places.found(&lane("a"), None, &Claimed { handles: Vec::new(), last: None }, [0, 1]);
        places.offer_look(&lane("a"));
        assert!(!places.takes_look(&lane("b")));
        assert!(places.takes_look(&lane("a")));
        assert!(!places.takes_look(&lane("a")), "the others claim meanwhile");
    }

    #[test]
    fn where_entries_go_with_their_rows_every_claim_searches_from_the_head() {
        assert!(ProcessState::default().places.is_none());
        assert!(ProcessState::over_kept_entries().places.is_some());
    }
}
