//! Executions that claims of one process are taking.
//!
//! No row shows yet what they take. So a claim that chooses meanwhile passes over them, and counts
//! what they take of limits as taken, whatever it reads.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use super::lock::lock;
use crate::rules::execution::candidates::Candidate;
use crate::rules::execution::reserve::Taken;
use crate::rules::key::ExecutionKey;
use crate::rules::limit::held::Holdings;
use crate::rules::limit::read::HeldLimits;

/// The executions, and what was not taken after all.
#[derive(Debug, Default)]
pub(super) struct InFlight(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    executions: HashMap<ExecutionKey, Attempt>,
    losses: Vec<Loss>,
}

/// An execution that a claim is taking.
#[derive(Clone, Debug)]
struct Attempt {
    version: i64,
    turn_key: String,
    holdings: Holdings,
    is_overtaken: bool,
}

/// What an execution would have taken of limits.
#[derive(Debug)]
pub(super) struct Loss {
    pub(super) holdings: Holdings,
    /// True if another claim took some of it.
    pub(super) is_overtaken: bool,
}

/// Executions that one claim is taking, until it is known what came of them.
#[derive(Debug)]
pub(super) struct Taking<'a> {
    state: &'a InFlight,
    // Invariant: those of which it is not known that they were taken.
    open: HashMap<ExecutionKey, Attempt>,
}

/// The executions that a list passes over.
#[derive(Debug, Default)]
pub(super) struct Passed {
    pub(super) versions: HashMap<ExecutionKey, i64>,
    /// The most of them that share a turn.
    pub(super) of_one_key: usize,
}

impl Passed {
    pub(super) fn contains(&self, candidate: &Candidate) -> bool {
        self.versions.get(&candidate.key) == Some(&candidate.version)
    }

    /// The number of executions, for lists that read as many more.
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.versions.len()).unwrap_or(u32::MAX)
    }
}

impl InFlight {
    /// Begins to take these.
    pub(super) fn take<'c>(
        &self,
        all: impl IntoIterator<Item = &'c (Candidate, Holdings)>,
    ) -> Taking<'_> {
        let attempt = |(candidate, holdings): &(Candidate, Holdings)| {
            let attempt = Attempt {
                version: candidate.version,
                turn_key: candidate.turn_key().to_owned(),
                holdings: holdings.clone(),
                is_overtaken: false,
            };
            (candidate.key, attempt)
        };
        let open: HashMap<_, _> = all.into_iter().map(attempt).collect();
        let executions = open.iter().map(|(key, attempt)| (*key, attempt.clone()));
        lock(&self.0).executions.extend(executions);
        Taking { state: self, open }
    }

    /// What was not taken after all, since the last claim asked.
    pub(super) fn losses(&self) -> Vec<Loss> {
        std::mem::take(&mut lock(&self.0).losses)
    }

    /// What is being taken of limits.
    pub(super) fn holdings(&self) -> Vec<(ExecutionKey, Holdings)> {
        let state = lock(&self.0);
        let all = state.executions.iter().filter(|(_, attempt)| !attempt.holdings.is_empty());
        all.map(|(key, attempt)| (*key, attempt.holdings.clone())).collect()
    }

    /// The executions, and those that a claim passes over besides.
    pub(super) fn and(&self, passed: &HashMap<ExecutionKey, i64>) -> Passed {
        let state = lock(&self.0);
        let mut by_turn: BTreeMap<&str, usize> = BTreeMap::new();
        for attempt in state.executions.values() {
            *by_turn.entry(attempt.turn_key.as_str()).or_default() += 1;
        }
        let of_one_key = by_turn.into_values().max().unwrap_or(0) + passed.len();
        let executions = state.executions.iter().map(|(key, attempt)| (*key, attempt.version));
        let passed = passed.iter().map(|(key, version)| (*key, *version));
        Passed { versions: executions.chain(passed).collect(), of_one_key }
    }
}

impl Taking<'_> {
    /// Notes what came of an execution.
    pub(super) fn settle(&mut self, key: &ExecutionKey, taken: &Taken) {
        match taken {
            Taken::Claimed(_) => {
                self.open.remove(key);
                lock(&self.state.0).executions.remove(key);
            }
            Taken::Overtaken => {
                self.open.entry(*key).and_modify(|attempt| attempt.is_overtaken = true);
            }
            Taken::Gone | Taken::Fits | Taken::NoRoom(_) => {}
        }
    }
}

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.state.0);
        for (key, Attempt { holdings, is_overtaken, .. }) in self.open.drain() {
            state.executions.remove(&key);
            state.losses.push(Loss { holdings, is_overtaken });
        }
    }
}

/// Counts what is being taken of limits as taken.
pub(super) fn note(held: &mut HeldLimits, in_flight: &[(ExecutionKey, Holdings)]) {
    for (key, holdings) in in_flight {
        held.note(holdings, *key);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::handle::{BackendTag, Handle, HandleKind, HandleOpaque};
    use crate::model::partition::PartitionConfig;
    use crate::rules::limit::admit::Asking;
    use crate::rules::limit::key::LimitKey;

    /// An execution in version 5, of that fairness key, that takes the permit of its number.
    fn chosen(number: u8, turn_key: Option<&str>) -> (Candidate, Holdings) {
        let key = ExecutionKey { partition: 7, uuid: Uuid::from_u128(number.into()) };
        let candidate = Candidate {
            key,
            version: 5,
            reserves: false,
            budgets: Vec::new(),
            limits: Asking { execution: key, keys: vec!["a".into()], weight: 1 },
            fairness_key: turn_key.map(str::to_owned),
        };
        let limit_key = LimitKey::new("a", &PartitionConfig::default()).unwrap();
        let holdings = Holdings { permits: vec![(limit_key, number.into())], cells: Vec::new() };
        (candidate, holdings)
    }

    fn handle() -> Handle {
        let opaque = HandleOpaque::new(Vec::new().into_boxed_slice());
        Handle::new(BackendTag::Memory, HandleKind::Fresh, opaque)
    }

    #[test]
    fn what_is_being_taken_is_passed_over_in_the_version_listed_and_what_is_left_is_lost() {
        let in_flight = InFlight::default();
        let all = [0, 1, 2].map(|number| chosen(number, None));
        let mut taking = in_flight.take(&all);
        let passed = in_flight.and(&HashMap::new());
        assert!(all.iter().all(|(candidate, _)| passed.contains(candidate)));
        let (changed, _) = all[0].clone();
        assert!(!passed.contains(&Candidate { version: 6, ..changed }));
        assert_eq!(in_flight.holdings().len(), 3);

        taking.settle(&all[0].0.key, &Taken::Claimed(handle()));
        taking.settle(&all[1].0.key, &Taken::Overtaken);
        assert_eq!(in_flight.holdings().len(), 2, "a row shows what was claimed");
        assert!(in_flight.losses().is_empty());

        drop(taking);
        assert_eq!((in_flight.holdings().len(), in_flight.and(&HashMap::new()).count()), (0, 0));
        let losses = in_flight.losses().into_iter();
        let mut losses: Vec<_> =
            losses.map(|loss| (loss.holdings.first().map(|of| of.1), loss.is_overtaken)).collect();
        losses.sort_unstable();
        assert_eq!(losses, [(Some(1), true), (Some(2), false)]);
        assert!(in_flight.losses().is_empty(), "each is reported once");
    }

    #[test]
    fn a_list_by_turns_passes_over_the_most_of_one_key_and_what_was_gone() {
        let in_flight = InFlight::default();
        let all = [(0, "x"), (1, "y"), (2, "x")];
        let all = all.map(|(number, key)| chosen(number, Some(key)));
        let _taking = in_flight.take(&all);
        let (gone, _) = chosen(9, Some("y"));
        let passed = in_flight.and(&HashMap::from([(gone.key, gone.version)]));
        assert_eq!((passed.of_one_key, passed.count()), (3, 4));
        assert!(passed.contains(&gone));
    }
}
