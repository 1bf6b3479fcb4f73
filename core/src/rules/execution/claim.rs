//! Claiming: the one decision where the database picks the row.
//!
//! The plan says which rows qualify and in which order; the database locks the best ones that no
//! other claim holds, across all partitions, and leases each in the same step. Executions that wait
//! for a worker come first. Where they are too few, those come whose time has come, so that an idle
//! worker need not wait for a scanner. A scope restricts all of that to some partitions.

use crate::contracts::{CLAIM_MAX, CapabilitySet, ClaimPolicy, ClaimScope};
use crate::model::error::EngineError;
use crate::model::handle::{BackendTag, Handle, HandleKind};
use crate::model::ids::{LaneId, TimestampMs};
use crate::plan::facts::Facts;
use crate::plan::value::Value;
use crate::plan::{Expr, Pairing, Path, Plan, Predicate, Rest, Return, Selection};
use crate::rules::budget::token;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Then, Transition};
use crate::rules::execution::terms::{Claimant, NewLease, Returned, Terms, lease_returns};
use crate::rules::handle;
use crate::rules::input;
use crate::rules::key::CORE;
use crate::rules::lane::closed_to_claims;
use crate::schema::Direction::{Ascending, Descending};
use crate::schema::execution::{
    TOKENS_BELOW, claimable, delayed, exec_core, keyed_claimable, requires_no_tokens,
};
use crate::schema::{ColumnRef, Direction};

/// Claims up to `limit` executions of a lane for one worker, best first: by priority, then the
/// longest claimable, then the oldest, then by id.
#[derive(Clone, Debug)]
pub struct Claim {
    tag: BackendTag,
    terms: Terms,
    scope: ClaimScope,
    capabilities: Vec<String>,
    /// The tokens of full limits, where the claim takes executions with keys.
    full: Option<Vec<String>>,
    limit: u32,
    from: Option<Place>,
}

/// The executions that a claim searches: those of a lane and a scope that need no other
/// capabilities.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Searched {
    lane: LaneId,
    scope: ClaimScope,
    capabilities: Vec<String>,
}

impl Searched {
    /// Those of that lane, on all partitions, for a worker with these capabilities.
    #[must_use]
    pub fn new(lane: &LaneId, capabilities: &CapabilitySet) -> Self {
        let (lane, capabilities) = (lane.clone(), capabilities.tokens.clone());
        Self { lane, scope: ClaimScope::Everywhere, capabilities }
    }
}

/// A place in the order of a lane: a priority, and a time since which an execution is claimable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    priority: i32,
    since_ms: i64,
}

/// The precision of places, ms: claims of one moment search on from one place, and so can share a
/// statement.
const PLACE_MS: i64 = 64;

impl Place {
    /// The place of an execution with that priority, claimable since then.
    #[must_use]
    pub fn of(priority: i32, since_ms: i64) -> Self {
        Self { priority, since_ms: since_ms - since_ms.rem_euclid(PLACE_MS) }
    }

    /// Executions of that priority that come at that place or behind it.
    fn onwards(self) -> Predicate {
        let since = exec_core::claimable_since_ms.above(self.since_ms.saturating_sub(1));
        exec_core::priority.equals(self.priority).and(since)
    }
}

/// The result of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Best first; fewer than asked for when there is no more work.
    pub handles: Vec<Handle>,
    /// The place of the last one, if there is one.
    pub last: Option<Place>,
}

impl Claim {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field: a lane that is no lane name, a lease without
    /// length, a limit of 0 or above [`CLAIM_MAX`], text with NUL, a worker instance without a
    /// name.
    pub fn new(
        tag: BackendTag,
        lane: &LaneId,
        capabilities: &CapabilitySet,
        policy: ClaimPolicy,
        limit: u32,
    ) -> Result<Self, EngineError> {
        let ClaimPolicy { worker_id, worker_instance_id, lease_ttl_ms, scope, max_wait: _ } =
            policy;
        let claimant = Claimant::new(worker_id, worker_instance_id, lane.clone())?;
        let capabilities = token::offered("capabilities", &capabilities.tokens)?;

        let terms = Terms::new(claimant, "lease_ttl_ms", u64::from(lease_ttl_ms))?;
        if limit == 0 || limit > CLAIM_MAX {
            return Err(input::invalid(format!("limit: {limit} is not in 1..={CLAIM_MAX}")));
        }

        Ok(Self { tag, terms, scope, capabilities, full: None, limit, from: None })
    }

    /// The same claim, which also offers room in the budgets of these tokens.
    #[must_use]
    pub fn with_room(mut self, tokens: Vec<String>) -> Self {
        self.capabilities.extend(tokens);
        self
    }

    /// The same claim, which also takes executions with keys of limits or fairness, but for those
    /// with a key that has one of these tokens.
    #[must_use]
    pub fn within_limits(self, full: Vec<String>) -> Self {
        Self { full: Some(full), ..self }
    }

    /// The most executions that it takes.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// The same claim of at most so many executions.
    #[must_use]
    pub fn up_to(self, limit: u32) -> Self {
        Self { limit, ..self }
    }

    /// The same claim on other terms.
    #[must_use]
    pub fn on_terms(self, terms: Terms) -> Self {
        Self { terms, ..self }
    }

    /// The terms of the leases that it takes.
    #[must_use]
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The backend of the handles that it hands out.
    #[must_use]
    pub fn tag(&self) -> BackendTag {
        self.tag
    }

    /// The claim that follows one that took `taken` executions, from the head of the lane. `None`
    /// where the claim got all that it asked for.
    #[must_use]
    pub fn rest(&self, taken: usize) -> Option<Self> {
        let taken = u32::try_from(taken).unwrap_or(u32::MAX);
        let limit = self.limit.saturating_sub(taken);
        (0 < limit).then(|| Self { limit, from: None, ..self.clone() })
    }

    /// The claim of what comes at that place or behind it, with the priority of the place.
    #[must_use]
    pub fn from(self, place: Place) -> Self {
        Self { from: Some(place), ..self }
    }

    /// The executions that it searches.
    #[must_use]
    pub fn searched(&self) -> Searched {
        let (lane, scope) = (self.terms.lane().clone(), self.scope.clone());
        Searched { lane, scope, capabilities: self.capabilities.clone() }
    }

    /// The executions that this worker may claim now: the eligibility rule. They wait for a worker.
    #[must_use]
    pub fn eligible(&self, now: TimestampMs) -> Predicate {
        self.takes(claimable(), now)
    }

    /// The executions that waited for a time that has come, and that no scanner has promoted yet.
    #[must_use]
    pub fn due(&self, now: TimestampMs) -> Predicate {
        self.takes(due(now), now)
    }

    /// True if it takes only what requires nothing.
    #[must_use]
    pub fn offers_nothing(&self) -> bool {
        self.capabilities.is_empty() && self.full.is_none()
    }

    /// The executions of the lane that this worker may take where their state allows it.
    fn takes(&self, state: Predicate, now: TimestampMs) -> Predicate {
        self.within().and(takes(self.terms.lane(), state, self.suffices(), now))
    }

    /// The executions of its scope, whatever their lane and state.
    fn within(&self) -> Predicate {
        match &self.scope {
            ClaimScope::Everywhere => Predicate::Always,
            ClaimScope::Of(partitions) => exec_core::partition_key.is_among(partitions.iter()),
        }
    }

    /// What it offers is all that is required.
    #[must_use]
    pub fn suffices(&self) -> Predicate {
        covered(&self.capabilities, self.full.as_deref())
    }

    /// True if it passes over executions with full limits.
    #[must_use]
    pub fn knows_of_full(&self) -> bool {
        self.full.as_ref().is_some_and(|full| !full.is_empty())
    }

    /// The executions that wait for a worker and have keys, whatever they require, and those that
    /// this worker may claim without; `None` for a claim that takes none with keys.
    #[must_use]
    pub fn looks_at(&self, now: TimestampMs) -> Option<Predicate> {
        self.full.as_ref()?;
        let lane = self.terms.lane();
        let keyed = self.within().and(of_lane(lane, keyed_claimable(), now));
        let capabilities: Vec<String> =
            self.capabilities.iter().filter(|one| !is_token(one)).cloned().collect();
        let others = self.within().and(of_lane(lane, claimable(), now));
        let others = others.and(sufficient(&capabilities));
        Some(Predicate::AnyApart(vec![keyed, others]))
    }

    /// The executions that it searches first: those that are eligible, from its place on.
    #[must_use]
    pub fn searches(&self, now: TimestampMs) -> Predicate {
        self.from.map_or(Predicate::Always, Place::onwards).and(self.eligible(now))
    }

    fn selection(&self, now: TimestampMs) -> Selection {
        // A claim from a place is followed by one from the head, which takes what is due.
        let rest =
            self.from.is_none().then(|| Rest { predicate: self.due(now), order: first_due() });

        Selection {
            row: CORE.into(),
            table: exec_core::REF,
            predicate: self.searches(now),
            order: best_first(),
            pairing: Pairing::UpTo { limit: Expr::int(i64::from(self.limit)), rest },
        }
    }

    fn plan(&self, ctx: &mut Ctx<'_>) -> Plan {
        let lease = NewLease::of_each(self.limit as usize, ctx);
        let closed = closed_to_claims(self.terms.lane(), ctx.now.0);
        let mut plan = Plan::new("claim").unless(closed).and(self.terms.take(lease, ctx.now));
        plan.selection = Some(self.selection(ctx.now));

        plan.returns = lease_returns();
        plan.returns.push(Return::Held(CORE.into(), Path::column(exec_core::priority.column())));
        let since = exec_core::claimable_since_ms.column();
        plan.returns.push(Return::Held(CORE.into(), Path::column(since)));
        plan
    }
}

/// The order of a lane: by priority, then the longest claimable, then the oldest, then by id.
#[must_use]
pub fn best_first() -> Vec<(ColumnRef, Direction)> {
    vec![
        (exec_core::priority.column(), Descending),
        (exec_core::claimable_since_ms.column(), Ascending),
        (exec_core::created_at_ms.column(), Ascending),
        (exec_core::execution_id.column(), Ascending),
    ]
}

/// The order of executions that are due: the longest due first, then by id.
#[must_use]
pub fn first_due() -> Vec<(ColumnRef, Direction)> {
    vec![
        (exec_core::eligible_at_ms.column(), Ascending),
        (exec_core::execution_id.column(), Ascending),
    ]
}

/// The executions of a lane in that state that no grant reserves, with requirements that are
/// covered.
#[must_use]
pub fn takes(lane: &LaneId, state: Predicate, covered: Predicate, now: TimestampMs) -> Predicate {
    of_lane(lane, state, now).and(covered)
}

/// The executions of a lane in that state that no grant reserves.
fn of_lane(lane: &LaneId, state: Predicate, now: TimestampMs) -> Predicate {
    exec_core::lane_id.equals(lane.as_str().to_owned()).and(state).and(unreserved(now))
}

/// The executions that waited for a time that has come.
#[must_use]
pub fn due(now: TimestampMs) -> Predicate {
    delayed().and(exec_core::eligible_at_ms.at_most(Some(now.0)))
}

/// No grant reserves the execution at that time.
#[must_use]
pub fn unreserved(at: TimestampMs) -> Predicate {
    let until = exec_core::granted_until_ms;
    until.is_null().or(until.at_most(Some(at.0)))
}

/// These capabilities are all that is required. Without any, only what requires none is left, and
/// the database need not look which requirements there are. Without tokens, it need not look at
/// those with budgets and keys, of which there may be thousands.
#[must_use]
pub fn sufficient(capabilities: &[String]) -> Predicate {
    let required = exec_core::required_capabilities;
    if capabilities.is_empty() {
        required.is_empty()
    } else if capabilities.iter().any(|one| is_token(one)) {
        required.covered_by(capabilities.to_vec())
    } else {
        required.covered_by(capabilities.to_vec()).and(requires_no_tokens())
    }
}

/// True for the requirement of a budget or key. Also for a capability that begins as they do.
fn is_token(requirement: &str) -> bool {
    requirement < TOKENS_BELOW
}

/// The same; with tokens of full limits, keys of limits or fairness may be required, too, but for
/// those with one of these tokens.
#[must_use]
pub fn covered(capabilities: &[String], full: Option<&[String]>) -> Predicate {
    let Some(full) = full else { return sufficient(capabilities) };
    let (by, but) = (capabilities.to_vec(), full.to_vec());
    exec_core::required_capabilities.covered_by_or_open(by, token::limit_tokens(), but)
}

impl Transition for Claim {
    type Outcome = Claimed;

    fn step(&self, _: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<Claimed>, EngineError> {
        let plan = self.plan(ctx);
        let claim = self.clone();
        let read = move |rows: Vec<Vec<Value>>| {
            let handles = rows.iter().map(|row| claim.claimed(row)).collect::<Result<_, _>>()?;
            let last = rows.last().map(|row| place(row)).transpose()?;
            Ok(Claimed { handles, last })
        };
        Ok(Step::Commit(plan, Then::FromRows(Box::new(read))))
    }
}

impl Claim {
    fn claimed(&self, row: &[Value]) -> Result<Handle, EngineError> {
        let (_, payload) = self.terms.payload_of(row)?;
        Ok(handle::mint(self.tag, HandleKind::Fresh, &payload))
    }
}

/// The place of a claimed execution.
fn place(row: &[Value]) -> Result<Place, EngineError> {
    let returned = Returned(row);
    let priority = returned.read(8, exec_core::priority)?;
    Ok(Place::of(priority, returned.read(9, exec_core::claimable_since_ms)?))
}
