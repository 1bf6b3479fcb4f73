//! Reading a growing table in the order of its numbers, without a gap.
//!
//! A number is taken before its transaction commits, so a lower one may appear after a higher one.
//! A reader therefore stops before a missing number until it knows that this number will never
//! appear. The transaction that took it did so before a higher number was seen, and had begun by
//! then. Once every transaction that had begun by then is over and the number is still missing, its
//! transaction was rolled back. Decides only; knows no table, no database and no clock.

use std::collections::BTreeSet;

use super::Horizon;

/// The most rows that one round lists.
pub const PAGE: usize = 256;

/// The position of a reader, and the gap that it waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    // Invariant: every row up to here was delivered or passed over, and no other will appear.
    position: i64,
    /// Up to here, a number that is not visible will never be.
    settled: i64,
    gap: Option<Gap>,
    /// Rows after the position that existed before the subscription; they are skipped.
    old: BTreeSet<i64>,
    /// The most rows that one round lists.
    page: usize,
}

/// The search for the lower bound of a reader that begins with new rows.
///
/// A late row belongs to a transaction that was open at the start, so its number was taken after
/// the oldest of those began to write. Earlier transactions were over by the start. All but
/// [`Horizon::most_open`] of them were over when the oldest open one began, so their numbers are
/// lower. It is therefore enough to go down from the newest row until more of them were met than
/// can have been open together with it.
#[derive(Clone, Debug)]
pub struct StartSearch {
    /// The horizon before any row was read.
    horizon: Horizon,
    /// The transactions met so far that began before the oldest open one.
    older: BTreeSet<i64>,
}

/// The lower bound of the rows that a new reader may see, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LowerBound {
    /// New rows are numbered above this.
    Above(i64),
    /// Not known yet: read the rows numbered below this.
    Below(i64),
}

impl StartSearch {
    /// The search of a reader that begins at that horizon.
    #[must_use]
    pub const fn at(horizon: Horizon) -> Self {
        Self { horizon, older: BTreeSet::new() }
    }

    /// Takes the next rows downwards, as their numbers, highest first, with the transactions that
    /// inserted them. There are `page` of them unless they are the last.
    pub fn examine(&mut self, rows: &[(i64, i64)], page: usize) -> LowerBound {
        for &(number, transaction) in rows {
            let late_rows_are_higher = if self.horizon == Horizon::ONE_WRITER {
                true
            } else if self.horizon.oldest_open <= transaction {
                false
            } else {
                self.older.insert(transaction);
                let open_with_it = usize::try_from(self.horizon.most_open);
                open_with_it.is_ok_and(|open_with_it| open_with_it < self.older.len())
            };
            if late_rows_are_higher {
                return LowerBound::Above(number);
            }
        }

        match rows.last() {
            Some((lowest, _)) if page <= rows.len() => LowerBound::Below(*lowest),
            Some(_) | None => LowerBound::Above(0),
        }
    }
}

/// Missing numbers, and the transactions that may still insert them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Gap {
    /// The highest number that was visible when the gap was found.
    seen: i64,
    /// Transactions with lower numbers have to end first. `None` in the round that finds the gap,
    /// which has an older horizon.
    before: Option<i64>,
}

/// The result of a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// The places in the list of the rows to deliver.
    pub deliver: Vec<usize>,
    /// The time of the next round.
    pub next: NextRound,
}

/// The time of the next round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextRound {
    /// At once.
    AtOnce,
    /// Soon, or when the bell rings: the reader waits for a transaction that may end without a
    /// ring.
    Soon,
    /// At the next ring of the bell.
    OnRing,
}

impl Tail {
    /// A reader of everything after that number.
    #[must_use]
    pub const fn after(position: i64) -> Self {
        Self { position, settled: position, gap: None, old: BTreeSet::new(), page: PAGE }
    }

    /// A reader of everything that appears from now on. `visible` are the visible numbers above
    /// `bound`, in any order; numbers missing among them may still appear.
    #[must_use]
    pub fn from_now(bound: i64, visible: impl IntoIterator<Item = i64>) -> Self {
        let mut old: BTreeSet<i64> = visible.into_iter().collect();
        let mut tail = Self::after(bound);
        while old.remove(&tail.position.saturating_add(1)) {
            tail.position = tail.position.saturating_add(1);
        }

        tail.settled = tail.position;
        tail.old = old;
        tail
    }

    /// The position of the reader. The next round lists the first [`PAGE`] rows after it, in order.
    #[must_use]
    pub const fn position(&self) -> i64 {
        self.position
    }

    /// True if the reader waits for transactions but does not know yet for which.
    #[must_use]
    pub fn needs_frontier(&self) -> bool {
        self.gap.as_ref().is_some_and(|gap| gap.before.is_none())
    }

    /// Records that every transaction that has begun to write has a lower number.
    pub fn learn_frontier(&mut self, frontier: i64) {
        if let Some(gap) = &mut self.gap {
            gap.before.get_or_insert(frontier);
        }
    }

    /// Delivers as many of the listed rows as may be. The horizon was taken before the rows were
    /// listed, and the frontier, where one was needed, before the horizon.
    pub fn round(&mut self, horizon: Horizon, listed: &[i64]) -> Round {
        self.settle(horizon, listed);

        let mut deliver = Vec::new();
        for (place, &number) in listed.iter().enumerate() {
            if self.position.max(self.settled) < number.saturating_sub(1) {
                return Round { deliver, next: self.wait_at_gap(listed) };
            }
            self.position = number;
            if !self.old.remove(&number) {
                deliver.push(place);
            }
        }

        let next = if listed.len() < self.page { NextRound::OnRing } else { NextRound::AtOnce };
        Round { deliver, next }
    }

    fn settle(&mut self, horizon: Horizon, listed: &[i64]) {
        if horizon == Horizon::ONE_WRITER {
            self.settled = listed.last().copied().unwrap_or(self.settled);
        }

        let Some(gap) = &self.gap else { return };
        if gap.before.is_some_and(|before| before <= horizon.oldest_open) {
            self.settled = self.settled.max(gap.seen);
            self.gap = None;
        }
    }

    /// The next round of a reader before a missing number; opens the gap if it is new.
    fn wait_at_gap(&mut self, listed: &[i64]) -> NextRound {
        match &self.gap {
            Some(gap) if self.position < gap.seen => NextRound::Soon,
            Some(_) | None => {
                let seen = listed.last().copied().unwrap_or(self.position);
                self.gap = Some(Gap { seen, before: None });
                NextRound::AtOnce
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Transactions below `oldest_open` are over.
    fn horizon(oldest_open: i64) -> Horizon {
        Horizon { oldest_open, most_open: 2 }
    }

    /// The numbers that a round delivers, and the time of the next, once it is known that
    /// transactions from `next` on have not begun.
    fn later_round(
        tail: &mut Tail,
        next: i64,
        oldest_open: i64,
        listed: &[i64],
    ) -> (Vec<i64>, NextRound) {
        if tail.needs_frontier() {
            tail.learn_frontier(next);
        }
        round(tail, horizon(oldest_open), listed)
    }

    /// The numbers that a round delivers, and the time of the next.
    fn round(tail: &mut Tail, horizon: Horizon, listed: &[i64]) -> (Vec<i64>, NextRound) {
        let Round { deliver, next } = tail.round(horizon, listed);
        (deliver.into_iter().map(|place| listed[place]).collect(), next)
    }

    #[test]
    fn what_follows_without_a_gap_is_delivered() {
        let mut tail = Tail::after(4);
        assert_eq!(later_round(&mut tail, 9, 9, &[5, 6]), (vec![5, 6], NextRound::OnRing));
        assert_eq!(tail.position(), 6);
        assert_eq!(later_round(&mut tail, 9, 9, &[]), (vec![], NextRound::OnRing));
        let page: Vec<i64> = (7..7 + 256).collect();
        assert_eq!(later_round(&mut tail, 9, 9, &page), (page.clone(), NextRound::AtOnce));
    }

    #[test]
    fn a_late_lower_number_is_waited_for_and_keeps_the_order() {
        let mut tail = Tail::after(0);
        // 2 is missing: transaction 20 has it.
        assert_eq!(later_round(&mut tail, 22, 20, &[1, 3]), (vec![1], NextRound::AtOnce));
        assert_eq!(later_round(&mut tail, 22, 20, &[3]), (vec![], NextRound::Soon));
        assert_eq!(later_round(&mut tail, 30, 20, &[3, 4]), (vec![], NextRound::Soon));
        // It has committed.
        assert_eq!(later_round(&mut tail, 30, 30, &[2, 3, 4]), (vec![2, 3, 4], NextRound::OnRing));
    }

    #[test]
    fn a_number_that_was_rolled_back_is_stepped_over() {
        let mut tail = Tail::after(0);
        assert_eq!(later_round(&mut tail, 22, 20, &[2]), (vec![], NextRound::AtOnce));
        assert_eq!(later_round(&mut tail, 22, 20, &[2]), (vec![], NextRound::Soon));
        assert_eq!(later_round(&mut tail, 22, 21, &[2]), (vec![], NextRound::Soon));
        assert_eq!(later_round(&mut tail, 25, 22, &[2]), (vec![2], NextRound::OnRing));
    }

    #[test]
    fn the_horizon_of_the_round_that_finds_a_gap_decides_nothing() {
        let mut tail = Tail::after(0);
        // Nothing was open when the horizon was taken; then 20 began, took 1, and 21 committed 2.
        assert_eq!(later_round(&mut tail, 20, 20, &[2]), (vec![], NextRound::AtOnce));
        assert_eq!(later_round(&mut tail, 22, 20, &[2]), (vec![], NextRound::Soon));
        assert_eq!(later_round(&mut tail, 22, 22, &[1, 2]), (vec![1, 2], NextRound::OnRing));
    }

    #[test]
    fn where_nothing_is_open_a_gap_costs_one_more_round() {
        let mut tail = Tail::after(0);
        assert_eq!(later_round(&mut tail, 20, 20, &[7, 9]), (vec![], NextRound::AtOnce));
        assert_eq!(later_round(&mut tail, 20, 20, &[7, 9]), (vec![7, 9], NextRound::OnRing));
    }

    #[test]
    fn a_second_gap_has_transactions_of_its_own() {
        let mut tail = Tail::after(0);
        assert_eq!(later_round(&mut tail, 22, 20, &[2, 4]), (vec![], NextRound::AtOnce));
        // A third gap is found later: the transaction with 5 may have begun after the first two.
        assert_eq!(later_round(&mut tail, 22, 20, &[2, 4, 6]), (vec![], NextRound::Soon));
        assert_eq!(later_round(&mut tail, 24, 22, &[2, 4, 6]), (vec![2, 4], NextRound::AtOnce));
        assert_eq!(later_round(&mut tail, 24, 22, &[6]), (vec![], NextRound::Soon));
        assert_eq!(later_round(&mut tail, 24, 24, &[5, 6]), (vec![5, 6], NextRound::OnRing));
    }

    #[test]
    fn one_writer_leaves_nothing_to_wait_for() {
        let mut tail = Tail::after(0);
        assert_eq!(round(&mut tail, Horizon::ONE_WRITER, &[2, 5]), (vec![2, 5], NextRound::OnRing));
    }

    #[test]
    fn from_now_on_means_what_was_not_visible() {
        let mut tail = Tail::from_now(0, [6, 5, 3, 2, 1]);
        assert_eq!(tail.position(), 3);
        assert_eq!(later_round(&mut tail, 22, 20, &[5, 6, 7]), (vec![], NextRound::AtOnce));
        // 4 commits: it is new, and 5 and 6 are not.
        assert_eq!(later_round(&mut tail, 23, 22, &[4, 5, 6, 7]), (vec![4, 7], NextRound::OnRing));
    }

    #[test]
    fn from_now_on_in_an_empty_table_is_from_the_beginning() {
        let mut tail = Tail::from_now(0, []);
        assert_eq!(later_round(&mut tail, 20, 20, &[1]), (vec![1], NextRound::OnRing));
    }

    #[test]
    fn a_late_row_may_be_numbered_as_low_as_its_transaction_is_old() {
        let rows = |rows: &[(i64, i64)]| StartSearch::at(horizon(20)).examine(rows, 4);
        // 25 and 20 may be late. 19 and 18 may have been open when 20 began, but not 17 as well.
        assert_eq!(rows(&[(90, 25), (80, 19), (70, 18), (60, 18)]), LowerBound::Below(60));
        assert_eq!(rows(&[(90, 19), (80, 18), (70, 25), (60, 17)]), LowerBound::Above(60));
        assert_eq!(rows(&[(90, 19), (80, 18), (70, 25)]), LowerBound::Above(0), "there is no more");
        assert_eq!(rows(&[]), LowerBound::Above(0));
    }

    #[test]
    fn where_writers_take_turns_nothing_is_late() {
        let mut one_writer = StartSearch::at(Horizon::ONE_WRITER);
        assert_eq!(one_writer.examine(&[(90, 0), (80, 0)], 2), LowerBound::Above(90));
    }

    /// The most writers at once.
    const WRITERS: usize = 3;

    /// A table with writers that take their numbers before they commit.
    #[derive(Default)]
    struct Writers {
        transactions: i64,
        numbers: i64,
        open: Vec<(i64, Vec<i64>)>,
        /// The latest transaction that is over.
        over: i64,
        /// The numbers that are visible, and the transactions that inserted them.
        visible: BTreeMap<i64, i64>,
    }

    impl Writers {
        fn act(&mut self, action: u8) {
            let writers = self.open.len();
            let chosen = usize::from(action / 4) % writers.max(1);
            match (action % 4, self.open.get_mut(chosen)) {
                (1, Some((_, numbers))) => {
                    self.numbers += 1;
                    numbers.push(self.numbers);
                }
                (2, Some(_)) => {
                    let (transaction, numbers) = self.open.remove(chosen);
                    self.over = self.over.max(transaction);
                    self.visible.extend(numbers.into_iter().map(|number| (number, transaction)));
                }
                (3, Some(_)) => self.over = self.over.max(self.open.remove(chosen).0),
                (_, _) if writers < WRITERS => {
                    self.transactions += 1;
                    self.open.push((self.transactions, Vec::new()));
                }
                (_, _) => {}
            }
        }

        /// As a snapshot sees it: transactions after the latest that is over may have begun or not.
        fn horizon(&self) -> Horizon {
            let open = self.open.iter().map(|(transaction, _)| *transaction).min();
            let most_open = i64::try_from(WRITERS).unwrap();
            let unknown = self.over + 1;
            Horizon { oldest_open: open.map_or(unknown, |open| open.min(unknown)), most_open }
        }

        fn frontier(&mut self) -> i64 {
            self.transactions += 1;
            self.over = self.transactions;
            self.transactions
        }

        fn answer_frontier(&mut self, tail: &mut Tail) {
            if tail.needs_frontier() {
                tail.learn_frontier(self.frontier());
            }
        }

        fn after(&self, position: i64, page: usize) -> Vec<i64> {
            self.visible.range(position + 1..).take(page).map(|(number, _)| *number).collect()
        }

        /// Begins to read while writers continue; the numbers visible then are old.
        fn begin(&mut self, actions: &[u8], page: usize) -> (Tail, BTreeSet<i64>) {
            let mut actions = actions.iter();
            let mut beginning = StartSearch::at(self.horizon());
            let mut below = i64::MAX;
            let bound = loop {
                actions.by_ref().take(2).for_each(|action| self.act(*action));
                let down = self.visible.range(..below).rev();
                let rows: Vec<_> = down.take(page).map(|(number, of)| (*number, *of)).collect();
                match beginning.examine(&rows, page) {
                    LowerBound::Above(bound) => break bound,
                    LowerBound::Below(lowest) => below = lowest,
                }
            };
            actions.for_each(|action| self.act(*action));
            let old: BTreeSet<i64> = self.visible.keys().copied().collect();
            let mut tail = Tail::from_now(bound, self.after(bound, usize::MAX));
            tail.page = page;
            (tail, old)
        }
    }

    proptest! {
        #[test]
        fn every_committed_number_is_delivered_once_and_in_order(
            page in 1..5_usize,
            before in proptest::collection::vec(any::<u8>(), 0..200),
            meanwhile in proptest::collection::vec(any::<u8>(), 0..20),
            history in proptest::collection::vec((any::<u8>(), 0..3_u8), 0..200),
        ) {
            let mut writers = Writers::default();
            before.into_iter().for_each(|action| writers.act(action));
            let (mut tail, old) = writers.begin(&meanwhile, page);
            let mut delivered = Vec::new();
            for (action, looks) in history {
                match looks {
                    0 => writers.act(action),
                    // Something happens between the two halves of a round.
                    1 => {
                        writers.answer_frontier(&mut tail);
                        let horizon = writers.horizon();
                        writers.act(action);
                        let listed = writers.after(tail.position(), page);
                        delivered.extend(round(&mut tail, horizon, &listed).0);
                    }
                    _ => {
                        writers.answer_frontier(&mut tail);
                        let listed = writers.after(tail.position(), page);
                        delivered.extend(round(&mut tail, writers.horizon(), &listed).0);
                    }
                }
            }

            while !writers.open.is_empty() {
                writers.act(3);
            }
            loop {
                writers.answer_frontier(&mut tail);
                let listed = writers.after(tail.position(), page);
                let (numbers, next) = round(&mut tail, writers.horizon(), &listed);
                delivered.extend(numbers);
                if next == NextRound::OnRing {
                    break;
                }
            }
            let visible: BTreeSet<i64> = writers.visible.keys().copied().collect();
            let new: Vec<i64> = visible.difference(&old).copied().collect();
            prop_assert_eq!(delivered, new);
        }
    }
}
