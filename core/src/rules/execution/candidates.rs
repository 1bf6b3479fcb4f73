//! The executions that a claim may take, best first, where it offers to reserve or takes those with
//! keys of limits or fairness.
//!
//! The index of claims keeps executions with equal requirements together, so that none that needs
//! something else is read. Where there are many keys, most are alike in that, and the best of each
//! of them are too many. So a claim first looks at a bounded number of executions in the order of
//! the lane, whatever their keys. Where too many of those are none that it can take, it looks for
//! the best key by key.

use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::plan::facts::{Facts, Row};
use crate::plan::{Expr, Held, List, OfEach, Predicate, Query};
use crate::rules::budget::token::{ESTIMATES, budgets_in, fairness_key_in, token};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Answered, Step, Transition};
use crate::rules::execution::claim::{Claim, best_first, first_due};
use crate::rules::execution::reserve::asking;
use crate::rules::key::ExecutionKey;
use crate::rules::limit::admit::Asking;
use crate::schema::execution::exec_core;
use crate::schema::{ColumnRef, Direction};

/// The executions that a claim looks at beyond those that it asks for, at first.
const FURTHER: u32 = 32;

/// The same once it knows of full limits, with executions that may come first.
const FURTHER_BEHIND_FULL: u32 = 1_024;

/// An execution that a claim may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The execution.
    pub key: ExecutionKey,
    /// True if it carries an estimate.
    pub reserves: bool,
    /// Its budgets.
    pub budgets: Vec<String>,
    /// Its keys of limits, and its weight for them.
    pub limits: Asking,
    /// Its fairness key, if it has one.
    pub fairness_key: Option<String>,
}

impl Candidate {
    /// The key of its turn: its fairness key, or the empty one of all that have none.
    #[must_use]
    pub fn turn_key(&self) -> &str {
        self.fairness_key.as_deref().unwrap_or_default()
    }

    /// True if any worker with the capabilities may take it, without more.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        !self.reserves && self.limits.keys.is_empty() && self.fairness_key.is_none()
    }
}

/// Lists executions that a claim may take, best first, where it offers to reserve or takes those
/// with keys.
#[derive(Clone, Debug)]
pub struct Candidates {
    claim: Claim,
    /// The most with equal requirements, if that is bounded.
    of_each: Option<u32>,
    most: u32,
}

impl Candidates {
    /// As many as the claim asks for.
    #[must_use]
    pub fn best(claim: Claim) -> Self {
        Self { most: claim.limit(), of_each: None, claim }
    }

    /// Up to so many with equal requirements, and so with equal keys, and up to `most` in all.
    #[must_use]
    pub fn of_each(claim: Claim, of_each: u32, most: u32) -> Self {
        Self { claim, of_each: Some(of_each), most }
    }

    /// The candidates, once they are listed.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a column of another type.
    pub fn listed(
        &self,
        facts: &Facts,
        now: TimestampMs,
    ) -> Result<Answered<Vec<Candidate>>, EngineError> {
        let mut rows = match self.waiting(facts, now) {
            Answered::Yes(rows) => rows,
            Answered::NotYet(queries) => return Ok(Answered::NotYet(queries)),
        };
        if rows.len() < self.claim.limit() as usize {
            let due = self.due(now);
            let Some(more) = facts.list(&due) else {
                return Ok(Answered::NotYet(vec![Query::List(due)]));
            };
            rows.extend(more);
        }

        let best = rows.into_iter().take(self.most as usize);
        best.map(candidate).collect::<Result<_, _>>().map(Answered::Yes)
    }

    /// Those that wait for a worker.
    fn waiting<'a>(&self, facts: &'a Facts, now: TimestampMs) -> Answered<Vec<&'a Row>> {
        let first = self.claim.looks_at(now).filter(|_| self.of_each.is_none());
        if let Some(first) = first.map(|first| self.first(first)) {
            let Some(rows) = facts.list(&first) else {
                return Answered::NotYet(vec![Query::List(first)]);
            };
            if let Some(best) = self.best_of(rows) {
                return Answered::Yes(best);
            }
        }

        let all = self.list("executions to claim", self.claim.eligible(now), best_first());
        let all = List { of_each: self.bound_of_each(), ..all };
        match facts.list(&all) {
            Some(rows) => Answered::Yes(rows.iter().collect()),
            None => Answered::NotYet(vec![Query::List(all)]),
        }
    }

    /// Those of the first executions that the claim may take; `None` where they are too few, and
    /// more may come behind them.
    fn best_of<'a>(&self, rows: &'a [Row]) -> Option<Vec<&'a Row>> {
        let (suffices, nothing) = (self.claim.suffices(), Held::default());
        let best: Vec<_> = rows.iter().filter(|row| suffices.accepts(row, &nothing)).collect();
        let is_cut = self.most_looked_at() as usize <= rows.len();
        (!is_cut || self.most as usize <= best.len()).then_some(best)
    }

    fn first(&self, predicate: Predicate) -> List {
        let mut list = self.list("executions to look at", predicate, best_first());
        list.columns.extend([
            exec_core::priority.column(),
            exec_core::claimable_since_ms.column(),
            exec_core::created_at_ms.column(),
        ]);
        List { limit: Expr::int(i64::from(self.most_looked_at())), ..list }
    }

    fn most_looked_at(&self) -> u32 {
        let further = if self.claim.knows_of_full() { FURTHER_BEHIND_FULL } else { FURTHER };
        self.most.saturating_add(further)
    }

    fn due(&self, now: TimestampMs) -> List {
        let due = self.list("executions to claim that are due", self.claim.due(now), first_due());
        List { of_each: self.bound_of_each(), ..due }
    }

    fn bound_of_each(&self) -> Option<OfEach> {
        let most = self.of_each?;
        let list = exec_core::required_capabilities.column();
        Some(OfEach { list, limit: Expr::int(i64::from(most)) })
    }

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
            of_each: None,
            columns: vec![
                exec_core::partition_key.column(),
                exec_core::execution_id.column(),
                exec_core::required_capabilities.column(),
                exec_core::policy.column(),
            ],
            predicate,
            order,
            limit: Expr::int(i64::from(self.most)),
        }
    }
}

impl Transition for Candidates {
    type Outcome = Vec<Candidate>;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        Ok(self.listed(facts, ctx.now)?.step())
    }
}

fn candidate(row: &Row) -> Result<Candidate, EngineError> {
    let required = row.read(exec_core::required_capabilities)?;
    let execution = ExecutionKey::in_row(row)?;
    Ok(Candidate {
        key: execution,
        reserves: required.contains(&token(ESTIMATES)),
        budgets: budgets_in(&required).map(str::to_owned).collect(),
        limits: asking(execution, &required, row)?,
        fairness_key: fairness_key_in(&required).map(str::to_owned),
    })
}
