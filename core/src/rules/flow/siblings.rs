//! Upstreams that are no longer needed: enough of the others have succeeded, and the group's policy
//! says that the rest is cancelled. A row says so until they are cancelled.

use uuid::Uuid;

use crate::contracts::SiblingCancelReconcileAction;
use crate::model::error::EngineError;
use crate::model::ids::{ExecutionId, FlowId, TimestampMs};
use crate::model::partition::Partition;
use crate::model::state::TerminalOutcome;
use crate::plan::facts::{Facts, Row};
use crate::plan::{Expr, List, Lookup, Plan, Predicate, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Then, Transition};
use crate::rules::flow::cancel::cancelled;
use crate::rules::flow::key::{FlowKey, GROUP, held_group};
use crate::rules::flow::tally::unmoved;
use crate::rules::input;
use crate::rules::key::every_execution;
use crate::rules::status::Status;
use crate::schema::ColumnRef;
use crate::schema::Direction::Ascending;
use crate::schema::execution::{exec_core, unfinished};
use crate::schema::flow::{edge_group, pending_cancel_groups};

/// The name of the row that says that a group has upstreams to cancel.
const PENDING_CANCEL: &str = "debt";

/// The key of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupKey {
    /// Its flow.
    pub flow: FlowKey,
    /// The execution that waits.
    pub downstream: Uuid,
}

impl GroupKey {
    /// The key of a group in a flow on that partition.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for a partition beyond what a row can store.
    pub fn of(
        partition: Partition,
        flow: &FlowId,
        downstream: &ExecutionId,
    ) -> Result<Self, EngineError> {
        let partition = input::partition(partition.index)?;
        let flow = FlowKey { partition, uuid: flow.0 };
        Ok(Self { flow, downstream: downstream.uuid() })
    }

    fn debt(&self) -> Vec<(ColumnRef, Expr)> {
        vec![
            pending_cancel_groups::partition_key.with(self.flow.partition),
            pending_cancel_groups::flow_id.with(self.flow.uuid),
            pending_cancel_groups::downstream_eid.with(self.downstream),
        ]
    }

    fn lookups(&self) -> Vec<Lookup> {
        vec![
            Lookup {
                row: PENDING_CANCEL.into(),
                table: pending_cancel_groups::REF,
                key: self.debt(),
                columns: pending_cancel_groups::REF.columns.to_vec(),
            },
            Lookup {
                row: GROUP.into(),
                table: edge_group::REF,
                key: self.flow.group(self.downstream),
                columns: edge_group::REF.columns.to_vec(),
            },
        ]
    }

    /// Deletes a stale pending-cancel row: the group, if there is one, still has nothing to cancel.
    fn dropped(&self, group: Option<&Row>) -> Result<Plan, EngineError> {
        let mut plan = Plan::new("drop_stale_sibling_cancel");
        if let Some(group) = group {
            let key = self.flow.group(self.downstream);
            plan = plan.guard(GROUP, edge_group::REF, key, unmoved(group)?);
        }
        Ok(plan.delete(pending_cancel_groups::REF, self.debt()))
    }

    /// Clears the pending cancellations of the group.
    fn settled(&self, plan: Plan) -> Plan {
        let set = vec![
            edge_group::cancel_siblings_pending_flag.set(false),
            edge_group::cancel_siblings_pending_members.set(Vec::new()),
            edge_group::version.grow(1),
        ];
        plan.update(edge_group::REF, held_group(), set)
            .delete(pending_cancel_groups::REF, self.debt())
    }
}

/// The group, if it has upstreams to cancel.
fn owing(group: Option<&Row>) -> Result<Option<&Row>, EngineError> {
    let Some(group) = group else { return Ok(None) };
    Ok(group.read(edge_group::cancel_siblings_pending_flag)?.then_some(group))
}

fn listed(group: &Row) -> Result<Vec<Uuid>, EngineError> {
    let texts = group.read(edge_group::cancel_siblings_pending_members)?;
    Ok(texts.iter().filter_map(|text| text.parse().ok()).collect())
}

fn members(key: &GroupKey, members: Vec<Uuid>) -> Predicate {
    exec_core::partition_key
        .equals(key.flow.partition)
        .and(exec_core::execution_id.is_among(members))
        .and(unfinished())
}

/// Cancels the upstreams that a group no longer needs, whatever they are doing.
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    /// The group.
    pub key: GroupKey,
}

impl Transition for Drain {
    /// True if the group had a pending-cancel row or upstreams to cancel.
    type Outcome = bool;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<bool>, EngineError> {
        if !facts.have_rows() {
            return Ok(Step::Read(vec![Query::Lookup(self.key.lookups())]));
        }
        let group = facts.row(GROUP);
        let Some(group) = owing(group)? else {
            return Ok(match facts.row(PENDING_CANCEL) {
                Some(_) => Step::Commit(self.key.dropped(group)?, Then::Answer(true)),
                None => Step::Answer(false),
            });
        };

        let key = self.key.flow.group(self.key.downstream);
        let mut plan =
            Plan::new("cancel_siblings").guard(GROUP, edge_group::REF, key, unmoved(group)?);
        plan.selection = Some(every_execution(members(&self.key, listed(group)?)));
        let plan = self.key.settled(plan);

        let status = Status::terminal(TerminalOutcome::Cancelled);
        let plan = plan.and(cancelled(status, "sibling_quorum_satisfied", "engine", ctx.now));
        Ok(Step::Commit(plan, Then::Answer(true)))
    }
}

/// Looks again at a pending-cancel row: deletes a stale one, clears one after the end of all its
/// upstreams, and leaves the others. Cancels nothing itself.
#[derive(Clone, Copy, Debug)]
pub struct Reconcile {
    /// The group.
    pub key: GroupKey,
}

impl Transition for Reconcile {
    type Outcome = SiblingCancelReconcileAction;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        use SiblingCancelReconcileAction::{CompletedDrain, NoOp, SremmedStale};

        if !facts.have_rows() {
            return Ok(Step::Read(vec![Query::Lookup(self.key.lookups())]));
        }
        let group = facts.row(GROUP);
        let Some(group) = owing(group)? else {
            return Ok(match facts.row(PENDING_CANCEL) {
                Some(_) => Step::Commit(self.key.dropped(group)?, Then::Answer(SremmedStale)),
                None => Step::Answer(NoOp),
            });
        };

        let list = List {
            name: "siblings that are not over".into(),
            table: exec_core::REF,
            join: None,
            columns: vec![exec_core::execution_id.column()],
            predicate: members(&self.key, listed(group)?),
            order: vec![(exec_core::execution_id.column(), Ascending)],
            limit: Expr::int(1),
        };
        let Some(live) = facts.list(&list) else {
            return Ok(Step::Read(vec![Query::List(list)]));
        };

        if !live.is_empty() {
            return Ok(Step::Answer(NoOp));
        }

        let key = self.key.flow.group(self.key.downstream);
        let plan = Plan::new("settle_sibling_cancel");
        let plan = plan.guard(GROUP, edge_group::REF, key, unmoved(group)?);
        Ok(Step::Commit(self.key.settled(plan), Then::Answer(CompletedDrain)))
    }
}

/// The group of a pending-cancel row, and the time at which it was enqueued.
///
/// # Errors
/// `Validation(Corruption)` naming the column that holds what it must not.
pub fn debt_of(row: &Row) -> Result<(GroupKey, TimestampMs), EngineError> {
    let flow = FlowKey {
        partition: row.read(pending_cancel_groups::partition_key)?,
        uuid: row.read(pending_cancel_groups::flow_id)?,
    };

    let downstream = row.read(pending_cancel_groups::downstream_eid)?;
    let since = TimestampMs(row.read(pending_cancel_groups::enqueued_at_ms)?);
    Ok((GroupKey { flow, downstream }, since))
}
