//! Over-runs: the effect of a report that would exceed a hard limit, beyond its refusal.
//!
//! The budget's policy chooses. A report that only warns counts. Every other is refused, and the
//! running execution that made it may end, or wait until the limit is raised.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::model::error::{EngineError, ValidationKind};
use crate::model::ids::TimestampMs;
use crate::plan::facts::Row;
use crate::plan::{Mutation, OnConflict, OnTaken};
use crate::rules::budget::key::BudgetKey;
use crate::schema::budget::budget_usage;
use crate::schema::suspension::suspension_current;

/// The action on a report that would exceed a hard limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnHardLimit {
    /// The report is refused: for every word that is none of the others.
    #[default]
    Refuse,
    /// The report counts, and is answered as one that exceeds a soft limit.
    Warn,
    /// The execution fails.
    Fail,
    /// The execution is cancelled.
    Cancel,
    /// The execution waits for an approval, which raises the limit.
    Suspend,
}

impl OnHardLimit {
    /// The action of a stored word. Words are the caller's own; those of older callers refuse.
    #[must_use]
    pub fn of_word(word: &str) -> Self {
        match word {
            "warn" => Self::Warn,
            "fail" => Self::Fail,
            "cancel" => Self::Cancel,
            "suspend" => Self::Suspend,
            _ => Self::Refuse,
        }
    }
}

/// A report that was refused, and the hard limit that it would have exceeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverRun {
    /// The action.
    pub action: OnHardLimit,
    /// The rise of the limit with which the report would have counted.
    pub raise: Raise,
    /// The limit.
    pub limit: u64,
}

impl std::fmt::Display for OverRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Raise { budget_id, dimension, by, .. } = &self.raise;
        let limit = self.limit;
        write!(f, "budget {budget_id}: {dimension} would exceed its hard limit {limit} by {by}")
    }
}

impl OverRun {
    /// True if the execution waits for an approval.
    #[must_use]
    pub fn suspends(&self) -> bool {
        self.action == OnHardLimit::Suspend
    }
}

/// A rise of one hard limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raise {
    /// The partition of the budget.
    pub partition: i16,
    /// The budget, as UUID text.
    pub budget_id: String,
    /// The dimension.
    pub dimension: String,
    /// The rise, in the dimension's own unit.
    pub by: i64,
}

impl Raise {
    /// The rise that the end of a wait brings, if a budget caused the wait.
    ///
    /// # Errors
    /// `Validation(Corruption)` for what is none.
    pub fn of_suspension(row: &Row) -> Result<Option<Self>, EngineError> {
        let Some(stored) = row.read(suspension_current::raises)? else { return Ok(None) };
        serde_json::from_value(stored).map(Some).map_err(|error| EngineError::Validation {
            kind: ValidationKind::Corruption,
            detail: format!("ff_suspension_current.raises: {error}"),
        })
    }

    /// The stored form.
    ///
    /// # Errors
    /// `Validation(Corruption)` for what cannot be written as JSON.
    pub fn stored(&self) -> Result<Json, EngineError> {
        serde_json::to_value(self).map_err(|error| EngineError::Validation {
            kind: ValidationKind::Corruption,
            detail: format!("ff_suspension_current.raises: {error}"),
        })
    }

    /// The change that raises the limit. It only makes room, so no decision on the budget that is
    /// made at the same time becomes wrong.
    #[must_use]
    pub fn change(&self, at: TimestampMs) -> Mutation {
        let key = BudgetKey { partition: self.partition, id: self.budget_id.clone() };
        let mut row = key.usage();
        row.extend([
            budget_usage::dimensions_key.with(self.dimension.clone()),
            budget_usage::current_value.with(0),
            budget_usage::overdraft.with(self.by),
            budget_usage::updated_at_ms.with(at.0),
        ]);
        let raised = OnConflict::Update(vec![
            (budget_usage::overdraft.column(), OnTaken::Add),
            (budget_usage::updated_at_ms.column(), OnTaken::Overwrite),
        ]);
        Mutation::insert(budget_usage::REF, row, raised)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_older_callers_refuse() {
        for word in ["", "reject", "FAIL", "escalate"] {
            assert_eq!(OnHardLimit::of_word(word), OnHardLimit::Refuse, "{word}");
        }
        assert_eq!(OnHardLimit::of_word("suspend"), OnHardLimit::Suspend);
    }
}
