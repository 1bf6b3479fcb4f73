//! The backend as a scan uses it: a commit gives up if another transaction keeps a row locked.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Bell, Callers, Commit, Executor, Horizon, Identity};
use crate::contracts::PrepareOutcome;
use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::model::partition::PartitionConfig;
use crate::plan::facts::Answer;
use crate::plan::{Plan, Query};
use crate::rules::ctx::Source;

/// Forwards to the backend, but commits with [`Executor::commit_in_passing`].
pub(super) struct Passing(Arc<dyn Executor>);

impl Passing {
    pub(super) fn by<E: Executor>(executor: &E) -> Self {
        Self(executor.share())
    }
}

#[async_trait]
impl Executor for Passing {
    fn identity(&self) -> Identity {
        self.0.identity()
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

    fn callers(&self) -> &Callers {
        self.0.callers()
    }

    async fn read(&self, queries: Vec<Query>) -> Result<Vec<Answer>, EngineError> {
        self.0.read(queries).await
    }

    async fn commit(&self, plan: Plan) -> Result<Commit, EngineError> {
        self.0.commit_in_passing(plan).await
    }

    fn bell(&self) -> &Bell {
        self.0.bell()
    }

    fn attend(&self) {
        self.0.attend();
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

    async fn ping(&self) -> Result<(), EngineError> {
        self.0.ping().await
    }

    async fn prepare(&self) -> Result<PrepareOutcome, EngineError> {
        self.0.prepare().await
    }

    async fn drain(&self, grace: Duration) -> Result<(), EngineError> {
        self.0.drain(grace).await
    }
}
