//! The reset of a budget: by an operator at any time, by the scanner when it is due.

use serde_json::Value as Json;

use crate::contracts::{ResetBudgetArgs, ResetBudgetResult};
use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::model::partition::PartitionConfig;
use crate::plan::Mutation;
use crate::plan::facts::{Facts, Row};
use crate::rules::budget::key::{BUDGET, BudgetKey, Head, Places};
use crate::rules::changes::Changes;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Verdict};
use crate::rules::premise::{Condition, Premise, answer, lookup};
use crate::schema::budget::{budget_policy, budget_usage};

/// Sets all totals of a budget to zero and moves its next reset forward.
#[derive(Clone, Debug)]
pub struct ResetBudget {
    places: Places,
    at: TimestampMs,
}

impl ResetBudget {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` when the partition is beyond what a row can store.
    pub fn new(args: &ResetBudgetArgs, partitions: &PartitionConfig) -> Result<Self, EngineError> {
        Ok(Self { places: Places::of(&args.budget_id, partitions)?, at: args.now })
    }
}

/// The changes of a reset, and the time of the next one; `None` for a budget without a schedule.
fn reset(
    head: &Head<'_>,
    row: &Row,
    at: TimestampMs,
) -> Result<(Changes, Option<i64>), EngineError> {
    let policy: Json = row.read(budget_policy::policy_json)?;
    let interval = policy.get("reset_interval_ms").and_then(Json::as_u64);
    let interval = interval.filter(|interval| 0 < *interval);
    let next = interval.map(|ms| at.0.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX)));

    let set = vec![
        budget_policy::period.grow(1),
        budget_policy::last_breach_at_ms.set(None),
        budget_policy::last_breach_dim.set(None),
        budget_policy::updated_at_ms.set(at.0),
        budget_policy::next_reset_at_ms.set(next),
    ];
    let zero = vec![
        budget_usage::current_value.set(0),
        budget_usage::last_reset_at_ms.set(Some(at.0)),
        budget_usage::updated_at_ms.set(at.0),
    ];
    let changes = Changes::of([
        head.change(set, at),
        Mutation::update(budget_usage::REF, head.key.usage(), zero),
    ]);
    Ok((changes, next))
}

impl Decision for ResetBudget {
    type Outcome = ResetBudgetResult;

    const NAME: &'static str = "reset_budget";

    fn at(&self, _: &Ctx<'_>) -> TimestampMs {
        self.at
    }

    fn premises(&self, _: TimestampMs) -> Vec<Premise<ResetBudgetResult>> {
        self.places.premises()
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<Self::Outcome> {
        let head = self.places.head(facts);
        let row = head.defined()?.ok_or(EngineError::NotFound { entity: "budget" })?;
        let (changes, next) = reset(&head, row, at)?;
        let next_reset_at = TimestampMs(next.unwrap_or(0));
        let changes = changes.holding(head.guard()?);
        Verdict::change(changes, ResetBudgetResult::Reset { next_reset_at })
    }
}

/// Resets a budget if its time has come.
#[derive(Clone, Debug)]
pub struct ResetIfDue {
    /// The budget.
    pub key: BudgetKey,
}

impl Decision for ResetIfDue {
    /// True if it was due.
    type Outcome = bool;

    const NAME: &'static str = "reset_budget_if_due";

    fn premises(&self, at: TimestampMs) -> Vec<Premise<bool>> {
        let due = budget_policy::next_reset_at_ms.at_most(Some(at.0));
        let conditions = vec![Condition::new(due, answer(false))];
        let head = Premise::read(BUDGET, lookup(BUDGET, budget_policy::REF, self.key.head()));
        let head = head.or_if_absent(answer(false)).guarded_by(conditions);
        vec![head.pinned_to(budget_policy::version)]
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<bool> {
        let Some(row) = facts.row(BUDGET) else { return Ok(Verdict::Answer(false)) };
        let head = Head { key: self.key.clone(), row: Some(row) };
        let (changes, _) = reset(&head, row, at)?;
        Verdict::change(changes, true)
    }
}
