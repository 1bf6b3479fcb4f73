//! A submission: what is said about a job before it is submitted.

use std::collections::HashMap;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::time::Duration;

use ff_core::EngineError;
use ff_core::contracts::{CreateExecutionArgs, CreateExecutionResult};
use ff_core::model::hidden::Hidden;
use ff_core::partition::PartitionConfig;
use ff_core::policy::{BackoffStrategy, ExecutionPolicy, RetryPolicy, TimeoutPolicy};
use ff_core::types::{BudgetId, ExecutionId, LaneId, TimestampMs};

use super::{Client, Submitted};
use crate::clock::from_now;
use crate::telemetry::{TRACEPARENT_TAG, Traceparent};
use crate::{InTransaction, Job};

/// The reason why a job was not submitted. Nothing changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmissionError {
    /// The job has no JSON form.
    #[error("the input of {kind} has no JSON form")]
    Input {
        /// The kind of the job.
        kind: &'static str,
    },
    /// The engine refuses it, or cannot be reached.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// A job that is about to be submitted. Await it to submit it.
#[derive(derive_more::Debug)]
#[must_use = "a job is submitted only when its submission is awaited"]
pub struct Submission<J> {
    client: Client,
    /// `None` where the job has no JSON form.
    #[debug("{}", Hidden(payload))]
    payload: Option<Vec<u8>>,
    lane: LaneId,
    id: Option<ExecutionId>,
    priority: i32,
    delay: Delay,
    idempotency_key: Option<String>,
    tags: HashMap<String, String>,
    policy: ExecutionPolicy,
    kind: PhantomData<fn() -> J>,
}

/// The time before which a job is not claimed.
#[derive(Clone, Copy, Debug)]
enum Delay {
    None,
    /// So long after the submission, by the clock of the database.
    For(Duration),
    Until(TimestampMs),
}

impl<J: Job> Submission<J> {
    pub(super) fn new(client: Client, job: &J) -> Self {
        Self {
            client,
            payload: serde_json::to_vec(job).ok(),
            lane: LaneId::new(J::LANE),
            id: None,
            priority: 0,
            delay: Delay::None,
            idempotency_key: None,
            tags: HashMap::new(),
            policy: J::policy(),
            kind: PhantomData,
        }
    }

    /// In that lane instead of [`Job::LANE`].
    pub fn lane(self, lane: impl Into<LaneId>) -> Self {
        Self { lane: lane.into(), ..self }
    }

    /// Under that id instead of a new one. A second submission of an id changes nothing.
    pub fn id(self, id: ExecutionId) -> Self {
        Self { id: Some(id), ..self }
    }

    /// With that priority: higher goes first. 0 by default.
    pub fn priority(self, priority: i32) -> Self {
        Self { priority, ..self }
    }

    /// Not before so much time has passed, by the clock of the database.
    pub fn delay(self, delay: Duration) -> Self {
        Self { delay: Delay::For(delay), ..self }
    }

    /// Not before that time.
    pub fn not_before(self, time: TimestampMs) -> Self {
        Self { delay: Delay::Until(time), ..self }
    }

    /// With a key that no other job of this kind has in the namespace: a repeat within a day is the
    /// first job ([`Submitted::is_new`]).
    pub fn idempotency_key(self, key: impl Into<String>) -> Self {
        Self { idempotency_key: Some(key.into()), ..self }
    }

    /// A repeat of the idempotency key counts for that time instead of a day.
    pub fn unique_for(mut self, time: Duration) -> Self {
        self.policy.dedup_window_ms = Some(millis(time));
        self
    }

    /// A repeat of the idempotency key counts until the first job has ended.
    pub fn unique_while_active(mut self) -> Self {
        self.policy.dedup_while_active = true;
        self
    }

    /// With so many attempts after the first; [`Self::backoff`] sets the pauses between them.
    pub fn retries(mut self, retries: u32) -> Self {
        self.retry_policy().max_retries = retries;
        self
    }

    /// With these pauses between attempts.
    pub fn backoff(mut self, backoff: BackoffStrategy) -> Self {
        self.retry_policy().backoff = backoff;
        self
    }

    fn retry_policy(&mut self) -> &mut RetryPolicy {
        self.policy.retry_policy.get_or_insert_default()
    }

    /// With so much time for each attempt.
    pub fn attempt_timeout(mut self, time: Duration) -> Self {
        self.timeout_policy().attempt_timeout_ms = Some(millis(time));
        self
    }

    /// With so much time for all attempts and the pauses between them.
    pub fn deadline(mut self, time: Duration) -> Self {
        self.timeout_policy().execution_deadline_ms = Some(millis(time));
        self
    }

    fn timeout_policy(&mut self) -> &mut TimeoutPolicy {
        self.policy.timeout_policy.get_or_insert_default()
    }

    /// Within the limit of that key, too.
    pub fn limit_key(mut self, key: impl Into<String>) -> Self {
        self.policy.limit_keys.push(key.into());
        self
    }

    /// Under that fairness key: the keys that wait in a lane take turns.
    pub fn fairness_key(mut self, key: impl Into<String>) -> Self {
        self.policy.fairness_key = Some(key.into());
        self
    }

    /// Within that budget, too.
    pub fn budget(mut self, budget: BudgetId) -> Self {
        self.policy.budget_ids.push(budget);
        self
    }

    /// With a tag.
    pub fn tag(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.insert(name.into(), value.into());
        self
    }

    /// Within that trace instead of the current one ([`Traceparent::current`]). The run of the job
    /// continues it.
    pub fn traceparent(self, traceparent: Traceparent) -> Self {
        self.tag(TRACEPARENT_TAG, traceparent.to_string())
    }

    /// With that policy in place of the one that was built so far.
    pub fn policy(self, policy: ExecutionPolicy) -> Self {
        Self { policy, ..self }
    }

    /// Submits it within a transaction of the caller, together with the caller's own rows: it is
    /// there, and can be claimed, once that has committed. docs/transactions.md says more.
    ///
    /// # Errors
    /// As awaiting the submission; `Validation(InvalidInput)` for a transaction on another database
    /// than the client's. A refusal leaves the transaction usable.
    pub async fn within(
        self,
        transaction: &mut dyn InTransaction,
    ) -> Result<Submitted<J>, SubmissionError> {
        let (client, args) = self.arguments().await?;
        let created = {
            let mut within = transaction.within(client.engine.as_ref())?;
            within.create_execution(args).await?
        };
        Ok(submitted(client, created))
    }

    async fn submit(self) -> Result<Submitted<J>, SubmissionError> {
        let (client, args) = self.arguments().await?;
        let created = client.engine.create_execution(args).await?;
        Ok(submitted(client, created))
    }

    async fn arguments(self) -> Result<(Client, CreateExecutionArgs), SubmissionError> {
        let Self { client, payload, lane, id, priority, delay, mut tags, .. } = self;
        let input_payload = payload.ok_or(SubmissionError::Input { kind: J::KIND })?;
        let delay_until = match delay {
            Delay::None => None,
            Delay::For(time) => Some(from_now(client.engine.as_ref(), time).await?),
            Delay::Until(time) => Some(time),
        };

        if let Some(current) = Traceparent::current() {
            current.add_to(&mut tags);
        }
        let id = id.unwrap_or_else(|| ExecutionId::solo(&lane, &PartitionConfig::default()));
        let args = CreateExecutionArgs {
            partition_id: id.partition(),
            execution_id: id,
            namespace: client.namespace.clone(),
            lane_id: lane,
            execution_kind: J::KIND.into(),
            input_payload,
            payload_encoding: None,
            priority,
            creator_identity: client.identity.clone(),
            idempotency_key: self.idempotency_key,
            tags,
            policy: Some(self.policy),
            delay_until,
            execution_deadline_at: None,
            now: TimestampMs::now(),
        };
        Ok((client, args))
    }
}

fn submitted<J: Job>(client: Client, created: CreateExecutionResult) -> Submitted<J> {
    let (id, is_new) = match created {
        CreateExecutionResult::Created { execution_id, .. } => (execution_id, true),
        CreateExecutionResult::Duplicate { execution_id } => (execution_id, false),
    };
    Submitted::new(client, id, is_new)
}

impl<J: Job> IntoFuture for Submission<J> {
    type Output = Result<Submitted<J>, SubmissionError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.submit())
    }
}

/// A span in whole milliseconds.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
