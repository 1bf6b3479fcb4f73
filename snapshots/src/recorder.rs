//! An executor that records its calls and passes them on.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ff_core::EngineError;
use ff_core::backend::PrepareOutcome;
use ff_core::engine::{Bell, Callers, Commit, Executor, Horizon, Identity};
use ff_core::partition::PartitionConfig;
use ff_core::plan::facts::Answer;
use ff_core::plan::{Plan, Query};
use ff_core::rules::ctx::Source;
use ff_core::types::TimestampMs;

use super::Request;

/// Records the engine's calls to the executor inside. Clones share one record.
pub struct Recorder<E> {
    inner: Arc<E>,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl<E> Clone for Recorder<E> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), requests: Arc::clone(&self.requests) }
    }
}

impl<E> Recorder<E> {
    /// Records the calls to `inner` from now on.
    pub fn new(inner: Arc<E>) -> Self {
        Self { inner, requests: Arc::default() }
    }

    /// The reads and plans since the last call, in order.
    #[must_use]
    pub fn take(&self) -> Vec<Request> {
        std::mem::take(&mut *self.requests.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, request: Request) {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    }
}

#[async_trait]
impl<E: Executor> Executor for Recorder<E> {
    fn identity(&self) -> Identity {
        self.inner.identity()
    }

    fn callers(&self) -> &Callers {
        self.inner.callers()
    }

    fn partitions(&self) -> PartitionConfig {
        self.inner.partitions()
    }

    fn now(&self) -> TimestampMs {
        self.inner.now()
    }

    fn source(&self) -> Box<dyn Source> {
        self.inner.source()
    }

    async fn read(&self, queries: Vec<Query>) -> Result<Vec<Answer>, EngineError> {
        queries.iter().cloned().map(Request::Query).for_each(|request| self.note(request));
        self.inner.read(queries).await
    }

    async fn commit(&self, plan: Plan) -> Result<Commit, EngineError> {
        self.note(Request::Plan(plan.clone()));
        self.inner.commit(plan).await
    }

    fn bell(&self) -> &Bell {
        self.inner.bell()
    }

    fn attend(&self) {
        self.inner.attend();
    }

    async fn sleep(&self, time: Duration) {
        self.inner.sleep(time).await;
    }

    async fn horizon(&self) -> Result<Horizon, EngineError> {
        self.inner.horizon().await
    }

    async fn frontier(&self) -> Result<i64, EngineError> {
        self.inner.frontier().await
    }

    fn share(&self) -> Arc<dyn Executor> {
        Arc::new(self.clone())
    }

    async fn ping(&self) -> Result<(), EngineError> {
        Executor::ping(self.inner.as_ref()).await
    }

    async fn prepare(&self) -> Result<PrepareOutcome, EngineError> {
        Executor::prepare(self.inner.as_ref()).await
    }

    async fn drain(&self, grace: Duration) -> Result<(), EngineError> {
        self.inner.drain(grace).await
    }
}
