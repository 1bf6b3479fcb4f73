//! What stood before the executions that the last claims took, from one claim to the next.
//!
//! A claim passes over executions with a full key. It finds that out by reading some of them, which
//! may be many. So the claims that follow begin with what is known: they pass over the key from the
//! first list on, and read meanwhile whether it is still full.

use std::collections::{BTreeMap, HashMap};

use crate::model::ids::TimestampMs;
use crate::rules::execution::claim::Searched;
use crate::rules::limit::admit::Asking;

/// The most full keys to remember: all of them are read with each list.
const MOST_KEYS: usize = 256;

/// The most searches to remember the obstacles of. If there are more, all are forgotten.
const CAPACITY: usize = 1_024;

/// The time for which claims look list by list, before one tries the order of the lane again, ms.
const BY_LIST_MS: i64 = 5_000;

/// The obstacles of each search.
#[derive(Debug, Default)]
pub(super) struct KnownObstacles(HashMap<Searched, Obstacles>);

/// What stands before the executions that a claim may take.
#[derive(Clone, Debug, Default)]
pub(super) struct Obstacles {
    /// The full keys, and what the first that was refused for each asks of it alone.
    pub(super) refused: BTreeMap<String, Asking>,
    /// The time at which too few of the first executions in the order of the lane could be taken.
    pub(super) behind_others_at: Option<TimestampMs>,
}

impl KnownObstacles {
    /// What a claim begins with.
    pub(super) fn take(&mut self, searched: &Searched, now: TimestampMs) -> Obstacles {
        let mut obstacles = self.0.remove(searched).unwrap_or_default();
        let counts = |at: &TimestampMs| (0..BY_LIST_MS).contains(&now.0.saturating_sub(at.0));
        obstacles.behind_others_at = obstacles.behind_others_at.filter(counts);
        obstacles
    }

    /// Forgets the full keys: they may have room.
    pub(super) fn doubt(&mut self) {
        self.0.values_mut().for_each(|obstacles| obstacles.refused.clear());
    }

    /// What the next claim begins with.
    pub(super) fn put_back(&mut self, searched: Searched, obstacles: Obstacles) {
        if obstacles.is_none() || MOST_KEYS < obstacles.refused.len() {
            return;
        }
        if CAPACITY <= self.0.len() {
            self.0.clear();
        }
        self.0.insert(searched, obstacles);
    }
}

impl Obstacles {
    /// True if there are none.
    pub(super) fn is_none(&self) -> bool {
        self.refused.is_empty() && self.behind_others_at.is_none()
    }

    /// Notes that this key has not enough for an execution.
    pub(super) fn note(&mut self, key: &str, asking: &Asking) {
        let only = || Asking { keys: vec![key.to_owned()], ..asking.clone() };
        self.refused.entry(key.to_owned()).or_insert_with(only);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contracts::CapabilitySet;
    use crate::model::ids::LaneId;
    use crate::rules::key::ExecutionKey;

    fn refused(count: usize) -> Obstacles {
        let mut obstacles =
            Obstacles { behind_others_at: Some(TimestampMs(1_000)), ..Obstacles::default() };
        let execution = ExecutionKey { partition: 0, uuid: uuid::Uuid::nil() };
        for key in 0..count {
            let keys = vec!["other".to_owned(), key.to_string()];
            obstacles.note(&key.to_string(), &Asking { execution, keys, weight: 3 });
        }
        obstacles
    }

    #[test]
    fn a_claim_begins_with_the_full_keys_of_the_one_before() {
        let searched = Searched::new(&LaneId::new("a"), &CapabilitySet::default());
        let mut known = KnownObstacles::default();
        known.put_back(searched.clone(), refused(2));
        let obstacles = known.take(&searched, TimestampMs(5_999));
        let asked: Vec<_> = obstacles.refused.values().map(|asking| asking.keys.clone()).collect();
        assert_eq!(asked, [["0"], ["1"]]);
        assert_eq!(obstacles.behind_others_at, Some(TimestampMs(1_000)));
        assert!(known.take(&searched, TimestampMs(5_999)).refused.is_empty(), "they were taken");

        known.put_back(searched.clone(), obstacles);
        assert_eq!(known.take(&searched, TimestampMs(6_000)).behind_others_at, None);
        known.put_back(searched.clone(), refused(MOST_KEYS + 1));
        assert!(known.take(&searched, TimestampMs(1_000)).refused.is_empty(), "they are too many");
    }
}
