//! Claims of executions with an estimate: each reserves its amounts in its budgets, in the same
//! plan.
//!
//! The database cannot pick such an execution by itself, since what fits depends on all its
//! budgets. So a claim lists the best executions first ([`Candidates`]), and takes those with an
//! estimate one by one ([`ClaimReserving`]), pinned to what was read of their budgets.

use crate::model::error::EngineError;
use crate::model::handle::{Handle, HandleKind};
use crate::model::ids::TimestampMs;
use crate::model::state::LeaseEventType;
use crate::plan::facts::{Facts, Row};
use crate::plan::value::{Storable as _, Value};
use crate::plan::{Expr, List, Predicate, Query};
use crate::rules::budget::reservation::{Estimate, Fit, some_reserved};
use crate::rules::budget::token::{ESTIMATES, budgets_in, token};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Step, Then, Transition, Verdict};
use crate::rules::execution::claim::{Claim, best_first, first_due};
use crate::rules::execution::leasing::Lease;
use crate::rules::execution::terms::{LeasedAttempt, retry_returns};
use crate::rules::handle;
use crate::rules::key::ExecutionKey;
use crate::rules::lane::closed_to_claims;
use crate::rules::premise::{Condition, Premise, answer, existing};
use crate::schema::execution::exec_core;
use crate::schema::{ColumnRef, Direction};

/// An execution that a claim may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The execution.
    pub key: ExecutionKey,
    /// True if it carries an estimate.
    pub reserves: bool,
    /// Its budgets.
    pub budgets: Vec<String>,
}

/// Lists as many executions as a claim asks for, best first, where it offers to reserve.
#[derive(Clone, Debug)]
pub struct Candidates(pub Claim);

impl Candidates {
    fn list(
        &self,
        name: &'static str,
        predicate: Predicate,
        order: Vec<(ColumnRef, Direction)>,
    ) -> List {
        List {
            name: name.into(),
            table: exec_core::REF,
            join: None,
            columns: vec![
                exec_core::partition_key.column(),
                exec_core::execution_id.column(),
                exec_core::required_capabilities.column(),
            ],
            predicate,
            order,
            limit: Expr::int(i64::from(self.0.limit())),
        }
    }
}

impl Transition for Candidates {
    type Outcome = Vec<Candidate>;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        let waiting = self.list("executions to claim", self.0.eligible(ctx.now), best_first());
        let due = self.list("executions to claim that are due", self.0.due(ctx.now), first_due());
        let Some(mut rows) = facts.list(&waiting).map(<[Row]>::to_vec) else {
            return Ok(Step::Read(vec![Query::List(waiting)]));
        };
        if rows.len() < self.0.limit() as usize {
            let Some(more) = facts.list(&due) else {
                return Ok(Step::Read(vec![Query::List(due)]));
            };
            rows.extend_from_slice(more);
        }

        let candidates = rows.iter().map(candidate).collect::<Result<Vec<_>, _>>()?;
        Ok(Step::Answer(candidates.into_iter().take(self.0.limit() as usize).collect()))
    }
}

fn candidate(row: &Row) -> Result<Candidate, EngineError> {
    let required = row.read(exec_core::required_capabilities)?;
    Ok(Candidate {
        key: ExecutionKey {
            partition: row.read(exec_core::partition_key)?,
            uuid: row.read(exec_core::execution_id)?,
        },
        reserves: required.contains(&token(ESTIMATES)),
        budgets: budgets_in(&required).map(str::to_owned).collect(),
    })
}

/// Claims one listed execution and reserves its estimate.
#[derive(Clone, Debug)]
pub struct ClaimReserving {
    /// The claim that it was listed for.
    pub claim: Claim,
    /// The execution.
    pub key: ExecutionKey,
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
    /// It is not claimable any more.
    Gone,
}

impl Decision for ClaimReserving {
    type Outcome = Taken;

    const NAME: &'static str = "claim_reserving";

    fn premises(&self, at: TimestampMs) -> Vec<Premise<Taken>> {
        let claimable = self.claim.eligible(at).or(self.claim.due(at));
        let claimable = Condition::new(claimable, answer(Taken::Gone));
        let core = Premise::execution_as_read(&self.key, vec![claimable]);
        vec![core.or_if_absent(answer(Taken::Gone))]
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, ctx: &mut Ctx<'_>) -> Decided<Taken> {
        // The lane was closed meanwhile.
        if facts.prevented() {
            return Ok(Verdict::Answer(Taken::Gone));
        }
        let Some(estimate) = Estimate::of(existing(facts)?)? else {
            return Ok(Verdict::Answer(Taken::Gone));
        };
        let (guards, reserved) = match estimate.fit(facts, at)? {
            Fit::NotRead(queries) => return Ok(Verdict::AlsoRead(queries)),
            Fit::TooLarge(budget) => return Ok(Verdict::Answer(Taken::NoRoom(budget))),
            Fit::Fits(..) if self.only_asks => return Ok(Verdict::Answer(Taken::Fits)),
            Fit::Fits(guards, reserved) => (guards, reserved),
        };

        let terms = self.claim.terms().clone();
        let lane = closed_to_claims(terms.lane(), at.0);
        let lease = Lease { key: self.key, terms, lease_id: ctx.uuid() };
        let begins = LeasedAttempt::Begins(Some(ctx.uuid()).into_expr());
        let changes = lease
            .take(lease.of(LeaseEventType::Acquired, begins), at)
            .marking(some_reserved())
            .and(reserved)
            .holding(guards)
            .unless([lane])
            .returning(retry_returns());

        let tag = self.claim.tag();
        let read = move |rows: Vec<Vec<Value>>| {
            let payload = lease.handed_out(&rows)?;
            Ok(Taken::Claimed(handle::mint(tag, HandleKind::Fresh, &payload)))
        };
        Ok(Verdict::Change(changes, Then::FromRows(Box::new(read))))
    }
}
