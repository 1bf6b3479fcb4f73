//! What creating an execution takes and answers.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::model::hidden::Hidden;
use crate::model::ids::{ExecutionId, LaneId, Namespace, TimestampMs};
use crate::model::policy::ExecutionPolicy;
use crate::model::state::PublicState;

/// Submits a new execution.
#[derive(Clone, derive_more::Debug, Serialize, Deserialize)]
pub struct CreateExecutionArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The namespace.
    pub namespace: Namespace,
    /// The lane.
    pub lane_id: LaneId,
    /// The kind of work.
    pub execution_kind: String,
    /// The input, opaque.
    #[debug("{}", Hidden(input_payload))]
    pub input_payload: Vec<u8>,
    /// The encoding of the input.
    #[serde(default)]
    pub payload_encoding: Option<String>,
    /// Higher goes first.
    pub priority: i32,
    /// The identity of the submitter.
    pub creator_identity: String,
    /// Of the submissions of one kind with one key, in one namespace, the first one counts: for a
    /// day, or as `policy.dedup_window_ms` or `policy.dedup_while_active` says. An empty key is
    /// none.
    #[serde(default)]
    pub idempotency_key: Option<String>,
    /// Free labels.
    #[serde(default)]
    pub tags: HashMap<String, String>,
    /// Retries, timeouts, routing and limits.
    #[serde(default)]
    pub policy: Option<ExecutionPolicy>,
    /// The time before which it cannot be claimed.
    #[serde(default)]
    pub delay_until: Option<TimestampMs>,
    /// The deadline of the whole execution.
    #[serde(default)]
    pub execution_deadline_at: Option<TimestampMs>,
    /// The partition that the execution's id names. Has no effect in this version: the id
    /// decides.
    pub partition_id: u16,
    /// The caller's clock.
    pub now: TimestampMs,
}

/// A plain submission to `lane`, in the namespace of the same name. For tests.
#[cfg(feature = "test-fixtures")]
#[must_use]
pub fn submission_for_tests(
    id: &ExecutionId,
    lane: &LaneId,
    now: TimestampMs,
) -> CreateExecutionArgs {
    CreateExecutionArgs {
        execution_id: id.clone(),
        namespace: Namespace::new(lane.as_str()),
        lane_id: lane.clone(),
        execution_kind: "task".into(),
        input_payload: Vec::new(),
        payload_encoding: None,
        priority: 0,
        creator_identity: "test".into(),
        idempotency_key: None,
        tags: HashMap::new(),
        policy: None,
        delay_until: None,
        execution_deadline_at: None,
        partition_id: id.partition(),
        now,
    }
}

/// The outcome of a submission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CreateExecutionResult {
    /// The execution is new.
    Created {
        /// The execution.
        execution_id: ExecutionId,
        /// The state that users see.
        public_state: PublicState,
    },
    /// The execution existed before, or another one holds its idempotency key; nothing changed.
    Duplicate {
        /// The execution that exists.
        execution_id: ExecutionId,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ID: &str = "{fp:7}:550e8400-e29b-41d4-a716-446655440000";

    #[test]
    fn a_submission_needs_only_what_has_no_default() {
        let args: CreateExecutionArgs = serde_json::from_value(json!({
            "execution_id": ID, "namespace": "ns", "lane_id": "default",
            "execution_kind": "k", "input_payload": [1, 2], "priority": 3,
            "creator_identity": "me", "partition_id": 7, "now": 9,
        }))
        .unwrap();

        assert_eq!(args.payload_encoding, None);
        assert_eq!(args.idempotency_key, None);
        assert!(args.tags.is_empty());
        assert!(args.policy.is_none());
        assert_eq!(args.delay_until, None);
        assert_eq!(args.execution_deadline_at, None);
    }
}
