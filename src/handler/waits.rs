//! Waits for signals, as durable steps.

use std::fmt;
use std::time::Duration;

use ff_core::contracts::{ResumeCondition, ResumeSignal, SuspendArgs};
use ff_core::policy::TimeoutBehavior;
use ff_core::types::TimestampMs;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Context, Failure};
use crate::clock::{from_now, now};

/// A signal that a job waited for.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Signal {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The sender.
    pub source: String,
    /// The content, if it has one.
    pub payload: Option<Vec<u8>>,
}

impl Signal {
    fn of(signal: &ResumeSignal) -> Self {
        Self {
            id: signal.signal_id.to_string(),
            name: signal.signal_name.clone(),
            source: signal.source_identity.clone(),
            payload: signal.payload.clone(),
        }
    }

    /// The content, as JSON. A signal without one is `null`.
    ///
    /// # Errors
    /// [`Failure::Fail`] for a content that is not of that type.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        let payload = self.payload.as_deref().unwrap_or(b"null");
        serde_json::from_slice(payload).map_err(|error| {
            let (name, line, column) = (&self.name, error.line(), error.column());
            Failure::fail(format!(
                "the content of signal {name:?} is not what the handler asks for, at line {line}, \
                 column {column}"
            ))
        })
    }
}

impl fmt::Debug for Signal {
    /// Tells the length of the content, and nothing else of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, name, source, payload } = self;
        let mut shown = f.debug_struct("Signal");
        shown.field("id", id).field("name", name).field("source", source);
        shown.field("payload_bytes", &payload.as_ref().map(Vec::len)).finish()
    }
}

impl<S> Context<S> {
    /// Waits for a signal of that name. The job is suspended meanwhile, and then runs again.
    ///
    /// # Errors
    /// [`Failure::Suspend`], to be returned by the handler, until the signal has come; as
    /// [`Self::step`].
    pub async fn wait_for(&self, name: &str) -> Result<Signal, Failure> {
        match self.signal(name, None).await? {
            Some(signal) => Ok(signal),
            None => {
                Err(Failure::fail(format!("the wait for signal {name:?} has ended without it")))
            }
        }
    }

    /// The same, for at most that time. `None` where no signal came.
    ///
    /// # Errors
    /// As [`Self::wait_for`].
    pub async fn wait_for_within(
        &self,
        name: &str,
        time: Duration,
    ) -> Result<Option<Signal>, Failure> {
        let engine = self.engine().as_ref();
        let until = self.step(&format!("{name}: until"), || from_now(engine, time)).await?;
        self.signal(name, Some(until)).await
    }

    /// The signals that the job has got, by waitpoint, and in order of arrival at each. Those of
    /// earlier waits are among them.
    ///
    /// ```
    /// use flowfabric_sql::{Context, Failure, Job};
    /// use flowfabric_sql::core::contracts::ResumeCondition;
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Publish {}
    /// # impl Job for Publish { const KIND: &'static str = "publish"; type Output = usize; }
    ///
    /// async fn publish(_: Publish, context: Context<()>) -> Result<usize, Failure> {
    ///     let votes = context.signals().await?;
    ///     if votes.len() < 2 {
    ///         let two_of_three = ResumeCondition::signals_at(2, ["ada", "grace", "edsger"]);
    ///         return Err(Failure::suspend_for(two_of_three));
    ///     }
    ///     Ok(votes.len())
    /// }
    /// ```
    ///
    /// # Errors
    /// The engine's failure.
    pub async fn signals(&self) -> Result<Vec<Signal>, Failure> {
        let signals = self.engine().observe_signals(&self.run().handle).await?;
        Ok(signals.iter().map(Signal::of).collect())
    }

    async fn signal(
        &self,
        name: &str,
        until: Option<TimestampMs>,
    ) -> Result<Option<Signal>, Failure> {
        // Each signal ends one wait, however many the execution has got.
        let step = format!("{name}: signal");
        let come = async {
            let signals = self.engine().observe_signals(&self.run().handle).await?;
            let of_name = signals.iter().filter(|signal| signal.signal_name == name);
            let signal = of_name.map(Signal::of).find(|signal| self.steps.is_new(&signal.id));
            let late = match until {
                Some(until) => until <= now(self.engine().as_ref()).await?,
                None => false,
            };
            match signal {
                None if !late => Err(Failure::suspend(waiting(name, until))),
                signal => Ok(signal),
            }
        };
        let signal: Option<Signal> = self.step(&step, || come).await?;
        if let Some(signal) = &signal {
            self.steps.note_signal(&signal.id);
        }
        Ok(signal)
    }
}

/// The suspension until a signal of that name comes.
fn waiting(name: &str, until: Option<TimestampMs>) -> SuspendArgs {
    // The worker sets the time, by the clock of the database.
    let args = SuspendArgs::until(ResumeCondition::signal(name), TimestampMs(0));
    match until {
        Some(until) => {
            // A suspension is over after its time, and a wait, like a sleep, at its time.
            let last = TimestampMs(until.0.saturating_sub(1));
            args.with_timeout(last, TimeoutBehavior::AutoResumeWithTimeoutSignal)
        }
        None => args,
    }
}
