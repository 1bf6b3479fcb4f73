//! Executions become members of a flow, one way or the other: an existing one is added, or a new one
//! is created inside it and held back until the flow is complete.

use serde_json::json;

use crate::EngineError;
use crate::contracts::{
    AddExecutionToFlowArgs, AddExecutionToFlowResult, CreateExecutionArgs, CreateExecutionResult,
};
use crate::ctx::Ctx;
use crate::engine::{Step, Then, Transition};
use crate::facts::{Facts, Row};
use crate::partition::PartitionConfig;
use crate::plan::{Assign, Lookup, Plan, Predicate, Query, Return};
use crate::rules::create::Create;
use crate::rules::flow::key::{FLOW, FlowKey, Places, held_flow};
use crate::rules::flow::read::node_count;
use crate::rules::input;
use crate::rules::key::{CORE, ExecutionKey, every_execution, held_core, picked_ids};
use crate::rules::status::{Status, but_the_attempt, changed, since_due};
use crate::schema::ColumnRef;
use crate::schema::execution::exec_core;
use crate::schema::flow::{flow_core, goes_on};
use crate::state::{AttemptState, BlockingReason, EligibilityState, LifecyclePhase};
use crate::types::{ExecutionId, FlowId, TimestampMs};

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

    fn lookups(&self) -> Vec<Lookup> {
        let mut rows = self.places.lookups();
        rows.push(Lookup {
            row: CORE.into(),
            table: exec_core::REF,
            key: self.key.core(),
            columns: vec![exec_core::flow_id.column()],
        });
        rows
    }

    fn plan(&self, flow: FlowKey, at: TimestampMs) -> Plan {
        let mut set = vec![exec_core::flow_id.set(Some(flow.uuid))];
        set.extend(changed(at));

        Plan::new("add_execution_to_flow")
            .guard(FLOW, flow_core::REF, flow.row(), goes_on())
            .guard(CORE, exec_core::REF, self.key.core(), exec_core::flow_id.is_null())
            .update(flow_core::REF, held_flow(), one_node_more(self.args.now))
            .update(exec_core::REF, held_core(), set)
    }
}

impl Transition for AddExecution {
    type Outcome = AddExecutionToFlowResult;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        let Some(rows) = facts.lookup(0) else {
            return Ok(Step::Read(vec![Query::Lookup(self.lookups())]));
        };
        let Some((flow, row)) = self.places.found(rows) else {
            return Err(input::invalid("flow_not_found"));
        };
        if row.read(flow_core::public_flow_state)?.is_over() {
            return Err(input::invalid("flow_already_terminal"));
        }
        let execution_id = self.args.execution_id.clone();
        let core = rows.get(2).and_then(Option::as_ref);
        let core = core.filter(|_| flow.partition == self.key.partition);
        let Some(core) = core else {
            return Err(input::invalid("execution_not_found"));
        };
        let node_count = node_count(row)?;
        match core.read(exec_core::flow_id)? {
            Some(of) if of == flow.uuid => {
                let member = AddExecutionToFlowResult::AlreadyMember { execution_id, node_count };
                Ok(Step::Answer(member))
            }
            Some(other) => Err(of_another_flow(FlowId::from_uuid(other))),
            None => {
                let older = node_count.saturating_sub(stored_nodes(row)?);
                let mut plan = self.plan(flow, ctx.now);
                plan.returns = vec![Return::Written(flow_core::node_count.column())];
                let then = Then::FromRows(Box::new(move |rows| {
                    let new_node_count = older.saturating_add(written_count(&rows));
                    Ok(AddExecutionToFlowResult::Added { execution_id, new_node_count })
                }));
                Ok(Step::Commit(plan, then))
            }
        }
    }
}

fn stored_nodes(flow: &Row) -> Result<u32, EngineError> {
    Ok(u32::try_from(flow.read(flow_core::node_count)?).unwrap_or(0))
}

fn written_count(rows: &[Vec<crate::value::Value>]) -> u32 {
    match rows.first().and_then(|row| row.first()) {
        Some(crate::value::Value::Int(count)) => u32::try_from(*count).unwrap_or(0),
        Some(_) | None => 0,
    }
}

/// Creates an execution inside a flow, held back until the flow is let go or a dependency of it is
/// applied. Repeating it changes nothing.
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
        Ok(Self { places, create: Create::new(args)?, id, at })
    }

    /// Why it was refused, now that the rows are known; nothing if it would not be any more.
    fn explain(&self, rows: &[Option<Row>]) -> Result<Option<CreateExecutionResult>, EngineError> {
        let Some((flow, row)) = self.places.found(rows) else {
            return Err(input::invalid("flow_not_found"));
        };
        if flow.partition != self.places.home().partition {
            return Err(input::invalid(format!(
                "execution partition mismatch: expected {}, got {}",
                flow.partition,
                self.places.home().partition
            )));
        }
        let stored = rows.get(2).and_then(Option::as_ref);
        match stored.map(|core| core.read(exec_core::flow_id)).transpose()? {
            Some(Some(of)) if of == flow.uuid => {
                Ok(Some(CreateExecutionResult::Duplicate { execution_id: self.id.clone() }))
            }
            Some(Some(other)) => Err(of_another_flow(FlowId::from_uuid(other))),
            Some(None) => Err(input::invalid("execution_not_in_flow")),
            None if row.read(flow_core::public_flow_state)?.is_over() => {
                Err(input::invalid("flow_already_terminal"))
            }
            None => Ok(None),
        }
    }

    fn lookups(&self) -> Vec<Lookup> {
        let mut rows = self.places.lookups();
        rows.push(Lookup {
            row: CORE.into(),
            table: exec_core::REF,
            key: self.create.key().core(),
            columns: vec![exec_core::flow_id.column()],
        });
        rows
    }

    fn commit(&self, now: TimestampMs) -> Result<Step<CreateExecutionResult>, EngineError> {
        let flow = self.places.home();
        let plan = Plan::new("create_flow_member");
        let plan = plan.guard(FLOW, flow_core::REF, flow.row(), goes_on());
        let status = Status::held_back(AttemptState::PendingFirstAttempt);
        let until = self.create.put_off_until(now);
        let plan = self.create.inserts(plan, until, status, Some(flow.uuid), now)?;
        let plan = plan.update(flow_core::REF, held_flow(), one_node_more(self.at));
        let created = CreateExecutionResult::Created {
            execution_id: self.id.clone(),
            public_state: status.public(),
        };
        Ok(Step::Commit(plan, Then::Answer(created)))
    }
}

impl Transition for CreateMember {
    type Outcome = CreateExecutionResult;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        if facts.refusals() == 0 {
            return self.commit(ctx.now);
        }
        let Some(rows) = facts.lookup(0) else {
            return Ok(Step::Read(vec![Query::Lookup(self.lookups())]));
        };
        match self.explain(rows)? {
            Some(outcome) => Ok(Step::Answer(outcome)),
            None => self.commit(ctx.now),
        }
    }
}

/// Lets go of the members that are still held back: those that are to wait for their own time, or
/// those that are not.
#[derive(Clone, Copy, Debug)]
pub struct Release {
    places: Places,
    at: TimestampMs,
    delayed: bool,
}

impl Release {
    /// Of those that may be claimed at once.
    #[must_use]
    pub fn due(places: Places, at: TimestampMs) -> Self {
        Self { places, at, delayed: false }
    }

    /// Of those whose time is still to come.
    #[must_use]
    pub fn delayed(places: Places, at: TimestampMs) -> Self {
        Self { places, at, delayed: true }
    }

    fn plan(&self, flow: FlowKey) -> Plan {
        let (set, when) = if self.delayed {
            let until = exec_core::eligible_at_ms.above(Some(self.at.0));
            let status =
                Status::delayed(BlockingReason::WaitingForDelay, AttemptState::None, self.at);
            // Each row holds its own time already.
            let set = since_due(but_the_attempt(Status { due: None, ..status }, self.at));
            (set, until)
        } else {
            let due = exec_core::eligible_at_ms
                .is_null()
                .or(exec_core::eligible_at_ms.at_most(Some(self.at.0)));
            (but_the_attempt(Status::waiting(AttemptState::None), self.at), due)
        };
        let mut plan =
            Plan::new("release_flow").guard(FLOW, flow_core::REF, flow.row(), Predicate::Always);
        plan.selection = Some(every_execution(flow.members().and(held_back()).and(when)));
        plan = plan.update(exec_core::REF, held_core(), set);
        plan.returns = picked_ids();
        plan
    }
}

impl Transition for Release {
    /// How many were let go.
    type Outcome = u32;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<u32>, EngineError> {
        let Some(rows) = facts.lookup(0) else {
            return Ok(Step::Read(vec![Query::Lookup(self.places.lookups())]));
        };
        let Some((flow, _)) = self.places.found(rows) else {
            return Err(EngineError::NotFound { entity: "flow" });
        };
        let count = |rows: Vec<Vec<_>>| Ok(u32::try_from(rows.len()).unwrap_or(u32::MAX));
        Ok(Step::Commit(self.plan(flow), Then::FromRows(Box::new(count))))
    }
}

/// Created inside a flow, and not let go since.
fn held_back() -> Predicate {
    exec_core::lifecycle_phase
        .is(LifecyclePhase::Runnable)
        .and(exec_core::eligibility_state.is(EligibilityState::BlockedByOperator))
        .and(exec_core::blocking_reason.holds(BlockingReason::PausedByPolicy))
}

fn one_node_more(at: TimestampMs) -> Vec<(ColumnRef, Assign)> {
    vec![
        flow_core::graph_revision.grow(1),
        flow_core::node_count.grow(1),
        flow_core::raw_fields.merge(json!({ "last_mutation_at_ms": at.0 })),
    ]
}

fn of_another_flow(flow: FlowId) -> EngineError {
    input::invalid(format!("already_member_of_different_flow:{flow}"))
}
