//! Operations within a transaction of the caller.
//!
//! The caller owns the transaction, so an operation cannot use the backend's own connections. It
//! runs on an executor that hands each read and each plan to the transaction, and everything else
//! to the backend. The rules, the loop and the plans are those of every other call. An operation
//! that is refused leaves no change behind: the transaction answers it behind a savepoint.
//!
//! Nothing that another call remembers is learned here, because the rows may be rolled back.

mod executor;

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures_channel::{mpsc, oneshot};
use futures_util::StreamExt as _;
use futures_util::future::{Either, select};

use self::executor::WithinExecutor;
use super::operations::EngineBackend as _;
use super::{Commit, Executor};
use crate::contracts::{
    AddExecutionToFlowArgs, AddExecutionToFlowResult, CancelExecutionArgs, CancelExecutionResult,
    ChangePriorityArgs, ChangePriorityResult, CompleteExecutionArgs, CompleteExecutionResult,
    CreateExecutionArgs, CreateExecutionResult, CreateFlowArgs, CreateFlowResult,
    DeliverApprovalSignalArgs, DeliverSignalArgs, DeliverSignalResult, ExecutionSnapshot,
    FailExecutionArgs, FailExecutionResult, FailOutcome, FailureReason, NewStep, RecordStepOutcome,
    ReplayExecutionArgs, ReplayExecutionResult, StageDependencyEdgeArgs, StageDependencyEdgeResult,
    StepRecord, SuspendArgs, SuspendOutcome,
};
use crate::model::error::{ContentionKind, EngineError};
use crate::model::handle::Handle;
use crate::model::ids::{ExecutionId, TimestampMs};
use crate::model::state::{FailureClass, PublicState};
use crate::plan::facts::Answer;
use crate::plan::{Plan, Query};

/// One thing that an operation asks of the caller's transaction.
#[derive(Debug)]
pub enum Request {
    /// Answer the queries, in their order.
    Read {
        /// The queries.
        queries: Vec<Query>,
        /// Takes the answers.
        answer: oneshot::Sender<Result<Vec<Answer>, EngineError>>,
    },
    /// Apply the plan entirely, or leave the transaction as it was.
    Commit {
        /// The plan.
        plan: Plan,
        /// Takes the result.
        answer: oneshot::Sender<Result<Commit, EngineError>>,
    },
}

/// A running operation, as the transaction serves it.
pub struct Operation<'o> {
    /// True if the operation succeeded.
    running: Pin<Box<dyn Future<Output = bool> + Send + 'o>>,
    requests: mpsc::UnboundedReceiver<Request>,
    succeeded: Option<bool>,
}

impl Operation<'_> {
    /// The next request; `None` once the operation is over.
    pub async fn next_request(&mut self) -> Option<Request> {
        if self.succeeded.is_some() {
            return None;
        }

        match select(&mut self.running, self.requests.next()).await {
            Either::Left((succeeded, _)) => self.succeeded = Some(succeeded),
            Either::Right((Some(request), _)) => return Some(request),
            // The operation has dropped its executor and asks no more.
            Either::Right((None, running)) => self.succeeded = Some(running.await),
        }
        None
    }

    /// True if the operation is over and its changes count.
    #[must_use]
    pub fn has_succeeded(&self) -> bool {
        self.succeeded == Some(true)
    }
}

/// A transaction of the caller, as a backend uses it.
#[async_trait]
pub trait CallersTransaction: Send {
    /// Opens a savepoint and answers the operation's requests until it is over. Keeps its changes
    /// if it has succeeded, and otherwise undoes them.
    ///
    /// # Errors
    /// `Transport` for a failure of the database, `Contention(TransactionConflict)` for a conflict
    /// with another transaction, `Validation` for a transaction on another database.
    async fn serve(&mut self, operation: &mut Operation<'_>) -> Result<(), EngineError>;
}

/// The error of an operation that another transaction keeps from succeeding in the caller's.
#[must_use]
pub fn transaction_conflict() -> EngineError {
    EngineError::Contention(ContentionKind::TransactionConflict)
}

/// The operations within one transaction of the caller.
///
/// Each is the operation of the same name of [`EngineBackend`], with the same guards and refusals.
/// It applies entirely or leaves the transaction as it was, and the transaction can still be used
/// after a refusal. Nothing is visible to others before the caller commits: no row, no event and no
/// wake-up.
///
/// `Contention(TransactionConflict)` means that another transaction came first: roll back and run
/// the whole transaction again.
///
/// [`EngineBackend`]: super::operations::EngineBackend
pub struct Within<'t> {
    transaction: Box<dyn CallersTransaction + 't>,
    backend: Arc<dyn Executor>,
}

impl std::fmt::Debug for Within<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Within").finish_non_exhaustive()
    }
}

impl<'t> Within<'t> {
    /// The operations in that transaction, on the database of that backend.
    #[must_use]
    pub fn new(transaction: impl CallersTransaction + 't, backend: Arc<dyn Executor>) -> Self {
        Self { transaction: Box::new(transaction), backend }
    }

    async fn run<T, F>(&mut self, begin: impl FnOnce(WithinExecutor) -> F) -> Result<T, EngineError>
    where
        T: Send,
        F: Future<Output = Result<T, EngineError>> + Send,
    {
        let (executor, requests) = WithinExecutor::over(Arc::clone(&self.backend));
        let operation = begin(executor);
        let mut outcome = None;
        let running = async {
            let done = outcome.insert(operation.await);
            done.is_ok()
        };

        let mut operation = Operation { running: Box::pin(running), requests, succeeded: None };
        let served = self.transaction.serve(&mut operation).await;
        drop(operation);
        match outcome {
            Some(Err(refusal)) => Err(refusal),
            Some(done) => served.and(done),
            None => served.and(Err(EngineError::Unavailable { op: "the transaction" })),
        }
    }
}

/// Offers operations of the engine within the transaction.
macro_rules! offer {
    ($(
        $(#[$doc:meta])*
        $name:ident($($arg:ident: $type:ty),*) -> $outcome:ty;
    )+) => {
        impl Within<'_> {$(
            $(#[$doc])*
            ///
            /// # Errors
            /// The operation's refusals, `Contention(TransactionConflict)`, and failures of the
            /// database.
            pub async fn $name(&mut self, $($arg: $type),*) -> Result<$outcome, EngineError> {
                self.run(|engine| async move { engine.$name($($arg),*).await }).await
            }
        )+}
    };
}

offer! {
    /// Records a new execution. Repeating the call with the same id changes nothing.
    create_execution(args: CreateExecutionArgs) -> CreateExecutionResult;
    /// Delivers a signal to a waitpoint.
    deliver_signal(args: DeliverSignalArgs) -> DeliverSignalResult;
    /// Delivers an approval to a waitpoint, without its token.
    deliver_approval_signal(args: DeliverApprovalSignalArgs) -> DeliverSignalResult;
    /// Completes the execution, storing a result if there is one.
    complete(handle: &Handle, payload: Option<Vec<u8>>) -> ();
    /// Completes the execution, for callers with a fence instead of a handle.
    complete_execution(args: CompleteExecutionArgs) -> CompleteExecutionResult;
    /// Fails the attempt; its classification decides whether another one follows.
    fail(handle: &Handle, reason: FailureReason, class: FailureClass) -> FailOutcome;
    /// Fails the attempt, for callers with a fence instead of a handle.
    fail_execution(args: FailExecutionArgs) -> FailExecutionResult;
    /// Cancels the execution that the handle's lease is for.
    cancel(handle: &Handle, reason: &str) -> ();
    /// Cancels an execution in any state.
    cancel_execution(args: CancelExecutionArgs) -> CancelExecutionResult;
    /// Releases the lease and delays the execution until `delay_until`.
    delay(handle: &Handle, delay_until: TimestampMs) -> ();
    /// Releases the lease; the execution waits for signals.
    suspend(handle: &Handle, args: SuspendArgs) -> SuspendOutcome;
    /// Overwrites the progress that the holder last reported; a `None` leaves that part alone.
    progress(handle: &Handle, percent: Option<u8>, message: Option<String>) -> ();
    /// Records a step of the execution that the handle's lease is for, unless one is recorded at
    /// its place.
    record_step(handle: &Handle, step: NewStep) -> RecordStepOutcome;
    /// The steps of an execution behind a place, or from the first one on, as the transaction sees
    /// them.
    list_steps(id: &ExecutionId, after: Option<u32>, limit: u32) -> Vec<StepRecord>;
    /// Changes the priority of a waiting execution.
    change_priority(args: ChangePriorityArgs) -> ChangePriorityResult;
    /// Lets an ended execution run again.
    replay_execution(args: ReplayExecutionArgs) -> ReplayExecutionResult;
    /// Sets a tag of an execution.
    set_execution_tag(id: &ExecutionId, key: &str, value: &str) -> ();
    /// Records a new flow.
    create_flow(args: CreateFlowArgs) -> CreateFlowResult;
    /// Makes an execution a member of a flow.
    add_execution_to_flow(args: AddExecutionToFlowArgs) -> AddExecutionToFlowResult;
    /// Records an edge between two members of a flow.
    stage_dependency_edge(args: StageDependencyEdgeArgs) -> StageDependencyEdgeResult;
    /// The state of an execution as the transaction sees it.
    read_execution_state(id: &ExecutionId) -> Option<PublicState>;
    /// A snapshot of an execution as the transaction sees it.
    describe_execution(id: &ExecutionId) -> Option<ExecutionSnapshot>;
}
