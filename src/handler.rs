//! Handlers: functions that run jobs, and what they are given.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ff_core::EngineError;
use ff_core::backend::{AppendFrameOutcome, FailureClass, Frame, FrameKind};
use ff_core::contracts::SuspendArgs;
use ff_core::engine_backend::EngineBackend;
use ff_core::types::TimestampMs;

use crate::Job;
use crate::job::read_input;
use crate::worker::{Ending, Run, Runner};

/// The ending of a job without a result.
///
/// Any error is one, by `?`: the job is tried again as its policy allows, and its message is the
/// reason.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// The attempt failed. The policy of the job decides on another one.
    Retry(String),
    /// The job failed for good.
    Fail(String),
    /// The job runs again after that time. This counts as no failure.
    Snooze(Duration),
    /// The job waits for signals. It then runs again, in the same attempt.
    Suspend(Box<SuspendArgs>),
}

impl Failure {
    /// The attempt failed for that reason.
    pub fn retry(message: impl fmt::Display) -> Self {
        Self::Retry(message.to_string())
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

/// What a handler knows besides its job: the state that all handlers share, and the run.
pub struct Context<S> {
    state: Arc<S>,
    run: Arc<Run>,
    engine: Arc<dyn EngineBackend>,
}

impl<S> Context<S> {
    /// The state that all handlers of the worker share.
    #[must_use]
    pub fn state(&self) -> &S {
        &self.state
    }

    /// The run: its execution, attempt, lane and tags, and the handle of its lease.
    #[must_use]
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// The engine, for what the context has no method for.
    #[must_use]
    pub fn engine(&self) -> &Arc<dyn EngineBackend> {
        &self.engine
    }

    /// Says how far the job is, in percent, and what it does.
    ///
    /// # Errors
    /// The engine's refusal, once the lease is lost; its failure.
    pub async fn progress(
        &self,
        percent: impl Into<Option<u8>>,
        message: impl Into<String>,
    ) -> Result<(), EngineError> {
        self.engine.progress(&self.run.handle, percent.into(), Some(message.into())).await
    }

    /// Appends to the output of the attempt, which `ff tail` shows as it comes.
    ///
    /// # Errors
    /// As [`Self::progress`].
    pub async fn emit(&self, payload: Vec<u8>) -> Result<AppendFrameOutcome, EngineError> {
        self.engine.append_frame(&self.run.handle, Frame::new(payload, FrameKind::Stdout)).await
    }
}

impl<S> Clone for Context<S> {
    fn clone(&self) -> Self {
        let Self { state, run, engine } = self;
        Self { state: Arc::clone(state), run: Arc::clone(run), engine: Arc::clone(engine) }
    }
}

impl<S> fmt::Debug for Context<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("execution", &self.run.execution_id).finish_non_exhaustive()
    }
}

/// A handler of one kind of jobs, its types erased.
#[async_trait]
trait Handler<S>: Send + Sync {
    async fn handle(&self, context: Context<S>) -> Result<Vec<u8>, Failure>;
}

struct Typed<J, F>(F, PhantomData<fn() -> J>);

#[async_trait]
impl<S, J, F, R> Handler<S> for Typed<J, F>
where
    S: Send + Sync + 'static,
    J: Job,
    F: Fn(J, Context<S>) -> R + Send + Sync + 'static,
    R: Future<Output = Result<J::Output, Failure>> + Send,
{
    async fn handle(&self, context: Context<S>) -> Result<Vec<u8>, Failure> {
        // Another attempt would read the same.
        let job = read_input::<J>(&context.run.payload).map_err(Failure::fail)?;
        let output = (self.0)(job, context).await?;
        let no_json = |_| Failure::fail(format!("the result of {} has no JSON form", J::KIND));
        serde_json::to_vec(&output).map_err(no_json)
    }
}

/// The handlers of a worker, by the kind of their jobs.
pub(crate) struct Handlers<S> {
    engine: Arc<dyn EngineBackend>,
    state: Arc<S>,
    by_kind: HashMap<&'static str, Arc<dyn Handler<S>>>,
}

impl<S: Send + Sync + 'static> Handlers<S> {
    pub(crate) fn new(engine: Arc<dyn EngineBackend>, state: S) -> Self {
        Self { engine, state: Arc::new(state), by_kind: HashMap::new() }
    }

    /// Adds a handler. False if there is one of that kind already.
    pub(crate) fn add<J, F, R>(&mut self, handler: F) -> bool
    where
        J: Job,
        F: Fn(J, Context<S>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<J::Output, Failure>> + Send + 'static,
    {
        let handler = Arc::new(Typed(handler, PhantomData::<fn() -> J>));
        self.by_kind.insert(J::KIND, handler).is_none()
    }

    async fn ending(&self, failure: Failure) -> Ending {
        match failure {
            Failure::Retry(message) => Ending::Failed { message, class: FailureClass::Transient },
            Failure::Fail(message) => Ending::Failed { message, class: FailureClass::Permanent },
            Failure::Snooze(time) => self.snoozed(time).await,
            Failure::Suspend(args) => Ending::Suspended(*args),
        }
    }

    /// A delay by the clock of the database.
    async fn snoozed(&self, time: Duration) -> Ending {
        match self.engine.server_time_ms().await {
            Ok(now) => {
                let span = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                let until = i64::try_from(now.saturating_add(span)).unwrap_or(i64::MAX);
                Ending::Delayed(TimestampMs(until))
            }
            Err(error) => {
                tracing::warn!(%error, "the clock of the database could not be read");
                Ending::HandedBack
            }
        }
    }
}

#[async_trait]
impl<S: Send + Sync + 'static> Runner for Handlers<S> {
    async fn run(&self, run: Arc<Run>) -> Ending {
        let Some(handler) = self.by_kind.get(run.kind.as_str()) else {
            return Ending::Unable(format!("there is no handler for jobs of kind {:?}", run.kind));
        };

        let (state, engine) = (Arc::clone(&self.state), Arc::clone(&self.engine));
        match handler.handle(Context { state, run, engine }).await {
            Ok(output) => Ending::Completed(Some(output)),
            Err(failure) => self.ending(failure).await,
        }
    }
}
