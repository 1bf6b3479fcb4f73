//! Upstreams that are no longer needed: enough of the others have succeeded, and the group's policy
//! says that the rest is cancelled. A row says so until they are cancelled.

use uuid::Uuid;

use crate::contracts::SiblingCancelReconcileAction;
use crate::model::error::EngineError;
use crate::model::ids::{ExecutionId, FlowId, TimestampMs};
use crate::model::partition::Partition;
use crate::model::state::TerminalOutcome;
use crate::plan::facts::{Facts, Row};
use crate::plan::{Expr, Guard, List, Mutation, Predicate, Query};
use crate::rules::changes::Changes;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Verdict};
use crate::rules::flow::cancel::cancelled;
use crate::rules::flow::key::{FlowKey, GROUP, held_group};
use crate::rules::flow::tally::unchanged;
use crate::rules::input;
use crate::rules::key::every_execution;
use crate::rules::premise::{Premise, lookup};
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

    /// The key of the group's pending-cancel row.
    fn pending(&self) -> Vec<(ColumnRef, Expr)> {
        vec![
            pending_cancel_groups::partition_key.with(self.flow.partition),
            pending_cancel_groups::flow_id.with(self.flow.uuid),
            pending_cancel_groups::downstream_eid.with(self.downstream),
        ]
    }

    fn premises<O>(&self) -> Vec<Premise<O>> {
        let pending = lookup(PENDING_CANCEL, pending_cancel_groups::REF, self.pending());
        let group = lookup(GROUP, edge_group::REF, self.flow.group(self.downstream));
        vec![Premise::read(PENDING_CANCEL, pending), Premise::read(GROUP, group)]
    }

    /// The guard of the group, as it was read.
    fn guard(&self, group: &Row) -> Result<Guard, EngineError> {
        Ok(self.flow.group_guard(self.downstream, unchanged(group)?))
    }

    fn delete_pending(&self) -> Mutation {
        Mutation::delete(pending_cancel_groups::REF, self.pending())
    }

    /// Deletes a stale pending-cancel row: the group, if there is one, still has nothing to cancel.
    /// `None` where there is no such row.
    fn drop_stale(&self, facts: &Facts) -> Result<Option<Changes>, EngineError> {
        if facts.row(PENDING_CANCEL).is_none() {
            return Ok(None);
        }
        let group = facts.row(GROUP).map(|group| self.guard(group)).transpose()?;
        let changes = Changes::of([self.delete_pending()]).holding(group);
        Ok(Some(changes.named("drop_stale_sibling_cancel")))
    }

    /// Clears the pending cancellations of the group.
    fn clear_pending(&self, group: &Row) -> Result<Changes, EngineError> {
        let set = vec![
            edge_group::cancel_siblings_pending_flag.set(false),
            edge_group::cancel_siblings_pending_members.set(Vec::new()),
            edge_group::version.grow(1),
        ];
        let cleared = Mutation::update(edge_group::REF, held_group(), set);
        Ok(Changes::of([cleared, self.delete_pending()]).holding([self.guard(group)?]))
    }
}

/// The group, if it has upstreams to cancel.
fn with_pending_cancels(facts: &Facts) -> Result<Option<&Row>, EngineError> {
    let Some(group) = facts.row(GROUP) else { return Ok(None) };
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

impl Decision for Drain {
    /// True if the group had a pending-cancel row or upstreams to cancel.
    type Outcome = bool;

    const NAME: &'static str = "cancel_siblings";

    fn premises(&self, _: TimestampMs) -> Vec<Premise<bool>> {
        self.key.premises()
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<bool> {
        let Some(group) = with_pending_cancels(facts)? else {
            return match self.key.drop_stale(facts)? {
                Some(changes) => Verdict::change(changes, true),
                None => Ok(Verdict::Answer(false)),
            };
        };

        let status = Status::terminal(TerminalOutcome::Cancelled);
        let changes = self
            .key
            .clear_pending(group)?
            .and(cancelled(status, "sibling_quorum_satisfied", "engine", at))
            .picking(every_execution(members(&self.key, listed(group)?)));
        Verdict::change(changes, true)
    }
}

/// Looks again at a pending-cancel row: deletes a stale one, clears one after the end of all its
/// upstreams, and leaves the others. Cancels nothing itself.
#[derive(Clone, Copy, Debug)]
pub struct Reconcile {
    /// The group.
    pub key: GroupKey,
}

impl Reconcile {
    /// An upstream that is not over.
    fn unfinished(&self, group: &Row) -> Result<List, EngineError> {
        Ok(List {
            name: "siblings that are not over".into(),
            table: exec_core::REF,
            join: None,
            of_each: None,
            columns: vec![exec_core::execution_id.column()],
            predicate: members(&self.key, listed(group)?),
            order: vec![(exec_core::execution_id.column(), Ascending)],
            limit: Expr::int(1),
        })
    }
}

impl Decision for Reconcile {
    type Outcome = SiblingCancelReconcileAction;

    const NAME: &'static str = "settle_sibling_cancel";

    fn premises(&self, _: TimestampMs) -> Vec<Premise<Self::Outcome>> {
        self.key.premises()
    }

    fn decide(&self, facts: &Facts, _: TimestampMs, _: &mut Ctx<'_>) -> Decided<Self::Outcome> {
        use SiblingCancelReconcileAction::{CompletedDrain, NoOp, SremmedStale};

        let Some(group) = with_pending_cancels(facts)? else {
            return match self.key.drop_stale(facts)? {
                Some(changes) => Verdict::change(changes, SremmedStale),
                None => Ok(Verdict::Answer(NoOp)),
            };
        };

        let list = self.unfinished(group)?;
        match facts.list(&list) {
            None => Ok(Verdict::AlsoRead(vec![Query::List(list)])),
            Some([]) => Verdict::change(self.key.clear_pending(group)?, CompletedDrain),
            Some(_) => Ok(Verdict::Answer(NoOp)),
        }
    }
}

/// The group of a pending-cancel row, and the time at which it was enqueued.
///
/// # Errors
/// `Validation(Corruption)` naming the column that holds what it must not.
pub fn pending_cancel_of(row: &Row) -> Result<(GroupKey, TimestampMs), EngineError> {
    let flow = FlowKey {
        partition: row.read(pending_cancel_groups::partition_key)?,
        uuid: row.read(pending_cancel_groups::flow_id)?,
    };

    let downstream = row.read(pending_cancel_groups::downstream_eid)?;
    let since = TimestampMs(row.read(pending_cancel_groups::enqueued_at_ms)?);
    Ok((GroupKey { flow, downstream }, since))
}
