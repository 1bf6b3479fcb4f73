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

/// True if executions wait that the claim may take, or if some are due, whatever those require:
/// false if it would find none at all.
#[derive(Clone, Copy, Debug)]
pub struct SomeWait<'a>(pub &'a Claim);

impl SomeWait<'_> {
    fn list(self, now: TimestampMs) -> List {
        let Self(claim) = self;
        List {
            name: "executions that wait for a claim".into(),
            table: exec_core::REF,
            join: None,
            of_each: None,
            columns: best_first().into_iter().map(|(column, _)| column).collect(),
            predicate: Predicate::AnyApart(vec![claim.eligible(now), claim.due_for_any(now)]),
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
