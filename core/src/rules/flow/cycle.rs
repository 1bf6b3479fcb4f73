//! The search for a cycle that a new wait would close, if a wait made at run time is part of it.
//!
//! It follows the waits backwards: from the execution that is about to wait, to those that wait for
//! it, and on to those that wait for them. An execution is waited for by edges of its own flow. So
//! each step reads the edges of one flow, after the flow itself. A new edge changes the flow that
//! it is in, and the plan holds each flow as it was read. A dependency counts from its staging on,
//! because applying it changes no flow.
//!
//! Dependencies alone close no cycle, because none is staged that would. A wait made at run time
//! marks the flow that its edge is in, and only there does applying a dependency search.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::Value as Json;
use uuid::Uuid;

use crate::model::error::{ConflictKind, EngineError};
use crate::model::state::EligibilityState;
use crate::plan::facts::{Facts, Row};
use crate::plan::{Expr, Guard, List, Query};
use crate::rules::flow::edges::{edges, not_applied, with_downstreams};
use crate::rules::flow::frontier::{self, leads_on_from, refuse_too_wide};
use crate::rules::flow::key::FlowKey;
use crate::rules::input;
use crate::schema::Direction::Ascending;
use crate::schema::execution::{exec_core, unfinished};
use crate::schema::flow::{edge, flow_core};

/// The name of the list of each step.
const WAITERS: &str = "executions that wait";

/// The name of the lists of flows, one for each flow with edges to follow.
const SEARCHED: &str = "flows with waits";

/// The member of the open bag of a flow that is true once a wait was made at run time in it.
pub const HAS_WAITS: &str = "has_waits_made_at_run_time";

/// The most flows that one search reads.
const FLOWS: usize = 100;

/// A search for an execution among those that wait for another one.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// The flow of the execution that is to wait. It is waited for by edges of this flow alone.
    pub flow: FlowKey,
    /// The execution that is to wait.
    pub waits: Uuid,
    /// The execution that it is to wait for.
    pub sought: Uuid,
}

/// The state of a search.
#[derive(Debug)]
pub enum Found {
    /// More is to be read.
    More(Vec<Query>),
    /// The one sought waits for none of them, while these hold: the flows are as they were read.
    Nothing(Vec<Guard>),
}

/// Returns true if a flow has a wait made at run time, or had one.
///
/// # Errors
/// `Validation(Corruption)` when the flow's open bag is no JSON document.
pub fn has_waits(flow: &Row) -> Result<bool, EngineError> {
    Ok(flow.read(flow_core::raw_fields)?.get(HAS_WAITS) == Some(&Json::Bool(true)))
}

impl Search {
    /// Follows the waits as far as they have been read.
    ///
    /// # Errors
    /// `Conflict(CycleDetected)`; `Validation(InvalidInput)`: `graph_too_wide` and
    /// `waits_too_deep` beyond what is searched.
    pub fn of(&self, facts: &Facts) -> Result<Found, EngineError> {
        let mut seen = BTreeSet::from([self.waits]);
        let mut frontiers = VecDeque::from([(self.flow.uuid, seen.clone())]);
        let mut flows = Vec::new();
        let mut pages = facts.pages(WAITERS);

        while let Some((uuid, frontier)) = frontiers.pop_front() {
            let flow = FlowKey { uuid, ..self.flow };
            let place = place(&mut flows, flow)?;
            let Some(rows) = pages.next() else {
                return Ok(Found::More(reads(facts, flow, place, &frontier)));
            };
            refuse_too_wide(rows)?;

            let mut next = BTreeMap::<Uuid, BTreeSet<Uuid>>::new();
            for row in rows {
                let waiter = row.read(edge::downstream_eid)?;
                if waiter == self.sought {
                    return Err(EngineError::Conflict(ConflictKind::CycleDetected));
                }
                let of = row.read(exec_core::flow_id)?;
                if let Some(of) = of.filter(|_| seen.insert(waiter)) {
                    next.entry(of).or_default().insert(waiter);
                }
            }
            frontiers.extend(next);
        }

        let pins = flows.iter().enumerate().map(|(place, flow)| pin(facts, *flow, place));
        pins.collect::<Result<_, _>>().map(Found::Nothing)
    }
}

/// The place of the flow among those that the search has come upon.
fn place(flows: &mut Vec<FlowKey>, flow: FlowKey) -> Result<usize, EngineError> {
    if let Some(place) = flows.iter().position(|known| *known == flow) {
        return Ok(place);
    }
    if flows.len() == FLOWS {
        return Err(input::invalid(format!(
            "waits_too_deep: more than {FLOWS} flows to search for a cycle"
        )));
    }
    flows.push(flow);
    Ok(flows.len() - 1)
}

/// The executions that wait for one of these, after the flow itself.
fn reads(facts: &Facts, flow: FlowKey, place: usize, waited_for: &BTreeSet<Uuid>) -> Vec<Query> {
    let unread = facts.pages(SEARCHED).nth(place).is_none();
    let itself = unread.then(|| {
        Query::List(List {
            name: SEARCHED.into(),
            table: flow_core::REF,
            join: None,
            of_each: None,
            columns: vec![flow_core::graph_revision.column(), flow_core::version.column()],
            predicate: flow_core::partition_key
                .equals(flow.partition)
                .and(flow_core::flow_id.equals(flow.uuid)),
            order: vec![
                (flow_core::flow_id.column(), Ascending),
                (flow_core::partition_key.column(), Ascending),
            ],
            limit: Expr::int(1),
        })
    });

    let blocked = exec_core::eligibility_state.is(EligibilityState::BlockedByDependencies);
    let waits = blocked.or(not_applied().and(unfinished()));
    let which = leads_on_from(waited_for).and(edge::upstream_outcome.is_null()).and(waits);
    let columns = vec![edge::downstream_eid.column(), exec_core::flow_id.column()];
    let list = edges(WAITERS, flow, which, edge::downstream_eid, columns);
    let list = frontier::step(with_downstreams(list));
    itself.into_iter().chain([Query::List(list)]).collect()
}

/// The guard of the flow at that place, as it was read.
fn pin(facts: &Facts, flow: FlowKey, place: usize) -> Result<Guard, EngineError> {
    let row = facts.pages(SEARCHED).nth(place).and_then(<[_]>::first);
    let row = row.ok_or_else(|| input::invalid("flow_not_found"))?;
    let (revision, version) = (flow_core::graph_revision, flow_core::version);
    let unchanged = revision.equals(row.read(revision)?).and(version.equals(row.read(version)?));
    Ok(Guard { row: format!("searched {place}").into(), ..flow.guard(unchanged) })
}
