//! Claims of listed executions without estimates, all in one plan: each takes what it needs of the
//! limits of its keys.
//!
//! A row that is gone costs the others nothing. What a row takes of a limit is another matter: the
//! database refuses the whole plan where another claim took a part of it. So which parts are free
//! is read again then, or the rows are taken one by one ([`ClaimReserving`]).
//!
//! [`ClaimReserving`]: crate::rules::execution::reserve::ClaimReserving

use std::collections::HashMap;

use crate::model::error::EngineError;
use crate::model::handle::{BackendTag, HandleKind};
use crate::model::ids::TimestampMs;
use crate::plan::facts::Facts;
use crate::plan::value::{ColumnType, Value};
use crate::plan::{Compare, Expr, Pairing, Path, Plan, Predicate, Selection};
use crate::rules::budget::reservation::some_reserved;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Then, Transition};
use crate::rules::execution::reserve::Taken;
use crate::rules::execution::terms::{NewLease, Terms, lease_returns};
use crate::rules::handle;
use crate::rules::key::{CORE, ExecutionKey};
use crate::rules::lane::closed_to_claims;
use crate::rules::limit::held::Holdings;
use crate::rules::suspension::close::mark;
use crate::schema::execution::exec_core;

/// A listed execution, and what it takes of its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The execution.
    pub key: ExecutionKey,
    /// The version that was listed as claimable.
    pub version: i64,
    /// What it takes of its limits.
    pub holdings: Holdings,
}

/// Claims listed executions for one worker.
#[derive(Clone, Debug)]
pub struct ClaimListed {
    tag: BackendTag,
    terms: Terms,
    // Invariant: all of these take something of a limit, or none does; and all claims list the
    // parts of limits in one order, so that no two wait for each other.
    listed: Vec<Listed>,
    has_reservations: bool,
}

impl ClaimListed {
    /// The claims of these, which share a plan where they can.
    #[must_use]
    pub fn of(tag: BackendTag, terms: &Terms, listed: Vec<Listed>) -> Vec<Self> {
        let (mut within, beside): (Vec<_>, Vec<_>) =
            listed.into_iter().partition(|one| !one.holdings.is_empty());
        within.sort_by(|one, other| one.holdings.first().cmp(&other.holdings.first()));

        let claims = [(within, true), (beside, false)].into_iter();
        let claims = claims.filter(|(listed, _)| !listed.is_empty());
        let claim = |(listed, has_reservations)| Self {
            tag,
            terms: terms.clone(),
            listed,
            has_reservations,
        };
        claims.map(claim).collect()
    }

    fn selection(&self) -> Selection {
        let each = |ty, value: fn(&Listed) -> i64| {
            Expr::each(ty, self.listed.iter().map(|one| Value::Int(value(one))).collect())
        };
        let ids = self.listed.iter().map(|one| Value::Uuid(one.key.uuid)).collect();
        let key = vec![
            exec_core::partition_key
                .with_expr(each(ColumnType::SmallInt, |one| one.key.partition.into())),
            exec_core::execution_id.with_expr(Expr::each(ColumnType::Uuid, ids)),
        ];

        // Each change of a row grows its version, and what is claimable stays so until then.
        let version = Path::column(exec_core::version.column());
        let versions = each(ColumnType::BigInt, |one| one.version);
        Selection {
            row: CORE.into(),
            table: exec_core::REF,
            predicate: Predicate::Compare(version, Compare::Equal, versions),
            order: Vec::new(),
            pairing: Pairing::Named(key),
        }
    }

    fn plan(&self, at: TimestampMs, ctx: &mut Ctx<'_>) -> Result<Plan, EngineError> {
        let lease = NewLease::of_each(self.listed.len(), ctx);
        let closed = closed_to_claims(self.terms.lane(), at.0);
        let mut plan = Plan::new("claim_listed").unless(closed).and(self.terms.take(lease, at));
        plan.selection = Some(self.selection());
        if self.has_reservations {
            mark(&mut plan.mutations, some_reserved());
            let holdings: Vec<_> = self.listed.iter().map(|one| &one.holdings).collect();
            plan = plan.and(Holdings::taken_by_each(&holdings, at)?);
        }
        plan.returns = lease_returns();
        Ok(plan)
    }
}

impl Transition for ClaimListed {
    /// What came of each execution.
    type Outcome = HashMap<ExecutionKey, Taken>;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        let all = |taken: &Taken| self.listed.iter().map(|one| (one.key, taken.clone())).collect();
        if facts.refusals() != 0 {
            return Ok(Step::Answer(all(&Taken::Overtaken)));
        }

        let plan = self.plan(ctx.now, ctx)?;
        let mut taken: Self::Outcome = all(&Taken::Gone);
        let (tag, terms, has_reservations) = (self.tag, self.terms.clone(), self.has_reservations);
        let read = move |rows: Vec<Vec<Value>>| {
            for row in &rows {
                let (key, payload) = terms.payload_of(row)?;
                let payload = payload.with_reservations(has_reservations);
                let handle = handle::mint(tag, HandleKind::Fresh, &payload);
                taken.insert(key, Taken::Claimed(handle));
            }
            Ok(taken)
        };
        Ok(Step::Commit(plan, Then::FromRows(Box::new(read))))
    }
}
