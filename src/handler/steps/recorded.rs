//! The places of recorded steps, and of those that a transaction of the handler may still lose.

use std::collections::BTreeMap;

use ff_core::contracts::StepRecord;

use crate::handler::{ChangedSteps, OnChangedSteps};

/// The recorded steps that were not asked for yet, and the place of the next one.
pub(super) struct Recorded {
    steps: BTreeMap<u32, StepRecord>,
    next: u32,
    /// The places and names of steps that were recorded in transactions of the handler, which may
    /// have been rolled back. In the order of their places.
    unsettled: Vec<(u32, String)>,
}

/// The place of a step that is asked for.
pub(super) enum Place {
    Recorded(StepRecord),
    Free(u32),
}

impl Recorded {
    /// The steps that an earlier run recorded. The next new one gets that place.
    pub(super) fn new(steps: BTreeMap<u32, StepRecord>, next: u32) -> Self {
        Self { steps, next, unsettled: Vec::new() }
    }

    /// The place of the next step, which has that name.
    pub(super) fn place(
        &mut self,
        name: &str,
        on_changed: OnChangedSteps,
    ) -> Result<Place, ChangedSteps> {
        let recorded = match on_changed {
            OnChangedSteps::Fail => self.steps.get(&self.next).filter(|step| step.name == name),
            OnChangedSteps::Continue => self.steps.values().find(|step| step.name == name),
        };
        let position = recorded.map(|step| step.position);
        if let Some(step) = position.and_then(|position| self.steps.remove(&position)) {
            self.next += u32::from(step.position == self.next);
            return Ok(Place::Recorded(step));
        }
        if let Some(step) = self.steps.get(&self.next) {
            check(name, step)?;
        }
        let place = Place::Free(self.next);
        self.next += 1;
        Ok(place)
    }

    /// Notes a step whose record is in a transaction of the handler.
    pub(super) fn note_unsettled(&mut self, position: u32, name: &str) {
        self.unsettled.push((position, name.to_owned()));
    }

    /// The first place of a transaction that may have been rolled back, if a step of that name is
    /// in one.
    pub(super) fn first_unsettled(&self, name: &str) -> Option<u32> {
        let (first, _) = self.unsettled.first()?;
        self.unsettled.iter().any(|(_, noted)| noted == name).then_some(*first)
    }

    /// Notes that these steps are committed.
    pub(super) fn settle(&mut self, committed: &BTreeMap<u32, StepRecord>) {
        self.unsettled.retain(|(position, _)| !committed.contains_key(position));
    }

    /// Takes back the places from the first one that is not among the steps.
    pub(super) fn roll_back(&mut self, seen: &BTreeMap<u32, StepRecord>) {
        let gone = self.unsettled.iter().position(|(position, _)| !seen.contains_key(position));
        if let Some(gone) = gone
            && let Some((position, _)) = self.unsettled.drain(gone..).next()
        {
            self.next = position;
        }
    }
}

/// Checks that a recorded step is the one that is asked for.
pub(super) fn check(asked: &str, step: &StepRecord) -> Result<(), ChangedSteps> {
    if step.name == asked {
        return Ok(());
    }
    let (stored, asked) = (step.name.clone(), asked.to_owned());
    Err(ChangedSteps { position: step.position, stored, asked })
}

#[cfg(test)]
mod tests {
    use ff_core::types::{AttemptIndex, LeaseEpoch, TimestampMs};

    use super::*;

    fn recorded(names: &[&str], next: u32) -> Recorded {
        let step = |(position, name): (u32, &&str)| {
            let (attempt, epoch) = (AttemptIndex(0), LeaseEpoch(1));
            let value = b"null".to_vec();
            (position, StepRecord::new(position, *name, value, attempt, epoch, TimestampMs(0)))
        };
        Recorded::new((0..).zip(names).map(step).collect(), next)
    }

    fn places(mut recorded: Recorded, on: OnChangedSteps, asked: &[&str]) -> Vec<String> {
        let mut place = |name: &&str| match recorded.place(name, on) {
            Ok(Place::Recorded(step)) => format!("{name}={}", step.position),
            Ok(Place::Free(position)) => format!("{name}+{position}"),
            Err(changed) => format!("{}!{}", changed.asked, changed.stored),
        };
        asked.iter().map(&mut place).collect()
    }

    #[test]
    fn steps_are_found_by_their_order_and_another_name_is_noticed() {
        let on = OnChangedSteps::Fail;
        let two = || recorded(&["charge", "mail"], 0);
        assert_eq!(places(two(), on, &["charge", "mail", "log"]), ["charge=0", "mail=1", "log+2"]);
        assert_eq!(places(two(), on, &["charge", "log"]), ["charge=0", "log!mail"]);
        assert_eq!(places(two(), on, &["mail"]), ["mail!charge"]);
    }

    #[test]
    fn steps_are_found_by_their_names_where_the_job_is_to_go_on() {
        let on = OnChangedSteps::Continue;
        let three = || recorded(&["charge", "mail", "charge"], 3);
        let asked = ["mail", "charge", "log", "charge", "charge"];
        let found = ["mail=1", "charge=0", "log+3", "charge=2", "charge+4"];
        assert_eq!(places(three(), on, &asked), found);
    }

    #[test]
    fn a_repeated_transaction_gets_the_places_that_it_had() {
        let asked = |steps: &mut Recorded, name: &str| {
            let Ok(Place::Free(position)) = steps.place(name, OnChangedSteps::Fail) else {
                panic!("{name} is new");
            };
            steps.note_unsettled(position, name);
            position
        };
        let committed = |names: &[&str]| recorded(names, 0).steps;

        let mut steps = recorded(&[], 0);
        assert_eq!(["charge", "item", "item"].map(|name| asked(&mut steps, name)), [0, 1, 2]);
        assert_eq!(steps.first_unsettled("mail"), None, "another step goes on");
        assert_eq!(steps.first_unsettled("item"), Some(0));

        // All that the transaction did is there: a third one.
        steps.roll_back(&committed(&["charge", "item", "item"]));
        assert_eq!(asked(&mut steps, "item"), 3);

        // The first is committed, and the transaction of the others was rolled back.
        steps.settle(&committed(&["charge"]));
        assert_eq!(steps.first_unsettled("charge"), None);
        steps.roll_back(&committed(&[]));
        assert_eq!(["item", "item"].map(|name| asked(&mut steps, name)), [1, 2]);
    }
}
