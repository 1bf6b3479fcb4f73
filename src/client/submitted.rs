//! A submitted job: its state, its result, and its cancellation.

use std::marker::PhantomData;
use std::time::Duration;

use ff_core::EngineError;
use ff_core::backend::FailureClass;
use ff_core::contracts::{
    CancelExecutionArgs, CancelExecutionResult, DeliverSignalArgs, ForkExecutionArgs,
    ForkExecutionResult, ListPendingWaitpointsArgs,
};
use ff_core::engine::Topic;
use ff_core::partition::{Partition, PartitionConfig, PartitionFamily};
use ff_core::state::PublicState;
use ff_core::types::{CancelSource, ExecutionId, LaneId, SignalId, WaitpointToken};
use serde::Serialize;

use super::Client;
use crate::Job;
use crate::clock::now;
use crate::job::{Unreadable, read_output};

/// The longest pause between two looks at a job, while no bell rings.
const POLL: Duration = Duration::from_millis(500);

/// The reason why a job has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// It has failed for good.
    #[error("the job failed: {message}")]
    Failed {
        /// The message of its last attempt.
        message: String,
        /// The class of the failure, where it is known.
        class: Option<FailureClass>,
    },
    /// It was cancelled.
    #[error("the job was cancelled")]
    Cancelled,
    /// It ran out of time.
    #[error("the job ran out of time")]
    Expired,
    /// A job that it depends on did not end well.
    #[error("the job was skipped")]
    Skipped,
    /// There is no such job. Retention may have removed it.
    #[error("there is no such job")]
    NotFound,
    /// It has not ended within the time that the caller gave.
    #[error("the job has not ended within {} ms", .0.as_millis())]
    StillRunning(Duration),
    /// It waits for no signal of that name now.
    #[error("the job does not wait for a signal {name:?}")]
    NotWaiting {
        /// The name of the signal.
        name: String,
    },
    /// The content of a signal has no JSON form.
    #[error("the content of signal {name:?} has no JSON form")]
    Content {
        /// The name of the signal.
        name: String,
    },
    /// Its result is not what its type says.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The engine cannot be reached.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// A job that was submitted.
#[derive(Debug)]
pub struct Submitted<J> {
    client: Client,
    id: ExecutionId,
    is_new: bool,
    kind: PhantomData<fn() -> J>,
}

impl<J> Clone for Submitted<J> {
    fn clone(&self) -> Self {
        let Self { client, id, is_new, kind } = self;
        Self { client: client.clone(), id: id.clone(), is_new: *is_new, kind: *kind }
    }
}

impl<J: Job> Submitted<J> {
    pub(super) fn new(client: Client, id: ExecutionId, is_new: bool) -> Self {
        Self { client, id, is_new, kind: PhantomData }
    }

    /// The execution that runs it.
    #[must_use]
    pub fn id(&self) -> &ExecutionId {
        &self.id
    }

    /// True if the submission made a new job; false if it repeats one.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Its state.
    ///
    /// # Errors
    /// [`JobError::NotFound`]; the engine's failure.
    pub async fn status(&self) -> Result<PublicState, JobError> {
        let state = self.client.engine.read_execution_state(&self.id).await?;
        state.ok_or(JobError::NotFound)
    }

    /// Waits until it has ended, and returns its result.
    ///
    /// # Errors
    /// The reason why it has no result.
    pub async fn result(&self) -> Result<J::Output, JobError> {
        loop {
            // Before the look, so that an end in between rings.
            let ended = self.client.engine.listen(Topic::Completions);
            if let Some(result) = self.result_if_ended().await? {
                return Ok(result);
            }
            tokio::select! {
                () = ended => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    /// The same, for at most that time.
    ///
    /// # Errors
    /// [`JobError::StillRunning`] after that time; otherwise as [`Self::result`].
    pub async fn result_within(&self, time: Duration) -> Result<J::Output, JobError> {
        let result = tokio::time::timeout(time, self.result()).await;
        result.unwrap_or(Err(JobError::StillRunning(time)))
    }

    /// Cancels it, unless it has ended. Its handler is dropped.
    ///
    /// # Errors
    /// The engine's refusal, for a job that has ended otherwise; its failure.
    pub async fn cancel(
        &self,
        reason: impl Into<String>,
    ) -> Result<CancelExecutionResult, EngineError> {
        let args = CancelExecutionArgs {
            execution_id: self.id.clone(),
            reason: reason.into(),
            source: CancelSource::OperatorOverride,
            lease_id: None,
            lease_epoch: None,
            attempt_id: None,
            // The clock of the database, not of this machine, says when it was cancelled.
            now: now(self.client.engine.as_ref()).await?,
        };
        self.client.engine.cancel_execution(args).await
    }

    /// Sends it the signal that it waits for by that name, with that content as JSON.
    ///
    /// # Errors
    /// [`JobError::NotWaiting`] before it waits, and once it does no more; the engine's refusal.
    pub async fn signal(&self, name: &str, content: &impl Serialize) -> Result<(), JobError> {
        let no_json = |_| JobError::Content { name: name.to_owned() };
        let payload = serde_json::to_vec(content).map_err(no_json)?;
        let engine = &self.client.engine;
        let args = ListPendingWaitpointsArgs::new(self.id.clone());
        let open = engine.list_pending_waitpoints(args).await?.entries;
        let waitpoint = open.into_iter().find(|waitpoint| waitpoint.waitpoint_key == name);
        let not_waiting = || JobError::NotWaiting { name: name.to_owned() };
        let waitpoint_id = waitpoint.ok_or_else(not_waiting)?.waitpoint_id;

        let family = PartitionFamily::Execution;
        let partition = Partition { family, index: self.id.partition() };
        let token = engine.read_waitpoint_token((&partition).into(), &waitpoint_id).await?;
        let token = WaitpointToken::new(token.ok_or_else(not_waiting)?);
        let (id, signal, now) = (self.id.clone(), SignalId::new(), now(engine.as_ref()).await?);
        let args = DeliverSignalArgs::new(id, waitpoint_id, signal, name, token, now);
        let source_identity = self.client.identity.clone();
        let args = DeliverSignalArgs { payload: Some(payload), source_identity, ..args };
        engine.deliver_signal(args).await?;
        Ok(())
    }

    /// Submits the same job again, with the results of the steps before that one; without a name,
    /// with none.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for a step that it has not recorded; the engine's failure.
    pub async fn fork(&self, from_step: Option<&str>) -> Result<Self, EngineError> {
        let lane = LaneId::new(J::LANE);
        let id = ExecutionId::solo(&lane, &PartitionConfig::default());
        let args = ForkExecutionArgs::new(self.id.clone(), id, self.client.identity.clone());
        let args = match from_step {
            Some(name) => args.from_step(name),
            None => args,
        };
        let (id, is_new) = match self.client.engine.fork_execution(args).await? {
            ForkExecutionResult::Forked { execution_id, .. } => (execution_id, true),
            ForkExecutionResult::Duplicate { execution_id } => (execution_id, false),
        };
        Ok(Self::new(self.client.clone(), id, is_new))
    }

    /// Its result; `None` while it has not ended.
    async fn result_if_ended(&self) -> Result<Option<J::Output>, JobError> {
        match self.status().await? {
            PublicState::Waiting
            | PublicState::Delayed
            | PublicState::RateLimited
            | PublicState::WaitingChildren
            | PublicState::Active
            | PublicState::Suspended
            | PublicState::Resumable => Ok(None),
            PublicState::Completed => {
                let result = self.client.engine.get_execution_result(&self.id).await?;
                Ok(Some(read_output::<J>(result.as_deref())?))
            }
            PublicState::Failed => Err(self.failure().await?),
            PublicState::Cancelled => Err(JobError::Cancelled),
            PublicState::Expired => Err(JobError::Expired),
            PublicState::Skipped => Err(JobError::Skipped),
            // A state of a later version.
            _ => Ok(None),
        }
    }

    /// The failure of its last attempt.
    async fn failure(&self) -> Result<JobError, EngineError> {
        let timeline = self.client.engine.execution_timeline(&self.id).await?;
        let failure = timeline.attempts.into_iter().rev().find_map(|attempt| attempt.failure);
        Ok(match failure {
            Some(failure) => JobError::Failed { message: failure.message, class: failure.class },
            None => JobError::Failed { message: "for an unknown reason".into(), class: None },
        })
    }
}
