//! Repeated reports: two under one key of one budget count once, until the key expires.

use serde_json::{Value as Json, json};

use crate::contracts::ReportUsageResult;
use crate::model::error::{EngineError, ValidationKind};
use crate::model::ids::TimestampMs;
use crate::plan::facts::{Facts, Row};
use crate::plan::{Expr, Mutation, OnConflict, OnTaken};
use crate::rules::budget::key::BudgetKey;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Verdict};
use crate::rules::input;
use crate::rules::premise::{Condition, Premise, answer, lookup};
use crate::schema::ColumnRef;
use crate::schema::budget::budget_usage_dedup;

/// The time for which a key counts: a day.
const TTL_MS: i64 = 86_400_000;

/// The name of the row of a key.
const REPEATED: &str = "repeated";

/// A key of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dedup {
    /// The partition of its row.
    pub partition: i16,
    /// The key as it is stored.
    pub key: String,
}

impl Dedup {
    /// A caller's key, within its budget.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field: a key with NUL, or one that is too long.
    pub fn new(budget: &BudgetKey, key: &str) -> Result<Self, EngineError> {
        input::name("dedup_key", key)?;
        Ok(Self { partition: budget.partition, key: format!("{}:{key}", budget.id) })
    }

    fn row(&self) -> Vec<(ColumnRef, Expr)> {
        vec![
            budget_usage_dedup::partition_key.with(self.partition),
            budget_usage_dedup::dedup_key.with(self.key.clone()),
        ]
    }

    /// The row of the key, if there is one; only read.
    #[must_use]
    pub fn premise<O>(&self) -> Premise<O> {
        Premise::read(REPEATED, lookup(REPEATED, budget_usage_dedup::REF, self.row()))
    }

    /// The row of a key that was reported before and has not expired.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a column of another type.
    pub fn first(facts: &Facts, at: TimestampMs) -> Result<Option<&Row>, EngineError> {
        let Some(row) = facts.row(REPEATED) else { return Ok(None) };
        Ok((at.0 < row.read(budget_usage_dedup::expires_at_ms)?).then_some(row))
    }

    /// The answer of the first report.
    ///
    /// # Errors
    /// `Validation(Corruption)` for an answer that cannot be read.
    pub fn answer(row: &Row) -> Result<ReportUsageResult, EngineError> {
        let stored: Json = row.read(budget_usage_dedup::outcome_json)?;
        let corrupt = |detail: String| EngineError::Validation {
            kind: ValidationKind::Corruption,
            detail: format!("budget dedup outcome_json {detail}"),
        };
        if stored.as_object().is_some_and(serde_json::Map::is_empty) {
            return Ok(ReportUsageResult::AlreadyApplied);
        }

        let text = |name: &str| stored.get(name).and_then(Json::as_str);
        let number = |name: &str| stored.get(name).and_then(Json::as_u64).unwrap_or(0);
        let dimension = || text("dimension").unwrap_or_default().to_owned();
        let current_usage = number("current_usage");
        match text("kind") {
            Some("Ok") => Ok(ReportUsageResult::Ok),
            Some("AlreadyApplied") => Ok(ReportUsageResult::AlreadyApplied),
            Some("SoftBreach") => Ok(ReportUsageResult::SoftBreach {
                dimension: dimension(),
                current_usage,
                soft_limit: number("soft_limit"),
            }),
            Some("HardBreach") => Ok(ReportUsageResult::HardBreach {
                dimension: dimension(),
                current_usage,
                hard_limit: number("hard_limit"),
            }),
            Some(kind) => Err(corrupt(format!("unknown kind: {kind}"))),
            None => Err(corrupt("missing `kind`".into())),
        }
    }

    /// The change that records the answer of the first report. An expired key is taken anew; of two
    /// reports at once, the budget's version lets one through.
    #[must_use]
    pub fn record(&self, outcome: &ReportUsageResult, at: TimestampMs) -> Mutation {
        let stored = match outcome {
            ReportUsageResult::Ok => json!({ "kind": "Ok" }),
            ReportUsageResult::AlreadyApplied => json!({ "kind": "AlreadyApplied" }),
            ReportUsageResult::SoftBreach { dimension, current_usage, soft_limit } => json!({
                "kind": "SoftBreach",
                "dimension": dimension,
                "current_usage": current_usage,
                "soft_limit": soft_limit,
            }),
            ReportUsageResult::HardBreach { dimension, current_usage, hard_limit } => json!({
                "kind": "HardBreach",
                "dimension": dimension,
                "current_usage": current_usage,
                "hard_limit": hard_limit,
            }),
        };

        let answer = [
            budget_usage_dedup::outcome_json.with(stored),
            budget_usage_dedup::applied_at_ms.with(at.0),
            budget_usage_dedup::expires_at_ms.with(at.0.saturating_add(TTL_MS)),
        ];
        let anew = answer.iter().map(|(column, _)| (*column, OnTaken::Overwrite)).collect();
        let row = self.row().into_iter().chain(answer).collect();
        Mutation::insert(budget_usage_dedup::REF, row, OnConflict::Update(anew))
    }
}

/// Removes a key that has expired.
#[derive(Clone, Debug)]
pub struct ForgetKey {
    /// The key.
    pub key: Dedup,
}

impl Decision for ForgetKey {
    /// True if it had expired.
    type Outcome = bool;

    const NAME: &'static str = "expire_usage_dedup";

    fn premises(&self, at: TimestampMs) -> Vec<Premise<bool>> {
        let expired = budget_usage_dedup::expires_at_ms.at_most(at.0);
        let conditions = vec![Condition::new(expired, answer(false))];
        vec![self.key.premise().or_if_absent(answer(false)).guarded_by(conditions)]
    }

    fn expects(&self) -> bool {
        true
    }

    fn decide(&self, _: &Facts, _: TimestampMs, _: &mut Ctx<'_>) -> Decided<bool> {
        Verdict::change([Mutation::delete(budget_usage_dedup::REF, self.key.row())], true)
    }
}
