//! Cancelling a whole flow, by an operator.
//!
//! One plan cancels the flow and every member that it covers, however many there are: the database
//! picks them. The flow's graph is pinned to what was read, so that a member that is added
//! meanwhile is not missed.

use serde_json::json;

use crate::contracts::{CancelFlowArgs, CancelFlowHeader, CancelFlowPolicy, CancelFlowResult};
use crate::model::error::EngineError;
use crate::model::ids::{ExecutionId, FlowId, TimestampMs};
use crate::model::partition::PartitionConfig;
use crate::model::state::{LeaseCause, LifecyclePhase, OperatorEventType, PublicFlowState};
use crate::plan::facts::{Facts, Row};
use crate::plan::value::Value;
use crate::plan::{Expr, List, Mutation, OnConflict, Plan, Predicate, Query};
use crate::rules::changes::Changes;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, FromRows, Step, Then, Transition, Verdict};
use crate::rules::execution::end::End;
use crate::rules::execution::read::text;
use crate::rules::flow::end::is_over;
use crate::rules::flow::key::{FlowKey, Places, held_flow};
use crate::rules::input;
use crate::rules::key::{CORE, ExecutionKey, every_execution, picked_ids};
use crate::rules::outbox::{self, Reason};
use crate::rules::premise::Premise;
use crate::rules::status::Status;
use crate::rules::suspension::close::close_unread;
use crate::schema::ColumnRef;
use crate::schema::Direction::Ascending;
use crate::schema::execution::{exec_core, unfinished};
use crate::schema::flow::{cancel_backlog, cancel_backlog_member, flow_core, unfinished_flow};

/// The most members that the answer about a flow that is over names.
const MEMBERS_MAX: i64 = 100_000;

/// Cancels a flow and the members that a policy covers. Members that are over stay as they are; a
/// flow that does not exist has no members.
#[derive(Clone, Copy, Debug)]
pub struct CancelFlow {
    places: Places,
    policy: CancelFlowPolicy,
}

/// The name that a policy is stored under.
fn policy_word(policy: CancelFlowPolicy) -> &'static str {
    match policy {
        CancelFlowPolicy::FlowOnly => "cancel_flow_only",
        CancelFlowPolicy::CancelAll => "cancel_all",
        CancelFlowPolicy::CancelPending => "cancel_pending",
    }
}

impl CancelFlow {
    /// The cancellation of that flow by that policy.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for an id that no row can have.
    pub fn new(
        flow: &FlowId,
        policy: CancelFlowPolicy,
        partitions: &PartitionConfig,
    ) -> Result<Self, EngineError> {
        Ok(Self { places: Places::of(flow, partitions)?, policy })
    }

    /// The members that the policy covers, if it covers any.
    fn covered(&self) -> Option<Predicate> {
        match self.policy {
            CancelFlowPolicy::FlowOnly => None,
            CancelFlowPolicy::CancelAll => Some(unfinished()),
            CancelFlowPolicy::CancelPending => Some(
                exec_core::lifecycle_phase
                    .is_one_of(&[LifecyclePhase::Submitted, LifecyclePhase::Runnable]),
            ),
        }
    }
}

impl Decision for CancelFlow {
    type Outcome = CancelFlowResult;

    const NAME: &'static str = "cancel_flow";

    fn premises(&self, _: TimestampMs) -> Vec<Premise<Self::Outcome>> {
        self.places.premises()
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<Self::Outcome> {
        let cancellation_policy = policy_word(self.policy).to_owned();
        let cancelled_with = |member_execution_ids| CancelFlowResult::Cancelled {
            cancellation_policy: cancellation_policy.clone(),
            member_execution_ids,
        };
        let Some((flow, row)) = self.places.found(facts) else {
            return Ok(Verdict::Answer(cancelled_with(Vec::new())));
        };

        let details = json!({ "cancellation_policy": cancellation_policy });
        let changes = mark_cancelled(flow, row, Predicate::Always, details, at)?;
        let Some(covered) = self.covered() else {
            return Verdict::change(changes, cancelled_with(Vec::new()));
        };

        let changes = changes
            .and(cancelled(Status::cancelled(), "flow_cancelled", "cancel_flow", at))
            .picking(every_execution(flow.members().and(covered)))
            .returning(picked_ids());
        let then: FromRows<Self::Outcome> = Box::new(move |rows| {
            let member_execution_ids = ids(flow, &rows)?;
            Ok(CancelFlowResult::Cancelled { cancellation_policy, member_execution_ids })
        });
        Ok(Verdict::Change(changes, Then::FromRows(then)))
    }
}

/// Cancels a flow with all its unfinished members, and keeps a list of them until each is
/// acknowledged ([`AckMember`]). A flow that is over stays as it is, and the answer says how it
/// ended.
#[derive(Clone, Debug)]
pub struct CancelHeader {
    places: Places,
    args: CancelFlowArgs,
}

impl CancelHeader {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field: text with NUL.
    pub fn new(args: CancelFlowArgs, partitions: &PartitionConfig) -> Result<Self, EngineError> {
        input::text("reason", &args.reason)?;
        input::text("cancellation_policy", &args.cancellation_policy)?;
        Ok(Self { places: Places::of(&args.flow_id, partitions)?, args })
    }

    fn changes(&self, flow: FlowKey, row: &Row) -> Result<Changes, EngineError> {
        let CancelFlowArgs { reason, cancellation_policy: policy, now: at, .. } = &self.args;
        let details = json!({ "cancellation_policy": policy, "cancel_reason": reason });
        let backlog = vec![
            cancel_backlog::partition_key.with(flow.partition),
            cancel_backlog::flow_id.with(flow.uuid),
            cancel_backlog::requested_at_ms.with(at.0),
            cancel_backlog::reason.with(reason.clone()),
            cancel_backlog::cancellation_policy.with(policy.clone()),
        ];

        let id = vec![
            Expr::text(format!("{{fp:{}}}:", flow.partition)),
            exec_core::execution_id.of(CORE),
        ];
        let member = vec![
            cancel_backlog_member::partition_key.with(flow.partition),
            cancel_backlog_member::flow_id.with(flow.uuid),
            cancel_backlog_member::execution_id.with_expr(Expr::Joined(id)),
        ];

        let particulars = Expr::Object(vec![
            ("flow_id".into(), Expr::text(flow.uuid.to_string())),
            ("cancellation_policy".into(), Expr::text(policy.as_str())),
            ("reason".into(), Expr::text(reason.as_str())),
            ("member_count".into(), Expr::PickedCount),
        ]);
        let event = OperatorEventType::FlowCancelRequested;

        Ok(mark_cancelled(flow, row, unfinished_flow(), details, *at)?
            .and(cancelled(Status::cancelled(), reason, "cancel_flow_header", *at))
            .and([
                Mutation::insert(cancel_backlog::REF, backlog, OnConflict::Ignore),
                Mutation::insert(cancel_backlog_member::REF, member, OnConflict::Ignore),
                outbox::operator_acted_on_flow(event, particulars, *at),
            ])
            .picking(every_execution(flow.members().and(unfinished())))
            .returning(picked_ids()))
    }

    fn over(
        &self,
        row: &Row,
        member_execution_ids: Vec<String>,
    ) -> Result<CancelFlowHeader, EngineError> {
        let raw = row.read(flow_core::raw_fields)?;
        Ok(CancelFlowHeader::AlreadyTerminal {
            stored_cancellation_policy: text(&raw, "cancellation_policy"),
            stored_cancel_reason: text(&raw, "cancel_reason"),
            member_execution_ids,
        })
    }
}

impl Decision for CancelHeader {
    type Outcome = CancelFlowHeader;

    const NAME: &'static str = "cancel_flow_header";

    fn premises(&self, _: TimestampMs) -> Vec<Premise<Self::Outcome>> {
        self.places.premises()
    }

    fn decide(&self, facts: &Facts, _: TimestampMs, _: &mut Ctx<'_>) -> Decided<Self::Outcome> {
        let Some((flow, row)) = self.places.found(facts) else {
            return Err(EngineError::NotFound { entity: "flow" });
        };

        if !is_over(row) {
            let cancellation_policy = self.args.cancellation_policy.clone();
            let then: FromRows<Self::Outcome> = Box::new(move |rows| {
                let member_execution_ids = ids(flow, &rows)?;
                Ok(CancelFlowHeader::Cancelled { cancellation_policy, member_execution_ids })
            });
            return Ok(Verdict::Change(self.changes(flow, row)?, Then::FromRows(then)));
        }

        let (backlog, members) = (backlog_members(flow), all_members(flow));
        let (Some(backlog), Some(members)) = (facts.list(&backlog), facts.list(&members)) else {
            return Ok(Verdict::AlsoRead([backlog, members].map(Query::List).into()));
        };

        let named = if backlog.is_empty() {
            let id =
                |row: &Row| Ok(flow.member(row.read(exec_core::execution_id)?).id().to_string());
            members.iter().map(id).collect::<Result<Vec<_>, EngineError>>()?
        } else {
            let id = |row: &Row| row.read(cancel_backlog_member::execution_id);
            backlog.iter().map(id).collect::<Result<Vec<_>, _>>()?
        };
        self.over(row, named).map(Verdict::Answer)
    }
}

/// Takes a member off the list of a cancelled flow; the list goes with its last member.
///
/// A [`Transition`] by itself: a list says which rows it relies on.
#[derive(Clone, Debug)]
pub struct AckMember {
    flow: FlowKey,
    member: ExecutionId,
}

impl AckMember {
    /// The acknowledgement of a member of that flow, which lives where its member does.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for ids that no row can have.
    pub fn new(flow: &FlowId, member: &ExecutionId) -> Result<Self, EngineError> {
        let partition = ExecutionKey::of(member)?.partition;
        Ok(Self { flow: FlowKey { partition, uuid: flow.0 }, member: member.clone() })
    }
}

impl Transition for AckMember {
    type Outcome = ();

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<()>, EngineError> {
        let list = backlog_members(self.flow);
        let Some(members) = facts.list(&list) else {
            return Ok(Step::Read(vec![Query::List(list)]));
        };

        let id = |row: &Row| row.read(cancel_backlog_member::execution_id);
        let listed = members.iter().map(id).collect::<Result<Vec<_>, _>>()?;
        let named = self.member.to_string();
        let another = listed.iter().find(|other| **other != named);

        let plan = match another {
            Some(_) if !listed.contains(&named) => return Ok(Step::Answer(())),
            Some(another) => self.one_of_several(&named, another),
            None => self.last(&named),
        };
        Ok(Step::Commit(plan, Then::Answer(())))
    }
}

impl AckMember {
    /// Relies on the other one being there still: of the last two, one must see that it is the
    /// last.
    fn one_of_several(&self, named: &str, another: &str) -> Plan {
        // In one order, so that two acknowledgements do not wait for each other in a circle.
        let (first, second) = if named < another { (named, another) } else { (another, named) };
        Plan::new("ack_cancel_member")
            .guard("first", cancel_backlog_member::REF, self.row(first), Predicate::Always)
            .guard("second", cancel_backlog_member::REF, self.row(second), Predicate::Always)
            .delete(cancel_backlog_member::REF, self.row(named))
    }

    /// Members are added only together with the list itself: none comes after the last.
    fn last(&self, named: &str) -> Plan {
        let list = vec![
            cancel_backlog::partition_key.with(self.flow.partition),
            cancel_backlog::flow_id.with(self.flow.uuid),
        ];
        Plan::new("ack_last_cancel_member")
            .delete(cancel_backlog_member::REF, self.row(named))
            .delete(cancel_backlog::REF, list)
    }

    fn row(&self, named: &str) -> Vec<(ColumnRef, Expr)> {
        vec![
            cancel_backlog_member::partition_key.with(self.flow.partition),
            cancel_backlog_member::flow_id.with(self.flow.uuid),
            cancel_backlog_member::execution_id.with(named.to_owned()),
        ]
    }
}

/// Marks the flow's own row as cancelled; the time of an earlier end stays.
fn mark_cancelled(
    flow: FlowKey,
    row: &Row,
    relied: Predicate,
    details: serde_json::Value,
    at: TimestampMs,
) -> Result<Changes, EngineError> {
    let set = vec![
        flow_core::public_flow_state.set(PublicFlowState::Cancelled),
        flow_core::terminal_at_ms.keep_or(Some(at.0)),
        flow_core::raw_fields.merge(details),
        flow_core::version.grow(1),
    ];

    // A member that is added meanwhile grows the revision.
    let same_graph = flow_core::graph_revision.equals(row.read(flow_core::graph_revision)?);
    Ok(Changes::of([Mutation::update(flow_core::REF, held_flow(), set)])
        .holding([flow.guard(same_graph.and(relied))]))
}

/// The changes that cancel each picked execution: its state, its attempt, its events, and whatever
/// it has open. A reason and a canceller that it has already stay.
#[must_use]
pub fn cancelled(status: Status, reason: &str, by: &str, at: TimestampMs) -> Vec<Mutation> {
    let end = End::CANCELLED;
    let core = end
        .as_status(status, at)
        .set(exec_core::cancellation_reason.keep_or(Some(reason.to_owned())))
        .set(exec_core::cancelled_by.keep_or(Some(by.to_owned())));

    let mut changes = vec![
        core.update(),
        end.break_attempt(at),
        outbox::completed(end.event, Reason::Given(reason), at),
        // The attempts are not read, so the events cannot name the leases.
        outbox::unnamed_lease_ended(LeaseCause::Cancelled, at),
    ];
    changes.extend(close_unread());
    changes
}

fn ids(flow: FlowKey, rows: &[Vec<Value>]) -> Result<Vec<String>, EngineError> {
    let id = |row: &Vec<Value>| {
        let value = row.first().cloned().unwrap_or(Value::Null);
        let uuid = Row::new(vec![(exec_core::execution_id.column(), value)])
            .read(exec_core::execution_id)?;
        Ok(flow.member(uuid).id().to_string())
    };
    rows.iter().map(id).collect()
}

fn backlog_members(flow: FlowKey) -> List {
    List {
        name: "members left to cancel".into(),
        table: cancel_backlog_member::REF,
        join: None,
        of_each: None,
        columns: vec![cancel_backlog_member::execution_id.column()],
        predicate: cancel_backlog_member::partition_key
            .equals(flow.partition)
            .and(cancel_backlog_member::flow_id.equals(flow.uuid)),
        order: vec![(cancel_backlog_member::execution_id.column(), Ascending)],
        limit: Expr::int(MEMBERS_MAX),
    }
}

fn all_members(flow: FlowKey) -> List {
    List {
        name: "members of a flow".into(),
        table: exec_core::REF,
        join: None,
        of_each: None,
        columns: vec![exec_core::execution_id.column()],
        predicate: flow.members(),
        order: vec![(exec_core::execution_id.column(), Ascending)],
        limit: Expr::int(MEMBERS_MAX),
    }
}
