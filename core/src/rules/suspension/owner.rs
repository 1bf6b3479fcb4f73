//! The execution that a waitpoint belongs to, for callers that know the waitpoint alone.

use crate::model::error::EngineError;
use crate::model::ids::WaitpointId;
use crate::plan::facts::Facts;
use crate::plan::{Lookup, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Transition};
use crate::rules::key::ExecutionKey;
use crate::rules::suspension::row::WAITPOINT;
use crate::rules::suspension::waitpoint::waitpoint_key;
use crate::schema::suspension::waitpoint_pending;

/// Reads the execution that a waitpoint belongs to; `None` for an unknown waitpoint.
#[derive(Clone, Debug)]
pub struct WaitpointOwner {
    /// The partition of both.
    pub partition: i16,
    /// The waitpoint.
    pub id: WaitpointId,
}

impl Transition for WaitpointOwner {
    type Outcome = Option<ExecutionKey>;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        if !facts.have_rows() {
            return Ok(Step::Read(vec![Query::Lookup(vec![Lookup {
                row: WAITPOINT.into(),
                table: waitpoint_pending::REF,
                key: waitpoint_key(self.partition, &self.id),
                columns: vec![waitpoint_pending::execution_id.column()],
            }])]));
        }

        let row = facts.row(WAITPOINT);
        let uuid = row.map(|row| row.read(waitpoint_pending::execution_id)).transpose()?;
        Ok(Step::Answer(uuid.map(|uuid| ExecutionKey { partition: self.partition, uuid })))
    }
}
