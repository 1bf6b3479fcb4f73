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
use crate::plan::{Held, Lookup, Plan, Predicate, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Then, Transition};
use crate::rules::flow::child::{Action, Standing, is_open, owed, owes_cancellations};
use crate::rules::flow::edges::{members, siblings_of, unapplied_edges};
use crate::rules::flow::key::{
    EDGE, FlowKey, GROUP, edge_row, end_of_edge_row, group_of_edge_row, held_edge, held_group,
};
use crate::rules::flow::policy::cancels_remaining;
use crate::rules::flow::tally::{Bucket, Change, Tally, Verdict, policy_of, unmoved};
use crate::rules::input;
use crate::rules::key::CORE;
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
    pub fn outcome(&self, hopped: Hopped) -> Result<ResolveDependencyOutcome, EngineError> {
        match (hopped, self.bucket) {
            // A hop without an event is never the last one, so that the second case does not occur.
            (Hopped::NoEdge | Hopped::NobodyGoesOn, _) => {
                Err(EngineError::NotFound { entity: "edge" })
            }
            (Hopped::Known, _) => Ok(ResolveDependencyOutcome::AlreadyResolved),
            (Hopped::Told, Bucket::Success) => Ok(ResolveDependencyOutcome::Satisfied),
            (Hopped::Told, Bucket::Fail | Bucket::Skip) => Ok(ResolveDependencyOutcome::Impossible),
        }
    }
}

/// The outcome of a hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hopped {
    /// The end was applied to the edge.
    Told,
    /// Nothing was left to apply: the edge has this end or a later one, or the event is no end.
    Known,
    /// There is no such edge.
    NoEdge,
    /// This was the last edge, and no unfinished execution is behind it. The event is not
    /// dispatched yet, because the flow may be over.
    NobodyGoesOn,
}

/// The rows that a hop decides on.
#[derive(Clone, Copy)]
struct EdgeRows<'a> {
    edge: &'a Row,
    group: &'a Row,
    core: Option<&'a Row>,
}

impl Hop {
    fn lookups(&self) -> Vec<Lookup> {
        vec![
            edge_row(self.flow, &self.edge),
            group_of_edge_row(),
            end_of_edge_row(CORE, edge::downstream_eid),
        ]
    }

    /// The event that this hop marks as dispatched, if this is its last edge.
    fn ends_event(&self) -> Option<i64> {
        self.end.event_id.filter(|_| self.last)
    }

    /// Changes nothing but the event, which is dispatched after its last edge.
    fn nothing(&self, hopped: Hopped, at: TimestampMs) -> Step<Hopped> {
        match self.ends_event() {
            Some(event) => {
                let plan = dispatched(Plan::new("dispatch_nothing"), self.flow, event, at);
                Step::Commit(plan, Then::Answer(hopped))
            }
            None => Step::Answer(hopped),
        }
    }

    fn is_known(&self, edge: &Row) -> Result<bool, EngineError> {
        let heard: Option<i64> = edge.read(edge::upstream_event_id)?;
        Ok(match self.end.event_id {
            Some(event) => heard.is_some_and(|heard| event <= heard),
            None => edge.read(edge::upstream_outcome)?.is_some(),
        })
    }

    /// Records the end on the edge.
    fn heard(&self, plan: Plan) -> Plan {
        let set = vec![
            edge::upstream_outcome.set_chosen(Some(self.end.outcome)),
            edge::upstream_event_id.set(self.end.event_id),
            edge::version.grow(1),
        ];
        plan.update(edge::REF, held_edge(), set)
    }

    /// Records the end on the edge, and marks the event as dispatched after its last edge.
    fn told(&self, plan: Plan, at: TimestampMs) -> Step<Hopped> {
        let plan = self.heard(plan);
        let plan = match self.ends_event() {
            Some(event) => dispatched(plan, self.flow, event, at),
            None => plan,
        };
        Step::Commit(plan, Then::Answer(Hopped::Told))
    }

    /// Only records the end on an edge that is not applied yet: applying the edge will count it.
    fn remembered(&self, edge: &Row, at: TimestampMs) -> Result<Step<Hopped>, EngineError> {
        let plan = Plan::new("hop_remembered").guard(
            EDGE,
            edge::REF,
            self.flow.edge(&self.edge),
            edge_unmoved(edge)?,
        );
        Ok(self.told(plan, at))
    }

    /// Counts the end in the group; the execution that waits may go on or be skipped.
    fn counted(
        &self,
        rows: EdgeRows<'_>,
        bucket: Bucket,
        facts: &Facts,
        at: TimestampMs,
    ) -> Result<Step<Hopped>, EngineError> {
        let downstream = rows.edge.read(edge::downstream_eid)?;
        let mut count = Count::of(rows, bucket)?;

        if count.depends_on_the_others() {
            let list = unapplied_edges(self.flow, downstream);
            let Some(unapplied) = facts.list(&list) else {
                return Ok(Step::Read(vec![Query::List(list)]));
            };
            count = count.judged(unapplied.len());
        }

        let siblings = if count.cancels_siblings() {
            let list = siblings_of(self.flow, downstream);
            let Some(siblings) = facts.list(&list) else {
                return Ok(Step::Read(vec![Query::List(list)]));
            };
            owed(rows.group, members(siblings, self.end.upstream)?)?
        } else {
            Vec::new()
        };

        let plan = self.plan(rows, &count, downstream, siblings, at)?;
        Ok(self.told(plan, at))
    }

    fn plan(
        &self,
        rows: EdgeRows<'_>,
        count: &Count,
        downstream: Uuid,
        siblings: Vec<String>,
        at: TimestampMs,
    ) -> Result<Plan, EngineError> {
        let EdgeRows { edge, group, core } = rows;
        let relies = count.relies_on(group)?.and(count.change.keeps_running_count());
        let mut plan =
            Plan::new("hop").guard(GROUP, edge_group::REF, self.flow.group(downstream), relies);
        if let Some(standing) = count.standing {
            let key = self.flow.member(downstream).core();
            // Not its version, so that other changes to the execution do not refuse the hop.
            plan = plan.guard(CORE, exec_core::REF, key, standing.holds());
        }
        let key = self.flow.edge(&self.edge);
        plan = plan.guard(EDGE, edge::REF, key, edge_unmoved(edge)?);

        let mut set = count.change.assignments();
        if !siblings.is_empty() {
            let (recorded, flags) = owes_cancellations(siblings, at);
            plan = plan.and([recorded]);
            set.extend(flags);
        }
        plan = plan.update(edge_group::REF, held_group(), set);

        match core {
            Some(core) => Ok(plan.and(count.action().changes(core, at)?)),
            None => Ok(plan),
        }
    }
}

/// The effect of an end on a group and on the execution that waits.
struct Count {
    policy: EdgeDependencyPolicy,
    tally: Tally,
    bucket: Bucket,
    /// The end that the edge recorded before.
    before: Option<Bucket>,
    change: Change,
    standing: Option<Standing>,
    verdict: Verdict,
    /// True if the verdict takes the edges that are not applied yet into account.
    looked: bool,
    /// True if the other upstreams are cancelled once enough have succeeded.
    cancels: bool,
}

impl Count {
    fn of(rows: EdgeRows<'_>, bucket: Bucket) -> Result<Self, EngineError> {
        let (policy, tally) = (policy_of(rows.group)?, Tally::read(rows.group)?);
        let before = rows.edge.read(edge::upstream_outcome)?.and_then(Bucket::of);
        let change = change_of(before, &tally, bucket);
        let standing = rows.core.map(Standing::of).transpose()?;
        let verdict = tally.after(change).verdict(&policy);

        // An execution that has ended itself cancels no upstream.
        let cancels = cancels_remaining(&policy) && rows.core.is_some_and(is_open);
        let looked = false;
        Ok(Self { policy, tally, bucket, before, change, standing, verdict, looked, cancels })
    }

    /// The count with this many other edges not applied yet.
    fn judged(self, unapplied: usize) -> Self {
        let after = self.tally.after(self.change).with_unapplied(unapplied);
        Self { verdict: after.verdict(&self.policy), looked: true, ..self }
    }

    fn is_blocked(&self) -> bool {
        self.standing == Some(Standing::Blocked)
    }

    /// Returns true if the counts alone do not decide what follows for the execution.
    fn depends_on_the_others(&self) -> bool {
        self.is_blocked() && self.verdict != Verdict::Pending
    }

    fn action(&self) -> Action {
        self.standing.map_or(Action::Leave, |standing| standing.on_end(self.verdict))
    }

    /// Returns true if this end makes the group satisfied.
    fn satisfies(&self) -> bool {
        self.verdict == Verdict::Satisfied && self.tally.verdict(&self.policy) != Verdict::Satisfied
    }

    fn cancels_siblings(&self) -> bool {
        self.cancels && self.satisfies()
    }

    /// The predicate that the group's row must still hold. It asks as little as possible, so that
    /// ends of many upstreams do not conflict.
    fn relies_on(&self, group: &Row) -> Result<Predicate, EngineError> {
        Ok(match self.verdict {
            // No execution waits for the verdict, and none is cancelled by it.
            _ if !self.is_blocked() && !self.cancels => Predicate::Always,
            Verdict::Pending if self.before.is_none() && !self.looked => {
                self.tally.stays_pending(group, &self.policy, self.bucket)?
            }
            Verdict::Satisfied | Verdict::Impossible if !self.is_blocked() && !self.satisfies() => {
                Predicate::Always
            }
            Verdict::Pending | Verdict::Satisfied | Verdict::Impossible => unmoved(group)?,
        })
    }
}

impl Transition for Hop {
    type Outcome = Hopped;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<Hopped>, EngineError> {
        if !facts.have_rows() {
            return Ok(Step::Read(vec![Query::Lookup(self.lookups())]));
        }

        let goes_on = |core| unfinished().accepts(core, &Held::default());
        if !self.last || facts.row(CORE).is_some_and(goes_on) {
            return self.told_of(facts, ctx.now);
        }

        // The event stays open until the flow was checked for its end.
        let hop = Self { last: false, ..self.clone() };
        Ok(match hop.told_of(facts, ctx.now)? {
            Step::Read(queries) => Step::Read(queries),
            Step::Commit(plan, _) => Step::Commit(plan, Then::Answer(Hopped::NobodyGoesOn)),
            Step::Answer(_) => Step::Answer(Hopped::NobodyGoesOn),
        })
    }
}

impl Hop {
    fn told_of(&self, facts: &Facts, at: TimestampMs) -> Result<Step<Hopped>, EngineError> {
        let Some(edge) = facts.row(EDGE) else {
            return Ok(self.nothing(Hopped::NoEdge, at));
        };

        if let Some(downstream) = self.downstream {
            check_ends(edge, self.end.upstream, downstream)?;
        }

        let Some(bucket) = Bucket::of(self.end.outcome) else {
            return Ok(self.nothing(Hopped::Known, at));
        };
        if self.is_known(edge)? {
            return Ok(self.nothing(Hopped::Known, at));
        }

        match facts.row(GROUP) {
            Some(group) if is_applied(edge)? => {
                let rows = EdgeRows { edge, group, core: facts.row(CORE) };
                self.counted(rows, bucket, facts, at)
            }
            Some(_) | None => self.remembered(edge, at),
        }
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
pub fn edge_unmoved(edge: &Row) -> Result<Predicate, EngineError> {
    Ok(edge::version.equals(edge.read(edge::version)?))
}

/// Marks the event as dispatched: it was applied to every edge.
#[must_use]
pub fn dispatched(plan: Plan, flow: FlowKey, event: i64, at: TimestampMs) -> Plan {
    let key = vec![
        completion_event::partition_key.with(flow.partition),
        completion_event::event_id.with(event),
    ];
    plan.update(
        completion_event::REF,
        key,
        vec![completion_event::dispatched_at_ms.keep_or(Some(at.0))],
    )
}
