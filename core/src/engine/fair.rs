//! Claims of lanes with fairness keys: which of the listed executions come next, by the turns of
//! the lane.
//!
//! A claim reads the best executions of each key together with the turns, and chooses. It stores
//! the turns that follow, guarded by what it read, and only then takes what it chose. What it could
//! not take gives its turn back. Where all that waits is of one key, there is nothing to share, and
//! the turns stay as they are.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use super::{Executor, run};
use crate::model::error::EngineError;
use crate::model::ids::LaneId;
use crate::rules::execution::claim::Claim;
use crate::rules::execution::reserve::{Candidate, Candidates};
use crate::rules::fairness::lane::{FairLane, ListByTurns, ReadFairLane, SaveTurns};
use crate::rules::fairness::turns::{Round, Waiting};

/// The most executions that one claim lists.
const ROWS: u32 = 10_000;

/// The executions of each key that a claim lists for each one that it would get of keys of one
/// weight.
const AHEAD: usize = 4;

/// The most tries to give turns back. Other claims may change the turns at the same time.
const TRIES: usize = 8;

/// The most lanes to remember. If there are more, all are forgotten.
const CAPACITY: usize = 1_024;

/// The number of keys that waited in each lane when a claim of this process last looked.
#[derive(Debug, Default)]
pub(super) struct KeysOfLanes(Mutex<HashMap<LaneId, usize>>);

impl KeysOfLanes {
    /// The executions of each key that a claim of so many should list: few where there are many.
    fn of_each(&self, lane: &LaneId, limit: u32) -> u32 {
        // What is remembered only says how many to list, so half a change does no harm.
        let lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = lanes.get(lane).copied().unwrap_or(1).max(1);
        let each = (limit as usize).saturating_mul(AHEAD).div_ceil(keys);
        u32::try_from(each).unwrap_or(u32::MAX).clamp(1, limit)
    }

    fn note(&self, lane: &LaneId, keys: usize) {
        let mut lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if CAPACITY <= lanes.len() && !lanes.contains_key(lane) {
            lanes.clear();
        }
        lanes.insert(lane.clone(), keys);
    }
}

/// The turns that a claim takes.
pub(super) struct Turned {
    lane: LaneId,
    read: FairLane,
    round: Round,
    /// The starts of each key that were counted, and did not happen yet.
    counted: BTreeMap<String, usize>,
}

/// Lists the executions of a lane that come next by turns, of those that are open, and the turns.
/// Without turns where all that waits is of one key.
pub(super) async fn list_by_turns<E: Executor + ?Sized>(
    executor: &E,
    claim: Claim,
    is_open: impl Fn(&Candidate) -> bool,
) -> Result<(Vec<Candidate>, Option<Turned>), EngineError> {
    let (lane, limit) = (claim.terms().lane().clone(), claim.limit());
    let keys_of_lanes = &executor.process_state().keys_of_lanes;
    let of_each = keys_of_lanes.of_each(&lane, limit);
    let candidates = Candidates::of_each(claim, of_each, ROWS);
    let list = ListByTurns { candidates, lane: lane.clone() };
    let (candidates, read) = run(executor, &list).await?;

    let is_cut = ROWS as usize <= candidates.len();
    let mut by_key: BTreeMap<String, VecDeque<Candidate>> = BTreeMap::new();
    for candidate in candidates.into_iter().filter(is_open) {
        by_key.entry(key_of(&candidate).to_owned()).or_default().push_back(candidate);
    }
    keys_of_lanes.note(&lane, by_key.len());
    if by_key.len() < 2 {
        let all = by_key.into_values().flatten();
        return Ok((all.take(limit as usize).collect(), None));
    }

    let waiting = |(key, listed): (&String, &VecDeque<Candidate>)| {
        let (listed, weight) = (listed.len(), read.weight(key));
        let has_more = is_cut || of_each as usize <= listed;
        (key.clone(), Waiting { listed, has_more, weight })
    };
    let round = Round::new(&read.turns, &by_key.iter().map(waiting).collect());
    let next = round.clone().take(limit as usize);
    let chosen = next.filter_map(|key| by_key.get_mut(&key)?.pop_front()).collect();
    Ok((chosen, Some(Turned { lane, read, round, counted: BTreeMap::new() })))
}

fn key_of(candidate: &Candidate) -> &str {
    candidate.fairness_key.as_deref().unwrap_or_default()
}

impl Turned {
    /// Counts the start of an execution that is to be taken.
    pub(super) fn start(&mut self, candidate: &Candidate) {
        let key = key_of(candidate);
        self.round.start(key);
        *self.counted.entry(key.to_owned()).or_default() += 1;
    }

    /// Notes that an execution with that key has started.
    pub(super) fn started(&mut self, key: &str) {
        if let Some(counted) = self.counted.get_mut(key) {
            *counted = counted.saturating_sub(1);
        }
    }

    /// Stores the turns that follow. False where another claim changed them meanwhile.
    pub(super) async fn store<E: Executor + ?Sized>(
        &self,
        executor: &E,
    ) -> Result<bool, EngineError> {
        if self.counted.is_empty() {
            return Ok(true);
        }
        let (lane, read) = (self.lane.clone(), self.read.clone());
        run(executor, &SaveTurns { lane, read, turns: self.round.clone().end() }).await
    }

    /// Gives back the turns of those that did not start. Where other claims change the turns all
    /// the time, these are lost: the keys are then behind by so many starts, once.
    pub(super) async fn give_back_the_rest<E: Executor + ?Sized>(
        mut self,
        executor: &E,
    ) -> Result<(), EngineError> {
        self.counted.retain(|_, counted| 0 < *counted);
        if self.counted.is_empty() {
            return Ok(());
        }
        for _ in 0..TRIES {
            let read = run(executor, &ReadFairLane(self.lane.clone())).await?;
            let mut turns = read.turns.clone();
            for (key, counted) in &self.counted {
                turns.take_back(key, *counted);
            }
            let save = SaveTurns { lane: self.lane.clone(), read, turns };
            if run(executor, &save).await? {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_keys_few_executions_each_are_listed() {
        let (lanes, lane) = (KeysOfLanes::default(), LaneId::new("a"));
        assert_eq!(lanes.of_each(&lane, 100), 100);
        for (keys, of_each) in [(0, 100), (2, 100), (10, 40), (1_000, 1)] {
            lanes.note(&lane, keys);
            assert_eq!(lanes.of_each(&lane, 100), of_each, "{keys}");
        }
    }
}
