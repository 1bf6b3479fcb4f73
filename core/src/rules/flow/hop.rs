//! One hop of a cascade: the end of an upstream is applied to one edge.
//!
//! `(edge, group, execution, end) -> plan`, decided in one place. A hop may be repeated, and
//! nothing is counted twice: the edge records the last end that was applied to it, and an older one
//! changes nothing. An upstream that was replayed and ends otherwise is recounted.

use uuid::Uuid;

use crate::contracts::{EdgeDependencyPolicy, ResolveDependencyArgs, ResolveDependencyOutcome};
use crate::model::error::EngineError;
use crate::model::ids::{EdgeId, TimestampMs};
use crate::model::state::{ClosedSet, CompletionKind};
use crate::plan::facts::{Facts, Row};
use crate::plan::{Guard, Held, Mutation, Predicate, Query};
use crate::rules::changes::Changes;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Answered, Decided, Decision, Then, Verdict};
use crate::rules::flow::await_child::is_satisfied_by_any_end;
use crate::rules::flow::child::{
    Action, ChildState, is_open, pending_cancel, to_cancel, with_pending,
};
use crate::rules::flow::edges::{members, siblings_of, unapplied_edges};
use crate::rules::flow::key::{
    EDGE, FlowKey, GROUP, edge_row, end_of_edge_row, group_of_edge_row, held_edge, held_group,
};
use crate::rules::flow::policy::cancels_remaining;
use crate::rules::flow::tally::{Bucket, Change, GroupState, Tally, policy_of, unchanged};
use crate::rules::input;
use crate::rules::key::CORE;
use crate::rules::premise::Premise;
use crate::schema::execution::{exec_core, unfinished};
use crate::schema::flow::{edge, edge_group};
use crate::schema::outbox::completion_event;

/// The end of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The execution that ended.
    pub upstream: Uuid,
    /// The outcome.
    pub outcome: CompletionKind,
    /// The completion event; `None` for an end that a caller gives without one.
    pub event_id: Option<i64>,
}

/// Applies an upstream's end to one edge.
#[derive(Clone, Debug)]
pub struct Hop {
    /// The flow.
    pub flow: FlowKey,
    /// The edge.
    pub edge: EdgeId,
    /// The end.
    pub end: Ended,
    /// True if this is the last edge that the event has to be applied to.
    pub last: bool,
    /// The downstream execution that the caller names, if it names one.
    pub downstream: Option<Uuid>,
}

/// Resolves one edge without an event: the end that the caller gives is applied as if an event had
/// announced it, unless the edge has an end already.
#[derive(Clone, Debug)]
pub struct ByHand {
    /// The hop that applies the end.
    pub hop: Hop,
    bucket: Bucket,
}

impl ByHand {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for an outcome that is no end, naming those that are, and for ids
    /// that no row can have.
    pub fn new(args: &ResolveDependencyArgs) -> Result<Self, EngineError> {
        let word = args.upstream_outcome.as_str();
        let outcome = CompletionKind::parse(word);
        let Some((outcome, bucket)) = outcome.and_then(|end| Some((end, Bucket::of(end)?))) else {
            return Err(input::invalid(format!(
                "upstream_outcome: {word:?} is none of success, failed, cancelled, expired, skipped"
            )));
        };

        let flow =
            FlowKey { partition: input::partition(args.partition.index)?, uuid: args.flow_id.0 };
        let upstream = args.upstream_execution_id.uuid();
        let end = Ended { upstream, outcome, event_id: None };
        let downstream = Some(args.downstream_execution_id.uuid());
        let hop = Hop { flow, edge: args.edge_id.clone(), end, last: false, downstream };

        Ok(Self { hop, bucket })
    }

    /// The answer to the caller.
    ///
    /// # Errors
    /// `NotFound("edge")`.
    pub fn outcome(&self, hopped: HopOutcome) -> Result<ResolveDependencyOutcome, EngineError> {
        match (hopped, self.bucket) {
            // A hop without an event is never the last one, so that the second case does not occur.
            (HopOutcome::NoEdge | HopOutcome::NoneBehind, _) => {
                Err(EngineError::NotFound { entity: "edge" })
            }
            (HopOutcome::AlreadyApplied, _) => Ok(ResolveDependencyOutcome::AlreadyResolved),
            (HopOutcome::Applied, Bucket::Success) => Ok(ResolveDependencyOutcome::Satisfied),
            (HopOutcome::Applied, Bucket::Fail | Bucket::Skip) => {
                Ok(ResolveDependencyOutcome::Impossible)
            }
        }
    }
}

/// The outcome of a hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HopOutcome {
    /// The end was applied to the edge.
    Applied,
    /// Nothing was left to apply: the edge has this end or a later one, or the event is no end.
    AlreadyApplied,
    /// There is no such edge.
    NoEdge,
    /// This was the last edge, and no unfinished execution is behind it. The event is not
    /// dispatched yet, because the flow may be over.
    NoneBehind,
}

/// The rows that a hop decides on.
#[derive(Clone, Copy)]
struct HopRows<'a> {
    edge: &'a Row,
    group: &'a Row,
    core: Option<&'a Row>,
}

impl Decision for Hop {
    type Outcome = HopOutcome;

    const NAME: &'static str = "hop";

    fn premises(&self, _: TimestampMs) -> Vec<Premise<HopOutcome>> {
        vec![
            Premise::read(EDGE, edge_row(self.flow, &self.edge)),
            Premise::read(GROUP, group_of_edge_row()),
            Premise::read(CORE, end_of_edge_row(CORE, edge::downstream_eid)),
        ]
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<HopOutcome> {
        let mut goes_on = unfinished();
        if facts.row(EDGE).map(is_satisfied_by_any_end).transpose()? == Some(true) {
            // The one that waits may belong to another flow, and keeps this one from no end.
            goes_on = goes_on.and(exec_core::flow_id.equals(Some(self.flow.uuid)));
        }
        let is_behind = |core| goes_on.accepts(core, &Held::default());
        let none_behind = self.last && !facts.row(CORE).is_some_and(is_behind);

        let dispatched = self.end.event_id.filter(|_| self.last && !none_behind);
        let dispatched = dispatched.map(|event| mark_dispatched(self.flow.partition, event, at));
        let verdict = self.apply(dispatched, facts, at)?;
        if !none_behind {
            return Ok(verdict);
        }

        // The event stays open until the flow was checked for its end.
        Ok(match verdict {
            Verdict::AlsoRead(queries) => Verdict::AlsoRead(queries),
            Verdict::Change(changes, _) => {
                Verdict::Change(changes, Then::Answer(HopOutcome::NoneBehind))
            }
            Verdict::Answer(_) => Verdict::Answer(HopOutcome::NoneBehind),
        })
    }
}

impl Hop {
    /// Applies the end to the edge. The event of its last edge is then `dispatched`.
    fn apply(
        &self,
        dispatched: Option<Mutation>,
        facts: &Facts,
        at: TimestampMs,
    ) -> Result<Verdict<HopOutcome>, EngineError> {
        let Some(edge) = facts.row(EDGE) else {
            return nothing(dispatched, HopOutcome::NoEdge);
        };
        if let Some(downstream) = self.downstream {
            check_ends(edge, self.end.upstream, downstream)?;
        }

        let bucket = match Bucket::of(self.end.outcome) {
            Some(bucket) if !self.is_applied_already(edge)? => bucket,
            Some(_) | None => return nothing(dispatched, HopOutcome::AlreadyApplied),
        };

        let changes = match facts.row(GROUP) {
            _ if is_satisfied_by_any_end(edge)? => self.wake(edge, facts.row(CORE), at)?,
            Some(group) if is_applied(edge)? => {
                let rows = HopRows { edge, group, core: facts.row(CORE) };
                match self.count(rows, bucket, facts, at)? {
                    Answered::Yes(changes) => changes,
                    Answered::NotYet(queries) => return Ok(Verdict::AlsoRead(queries)),
                }
            }
            // Applying the edge will count the end that is recorded now.
            Some(_) | None => {
                let edge = [self.edge_guard(edge)?];
                Changes::default().holding(edge).named("hop_remembered")
            }
        };
        Verdict::change(changes.and([self.record_end()]).and(dispatched), HopOutcome::Applied)
    }

    /// The changes with which an execution that waits for any end goes on.
    fn wake(
        &self,
        edge: &Row,
        core: Option<&Row>,
        at: TimestampMs,
    ) -> Result<Changes, EngineError> {
        let edge_guard = self.edge_guard(edge)?;
        let Some(core) = core else { return Ok(Changes::default().holding([edge_guard])) };

        let waits = ChildState::of(core)?;
        let key = self.flow.member(edge.read(edge::downstream_eid)?).core();
        let held = Guard::new(CORE, exec_core::REF, key, waits.holds());
        let released = waits.on_end(GroupState::Satisfied).changes(core, at)?;
        Ok(Changes::of(released).holding([held, edge_guard]))
    }

    fn is_applied_already(&self, edge: &Row) -> Result<bool, EngineError> {
        let applied: Option<i64> = edge.read(edge::upstream_event_id)?;
        Ok(match self.end.event_id {
            Some(event) => applied.is_some_and(|applied| event <= applied),
            None => edge.read(edge::upstream_outcome)?.is_some(),
        })
    }

    /// The change of the edge, which records the end.
    fn record_end(&self) -> Mutation {
        let set = vec![
            edge::upstream_outcome.set_chosen(Some(self.end.outcome)),
            edge::upstream_event_id.set(self.end.event_id),
            edge::version.grow(1),
        ];
        Mutation::update(edge::REF, held_edge(), set)
    }

    fn edge_guard(&self, edge: &Row) -> Result<Guard, EngineError> {
        Ok(Guard::new(EDGE, edge::REF, self.flow.edge(&self.edge), edge_unchanged(edge)?))
    }

    /// Counts the end in the group; the execution that waits may go on or be skipped.
    fn count(
        &self,
        rows: HopRows<'_>,
        bucket: Bucket,
        facts: &Facts,
        at: TimestampMs,
    ) -> Result<Answered<Changes>, EngineError> {
        let downstream = rows.edge.read(edge::downstream_eid)?;
        let mut effect = EndEffect::of(rows, bucket)?;

        if effect.depends_on_the_others() {
            let list = unapplied_edges(self.flow, downstream);
            let Some(unapplied) = facts.list(&list) else {
                return Ok(Answered::NotYet(vec![Query::List(list)]));
            };
            effect = effect.judged(unapplied.len());
        }

        let siblings = if effect.cancels_siblings() {
            let list = siblings_of(self.flow, downstream);
            let Some(siblings) = facts.list(&list) else {
                return Ok(Answered::NotYet(vec![Query::List(list)]));
            };
            with_pending(rows.group, members(siblings, self.end.upstream)?)?
        } else {
            Vec::new()
        };

        self.changes(rows, &effect, downstream, siblings, at).map(Answered::Yes)
    }

    fn changes(
        &self,
        rows: HopRows<'_>,
        effect: &EndEffect,
        downstream: Uuid,
        siblings: Vec<String>,
        at: TimestampMs,
    ) -> Result<Changes, EngineError> {
        let HopRows { edge, group, core } = rows;
        let relied = effect.relied_on(group)?.and(effect.change.keeps_running_count());
        // Not the execution's version, so that other changes to it do not refuse the hop.
        let child = effect.child.map(|child| {
            let key = self.flow.member(downstream).core();
            Guard::new(CORE, exec_core::REF, key, child.holds())
        });
        let changes = Changes::default()
            .holding([self.flow.group_guard(downstream, relied)])
            .holding(child)
            .holding([self.edge_guard(edge)?]);

        let pending = (!siblings.is_empty()).then(|| pending_cancel(at));
        let mut counted = effect.change.assignments();
        if pending.is_some() {
            counted.extend(to_cancel(siblings));
        }
        let of_core = core.map(|core| effect.action().changes(core, at)).transpose()?;

        Ok(changes
            .and(pending)
            .and([Mutation::update(edge_group::REF, held_group(), counted)])
            .and(of_core.unwrap_or_default()))
    }
}

/// Nothing changes but the event, which is dispatched after its last edge.
fn nothing(
    dispatched: Option<Mutation>,
    outcome: HopOutcome,
) -> Result<Verdict<HopOutcome>, EngineError> {
    match dispatched {
        Some(dispatched) => {
            Verdict::change(Changes::of([dispatched]).named("dispatch_nothing"), outcome)
        }
        None => Ok(Verdict::Answer(outcome)),
    }
}

/// The effect of an end on a group and on the execution that waits.
struct EndEffect {
    policy: EdgeDependencyPolicy,
    tally: Tally,
    bucket: Bucket,
    /// The end that the edge recorded before.
    before: Option<Bucket>,
    change: Change,
    child: Option<ChildState>,
    state: GroupState,
    /// True if the state takes the edges that are not applied yet into account.
    looked: bool,
    /// True if the other upstreams are cancelled once enough have succeeded.
    cancels: bool,
}

impl EndEffect {
    fn of(rows: HopRows<'_>, bucket: Bucket) -> Result<Self, EngineError> {
        let (policy, tally) = (policy_of(rows.group)?, Tally::read(rows.group)?);
        let before = rows.edge.read(edge::upstream_outcome)?.and_then(Bucket::of);
        let change = change_of(before, &tally, bucket);
        let child = rows.core.map(ChildState::of).transpose()?;
        let state = tally.after(change).state(&policy);

        // An execution that has ended itself cancels no upstream.
        let cancels = cancels_remaining(&policy) && rows.core.is_some_and(is_open);
        let looked = false;
        Ok(Self { policy, tally, bucket, before, change, child, state, looked, cancels })
    }

    /// The count with this many other edges not applied yet.
    fn judged(self, unapplied: usize) -> Self {
        let after = self.tally.after(self.change).with_unapplied(unapplied);
        Self { state: after.state(&self.policy), looked: true, ..self }
    }

    fn is_blocked(&self) -> bool {
        self.child == Some(ChildState::Blocked)
    }

    /// Returns true if the counts alone do not decide what follows for the execution.
    fn depends_on_the_others(&self) -> bool {
        self.is_blocked() && self.state != GroupState::Pending
    }

    fn action(&self) -> Action {
        self.child.map_or(Action::Leave, |child| child.on_end(self.state))
    }

    /// Returns true if this end makes the group satisfied.
    fn satisfies(&self) -> bool {
        self.state == GroupState::Satisfied
            && self.tally.state(&self.policy) != GroupState::Satisfied
    }

    fn cancels_siblings(&self) -> bool {
        self.cancels && self.satisfies()
    }

    /// The predicate that the group's row must still hold. It asks as little as possible, so that
    /// ends of many upstreams do not conflict.
    fn relied_on(&self, group: &Row) -> Result<Predicate, EngineError> {
        Ok(match self.state {
            // No execution waits for the state, and none is cancelled by it.
            _ if !self.is_blocked() && !self.cancels => Predicate::Always,
            GroupState::Pending if self.before.is_none() && !self.looked => {
                self.tally.stays_pending(group, &self.policy, self.bucket)?
            }
            GroupState::Satisfied | GroupState::Impossible
                if !self.is_blocked() && !self.satisfies() =>
            {
                Predicate::Always
            }
            GroupState::Pending | GroupState::Satisfied | GroupState::Impossible => {
                unchanged(group)?
            }
        })
    }
}

/// The change to the group's counts by an end: the edge's earlier end no longer counts.
fn change_of(before: Option<Bucket>, tally: &Tally, bucket: Bucket) -> Change {
    let change = Change::default().one_more(bucket);
    match before {
        Some(before) => change.one_less(before),
        // An edge that a replay has reset is not among the running ones.
        None => change.running(-i32::from(0 < tally.running)),
    }
}

/// Checks that the edge is between the executions that the caller names.
///
/// # Errors
/// `Validation(InvalidInput)` naming the edge and both executions.
pub fn check_ends(edge: &Row, upstream: Uuid, downstream: Uuid) -> Result<(), EngineError> {
    let id = edge.read(edge::edge_id)?;
    let ends = [
        ("downstream", edge.read(edge::downstream_eid)?, downstream),
        ("upstream", edge.read(edge::upstream_eid)?, upstream),
    ];

    for (end, stored, given) in ends {
        if stored != given {
            return Err(input::invalid(format!(
                "edge_mismatch: the {end} of edge {id} is {stored}, not {given}"
            )));
        }
    }
    Ok(())
}

/// Returns true if the edge counts in its group.
///
/// # Errors
/// `Validation(Corruption)` when the edge's record is no JSON document.
pub fn is_applied(edge: &Row) -> Result<bool, EngineError> {
    Ok(edge.read(edge::policy)?.get("applied_at_ms").is_some_and(serde_json::Value::is_number))
}

/// The predicate that an edge is unchanged since it was read: its version is the same.
///
/// # Errors
/// `Validation(Corruption)` when the stored version is no number.
pub fn edge_unchanged(edge: &Row) -> Result<Predicate, EngineError> {
    Ok(edge::version.equals(edge.read(edge::version)?))
}

/// Marks an event on that partition as dispatched: it was applied to every edge.
#[must_use]
pub fn mark_dispatched(partition: i16, event: i64, at: TimestampMs) -> Mutation {
    let key = vec![
        completion_event::partition_key.with(partition),
        completion_event::event_id.with(event),
    ];
    let set = vec![completion_event::dispatched_at_ms.keep_or(Some(at.0))];
    Mutation::update(completion_event::REF, key, set)
}
