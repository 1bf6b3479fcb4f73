//! The backend as a scan uses it: a commit gives up if another transaction keeps a row locked.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{BackendName, Bell, Commit, Executor, Horizon, ProcessState};
use crate::contracts::PrepareOutcome;
use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::model::partition::PartitionConfig;
use crate::plan::facts::Answer;
use crate::plan::{Plan, Query};
use crate::rules::ctx::Source;

/// Forwards to the backend, but commits with [`Executor::commit_unless_locked`].
pub(super) struct ScanExecutor(Arc<dyn Executor>);

impl ScanExecutor {
    pub(super) fn over(executor: &dyn Executor) -> Self {
        Self(executor.share())
    }
}

#[async_trait]
impl Executor for ScanExecutor {
    fn backend_name(&self) -> BackendName {
        self.0.backend_name()
    }

    fn partitions(&self) -> PartitionConfig {
        self.0.partitions()
    }

    fn now(&self) -> TimestampMs {
        self.0.now()
    }

    fn source(&self) -> Box<dyn Source> {
        self.0.source()
    }

    fn process_state(&self) -> &ProcessState {
        self.0.process_state()
    }

    async fn read(&self, queries: Vec<Query>) -> Result<Vec<Answer>, EngineError> {
        self.0.read(queries).await
    }

    async fn commit(&self, plan: Plan) -> Result<Commit, EngineError> {
        self.0.commit_unless_locked(plan).await
    }

    fn bell(&self) -> &Bell {
        self.0.bell()
    }

    fn ring_for_other_processes(&self) {
        self.0.ring_for_other_processes();
    }

    async fn sleep(&self, time: Duration) {
        self.0.sleep(time).await;
    }

    async fn horizon(&self) -> Result<Horizon, EngineError> {
        self.0.horizon().await
    }

    async fn frontier(&self) -> Result<i64, EngineError> {
        self.0.frontier().await
    }

    fn share(&self) -> Arc<dyn Executor> {
        Arc::new(Self(Arc::clone(&self.0)))
    }

    async fn ping_database(&self) -> Result<(), EngineError> {
        self.0.ping_database().await
    }

    async fn prepare_database(&self) -> Result<PrepareOutcome, EngineError> {
        self.0.prepare_database().await
    }

    async fn close_within(&self, grace: Duration) -> Result<(), EngineError> {
        self.0.close_within(grace).await
    }
}
