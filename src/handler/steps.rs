//! Durable steps: parts of a job that run once, whatever happens between them.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ff_core::EngineError;
use ff_core::contracts::{NewStep, RecordStepOutcome, StepRecord};
use ff_core::engine_backend::EngineBackend;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;

use super::{ChangedSteps, Failure, OnChangedSteps};
use crate::worker::Run;

/// The steps in one read.
const PAGE: u32 = 1_000;

/// The steps of one run.
pub(super) struct Steps {
    pub(super) engine: Arc<dyn EngineBackend>,
    pub(super) run: Arc<Run>,
    on_changed: OnChangedSteps,
    /// Read when the first step is asked for.
    recorded: OnceCell<Mutex<Recorded>>,
    /// The signals that ended earlier waits, by id.
    signals: Mutex<BTreeSet<String>>,
}

/// The recorded steps that were not asked for yet, and the place of the next one.
struct Recorded {
    steps: BTreeMap<u32, StepRecord>,
    next: u32,
}

/// The place of a step that is asked for.
enum Place {
    Recorded(StepRecord),
    Free(u32),
}

impl Steps {
    pub(super) fn new(
        engine: Arc<dyn EngineBackend>,
        run: Arc<Run>,
        on_changed: OnChangedSteps,
    ) -> Self {
        Self { engine, run, on_changed, recorded: OnceCell::new(), signals: Mutex::default() }
    }

    /// The result of a step: the recorded one, or that of the work, which is then recorded.
    pub(super) async fn step<T, R, E>(
        &self,
        name: &str,
        work: impl FnOnce() -> R,
    ) -> Result<T, Failure>
    where
        T: Serialize + DeserializeOwned,
        R: Future<Output = Result<T, E>>,
        E: Into<Failure>,
    {
        let position = match self.place(name).await? {
            Place::Recorded(step) => return read_value(&step),
            Place::Free(position) => position,
        };

        let value = work().await.map_err(Into::into)?;
        let no_json = |_| Failure::fail(format!("the result of step {name:?} has no JSON form"));
        let stored = serde_json::to_vec(&value).map_err(no_json)?;
        let step = NewStep::new(position, name, stored);
        match self.engine.record_step(&self.run.handle, step).await.map_err(unrecorded)? {
            RecordStepOutcome::Recorded => Ok(value),
            RecordStepOutcome::Found(step) => {
                check(name, &step)?;
                read_value(&step)
            }
        }
    }

    /// True if the signal ended no earlier wait.
    pub(super) fn is_new(&self, signal: &str) -> bool {
        !lock(&self.signals).contains(signal)
    }

    /// Notes that the signal ended a wait.
    pub(super) fn note_signal(&self, signal: &str) {
        lock(&self.signals).insert(signal.to_owned());
    }

    async fn place(&self, name: &str) -> Result<Place, Failure> {
        let mut recorded = lock(self.recorded().await?);
        recorded.place(name, self.on_changed).map_err(Failure::Changed)
    }

    async fn recorded(&self) -> Result<&Mutex<Recorded>, EngineError> {
        self.recorded.get_or_try_init(|| self.read()).await
    }

    async fn read(&self) -> Result<Mutex<Recorded>, EngineError> {
        let mut steps = BTreeMap::new();
        loop {
            let after = steps.keys().next_back().copied();
            let page = self.engine.list_steps(&self.run.execution_id, after, PAGE).await?;
            let is_last = u32::try_from(page.len()).is_ok_and(|length| length < PAGE);
            steps.extend(page.into_iter().map(|step| (step.position, step)));
            if is_last {
                break;
            }
        }

        let next = match self.on_changed {
            OnChangedSteps::Fail => 0,
            // Behind all others, since any of them may still be asked for.
            OnChangedSteps::Continue => steps.keys().next_back().map_or(0, |last| last + 1),
        };
        Ok(Mutex::new(Recorded { steps, next }))
    }
}

impl Recorded {
    fn place(&mut self, name: &str, on_changed: OnChangedSteps) -> Result<Place, ChangedSteps> {
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
}

/// Checks that a recorded step is the one that is asked for.
fn check(asked: &str, step: &StepRecord) -> Result<(), ChangedSteps> {
    if step.name == asked {
        return Ok(());
    }
    let (stored, asked) = (step.name.clone(), asked.to_owned());
    Err(ChangedSteps { position: step.position, stored, asked })
}

/// The recorded result. One of another type is a change of the code, too.
fn read_value<T: DeserializeOwned>(step: &StepRecord) -> Result<T, Failure> {
    serde_json::from_slice(&step.value).map_err(|error| {
        let (name, line, column) = (&step.name, error.line(), error.column());
        Failure::fail(format!(
            "the recorded result of step {name:?} is not of the type that the handler asks for, at \
             line {line}, column {column}: its code has changed"
        ))
    })
}

/// A refusal of a step for what it is: no attempt could record it.
fn unrecorded(error: EngineError) -> Failure {
    match error {
        EngineError::Validation { .. } => Failure::fail(error),
        error => error.into(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        Recorded { steps: (0..).zip(names).map(step).collect(), next }
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
}
