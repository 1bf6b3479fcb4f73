//! Giving back what one execution spent of a budget.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::contracts::ReleaseBudgetArgs;
use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::model::partition::PartitionConfig;
use crate::plan::facts::Facts;
use crate::plan::{List, Mutation, OnTaken};
use crate::rules::budget::key::Places;
use crate::rules::budget::report::change_totals;
use crate::rules::changes::Changes;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Verdict};
use crate::rules::premise::Premise;
use crate::schema::budget::budget_usage_by_exec;

/// Takes the contributions of one execution back from the totals. What it contributed before the
/// last reset is gone already, so that no other execution's spending is taken back for it.
#[derive(Clone, Debug)]
pub struct ReleaseBudget {
    places: Places,
    execution: Uuid,
}

impl ReleaseBudget {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` when the partition is beyond what a row can store.
    pub fn new(
        args: &ReleaseBudgetArgs,
        partitions: &PartitionConfig,
    ) -> Result<Self, EngineError> {
        let places = Places::of(&args.budget_id, partitions)?;
        Ok(Self { places, execution: args.execution_id.uuid() })
    }
}

impl Decision for ReleaseBudget {
    type Outcome = ();

    const NAME: &'static str = "release_budget";

    fn premises(&self, _: TimestampMs) -> Vec<Premise<()>> {
        self.places.premises()
    }

    fn lists(&self, _: u32) -> Vec<List> {
        vec![self.places.usage(), self.places.contributions_of(self.execution)]
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<()> {
        let listed = |list: &List| facts.list(list).unwrap_or_default();
        let contributions = listed(&self.places.contributions_of(self.execution));
        if contributions.is_empty() {
            return Ok(Verdict::Answer(()));
        }

        let head = self.places.head(facts);
        let totals = head.totals(listed(&self.places.usage()))?;
        let mut back = BTreeMap::new();
        for (dimension, contributed) in head.contributed(contributions)? {
            // A total is never below zero, and one that is not there stays absent.
            if let Some(total) = totals.get(&dimension) {
                back.insert(dimension, -contributed.min(*total).max(0));
            }
        }

        let own = head.key.contributions_of(self.execution);
        let changes = Changes::of([
            head.change(Vec::new(), at),
            change_totals(&head.key, &back, OnTaken::Add, at)?,
            Mutation::delete(budget_usage_by_exec::REF, own),
        ]);
        Verdict::change(changes.holding(head.guard()?), ())
    }
}
