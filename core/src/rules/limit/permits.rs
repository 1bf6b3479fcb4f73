//! The permits of one key that are known to be taken.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use crate::rules::key::ExecutionKey;

/// The permits of a key that are known to be taken, by number.
#[derive(Clone, Debug, Default)]
pub struct Permits {
    // Invariant: an execution holds a permit in one exactly if it does in the other.
    by_number: BTreeMap<i64, ExecutionKey>,
    by_execution: HashMap<Uuid, i64>,
    // Invariant: every permit below it is taken.
    lowest: i64,
}

impl Permits {
    /// Notes that an execution holds that permit.
    pub fn insert(&mut self, permit: i64, holder: ExecutionKey) {
        if let Some(before) = self.by_number.insert(permit, holder) {
            self.by_execution.remove(&before.uuid);
        }
        if let Some(before) = self.by_execution.insert(holder.uuid, permit)
            && before != permit
        {
            self.by_number.remove(&before);
            self.lowest = self.lowest.min(before);
        }
    }

    /// Notes that an execution holds none.
    pub fn remove(&mut self, holder: Uuid) {
        if let Some(permit) = self.by_execution.remove(&holder) {
            self.by_number.remove(&permit);
            self.lowest = self.lowest.min(permit);
        }
    }

    /// The executions that hold one.
    pub fn holders(&self) -> impl Iterator<Item = &ExecutionKey> {
        self.by_number.values()
    }

    /// The number of those that are taken.
    #[must_use]
    pub fn count(&self) -> usize {
        self.by_number.len()
    }

    /// True if that execution holds one.
    #[must_use]
    pub fn is_held_by(&self, execution: Uuid) -> bool {
        self.by_execution.contains_key(&execution)
    }

    /// The lowest permit that is free; `None` while as many are taken as the limit allows, even
    /// where some of them have higher numbers, since the limit was lowered.
    pub fn free(&mut self, max: i64) -> Option<i64> {
        if self.is_full(max) {
            return None;
        }
        while self.by_number.contains_key(&self.lowest) {
            self.lowest += 1;
        }
        (self.lowest < max).then_some(self.lowest)
    }

    /// True while as many are taken as the limit allows.
    #[must_use]
    pub fn is_full(&self, max: i64) -> bool {
        max <= i64::try_from(self.by_number.len()).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn execution(number: u128) -> ExecutionKey {
        ExecutionKey { partition: 7, uuid: Uuid::from_u128(number) }
    }

    #[test]
    fn the_lowest_free_permit_is_next() {
        let mut permits = Permits::default();
        for number in 0..3 {
            let free = permits.free(3).unwrap();
            assert_eq!(i128::from(free), number as i128);
            permits.insert(free, execution(number));
        }
        assert_eq!(permits.free(3), None);
        permits.remove(Uuid::from_u128(1));
        assert_eq!(permits.free(3), Some(1));
        assert!(permits.is_held_by(Uuid::from_u128(2)) && !permits.is_held_by(Uuid::from_u128(1)));
    }

    #[test]
    fn permits_above_a_lowered_limit_count() {
        let mut permits = Permits::default();
        permits.insert(8, execution(1));
        permits.insert(9, execution(2));
        assert_eq!(permits.free(2), None);
        assert_eq!(permits.free(3), Some(0));
    }

    #[test]
    fn an_execution_holds_one_permit_and_a_permit_has_one_holder() {
        let mut permits = Permits::default();
        permits.insert(0, execution(1));
        permits.insert(1, execution(1));
        assert_eq!((permits.count(), permits.free(9)), (1, Some(0)));
        permits.insert(1, execution(2));
        assert!(!permits.is_held_by(Uuid::from_u128(1)));
        assert_eq!(permits.holders().collect::<Vec<_>>(), [&execution(2)]);
    }
}
