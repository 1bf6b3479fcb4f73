//! A flow's members, counted by state.

use std::collections::BTreeMap;

use crate::model::error::EngineError;
use crate::model::ids::{FlowId, TimestampMs};
use crate::model::partition::Partition;
use crate::model::state::{PublicFlowState, PublicState};
use crate::plan::facts::{Facts, Row};
use crate::plan::{OnConflict, OnTaken, Plan};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Then, Transition};
use crate::rules::flow::end::ended;
use crate::rules::flow::key::FlowKey;
use crate::rules::flow::read::Pages;
use crate::rules::input;
use crate::schema::Col;
use crate::schema::execution::{BADLY, exec_core};
use crate::schema::flow::flow_summary;

/// Counts the members of a flow and stores the counts by state.
#[derive(Clone, Copy, Debug)]
pub struct Summarise {
    flow: FlowKey,
    at: TimestampMs,
}

/// The number of members in each state, and in all.
#[derive(Clone, Debug, Default)]
struct Count {
    by_state: BTreeMap<&'static str, i32>,
    total: i32,
}

impl Summarise {
    /// The summary of a flow on that partition.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for a partition beyond what a row can store.
    pub fn new(partition: Partition, flow: &FlowId, at: TimestampMs) -> Result<Self, EngineError> {
        let partition = input::partition(partition.index)?;
        Ok(Self { flow: FlowKey { partition, uuid: flow.0 }, at })
    }

    fn pages<'a>(&self, facts: &'a Facts) -> Pages<'a> {
        Pages {
            name: "states of a flow's members",
            table: exec_core::REF,
            columns: vec![exec_core::execution_id.column(), exec_core::public_state.column()],
            of_flow: self.flow.members(),
            by: exec_core::execution_id,
            facts,
        }
    }

    fn plan(&self, count: &Count) -> Plan {
        let mut row = vec![
            flow_summary::partition_key.with(self.flow.partition),
            flow_summary::flow_id.with(self.flow.uuid),
            flow_summary::total_members.with(i64::from(count.total)),
            flow_summary::sampled_members.with(count.total),
            flow_summary::public_flow_state.with_chosen(count.flow_state()),
            flow_summary::last_summary_update_at.with(self.at.0),
        ];
        row.extend(COLUMNS.iter().map(|(state, column)| column.with(count.of(*state))));

        // The first two columns are the key.
        let taken = row.iter().skip(2).map(|(column, _)| (*column, OnTaken::Overwrite)).collect();
        Plan::new("project_flow_summary").insert(flow_summary::REF, row, OnConflict::Update(taken))
    }
}

/// The states that have a column of their own.
const COLUMNS: [(PublicState, Col<i32>); 11] = [
    (PublicState::Completed, flow_summary::members_completed),
    (PublicState::Failed, flow_summary::members_failed),
    (PublicState::Cancelled, flow_summary::members_cancelled),
    (PublicState::Expired, flow_summary::members_expired),
    (PublicState::Skipped, flow_summary::members_skipped),
    (PublicState::Active, flow_summary::members_active),
    (PublicState::Suspended, flow_summary::members_suspended),
    (PublicState::Waiting, flow_summary::members_waiting),
    (PublicState::Delayed, flow_summary::members_delayed),
    (PublicState::RateLimited, flow_summary::members_rate_limited),
    (PublicState::WaitingChildren, flow_summary::members_waiting_children),
];

impl Count {
    fn add(&mut self, row: &Row) -> Result<(), EngineError> {
        let mut state = row.read(exec_core::public_state)?;
        if state == PublicState::Resumable {
            // It waits to be claimed, like any other.
            state = PublicState::Waiting;
        }
        *self.by_state.entry(state.as_str()).or_default() += 1;
        self.total += 1;
        Ok(())
    }

    fn of(&self, state: PublicState) -> i32 {
        self.by_state.get(state.as_str()).copied().unwrap_or(0)
    }

    fn sum(&self, states: &[PublicState]) -> i32 {
        states.iter().map(|state| self.of(*state)).sum()
    }

    /// The flow's state as it follows from the counts.
    fn flow_state(&self) -> PublicFlowState {
        use PublicState::{
            Active, Completed, Delayed, RateLimited, Skipped, Suspended, WaitingChildren,
        };
        let badly = self.sum(&BADLY);
        if badly + self.sum(&[Completed, Skipped]) == self.total {
            return ended(badly != 0);
        }

        if self.of(Active) != 0 {
            PublicFlowState::Running
        } else if self.sum(&[Suspended, Delayed, RateLimited, WaitingChildren]) != 0 {
            PublicFlowState::Blocked
        } else {
            PublicFlowState::Open
        }
    }
}

impl Transition for Summarise {
    /// True if there was a member to count.
    type Outcome = bool;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<bool>, EngineError> {
        let rows = match self.pages(facts).read()? {
            Ok(rows) => rows,
            Err(next) => return Ok(Step::Read(vec![next])),
        };

        let mut count = Count::default();
        rows.iter().try_for_each(|row| count.add(row))?;
        if count.total == 0 {
            return Ok(Step::Answer(false));
        }

        Ok(Step::Commit(self.plan(&count), Then::Answer(true)))
    }
}
