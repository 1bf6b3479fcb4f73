//! The context of a handler: shared state, the run, durable steps and output.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ff_core::EngineError;
use ff_core::backend::{AppendFrameOutcome, Frame, FrameKind};
use ff_core::engine_backend::EngineBackend;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::Failure;
use super::answer::{Completed, stored};
use super::steps::{Steps, unrecorded};
use crate::clock::{from_now, now};
use crate::flow::{NodeName, execution_id};
use crate::job::read_output;
use crate::telemetry::Traceparent;
use crate::worker::Run;
use crate::{InTransaction, Job};

/// The longest sleep for which a handler keeps its place.
const SHORT_MS: i64 = 100;

/// What a handler knows besides its job: the state that all handlers share, and the run.
pub struct Context<S> {
    state: Arc<S>,
    pub(super) steps: Arc<Steps>,
    over: watch::Receiver<()>,
}

impl<S> Context<S> {
    pub(super) fn new(state: Arc<S>, steps: Steps, over: watch::Receiver<()>) -> Self {
        Self { state, steps: Arc::new(steps), over }
    }

    /// The state that all handlers of the service share.
    #[must_use]
    pub fn state(&self) -> &S {
        &self.state
    }

    /// The run: its execution, attempt, lane and tags, and the handle of its lease.
    #[must_use]
    pub fn run(&self) -> &Run {
        &self.steps.run
    }

    /// The engine, for what the context has no method for.
    #[must_use]
    pub fn engine(&self) -> &Arc<dyn EngineBackend> {
        &self.steps.engine
    }

    /// The trace that the job continues, for what the handler calls: other services, commands. Jobs
    /// that it submits get it by themselves.
    #[must_use]
    pub fn traceparent(&self) -> Option<Traceparent> {
        Traceparent::current().or_else(|| self.run().traceparent())
    }

    /// True once the run is over: its lease is lost, the job was cancelled, or it has ended. A
    /// handler is dropped then; this tells threads that it has started.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over.has_changed().is_err()
    }

    /// Waits until the run is over, as [`Self::is_over`] says.
    pub async fn over(&self) {
        let mut over = self.over.clone();
        // Nothing is ever sent; the channel closes.
        while over.changed().await.is_ok() {}
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
        self.engine().progress(&self.run().handle, percent.into(), Some(message.into())).await
    }

    /// Appends to the output of the attempt, which `ff tail` shows as it comes.
    ///
    /// # Errors
    /// As [`Self::progress`].
    pub async fn emit(&self, payload: Vec<u8>) -> Result<AppendFrameOutcome, EngineError> {
        self.engine().append_frame(&self.run().handle, Frame::new(payload, FrameKind::Stdout)).await
    }

    /// Runs a part of the job once. Its result is recorded under the fence of the lease, and a
    /// later run of the job, after a crash or a failure, reads it back instead.
    ///
    /// A crash between the work and the record repeats the work, so give it a key of its own for
    /// what it does elsewhere, such as the id of the execution.
    ///
    /// # Errors
    /// The failure of the work, which is not recorded; [`Failure::Changed`] where an earlier run
    /// recorded another step; the engine's failure.
    pub async fn step<T, R, E>(&self, name: &str, work: impl FnOnce() -> R) -> Result<T, Failure>
    where
        T: Serialize + DeserializeOwned,
        R: Future<Output = Result<T, E>>,
        E: Into<Failure>,
    {
        self.steps.step(name, work).await
    }

    /// Runs a part of the job once, in a transaction of the handler: what the work writes there and
    /// the record of the step are committed together, so neither a crash nor a lost lease repeats
    /// the work. An earlier run's result is read back, and the transaction left as it was.
    ///
    /// The work is a closure such as `|tx| Box::pin(async move { .. })`, which owns what it needs.
    /// Commit the transaction, or roll it back, before the next step outside of it.
    ///
    /// # Errors
    /// As [`Self::step`], and those of [`InTransaction::within`]. A refusal, such as that of a
    /// worker without the lease, leaves the transaction usable; what the work has written is in it
    /// until it is rolled back.
    pub async fn step_within<T, E, X>(
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
        self.steps.step_within(name, transaction, work).await
    }

    /// Completes the job with that output within a transaction of the handler, and commits it: the
    /// job has ended if and only if the handler's own rows are stored. The handler returns the
    /// answer, and the service reports nothing.
    ///
    /// # Errors
    /// The engine's refusal, once the lease is lost, and the failure of the commit. The transaction
    /// is rolled back, and the job goes on.
    pub async fn complete_within<T: Serialize>(
        &self,
        mut transaction: impl InTransaction,
        output: T,
    ) -> Result<Completed<T>, Failure> {
        let output = stored(&output, format_args!("the result"))?;

        let mut within = transaction.within(self.engine().as_ref())?;
        within.complete(&self.run().handle, Some(output)).await.map_err(unrecorded)?;
        drop(within);
        transaction.commit().await?;
        Ok(Completed::new())
    }

    /// Sleeps for that time, by the clock of the database, however often the job is started again
    /// meanwhile. A long sleep ends the run, and holds no place of the service.
    ///
    /// # Errors
    /// [`Failure::Until`], to be returned by the handler, while the time has not come; as
    /// [`Self::step`].
    pub async fn sleep(&self, name: &str, time: Duration) -> Result<(), Failure> {
        let engine = self.engine().as_ref();
        let until = self.step(name, || from_now(engine, time)).await?;
        let left = until.0.saturating_sub(now(engine).await?.0);
        match u64::try_from(left) {
            Ok(left) if SHORT_MS < left.cast_signed() => Err(Failure::Until(until)),
            Ok(left) => {
                tokio::time::sleep(Duration::from_millis(left)).await;
                Ok(())
            }
            Err(_) => Ok(()),
        }
    }

    /// The result of the node of that name in the job's flow. A job runs once the nodes that it
    /// waits for have ended.
    ///
    /// # Errors
    /// [`Failure::Fail`] for a job outside a flow, a text that names no node, a node without a
    /// result, or one of another type; the engine's failure.
    pub async fn upstream<J: Job>(&self, node: &str) -> Result<J::Output, Failure> {
        let node = NodeName::new(node).map_err(Failure::fail)?;
        let flow = self.engine().resolve_execution_flow_id(&self.run().execution_id).await?;
        let flow = flow.ok_or_else(|| Failure::fail("the job belongs to no flow"))?;

        let id = execution_id(&flow, &node);
        let result = self.engine().get_execution_result(&id).await?;
        let none = || Failure::fail(format!("node {node} of the flow has no result"));
        read_output::<J>(Some(&result.ok_or_else(none)?)).map_err(Failure::fail)
    }
}

impl<S> Clone for Context<S> {
    fn clone(&self) -> Self {
        let Self { state, steps, over } = self;
        Self { state: Arc::clone(state), steps: Arc::clone(steps), over: over.clone() }
    }
}

impl<S> fmt::Debug for Context<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Context");
        shown.field("execution", &self.run().execution_id).finish_non_exhaustive()
    }
}
