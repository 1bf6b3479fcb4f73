//! A flow that retention begins to remove: sealed, so that it never goes on.
//!
//! A flow needs its members for as long as one of them has not ended, or an end is not dispatched.
//! After that, a replay or an added member could bring it back while its members are removed one by
//! one. So the flow is sealed first; a replay and an addition refuse a sealed flow.

use crate::contracts::HeldBack;
use crate::model::error::EngineError;
use crate::plan::facts::Facts;
use crate::plan::{Expr, List, Mutation, Plan, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Then, Transition};
use crate::rules::flow::end::{is_over, is_sealed, unchanged};
use crate::rules::flow::key::{FLOW, FlowKey, held_flow};
use crate::rules::premise::lookup;
use crate::rules::retention::holds::{Hold, unread_end};
use crate::schema::Direction::Ascending;
use crate::schema::execution::{exec_core, unfinished};
use crate::schema::flow::flow_core;
use crate::schema::outbox::{completion_event, undispatched};

/// Seals a flow that is over.
#[derive(Clone, Debug)]
pub struct Seal<'a> {
    /// The flow.
    pub flow: FlowKey,
    /// The latest end of a flow that is removed, Unix ms.
    pub until_ms: i64,
    /// The subscribers of completions that hold back what they have not read.
    pub holds: Vec<&'a Hold>,
    /// True if the flow is not sealed, only looked at.
    pub dry_run: bool,
}

/// The answer to whether the members of a flow may be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sealed {
    /// They may, now and from now on.
    Yes,
    /// They may not yet.
    No(HeldBack),
    /// All members have ended, and nothing has ended the flow: it has to be ended first.
    NotEnded,
}

impl Seal<'_> {
    fn unfinished(&self) -> List {
        List {
            name: "a member that holds its flow".into(),
            table: exec_core::REF,
            join: None,
            of_each: None,
            columns: vec![exec_core::execution_id.column()],
            predicate: self.flow.members().and(unfinished()),
            order: vec![(exec_core::execution_id.column(), Ascending)],
            limit: Expr::int(1),
        }
    }

    fn undispatched(&self) -> List {
        let of_flow = completion_event::flow_id.equals(Some(self.flow.uuid));
        List {
            name: "an end that is not dispatched".into(),
            table: completion_event::REF,
            join: None,
            of_each: None,
            columns: vec![completion_event::event_id.column()],
            predicate: undispatched().and(of_flow),
            order: vec![(completion_event::event_id.column(), Ascending)],
            limit: Expr::int(1),
        }
    }

    fn queries(&self) -> Vec<Query> {
        // The flow first: a member that goes on after that read changes the flow's version.
        let row = Query::Lookup(vec![lookup(FLOW, flow_core::REF, self.flow.row())]);
        let lists = [self.unfinished(), self.undispatched()];
        let unread = self.holds.iter().map(|hold| unread_end(self.flow, hold.cursor));
        let lists = lists.into_iter().chain(unread).map(Query::List);
        [row].into_iter().chain(lists).collect()
    }

    /// The reason that holds the members back, whatever the flow's row says.
    fn held_back(&self, facts: &Facts) -> Option<HeldBack> {
        let found = |list: &List| facts.list(list).is_some_and(|rows| !rows.is_empty());
        if found(&self.unfinished()) {
            return Some(HeldBack::LiveFlow);
        }
        if found(&self.undispatched()) {
            return Some(HeldBack::Undispatched);
        }

        let name = unread_end(self.flow, 0).name;
        let mut holds = self.holds.iter().zip(facts.pages(&name));
        let unread = holds.find(|(_, rows)| !rows.is_empty());
        unread.map(|(hold, _)| hold.reason.clone())
    }
}

impl Transition for Seal<'_> {
    type Outcome = Sealed;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<Sealed>, EngineError> {
        if !facts.have_rows() {
            return Ok(Step::Read(self.queries()));
        }
        let row = facts.row(FLOW);
        if row.is_some_and(is_sealed) {
            return Ok(Step::Answer(Sealed::Yes));
        }
        if let Some(held_back) = self.held_back(facts) {
            return Ok(Step::Answer(Sealed::No(held_back)));
        }

        // Members of a flow that has no row, as older databases may have, go by their own time.
        let Some(row) = row else { return Ok(Step::Answer(Sealed::Yes)) };
        if !is_over(row) {
            return Ok(Step::Answer(Sealed::NotEnded));
        }
        let ended_at = row.read(flow_core::terminal_at_ms)?.unwrap_or_default();
        if self.until_ms < ended_at {
            return Ok(Step::Answer(Sealed::No(HeldBack::RecentFlow)));
        }
        if self.dry_run {
            return Ok(Step::Answer(Sealed::Yes));
        }

        let set = vec![flow_core::sealed_at_ms.set(Some(ctx.now.0)), flow_core::version.grow(1)];
        let guards = vec![self.flow.guard(unchanged(row)?)];
        let plan = Plan { guards, ..Plan::new("seal_flow") };
        let plan = plan.and([Mutation::update(flow_core::REF, held_flow(), set)]);
        Ok(Step::Commit(plan, Then::Answer(Sealed::Yes)))
    }
}
