//! Handlers: functions that run jobs, and the endings that they return.

mod answer;
mod changed;
mod children;
mod context;
mod steps;
mod waits;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ff_core::backend::FailureClass;
use ff_core::contracts::{ResumeCondition, SuspendArgs};
use ff_core::engine_backend::EngineBackend;
use ff_core::types::{ExecutionId, TimestampMs};
use tokio::sync::watch;

use crate::Job;
use crate::clock::from_now;
use crate::job::read_input;
use crate::worker::{Ending, Run, Runner};

pub use answer::{Answer, Completed};
pub use changed::{ChangedSteps, OnChangedSteps};
pub use children::Child;
pub use context::Context;
pub use waits::Signal;

use steps::Steps;

/// The ending of a job without a result.
///
/// Any error is one, by `?`: the job is tried again as its policy allows, and its message is the
/// reason.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// The attempt failed. The policy of the job decides on another one.
    Retry(String),
    /// The same, after that pause instead of the one of the policy.
    RetryAfter {
        /// The reason.
        message: String,
        /// The pause.
        pause: Duration,
    },
    /// The job failed for good.
    Fail(String),
    /// The job runs again after that time. This counts as no failure.
    Snooze(Duration),
    /// The job runs again at that time, by the clock of the database. This counts as no failure.
    Until(TimestampMs),
    /// The job waits for signals. It then runs again, in the same attempt.
    Suspend(Box<SuspendArgs>),
    /// The job waits until that one, on the same partition, has ended. It then runs again, in the
    /// same attempt.
    WaitFor(ExecutionId),
    /// The code of the handler no longer fits the steps that an earlier run recorded. The job has
    /// failed for good.
    Changed(ChangedSteps),
}

impl Failure {
    /// The attempt failed for that reason.
    pub fn retry(message: impl fmt::Display) -> Self {
        Self::Retry(message.to_string())
    }

    /// The attempt failed for that reason. If the policy of the job allows another one, it begins
    /// after that pause, such as the one that a server asks for.
    pub fn retry_after(pause: Duration, message: impl fmt::Display) -> Self {
        Self::RetryAfter { message: message.to_string(), pause }
    }

    /// The job failed for good, for that reason.
    pub fn fail(message: impl fmt::Display) -> Self {
        Self::Fail(message.to_string())
    }

    /// The job runs again after that time.
    #[must_use]
    pub fn snooze(time: Duration) -> Self {
        Self::Snooze(time)
    }

    /// The job waits for signals.
    #[must_use]
    pub fn suspend(args: SuspendArgs) -> Self {
        Self::Suspend(Box::new(args))
    }

    /// The job waits until that condition holds. Then [`Context::signals`] has what came.
    #[must_use]
    pub fn suspend_for(condition: ResumeCondition) -> Self {
        // The worker sets the time, by the clock of the database.
        Self::suspend(SuspendArgs::until(condition, TimestampMs(0)))
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        Self::Retry(message)
    }
}

/// A handler of one kind of jobs, its types erased.
#[async_trait]
trait Handler<S>: Send + Sync {
    async fn handle(&self, context: Context<S>) -> Result<Ending, Failure>;
}

struct Typed<J, A, F>(F, PhantomData<fn() -> (J, A)>);

#[async_trait]
impl<S, J, A, F, R> Handler<S> for Typed<J, A, F>
where
    S: Send + Sync + 'static,
    J: Job,
    A: Answer<J::Output> + Send,
    F: Fn(J, Context<S>) -> R + Send + Sync + 'static,
    R: Future<Output = Result<A, Failure>> + Send,
{
    async fn handle(&self, context: Context<S>) -> Result<Ending, Failure> {
        // Another attempt would read the same.
        let job = read_input::<J>(&context.run().payload).map_err(Failure::fail)?;
        (self.0)(job, context).await?.ending(J::KIND)
    }
}

/// The handlers of a service, by the kind of their jobs.
pub(crate) struct Handlers<S> {
    engine: Arc<dyn EngineBackend>,
    state: Arc<S>,
    by_kind: HashMap<&'static str, Arc<dyn Handler<S>>>,
    pub(crate) on_changed_steps: OnChangedSteps,
}

impl<S: Send + Sync + 'static> Handlers<S> {
    pub(crate) fn new(engine: Arc<dyn EngineBackend>, state: S) -> Self {
        let (state, by_kind) = (Arc::new(state), HashMap::new());
        Self { engine, state, by_kind, on_changed_steps: OnChangedSteps::default() }
    }

    /// Adds a handler, in place of one of the same kind.
    pub(crate) fn add<J, A, F, R>(&mut self, handler: F)
    where
        J: Job,
        A: Answer<J::Output> + Send + 'static,
        F: Fn(J, Context<S>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<A, Failure>> + Send + 'static,
    {
        let handler = Arc::new(Typed(handler, PhantomData::<fn() -> (J, A)>));
        self.by_kind.insert(J::KIND, handler);
    }

    async fn ending(&self, failure: Failure) -> Ending {
        let failed = |message, class| Ending::Failed { message, class };
        match failure {
            Failure::Retry(message) => failed(message, FailureClass::Transient),
            Failure::RetryAfter { message, pause } => Ending::RetriedAfter { message, pause },
            Failure::Fail(message) => failed(message, FailureClass::Permanent),
            Failure::Changed(changed) => failed(changed.to_string(), FailureClass::Permanent),
            Failure::Until(time) => Ending::Delayed(time),
            Failure::Snooze(time) => match from_now(self.engine.as_ref(), time).await {
                Ok(until) => Ending::Delayed(until),
                Err(error) => {
                    tracing::warn!(%error, "the clock of the database could not be read");
                    Ending::HandedBack
                }
            },
            Failure::Suspend(args) => Ending::Suspended(*args),
            Failure::WaitFor(child) => Ending::WaitingFor(child),
        }
    }
}

#[async_trait]
impl<S: Send + Sync + 'static> Runner for Handlers<S> {
    async fn run(&self, run: Arc<Run>) -> Ending {
        let Some(handler) = self.by_kind.get(run.kind.as_str()) else {
            return Ending::Unable(format!("there is no handler for jobs of kind {:?}", run.kind));
        };

        // Dropped with this future, which tells the context that the run is over.
        let (_running, over) = watch::channel(());
        let steps = Steps::new(Arc::clone(&self.engine), Arc::clone(&run), self.on_changed_steps);
        let context = Context::new(Arc::clone(&self.state), steps, over);
        match handler.handle(context).await {
            Ok(ending) => ending,
            Err(failure) => self.ending(failure).await,
        }
    }
}
