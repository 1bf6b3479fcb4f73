//! The ceiling: hand-written SQL that makes exactly the same changes as the engine.
//!
//! It says how fast this schema could be on this machine. A test compares the rows that each step
//! leaves, by the engine and by hand. Here, and only here, SQL over the schema is written by hand:
//! generated SQL cannot be measured against itself. It does what the loads need, and guards no
//! more than they need: the lease, and the states that a step starts from.

mod flow;
mod postgres;
mod sqlite;
mod wait;

use ff_core::contracts::CreateExecutionArgs;
use ff_core::types::TimestampMs;
use serde_json::json;
use uuid::Uuid;

use crate::error::BenchError;

pub use flow::{FlowByHand, NewEdge, NewFlow};
pub use postgres::PostgresByHand;
pub use sqlite::SqliteByHand;
pub use wait::{NewSignal, NewWait, WaitByHand};

/// An execution to insert.
#[derive(Clone, Debug)]
pub struct NewExecution {
    pub(crate) partition: i16,
    pub(crate) id: Uuid,
    pub(crate) lane: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) policy: Option<String>,
    pub(crate) namespace: String,
    pub(crate) instance_tag: Option<String>,
    pub(crate) raw_fields: String,
    pub(crate) now_ms: i64,
}

impl NewExecution {
    /// The execution that the engine would create of these arguments: without delay, deadline and
    /// requirements.
    #[must_use]
    pub fn of(args: &CreateExecutionArgs) -> Self {
        let now_ms = args.now.0;
        let raw_fields = json!({
            "creator_identity": args.creator_identity,
            "execution_kind": args.execution_kind,
            "namespace": args.namespace.as_str(),
            "tags": args.tags,
        });
        Self {
            partition: i16::try_from(args.execution_id.partition()).unwrap_or(i16::MAX),
            id: args.execution_id.uuid(),
            lane: args.lane_id.as_str().to_owned(),
            payload: args.input_payload.clone(),
            policy: args.policy.as_ref().map(|policy| json!(policy).to_string()),
            namespace: args.namespace.as_str().to_owned(),
            instance_tag: args.tags.get("cairn.instance_id").cloned(),
            raw_fields: raw_fields.to_string(),
            now_ms,
        }
    }
}

/// The claim of a caller.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The lane to claim from.
    pub lane: String,
    /// The worker.
    pub worker: String,
    /// The running instance of the worker.
    pub instance: String,
    /// The duration of the lease, in milliseconds.
    pub lease_ms: i64,
}

/// An execution that was claimed by hand: the fence of the next steps.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    pub(crate) partition: i16,
    pub(crate) id: Uuid,
    pub(crate) attempt_index: i32,
    pub(crate) epoch: i64,
    pub(crate) lease_id: Uuid,
    pub(crate) attempt_id: Uuid,
}

/// The steps of a life, by hand. Each call commits.
pub trait ByHand: Send {
    /// Inserts executions.
    ///
    /// # Errors
    /// Those of the database.
    fn submit(
        &mut self,
        batch: &[NewExecution],
    ) -> impl Future<Output = Result<(), BenchError>> + Send;

    /// Claims up to `limit` executions, best first.
    ///
    /// # Errors
    /// Those of the database.
    fn claim(
        &mut self,
        terms: &Terms,
        limit: usize,
        now: TimestampMs,
    ) -> impl Future<Output = Result<Vec<Held>, BenchError>> + Send;

    /// Completes executions. Returns how many still were the caller's.
    ///
    /// # Errors
    /// Those of the database.
    fn complete(
        &mut self,
        held: &[Held],
        now: TimestampMs,
    ) -> impl Future<Output = Result<usize, BenchError>> + Send;

    /// Fails an execution of a policy with retries: a worker may claim it again at once. Returns
    /// false if it was not the caller's any more, or has no retry left.
    ///
    /// # Errors
    /// Those of the database.
    fn retry(
        &mut self,
        held: &Held,
        reason: &str,
        now: TimestampMs,
    ) -> impl Future<Output = Result<bool, BenchError>> + Send;
}
