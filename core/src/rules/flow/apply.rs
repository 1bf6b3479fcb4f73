//! Applying a staged edge: from then on its downstream waits for its upstream.
//!
//! An upstream that has ended by then counts at once. An end that is dispatched meanwhile changes
//! the edge, so that the plan is refused and the decision made anew.
//!
//! Between staging and applying, a worker may have made its execution wait for another one. In a
//! flow with such waits, an edge that would close a cycle with them is refused.

use serde_json::json;

use crate::contracts::{
    ApplyDependencyToChildArgs, ApplyDependencyToChildResult, EdgeDependencyPolicy,
};
use crate::model::error::EngineError;
use crate::model::ids::{EdgeId, TimestampMs};
use crate::model::partition::PartitionConfig;
use crate::model::state::{CompletionKind, TerminalOutcome};
use crate::plan::facts::{Facts, Row};
use crate::plan::{Assign, Expr, Guard, List, Lookup, Mutation, OnConflict, Query};
use crate::rules::changes::Changes;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Answered, Decided, Decision, Verdict};
use crate::rules::execution::change;
use crate::rules::flow::child::{
    Action, ChildState, is_open, pending_cancel, to_cancel, with_pending,
};
use crate::rules::flow::cycle::{Found, Search, has_waits};
use crate::rules::flow::dispatch::{ENDS_MAX, last_end, newest_first};
use crate::rules::flow::edges::{members, siblings_of, unapplied_edges};
use crate::rules::flow::hop::{check_ends, edge_unchanged, is_applied};
use crate::rules::flow::key::{
    EDGE, FLOW, GROUP, Places, UPSTREAM, edge_row, end_of_edge_row, group_of_edge_row, held_edge,
    held_group, on_partition_of,
};
use crate::rules::flow::policy::{cancels_remaining, encode};
use crate::rules::flow::tally::{
    Bucket, Change, GroupState, Tally, needed, policy_of, unchanged as group_unchanged,
};
use crate::rules::input;
use crate::rules::key::{CORE, ExecutionKey};
use crate::rules::premise::{Premise, unchanged};
use crate::rules::status;
use crate::schema::ColumnRef;
use crate::schema::execution::{attempt, exec_core};
use crate::schema::flow::{edge, edge_group, flow_core};
use crate::schema::outbox::completion_event;

/// The name of the row of the upstream's current attempt.
const UPSTREAM_ATTEMPT: &str = "upstream_attempt";

/// The name of the row of the edge's flow.
const FLOW_OF_EDGE: &str = "flow_of_edge";

/// Makes a staged edge take effect.
#[derive(Clone, Debug)]
pub struct Apply {
    places: Places,
    edge_id: EdgeId,
    upstream: ExecutionKey,
    downstream: ExecutionKey,
    at: TimestampMs,
}

/// The rows that the decision rests on.
#[derive(Clone, Copy)]
struct EdgeRows<'a> {
    edge: &'a Row,
    group: Option<&'a Row>,
    core: Option<&'a Row>,
}

/// The end of an upstream, and the completion event that announced it, if one did.
type End = (CompletionKind, Option<i64>);

/// The effect of applying an edge.
struct EdgeEffect {
    policy: EdgeDependencyPolicy,
    change: Change,
    after: Tally,
    was_satisfied: bool,
    satisfies: bool,
    child: Option<ChildState>,
    action: Action,
    end: Option<End>,
}

impl EdgeEffect {
    fn of(rows: EdgeRows<'_>, end: Option<End>) -> Result<Self, EngineError> {
        let policy = rows.group.map(policy_of).transpose()?;
        let policy = policy.unwrap_or(EdgeDependencyPolicy::AllOf);
        let tally = rows.group.map(Tally::read).transpose()?.unwrap_or_default();

        let change = match end.and_then(|(outcome, _)| Bucket::of(outcome)) {
            Some(bucket) => Change::dependency().one_more(bucket),
            None => Change::dependency().running(1),
        };

        let child = rows.core.map(ChildState::of).transpose()?;
        let after = tally.after(change);

        // An execution that has ended itself cancels no upstream.
        let open = rows.core.is_some_and(is_open);
        let was_satisfied = open && tally.state(&policy) == GroupState::Satisfied;
        let satisfies = open && after.state(&policy) == GroupState::Satisfied;

        let action = Action::Leave;
        let effect = Self { policy, change, after, was_satisfied, satisfies, child, action, end };
        Ok(effect.judged(0))
    }

    /// The effect with this many other edges not applied yet. Without a failure nothing is
    /// impossible: more edges may be staged.
    fn judged(mut self, unapplied: usize) -> Self {
        let state = match self.after.with_unapplied(unapplied).state(&self.policy) {
            GroupState::Impossible if !self.after.has_failures() => GroupState::Pending,
            state @ (GroupState::Pending | GroupState::Satisfied | GroupState::Impossible) => state,
        };
        self.action = self.child.map_or(Action::Leave, |child| child.on_dependency(state));
        self
    }

    /// Returns true if the counts alone do not decide what follows for the execution.
    fn depends_on_the_others(&self) -> bool {
        match self.child {
            Some(ChildState::Blocked | ChildState::Waiting) => {
                self.after.state(&self.policy) != GroupState::Pending
            }
            Some(ChildState::Beyond) | None => false,
        }
    }

    /// Returns true if this edge satisfies its group, so that the other upstreams are cancelled.
    fn cancels_siblings(&self) -> bool {
        cancels_remaining(&self.policy) && self.satisfies && !self.was_satisfied
    }

    /// Returns true if the group was satisfied before, so that this upstream is cancelled too.
    fn cancels_upstream(&self) -> bool {
        cancels_remaining(&self.policy) && self.was_satisfied && self.end.is_none()
    }

    /// The changes to the edge. Without a new event it keeps the last one, so that older ones still
    /// change nothing.
    fn of_edge(
        &self,
        edge: &Row,
        at: TimestampMs,
    ) -> Result<Vec<(ColumnRef, Assign)>, EngineError> {
        let applied: Option<i64> = edge.read(edge::upstream_event_id)?;
        let event = self.end.and_then(|(_, event)| event).or(applied);

        let record = json!({ "applied_at_ms": at.0, "edge_state": "applied" });
        Ok(vec![
            edge::policy.merge(record),
            edge::upstream_outcome.set_chosen(self.end.map(|(outcome, _)| outcome)),
            edge::upstream_event_id.set(event),
            edge::version.grow(1),
        ])
    }
}

impl Apply {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for ids that no row can have.
    pub fn new(
        args: &ApplyDependencyToChildArgs,
        partitions: &PartitionConfig,
    ) -> Result<Self, EngineError> {
        let places = Places::with_member(&args.flow_id, &args.downstream_execution_id, partitions)?;
        Ok(Self {
            places,
            edge_id: args.edge_id.clone(),
            upstream: ExecutionKey::of(&args.upstream_execution_id)?,
            downstream: ExecutionKey::of(&args.downstream_execution_id)?,
            at: args.now,
        })
    }

    fn ends_of_upstream(&self) -> List {
        List {
            name: "the ends of an upstream".into(),
            table: completion_event::REF,
            join: None,
            of_each: None,
            columns: vec![completion_event::outcome.column(), completion_event::event_id.column()],
            predicate: completion_event::partition_key
                .equals(self.places.home().partition)
                .and(completion_event::execution_id.equals(self.upstream.uuid)),
            order: newest_first(),
            limit: Expr::int(ENDS_MAX),
        }
    }

    /// The end of the upstream; the outer `None` while its events are still to be read.
    fn end_of(
        &self,
        edge: &Row,
        upstream: Option<&Row>,
        current: Option<&Row>,
        facts: &Facts,
    ) -> Result<Option<Option<End>>, EngineError> {
        let outcome = match upstream {
            Some(core) => status::terminal_outcome(core, current)?,
            None => TerminalOutcome::None,
        };

        let Some(stored) = end_event(outcome) else {
            return Ok(Some(recorded_end(edge)?));
        };

        let Some(events) = facts.list(&self.ends_of_upstream()) else {
            return Ok(None);
        };

        let announced = last_end(events)?.filter(|(end, _)| Bucket::of(*end).is_some());
        Ok(Some(Some(announced.map_or((stored, None), |(end, event)| (end, Some(event))))))
    }

    /// The reason why there is no such edge: its flow may be on another partition than its
    /// downstream.
    fn without_edge(&self, facts: &Facts) -> Result<Vec<Query>, EngineError> {
        if !facts.asked(FLOW) {
            return Ok(vec![Query::Lookup(self.places.lookups())]);
        }

        match self.places.found(facts) {
            Some((flow, _)) => {
                on_partition_of(flow, &self.downstream)?;
                Err(input::invalid("edge_not_found"))
            }
            None => self.places.elsewhere(facts, "edge_not_found"),
        }
    }

    /// The effect of the edge and the upstreams to cancel.
    fn effect(
        &self,
        rows: EdgeRows<'_>,
        end: Option<End>,
        facts: &Facts,
    ) -> Result<Answered<(EdgeEffect, Vec<String>)>, EngineError> {
        let mut effect = EdgeEffect::of(rows, end)?;

        if effect.depends_on_the_others() {
            let list = unapplied_edges(self.places.home(), self.downstream.uuid);
            let Some(unapplied) = facts.list(&list) else {
                return Ok(Answered::NotYet(vec![Query::List(list)]));
            };
            // This edge is among them.
            effect = effect.judged(unapplied.len().saturating_sub(1));
        }

        let siblings = if effect.cancels_siblings() {
            let list = siblings_of(self.places.home(), self.downstream.uuid);
            let Some(listed) = facts.list(&list) else {
                return Ok(Answered::NotYet(vec![Query::List(list)]));
            };
            members(listed, self.upstream.uuid)?
        } else if effect.cancels_upstream() {
            vec![self.upstream.uuid.to_string()]
        } else {
            Vec::new()
        };
        Ok(Answered::Yes((effect, siblings)))
    }

    /// The guards under which the edge closes no cycle with waits made at run time.
    fn closes_no_cycle(&self, facts: &Facts) -> Result<Answered<Vec<Guard>>, EngineError> {
        let waits = facts.row(FLOW_OF_EDGE).map(has_waits).transpose()?;
        if waits != Some(true) {
            return Ok(Answered::Yes(Vec::new()));
        }

        let flow = self.places.home();
        let search = Search { flow, waits: self.downstream.uuid, sought: self.upstream.uuid };
        Ok(match search.of(facts)? {
            Found::Nothing(unchanged) => Answered::Yes(unchanged),
            Found::More(queries) => Answered::NotYet(queries),
        })
    }

    fn changes(
        &self,
        rows: EdgeRows<'_>,
        effect: &EdgeEffect,
        siblings: Vec<String>,
    ) -> Result<Changes, EngineError> {
        let (flow, at) = (self.places.home(), self.at);
        let changes = match rows.group {
            Some(group) => self.join_group(group, effect, siblings)?,
            None => Changes::of([self.new_group(effect)]),
        };

        let core = rows.core.map(|core| {
            let key = self.downstream.core();
            Ok::<_, EngineError>(Guard::new(CORE, exec_core::REF, key, unchanged(core)?))
        });
        let edge_key = flow.edge(&self.edge_id);
        let edge = Guard::new(EDGE, edge::REF, edge_key, edge_unchanged(rows.edge)?);

        let of_core = match (rows.core, effect.action) {
            (None, _) => Vec::new(),
            // A concurrent decision that did not see this edge is refused, and made again.
            (Some(_), Action::Leave) => vec![change::edits([], at)],
            (Some(core), action @ (Action::Block | Action::Release | Action::Skip)) => {
                action.changes(core, at)?
            }
        };
        let of_edge = effect.of_edge(rows.edge, at)?;

        Ok(changes.holding(core.transpose()?).holding([edge]).and(of_core).and([Mutation::update(
            edge::REF,
            held_edge(),
            of_edge,
        )]))
    }

    /// Counts the edge in its group, which is held as it was read.
    fn join_group(
        &self,
        group: &Row,
        effect: &EdgeEffect,
        siblings: Vec<String>,
    ) -> Result<Changes, EngineError> {
        let siblings = with_pending(group, siblings)?;
        let pending = (!siblings.is_empty()).then(|| pending_cancel(self.at));

        let mut counted = effect.change.assignments();
        counted.push(edge_group::k_target.set(needed(&effect.policy, effect.after.total())));
        if pending.is_some() {
            counted.extend(to_cancel(siblings));
        }

        let held = self.places.home().group_guard(self.downstream.uuid, group_unchanged(group)?);
        Ok(Changes::of(pending)
            .and([Mutation::update(edge_group::REF, held_group(), counted)])
            .holding([held]))
    }

    /// The group of an execution with its first edge.
    fn new_group(&self, effect: &EdgeEffect) -> Mutation {
        let mut row = self.places.home().group(self.downstream.uuid);
        row.push(edge_group::policy.with(encode(&effect.policy)));
        row.push(edge_group::k_target.with(needed(&effect.policy, effect.after.total())));
        row.extend(effect.after.columns());
        Mutation::insert(edge_group::REF, row, OnConflict::Refuse)
    }
}

impl Decision for Apply {
    type Outcome = ApplyDependencyToChildResult;

    const NAME: &'static str = "apply_dependency";

    fn premises(&self, _: TimestampMs) -> Vec<Premise<Self::Outcome>> {
        let attempt_of_upstream = Lookup {
            row: UPSTREAM_ATTEMPT.into(),
            table: attempt::REF,
            key: vec![
                attempt::partition_key.with_expr(exec_core::partition_key.of(UPSTREAM)),
                attempt::execution_id.with_expr(exec_core::execution_id.of(UPSTREAM)),
                attempt::attempt_index.with_expr(exec_core::attempt_index.of(UPSTREAM)),
            ],
            columns: attempt::REF.columns.to_vec(),
        };

        let flow = Lookup {
            row: FLOW_OF_EDGE.into(),
            table: flow_core::REF,
            key: self.places.home().row(),
            columns: vec![flow_core::raw_fields.column()],
        };
        vec![
            Premise::read(EDGE, edge_row(self.places.home(), &self.edge_id)),
            Premise::read(FLOW_OF_EDGE, flow),
            Premise::read(UPSTREAM, end_of_edge_row(UPSTREAM, edge::upstream_eid)),
            Premise::read(UPSTREAM_ATTEMPT, attempt_of_upstream),
            Premise::read(GROUP, group_of_edge_row()),
            Premise::read(CORE, end_of_edge_row(CORE, edge::downstream_eid)),
        ]
    }

    fn decide(&self, facts: &Facts, _: TimestampMs, _: &mut Ctx<'_>) -> Decided<Self::Outcome> {
        let Some(edge) = facts.row(EDGE) else {
            return self.without_edge(facts).map(Verdict::AlsoRead);
        };

        on_partition_of(self.places.home(), &self.upstream)?;
        check_ends(edge, self.upstream.uuid, self.downstream.uuid)?;
        if is_applied(edge)? {
            return Ok(Verdict::Answer(ApplyDependencyToChildResult::AlreadyApplied));
        }

        let (upstream, its_attempt) = (facts.row(UPSTREAM), facts.row(UPSTREAM_ATTEMPT));
        let Some(end) = self.end_of(edge, upstream, its_attempt, facts)? else {
            return Ok(Verdict::AlsoRead(vec![Query::List(self.ends_of_upstream())]));
        };

        let rows = EdgeRows { edge, group: facts.row(GROUP), core: facts.row(CORE) };
        // Neither an upstream nor a downstream that has ended is part of a cycle.
        let no_cycle = match end {
            None if rows.core.is_some_and(is_open) => self.closes_no_cycle(facts)?,
            Some(_) | None => Answered::Yes(Vec::new()),
        };
        let unchanged = match no_cycle {
            Answered::Yes(unchanged) => unchanged,
            Answered::NotYet(queries) => return Ok(Verdict::AlsoRead(queries)),
        };
        let (effect, siblings) = match self.effect(rows, end, facts)? {
            Answered::Yes(decided) => decided,
            Answered::NotYet(queries) => return Ok(Verdict::AlsoRead(queries)),
        };

        let unsatisfied_count = u32::try_from(effect.after.running).unwrap_or(0);
        let applied = ApplyDependencyToChildResult::Applied { unsatisfied_count };
        Verdict::change(self.changes(rows, &effect, siblings)?.holding(unchanged), applied)
    }
}

/// The end that `resolve_dependency` recorded on an edge, without an event. One that came with an
/// event counts no more: its upstream runs again.
fn recorded_end(edge: &Row) -> Result<Option<End>, EngineError> {
    let event: Option<i64> = edge.read(edge::upstream_event_id)?;
    let outcome = edge.read(edge::upstream_outcome)?.filter(|_| event.is_none());
    Ok(outcome.map(|outcome| (outcome, None)))
}

/// The completion event that announces an outcome; `None` for an execution that has not ended.
fn end_event(outcome: TerminalOutcome) -> Option<CompletionKind> {
    match outcome {
        TerminalOutcome::None => None,
        TerminalOutcome::Success => Some(CompletionKind::Success),
        TerminalOutcome::Failed => Some(CompletionKind::Failed),
        TerminalOutcome::Cancelled => Some(CompletionKind::Cancelled),
        TerminalOutcome::Expired => Some(CompletionKind::Expired),
        TerminalOutcome::Skipped => Some(CompletionKind::Skipped),
    }
}
