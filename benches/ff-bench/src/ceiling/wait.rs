//! Waits by hand: for one signal, without a timeout.

use ff_core::contracts::DeliverSignalArgs;
use ff_core::types::{ExecutionId, TimestampMs};
use serde_json::json;
use uuid::Uuid;

use super::{ByHand, Held, Terms};
use crate::error::BenchError;
use crate::wait::{Wait, condition, resume_policy};

/// A wait to begin.
#[derive(Clone)]
pub struct NewWait {
    pub(crate) suspension: Uuid,
    pub(crate) waitpoint: Uuid,
    pub(crate) token: String,
    pub(crate) condition: String,
    pub(crate) resume_policy: String,
}

impl NewWait {
    /// The wait that the engine would begin for this execution.
    #[must_use]
    pub fn of(wait: &Wait, execution: &ExecutionId) -> Self {
        Self {
            suspension: wait.suspension.0,
            waitpoint: wait.waitpoint.0,
            token: wait.token(execution).0,
            condition: json!(condition()).to_string(),
            resume_policy: json!(resume_policy()).to_string(),
        }
    }
}

/// A signal to deliver.
#[derive(Clone)]
pub struct NewSignal {
    pub(crate) partition: i16,
    pub(crate) execution: Uuid,
    pub(crate) waitpoint: Uuid,
    pub(crate) token: String,
    pub(crate) id: Uuid,
    pub(crate) name: String,
    pub(crate) source_identity: String,
    /// The signal as the suspension keeps it.
    pub(crate) kept: String,
    pub(crate) now_ms: i64,
}

impl NewSignal {
    /// The signal that the engine would keep of these arguments.
    #[must_use]
    pub fn of(args: &DeliverSignalArgs) -> Self {
        let kept = json!({
            "signal_id": args.signal_id.to_string(),
            "signal_name": args.signal_name,
            "signal_category": args.signal_category,
            "source_type": args.source_type,
            "source_identity": args.source_identity,
            "correlation_id": args.correlation_id.as_deref().unwrap_or_default(),
            "accepted_at": args.now.0,
            "payload_hex": null,
        });
        Self {
            partition: i16::try_from(args.execution_id.partition()).unwrap_or(i16::MAX),
            execution: args.execution_id.uuid(),
            waitpoint: args.waitpoint_id.0,
            token: args.waitpoint_token.0.clone(),
            id: args.signal_id.0,
            name: args.signal_name.clone(),
            source_identity: args.source_identity.clone(),
            kept: kept.to_string(),
            now_ms: args.now.0,
        }
    }
}

/// The steps of a wait, by hand. Each call commits.
pub trait WaitByHand: ByHand {
    /// Suspends an execution. Returns false if it was not the caller's any more.
    ///
    /// # Errors
    /// Those of the database.
    fn suspend(
        &mut self,
        held: &Held,
        wait: &NewWait,
        now: TimestampMs,
    ) -> impl Future<Output = Result<bool, BenchError>> + Send;

    /// Delivers the signal that an execution waits for. Returns false if none waits for it there.
    ///
    /// # Errors
    /// Those of the database.
    fn signal(
        &mut self,
        signal: &NewSignal,
    ) -> impl Future<Output = Result<bool, BenchError>> + Send;

    /// Claims an execution that has waited, if it may go on.
    ///
    /// # Errors
    /// Those of the database.
    fn claim_resumed(
        &mut self,
        execution: &ExecutionId,
        terms: &Terms,
        now: TimestampMs,
    ) -> impl Future<Output = Result<Option<Held>, BenchError>> + Send;
}
