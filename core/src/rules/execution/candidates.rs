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

/// The same behind full limits, where those were too few.
const FURTHER_BEHIND_FULL: u32 = 1_024;

/// An execution that a claim may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The execution.
    pub key: ExecutionKey,
    /// The version that it was listed in.
    pub version: i64,
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

/// What a list names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The executions, best first.
    pub candidates: Vec<Candidate>,
    /// True if they were looked for list by list: too few of the first executions in the order of
    /// the lane could be taken, or were asked for.
    pub is_by_list: bool,
}

/// Lists executions that a claim may take, best first, where it offers to reserve or takes those
/// with keys.
#[derive(Clone, Debug)]
pub struct Candidates {
    claim: Claim,
    /// The most with equal requirements, if that is bounded.
    of_each: Option<u32>,
    most: u32,
    /// True to look for the best list by list at once.
    is_by_list: bool,
}

impl Candidates {
    /// As many as the claim asks for.
    #[must_use]
    pub fn best(claim: Claim) -> Self {
        Self { most: claim.limit(), of_each: None, is_by_list: false, claim }
    }

    /// The same, looked for list by list: too many come first that the claim cannot take.
    #[must_use]
    pub fn by_list(self) -> Self {
        Self { is_by_list: true, ..self }
    }

    /// Up to so many with equal requirements, and so with equal keys, and up to `most` in all.
    #[must_use]
    pub fn of_each(claim: Claim, of_each: u32, most: u32) -> Self {
        Self { claim, of_each: Some(of_each), most, is_by_list: true }
    }

    /// The candidates, once they are listed.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a column of another type.
    pub fn listed(&self, facts: &Facts, now: TimestampMs) -> Result<Answered<Found>, EngineError> {
        let (mut rows, is_by_list) = match self.waiting(facts, now) {
            Answered::Yes(waiting) => waiting,
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
        let candidates = best.map(candidate).collect::<Result<_, _>>()?;
        Ok(Answered::Yes(Found { candidates, is_by_list }))
    }

    /// Those that wait for a worker, and whether they were looked for list by list.
    fn waiting<'a>(&self, facts: &'a Facts, now: TimestampMs) -> Answered<(Vec<&'a Row>, bool)> {
        if let Some(first) = self.claim.looks_at(now).filter(|_| !self.is_by_list) {
            for (name, most) in self.looks() {
                let first = self.first(name, first.clone(), most);
                let Some(rows) = facts.list(&first) else {
                    return Answered::NotYet(vec![Query::List(first)]);
                };
                if let Some(best) = self.best_of(rows, most) {
                    return Answered::Yes((best, false));
                }
            }
        }

        let all = self.list("executions to claim", self.claim.eligible(now), best_first());
        let all = List { of_each: self.bound_of_each(), ..all };
        match facts.list(&all) {
            Some(rows) => Answered::Yes((rows.iter().collect(), true)),
            None => Answered::NotYet(vec![Query::List(all)]),
        }
    }

    /// The numbers of executions in the order of the lane that it looks at, until some look shows
    /// enough that it may take; each with the name of the list.
    fn looks(&self) -> impl Iterator<Item = (&'static str, u32)> {
        let near = ("executions to look at", FURTHER);
        let far = ("executions to look at behind full keys", FURTHER_BEHIND_FULL);
        let looks = [Some(near), self.claim.knows_of_full().then_some(far)];
        looks.into_iter().flatten().map(|(name, more)| (name, self.most.saturating_add(more)))
    }

    /// Those of the first executions that the claim may take; `None` where they are too few, and
    /// more may come behind them.
    fn best_of<'a>(&self, rows: &'a [Row], looked_at: u32) -> Option<Vec<&'a Row>> {
        let (suffices, nothing) = (self.claim.suffices(), Held::default());
        let best: Vec<_> = rows.iter().filter(|row| suffices.accepts(row, &nothing)).collect();
        let is_cut = looked_at as usize <= rows.len();
        (!is_cut || self.most as usize <= best.len()).then_some(best)
    }

    fn first(&self, name: &'static str, predicate: Predicate, most: u32) -> List {
        let mut list = self.list(name, predicate, best_first());
        list.columns.extend([
            exec_core::priority.column(),
            exec_core::claimable_since_ms.column(),
            exec_core::created_at_ms.column(),
        ]);
        List { limit: Expr::int(i64::from(most)), ..list }
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
                exec_core::version.column(),
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
    type Outcome = Found;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        Ok(self.listed(facts, ctx.now)?.step())
    }
}

fn candidate(row: &Row) -> Result<Candidate, EngineError> {
    let required = row.read(exec_core::required_capabilities)?;
    let execution = ExecutionKey::in_row(row)?;
    Ok(Candidate {
        key: execution,
        version: row.read(exec_core::version)?,
        reserves: required.contains(&token(ESTIMATES)),
        budgets: budgets_in(&required).map(str::to_owned).collect(),
        limits: asking(execution, &required, row)?,
        fairness_key: fairness_key_in(&required).map(str::to_owned),
    })
}
