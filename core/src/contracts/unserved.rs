//! Types of the reference that no operation here takes or answers.
//!
//! Callers of the reference may name them, so they stay, with the reference's fields and wire
//! forms. Nothing else in this repository uses them; `core/tests/paths/unserved.rs` reads and
//! writes each.

mod execution;
mod suspension;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{EdgeDependencyPolicy, ResolveDependencyOutcome, StreamFrames};
use crate::model::hidden::Hidden;
use crate::model::ids::{
    AttemptId, AttemptIndex, ExecutionId, FlowId, LeaseEpoch, LeaseId, TimestampMs,
};

pub use execution::*;
pub use suspension::*;

/// The outcome of resolving one edge, in its wire form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResolveDependencyResult {
    /// The dependency holds.
    Satisfied,
    /// The dependency can no longer hold.
    Impossible,
    /// The edge was resolved before; nothing changed.
    AlreadyResolved,
}

impl From<ResolveDependencyResult> for ResolveDependencyOutcome {
    fn from(result: ResolveDependencyResult) -> Self {
        match result {
            ResolveDependencyResult::Satisfied => Self::Satisfied,
            ResolveDependencyResult::Impossible => Self::Impossible,
            ResolveDependencyResult::AlreadyResolved => Self::AlreadyResolved,
        }
    }
}

/// Asks for a blocked execution to become claimable, once its dependencies hold.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PromoteBlockedToEligibleArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The time of the call.
    pub now: TimestampMs,
}

/// The outcome of making an execution claimable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PromoteBlockedToEligibleResult {
    /// The execution is claimable.
    Promoted,
}

/// Asks for the policy of an execution's dependencies to be fixed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SetEdgeGroupPolicyArgs {
    /// The flow.
    pub flow_id: FlowId,
    /// The execution that waits.
    pub downstream_execution_id: ExecutionId,
    /// The policy: how many of the dependencies must hold.
    pub policy: EdgeDependencyPolicy,
    /// The time of the call.
    pub now: TimestampMs,
}

/// Asks for tags of a flow to be written.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SetFlowTagsArgs {
    /// The flow.
    pub flow_id: FlowId,
    /// The tags to write.
    pub tags: BTreeMap<String, String>,
}

/// The outcome of writing a flow's tags.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SetFlowTagsResult {
    /// The tags are written.
    Ok {
        /// The number of tags that the flow has now.
        count: u32,
    },
}

/// Appends a frame to the stream of an attempt.
#[derive(Clone, derive_more::Debug, Serialize, Deserialize)]
pub struct AppendFrameArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The attempt.
    pub attempt_index: AttemptIndex,
    /// The lease that the writer holds.
    pub lease_id: LeaseId,
    /// The epoch that the writer holds.
    pub lease_epoch: LeaseEpoch,
    /// The id of the attempt.
    pub attempt_id: AttemptId,
    /// The type of the frame.
    pub frame_type: String,
    /// The time at which the frame was made.
    pub timestamp: TimestampMs,
    /// The content.
    #[debug("{}", Hidden(payload))]
    pub payload: Vec<u8>,
    /// The encoding of the content.
    #[serde(default)]
    pub encoding: Option<String>,
    /// The writer's metadata, as JSON.
    #[serde(default)]
    pub metadata_json: Option<String>,
    /// Ties the frame to other records.
    #[serde(default)]
    pub correlation_id: Option<String>,
    /// The writer of the frame.
    #[serde(default)]
    pub source: Option<String>,
    /// The most frames that the stream keeps.
    #[serde(default)]
    pub retention_maxlen: Option<u32>,
    /// The longest content, in bytes.
    #[serde(default)]
    pub max_payload_bytes: Option<u32>,
}

/// The outcome of an append.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AppendFrameResult {
    /// The frame is in the stream.
    Appended {
        /// The id of the frame.
        entry_id: String,
        /// The number of frames that the stream holds now.
        frame_count: u64,
    },
}

/// Reads a range of frames.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReadFramesArgs {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The attempt.
    pub attempt_index: AttemptIndex,
    /// The first id, inclusive.
    pub from_id: String,
    /// The last id, inclusive.
    pub to_id: String,
    /// The most frames to return.
    pub count_limit: u64,
}

/// The outcome of a read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReadFramesResult {
    /// The frames of the range.
    Frames(StreamFrames),
}
