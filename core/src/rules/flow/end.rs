//! The end of a flow, when its last member has ended.
//!
//! The check follows every end of a member that leaves no unfinished execution behind its edges,
//! and comes before that end's event is marked as dispatched. So the last end is followed by a
//! check that sees all of them, however many end at once and whichever process dies. A flow without
//! members goes on, and so does one with a member that is held back.
//!
//! A flow that was cancelled stays cancelled. One that ended with its members goes on when a member
//! is replayed or another one is added. The event of an execution that had ended before it was
//! added names no flow, so that the addition itself checks if the flow is over.

use serde_json::{Map, Value as Json};

use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::model::state::{ClosedSet, OperatorEventType, PublicFlowState};
use crate::plan::facts::{Facts, Row};
use crate::plan::value::Value;
use crate::plan::{Assign, Expr, Guard, Held, List, Lookup, Mutation, Plan, Predicate, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Then, Transition};
use crate::rules::flow::key::{FLOW, FlowKey, held_flow};
use crate::rules::input;
use crate::rules::key::CORE;
use crate::rules::outbox;
use crate::schema::ColumnRef;
use crate::schema::Direction::Ascending;
use crate::schema::execution::{badly_ended, exec_core, unfinished};
use crate::schema::flow::{flow_core, unfinished_flow};

/// The member of the open bag that says what ended a flow, and its word for "its members".
const ENDED_BY: (&str, &str) = ("ended_by", "members");

/// The state of a flow after the end of all its members, one of them `badly` or none.
#[must_use]
pub const fn ended(badly: bool) -> PublicFlowState {
    if badly { PublicFlowState::Failed } else { PublicFlowState::Completed }
}

/// Returns true if a flow is over. A stored word that no engine knows counts as not over.
#[must_use]
pub fn is_over(flow: &Row) -> bool {
    !unfinished_flow().accepts(flow, &Held::default())
}

/// Returns true if retention has begun to remove the members of a flow.
#[must_use]
pub fn is_sealed(flow: &Row) -> bool {
    flow_core::sealed_at_ms.is_present().accepts(flow, &Held::default())
}

/// Returns true if a flow is over because its members were; such a flow goes on with another one,
/// unless retention has begun to remove its members.
#[must_use]
pub fn ended_by_members(flow: &Row) -> bool {
    if is_sealed(flow) {
        return false;
    }

    let (member, word) = ENDED_BY;
    match flow.value(flow_core::raw_fields.column()) {
        Some(Value::Json(Json::Object(raw))) => {
            is_over(flow) && raw.get(member).and_then(Json::as_str) == Some(word)
        }
        Some(_) | None => false,
    }
}

/// The changes by which a flow that has ended goes on, together with `members` of its open bag. The
/// plan relies on the flow's row as it was read.
#[must_use]
pub fn reopened(mut members: Map<String, Json>) -> Vec<(ColumnRef, Assign)> {
    members.insert(ENDED_BY.0.to_owned(), Json::Null);
    vec![
        flow_core::public_flow_state.set(PublicFlowState::Open),
        flow_core::terminal_at_ms.clear(),
        flow_core::raw_fields.merge(Json::Object(members)),
    ]
}

/// The changes that end a flow with its members, together with `members` of its open bag. The plan
/// relies on the flow's row as it was read.
#[must_use]
pub fn end_changes(
    state: PublicFlowState,
    mut members: Map<String, Json>,
    at: TimestampMs,
) -> Vec<(ColumnRef, Assign)> {
    members.insert(ENDED_BY.0.to_owned(), ENDED_BY.1.into());
    vec![
        flow_core::public_flow_state.set_expr(Expr::text(state.as_str())),
        flow_core::terminal_at_ms.keep_or(Some(at.0)),
        flow_core::raw_fields.merge(Json::Object(members)),
    ]
}

/// Announces the end of the held flow.
#[must_use]
pub fn flow_ended(flow: FlowKey, state: PublicFlowState, at: TimestampMs) -> Mutation {
    let details = Expr::Object(vec![
        ("flow_id".into(), Expr::text(flow.uuid.to_string())),
        ("public_flow_state".into(), Expr::text(state.as_str())),
    ]);
    outbox::operator_acted_on_flow(OperatorEventType::FlowEnded, details, at)
}

/// The predicate that nothing has changed that decides if the flow is over.
///
/// # Errors
/// `Validation(Corruption)` when the stored version is no number.
pub fn unchanged(flow: &Row) -> Result<Predicate, EngineError> {
    Ok(flow_core::version.equals(flow.read(flow_core::version)?))
}

/// The flow of the execution looked up before it.
#[must_use]
pub fn flow_of_core_row() -> Lookup {
    let key = vec![
        flow_core::partition_key.with_expr(exec_core::partition_key.of(CORE)),
        flow_core::flow_id.with_expr(exec_core::flow_id.of(CORE)),
    ];
    let columns = vec![
        flow_core::partition_key.column(),
        flow_core::flow_id.column(),
        flow_core::public_flow_state.column(),
        flow_core::version.column(),
        flow_core::sealed_at_ms.column(),
    ];
    Lookup { row: FLOW.into(), table: flow_core::REF, key, columns }
}

/// The guard and the change of the flow of a member that goes on after its end. The flow goes on,
/// too, unless it was cancelled: then it only must not be sealed meanwhile. The version of an open
/// flow grows, so that a concurrent end of the flow is refused.
///
/// # Errors
/// `Validation(InvalidInput)` for a flow with members that are being removed;
/// `Validation(Corruption)` when the stored version is no number.
pub fn its_flow_goes_on(
    flow: Option<&Row>,
) -> Result<(Option<Guard>, Option<Mutation>), EngineError> {
    let Some(row) = flow else { return Ok((None, None)) };
    if is_sealed(row) {
        return Err(input::invalid("flow_is_being_removed"));
    }

    let key = FlowKey {
        partition: row.read(flow_core::partition_key)?,
        uuid: row.read(flow_core::flow_id)?,
    };
    let cancelled = flow_core::public_flow_state.is(PublicFlowState::Cancelled);
    if cancelled.accepts(row, &Held::default()) {
        return Ok((Some(key.guard(flow_core::sealed_at_ms.is_null())), None));
    }

    let mut set = vec![flow_core::version.grow(1)];
    let relies = if is_over(row) {
        set.extend(reopened(Map::new()));
        unchanged(row)?
    } else {
        unfinished_flow()
    };

    let change = Mutation::update(flow_core::REF, held_flow(), set);
    Ok((Some(key.guard(relies)), Some(change)))
}

/// Ends a flow if every member of it is over.
///
/// A [`Transition`] by itself: it searches first, and reads the flow only if nothing was found.
#[derive(Clone, Copy, Debug)]
pub struct EndFlow {
    /// The flow, on the partition of its members.
    pub flow: FlowKey,
}

impl EndFlow {
    /// Finds an unfinished member.
    pub(super) fn unfinished(&self) -> List {
        self.one("a member that goes on", unfinished())
    }

    /// Finds a member with which the flow counts as failed.
    pub(super) fn badly_ended(&self) -> List {
        self.one("a member that ended badly", badly_ended())
    }

    fn one(&self, name: &'static str, which: Predicate) -> List {
        List {
            name: name.into(),
            table: exec_core::REF,
            join: None,
            of_each: None,
            columns: vec![exec_core::execution_id.column()],
            predicate: self.flow.members().and(which),
            order: vec![(exec_core::execution_id.column(), Ascending)],
            limit: Expr::int(1),
        }
    }

    fn row(&self) -> Query {
        let columns = vec![flow_core::public_flow_state.column(), flow_core::version.column()];
        let key = self.flow.row();
        Query::Lookup(vec![Lookup { row: FLOW.into(), table: flow_core::REF, key, columns }])
    }

    fn plan(
        &self,
        flow: &Row,
        state: PublicFlowState,
        at: TimestampMs,
    ) -> Result<Plan, EngineError> {
        let relies = unfinished_flow().and(unchanged(flow)?);
        let mut set = end_changes(state, Map::new(), at);
        set.push(flow_core::version.grow(1));

        let guards = vec![self.flow.guard(relies)];
        let plan = Plan { guards, ..Plan::new("end_flow") };
        Ok(plan.and([
            Mutation::update(flow_core::REF, held_flow(), set),
            flow_ended(self.flow, state, at),
        ]))
    }
}

impl Transition for EndFlow {
    /// True if it has ended now.
    type Outcome = bool;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<bool>, EngineError> {
        // Usually a member goes on, and nothing more is read.
        let (unfinished, badly_ended) = (self.unfinished(), self.badly_ended());
        let Some(going_on) = facts.list(&unfinished) else {
            return Ok(Step::Read(vec![Query::List(unfinished)]));
        };
        if !going_on.is_empty() {
            return Ok(Step::Answer(false));
        }

        // The flow is read first: a member that goes on again after that read grows its version.
        let (Some(going_on), Some(badly)) = (facts.again(&unfinished), facts.list(&badly_ended))
        else {
            let lists = [unfinished, badly_ended].map(Query::List);
            return Ok(Step::Read([self.row()].into_iter().chain(lists).collect()));
        };
        let Some(flow) = facts.row(FLOW) else { return Ok(Step::Answer(false)) };
        if is_over(flow) || !going_on.is_empty() {
            return Ok(Step::Answer(false));
        }

        let state = ended(!badly.is_empty());
        Ok(Step::Commit(self.plan(flow, state, ctx.now)?, Then::Answer(true)))
    }
}
