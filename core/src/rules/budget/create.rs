//! A new budget.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use crate::contracts::{CreateBudgetArgs, CreateBudgetResult};
use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::model::partition::PartitionConfig;
use crate::plan::facts::Facts;
use crate::plan::{Assign, Mutation, OnConflict};
use crate::rules::budget::key::{DIMENSIONS_MAX, Places, dimension};
use crate::rules::changes::Changes;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Verdict};
use crate::rules::input;
use crate::rules::premise::Premise;
use crate::schema::budget::budget_policy;

/// Defines a budget. The first definition of an id wins; what was reported before counts.
#[derive(Clone, Debug)]
pub struct CreateBudget {
    places: Places,
    args: CreateBudgetArgs,
    policy: Json,
    interval_ms: i64,
}

impl CreateBudget {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field: lists of different lengths, too many
    /// dimensions, a dimension without a name, a limit or an interval that is too large, text with
    /// NUL.
    pub fn new(args: CreateBudgetArgs, partitions: &PartitionConfig) -> Result<Self, EngineError> {
        let CreateBudgetArgs { dimensions, hard_limits, soft_limits, .. } = &args;
        let count = dimensions.len();
        if hard_limits.len() != count || soft_limits.len() != count {
            return Err(input::invalid(
                "create_budget: dimensions / hard_limits / soft_limits length mismatch",
            ));
        }
        if DIMENSIONS_MAX < count {
            return Err(input::invalid(format!("dimensions: {count} exceed {DIMENSIONS_MAX}")));
        }

        dimensions.iter().try_for_each(|name| dimension("dimensions", name))?;
        for (field, text) in [
            ("scope_type", &args.scope_type),
            ("scope_id", &args.scope_id),
            ("enforcement_mode", &args.enforcement_mode),
            ("on_hard_limit", &args.on_hard_limit),
            ("on_soft_limit", &args.on_soft_limit),
        ] {
            input::text(field, text)?;
        }

        let policy = json!({
            "hard_limits": limits("hard_limits", dimensions, hard_limits)?,
            "soft_limits": limits("soft_limits", dimensions, soft_limits)?,
            "reset_interval_ms": args.reset_interval_ms,
            "on_hard_limit": args.on_hard_limit,
            "on_soft_limit": args.on_soft_limit,
        });
        let interval_ms = match args.reset_interval_ms {
            0 => 0,
            interval => input::positive_ms("reset_interval_ms", interval)?,
        };
        if args.now.0.checked_add(interval_ms).is_none() {
            let problem = format!("reset_interval_ms: {interval_ms} is too far ahead");
            return Err(input::invalid(problem));
        }

        Ok(Self { places: Places::of(&args.budget_id, partitions)?, args, policy, interval_ms })
    }
}

fn limits<'a>(
    field: &str,
    dimensions: &'a [String],
    limits: &[u64],
) -> Result<BTreeMap<&'a str, u64>, EngineError> {
    let limit = |(name, limit): (&'a String, &u64)| match i64::try_from(*limit) {
        Ok(_) => Ok((name.as_str(), *limit)),
        Err(_) => Err(input::invalid(format!("{field}: {name}: {limit} exceeds {}", i64::MAX))),
    };
    dimensions.iter().zip(limits).map(limit).collect()
}

impl Decision for CreateBudget {
    type Outcome = CreateBudgetResult;

    const NAME: &'static str = "create_budget";

    fn at(&self, _: &Ctx<'_>) -> TimestampMs {
        self.args.now
    }

    fn premises(&self, _: TimestampMs) -> Vec<Premise<CreateBudgetResult>> {
        self.places.premises()
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<Self::Outcome> {
        let budget_id = self.args.budget_id.clone();
        let head = self.places.head(facts);
        if head.defined()?.is_some() {
            return Ok(Verdict::Answer(CreateBudgetResult::AlreadySatisfied { budget_id }));
        }

        let next = (0 < self.interval_ms).then(|| at.0.saturating_add(self.interval_ms));
        let columns = [
            budget_policy::policy_json.with(self.policy.clone()),
            budget_policy::scope_type.with(self.args.scope_type.clone()),
            budget_policy::scope_id.with(self.args.scope_id.clone()),
            budget_policy::enforcement_mode.with(self.args.enforcement_mode.clone()),
            budget_policy::next_reset_at_ms.with(next),
            budget_policy::created_at_ms.with(at.0),
            budget_policy::updated_at_ms.with(at.0),
            budget_policy::is_defined.with(true),
        ];

        let change = match head.row {
            Some(_) => {
                let set = columns.map(|(column, value)| (column, Assign::Set(value)));
                head.change(set.into(), at)
            }
            None => {
                let row = head.key.head().into_iter().chain(columns).collect();
                Mutation::insert(budget_policy::REF, row, OnConflict::Refuse)
            }
        };
        let changes = Changes::of([change]).holding(head.guard()?);
        Verdict::change(changes, CreateBudgetResult::Created { budget_id })
    }
}
