//! Claims of lanes with fairness keys: which of the listed executions come next, by the turns of
//! the lane.
//!
//! A claim reads the best executions of each key, and the turns unless it knows them, and chooses.
//! It stores the turns that follow, guarded by what it read, and only then takes what it chose. An
//! execution that it could not take gives its turn back. Where all that waits is of one key, there
//! is nothing to share, and the turns stay as they are.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Mutex;

use super::lock::lock;
use super::remembered::is_fresh;
use super::{Executor, run};
use crate::model::error::EngineError;
use crate::model::ids::{LaneId, TimestampMs};
use crate::rules::execution::candidates::{Candidate, Candidates};
use crate::rules::execution::claim::Claim;
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

/// What claims of one process know of lanes, from one to the next.
///
/// What is remembered of turns is proven by the version that guards them. The weights are read anew
/// after a short time, and at once where this process changes one.
#[derive(Debug, Default)]
pub(super) struct KnownLanes(Mutex<HashMap<LaneId, KnownLane>>);

#[derive(Debug, Default)]
struct KnownLane {
    /// The number of keys that waited when a claim last looked.
    keys: usize,
    /// The turns and weights, and the time at which the weights were read.
    fair: Option<(FairLane, TimestampMs)>,
}

impl KnownLanes {
    /// The executions of each key that a claim of so many should list: few where there are many.
    fn of_each(&self, lane: &LaneId, limit: u32) -> u32 {
        let keys = lock(&self.0).get(lane).map_or(1, |known| known.keys.max(1));
        let each = (limit as usize).saturating_mul(AHEAD).div_ceil(keys);
        u32::try_from(each).unwrap_or(u32::MAX).clamp(1, limit)
    }

    /// Takes what is known of the turns of a lane.
    fn take(&self, lane: &LaneId, now: TimestampMs) -> Option<(FairLane, TimestampMs)> {
        let fair = lock(&self.0).get_mut(lane)?.fair.take();
        fair.filter(|(_, read_at)| is_fresh(read_at.0, now.0))
    }

    fn put_back(&self, lane: &LaneId, fair: FairLane, read_at: TimestampMs) {
        self.change(lane, |known| known.fair = Some((fair, read_at)));
    }

    fn note_keys(&self, lane: &LaneId, keys: usize) {
        self.change(lane, |known| known.keys = keys);
    }

    /// Forgets the turns and weights of a lane: a weight was changed.
    pub(super) fn forget(&self, lane: &LaneId) {
        self.change(lane, |known| known.fair = None);
    }

    fn change(&self, lane: &LaneId, change: impl FnOnce(&mut KnownLane)) {
        let mut lanes = lock(&self.0);
        if CAPACITY <= lanes.len() && !lanes.contains_key(lane) {
            lanes.clear();
        }
        change(lanes.entry(lane.clone()).or_default());
    }
}

/// The turns that a claim takes.
pub(super) struct Turned {
    lane: LaneId,
    read: FairLane,
    /// The time at which the weights were read.
    read_at: TimestampMs,
    round: Round,
    /// The starts of each key that were counted, and did not happen yet.
    counted: BTreeMap<String, usize>,
}

/// Lists the executions of a lane that come next by turns, of those that are open, and the turns.
/// Without turns where all that waits is of one key. Of one key, so many are passed over at most.
pub(super) async fn list_by_turns(
    executor: &dyn Executor,
    claim: Claim,
    passed: usize,
    is_open: impl Fn(&Candidate) -> bool,
) -> Result<(Vec<Candidate>, Option<Turned>), EngineError> {
    let (lane, limit) = (claim.terms().lane().clone(), claim.limit());
    let lanes = &executor.process_state().lanes;
    let of_each = lanes.of_each(&lane, limit);
    let of_each = of_each.saturating_add(u32::try_from(passed).unwrap_or(u32::MAX));
    let candidates = Candidates::of_each(claim, of_each, ROWS);
    let (found, read, read_at) = match lanes.take(&lane, executor.now()) {
        Some((known, read_at)) => (run(executor, &candidates).await?, known, read_at),
        None => {
            let read_at = executor.now();
            let list = ListByTurns { candidates, lane: lane.clone() };
            let (found, read) = run(executor, &list).await?;
            (found, read, read_at)
        }
    };

    let candidates = found.candidates;
    let is_cut = ROWS as usize <= candidates.len();
    let mut by_key: BTreeMap<String, VecDeque<Candidate>> = BTreeMap::new();
    let mut listed: HashMap<String, usize> = HashMap::new();
    for candidate in candidates {
        *listed.entry(candidate.turn_key().to_owned()).or_default() += 1;
        if is_open(&candidate) {
            by_key.entry(candidate.turn_key().to_owned()).or_default().push_back(candidate);
        }
    }
    lanes.note_keys(&lane, by_key.len());
    if by_key.len() < 2 {
        lanes.put_back(&lane, read, read_at);
        let all = by_key.into_values().flatten();
        return Ok((all.take(limit as usize).collect(), None));
    }

    let waiting = |(key, open): (&String, &VecDeque<Candidate>)| {
        let has_more = is_cut || listed.get(key).is_some_and(|all| of_each as usize <= *all);
        (key.clone(), Waiting { listed: open.len(), has_more, weight: read.weight(key) })
    };
    let round = Round::new(&read.turns, &by_key.iter().map(waiting).collect());
    let next = round.clone().take(limit as usize);
    let chosen = next.filter_map(|key| by_key.get_mut(&key)?.pop_front()).collect();
    Ok((chosen, Some(Turned { lane, read, read_at, round, counted: BTreeMap::new() })))
}

impl Turned {
    /// Counts the start of an execution that is to be taken.
    pub(super) fn start(&mut self, candidate: &Candidate) {
        let key = candidate.turn_key();
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
    pub(super) async fn store(&mut self, executor: &dyn Executor) -> Result<bool, EngineError> {
        if self.counted.is_empty() {
            return Ok(true);
        }

        let turns = self.round.clone().end();
        let save = SaveTurns::new(self.lane.clone(), &self.read, turns.clone());
        let is_stored = run(executor, &save).await?;
        if is_stored {
            let after = std::mem::take(&mut self.read).after(turns);
            executor.process_state().lanes.put_back(&self.lane, after, self.read_at);
        }
        Ok(is_stored)
    }

    /// Gives back the turns of those that did not start. Where other claims change the turns all
    /// the time, these are lost: the keys are then behind by so many starts, once.
    pub(super) async fn give_back_the_rest(
        mut self,
        executor: &dyn Executor,
    ) -> Result<(), EngineError> {
        self.counted.retain(|_, counted| 0 < *counted);
        if self.counted.is_empty() {
            return Ok(());
        }
        executor.process_state().lanes.forget(&self.lane);
        for _ in 0..TRIES {
            let read = run(executor, &ReadFairLane(self.lane.clone())).await?;
            let mut turns = read.turns.clone();
            for (key, counted) in &self.counted {
                turns.take_back(key, *counted);
            }
            if run(executor, &SaveTurns::new(self.lane.clone(), &read, turns)).await? {
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
        let (lanes, lane) = (KnownLanes::default(), LaneId::new("a"));
        assert_eq!(lanes.of_each(&lane, 100), 100);
        for (keys, of_each) in [(0, 100), (2, 100), (10, 40), (1_000, 1)] {
            lanes.note_keys(&lane, keys);
            assert_eq!(lanes.of_each(&lane, 100), of_each, "{keys}");
        }
    }

    #[test]
    fn weights_are_remembered_for_a_short_time_and_until_one_is_changed() {
        let (lanes, lane, read_at) = (KnownLanes::default(), LaneId::new("a"), TimestampMs(1_000));
        let put_back = || lanes.put_back(&lane, FairLane::default(), read_at);
        put_back();
        assert!(lanes.take(&lane, TimestampMs(1_249)).is_some());
        assert!(lanes.take(&lane, TimestampMs(1_249)).is_none(), "another claim has it");
        put_back();
        assert!(lanes.take(&lane, TimestampMs(1_250)).is_none());
        put_back();
        lanes.forget(&lane);
        assert!(lanes.take(&lane, TimestampMs(1_000)).is_none());
    }
}
