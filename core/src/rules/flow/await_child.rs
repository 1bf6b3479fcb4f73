//! A worker parks its execution until another one has ended, whatever the end: an edge made at run
//! time.
//!
//! The edge belongs to the flow of the execution that is waited for, because its completion event
//! is then dispatched to its edges. So nothing is added to the end of an execution, and a crash
//! anywhere leaves the event to the next scan. The plan holds the execution that is waited for as
//! unfinished, so its end is announced after the wait is there to be found.
//!
//! Unlike the edges of a group, such an edge counts nothing: its execution goes on after any end.
//!
//! A wait that closes a cycle would never end, so it is refused. An execution that is not blocked
//! waits for nothing; only for one that is, the waits are searched ([`Search`]).

use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};
use uuid::{Builder, Uuid};

use crate::contracts::ChildWait;
use crate::model::error::{EngineError, ValidationKind};
use crate::model::ids::{EdgeId, ExecutionId, FlowId, TimestampMs};
use crate::model::partition::{PartitionConfig, flow_partition};
use crate::model::state::{AttemptOutcome, AttemptState, EligibilityState, LeaseCause};
use crate::plan::facts::{Facts, Row};
use crate::plan::{Guard, Held, Lookup, Mutation, OnConflict, Predicate};
use crate::rules::changes::Changes;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Verdict};
use crate::rules::execution::change;
use crate::rules::execution::read::text;
use crate::rules::fence::{Fence, OpenLease};
use crate::rules::flow::cycle::{Found, HAS_WAITS, Search};
use crate::rules::flow::hop::edge_unchanged;
use crate::rules::flow::key::{EDGE, FLOW, FlowKey, held_edge, held_flow, partition_mismatch};
use crate::rules::input;
use crate::rules::key::{CORE, ExecutionKey};
use crate::rules::outbox;
use crate::rules::premise::{Premise, execution_row, refuse};
use crate::rules::status::{Status, lease_ended};
use crate::schema::execution::{exec_core, unfinished};
use crate::schema::flow::{edge, flow_core};

/// The kind of the flow of an execution's children.
pub const FLOW_KIND: &str = "children";

/// The name of the row of the execution that is waited for.
const CHILD: &str = "child";

/// The member of an edge's record that says when it is satisfied, and its word for "by any end".
const BY_ANY_END: (&str, &str) = ("satisfaction_condition", "ended");

/// The member of the open bag of an execution that names the flow with the edge of its wait.
const WAITS_IN: &str = "waits_in_flow";

/// The ids that are tried for a flow on a given partition. Few of 32,768 partitions need as many.
const TRIES: u32 = 1 << 20;

/// Parks an execution until another one has ended.
#[derive(Clone, Debug)]
pub struct AwaitChild {
    fence: Fence,
    child: ExecutionKey,
    edge: EdgeId,
}

/// The outcome of the decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// The answer to the caller.
    Answered(ChildWait),
    /// The execution that is waited for belongs to no flow yet; the one that waits may.
    NoFlow {
        /// True if the execution that waits belongs to a flow.
        parent_has_one: bool,
    },
}

impl AwaitChild {
    /// The wait of the worker's execution for another one.
    ///
    /// # Errors
    /// `Validation(InvalidInput)`: `self_referencing_edge` for an execution that would wait for
    /// itself, `partition_mismatch` for one on another partition.
    pub fn new(fence: Fence, child: &ExecutionId) -> Result<Self, EngineError> {
        let child = ExecutionKey::of(child)?;
        if child == fence.key {
            return Err(input::invalid("self_referencing_edge"));
        }
        if child.partition != fence.key.partition {
            let partition = fence.key.partition;
            return Err(partition_mismatch(FlowKey { partition, uuid: Uuid::nil() }));
        }

        let edge = EdgeId::from_uuid(derived(&[fence.key.uuid, child.uuid], 0));
        Ok(Self { fence, child, edge })
    }

    fn lookups(&self) -> [Lookup; 3] {
        let columns = vec![
            exec_core::lifecycle_phase.column(),
            exec_core::eligibility_state.column(),
            exec_core::flow_id.column(),
        ];
        let child = Lookup { row: CHILD.into(), ..execution_row(&self.child, columns) };

        let (partition, flow) = (exec_core::partition_key.of(CHILD), exec_core::flow_id.of(CHILD));
        let key = vec![
            flow_core::partition_key.with_expr(partition.clone()),
            flow_core::flow_id.with_expr(flow.clone()),
        ];
        let columns = vec![flow_core::flow_id.column()];
        let of_child = Lookup { row: FLOW.into(), table: flow_core::REF, key, columns };

        let key = vec![
            edge::partition_key.with_expr(partition),
            edge::flow_id.with_expr(flow),
            edge::edge_id.with(self.edge.0),
        ];
        let columns = vec![edge::edge_id.column(), edge::version.column()];
        let waits = Lookup { row: EDGE.into(), table: edge::REF, key, columns };
        [child, of_child, waits]
    }

    /// The search for a cycle through the wait. There is none for a child that waits for nothing,
    /// nor where nothing waits for the parent, which then belongs to no flow.
    fn search(&self, facts: &Facts, child: &Row) -> Result<Option<Search>, EngineError> {
        if !blocked().accepts(child, &Held::default()) {
            return Ok(None);
        }
        let own = facts.row(CORE).map(|core| core.read(exec_core::flow_id)).transpose()?;
        let key = &self.fence.key;
        Ok(own.flatten().map(|uuid| {
            let flow = FlowKey { partition: key.partition, uuid };
            Search { flow, waits: key.uuid, sought: self.child.uuid }
        }))
    }

    /// The changes of the edge, and the rows that all changes hold. An edge of an earlier wait for
    /// the same execution, which was replayed since or had not ended, waits again.
    fn edge(
        &self,
        flow: FlowKey,
        child: &Row,
        stored: Option<&Row>,
        at: TimestampMs,
    ) -> Result<Changes, EngineError> {
        let awaited = unfinished().and(exec_core::flow_id.equals(Some(flow.uuid)));
        // A child that begins to wait may wait for the parent.
        let blocked = blocked().accepts(child, &Held::default());
        let awaited = if blocked { awaited } else { awaited.and(not_blocked()) };
        let awaited = Guard::new(CHILD, exec_core::REF, self.child.core(), awaited);
        // A dependency of the child that is applied at the same time is decided on again.
        let seen = (!blocked).then(child_changes);
        if let Some(stored) = stored {
            let guard = Guard::new(EDGE, edge::REF, flow.edge(&self.edge), edge_unchanged(stored)?);
            let set = vec![edge::upstream_outcome.clear(), edge::version.grow(1)];
            return Ok(Changes::of([
                // A search for a cycle that has seen the flow without the wait is void.
                Mutation::update(flow_core::REF, held_flow(), vec![flow_core::version.grow(1)]),
                Mutation::update(edge::REF, held_edge(), set),
            ])
            .and(seen)
            .holding_first([flow.guard(Predicate::Always)])
            .holding([awaited, guard]));
        }

        let mut row = flow.edge(&self.edge);
        row.push(edge::upstream_eid.with(self.child.uuid));
        row.push(edge::downstream_eid.with(self.fence.key.uuid));
        row.push(edge::policy.with(json!({
            "dependency_kind": "child",
            BY_ANY_END.0: BY_ANY_END.1,
            "data_passing_ref": "",
            "edge_state": "applied",
            "created_at_ms": at.0,
            "created_by": "engine",
            "staged_at_ms": at.0,
            "applied_at_ms": at.0,
        })));
        let noted = json!({ "last_mutation_at_ms": at.0, HAS_WAITS: true });
        let one_more = vec![
            flow_core::graph_revision.grow(1),
            flow_core::edge_count.grow(1),
            flow_core::raw_fields.merge(noted),
        ];
        Ok(Changes::of([
            Mutation::update(flow_core::REF, held_flow(), one_more),
            Mutation::insert(edge::REF, row, OnConflict::Refuse),
        ])
        .and(seen)
        .holding_first([flow.guard(Predicate::Always)])
        .holding([awaited]))
    }
}

impl Decision for AwaitChild {
    type Outcome = Awaited;

    const NAME: &'static str = "wait_for_child";

    fn premises(&self, at: TimestampMs) -> Vec<Premise<Awaited>> {
        let [child, flow, edge] = self.lookups();
        let absent = || EngineError::NotFound { entity: "child" };
        let mut premises = self.fence.premises(at, OpenLease::Live);
        premises.extend([
            Premise::read(CHILD, child).or_if_absent(refuse(move |_| absent())),
            Premise::read(FLOW, flow),
            Premise::read(EDGE, edge),
        ]);
        premises
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<Awaited> {
        let child = facts.row(CHILD).ok_or(EngineError::NotFound { entity: "child" })?;
        if !unfinished().accepts(child, &Held::default()) {
            return Ok(Verdict::Answer(Awaited::Answered(ChildWait::Ended)));
        }
        let Some(uuid) = child.read(exec_core::flow_id)? else {
            let own = facts.row(CORE).map(|core| core.read(exec_core::flow_id)).transpose()?;
            let parent_has_one = own.flatten().is_some();
            return Ok(Verdict::Answer(Awaited::NoFlow { parent_has_one }));
        };
        if facts.row(FLOW).is_none() {
            return Err(input::invalid("flow_not_found"));
        }

        let flow = FlowKey { partition: self.child.partition, uuid };
        let parked = Status::waiting_for_dependencies(AttemptState::AttemptInterrupted);

        let unchanged =
            match self.search(facts, child)?.map(|search| search.of(facts)).transpose()? {
                Some(Found::More(queries)) => return Ok(Verdict::AlsoRead(queries)),
                Some(Found::Nothing(guards)) => guards,
                None => Vec::new(),
            };

        let changes = self.edge(flow, child, facts.row(EDGE), at)?;
        let changes = changes
            .holding(unchanged)
            .and([
                change::enters(parked, at).noting(json!({ WAITS_IN: uuid })).update(),
                change::attempt(lease_ended(AttemptOutcome::WaitingChildren)),
                outbox::lease_ended(LeaseCause::WaitingChildren, at),
            ])
            .giving_back_permits();
        Verdict::change(changes, Awaited::Answered(ChildWait::Waiting))
    }
}

/// The flow with the edge of the latest wait, as the execution's open bag names it.
///
/// # Errors
/// `Validation(Corruption)` for another text than an id.
pub fn waits_in(raw: &Json) -> Result<Option<Uuid>, EngineError> {
    let corrupt = |_| EngineError::Validation {
        kind: ValidationKind::Corruption,
        detail: format!("ff_exec_core.raw_fields: {WAITS_IN} is not an id"),
    };
    text(raw, WAITS_IN).map(|uuid| Uuid::parse_str(&uuid).map_err(corrupt)).transpose()
}

/// The change of the held child that plans which have read it notice.
fn child_changes() -> Mutation {
    let child = vec![
        exec_core::partition_key.with_expr(exec_core::partition_key.of(CHILD)),
        exec_core::execution_id.with_expr(exec_core::execution_id.of(CHILD)),
    ];
    Mutation::update(exec_core::REF, child, vec![exec_core::version.grow(1)])
}

/// An execution that waits for others.
fn blocked() -> Predicate {
    exec_core::eligibility_state.is(EligibilityState::BlockedByDependencies)
}

fn not_blocked() -> Predicate {
    exec_core::eligibility_state.is_none_of(&[EligibilityState::BlockedByDependencies])
}

/// Returns true if any end of its upstream satisfies an edge.
///
/// # Errors
/// `Validation(Corruption)` when the edge's record is no JSON document.
pub fn is_satisfied_by_any_end(edge: &Row) -> Result<bool, EngineError> {
    let (member, word) = BY_ANY_END;
    Ok(text(&edge.read(edge::policy)?, member).is_some_and(|condition| condition == word))
}

/// The flow of the children of an execution: always the same one, on the execution's partition.
///
/// # Errors
/// `Validation(InvalidInput)` for a partition that no flow is on.
pub fn flow_of_children(
    parent: &ExecutionId,
    partitions: &PartitionConfig,
) -> Result<FlowId, EngineError> {
    let flow = |number| FlowId::from_uuid(derived(&[parent.uuid()], number));
    let at_home = |flow: &FlowId| flow_partition(flow, partitions).index == parent.partition();
    (0..TRIES).map(flow).find(at_home).ok_or_else(|| {
        input::invalid(format!("execution_id: no flow is on partition {}", parent.partition()))
    })
}

/// An id that follows from these and a number.
fn derived(uuids: &[Uuid], number: u32) -> Uuid {
    let mut hash = Sha256::new_with_prefix(FLOW_KIND);
    uuids.iter().for_each(|uuid| hash.update(uuid.as_bytes()));
    hash.update(number.to_be_bytes());

    let mut bytes = [0; 16];
    bytes.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
    Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flow_of_children_is_on_the_partition_of_their_parent() {
        let partitions = PartitionConfig::default();
        for partition in [0, 7, 255] {
            let parent = ExecutionId::from_parts(partition, Uuid::from_u128(17));
            let flow = flow_of_children(&parent, &partitions).unwrap();
            assert_eq!(flow_partition(&flow, &partitions).index, partition);
            assert_eq!(flow, flow_of_children(&parent, &partitions).unwrap());
        }
        let nowhere = ExecutionId::from_parts(9_999, Uuid::from_u128(17));
        flow_of_children(&nowhere, &partitions).unwrap_err();
    }
}
