//! The executor of an operation within a transaction of the caller.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_channel::{mpsc, oneshot};

use super::{Request, transaction_conflict};
use crate::contracts::PrepareOutcome;
use crate::engine::{BackendName, Bell, Commit, Executor, Horizon, ProcessState, Traffic};
use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::model::partition::PartitionConfig;
use crate::plan::facts::Answer;
use crate::plan::{Plan, Query};
use crate::rules::ctx::Source;
use crate::schema::TableRef;

/// The plans of one operation that may be refused. The transaction keeps its locks meanwhile, and
/// perhaps its snapshot, so an operation must not go on for as long as it would alone.
const MOST_REFUSALS: u32 = 6;

/// Hands reads and plans to the caller's transaction, and everything else to the backend.
#[derive(Clone)]
pub(super) struct WithinExecutor {
    backend: Arc<dyn Executor>,
    requests: mpsc::UnboundedSender<Request>,
    refusals: Arc<AtomicU32>,
    /// Its own, and soon gone: rows that are not committed teach other calls nothing, and a turn
    /// that waits for a locked row holds up no other call.
    process_state: Arc<ProcessState>,
    /// Rings for nothing: what was changed is not committed yet.
    bell: Arc<Bell>,
}

impl WithinExecutor {
    /// The executor of one operation, and what the operation asks.
    pub(super) fn over(backend: Arc<dyn Executor>) -> (Self, mpsc::UnboundedReceiver<Request>) {
        let (requests, asked) = mpsc::unbounded();
        let (refusals, process_state, bell) = <_>::default();
        (Self { backend, requests, refusals, process_state, bell }, asked)
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, EngineError>>) -> Request,
    ) -> Result<T, EngineError> {
        let (answer, answered) = oneshot::channel();
        // An operation that is over has a task left that asks on; its transaction is the caller's
        // again.
        self.requests
            .unbounded_send(request(answer))
            .map_err(|_| refused("a task that goes on"))?;
        answered.await.map_err(|_| refused("a task that goes on"))?
    }
}

/// The refusal of what a transaction of the caller cannot do.
fn refused(op: &'static str) -> EngineError {
    EngineError::Unavailable { op }
}

#[async_trait]
impl Executor for WithinExecutor {
    fn backend_name(&self) -> BackendName {
        self.backend.backend_name()
    }

    fn partitions(&self) -> PartitionConfig {
        self.backend.partitions()
    }

    fn now(&self) -> TimestampMs {
        self.backend.now()
    }

    fn source(&self) -> Box<dyn Source> {
        self.backend.source()
    }

    fn process_state(&self) -> &ProcessState {
        &self.process_state
    }

    async fn read(&self, queries: Vec<Query>) -> Result<Vec<Answer>, EngineError> {
        self.ask(|answer| Request::Read { queries, answer }).await
    }

    async fn commit(&self, plan: Plan) -> Result<Commit, EngineError> {
        let commit = self.ask(|answer| Request::Commit { plan, answer }).await?;
        match commit {
            Commit::Applied(_) => {}
            Commit::Refused | Commit::Prevented => {
                if MOST_REFUSALS <= self.refusals.fetch_add(1, Ordering::Relaxed) + 1 {
                    return Err(transaction_conflict());
                }
            }
        }
        Ok(commit)
    }

    fn bell(&self) -> &Bell {
        &self.bell
    }

    fn ring_for_other_processes(&self) {}

    fn commands_sent(&self) -> Traffic {
        self.backend.commands_sent()
    }

    async fn sleep(&self, time: Duration) {
        self.backend.sleep(time).await;
    }

    async fn horizon(&self) -> Result<Horizon, EngineError> {
        Err(refused("a subscription within a transaction"))
    }

    async fn frontier(&self) -> Result<i64, EngineError> {
        Err(refused("a subscription within a transaction"))
    }

    async fn number_above(&self, _table: TableRef, _number: i64) -> Result<(), EngineError> {
        Err(refused("an import within a transaction"))
    }

    fn share(&self) -> Arc<dyn Executor> {
        Arc::new(self.clone())
    }

    async fn ping_database(&self) -> Result<(), EngineError> {
        self.backend.ping_database().await
    }

    async fn prepare_database(&self) -> Result<PrepareOutcome, EngineError> {
        Err(refused("preparing within a transaction"))
    }

    async fn close_within(&self, _grace: Duration) -> Result<(), EngineError> {
        Err(refused("closing within a transaction"))
    }
}
