//! Whether a claim would find something: a read, which locks nothing and fires no trigger.
//!
//! A claim prepares to write before it searches, whatever it then finds. On Postgres that is most
//! of what an empty claim costs. So where the last claim found nothing, the next one looks first.

use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::plan::facts::Facts;
use crate::plan::{Expr, List, Predicate, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Transition};
use crate::rules::execution::claim::{Claim, best_first};
use crate::schema::execution::exec_core;

/// True if an execution waits or is due that the claim may take, even if it is locked at the moment
/// or its lane takes no claims.
#[derive(Clone, Copy, Debug)]
pub struct SomeWait<'a>(&'a Claim);

impl<'a> SomeWait<'a> {
    /// `None` for a claim that offers capabilities: it has to find out first which requirements
    /// there are, twice, and a look would cost as much as a claim.
    #[must_use]
    pub fn of(claim: &'a Claim) -> Option<Self> {
        claim.offers_nothing().then_some(Self(claim))
    }

    fn list(self, now: TimestampMs) -> List {
        let Self(claim) = self;
        List {
            name: "executions that wait for a claim".into(),
            table: exec_core::REF,
            join: None,
            of_each: None,
            columns: best_first().into_iter().map(|(column, _)| column).collect(),
            predicate: Predicate::AnyApart(vec![claim.eligible(now), claim.due(now)]),
            // Any total order would do; that of the index of claims need not be sorted.
            order: best_first(),
            limit: Expr::int(1),
        }
    }
}

impl Transition for SomeWait<'_> {
    type Outcome = bool;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<bool>, EngineError> {
        let list = self.list(ctx.now);
        Ok(match facts.list(&list) {
            None => Step::Read(vec![Query::List(list)]),
            Some(rows) => Step::Answer(!rows.is_empty()),
        })
    }
}
