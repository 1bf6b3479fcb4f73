//! Turns: of which key the next execution is.
//!
//! The lane has a virtual time, and so has each key that takes part. A start moves the time of its
//! key by 1 / w, and the time of the lane by 1 / Σw. A key that is not ahead of the lane may have
//! its turn; of these, the turn goes to the key for which it would be over first. This is *earliest
//! eligible virtual deadline first* (Stoica and Abdel-Wahab, 1995): no key ever gets a whole start
//! more or less than its share.
//!
//! A key that begins to wait begins at the time of the lane, so having been idle earns nothing. One
//! that ceases to wait while it is ahead takes part until the lane has caught up, so leaving and
//! coming back gains nothing either.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use crate::model::error::{EngineError, ValidationKind};

/// The virtual time that a start of a key of weight 1 takes.
const UNIT: i64 = 1 << 40;

/// The most that a key is ever ahead or behind, so that no sum overflows.
const FARTHEST: i64 = 1 << 52;

/// The keys that take part in a lane, by how far each is ahead of the lane. The key of executions
/// without one is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turns(BTreeMap<String, Turn>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Turn {
    ahead: i64,
    weight: u32,
}

/// The executions of one key that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The executions that were listed.
    pub listed: usize,
    /// True if there may be more.
    pub has_more: bool,
    /// The weight of the key.
    pub weight: u32,
}

impl Turns {
    /// The turns as a row stores them: `{"key": [ahead, weight]}`.
    ///
    /// # Errors
    /// `Validation(Corruption)` for anything else.
    pub fn read(stored: &Json) -> Result<Self, EngineError> {
        let corrupt = || EngineError::Validation {
            kind: ValidationKind::Corruption,
            detail: "ff_fair_lane.turns: must be pairs of numbers by key".into(),
        };
        let turn = |(key, pair): (&String, &Json)| {
            let ahead = pair.get(0).and_then(Json::as_i64).ok_or_else(corrupt)?;
            let weight = pair.get(1).and_then(Json::as_u64).ok_or_else(corrupt)?;
            let weight = u32::try_from(weight).map_err(|_| corrupt())?.max(1);
            Ok((key.clone(), Turn { ahead: ahead.clamp(-FARTHEST, FARTHEST), weight }))
        };
        stored.as_object().ok_or_else(corrupt)?.iter().map(turn).collect::<Result<_, _>>().map(Self)
    }

    /// Takes back so many starts of executions of that key, which did not start after all.
    pub fn take_back(&mut self, key: &str, starts: usize) {
        let Some(turn) = self.0.get_mut(key) else { return };
        let starts = i64::try_from(starts).unwrap_or(i64::MAX);
        turn.ahead = turn.ahead.saturating_sub(span(turn.weight).saturating_mul(starts));
        let (beyond, _) = mean(self.0.values().copied());
        for turn in self.0.values_mut() {
            turn.ahead = turn.ahead.saturating_sub(beyond.min(0));
        }
    }

    /// As a row stores them.
    #[must_use]
    pub fn stored(&self) -> Json {
        let pair = |(key, turn): (&String, &Turn)| (key.clone(), json!([turn.ahead, turn.weight]));
        Json::Object(self.0.iter().map(pair).collect::<Map<_, _>>())
    }
}

/// The virtual time that one start of a key of that weight takes.
fn span(weight: u32) -> i64 {
    UNIT / i64::from(weight.max(1))
}

/// How far these are ahead in the mean, rounded down, and the sum of their weights.
fn mean(turns: impl Iterator<Item = Turn>) -> (i64, i64) {
    let (mut weights, mut ahead) = (0_i64, 0_i128);
    for turn in turns {
        weights = weights.saturating_add(i64::from(turn.weight));
        ahead += i128::from(turn.weight) * i128::from(turn.ahead);
    }
    let weights = weights.max(1);
    (i64::try_from(ahead.div_euclid(i128::from(weights))).unwrap_or(i64::MAX), weights)
}

/// The turns of a lane while executions are chosen.
#[derive(Clone, Debug)]
pub struct Round {
    members: BTreeMap<String, Member>,
    /// The virtual time of the lane.
    now: i64,
}

/// A key that takes part.
#[derive(Clone, Copy, Debug)]
struct Member {
    /// Its virtual time.
    at: i64,
    weight: u32,
    listed: usize,
    has_more: bool,
}

impl Member {
    const fn waits(&self) -> bool {
        0 < self.listed || self.has_more
    }

    /// Counts one start.
    fn start(&mut self) {
        self.listed = self.listed.saturating_sub(1);
        self.at = self.ends();
    }

    /// The virtual time at which its turn would be over.
    fn ends(&self) -> i64 {
        self.at.saturating_add(span(self.weight))
    }

    const fn turn(&self, now: i64) -> Turn {
        Turn { ahead: self.at.saturating_sub(now), weight: self.weight }
    }
}

impl Round {
    /// The turns, where these keys wait.
    #[must_use]
    pub fn new(turns: &Turns, waiting: &BTreeMap<String, Waiting>) -> Self {
        let known = turns.0.iter().map(|(key, turn)| {
            let Turn { ahead, weight } = *turn;
            (key.clone(), Member { at: ahead, weight, listed: 0, has_more: false })
        });
        let mut members: BTreeMap<String, Member> = known.collect();

        for (key, waiting) in waiting {
            let Waiting { listed, has_more, weight } = *waiting;
            let at = turns.0.get(key).map_or(0, |turn| turn.ahead);
            members.insert(key.clone(), Member { at, weight, listed, has_more });
        }
        Self { members, now: 0 }
    }

    /// Counts a start of an execution of that key.
    pub fn start(&mut self, key: &str) {
        self.settle();
        if let Some(member) = self.members.get_mut(key) {
            member.start();
            self.advance();
        }
    }

    /// The turns from then on.
    #[must_use]
    pub fn end(mut self) -> Turns {
        self.settle();
        let now = self.now;
        let turns = self.members.into_iter().map(|(key, member)| (key, member.turn(now)));
        Turns(turns.collect())
    }

    /// Lets those leave that wait no more and are not ahead. Where all that wait are ahead, the
    /// lane catches up with the first.
    fn settle(&mut self) {
        let now = self.now;
        self.members.retain(|_, member| member.waits() || now < member.at);
        let waiting = self.members.values().filter(|member| member.waits());
        if let Some(first) = waiting.map(|member| member.at).min() {
            self.now = now.max(first);
        }
    }

    /// Moves the time of the lane by one start: never beyond the mean of its keys, so that what is
    /// rounded does not add up.
    fn advance(&mut self) {
        let now = self.now;
        let (beyond, weights) = mean(self.members.values().map(|member| member.turn(now)));
        let step = (UNIT + weights - 1) / weights;
        self.now = now.saturating_add(step.min(beyond).max(0));
    }
}

/// The keys of the executions that come next, each of which counts as started. It ends where none
/// waits, and where the one that comes next was not listed.
impl Iterator for Round {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        self.settle();
        let now = self.now;
        let may = self.members.iter_mut().filter(|(_, one)| one.waits() && one.at <= now);
        let (key, next) = may.min_by_key(|(_, one)| one.ends())?;
        if next.listed == 0 {
            return None;
        }

        let key = key.clone();
        next.start();
        self.advance();
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn waiting(weight: u32) -> Waiting {
        Waiting { listed: usize::MAX, has_more: false, weight }
    }

    fn of<const N: usize>(weights: [(&str, u32); N]) -> BTreeMap<String, Waiting> {
        weights.map(|(key, weight)| (key.to_owned(), waiting(weight))).into()
    }

    /// The keys of so many starts, one claim each, as rows store the turns in between.
    fn starts(turns: &mut Turns, waiting: &BTreeMap<String, Waiting>, count: usize) -> Vec<String> {
        let mut starts = Vec::new();
        for _ in 0..count {
            let mut round = Round::new(&Turns::read(&turns.stored()).unwrap(), waiting);
            starts.extend(round.next());
            *turns = round.end();
        }
        starts
    }

    #[test]
    fn keys_take_turns_by_their_weights() {
        let even = starts(&mut Turns::default(), &of([("a", 1), ("b", 1), ("", 1)]), 6);
        assert_eq!(even, ["", "a", "b", "", "a", "b"]);
        let heavy = starts(&mut Turns::default(), &of([("a", 3), ("b", 1)]), 8);
        assert_eq!(heavy, ["a", "b", "a", "a", "a", "b", "a", "a"]);
    }

    #[test]
    fn being_idle_earns_nothing_and_leaving_gains_nothing() {
        let mut turns = Turns::default();
        let (both, alone) = (of([("a", 1), ("b", 1)]), of([("a", 1)]));
        assert_eq!(starts(&mut turns, &alone, 100).len(), 100);
        assert_eq!(starts(&mut turns, &both, 4), ["a", "b", "a", "b"]);

        // It has had its turn, leaves, and comes back.
        let three = of([("a", 1), ("b", 1), ("c", 1)]);
        assert_eq!(starts(&mut turns, &three, 1), ["a"]);
        assert_eq!(starts(&mut turns, &of([("b", 1), ("c", 1)]), 1), ["b"]);
        assert_eq!(starts(&mut turns, &three, 3), ["c", "a", "b"]);
    }

    #[test]
    fn a_round_ends_where_the_next_was_not_listed() {
        let mut waiting = of([("a", 1), ("b", 1)]);
        waiting.get_mut("a").unwrap().listed = 1;
        let drained = starts(&mut Turns::default(), &waiting, 0);
        assert!(drained.is_empty());
        let mut round = Round::new(&Turns::default(), &waiting);
        let all: Vec<_> = round.by_ref().take(5).collect();
        assert_eq!(all, ["a", "b", "b", "b", "b"], "there is no more of the first");

        waiting.get_mut("a").unwrap().has_more = true;
        let mut round = Round::new(&Turns::default(), &waiting);
        let all: Vec<_> = round.by_ref().take(5).collect();
        assert_eq!(all, ["a", "b"]);
    }

    #[test]
    fn what_did_not_start_is_taken_back() {
        let waiting = of([("a", 1), ("b", 1)]);
        let mut round = Round::new(&Turns::default(), &waiting);
        assert_eq!(round.next().as_deref(), Some("a"));
        let mut turns = round.end();
        turns.take_back("a", 1);
        turns.take_back("c", 1);
        assert_eq!(starts(&mut turns, &waiting, 4), ["a", "b", "a", "b"]);
    }

    #[test]
    fn turns_that_are_no_pairs_of_numbers_are_refused() {
        for bad in [json!([]), json!({"a": 1}), json!({"a": ["x", 1]}), json!({"a": [1, -1]})] {
            assert!(Turns::read(&bad).is_err(), "{bad}");
        }
        let far = Turns::read(&json!({"a": [i64::MAX, 1], "b": [i64::MIN, 1_000]})).unwrap();
        let both = of([("a", 1), ("b", 1)]);
        assert_eq!(starts(&mut far.clone(), &both, 3), ["b", "b", "b"]);
    }

    /// The least that a key of that weight gets of `count` starts: the promise.
    fn promised(count: usize, weight: u32, weights: u64) -> u64 {
        (count as u64 * u64::from(weight) / weights).saturating_sub(1)
    }

    /// Checks every window of the starts: the key of each weight waits all the time.
    fn assert_fair(starts: &[String], key: &str, weight: u32, weights: u64) {
        let mut got = vec![0_u64];
        got.extend(starts.iter().scan(0, |sum, start| {
            *sum += u64::from(start == key);
            Some(*sum)
        }));
        for from in 0..got.len() {
            for to in from..got.len() {
                let least = promised(to - from, weight, weights);
                let has = got[to] - got[from];
                assert!(least <= has, "{key} of {weight}/{weights}: {has} in {from}..{to}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn in_every_window_each_key_gets_its_share(
            weights in prop::collection::vec(prop_oneof![1..4_u32, 1..1_001_u32], 1..12),
        ) {
            let keys: Vec<String> = (0..weights.len()).map(|key| format!("k{key}")).collect();
            let waiting = keys.iter().cloned().zip(weights.iter().map(|&w| waiting(w))).collect();
            let starts = starts(&mut Turns::default(), &waiting, 300);
            let all = weights.iter().map(|&weight| u64::from(weight)).sum();
            for (key, weight) in keys.iter().zip(&weights) {
                assert_fair(&starts, key, *weight, all);
            }
        }

        /// Keys come and go at random; the first two wait all the time.
        #[test]
        fn whoever_comes_and_goes(
            weights in prop::collection::vec(prop_oneof![1..4_u32, 1..1_001_u32], 3..8),
            present in prop::collection::vec(any::<u8>(), 300),
        ) {
            let all = weights.iter().map(|&weight| u64::from(weight)).sum();
            let (mut turns, mut order) = (Turns::default(), Vec::new());
            for bits in present {
                let here = |key: &(usize, &u32)| key.0 < 2 || bits >> (key.0 % 8) & 1 == 1;
                let waiting = weights.iter().enumerate().filter(here);
                let waiting = waiting.map(|(key, &weight)| (format!("k{key}"), waiting_one(weight)));
                order.extend(starts(&mut turns, &waiting.collect(), 1));
            }
            for (key, weight) in weights.iter().enumerate().take(2) {
                assert_fair(&order, &format!("k{key}"), *weight, all);
            }
        }
    }

    fn waiting_one(weight: u32) -> Waiting {
        Waiting { listed: 1, has_more: true, weight }
    }
}
