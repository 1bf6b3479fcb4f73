//! The lanes that this process has submitted to, so that a submission need not register its lane.
//!
//! No operation removes a lane. One whose row was removed by hand is registered again by
//! `reconcile_execution_index`.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::ids::LaneId;

/// The most lanes to remember. If there are more, all are forgotten.
const CAPACITY: usize = 4_096;

/// The lanes known to be registered.
#[derive(Debug, Default)]
pub(super) struct KnownLanes(Mutex<HashSet<LaneId>>);

impl KnownLanes {
    /// Remembers that a submission to that lane was committed.
    pub(super) fn insert(&self, lane: LaneId) {
        let mut lanes = self.lock();
        if CAPACITY <= lanes.len() {
            lanes.clear();
        }
        lanes.insert(lane);
    }

    /// True if the lane is known to be registered.
    pub(super) fn contains(&self, lane: &LaneId) -> bool {
        self.lock().contains(lane)
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<LaneId>> {
        // A lane that is forgotten is registered again, so half a change does no harm.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_remembered_up_to_a_number() {
        let lanes = KnownLanes::default();
        for lane in 0..CAPACITY {
            lanes.insert(LaneId::new(lane.to_string()));
        }
        assert!(lanes.contains(&LaneId::new("0")));
        lanes.insert(LaneId::new("one more"));
        assert!(lanes.contains(&LaneId::new("one more")) && !lanes.contains(&LaneId::new("0")));
    }
}
