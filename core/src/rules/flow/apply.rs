//! Applying a staged edge: from then on its downstream waits for its upstream.
//!
//! An upstream that has ended by then counts at once. An end that is dispatched meanwhile changes
//! the edge, so that the plan is refused and the decision made anew.

use serde_json::json;

use crate::contracts::{
    ApplyDependencyToChildArgs, ApplyDependencyToChildResult, EdgeDependencyPolicy,
};
use crate::model::error::EngineError;
use crate::model::ids::{EdgeId, TimestampMs};
use crate::model::partition::PartitionConfig;
use crate::model::state::{CompletionKind, TerminalOutcome};
use crate::plan::facts::{Facts, Row};
use crate::plan::{Assign, Expr, List, Lookup, OnConflict, Plan, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Then, Transition};
use crate::rules::flow::child::{Action, Standing, is_open, owed, owes_cancellations};
use crate::rules::flow::dispatch::{ENDS_MAX, last_end, newest_first};
use crate::rules::flow::edges::{members, siblings_of, unapplied_edges};
use crate::rules::flow::hop::{check_ends, edge_unmoved, is_applied};
use crate::rules::flow::key::{
    EDGE, FLOW, GROUP, Places, UPSTREAM, edge_row, end_of_edge_row, group_of_edge_row, held_edge,
    held_group, on_partition_of,
};
use crate::rules::flow::policy::{cancels_remaining, encode};
use crate::rules::flow::tally::{
    Bucket, Change, Tally, Verdict, needed, policy_of, unmoved as group_unmoved,
};
use crate::rules::input;
use crate::rules::key::{CORE, ExecutionKey, held_core};
use crate::rules::premise::unchanged;
use crate::rules::status;
use crate::schema::ColumnRef;
use crate::schema::execution::{attempt, exec_core};
use crate::schema::flow::{edge, edge_group};
use crate::schema::outbox::completion_event;

/// The name of the row of the upstream's current attempt.
const UPSTREAM_ATTEMPT: &str = "upstream_attempt";

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
struct Decision {
    policy: EdgeDependencyPolicy,
    change: Change,
    after: Tally,
    was_satisfied: bool,
    satisfies: bool,
    standing: Option<Standing>,
    action: Action,
    end: Option<End>,
}

impl Decision {
    fn on(rows: EdgeRows<'_>, end: Option<End>) -> Result<Self, EngineError> {
        let policy = rows.group.map(policy_of).transpose()?;
        let policy = policy.unwrap_or(EdgeDependencyPolicy::AllOf);
        let tally = rows.group.map(Tally::read).transpose()?.unwrap_or_default();

        let change = match end.and_then(|(outcome, _)| Bucket::of(outcome)) {
            Some(bucket) => Change::dependency().one_more(bucket),
            None => Change::dependency().running(1),
        };

        let standing = rows.core.map(Standing::of).transpose()?;
        let after = tally.after(change);

        // An execution that has ended itself cancels no upstream.
        let open = rows.core.is_some_and(is_open);
        let was_satisfied = open && tally.verdict(&policy) == Verdict::Satisfied;
        let satisfies = open && after.verdict(&policy) == Verdict::Satisfied;

        let action = Action::Leave;
        let decision =
            Self { policy, change, after, was_satisfied, satisfies, standing, action, end };
        Ok(decision.judged(0))
    }

    /// The decision with this many other edges not applied yet. Without a failure nothing is
    /// impossible: more edges may be staged.
    fn judged(mut self, unapplied: usize) -> Self {
        let verdict = match self.after.with_unapplied(unapplied).verdict(&self.policy) {
            Verdict::Impossible if !self.after.has_failures() => Verdict::Pending,
            verdict @ (Verdict::Pending | Verdict::Satisfied | Verdict::Impossible) => verdict,
        };
        self.action =
            self.standing.map_or(Action::Leave, |standing| standing.on_dependency(verdict));
        self
    }

    /// Returns true if the counts alone do not decide what follows for the execution.
    fn depends_on_the_others(&self) -> bool {
        match self.standing {
            Some(Standing::Blocked | Standing::Waiting) => {
                self.after.verdict(&self.policy) != Verdict::Pending
            }
            Some(Standing::Beyond) | None => false,
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
        let heard: Option<i64> = edge.read(edge::upstream_event_id)?;
        let event = self.end.and_then(|(_, event)| event).or(heard);

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

    fn lookups(&self) -> Vec<Lookup> {
        let upstream_attempt = vec![
            attempt::partition_key.with_expr(exec_core::partition_key.of(UPSTREAM)),
            attempt::execution_id.with_expr(exec_core::execution_id.of(UPSTREAM)),
            attempt::attempt_index.with_expr(exec_core::attempt_index.of(UPSTREAM)),
        ];

        vec![
            edge_row(self.places.home(), &self.edge_id),
            end_of_edge_row(UPSTREAM, edge::upstream_eid),
            Lookup {
                row: UPSTREAM_ATTEMPT.into(),
                table: attempt::REF,
                key: upstream_attempt,
                columns: attempt::REF.columns.to_vec(),
            },
            group_of_edge_row(),
            end_of_edge_row(CORE, edge::downstream_eid),
        ]
    }

    fn ends_of_upstream(&self) -> List {
        List {
            name: "the ends of an upstream".into(),
            table: completion_event::REF,
            join: None,
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
            return Ok(Some(said_by_hand(edge)?));
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

    fn plan(
        &self,
        rows: EdgeRows<'_>,
        decision: &Decision,
        siblings: Vec<String>,
    ) -> Result<Plan, EngineError> {
        let (flow, at) = (self.places.home(), self.at);
        let group_key = flow.group(self.downstream.uuid);

        let mut plan = Plan::new("apply_dependency");
        if let Some(group) = rows.group {
            plan = plan.guard(GROUP, edge_group::REF, group_key.clone(), group_unmoved(group)?);
        }
        if let Some(core) = rows.core {
            plan = plan.guard(CORE, exec_core::REF, self.downstream.core(), unchanged(core)?);
        }
        plan = plan.guard(EDGE, edge::REF, flow.edge(&self.edge_id), edge_unmoved(rows.edge)?);

        let target = needed(&decision.policy, decision.after.total());
        if let Some(group) = rows.group {
            let mut set = decision.change.assignments();
            set.push(edge_group::k_target.set(target));
            let siblings = owed(group, siblings)?;
            if !siblings.is_empty() {
                let (recorded, flags) = owes_cancellations(siblings, at);
                plan = plan.and([recorded]);
                set.extend(flags);
            }
            plan = plan.update(edge_group::REF, held_group(), set);
        } else {
            let mut row = group_key;
            row.push(edge_group::policy.with(encode(&decision.policy)));
            row.push(edge_group::k_target.with(target));
            row.extend(decision.after.columns());
            plan = plan.insert(edge_group::REF, row, OnConflict::Refuse);
        }

        if let Some(core) = rows.core {
            plan = match decision.action {
                // A concurrent decision that did not see this edge is refused, and made again.
                Action::Leave => {
                    plan.update(exec_core::REF, held_core(), status::changed(at).to_vec())
                }
                Action::Block | Action::Release | Action::Skip => {
                    plan.and(decision.action.changes(core, at)?)
                }
            };
        }

        Ok(plan.update(edge::REF, held_edge(), decision.of_edge(rows.edge, at)?))
    }
}

impl Transition for Apply {
    type Outcome = ApplyDependencyToChildResult;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        if !facts.have_rows() {
            return Ok(Step::Read(vec![Query::Lookup(self.lookups())]));
        }
        let Some(edge) = facts.row(EDGE) else {
            return self.without_edge(facts).map(Step::Read);
        };

        on_partition_of(self.places.home(), &self.upstream)?;
        check_ends(edge, self.upstream.uuid, self.downstream.uuid)?;
        if is_applied(edge)? {
            return Ok(Step::Answer(ApplyDependencyToChildResult::AlreadyApplied));
        }

        let (upstream, its_attempt) = (facts.row(UPSTREAM), facts.row(UPSTREAM_ATTEMPT));
        let Some(end) = self.end_of(edge, upstream, its_attempt, facts)? else {
            return Ok(Step::Read(vec![Query::List(self.ends_of_upstream())]));
        };

        let rows = EdgeRows { edge, group: facts.row(GROUP), core: facts.row(CORE) };
        let mut decision = Decision::on(rows, end)?;

        if decision.depends_on_the_others() {
            let list = unapplied_edges(self.places.home(), self.downstream.uuid);
            let Some(unapplied) = facts.list(&list) else {
                return Ok(Step::Read(vec![Query::List(list)]));
            };
            // This edge is among them.
            decision = decision.judged(unapplied.len().saturating_sub(1));
        }

        let siblings = if decision.cancels_siblings() {
            let list = siblings_of(self.places.home(), self.downstream.uuid);
            let Some(listed) = facts.list(&list) else {
                return Ok(Step::Read(vec![Query::List(list)]));
            };
            members(listed, self.upstream.uuid)?
        } else if decision.cancels_upstream() {
            vec![self.upstream.uuid.to_string()]
        } else {
            Vec::new()
        };

        let plan = self.plan(rows, &decision, siblings)?;
        let unsatisfied_count = u32::try_from(decision.after.running).unwrap_or(0);
        let applied = ApplyDependencyToChildResult::Applied { unsatisfied_count };
        Ok(Step::Commit(plan, Then::Answer(applied)))
    }
}

/// The end that `resolve_dependency` recorded on an edge, without an event. One that came with an
/// event counts no more: its upstream runs again.
fn said_by_hand(edge: &Row) -> Result<Option<End>, EngineError> {
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
