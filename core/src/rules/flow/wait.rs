//! A worker parks its execution until the executions that it waits for have ended.
//!
//! The group's counts decide at once: an execution that waits for nothing may be claimed again, and
//! one that waits in vain is skipped, just as if the last end had been applied a moment later.

use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::model::state::{AttemptOutcome, AttemptState, LeaseCause};
use crate::plan::Query;
use crate::plan::facts::{Facts, Row};
use crate::rules::changes::Changes;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Verdict};
use crate::rules::execution::change;
use crate::rules::execution::end::End;
use crate::rules::fence::{Fence, OpenLease};
use crate::rules::flow::child::UNREACHABLE;
use crate::rules::flow::edges::unapplied_edges;
use crate::rules::flow::key::{FlowKey, GROUP, group_of_core_row};
use crate::rules::flow::tally::{GroupState, Tally, policy_of, unchanged};
use crate::rules::outbox::{self, Reason};
use crate::rules::premise::{Premise, existing};
use crate::rules::status::{Status, lease_ended};
use crate::schema::execution::exec_core;
use crate::schema::flow::edge_group;

/// Parks an execution until its dependencies are resolved.
#[derive(Clone, Debug)]
pub struct WaitChildren {
    /// The fence of the worker.
    pub fence: Fence,
}

impl WaitChildren {
    /// The flow of the execution, and its group of edges there.
    fn group<'a>(
        &self,
        core: &Row,
        facts: &'a Facts,
    ) -> Result<Option<(FlowKey, &'a Row)>, EngineError> {
        let flow = core.read(exec_core::flow_id)?;
        Ok(flow
            .zip(facts.row(GROUP))
            .map(|(uuid, group)| (FlowKey { partition: self.fence.key.partition, uuid }, group)))
    }
}

impl Decision for WaitChildren {
    type Outcome = ();

    const NAME: &'static str = "wait_children";

    fn premises(&self, at: TimestampMs) -> Vec<Premise<()>> {
        let mut premises = self.fence.premises(at, OpenLease::Live);
        let group = group_of_core_row(edge_group::REF.columns.to_vec());
        premises.push(Premise::read(GROUP, group));
        premises
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<()> {
        let child = self.fence.key.uuid;
        let group = self.group(existing(facts)?, facts)?;

        let mut state = None;
        let mut held = None;
        if let Some((flow, group)) = group {
            let list = unapplied_edges(flow, child);
            let Some(unapplied) = facts.list(&list) else {
                return Ok(Verdict::AlsoRead(vec![Query::List(list)]));
            };
            held = Some(flow.group_guard(child, unchanged(group)?));

            let tally = Tally::read(group)?.with_unapplied(unapplied.len());
            // A group without edges keeps no execution waiting.
            state = (tally.total() != 0).then_some(tally.state(&policy_of(group)?));
        }

        let interrupted = AttemptState::AttemptInterrupted;
        let changes = match state {
            Some(GroupState::Pending) => {
                parked(Status::waiting_for_dependencies(interrupted), at).giving_back_permits()
            }
            Some(GroupState::Impossible) => skipped(at).closing(facts)?,
            Some(GroupState::Satisfied) | None => {
                parked(Status::waiting(interrupted), at).giving_back_permits()
            }
        };
        let cause = match state {
            Some(GroupState::Impossible) => LeaseCause::Skipped,
            Some(GroupState::Pending | GroupState::Satisfied) | None => LeaseCause::WaitingChildren,
        };

        let changes = changes.and([outbox::lease_ended(cause, at)]).holding_first(held);
        Verdict::change(changes, ())
    }
}

/// The worker's attempt is interrupted, and its execution enters that status.
fn parked(status: Status, at: TimestampMs) -> Changes {
    Changes::of([
        change::enters(status, at).update(),
        change::attempt(lease_ended(AttemptOutcome::WaitingChildren)),
    ])
}

/// The execution ends: what it waits for can no longer happen.
fn skipped(at: TimestampMs) -> Changes {
    let end = End::SKIPPED;
    Changes::of([
        end.of_execution(at).update(),
        change::attempt(end.of_attempt(at)),
        outbox::completed(end.event, Reason::Given(UNREACHABLE), at),
    ])
}
