//! An executor that records its calls and passes them on.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ff_core::EngineError;
use ff_core::backend::PrepareOutcome;
use ff_core::engine::{BackendName, Bell, Commit, Executor, Horizon, ProcessState};
use ff_core::partition::PartitionConfig;
use ff_core::plan::facts::Answer;
use ff_core::plan::{Plan, Query};
use ff_core::rules::ctx::Source;
use ff_core::types::TimestampMs;

use super::Call;

/// Records the engine's calls to the executor inside. Clones share one record.
pub struct Recorder<E> {
    inner: Arc<E>,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl<E> Clone for Recorder<E> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), calls: Arc::clone(&self.calls) }
    }
}

impl<E> Recorder<E> {
    /// Records the calls to `inner` from now on.
    pub fn new(inner: Arc<E>) -> Self {
        Self { inner, calls: Arc::default() }
    }

    /// The reads and plans since the last call, in order.
    #[must_use]
    pub fn take(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn record(&self, call: Call) {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    }
}

#[async_trait]
impl<E: Executor> Executor for Recorder<E> {
    fn backend_name(&self) -> BackendName {
        self.inner.backend_name()
    }

    fn process_state(&self) -> &ProcessState {
        self.inner.process_state()
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
        queries.iter().cloned().map(Call::Query).for_each(|call| self.record(call));
        self.inner.read(queries).await
    }

    async fn commit(&self, plan: Plan) -> Result<Commit, EngineError> {
        self.record(Call::Plan(plan.clone()));
        self.inner.commit(plan).await
    }

    fn bell(&self) -> &Bell {
        self.inner.bell()
    }

    fn ring_for_other_processes(&self) {
        self.inner.ring_for_other_processes();
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

    async fn ping_database(&self) -> Result<(), EngineError> {
        self.inner.ping_database().await
    }

    async fn prepare_database(&self) -> Result<PrepareOutcome, EngineError> {
        self.inner.prepare_database().await
    }

    async fn close_within(&self, grace: Duration) -> Result<(), EngineError> {
        self.inner.close_within(grace).await
    }
}
