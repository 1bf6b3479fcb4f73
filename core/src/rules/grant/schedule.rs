//! Scheduling: the best execution that a worker can run is granted to it.
//!
//! Unlike a claim, a scheduler looks at each execution before it takes one. So the database lists a
//! few, best first, and the plan is pinned to the one that is chosen.

use std::collections::BTreeSet;

use crate::contracts::{ClaimForWorkerArgs, ClaimForWorkerOutcome, ClaimGrant};
use crate::model::error::EngineError;
use crate::model::handle::BackendTag;
use crate::model::ids::{LaneId, TimestampMs};
use crate::model::state::GrantKind;
use crate::plan::facts::{Facts, Row};
use crate::plan::{Expr, Guard, Held, List, Plan, Query};
use crate::rules::budget::room::{SomeBudgets, budgets_of};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Then, Transition};
use crate::rules::execution::change;
use crate::rules::execution::claim::{best_first, takes};
use crate::rules::grant::key::{GrantName, partition};
use crate::rules::grant::row::{Grantee, reserved};
use crate::rules::input;
use crate::rules::key::{CORE, ExecutionKey};
use crate::rules::keystore::TokenKey;
use crate::rules::lane::{LANE, closed_to_claims, lane_row};
use crate::rules::premise::unchanged;
use crate::schema::execution::{claimable, exec_core};

/// The number of executions that a scheduler looks at in one go.
const CANDIDATES: u32 = 10;

/// Grants the best execution of a lane that the worker can run, or finds that there is none.
#[derive(Clone, Debug)]
pub struct Schedule {
    tag: BackendTag,
    lane: LaneId,
    grantee: Grantee,
}

impl Schedule {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field.
    pub fn new(tag: BackendTag, args: ClaimForWorkerArgs) -> Result<Self, EngineError> {
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
            ttl_ms: input::positive_ms("grant_ttl_ms", args.grant_ttl_ms)?,
        };
        Ok(Self { tag, lane: args.lane_id, grantee: grantee.checked()? })
    }

    /// The same, with room in the budgets of these tokens.
    #[must_use]
    pub fn with_room(self, tokens: Vec<String>) -> Self {
        Self { grantee: self.grantee.with_room(tokens), ..self }
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
                exec_core::policy.column(),
                exec_core::raw_fields.column(),
            ],
            predicate: takes(&self.lane, claimable(), &self.grantee.offers(), now),
            order: best_first(),
            limit: Expr::int(i64::from(CANDIDATES)),
        }
    }

    /// The plan that reserves that execution, and the grant.
    fn granted(
        &self,
        candidate: &Row,
        signing: Option<&TokenKey>,
        at: TimestampMs,
    ) -> Result<(Plan, ClaimGrant), EngineError> {
        let key = ExecutionKey {
            partition: candidate.read(exec_core::partition_key)?,
            uuid: candidate.read(exec_core::execution_id)?,
        };
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
    type Outcome = ClaimForWorkerOutcome;

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
            return Ok(Step::Answer(ClaimForWorkerOutcome::no_work()));
        }
        let named = budgets_of_all(rows)?;
        let Some(full) = named.full(facts)? else {
            return Ok(Step::Read(named.queries()));
        };
        let rows = with_room(rows, &full)?;
        let Some(candidate) = chosen(&rows, facts.refusals(), ctx) else {
            return Ok(Step::Answer(ClaimForWorkerOutcome::no_work()));
        };
        let signing = TokenKey::signing_if_any(facts)?;
        let (plan, grant) = self.granted(candidate, signing.as_ref(), ctx.now)?;
        Ok(Step::Commit(plan, Then::Answer(ClaimForWorkerOutcome::granted(grant))))
    }
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
