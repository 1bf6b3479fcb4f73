//! Durable steps: results of parts of a work, which a later run of the execution reads back.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::ids::{AttemptIndex, ExecutionId, LeaseEpoch, TimestampMs};

/// The most steps of an execution.
pub const STEPS_MAX: u32 = 10_000;

/// A step to record.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewStep {
    /// Its place among the steps of the execution, counted from 0.
    pub position: u32,
    /// Its name, of at most 512 bytes.
    pub name: String,
    /// Its result, in whatever encoding the worker chooses.
    pub value: Vec<u8>,
}

impl NewStep {
    /// The step of that name and result, at that place.
    #[must_use]
    pub fn new(position: u32, name: impl Into<String>, value: Vec<u8>) -> Self {
        Self { position, name: name.into(), value }
    }
}

impl fmt::Debug for NewStep {
    /// Tells the length of the result, and nothing of its content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { position, name, value } = self;
        let mut shown = f.debug_struct("NewStep");
        shown.field("position", position).field("name", name);
        shown.field("value_bytes", &value.len()).finish()
    }
}

/// A recorded step.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StepRecord {
    /// Its place among the steps of the execution, counted from 0.
    pub position: u32,
    /// Its name.
    pub name: String,
    /// Its result.
    pub value: Vec<u8>,
    /// The attempt that recorded it; of a forked execution, an attempt of its source.
    pub attempt_index: AttemptIndex,
    /// The epoch of the lease under which it was recorded.
    pub lease_epoch: LeaseEpoch,
    /// The time when it was recorded.
    pub recorded_at: TimestampMs,
}

impl StepRecord {
    /// Puts the parts together.
    #[must_use]
    pub fn new(
        position: u32,
        name: impl Into<String>,
        value: Vec<u8>,
        attempt_index: AttemptIndex,
        lease_epoch: LeaseEpoch,
        recorded_at: TimestampMs,
    ) -> Self {
        Self { position, name: name.into(), value, attempt_index, lease_epoch, recorded_at }
    }
}

impl fmt::Debug for StepRecord {
    /// Tells the length of the result, and nothing of its content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { position, name, value, attempt_index, lease_epoch, recorded_at } = self;
        let mut shown = f.debug_struct("StepRecord");
        shown.field("position", position).field("name", name);
        shown.field("value_bytes", &value.len()).field("attempt_index", attempt_index);
        shown.field("lease_epoch", lease_epoch).field("recorded_at", recorded_at).finish()
    }
}

/// The outcome of recording a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecordStepOutcome {
    /// It is recorded.
    Recorded,
    /// A step was recorded at this place before, maybe under another name; nothing changed.
    Found(StepRecord),
}

/// Submits an execution like another one, which goes on behind some of its steps.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ForkExecutionArgs {
    /// The execution to fork, in whatever state.
    pub source: ExecutionId,
    /// The id of the new one.
    pub execution_id: ExecutionId,
    /// The name of the first step that runs anew: the steps before it are copied. `None` for all
    /// steps: none is copied.
    pub from_step: Option<String>,
    /// The party that asks for it, recorded as the creator.
    pub creator_identity: String,
}

impl ForkExecutionArgs {
    /// The fork of an execution under a new id, from its beginning.
    #[must_use]
    pub fn new(
        source: ExecutionId,
        execution_id: ExecutionId,
        creator_identity: impl Into<String>,
    ) -> Self {
        let creator_identity = creator_identity.into();
        Self { source, execution_id, from_step: None, creator_identity }
    }

    /// The same, which keeps the results of the steps before that one.
    #[must_use]
    pub fn from_step(self, name: impl Into<String>) -> Self {
        Self { from_step: Some(name.into()), ..self }
    }
}

/// The outcome of a fork.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ForkExecutionResult {
    /// The execution is new.
    Forked {
        /// The execution.
        execution_id: ExecutionId,
        /// The steps that it has from its source.
        steps: u32,
    },
    /// The execution existed before; nothing changed.
    Duplicate {
        /// The execution.
        execution_id: ExecutionId,
    },
}
