//! Scheduling: the best execution that a worker can run is granted to it.
//!
//! Unlike a claim, a scheduler looks at each execution before it takes one. So the database lists a
//! few, best first, and the plan is pinned to the one that is chosen. Those with a full limit are
//! passed over; what a granted one takes of its limits is decided once the grant is redeemed.

use std::collections::BTreeSet;

use crate::contracts::{ClaimForWorkerArgs, ClaimForWorkerOutcome, ClaimGrant};
use crate::model::error::EngineError;
use crate::model::handle::BackendTag;
use crate::model::ids::{LaneId, TimestampMs};
use crate::model::partition::PartitionConfig;
use crate::model::state::GrantKind;
use crate::plan::facts::{Facts, Row};
use crate::plan::{Expr, Guard, Held, List, Plan, Query};
use crate::rules::budget::room::{Room, SomeBudgets, budgets_of};
use crate::rules::budget::token::limit_token;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Answered, Step, Then, Transition};
use crate::rules::execution::change;
use crate::rules::execution::claim::{best_first, takes};
use crate::rules::execution::reserve::asking;
use crate::rules::grant::key::{GrantName, partition};
use crate::rules::grant::row::{Grantee, reserved};
use crate::rules::input;
use crate::rules::key::{CORE, ExecutionKey};
use crate::rules::keystore::TokenKey;
use crate::rules::lane::{LANE, closed_to_claims, lane_row};
use crate::rules::limit::read::ReadHeld;
use crate::rules::premise::unchanged;
use crate::schema::execution::{claimable, exec_core};

/// The number of executions that a scheduler looks at in one go.
const CANDIDATES: u32 = 10;

/// Grants the best execution of a lane that the worker can run, or finds that there is none.
#[derive(Clone, Debug)]
pub struct Schedule {
    tag: BackendTag,
    partitions: PartitionConfig,
    lane: LaneId,
    grantee: Grantee,
}

/// The result of a try to grant.
#[derive(Debug)]
pub enum Scheduled {
    /// A grant, or nothing to grant.
    Ended(ClaimForWorkerOutcome),
    /// All that was looked at has keys with a full limit: these are their tokens.
    Full(Vec<String>),
}

impl Schedule {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field.
    pub fn new(
        tag: BackendTag,
        partitions: PartitionConfig,
        args: ClaimForWorkerArgs,
    ) -> Result<Self, EngineError> {
        input::lane(&args.lane_id)?;
        let grantee = Grantee {
            worker_id: args.worker_id,
            worker_instance_id: args.worker_instance_id,
            lane_id: Some(args.lane_id.clone()),
            capabilities: args.worker_capabilities,
            capability_hash: None,
            route_snapshot_json: None,
            admission_summary: None,
            room: Vec::new(),
            full: None,
            ttl_ms: input::positive_ms("grant_ttl_ms", args.grant_ttl_ms)?,
        };
        Ok(Self { tag, partitions, lane: args.lane_id, grantee: grantee.checked()? })
    }

    /// The same, with that room.
    #[must_use]
    pub fn with_room(self, room: Room) -> Self {
        Self { grantee: self.grantee.with_room(room), ..self }
    }

    /// The same, but for executions with a key that has one of these tokens, too.
    #[must_use]
    pub fn passing_over(mut self, full: Vec<String>) -> Self {
        self.grantee.full.get_or_insert_default().extend(full);
        self
    }

    fn candidates(&self, now: TimestampMs) -> List {
        List {
            name: "executions for a worker".into(),
            table: exec_core::REF,
            join: None,
            of_each: None,
            columns: vec![
                exec_core::partition_key.column(),
                exec_core::execution_id.column(),
                exec_core::version.column(),
                exec_core::required_capabilities.column(),
                exec_core::policy.column(),
                exec_core::raw_fields.column(),
            ],
            predicate: takes(&self.lane, claimable(), self.grantee.suffices(), now),
            order: best_first(),
            limit: Expr::int(i64::from(CANDIDATES)),
        }
    }

    /// The executions by the room in their limits.
    fn within_limits<'a>(
        &self,
        rows: Vec<&'a Row>,
        facts: &Facts,
        now: TimestampMs,
    ) -> Result<Answered<Sorted<'a>>, EngineError> {
        let mut asking_rows = Vec::with_capacity(rows.len());
        for row in rows {
            let required = row.read(exec_core::required_capabilities)?;
            asking_rows.push((asking(ExecutionKey::in_row(row)?, &required, row)?, row));
        }
        let keys: BTreeSet<&String> = asking_rows.iter().flat_map(|(of, _)| &of.keys).collect();
        let keys = keys.into_iter().cloned().collect();
        let read = ReadHeld { keys, partitions: self.partitions };
        let unread = read.unread(facts, now);
        if !unread.is_empty() {
            return Ok(Answered::NotYet(unread.into_iter().map(Query::List).collect()));
        }

        let held = read.held(facts)?;
        let (mut open, mut full) = (Vec::new(), BTreeSet::new());
        for (asking, row) in asking_rows {
            let shortages = held.shortages(&asking, now)?;
            if shortages.is_empty() {
                open.push(row);
            }
            full.extend(shortages.iter().map(|shortage| limit_token(shortage.key())));
        }
        Ok(Answered::Yes(Sorted { open, full: full.into_iter().collect() }))
    }

    /// The plan that reserves that execution, and the grant.
    fn granted(
        &self,
        candidate: &Row,
        signing: Option<&TokenKey>,
        at: TimestampMs,
    ) -> Result<(Plan, ClaimGrant), EngineError> {
        let key = ExecutionKey::in_row(candidate)?;
        let until = self.grantee.until(at);
        let name = GrantName::new(self.tag, GrantKind::Claim, &key, &self.grantee, until, signing);

        // What was listed was claimable; its version says that it still is.
        let same = Guard::new(CORE, exec_core::REF, key.core(), unchanged(candidate)?);
        let open = Plan::new("claim_for_worker").unless(closed_to_claims(&self.lane, at.0));
        let mut plan = open.and([
            change::edits(reserved(until), at),
            self.grantee.granted(GrantKind::Claim, &key, name.id, at),
        ]);
        plan.guards.push(same);

        let expires = until.0.unsigned_abs();
        Ok((plan, ClaimGrant::new(key.id(), partition(&key), name.text, expires)))
    }
}

impl Transition for Schedule {
    type Outcome = Scheduled;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        let candidates = self.candidates(ctx.now);
        let Some(rows) = facts.list(&candidates) else {
            return Ok(Step::Read(vec![
                Query::Lookup(vec![lane_row(&self.lane)]),
                Query::List(candidates),
                Query::List(TokenKey::signing()),
            ]));
        };

        let closed = closed_to_claims(&self.lane, ctx.now.0).holds;
        if facts.row(LANE).is_some_and(|lane| closed.accepts(lane, &Held::default())) {
            return Ok(Step::Answer(Scheduled::Ended(ClaimForWorkerOutcome::no_work())));
        }
        let named = budgets_of_all(rows)?;
        let Some(full) = named.full(facts)? else {
            return Ok(Step::Read(named.queries()));
        };
        let rows = with_room(rows, &full)?;
        let Sorted { open, full } = match self.within_limits(rows, facts, ctx.now)? {
            Answered::Yes(sorted) => sorted,
            Answered::NotYet(queries) => return Ok(Step::Read(queries)),
        };

        let Some(candidate) = chosen(&open, facts.refusals(), ctx) else {
            let none = Scheduled::Ended(ClaimForWorkerOutcome::no_work());
            return Ok(Step::Answer(if full.is_empty() { none } else { Scheduled::Full(full) }));
        };
        let signing = TokenKey::signing_if_any(facts)?;
        let (plan, grant) = self.granted(candidate, signing.as_ref(), ctx.now)?;
        Ok(Step::Commit(
            plan,
            Then::Answer(Scheduled::Ended(ClaimForWorkerOutcome::granted(grant))),
        ))
    }
}

/// Listed executions by the room in their limits.
struct Sorted<'a> {
    /// Those with room in every limit.
    open: Vec<&'a Row>,
    /// The tokens of the limits without room.
    full: Vec<String>,
}

/// The budgets of these executions. A row that an older engine wrote names them in its raw fields
/// only, so that no token asks for room in them.
fn budgets_of_all(rows: &[Row]) -> Result<SomeBudgets, EngineError> {
    let mut budgets = BTreeSet::new();
    for row in rows {
        budgets.extend(budgets_of(row)?);
    }
    Ok(SomeBudgets { budgets: budgets.into_iter().collect() })
}

/// The executions that name none of the budgets without room.
fn with_room<'a>(rows: &'a [Row], full: &BTreeSet<String>) -> Result<Vec<&'a Row>, EngineError> {
    let mut open = Vec::with_capacity(rows.len());
    for row in rows {
        if budgets_of(row)?.iter().all(|budget| !full.contains(budget)) {
            open.push(row);
        }
    }
    Ok(open)
}

/// The best candidate. Where other schedulers came first, one drawn from the best few, so that they
/// do not all compete for the same execution again.
fn chosen<'a>(rows: &[&'a Row], refusals: u32, ctx: &mut Ctx<'_>) -> Option<&'a Row> {
    let few = usize::try_from(refusals).unwrap_or(usize::MAX).saturating_add(1).min(rows.len());
    let drawn = if few <= 1 { 0 } else { (ctx.fraction() * few as f64) as usize };
    rows.get(drawn.min(few.saturating_sub(1))).copied()
}
