//! Durable steps: parts of a job that run once, whatever happens between them.

mod recorded;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ff_core::EngineError;
use ff_core::contracts::{NewStep, RecordStepOutcome, StepRecord};
use ff_core::engine_backend::EngineBackend;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;

use self::recorded::{Place, Recorded, check};
use super::answer::stored;
use super::{Failure, OnChangedSteps};
use crate::InTransaction;
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
        self.settle(name, None).await?;
        let position = match self.place(name).await? {
            Place::Recorded(step) => return read_value(&step),
            Place::Free(position) => position,
        };

        let value = work().await.map_err(Into::into)?;
        let step = new_step(position, name, &value)?;
        match self.engine.record_step(&self.run.handle, step).await.map_err(unrecorded)? {
            RecordStepOutcome::Recorded => Ok(value),
            RecordStepOutcome::Found(step) => {
                check(name, &step)?;
                read_value(&step)
            }
        }
    }

    /// The result of a step: the recorded one, or that of the work, which is then recorded within
    /// the transaction.
    pub(super) async fn step_within<T, E, X>(
        &self,
        name: &str,
        transaction: &mut X,
        work: impl for<'t> FnOnce(&'t mut X) -> BoxFuture<'t, Result<T, E>>,
    ) -> Result<T, Failure>
    where
        T: Serialize + DeserializeOwned,
        E: Into<Failure>,
        X: InTransaction,
    {
        self.settle(name, Some(transaction)).await?;
        let position = match self.place(name).await? {
            Place::Recorded(step) => return read_value(&step),
            Place::Free(position) => position,
        };
        lock(self.recorded().await?).note_unsettled(position, name);

        let value = work(transaction).await.map_err(Into::into)?;
        let step = new_step(position, name, &value)?;
        let mut within = transaction.within(self.engine.as_ref())?;
        match within.record_step(&self.run.handle, step).await.map_err(unrecorded)? {
            RecordStepOutcome::Recorded => Ok(value),
            // The work is done in the transaction, and was done before.
            RecordStepOutcome::Found(_) => Err(Failure::retry(format!(
                "step {name:?} was recorded meanwhile: its transaction must be rolled back"
            ))),
        }
    }

    /// Takes back the places of steps in a transaction that was rolled back, if the step that is
    /// asked for may be one of them: it is that of a repeated transaction then.
    async fn settle(
        &self,
        name: &str,
        transaction: Option<&mut dyn InTransaction>,
    ) -> Result<(), Failure> {
        let recorded = self.recorded().await?;
        let Some(first) = lock(recorded).first_unsettled(name) else { return Ok(()) };
        let committed = self.recorded_from(first).await?;
        lock(recorded).settle(&committed);
        let Some(first) = lock(recorded).first_unsettled(name) else { return Ok(()) };

        // The steps before this one in the same transaction are there, and not committed yet.
        let mut seen = BTreeMap::new();
        if let Some(transaction) = transaction {
            let mut within = transaction.within(self.engine.as_ref())?;
            let id = &self.run.execution_id;
            let mut after = first.checked_sub(1);
            while add_page(&mut seen, within.list_steps(id, after, PAGE).await?) {
                after = seen.keys().next_back().copied();
            }
        }
        lock(recorded).roll_back(&seen);
        Ok(())
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

    /// The committed steps from that place on.
    async fn recorded_from(&self, first: u32) -> Result<BTreeMap<u32, StepRecord>, EngineError> {
        let (id, mut steps) = (&self.run.execution_id, BTreeMap::new());
        let mut after = first.checked_sub(1);
        while add_page(&mut steps, self.engine.list_steps(id, after, PAGE).await?) {
            after = steps.keys().next_back().copied();
        }
        Ok(steps)
    }

    async fn read(&self) -> Result<Mutex<Recorded>, EngineError> {
        let steps = self.recorded_from(0).await?;
        let next = match self.on_changed {
            OnChangedSteps::Fail => 0,
            // Behind all others, since any of them may still be asked for.
            OnChangedSteps::Continue => steps.keys().next_back().map_or(0, |last| last + 1),
        };
        Ok(Mutex::new(Recorded::new(steps, next)))
    }
}

/// Adds a page of steps. Returns true if more may follow.
fn add_page(steps: &mut BTreeMap<u32, StepRecord>, page: Vec<StepRecord>) -> bool {
    let is_full = u32::try_from(page.len()).is_ok_and(|length| PAGE <= length);
    steps.extend(page.into_iter().map(|step| (step.position, step)));
    is_full
}

/// The step with that result, as it is stored.
fn new_step<T: Serialize>(position: u32, name: &str, value: &T) -> Result<NewStep, Failure> {
    let value = stored(value, format_args!("the result of step {name:?}"))?;
    Ok(NewStep::new(position, name, value))
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

/// A refusal of a step or a result for what it is: no attempt could store it.
pub(super) fn unrecorded(error: EngineError) -> Failure {
    match error {
        EngineError::Validation { .. } => Failure::fail(error),
        error => error.into(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
