//! Reading a growing table in the order of its numbers, without a gap.
//!
//! A number is taken before its transaction commits, so a lower one may appear after a higher one.
//! A reader therefore stops before a missing number until it knows that this one will never come:
//! whoever has it took it before a higher one was seen, and had a transaction number by then. So once
//! every transaction that had begun by the time after is over, and the number is still missing in
//! what is listed afterwards, its transaction was rolled back. Decides only; knows no table, no
//! database and no clock.

use std::collections::BTreeSet;

use super::Horizon;

/// The most rows that one round lists.
pub const PAGE: usize = 256;

/// Where a reader stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    // Invariant: every row up to here was delivered or passed over, and no other will appear.
    position: i64,
    /// Up to here, what is not visible will never be.
    settled: i64,
    gap: Option<Gap>,
    /// Rows after the position that were there before the reader was, and are none of its business.
    old: BTreeSet<i64>,
}

/// Numbers that are missing, and what is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Gap {
    /// The highest number that was visible when they were missing.
    seen: i64,
    /// The transactions with lower numbers have to end first; not known yet in the round that finds
    /// the gap, whose horizon is older than what it lists.
    before: Option<i64>,
}

/// What a round comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// Which of the listed rows are delivered, by their place in the list.
    pub deliver: Vec<usize>,
    /// When the next round is due.
    pub pace: Pace,
}

/// When to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// At once.
    Now,
    /// Soon, or when the bell rings: a transaction is waited for, and its end may ring no bell.
    Soon,
    /// When the bell rings.
    Later,
}

impl Tail {
    /// A reader of everything after that number.
    #[must_use]
    pub const fn after(position: i64) -> Self {
        Self { position, settled: position, gap: None, old: BTreeSet::new() }
    }

    /// A reader of everything that appears from now on, where `newest` are the highest numbers that
    /// are visible: [`PAGE`] of them, or all there are. What is missing among them may still appear.
    #[must_use]
    pub fn from_now(newest: &[i64]) -> Self {
        let mut old: BTreeSet<i64> = newest.iter().copied().collect();
        let first = old.first().copied().filter(|_| PAGE <= newest.len());
        let mut tail = Self::after(first.map_or(0, |first| first.saturating_sub(1)));
        while old.remove(&tail.position.saturating_add(1)) {
            tail.position = tail.position.saturating_add(1);
        }
        tail.settled = tail.position;
        tail.old = old.split_off(&tail.position);
        tail
    }

    /// Where the reader stands: list what is numbered higher, lowest first, [`PAGE`] rows at most.
    #[must_use]
    pub const fn position(&self) -> i64 {
        self.position
    }

    /// Goes on as far as it may. The horizon was taken before the rows were listed.
    pub fn round(&mut self, horizon: Horizon, listed: &[i64]) -> Round {
        self.settle(horizon, listed);
        let mut deliver = Vec::new();
        for (place, &number) in listed.iter().enumerate() {
            if self.position.max(self.settled) < number.saturating_sub(1) {
                return Round { deliver, pace: self.wait(listed) };
            }
            self.position = number;
            if !self.old.remove(&number) {
                deliver.push(place);
            }
        }
        let pace = if listed.len() < PAGE { Pace::Later } else { Pace::Now };
        Round { deliver, pace }
    }

    fn settle(&mut self, horizon: Horizon, listed: &[i64]) {
        if horizon == Horizon::ONE_WRITER {
            self.settled = listed.last().copied().unwrap_or(self.settled);
        }
        let Some(gap) = &mut self.gap else { return };
        let before = *gap.before.get_or_insert(horizon.next);
        if before <= horizon.oldest_open {
            self.settled = self.settled.max(gap.seen);
            self.gap = None;
        }
    }

    /// The next number is missing.
    fn wait(&mut self, listed: &[i64]) -> Pace {
        match &self.gap {
            Some(gap) if self.position < gap.seen => Pace::Soon,
            Some(_) | None => {
                let seen = listed.last().copied().unwrap_or(self.position);
                self.gap = Some(Gap { seen, before: None });
                Pace::Now
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Transactions below `oldest_open` are over, `next` has not begun.
    fn horizon(oldest_open: i64, next: i64) -> Horizon {
        Horizon { oldest_open, next }
    }

    /// The numbers that a round delivers, and its pace.
    fn round(tail: &mut Tail, horizon: Horizon, listed: &[i64]) -> (Vec<i64>, Pace) {
        let Round { deliver, pace } = tail.round(horizon, listed);
        (deliver.into_iter().map(|place| listed[place]).collect(), pace)
    }

    #[test]
    fn what_follows_without_a_gap_is_delivered() {
        let mut tail = Tail::after(4);
        assert_eq!(round(&mut tail, horizon(9, 9), &[5, 6]), (vec![5, 6], Pace::Later));
        assert_eq!(tail.position(), 6);
        assert_eq!(round(&mut tail, horizon(9, 9), &[]), (vec![], Pace::Later));
        let page: Vec<i64> = (7..7 + 256).collect();
        assert_eq!(round(&mut tail, horizon(9, 9), &page), (page.clone(), Pace::Now));
    }

    #[test]
    fn a_late_lower_number_is_waited_for_and_keeps_the_order() {
        let mut tail = Tail::after(0);
        // 2 is missing: transaction 20 has it.
        assert_eq!(round(&mut tail, horizon(20, 22), &[1, 3]), (vec![1], Pace::Now));
        assert_eq!(round(&mut tail, horizon(20, 22), &[3]), (vec![], Pace::Soon));
        assert_eq!(round(&mut tail, horizon(20, 30), &[3, 4]), (vec![], Pace::Soon));
        // It has committed.
        assert_eq!(round(&mut tail, horizon(30, 30), &[2, 3, 4]), (vec![2, 3, 4], Pace::Later));
    }

    #[test]
    fn a_number_that_was_rolled_back_is_stepped_over() {
        let mut tail = Tail::after(0);
        assert_eq!(round(&mut tail, horizon(20, 22), &[2]), (vec![], Pace::Now));
        assert_eq!(round(&mut tail, horizon(20, 22), &[2]), (vec![], Pace::Soon));
        assert_eq!(round(&mut tail, horizon(21, 22), &[2]), (vec![], Pace::Soon));
        assert_eq!(round(&mut tail, horizon(22, 25), &[2]), (vec![2], Pace::Later));
    }

    #[test]
    fn the_horizon_of_the_round_that_finds_a_gap_decides_nothing() {
        let mut tail = Tail::after(0);
        // Nothing was open when the horizon was taken; then 20 began, took 1, and 21 committed 2.
        assert_eq!(round(&mut tail, horizon(20, 20), &[2]), (vec![], Pace::Now));
        assert_eq!(round(&mut tail, horizon(20, 22), &[2]), (vec![], Pace::Soon));
        assert_eq!(round(&mut tail, horizon(22, 22), &[1, 2]), (vec![1, 2], Pace::Later));
    }

    #[test]
    fn where_nothing_is_open_a_gap_costs_one_more_round() {
        let mut tail = Tail::after(0);
        assert_eq!(round(&mut tail, horizon(20, 20), &[7, 9]), (vec![], Pace::Now));
        assert_eq!(round(&mut tail, horizon(20, 20), &[7, 9]), (vec![7, 9], Pace::Later));
    }

    #[test]
    fn a_second_gap_has_transactions_of_its_own() {
        let mut tail = Tail::after(0);
        assert_eq!(round(&mut tail, horizon(20, 22), &[2, 4]), (vec![], Pace::Now));
        // A third gap is found later: whoever has 5 may have begun after the first two were found.
        assert_eq!(round(&mut tail, horizon(20, 22), &[2, 4, 6]), (vec![], Pace::Soon));
        assert_eq!(round(&mut tail, horizon(22, 24), &[2, 4, 6]), (vec![2, 4], Pace::Now));
        assert_eq!(round(&mut tail, horizon(22, 24), &[6]), (vec![], Pace::Soon));
        assert_eq!(round(&mut tail, horizon(24, 24), &[5, 6]), (vec![5, 6], Pace::Later));
    }

    #[test]
    fn one_writer_leaves_nothing_to_wait_for() {
        let mut tail = Tail::after(0);
        assert_eq!(round(&mut tail, Horizon::ONE_WRITER, &[2, 5]), (vec![2, 5], Pace::Later));
    }

    #[test]
    fn from_now_on_means_what_was_not_visible() {
        let mut tail = Tail::from_now(&[6, 5, 3, 2, 1]);
        assert_eq!(tail.position(), 3);
        assert_eq!(round(&mut tail, horizon(20, 22), &[5, 6, 7]), (vec![], Pace::Now));
        // 4 commits: it is new, and 5 and 6 are not.
        assert_eq!(round(&mut tail, horizon(22, 23), &[4, 5, 6, 7]), (vec![4, 7], Pace::Later));
    }

    #[test]
    fn from_now_on_in_an_empty_table_is_from_the_beginning() {
        let mut tail = Tail::from_now(&[]);
        assert_eq!(round(&mut tail, horizon(20, 20), &[1]), (vec![1], Pace::Later));
    }

    #[test]
    fn from_now_on_in_a_long_table_is_from_its_newest_page() {
        let newest: Vec<i64> = (1001..=1256).rev().collect();
        assert_eq!(Tail::from_now(&newest), Tail::after(1256));
        let holed: Vec<i64> = (1000..=1256).filter(|number| *number != 1100).rev().collect();
        assert_eq!(Tail::from_now(&holed).position(), 1099);
    }

    /// A table whose writers take their numbers before they commit.
    #[derive(Default)]
    struct Writers {
        transactions: i64,
        numbers: i64,
        open: Vec<(i64, Vec<i64>)>,
        visible: BTreeSet<i64>,
    }

    impl Writers {
        fn act(&mut self, action: u8) {
            let chosen = usize::from(action / 4) % self.open.len().max(1);
            match (action % 4, self.open.get_mut(chosen)) {
                (1, Some((_, numbers))) => {
                    self.numbers += 1;
                    numbers.push(self.numbers);
                }
                (2, Some(_)) => self.visible.extend(self.open.remove(chosen).1),
                (3, Some(_)) => drop(self.open.remove(chosen)),
                (_, _) => {
                    self.transactions += 1;
                    self.open.push((self.transactions, Vec::new()));
                }
            }
        }

        fn horizon(&self) -> Horizon {
            let next = self.transactions + 1;
            let open = self.open.iter().map(|(transaction, _)| *transaction).min();
            horizon(open.unwrap_or(next), next)
        }

        fn after(&self, position: i64) -> Vec<i64> {
            self.visible.range(position + 1..).take(PAGE).copied().collect()
        }
    }

    proptest! {
        #[test]
        fn every_committed_number_is_delivered_once_and_in_order(
            before in proptest::collection::vec(any::<u8>(), 0..30),
            history in proptest::collection::vec((any::<u8>(), 0..3_u8), 0..200),
        ) {
            let mut writers = Writers::default();
            before.into_iter().for_each(|action| writers.act(action));
            let old = writers.visible.clone();
            let newest: Vec<i64> = old.iter().rev().copied().collect();
            let mut tail = Tail::from_now(&newest);
            let mut delivered = Vec::new();
            for (action, looks) in history {
                match looks {
                    0 => writers.act(action),
                    // Something happens between the two halves of a round.
                    1 => {
                        let horizon = writers.horizon();
                        writers.act(action);
                        let listed = writers.after(tail.position());
                        delivered.extend(round(&mut tail, horizon, &listed).0);
                    }
                    _ => {
                        let listed = writers.after(tail.position());
                        delivered.extend(round(&mut tail, writers.horizon(), &listed).0);
                    }
                }
            }
            writers.open.clear();
            for _ in 0..4 {
                let listed = writers.after(tail.position());
                delivered.extend(round(&mut tail, writers.horizon(), &listed).0);
            }
            let new: Vec<i64> = writers.visible.difference(&old).copied().collect();
            prop_assert_eq!(delivered, new);
        }
    }
}
