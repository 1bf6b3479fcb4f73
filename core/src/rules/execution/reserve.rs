//! Claims of executions with an estimate: each reserves its amounts in its budgets, and takes what
//! it needs of its limits, in the same plan.
//!
//! The database cannot pick such an execution by itself, since what fits depends on all its
//! budgets and limits. So a claim lists the best executions first ([`candidates`]), and takes these
//! one by one ([`ClaimReserving`]): pinned to what was read of their budgets, and refused where a
//! part of a limit was taken meanwhile. Those without estimates share a plan ([`listed`]).
//!
//! [`candidates`]: crate::rules::execution::candidates
//! [`listed`]: crate::rules::execution::listed

use crate::model::error::EngineError;
use crate::model::handle::{BackendTag, Handle, HandleKind};
use crate::model::ids::TimestampMs;
use crate::model::state::LeaseEventType;
use crate::plan::facts::{Facts, Row};
use crate::plan::value::{Storable as _, Value};
use crate::plan::{Guard, Mutation, Query};
use crate::rules::budget::reservation::{Estimate, Fit, some_reserved};
use crate::rules::budget::token::limit_keys_in;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Step, Then, Transition, Verdict};
use crate::rules::execution::leasing::Lease;
use crate::rules::execution::terms::{LeasedAttempt, Terms, retry_returns};
use crate::rules::handle;
use crate::rules::key::{CORE, ExecutionKey};
use crate::rules::lane::closed_to_claims;
use crate::rules::limit::admit::Asking;
use crate::rules::limit::held::Holdings;
use crate::rules::premise::{Condition, Premise, answer, execution_row, existing};
use crate::schema::execution::exec_core;

/// What an execution asks of its limits, by its stored requirements and policy.
///
/// # Errors
/// `Validation(Corruption)` for a policy that is no document.
pub fn asking(
    execution: ExecutionKey,
    required: &[String],
    core: &Row,
) -> Result<Asking, EngineError> {
    let keys: Vec<String> = limit_keys_in(required).map(str::to_owned).collect();
    let policy = if keys.is_empty() { None } else { core.read(exec_core::policy)? };
    let weight = policy.as_ref().and_then(|policy| policy.get("limit_weight")?.as_u64());
    let weight = weight.and_then(|weight| u32::try_from(weight).ok()).unwrap_or(1);
    Ok(Asking { execution, keys, weight })
}

/// Reads what an execution asks of its limits; `None` for one without keys, or none at all.
#[derive(Clone, Copy, Debug)]
pub struct ReadAsking(pub ExecutionKey);

impl Transition for ReadAsking {
    type Outcome = Option<Asking>;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        if !facts.have_rows() {
            let columns =
                vec![exec_core::required_capabilities.column(), exec_core::policy.column()];
            let row = execution_row(&self.0, columns);
            return Ok(Step::Read(vec![Query::Lookup(vec![row])]));
        }
        let Some(core) = facts.row(CORE) else { return Ok(Step::Answer(None)) };
        let required = core.read(exec_core::required_capabilities)?;
        let asking = asking(self.0, &required, core)?;
        Ok(Step::Answer((!asking.keys.is_empty()).then_some(asking)))
    }
}

/// Claims one listed execution, reserves its estimate, and takes what it needs of its limits.
#[derive(Clone, Debug)]
pub struct ClaimReserving {
    /// The backend of its handle.
    pub tag: BackendTag,
    /// The worker, the lane and the lease.
    pub terms: Terms,
    /// The execution.
    pub key: ExecutionKey,
    /// The version that was listed as claimable. Each change of the row grows it, and what is
    /// claimable stays so until the row changes.
    pub version: i64,
    /// What it takes of its limits.
    pub holdings: Holdings,
    /// True if it is to be known only whether it would be claimed.
    pub only_asks: bool,
}

/// The answer to [`ClaimReserving`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is leased.
    Claimed(Handle),
    /// It would be.
    Fits,
    /// That budget has not enough room.
    NoRoom(String),
    /// A part of a limit was taken meanwhile.
    Overtaken,
    /// It is not claimable any more.
    Gone,
}

impl Decision for ClaimReserving {
    type Outcome = Taken;

    const NAME: &'static str = "claim_reserving";

    fn premises(&self, _: TimestampMs) -> Vec<Premise<Taken>> {
        let as_listed = exec_core::version.equals(self.version);
        let as_listed = Condition::new(as_listed, answer(Taken::Gone));
        let core = Premise::execution(&self.key, vec![as_listed]).in_any_version();
        vec![core.or_if_absent(answer(Taken::Gone))]
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, ctx: &mut Ctx<'_>) -> Decided<Taken> {
        // The lane was closed meanwhile.
        if facts.prevented() {
            return Ok(Verdict::Answer(Taken::Gone));
        }
        // It is as it was listed, so one of the rows that it takes was taken.
        if facts.refusals() != 0 && !self.holdings.is_empty() {
            return Ok(Verdict::Answer(Taken::Overtaken));
        }
        let (guards, reserved) = match self.reserved(facts, at)? {
            Reserved::Decided(verdict) => return Ok(verdict),
            Reserved::By(guards, changes) => (guards, changes),
        };
        if self.only_asks {
            return Ok(Verdict::Answer(Taken::Fits));
        }

        let terms = self.terms.clone();
        let lane = closed_to_claims(terms.lane(), at.0);
        let holdings = self.holdings.clone();
        let lease = Lease { key: self.key, terms, lease_id: ctx.uuid(), holdings };
        let begins = LeasedAttempt::Begins(Some(ctx.uuid()).into_expr());
        let taken = lease.take(lease.of(LeaseEventType::Acquired, begins), at);
        let changes = taken
            .marking(some_reserved())
            .and(reserved)
            .and(self.holdings.taken(at)?)
            .holding(guards)
            .unless([lane])
            .returning(retry_returns());

        let tag = self.tag;
        let read = move |rows: Vec<Vec<Value>>| {
            let payload = lease.handed_out(&rows)?.with_reservations(true);
            Ok(Taken::Claimed(handle::mint(tag, HandleKind::Fresh, &payload)))
        };
        Ok(Verdict::Change(changes, Then::FromRows(Box::new(read))))
    }
}

/// The reservation of an estimate.
enum Reserved {
    /// The decision ends here.
    Decided(Verdict<Taken>),
    /// These guards and changes make it.
    By(Vec<Guard>, Vec<Mutation>),
}

impl ClaimReserving {
    fn reserved(&self, facts: &Facts, at: TimestampMs) -> Result<Reserved, EngineError> {
        let Some(estimate) = Estimate::of(existing(facts)?)? else {
            return Ok(Reserved::Decided(Verdict::Answer(Taken::Gone)));
        };
        Ok(match estimate.fit(facts, at)? {
            Fit::NotRead(queries) => Reserved::Decided(Verdict::AlsoRead(queries)),
            Fit::TooLarge(budget) => Reserved::Decided(Verdict::Answer(Taken::NoRoom(budget))),
            Fit::Fits(guards, changes) => Reserved::By(guards, changes),
        })
    }
}
