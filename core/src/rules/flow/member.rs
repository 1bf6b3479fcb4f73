//! Executions become members of a flow, one way or the other: an existing one is added, or a new
//! one is created inside it and held back until the flow is complete.

use serde_json::Map;

use crate::contracts::{
    AddExecutionToFlowArgs, AddExecutionToFlowResult, CreateExecutionArgs, CreateExecutionResult,
};
use crate::model::error::EngineError;
use crate::model::ids::{ExecutionId, FlowId, TimestampMs};
use crate::model::partition::PartitionConfig;
use crate::model::state::{
    AttemptState, BlockingReason, EligibilityState, LifecyclePhase, PublicFlowState,
};
use crate::plan::facts::{Facts, Row};
use crate::plan::{Assign, Guard, Held, Mutation, Predicate, Query, Return};
use crate::rules::changes::Changes;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Then, Verdict};
use crate::rules::execution::change;
use crate::rules::execution::create::Create;
use crate::rules::flow::end::{
    EndFlow, end_changes, ended, ended_by_members, flow_ended, is_over, reopened, unchanged,
};
use crate::rules::flow::key::{FlowKey, Places, held_flow, on_partition_of};
use crate::rules::flow::read::node_count;
use crate::rules::input;
use crate::rules::key::{CORE, ExecutionKey, every_execution, held_core, picked_ids};
use crate::rules::lane::LANE;
use crate::rules::premise::{self, Premise, execution_row};
use crate::rules::status::{Status, since_due};
use crate::schema::ColumnRef;
use crate::schema::execution::{BADLY, exec_core, unfinished};
use crate::schema::flow::{flow_core, unfinished_flow};

/// Adds an existing execution to a flow. Its state stays as it is.
#[derive(Clone, Debug)]
pub struct AddExecution {
    places: Places,
    key: ExecutionKey,
    args: AddExecutionToFlowArgs,
}

impl AddExecution {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for ids that no row can have.
    pub fn new(
        args: AddExecutionToFlowArgs,
        partitions: &PartitionConfig,
    ) -> Result<Self, EngineError> {
        let places = Places::with_member(&args.flow_id, &args.execution_id, partitions)?;
        Ok(Self { places, key: ExecutionKey::of(&args.execution_id)?, args })
    }

    /// The state of the flow with the execution. An unfinished one keeps the flow open, or opens it
    /// again. An ended one has announced its end already, so this is the only check if the flow is
    /// over with it.
    fn flow_with(
        flow: FlowKey,
        row: &Row,
        core: &Row,
        facts: &Facts,
    ) -> Result<FlowWith, EngineError> {
        if unfinished().accepts(core, &Held::default()) {
            return Ok(if is_over(row) { FlowWith::Opened } else { FlowWith::AsItWas });
        }
        let badly = BADLY.contains(&core.read(exec_core::public_state)?);
        if is_over(row) {
            let well = row.read(flow_core::public_flow_state)? == ended(false);
            let worse = well && badly;
            return Ok(if worse { FlowWith::Over(ended(true)) } else { FlowWith::AsItWas });
        }

        // Most flows have an unfinished member, and the first query is the only one.
        let members = EndFlow { flow };
        let (unfinished, badly_ended) = (members.unfinished(), members.badly_ended());
        let unknown = |list| Ok(FlowWith::Unknown(vec![Query::List(list)]));
        match (facts.list(&unfinished), facts.list(&badly_ended)) {
            (None, _) => unknown(unfinished),
            (Some([]), None) => unknown(badly_ended),
            (Some([]), Some(others)) => Ok(FlowWith::Over(ended(badly || !others.is_empty()))),
            (Some(_), _) => Ok(FlowWith::AsItWas),
        }
    }

    fn changes(
        &self,
        flow: FlowKey,
        (row, core): (&Row, &Row),
        with: &FlowWith,
        at: TimestampMs,
    ) -> Result<Changes, EngineError> {
        let (relied, flow_ended) = match with {
            // Every member that starts again after the flow was read changes its version.
            FlowWith::Over(state) => (unchanged(row)?, Some(flow_ended(flow, *state, at))),
            FlowWith::AsItWas | FlowWith::Opened | FlowWith::Unknown(_) => {
                (takes_members(Some(row))?, None)
            }
        };
        // An execution that ended in between would have announced it without this flow.
        let core_relied = premise::unchanged(core)?.and(exec_core::flow_id.is_null());
        let core_guard = Guard::new(CORE, exec_core::REF, self.key.core(), core_relied);

        let of_flow = one_node_more(self.args.now, with, at);
        Ok(Changes::of([
            Mutation::update(flow_core::REF, held_flow(), of_flow),
            change::edits([exec_core::flow_id.set(Some(flow.uuid))], at),
        ])
        .and(flow_ended)
        .holding([flow.guard(relied), core_guard])
        .returning([Return::Written(flow_core::node_count.column())]))
    }
}

impl Decision for AddExecution {
    type Outcome = AddExecutionToFlowResult;

    const NAME: &'static str = "add_execution_to_flow";

    fn premises(&self, _: TimestampMs) -> Vec<Premise<Self::Outcome>> {
        let columns = vec![
            exec_core::flow_id.column(),
            exec_core::lifecycle_phase.column(),
            exec_core::public_state.column(),
            exec_core::version.column(),
        ];
        let mut premises = self.places.premises();
        premises.push(Premise::read(CORE, execution_row(&self.key, columns)));
        premises
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<Self::Outcome> {
        let Some((flow, row)) = self.places.found(facts) else {
            return self.places.elsewhere(facts, "flow_not_found").map(Verdict::AlsoRead);
        };

        if is_over(row) && !ended_by_members(row) {
            return Err(input::invalid("flow_already_terminal"));
        }
        on_partition_of(flow, &self.key)?;

        let execution_id = self.args.execution_id.clone();
        let Some(core) = facts.row(CORE) else {
            return Err(input::invalid("execution_not_found"));
        };

        let node_count = node_count(row)?;
        match core.read(exec_core::flow_id)? {
            None => {}
            Some(of) if of == flow.uuid => {
                let member = AddExecutionToFlowResult::AlreadyMember { execution_id, node_count };
                return Ok(Verdict::Answer(member));
            }
            Some(other) => return Err(of_another_flow(FlowId::from_uuid(other))),
        }

        let with = match Self::flow_with(flow, row, core, facts)? {
            FlowWith::Unknown(queries) => return Ok(Verdict::AlsoRead(queries)),
            with @ (FlowWith::AsItWas | FlowWith::Opened | FlowWith::Over(_)) => with,
        };
        let older = node_count.saturating_sub(stored_nodes(row)?);
        let then = Then::FromRows(Box::new(move |rows| {
            let new_node_count = older.saturating_add(written_count(&rows));
            Ok(AddExecutionToFlowResult::Added { execution_id, new_node_count })
        }));
        Ok(Verdict::Change(self.changes(flow, (row, core), &with, at)?, then))
    }
}

fn stored_nodes(flow: &Row) -> Result<u32, EngineError> {
    Ok(u32::try_from(flow.read(flow_core::node_count)?).unwrap_or(0))
}

fn written_count(rows: &[Vec<crate::plan::value::Value>]) -> u32 {
    match rows.first().and_then(|row| row.first()) {
        Some(crate::plan::value::Value::Int(count)) => u32::try_from(*count).unwrap_or(0),
        Some(_) | None => 0,
    }
}

/// Creates an execution inside a flow, held back until the flow is released or a dependency of it
/// is applied. Repeating it changes nothing.
#[derive(Clone, Debug)]
pub struct CreateMember {
    places: Places,
    create: Create,
    id: ExecutionId,
    at: TimestampMs,
}

impl CreateMember {
    /// Checks the arguments.
    ///
    /// # Errors
    /// As [`Create::new`].
    pub fn new(
        flow: &FlowId,
        args: CreateExecutionArgs,
        partitions: &PartitionConfig,
    ) -> Result<Self, EngineError> {
        let places = Places::with_member(flow, &args.execution_id, partitions)?;
        let (id, at) = (args.execution_id.clone(), args.now);
        let create = Create::new(args, partitions)?;
        if create.has_key() {
            return Err(input::invalid("idempotency_key: has no effect on a member of a flow"));
        }
        Ok(Self { places, create, id, at })
    }

    /// The reason for a refusal, now that the rows are read; `None` if nothing refuses it any more.
    fn explain(
        &self,
        (flow, row): (FlowKey, &Row),
        facts: &Facts,
        now: TimestampMs,
    ) -> Result<Option<CreateExecutionResult>, EngineError> {
        on_partition_of(flow, &self.create.key())?;

        match facts.row(CORE).map(|core| core.read(exec_core::flow_id)).transpose()? {
            Some(Some(of)) if of == flow.uuid => {
                Ok(Some(CreateExecutionResult::Duplicate { execution_id: self.id.clone() }))
            }
            Some(Some(other)) => Err(of_another_flow(FlowId::from_uuid(other))),
            Some(None) => Err(input::invalid("execution_not_in_flow")),
            None if is_over(row) && !ended_by_members(row) => {
                Err(input::invalid("flow_already_terminal"))
            }
            None => self.create.lane_refusal(facts, now)?.map_or(Ok(None), Err),
        }
    }

    /// The changes that create the execution, relying on the flow's row where it was read.
    fn changes(
        &self,
        row: Option<&Row>,
        status: Status,
        now: TimestampMs,
    ) -> Result<Changes, EngineError> {
        let flow = self.places.home();
        let until = self.create.put_off_until(now);
        let opens = row.is_some_and(is_over);
        let with = if opens { FlowWith::Opened } else { FlowWith::AsItWas };
        let of_flow = one_node_more(self.at, &with, now);

        Ok(Changes::of(self.create.inserts(until, status, Some(flow.uuid), now)?)
            .and([Mutation::update(flow_core::REF, held_flow(), of_flow)])
            .holding([flow.guard(takes_members(row)?)])
            .unless([self.create.closed_lane(now)]))
    }
}

impl Decision for CreateMember {
    type Outcome = CreateExecutionResult;

    const NAME: &'static str = "create_flow_member";

    fn premises(&self, _: TimestampMs) -> Vec<Premise<Self::Outcome>> {
        let core = execution_row(&self.create.key(), vec![exec_core::flow_id.column()]);
        let mut premises = self.places.premises();
        premises.push(Premise::read(CORE, core));
        premises.push(Premise::read(LANE, self.create.lane_row()));
        premises
    }

    fn expects(&self) -> bool {
        true
    }

    fn decide(&self, facts: &Facts, now: TimestampMs, _: &mut Ctx<'_>) -> Decided<Self::Outcome> {
        let row = match self.places.found(facts) {
            // The first try expects an open flow at home.
            None if !facts.have_rows() => None,
            None => {
                return self.places.elsewhere(facts, "flow_not_found").map(Verdict::AlsoRead);
            }
            Some(found) => {
                if let Some(outcome) = self.explain(found, facts, now)? {
                    return Ok(Verdict::Answer(outcome));
                }
                Some(found.1)
            }
        };

        let status = Status::held_back(AttemptState::PendingFirstAttempt);
        let created = CreateExecutionResult::Created {
            execution_id: self.id.clone(),
            public_state: status.public(),
        };
        Verdict::change(self.changes(row, status, now)?, created)
    }
}

/// Releases the members that are still held back: those that are to wait for their own time, or
/// those that are not.
#[derive(Clone, Copy, Debug)]
pub struct Release {
    places: Places,
    at: TimestampMs,
    delayed: bool,
}

impl Release {
    /// The release of the members that may be claimed at once.
    #[must_use]
    pub fn due(places: Places, at: TimestampMs) -> Self {
        Self { places, at, delayed: false }
    }

    /// The release of the members with a time that is still to come.
    #[must_use]
    pub fn delayed(places: Places, at: TimestampMs) -> Self {
        Self { places, at, delayed: true }
    }

    fn changes(&self, flow: FlowKey) -> Changes {
        let (set, when) = if self.delayed {
            let until = exec_core::eligible_at_ms.above(Some(self.at.0));
            let status = Status::delayed(BlockingReason::WaitingForDelay, None, self.at);
            // Each row holds its own time already.
            (since_due(Status { due: None, ..status }, self.at), until)
        } else {
            let due = exec_core::eligible_at_ms
                .is_null()
                .or(exec_core::eligible_at_ms.at_most(Some(self.at.0)));
            (Status::waiting(None).assignments(self.at), due)
        };

        Changes::of([Mutation::update(exec_core::REF, held_core(), set)])
            .holding([flow.guard(Predicate::Always)])
            .picking(every_execution(flow.members().and(held_back()).and(when)))
            .returning(picked_ids())
    }
}

impl Decision for Release {
    /// The number of members that were released.
    type Outcome = u32;

    const NAME: &'static str = "release_flow";

    fn premises(&self, _: TimestampMs) -> Vec<Premise<u32>> {
        self.places.premises()
    }

    fn decide(&self, facts: &Facts, _: TimestampMs, _: &mut Ctx<'_>) -> Decided<u32> {
        let Some((flow, _)) = self.places.found(facts) else {
            return Err(EngineError::NotFound { entity: "flow" });
        };

        let count = |rows: Vec<Vec<_>>| Ok(u32::try_from(rows.len()).unwrap_or(u32::MAX));
        Ok(Verdict::Change(self.changes(flow), Then::FromRows(Box::new(count))))
    }
}

/// The predicate of a member that was created inside its flow and not released since.
fn held_back() -> Predicate {
    exec_core::lifecycle_phase
        .is(LifecyclePhase::Runnable)
        .and(exec_core::eligibility_state.is(EligibilityState::BlockedByOperator))
        .and(exec_core::blocking_reason.holds(BlockingReason::PausedByPolicy))
}

/// The state of a flow once it has one more member.
enum FlowWith {
    /// The state that it had before.
    AsItWas,
    /// Open again, after it was over.
    Opened,
    /// Over, with this state.
    Over(PublicFlowState),
    /// Not known before these queries are answered.
    Unknown(Vec<Query>),
}

/// The changes to a flow that gets one more member.
fn one_node_more(given: TimestampMs, with: &FlowWith, at: TimestampMs) -> Vec<(ColumnRef, Assign)> {
    let mutated = Map::from_iter([("last_mutation_at_ms".to_owned(), given.0.into())]);
    let mut set = vec![
        flow_core::graph_revision.grow(1),
        flow_core::node_count.grow(1),
        flow_core::version.grow(1),
    ];

    match with {
        FlowWith::Opened => set.extend(reopened(mutated)),
        FlowWith::Over(state) => set.extend(end_changes(*state, mutated, at)),
        FlowWith::AsItWas | FlowWith::Unknown(_) => {
            set.push(flow_core::raw_fields.merge(mutated.into()));
        }
    }
    set
}

/// The predicate that a plan relies on when it adds a member: the flow is open, or unchanged since
/// it was read as ended by its members.
fn takes_members(flow: Option<&Row>) -> Result<Predicate, EngineError> {
    match flow.filter(|flow| is_over(flow)) {
        Some(ended) => unchanged(ended),
        None => Ok(unfinished_flow()),
    }
}

fn of_another_flow(flow: FlowId) -> EngineError {
    input::invalid(format!("already_member_of_different_flow:{flow}"))
}
