//! A worker parks its execution until the executions that it waits for have ended.
//!
//! The group's counts decide at once: an execution that waits for nothing may be claimed again, and
//! one that waits in vain is skipped, just as if the last end had been applied a moment later.

use serde_json::json;

use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::model::state::{AttemptOutcome, AttemptState, LeaseCause};
use crate::plan::facts::{Facts, Row};
use crate::plan::{Plan, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Then, Transition};
use crate::rules::execution::change;
use crate::rules::execution::end::End;
use crate::rules::fence::{Fence, OpenLease};
use crate::rules::flow::child::UNREACHABLE;
use crate::rules::flow::edges::unapplied_edges;
use crate::rules::flow::key::{FlowKey, GROUP, group_of_core_row};
use crate::rules::flow::tally::{Tally, Verdict, policy_of, unmoved as group_unmoved};
use crate::rules::outbox::{self, Reason};
use crate::rules::premise::{Premise, existing, guards, lookups, unmet};
use crate::rules::status::{Status, lease_ended};
use crate::rules::suspension::close::close_as_read;
use crate::schema::execution::exec_core;
use crate::schema::flow::edge_group;

/// Parks an execution until its dependencies are resolved.
#[derive(Clone, Debug)]
pub struct WaitChildren {
    /// The fence of the worker.
    pub fence: Fence,
}

impl WaitChildren {
    fn queries(&self, premises: &[Premise<()>]) -> Vec<Query> {
        let mut rows = lookups(premises);
        rows.push(group_of_core_row(edge_group::REF.columns.to_vec()));
        vec![Query::Lookup(rows)]
    }

    fn plan(
        &self,
        premises: Vec<Premise<()>>,
        facts: &Facts,
        core: &Row,
        group: Option<&Row>,
    ) -> Result<Plan, EngineError> {
        let mut plan = Plan::new("wait_children");
        if let (Some(group), Some(flow)) = (group, core.read(exec_core::flow_id)?) {
            let flow = FlowKey { partition: self.fence.key.partition, uuid: flow };
            let key = flow.group(self.fence.key.uuid);
            plan = plan.guard(GROUP, edge_group::REF, key, group_unmoved(group)?);
        }
        plan.guards.extend(guards(premises, &[], facts)?);
        Ok(plan)
    }

    fn parked(plan: Plan, status: Status, at: TimestampMs) -> Plan {
        plan.and([
            change::enters(status, at).noting(json!({})).update(),
            change::attempt(lease_ended(AttemptOutcome::WaitingChildren)),
        ])
    }

    fn skipped(plan: Plan, at: TimestampMs) -> Plan {
        let end = End::SKIPPED;
        plan.and([
            end.of_execution(at).update(),
            change::attempt(end.of_attempt(at)),
            outbox::completed(end.event, Reason::Given(UNREACHABLE), at),
        ])
    }
}

impl Transition for WaitChildren {
    type Outcome = ();

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<()>, EngineError> {
        let at = ctx.now;
        let premises = self.fence.premises(at, OpenLease::Live);
        if !facts.have_rows() {
            return Ok(Step::Read(self.queries(&premises)));
        }

        if let Some(answer) = unmet(&premises, facts)? {
            return Ok(Step::Answer(answer));
        }
        let (core, group) = (existing(facts)?, facts.row(GROUP));
        let plan = self.plan(premises, facts, core, group)?;

        let interrupted = AttemptState::AttemptInterrupted;
        let verdict = match (group, core.read(exec_core::flow_id)?) {
            (Some(group), Some(flow)) => {
                let flow = FlowKey { partition: self.fence.key.partition, uuid: flow };
                let list = unapplied_edges(flow, self.fence.key.uuid);
                let Some(unapplied) = facts.list(&list) else {
                    return Ok(Step::Read(vec![Query::List(list)]));
                };
                let tally = Tally::read(group)?.with_unapplied(unapplied.len());
                // A group without edges keeps no execution waiting.
                if tally.total() == 0 { None } else { Some(tally.verdict(&policy_of(group)?)) }
            }
            (Some(_) | None, _) => None,
        };

        let (plan, cause) = match verdict {
            Some(Verdict::Pending) => {
                let status = Status::waiting_for_dependencies(interrupted);
                (Self::parked(plan, status, at), LeaseCause::WaitingChildren)
            }
            Some(Verdict::Impossible) => {
                let mut plan = Self::skipped(plan, at);
                plan.mutations = close_as_read(plan.mutations, core)?;
                (plan, LeaseCause::Skipped)
            }
            Some(Verdict::Satisfied) | None => {
                let status = Status::waiting(interrupted);
                (Self::parked(plan, status, at), LeaseCause::WaitingChildren)
            }
        };

        let plan = plan.and([outbox::lease_ended(cause, at)]);
        Ok(Step::Commit(plan, Then::Answer(())))
    }
}
